/**
 * How fast to send. Pure: the caller brings the clock and what the clients said.
 *
 * Up by a tenth each tick (doubled while starting), down on loss, as the 90th percentile of clients has it: one bad
 * client never slows the group. Loss alone is no sign of haste: a bad cable loses 5 % at every speed. So a new loss is
 * looked at twice. First the rate is held, until reports speak of this rate; then it is cut, as a question. If the loss
 * falls as it must when a link was overrun, the cut stays; if not, it is not ours: the rate comes back and that loss is
 * the new baseline. A client's own socket running over is always a sign of haste.
 */

export type RateLimits = { readonly floor: number; readonly ceiling: number }

export type RateState = {
  readonly bitsPerSecond: number
  /** The share that is lost whatever the rate. */
  readonly baseline: number
  /** Doubles each tick until the first sign of haste. */
  readonly starting: boolean
  /** A loss above the baseline that is being looked at. */
  readonly doubt: Doubt | undefined
}

type Doubt = {
  /** Reports lag: what they say in these ticks is still of the time before. */
  readonly ticksLeft: number
  /** Absent while the rate is held; afterwards what was before the cut, and its factor. */
  readonly cut?: { readonly loss: number; readonly bitsPerSecond: number; readonly factor: number }
}

export type ClientSample = {
  /** Share of what was sent for this client and did not come, 0 to 1; unknown until it was sent enough. */
  readonly loss: number | undefined
  /** Its socket dropped datagrams since its last report. */
  readonly overflowed: boolean
}

const START_BITS = 400e6
const TOLERATED = 0.02

/** Ticks until reports speak of the present rate: a few hundred milliseconds. */
function ticksToSettle(state: RateState): number {
  return state.starting ? 3 : 2
}

/** How often to decide; sooner while starting. */
export function tickMs(state: RateState): number {
  return state.starting ? 100 : 250
}

export function firstRate(limits: RateLimits): RateState {
  return { bitsPerSecond: clamp(START_BITS, limits), baseline: 0, starting: true, doubt: undefined }
}

function clamp(bitsPerSecond: number, limits: RateLimits): number {
  return Math.min(limits.ceiling, Math.max(limits.floor, bitsPerSecond))
}

/** The client at nine tenths, counted from the best; with two, the better one: one of a few never decides alone. */
export function percentile90(losses: readonly number[]): number | undefined {
  const sorted = losses.toSorted((a, b) => a - b)
  return sorted[Math.floor(0.9 * (sorted.length - 1))]
}

/** Down in steps, because one report may be lucky; up in smaller ones, because a slow growth may be ours. */
function drift(baseline: number, loss: number): number {
  return loss < baseline ? baseline + (loss - baseline) * 0.2 : Math.min(loss, baseline + 0.001)
}

/** `sentBitsPerSecond` is what really left in this tick: the permission never grows far beyond it. */
export function nextRate(
  state: RateState,
  clients: readonly ClientSample[],
  sentBitsPerSecond: number,
  limits: RateLimits,
): RateState {
  if (clients.length === 0) return state
  const overflowed = (percentile90(clients.map((client) => (client.overflowed ? 1 : 0))) ?? 0) > 0
  const sent = Math.min(state.bitsPerSecond, sentBitsPerSecond)
  if (overflowed) return { ...state, bitsPerSecond: clamp(sent * 0.85, limits), starting: false, doubt: undefined }
  const { doubt } = state
  if (doubt && doubt.ticksLeft > 0) return { ...state, doubt: { ...doubt, ticksLeft: doubt.ticksLeft - 1 } }
  const loss = percentile90(clients.flatMap((client) => (client.loss === undefined ? [] : [client.loss])))
  if (loss !== undefined && doubt?.cut) {
    const { cut } = doubt
    // A link that carries C of R loses 1 - C/R; at f * R it loses 1 - C/(f * R), or nothing.
    const expected = Math.max(state.baseline, 1 - (1 - cut.loss) / cut.factor)
    if (loss > (cut.loss + expected) / 2) {
      return { ...state, bitsPerSecond: clamp(cut.bitsPerSecond, limits), baseline: loss, doubt: undefined }
    }
  }
  if (loss !== undefined && loss - state.baseline > TOLERATED) {
    const ticksLeft = ticksToSettle(state)
    if (!doubt) {
      const held = state.starting ? state.bitsPerSecond / 2 : state.bitsPerSecond
      return { ...state, bitsPerSecond: clamp(held, limits), doubt: { ticksLeft } }
    }
    const factor = Math.max(0.3, (0.85 * (1 - loss)) / (1 - state.baseline))
    const cut = { loss, bitsPerSecond: sent, factor }
    return { ...state, bitsPerSecond: clamp(sent * factor, limits), doubt: { ticksLeft, cut } }
  }
  const starting = state.starting && !doubt
  const room = Math.max(sentBitsPerSecond * (starting ? 2 : 1.25), limits.floor)
  const grown = state.bitsPerSecond * (starting ? 2 : 1.1)
  return {
    bitsPerSecond: clamp(Math.max(state.bitsPerSecond * 0.98, Math.min(grown, room)), limits),
    baseline: loss === undefined ? state.baseline : drift(state.baseline, loss),
    starting,
    doubt: undefined,
  }
}

/** Bursts below this go out at once: what a switch port buffers, and a few super-packets. */
const BURST_NS = 1e6

/** Spreads packets over time. `waitNs` says how long to hold the next one; times are of one monotonic clock. */
export class Pacer {
  #bitsPerSecond: number
  #freeAtNs = 0

  constructor(bitsPerSecond: number) {
    this.#bitsPerSecond = bitsPerSecond
  }

  set bitsPerSecond(value: number) {
    this.#bitsPerSecond = value
  }

  waitNs(nowNs: number): number {
    return Math.max(0, this.#freeAtNs - nowNs)
  }

  spent(bytes: number, nowNs: number): void {
    this.#freeAtNs = Math.max(this.#freeAtNs, nowNs - BURST_NS) + (bytes * 8e9) / this.#bitsPerSecond
  }
}
