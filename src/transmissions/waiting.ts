/** The transmissions that run and are held: each is looked at when its clients change, and when its time comes. */
import type { Clock } from '../base/clock.ts'
import { looksAgainInMs, type StartReason, type StartTerms, startsNow } from './start-rule.ts'

export type Waiting = Disposable & {
  readonly add: (id: number, terms: StartTerms) => void
  readonly forget: (id: number) => void
  /** Its clients may have changed. Of one that does not wait nothing comes. */
  readonly look: (id: number) => void
}

type Held = {
  readonly terms: StartTerms
  timer: ReturnType<typeof setTimeout> | undefined
  /** Said once: that it is written may take its time. */
  begins: boolean
}

export function openWaiting(deps: {
  readonly clock: Clock
  /** How many clients of it could begin now. */
  readonly ready: (id: number) => number
  readonly begin: (id: number, reason: StartReason, ready: number) => void
}): Waiting {
  const all = new Map<number, Held>()

  function forget(id: number): void {
    clearTimeout(all.get(id)?.timer)
    all.delete(id)
  }

  function look(id: number): void {
    const held = all.get(id)
    if (held === undefined || held.begins) return
    const facts = { ready: deps.ready(id), nowMs: deps.clock.nowMs() }
    const reason = startsNow(held.terms, facts)
    clearTimeout(held.timer)
    if (reason !== undefined) {
      held.begins = true
      deps.begin(id, reason, facts.ready)
      return
    }
    const lookMs = looksAgainInMs(held.terms, facts.nowMs)
    if (lookMs === undefined) return
    held.timer = setTimeout(() => look(id), lookMs)
    held.timer.unref()
  }

  return {
    add: (id, terms) => {
      forget(id)
      all.set(id, { terms, timer: undefined, begins: false })
      look(id)
    },
    forget,
    look,
    [Symbol.dispose]: () => {
      for (const id of [...all.keys()]) forget(id)
    },
  }
}
