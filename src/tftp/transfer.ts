/**
 * One read transfer, from the server's side, as a step function: state and event in, state and actions out. It knows
 * no socket, clock or disk. RFC 1350 §2 and §4 (lock-step), RFC 2347 (OACK), RFC 7440 (windows).
 *
 *   offered --ACK 0--> sending --ACK of the last block--> over
 *      |                  |
 *      +------------------+--- ERROR, silence, fault, stop --> over
 *
 * Block numbers here count on without wrapping; on the wire they wrap from 65535 to 0, as all clients in use do.
 */
import { unreachable } from '../base/result.ts'
import type { Terms } from './options.ts'
import { ERROR } from './packet.ts'

export type Transfer = {
  readonly terms: Terms
  readonly phase: 'offered' | 'sending' | 'over'
  /** The highest block that the client has acknowledged. */
  readonly acked: number
  /** The last block of the window now being sent or waited for. */
  readonly windowEnd: number
  /** The highest block that ever left: an ACK beyond it can't be true. */
  readonly left: number
  /** Whether the whole window has left, so that the wait for its ACK runs. */
  readonly waiting: boolean
  /** Times in a row that silence was answered by sending again. */
  readonly tries: number
  /** Whether the window's short wait after a duplicate ACK is unused, running, or used up. */
  readonly nudge: 'unused' | 'running' | 'used'
  /** Blocks sent more than once. */
  readonly retransmits: number
}

export type Event =
  /** An ACK from the client; the block number as it is on the wire. */
  | { readonly kind: 'ack'; readonly block: number }
  /** The client's ERROR. */
  | { readonly kind: 'error'; readonly code: number; readonly message: string }
  /** Blocks up to and including `last`, of those asked for by the latest `blocks` action, went to the network. */
  | { readonly kind: 'left'; readonly last: number }
  /** The latest `wait` is over. */
  | { readonly kind: 'timeout' }
  /** The content cannot be read. */
  | { readonly kind: 'fault'; readonly why: string }
  /** The client opened another transfer from the same port: it has left this one without a word. */
  | { readonly kind: 'superseded' }
  /** The server stops. */
  | { readonly kind: 'stop' }

export type Outcome =
  | { readonly kind: 'sent' }
  /** The client only wanted to know the size: EDK2 asks for tsize, sends ERROR 8, and comes back for the file. */
  | { readonly kind: 'probed' }
  | { readonly kind: 'failed'; readonly why: string }

export type Action =
  | { readonly kind: 'oack' }
  /** Send these blocks, and nothing of an earlier `blocks` that is still to be sent; report each part by `left`. */
  | { readonly kind: 'blocks'; readonly first: number; readonly last: number }
  /** Raise `timeout` after this time, unless the next `wait`, `blocks` or `end` comes first. */
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'error'; readonly code: number; readonly message: string }
  | { readonly kind: 'end'; readonly outcome: Outcome }

export type Step = readonly [Transfer, readonly Action[]]

/** Silence is answered this many times, over 23 s when the client named no timeout. */
export const MAX_TRIES = 6

/** Longer than a round trip on any network that PXE runs over, and short enough not to be felt. */
export const NUDGE_MS = 50

/** The number of the last block: a short or empty one, which ends the transfer (RFC 1350 §6). */
export function lastBlock(terms: Terms): number {
  return Math.floor(terms.sizeBytes / terms.blksize) + 1
}

export function begin(terms: Terms): Step {
  const state: Transfer = {
    terms,
    phase: 'offered',
    acked: 0,
    windowEnd: 0,
    left: 0,
    waiting: true,
    tries: 0,
    nudge: 'unused',
    retransmits: 0,
  }
  return terms.agreed.size > 0 ? [state, [{ kind: 'oack' }, wait(state)]] : nextWindow(state)
}

