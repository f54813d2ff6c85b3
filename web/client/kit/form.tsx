/**
 * The one dialog: a modal form, its refusals beside its fields, and `What would happen`, which asks the same as a dry run
 * and shows the answer.
 */
import { type Child, createPortal, useEffect, useRef, useState } from 'hono/jsx/dom'
import type { Result } from '../../../src/base/result.ts'
import type { ApiClient, OnProgress, Refusal } from '../api.ts'
import { ask as askNow } from '../session.ts'
import { type Action, change, tell } from '../store.ts'
import { text } from '../text.ts'
import { Bar } from './bar.tsx'
import { RefusalNote } from './refusal.tsx'

export type Asked = {
  readonly dryRun: boolean
  /** Aborted when the dialog is closed. */
  readonly signal: AbortSignal
  readonly onProgress: OnProgress
}

type Props<T> = {
  readonly title: string
  readonly button: string
  readonly danger?: boolean | undefined
  readonly wide?: boolean | undefined
  readonly ask: (api: ApiClient, fields: FormData, how: Asked) => Promise<Result<T, Refusal>>
  /** What is said when it is done, and what is offered then. */
  readonly done: (value: T) => string | { readonly message: string; readonly action?: Action | undefined }
  /** What would come of it: offered when this is there. */
  readonly would?: ((value: T) => Child) | undefined
  /** What would come of it is asked when the dialog opens. */
  readonly lookFirst?: boolean | undefined
  /** What helps against a refusal, besides its hint. */
  readonly remedy?: ((refusal: Refusal) => Child) | undefined
  /** The field that a refusal is about. */
  readonly fieldOf?: ((refusal: Refusal) => string | undefined) | undefined
  /** Known before the form is sent. */
  readonly refusal?: Refusal | undefined
  readonly children: Child
}

type Outcome =
  | { readonly kind: 'refused'; readonly refusal: Refusal }
  | { readonly kind: 'would'; readonly shown: Child; readonly n: number }

export function Form<T>(props: Props<T>) {
  const { title, button, danger, wide, ask, done, would, fieldOf, children } = props
  const dialog = useRef<HTMLDialogElement>(null)
  const form = useRef<HTMLFormElement>(null)
  const leaving = useRef(new AbortController())
  const [busy, setBusy] = useState<'asking' | 'looking' | undefined>(undefined)
  const [progress, setProgress] = useState<{ done: number; total: number } | undefined>(undefined)
  const [outcome, setOutcome] = useState<Outcome | undefined>(
    props.refusal && { kind: 'refused', refusal: props.refusal },
  )
  const refusal = outcome?.kind === 'refused' ? outcome.refusal : undefined
  const field = refusal && fieldOf?.(refusal)
  useEffect(() => {
    dialog.current?.showModal()
    if (props.lookFirst) run(true)
    return () => leaving.current?.abort()
  }, [])
  useEffect(() => {
    const input = field === undefined ? undefined : form.current?.querySelector<HTMLElement>(`[name="${field}"]`)
    if (!input) return
    input.setAttribute('aria-invalid', 'true')
    input.closest('details')?.setAttribute('open', '')
    input.focus()
    return () => input.removeAttribute('aria-invalid')
  }, [outcome])

  // Long forms scroll: the answer is brought to where it is seen.
  useEffect(() => {
    // Below its field a refusal stands only after this.
    const frame = requestAnimationFrame(() => {
      form.current?.querySelector('.outcome, .refusal')?.scrollIntoView({ block: 'nearest' })
    })
    return () => cancelAnimationFrame(frame)
  }, [outcome])

  function close(): void {
    change({ dialog: undefined })
    // What opened the dialog may be gone with what it removed.
    if (document.activeElement === document.body) document.getElementById('content')?.focus()
  }
  async function run(dryRun: boolean): Promise<void> {
    const element = form.current
    const { signal } = leaving.current ?? new AbortController()
    if (busy || !element) return
    const fields = new FormData(element)
    setBusy(dryRun ? 'looking' : 'asking')
    const onProgress: OnProgress = (at, total) => setProgress({ done: at, total })
    const result = await askNow((api) => ask(api, fields, { dryRun, signal, onProgress }))
    if (signal.aborted || !result) return
    setBusy(undefined)
    setProgress(undefined)
    if (!result.ok) setOutcome({ kind: 'refused', refusal: result.error })
    else if (dryRun) setOutcome({ kind: 'would', shown: would?.(result.value), n: Date.now() })
    else {
      const said = done(result.value)
      if (typeof said === 'string') tell(said)
      else tell(said.message, said.action)
      dialog.current?.close()
    }
  }
  function submit(event: Event): void {
    event.preventDefault()
    run(false)
  }
  const note = refusal && (
    <>
      <RefusalNote refusal={refusal} />
      {props.remedy?.(refusal)}
    </>
  )
  const slot = field === undefined ? null : form.current?.querySelector<HTMLElement>(`[data-refusal-of="${field}"]`)
  return (
    <dialog ref={dialog} class={wide ? 'wide' : undefined} aria-labelledby="dialog-title" onClose={close}>
      <form ref={form} onSubmit={submit}>
        <h2 id="dialog-title">{title}</h2>
        <div class="fields">{children}</div>
        {note && (slot ? createPortal(note, slot) : note)}
        {outcome?.kind === 'would' && (
          <div class="outcome" role="status" key={outcome.n}>
            <p class="outcome-title">{text.would.title}</p>
            {outcome.shown}
          </div>
        )}
        {progress && (
          <Bar label={text.uploads.sending} value={progress.done} max={progress.total}>
            <span>{text.uploads.sending}</span>
            <span class="muted">{text.jobs.doneOf(progress.done, progress.total)}</span>
          </Bar>
        )}
        <div class="buttons">
          {would && (
            <button
              type="button"
              class="quiet"
              aria-disabled={busy ? 'true' : undefined}
              onClick={() => form.current?.reportValidity() && run(true)}
            >
              {busy === 'looking' ? text.would.busy : text.would.button}
            </button>
          )}
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

/** A dialog that shows, and asks nothing. */
export function Sheet({ title, children }: { title: string; children: Child }) {
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog
      ref={dialog}
      class="wide sheet"
      aria-labelledby="dialog-title"
      onClose={() => change({ dialog: undefined })}
    >
      <h2 id="dialog-title">{title}</h2>
      {children}
      <div class="buttons">
        <button type="button" class="main" onClick={() => dialog.current?.close()}>
          {text.close}
        </button>
      </div>
    </dialog>
  )
}
