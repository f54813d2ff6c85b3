/** The one progress bar: of jobs, transfers, clients, and of what is full. */
import type { Child } from 'hono/jsx/dom'

type Props = {
  /** For who does not see it. */
  readonly label: string
  readonly value: number
  /** Nought or less: how much it will be is not known. */
  readonly max: number
  readonly look?: 'share' | 'full' | undefined
  /** Below it: what goes on, and how far it is. */
  readonly children?: Child
}

export function Bar({ label, value, max, look, children }: Props) {
  const known = max > 0
  return (
    <div class="progress">
      <progress
        class={look}
        aria-label={label}
        value={known ? Math.min(value, max) : undefined}
        max={known ? max : undefined}
      />
      {children && <p class="small">{children}</p>}
    </div>
  )
}
