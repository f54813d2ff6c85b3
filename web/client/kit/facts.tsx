/** Labels with values, and the small parts that all rooms share. */
import type { Child } from 'hono/jsx/dom'

export function Facts({ children }: { children: Child }) {
  return <dl class="facts">{children}</dl>
}

export function Fact({ label, kind, children }: { label: string; kind?: string | undefined; children: Child }) {
  return (
    <div>
      <dt class={kind}>{label}</dt>
      <dd>{children}</dd>
    </div>
  )
}

/** A word on a coloured ground. */
export function Badge({ kind = '', children }: { kind?: string; children: Child }) {
  return <span class={`state ${kind}`}>{children}</span>
}

export function When({ ms, children }: { ms: number; children: Child }) {
  return <time datetime={new Date(ms).toISOString()}>{children}</time>
}

type ButtonProps = {
  /** Of several that say the same: on what this one acts. */
  readonly name?: string | undefined
  readonly look?: 'main' | 'quiet' | 'danger' | undefined
  readonly busy?: boolean | undefined
  readonly onClick: () => void
  readonly children: Child
}

export function Button({ name, look, busy, onClick, children }: ButtonProps) {
  return (
    <button
      type="button"
      class={look}
      aria-label={name}
      aria-disabled={busy ? 'true' : undefined}
      onClick={() => busy || onClick()}
    >
      {children}
    </button>
  )
}

type SectionProps = {
  readonly id: string
  readonly title: string
  /** Beside the title. */
  readonly about?: Child
  readonly actions?: Child
  readonly children: Child
}

/** The frame of a room, and of the parts of one. */
export function Section({ id, title, about, actions, children }: SectionProps) {
  return (
    <section class="part" aria-labelledby={`${id}-title`}>
      <div class="part-head">
        <h2 id={`${id}-title`}>{title}</h2>
        {about && <p class="muted">{about}</p>}
        {actions && <div class="part-actions">{actions}</div>}
      </div>
      {children}
    </section>
  )
}
