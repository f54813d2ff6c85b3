/** Time comes in by argument, so that tests own it. */
export type Clock = {
  /** Milliseconds since the epoch; may jump. For what people read. */
  readonly nowMs: () => number
  /** Milliseconds since some start; never jumps back. For intervals. */
  readonly monotonicMs: () => number
}

export const systemClock: Clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() }
