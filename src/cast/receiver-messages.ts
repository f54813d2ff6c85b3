/** What a receiver's main thread and its worker tell each other. Plain data, for structured clone. */
import type { Code } from '../base/refusal.ts'

export type ReceiverLimits = {
  /** Nothing heard since the start: the group does not reach us. */
  readonly probeMs: number
  /** No beacon: leave and join the group again, in case a switch forgot us. */
  readonly rejoinMs: number
  /** No beacon: the sender is gone. */
  readonly silenceMs: number
}

export const RECEIVER_LIMITS: ReceiverLimits = { probeMs: 3000, rejoinMs: 5000, silenceMs: 15_000 }

export type StartReceiver = {
  readonly kind: 'start'
  /** The partial file, opened for writing by the main thread and kept open while the worker runs. */
  readonly file: number
  readonly sizeBytes: number
  readonly symbolBytes: number
  /** The set of symbols that the file holds; shared, so that the main thread can save it. */
  readonly have: SharedArrayBuffer
  /** The blocks that the join asked for. */
  readonly joined: Uint8Array
  readonly tag: number
  readonly sessionId: bigint
  readonly epoch: number
  readonly sessionKey: Uint8Array
  readonly reportKey: Uint8Array
  readonly clientId: number
  readonly group: string
  readonly port: number
  /** 0: by route. */
  readonly interfaceIndex: number
  readonly reportAddress: string
  readonly reportPort: number
  readonly limits: ReceiverLimits
}

export type ToReceiver = StartReceiver | { readonly kind: 'stop' }

export type ReceiverCounters = {
  readonly lackingSymbols: number
  readonly duplicates: number
  readonly refused: number
  readonly socketDrops: number
}

/** Why the worker ended. */
export type ReceiverEnd =
  | 'complete'
  /** Not one beacon came. */
  | 'deaf'
  /** The beacons ceased. */
  | 'silent'
  /** Beacons and nothing else: our reports do not reach the sender. */
  | 'mute'
  /** The sender said goodbye. */
  | 'bye'
  | 'stopped'

/** The transmission is held: how many clients are ready, and how many it waits for, where it waits for a number. */
export type Waiting = { readonly ready: number; readonly wanted: number | undefined }

export type FromReceiver =
  | { readonly kind: 'heard' }
  /** Absent when it has begun. */
  | { readonly kind: 'waiting'; readonly waiting: Waiting | undefined }
  | { readonly kind: 'progress'; readonly counters: ReceiverCounters; readonly chunks: readonly number[] }
  | { readonly kind: 'ended'; readonly why: ReceiverEnd }
  | { readonly kind: 'failed'; readonly code: Code; readonly message: string }