export function step(state: Transfer, event: Event): Step {
  if (state.phase === 'over') return [state, []]
  switch (event.kind) {
    case 'ack':
      return onAck(state, event.block)
    case 'error':
      if (state.phase === 'offered') return end(state, { kind: 'probed' })
      return end(state, { kind: 'failed', why: `the client gave up: ${event.code} ${event.message}`.trimEnd() })
    case 'left':
      return onLeft(state, event.last)
    case 'timeout':
      return onTimeout(state)
    case 'fault':
      return end(state, { kind: 'failed', why: event.why }, 'The file cannot be read')
    case 'superseded':
      // No ERROR: it would reach the new transfer, which takes the first packet that comes as its own.
      return end(state, { kind: 'failed', why: 'the client began anew' })
    case 'stop':
      return end(state, { kind: 'failed', why: 'the server stopped' }, 'The server stops')
    default:
      return unreachable(event)
  }
}

function onAck(state: Transfer, wire: number): Step {
  if (state.phase === 'offered') {
    // RFC 2347: ACK 0 accepts the OACK.
    return wire === 0 ? nextWindow({ ...state, tries: 0 }) : [state, []]
  }
  // The window is far smaller than 65536 blocks, so the first number from `acked` on that ends so is the one meant;
  // an old ACK comes out far beyond what has left.
  const block = state.acked + ((wire - state.acked) & 0xffff)
  if (block === state.acked) return onDuplicate(state)
  if (block > state.left) return [state, []]
  const acked: Transfer = { ...state, acked: block, tries: 0, nudge: 'unused' }
  if (block === lastBlock(state.terms)) return end(acked, { kind: 'sent' })
  // RFC 7440 §4: after a gap the client acknowledges what it has in order, and the window resumes behind that.
  return nextWindow(acked)
}

/**
 * A duplicate ACK never makes a block leave: RFC 1123 §4.2.3.1, the Sorcerer's Apprentice. In a window it may also be
 * how the client says that the window's first block was lost (RFC 7440 §4). If so, nothing else will come, and a short
 * wait tells; if it was a mere duplicate, the window's own ACK arrives within it. Once per window.
 */
function onDuplicate(state: Transfer): Step {
  if (state.terms.windowsize === 1 || !state.waiting || state.nudge !== 'unused') return [state, []]
  return [{ ...state, nudge: 'running' }, [{ kind: 'wait', ms: Math.min(NUDGE_MS, waitMs(state)) }]]
}

function onLeft(state: Transfer, last: number): Step {
  const left = Math.max(state.left, last)
  if (last < state.windowEnd) return [{ ...state, left }, []]
  const waiting: Transfer = { ...state, left, waiting: true }
  return [waiting, [wait(waiting)]]
}

function onTimeout(state: Transfer): Step {
  if (!state.waiting) return [state, []]
  if (state.nudge === 'running') return window({ ...state, nudge: 'used' })
  if (state.tries >= MAX_TRIES) return end(state, { kind: 'failed', why: silence(state) })
  const again: Transfer = { ...state, tries: state.tries + 1 }
  return again.phase === 'offered' ? [again, [{ kind: 'oack' }, wait(again)]] : window(again)
}

/** What silence means depends on where it begins; the last case may well be a client that has everything. */
function silence(state: Transfer): string {
  if (state.phase === 'offered') return 'the client never answered the OACK'
  if (state.windowEnd === lastBlock(state.terms)) return 'the client never acknowledged the last block'
  return 'the client fell silent'
}

function nextWindow(state: Transfer): Step {
  return window({
    ...state,
    phase: 'sending',
    windowEnd: Math.min(state.acked + state.terms.windowsize, lastBlock(state.terms)),
  })
}

function window(state: Transfer): Step {
  const first = state.acked + 1
  const again = Math.max(0, Math.min(state.windowEnd, state.left) - first + 1)
  return [
    { ...state, waiting: false, retransmits: state.retransmits + again },
    [{ kind: 'blocks', first, last: state.windowEnd }],
  ]
}

function waitMs(state: Transfer): number {
  const { timeoutMs, backOff } = state.terms
  return backOff ? timeoutMs * 2 ** Math.min(state.tries, 2) : timeoutMs
}

function wait(state: Transfer): Action {
  return { kind: 'wait', ms: waitMs(state) }
}

function end(state: Transfer, outcome: Outcome, message?: string): Step {
  const over: Transfer = { ...state, phase: 'over' }
  const last: Action = { kind: 'end', outcome }
  return [over, message === undefined ? [last] : [{ kind: 'error', code: ERROR.undefined, message }, last]]
}
