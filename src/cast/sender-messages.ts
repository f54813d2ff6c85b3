/** What the main thread and the worker of one transmission tell each other. Plain data, for structured clone. */
import type { Code } from '../base/refusal.ts'
import type { ClientStatus, Lane } from './control.ts'
import type { BeaconState } from './packet.ts'
import type { SourcePiece } from './source.ts'

export type StartSender = {
  readonly kind: 'start'
  readonly pieces: readonly SourcePiece[]
  readonly sizeBytes: number
  readonly symbolBytes: number
  /** From an earlier start of the same content; absent: hash it. */
  readonly manifest?: Uint8Array
  readonly sessionId: bigint
  readonly epoch: number
  readonly secret: Uint8Array
  readonly group: string
  readonly port: number
  /** The address to send from and to get reports at. */
  readonly address: string
  /** 0: the interface that the routes say. */
  readonly interfaceIndex: number
  readonly ttl: number
  readonly floorBitsPerSecond: number
  readonly ceilingBitsPerSecond: number
  /** False skips the probe for super-packets, to measure without them. */
  readonly segment: boolean
  /** Takes clients and sends nothing until `release`. */
  readonly held: Held | undefined
}

export type Held = {
  /** Said to those who wait; whether it is enough is the main thread's to decide. */
  readonly clientCount?: number
}

export type ToSender =
  | StartSender
  | { readonly kind: 'join'; readonly clientId: number; readonly name: string; readonly needs: Uint8Array | undefined }
  | { readonly kind: 'end'; readonly clientId: number; readonly state: 'done' | 'left' }
  /** Of one that is held: begin. */
  | { readonly kind: 'release' }
  | { readonly kind: 'stop'; readonly force: boolean }
  /** The appliance goes down: end at once and say no goodbye, so that clients wait for the next start. */
  | { readonly kind: 'quit' }

export type SenderStatus = {
  readonly state: BeaconState
  readonly lane: Lane
  readonly pass: number
  readonly allowedBitsPerSecond: number
  readonly sentBitsPerSecond: number
  readonly sentBytes: number
  readonly clients: readonly ClientStatus[]
  readonly heard: { readonly clients: number; readonly of: number }
}

export type FromSender =
  | { readonly kind: 'hashing'; readonly doneBytes: number }
  | { readonly kind: 'ready'; readonly manifest: Uint8Array }
  | { readonly kind: 'status'; readonly status: SenderStatus }
  | { readonly kind: 'failed'; readonly code: Code; readonly message: string; readonly hint: string }
  | { readonly kind: 'stopped' }
