/** Answer files: text that goes to the API as it is, whatever encoding Windows wrote it in. */
import { useState } from 'hono/jsx/dom'
import { err, ok, type Result } from '../../../src/base/result.ts'
import type { Image, Refusal } from '../api.ts'
import { save } from '../download.ts'
import { Button } from '../kit/facts.tsx'
import { FileField, filesOf, Radios, said } from '../kit/fields.tsx'
import { ask } from '../session.ts'
import { tellRefusal } from '../store.ts'
import { text } from '../text.ts'

const words = text.imageDialog

export function UnattendFile({ required = false }: { required?: boolean }) {
  return <FileField name="unattend" label={words.unattendFile} accept=".xml" required={required} />
}

/** Of an image that has one: whether it is overwritten is asked, not assumed. */
export function UnattendFields({ image }: { image: Image }) {
  const [choice, setChoice] = useState('keep')
  const choices = words.unattendChoices
  if (!image.hasUnattend) return <UnattendFile />
  return (
    <>
      <p class="hint">
        {words.unattendThere}{' '}
        <Button look="quiet" onClick={() => get(image)}>
          {words.unattendGet}
        </Button>
      </p>
      <Radios
        name="unattendChoice"
        label={words.unattend}
        value={choice}
        onChange={setChoice}
        options={[
          { value: 'keep', label: choices.keep },
          { value: 'overwrite', label: choices.overwrite },
          { value: 'remove', label: choices.remove },
        ]}
      />
      {choice === 'overwrite' && <UnattendFile required />}
    </>
  )
}

async function get(image: Image): Promise<void> {
  const answer = await ask((api) => api.unattend(image))
  if (!answer) return
  if (answer.ok)
    save(new Blob([answer.value], { type: 'application/xml' }), `${image.fileName.replace(/\.wim$/i, '')}.xml`)
  else tellRefusal(answer.error)
}

/** The text of the file that was chosen; `null`: it shall go; undefined: it stays. */
export async function answerOf(fields: FormData): Promise<Result<string | null | undefined, Refusal>> {
  if (said(fields, 'unattendChoice') === 'remove') return ok(null)
  const [file] = filesOf(fields, 'unattend')
  if (!file) return ok(undefined)
  try {
    const bytes = new Uint8Array(await file.arrayBuffer())
    const [first, second] = bytes
    const encoding =
      first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : 'utf-8'
    return ok(new TextDecoder(encoding, { fatal: true }).decode(bytes))
  } catch {
    return err({ code: 'bad-unattend', message: words.unattendUnread(file.name), hint: words.unattendUnreadHint })
  }
}
