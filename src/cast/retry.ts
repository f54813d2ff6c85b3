/** Asking again while the other side is away: a restart, a pulled cable. What it says no to for good is not asked again. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Code, Refusal } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'

export type Patience = {
  /** The first wait; each further one is twice as long, up to the longest. A random half of it keeps clients apart. */
  readonly firstMs: number
  readonly longestMs: number
  /** Without an answer for this long, the refusal stands. */
  readonly limitMs: number
}

export const PATIENCE: Patience = { firstMs: 500, longestMs: 15_000, limitMs: 5 * 60_000 }

/** `unavailable` is also what a server error without a code of its own comes as. */
const PASSING: ReadonlySet<Code> = new Set(['unreachable', 'unavailable', 'interrupted'])

export function mayPass(refusal: Refusal): boolean {
  return PASSING.has(refusal.code)
}

export async function retry<T>(
  call: () => Promise<Result<T>>,
  patience: Patience,
  signal: AbortSignal,
): Promise<Result<T>> {
  const startedMs = performance.now()
  for (let waitMs = patience.firstMs; ; waitMs = Math.min(patience.longestMs, waitMs * 2)) {
    const result = await call()
    if (result.ok || !mayPass(result.error)) return result
    if (performance.now() - startedMs >= patience.limitMs) return result
    await pause(waitMs * (0.5 + Math.random() / 2), undefined, { signal })
  }
}
