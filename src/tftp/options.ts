/**
 * What a request's options come to: RFC 2347 (negotiation), 2348 (blksize), 2349 (tsize, timeout), 7440 (windowsize).
 * Pure. The answer names only what was asked (RFC 2347 §Negotiation Protocol: EDK2 turns an OACK with more away);
 * an option that is unknown or whose value the RFCs do not allow is left out, as if it had not been asked.
 */
import type { Options } from './packet.ts'

export type Terms = {
  readonly sizeBytes: number
  /** Data bytes per block, RFC 1350 §2 says 512 when nothing was agreed. */
  readonly blksize: number
  /** Blocks sent per ACK. */
  readonly windowsize: number
  /** How long to wait for the first ACK of a window. */
  readonly timeoutMs: number
  /** Without an agreed `timeout` each further wait is longer; with one the client has said how long it shall be. */
  readonly backOff: boolean
  /** What the OACK says; nothing agreed means no OACK, and the first DATA comes at once. */
  readonly agreed: Options
}

export type Limits = {
  /** Bytes of IP packet that reach the client in one piece. */
  readonly mtu: number
  /** The client's address family decides how much of the MTU the IP header takes. */
  readonly ipv6: boolean
  readonly maxWindowsize: number
  /** Blocks in flight times blksize: what a transfer must keep in memory to send a window again. */
  readonly maxWindowBytes: number
  /** First wait when the client names none. */
  readonly timeoutMs: number
}

/** RFC 2348: 8 to 65464. */
const MAX_TIMEOUT_S = 10
const MIN_BLKSIZE = 8
const MAX_BLKSIZE = 65464
const DEFAULT_BLKSIZE = 512

/** A whole decimal number in the range, or nothing: no sign, no blanks, no `0x`. */
function decimal(value: string | undefined, low: number, high: number): number | undefined {
  if (value === undefined || !/^\d{1,15}$/.test(value)) return undefined
  const number = Number(value)
  return number >= low && number <= high ? number : undefined
}

/** IP header, UDP header and the four bytes of DATA: a block beyond this would be fragmented on the way. */
export function unfragmentedBlksize(mtu: number, ipv6: boolean): number {
  return Math.max(DEFAULT_BLKSIZE, Math.min(MAX_BLKSIZE, mtu - (ipv6 ? 40 : 20) - 8 - 4))
}

export function negotiate(asked: Options, sizeBytes: number, limits: Limits): Terms {
  const agreed = new Map<string, string>()
  let blksize = DEFAULT_BLKSIZE
  let wantedWindow: number | undefined
  let timeoutMs: number | undefined

  for (const [name, value] of asked) {
    switch (name) {
      case 'blksize': {
        // More than 65464 is not forbidden to ask: RFC 2348 lets the server answer with less.
        const wanted = decimal(value, MIN_BLKSIZE, Number.MAX_SAFE_INTEGER)
        if (wanted === undefined) break
        blksize = Math.min(wanted, unfragmentedBlksize(limits.mtu, limits.ipv6))
        agreed.set(name, String(blksize))
        break
      }
      case 'tsize':
        if (decimal(value, 0, Number.MAX_SAFE_INTEGER) === undefined) break
        agreed.set(name, String(sizeBytes))
        break
      case 'timeout': {
        // RFC 2349 §2: the server must answer with the very value, or leave the option out. It allows 255 s; that long
        // times seven tries a client that is gone would hold its transfer for half an hour.
        const seconds = decimal(value, 1, MAX_TIMEOUT_S)
        if (seconds === undefined) break
        timeoutMs = seconds * 1000
        agreed.set(name, String(seconds))
        break
      }
      case 'windowsize':
        wantedWindow = decimal(value, 1, 65535)
        // The answer depends on blksize, which may come later; the place in the OACK is the client's order.
        if (wantedWindow !== undefined) agreed.set(name, '')
        break
    }
  }

  let windowsize = 1
  if (wantedWindow !== undefined) {
    const fits = Math.max(1, Math.floor(limits.maxWindowBytes / blksize))
    windowsize = Math.min(wantedWindow, limits.maxWindowsize, fits)
    agreed.set('windowsize', String(windowsize))
  }
  return {
    sizeBytes,
    blksize,
    windowsize,
    timeoutMs: timeoutMs ?? limits.timeoutMs,
    backOff: timeoutMs === undefined,
    agreed,
  }
}
