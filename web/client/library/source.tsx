/** Where the content of an import, a replacement or a repair comes from. */
import { useState } from 'hono/jsx/dom'
import { err, type Result } from '../../../src/base/result.ts'
import type { ApiClient, Job, Refusal, Source } from '../api.ts'
import { Field, FileField, filesOf, Radios, said } from '../kit/fields.tsx'
import type { Asked } from '../kit/form.tsx'
import { text } from '../text.ts'
import type { Sent } from './sent.ts'

const words = text.source

type Props = {
  readonly sent: Sent
  /** Of several images one must be named. */
  readonly one?: boolean | undefined
  /** Said of the whole: it is then no image of the file that is wanted. */
  readonly whole?: boolean | undefined
  /** There may be no file at all; what is said of that. */
  readonly none?: string | undefined
}

export function SourceFields({ sent, one, whole, none }: Props) {
  const [from, setFrom] = useState(none === undefined ? 'file' : 'none')
  return (
    <>
      <Radios
        name="source"
        label={words.label}
        value={from}
        onChange={(value) => {
          setFrom(value)
          sent.chosen([])
        }}
        options={[
          ...(none === undefined ? [] : [{ value: 'none', label: none }]),
          { value: 'file', label: words.file },
          { value: 'path', label: words.path },
        ]}
      />
      {from === 'file' && (
        <FileField
          name="file"
          label={words.fileLabel}
          hint={words.fileHint}
          accept=".wim,.esd,.swm"
          multiple
          required
          onChange={sent.chosen}
        />
      )}
      {from === 'path' && <Field name="path" label={words.pathLabel} hint={words.pathHint} literal required />}
      {!whole && <Field name="index" label={words.index} hint={one ? words.indexHintOne : words.indexHint} />}
    </>
  )
}

/** What is said of the source besides where it is. */
export function pickOf(fields: FormData): { readonly index?: string; readonly skipVerify?: true } {
  const index = said(fields, 'index')
  return {
    ...(index === '' ? {} : { index }),
    ...(fields.get('skipVerify') === null ? {} : { skipVerify: true }),
  }
}

/** Sends the file where one was chosen and was not sent yet, then starts the job. */
export async function startFrom<J extends Job>(
  api: ApiClient,
  fields: FormData,
  sent: Sent,
  how: Asked,
  start: (source: Source | Record<string, never>) => Promise<Result<J, Refusal>>,
): Promise<Result<J, Refusal>> {
  const from = said(fields, 'source')
  if (from === 'none') return start({})
  if (from === 'path') return start({ path: said(fields, 'path') })
  const files = filesOf(fields, 'file')
  if (files.length === 0) return err({ code: 'bad-request', message: words.none, hint: words.noneHint })
  const was = sent.holds(files)
  const upload = await sent.send(api, files, how)
  if (!upload.ok) return upload
  // An import takes the upload with it, whatever comes of it.
  if (!how.dryRun) sent.forget()
  const started = await start(upload.value)
  if (started.ok) return started
  if (was && started.error.code === 'not-found' && started.error.message.includes('upload')) {
    // The appliance was started anew, or a day went by.
    sent.forget()
    return startFrom(api, fields, sent, how, start)
  }
  if (!how.dryRun) await api.dropUpload(upload.value.upload)
  return started
}

export function sourceFieldOf({ code, message }: Refusal): string | undefined {
  if (code === 'bad-path') return 'path'
  if (code === 'not-a-wim' || message === words.none) return 'file'
  return undefined
}
