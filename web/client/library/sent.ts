/** What a dialog has sent: a file that is tried and then imported goes over the network once. */
import { useState } from 'hono/jsx/dom'
import { err, ok, type Result } from '../../../src/base/result.ts'
import type { ApiClient, Refusal, Upload } from '../api.ts'
import type { Asked } from '../kit/form.tsx'
import { text } from '../text.ts'

export type Sent = {
  readonly holds: (files: readonly File[]) => boolean
  /** Sends them unless they were; they stay until the dialog is closed, others are chosen, or `forget`. */
  readonly send: (api: ApiClient, files: readonly File[], how: Asked) => Promise<Result<Upload, Refusal>>
  /** These are chosen now: what was sent of others is dropped. */
  readonly chosen: (files: readonly File[]) => void
  /** It is the import's from now on, or gone. */
  readonly forget: () => void
}

/** A browser tells no path, and makes new objects of the same files. */
const keyOf = (files: readonly File[]): string =>
  JSON.stringify(files.map(({ name, size, lastModified }) => [name, size, lastModified]))

function openSent(): Sent {
  let kept: { readonly key: string; readonly upload: Upload; readonly api: ApiClient } | undefined
  const holds = (files: readonly File[]): boolean => kept?.key === keyOf(files)
  function drop(): void {
    kept?.api.dropUpload(kept.upload.upload)
    kept = undefined
  }
  return {
    holds,
    send: async (api, files, { signal, onProgress }) => {
      if (kept && holds(files)) return ok(kept.upload)
      drop()
      const sent = await api.upload(files, signal, onProgress)
      if (!sent.ok) return sent
      kept = { key: keyOf(files), upload: sent.value, api }
      signal.addEventListener('abort', drop, { once: true })
      if (!signal.aborted) return sent
      drop()
      return err({ code: 'cancelled', message: text.uploads.cancelled, hint: '' })
    },
    chosen: (files) => {
      if (!holds(files)) drop()
    },
    forget: () => {
      kept = undefined
    },
  }
}

/** For as long as the dialog is open. */
export function useSent(): Sent {
  const [sent] = useState(openSent)
  return sent
}
