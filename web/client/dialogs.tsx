import { type Child, useEffect, useRef, useState } from 'hono/jsx/dom'
import { unreachable } from '../../src/base/result.ts'
import type { Cast, Image, Refusal } from './api.ts'
import { RefusalNote } from './refusal.tsx'
import { act } from './session.ts'
import { change, type Dialog } from './store.ts'
import { text } from './text.ts'

export function ActiveDialog({ dialog }: { dialog: Dialog }) {
  switch (dialog.kind) {
    case 'copy':
      return <CopyDialog image={dialog.image} />
    case 'remove':
      return <RemoveDialog image={dialog.image} others={dialog.others} />
    case 'transmit':
      return <TransmitDialog image={dialog.image} />
    case 'stop':
      return <StopDialog cast={dialog.cast} />
    default:
      return unreachable(dialog)
  }
}

type FormProps = {
  readonly title: string
  readonly button: string
  readonly danger?: boolean
  readonly children: Child
  /** The refusal, if it comes to one: then the dialog stays. */
  readonly onSubmit: (fields: FormData) => Promise<Refusal | undefined>
}

/** A modal form. The browser keeps the focus inside, and gives it back to where it was. */
function FormDialog({ title, button, danger, children, onSubmit }: FormProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [busy, setBusy] = useState(false)
  const [refusal, setRefusal] = useState<Refusal | undefined>(undefined)
  useEffect(() => dialog.current?.showModal(), [])

  function close(): void {
    change({ dialog: undefined })
    // What opened the dialog may be gone with what it removed.
    if (document.activeElement === document.body) document.getElementById('content')?.focus()
  }
  async function submit(event: Event): Promise<void> {
    event.preventDefault()
    if (busy) return
    const fields = new FormData(event.currentTarget as HTMLFormElement)
    setBusy(true)
    const refused = await onSubmit(fields)
    setBusy(false)
    if (refused) setRefusal(refused)
    else dialog.current?.close()
  }
  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onClose={close}>
      <form onSubmit={submit}>
        <h2 id="dialog-title">{title}</h2>
        {children}
        {refusal && <RefusalNote refusal={refusal} />}
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>
            {text.cancel}
          </button>
          <button type="submit" class={danger ? 'main danger' : 'main'} aria-disabled={busy ? 'true' : undefined}>
            {button}
          </button>
        </div>
      </form>
    </dialog>
  )
}

const field = (fields: FormData, name: string): string => String(fields.get(name) ?? '').trim()

/** `install.wim` -> `install-copy.wim`. */
function copyFileName(fileName: string): string {
  const dot = fileName.lastIndexOf('.')
  return dot > 0 ? `${fileName.slice(0, dot)}-copy${fileName.slice(dot)}` : `${fileName}-copy`
}

function CopyDialog({ image }: { image: Image }) {
  const words = text.copyDialog
  return (
    <FormDialog
      title={words.title}
      button={words.button}
      onSubmit={(fields) => {
        const json = {
          newName: field(fields, 'newName'),
          newFileName: field(fields, 'newFileName'),
          newDescription: field(fields, 'newDescription'),
        }
        return act(
          (api) => api.copy(image, json),
          () => text.notices.copied(json.newName),
        )
      }}
    >
      <p>{words.lead(image.name)}</p>
      <label for="new-name">{words.newName}</label>
      <input
        id="new-name"
        name="newName"
        required
        autofocus
        autocomplete="off"
        value={words.nameProposal(image.name)}
      />
      <label for="new-file-name">{words.newFileName}</label>
      <input
        id="new-file-name"
        name="newFileName"
        required
        autocomplete="off"
        spellcheck={false}
        value={copyFileName(image.fileName)}
      />
      <label for="new-description">{words.newDescription}</label>
      <input id="new-description" name="newDescription" autocomplete="off" value={image.description} />
    </FormDialog>
  )
}

function RemoveDialog({ image, others }: { image: Image; others: number }) {
  const words = text.removeDialog
  return (
    <FormDialog
      title={words.title}
      button={words.button}
      danger
      onSubmit={() =>
        act(
          (api) => api.remove(image),
          () => text.notices.removed(image.name),
        )
      }
    >
      <p>{words.lead(image.name, image.group)}</p>
      <dl class="facts">
        <div>
          <dt>{words.file}</dt>
          <dd>{image.fileName}</dd>
        </div>
        <div>
          <dt>{words.size}</dt>
          <dd>{text.bytes(image.sizeBytes)}</dd>
        </div>
      </dl>
      <p>{words.others(others)}</p>
      {image.public && <p>{words.isPublic}</p>}
      <p>
        <strong>{words.final}</strong>
      </p>
    </FormDialog>
  )
}

function TransmitDialog({ image }: { image: Image }) {
  const words = text.transmitDialog
  return (
    <FormDialog
      title={words.title}
      button={words.button}
      onSubmit={(fields) => {
        const name = field(fields, 'interface')
        const megabits = Number(field(fields, 'rate'))
        const options = {
          ...(name === '' ? {} : { interface: name }),
          ...(megabits > 0 ? { rateBitsPerSecond: Math.round(megabits * 1e6) } : {}),
        }
        return act(
          (api) => api.transmit({ image: image.name, group: image.group, file: image.fileName, ...options }),
          (cast) => text.notices.transmitting(image.name, cast.id),
        )
      }}
    >
      <p>{words.lead(image.name)}</p>
      <label for="interface">{words.interface}</label>
      <input
        id="interface"
        name="interface"
        autofocus
        autocomplete="off"
        spellcheck={false}
        aria-describedby="interface-hint"
      />
      <p class="hint" id="interface-hint">
        {words.interfaceHint}
      </p>
      <label for="rate">{words.rate}</label>
      <input
        id="rate"
        name="rate"
        type="number"
        min="0.1"
        step="any"
        inputmode="decimal"
        aria-describedby="rate-hint"
      />
      <p class="hint" id="rate-hint">
        {words.rateHint}
      </p>
    </FormDialog>
  )
}

function StopDialog({ cast }: { cast: Cast }) {
  const words = text.stopDialog
  return (
    <FormDialog
      title={words.title(cast.id)}
      button={words.button}
      danger
      onSubmit={(fields) =>
        act(
          (api) => api.stopCast(cast.id, { force: fields.get('force') !== null }),
          () => text.notices.stopping(cast.id),
        )
      }
    >
      <p>{words.lead}</p>
      <label class="check">
        <input type="checkbox" name="force" />
        {words.force}
      </label>
    </FormDialog>
  )
}
