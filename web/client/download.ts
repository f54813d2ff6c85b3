/**
 * Downloads that need the token: a link cannot carry it. Where the browser can write a file as it comes (File System
 * Access), 20 GB pass through; elsewhere the browser keeps all of it until it is complete.
 */
import type { ApiClient } from './api.ts'
import { refusalOf } from './api.ts'
import { ask } from './session.ts'
import { dismiss, tell, tellRefusal, tellWorking } from './store.ts'
import { text } from './text.ts'

type Picker = (options: { readonly suggestedName: string }) => Promise<{
  readonly createWritable: () => Promise<WritableStream<Uint8Array> & { abort: () => Promise<void> }>
}>

type Target = {
  readonly take: (chunk: Uint8Array) => Promise<void>
  readonly end: () => Promise<void>
  readonly drop: () => void
}

async function fileTarget(picker: Picker, name: string): Promise<Target> {
  const writer = (await (await picker({ suggestedName: name })).createWritable()).getWriter()
  return {
    take: (chunk) => writer.write(chunk),
    end: () => writer.close(),
    drop: () => void writer.abort().catch(() => {}),
  }
}

function memoryTarget(name: string): Target {
  let parts: Blob[] = []
  return {
    // Blobs may lie on the disk; arrays may not.
    take: async (chunk) => void parts.push(new Blob([chunk as BlobPart])),
    end: async () => {
      save(new Blob(parts), name)
      parts = []
    },
    drop: () => {
      parts = []
    },
  }
}

export function save(blob: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

export async function download(pathOf: (api: ApiClient) => string, name: string, sizeBytes: number): Promise<void> {
  const picker = (window as { readonly showSaveFilePicker?: Picker }).showSaveFilePicker
  let target: Target
  try {
    target = picker ? await fileTarget(picker, name) : memoryTarget(name)
  } catch {
    // Nobody wants it any more, or the browser said no itself.
    return
  }
  const over = new AbortController()
  const working = tellWorking(text.downloads.working(name), { label: text.cancel, run: () => over.abort() })
  try {
    const answer = await ask(async (api) => {
      const response = await api.open(pathOf(api), over.signal)
      return response.ok ? { ok: true, value: response } : { ok: false, error: await refusalOf(response) }
    })
    if (!answer?.ok || !answer.value.body) {
      if (answer && !answer.ok) tellRefusal(answer.error)
      return target.drop()
    }
    const reader = answer.value.body.getReader()
    let done = 0
    let told = 0
    for (;;) {
      const { value, done: ended } = await reader.read()
      if (ended) break
      await target.take(value)
      done += value.byteLength
      if (performance.now() - told < 200) continue
      told = performance.now()
      working.at(done, sizeBytes)
    }
    await target.end()
    tell(text.downloads.done(name))
  } catch {
    target.drop()
    if (!over.signal.aborted)
      tellRefusal({ code: 'unreachable', message: text.downloads.broke(name), hint: text.downloads.brokeHint })
  } finally {
    dismiss(working.id)
  }
}
