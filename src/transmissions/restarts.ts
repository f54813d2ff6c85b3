/** Transmissions that failed for a reason that may pass: each is started again, after a wait that grows. */
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { Code } from '../base/refusal.ts'
import type { Failure } from './shown.ts'

/** Until the first new start; doubled with each failure in a row. */
export const RESTART_MS = 1000
const LIMIT_MS = 30_000
/** A transmission that ran for so long begins anew with the first wait. */
const CALM_MS = 60_000

/** What another start cannot mend: the content is not there, or not what it was. Everything else is tried again. */
const FINAL: ReadonlySet<string> = new Set<Code>([
  'not-found',
  'wrong-content',
  'cast-over',
  'unreadable',
  'truncated',
  'corrupt',
  'missing-blobs',
  'bad-metadata',
  'unsupported',
])

export function isFinal({ code }: Failure): boolean {
  return FINAL.has(code)
}

export type Restarts = Disposable & {
  /** Starts it again when its time has come. */
  readonly later: (id: number, failure: Failure) => void
  /** Of one that is to be started again. */
  readonly failureOf: (id: number) => Failure | undefined
  readonly forget: (id: number) => void
}

type Restart = {
  readonly failure: Failure
  /** In a row. */
  readonly failures: number
  readonly dueMs: number
  readonly timer: ReturnType<typeof setTimeout>
}

export function openRestarts(deps: {
  readonly clock: Clock
  readonly log: Log
  readonly start: (id: number) => void
}): Restarts {
  const { clock, log } = deps
  const all = new Map<number, Restart>()
  return {
    later: (id, failure) => {
      const before = all.get(id)
      const calm = before === undefined || clock.monotonicMs() - before.dueMs > CALM_MS
      const failures = calm ? 0 : before.failures + 1
      const delayMs = Math.min(LIMIT_MS, RESTART_MS * 2 ** failures)
      clearTimeout(before?.timer)
      const timer = setTimeout(() => deps.start(id), delayMs)
      timer.unref()
      all.set(id, { failure, failures, dueMs: clock.monotonicMs() + delayMs, timer })
      log.warning('cast.waits', { cast: id, code: failure.code, reason: failure.message, delayMs })
    },
    failureOf: (id) => all.get(id)?.failure,
    forget: (id) => {
      clearTimeout(all.get(id)?.timer)
      all.delete(id)
    },
    [Symbol.dispose]: () => {
      for (const { timer } of all.values()) clearTimeout(timer)
    },
  }
}
