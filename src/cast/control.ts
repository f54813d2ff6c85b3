/**
 * The control plane as plain data: what goes over HTTPS between a receiver and the appliance. Types only, in a shape
 * that JSON and zod take as it is: bytes are base64, ids of 64 bits are hex. All trust is made here; what the
 * network carries by UDP is believed only as far as these answers vouch for it.
 */
import type { Result } from '../base/result.ts'

export type ClientState = 'probing' | 'receiving' | 'done' | 'left' | 'lost'

export type JoinRequest = {
  /** What the operator reads: a host name, a MAC address. */
  readonly clientName: string
  /** Base64, bit i of byte i/8 (least significant first) set for each block wanted whole; absent for all of them. */
  readonly needs?: string
}

export type JoinAnswer = {
  readonly castId: string
  /** 16 hex digits. */
  readonly sessionId: string
  readonly epoch: number
  readonly clientId: number
  readonly group: string
  readonly port: number
  /** Where reports go. */
  readonly reportAddress: string
  readonly reportPort: number
  /** Base64, 32 bytes: seals beacons. */
  readonly sessionKey: string
  /** Base64, 32 bytes: seals this client's reports. */
  readonly reportKey: string
  /** Hex SHA-256 of the manifest. */
  readonly root: string
}

/** How a client ended; after `fallback` once more, when the rest has come or failed. */
export type DoneRequest = {
  readonly clientId: number
  /** Base64, the client's report key: only it and the appliance have that, so nobody ends somebody else. */
  readonly proof: string
  readonly outcome: /** Has every byte, verified, by multicast, by ranges, or by both. */
    | 'received'
    /** Leaves the group and fetches the rest over HTTPS; how that ended is told in its turn. */
    | 'fallback'
    | 'failed'
  /** The refusal's code, when it failed or fell back. */
  readonly reason?: string
}

export type ClientStatus = {
  readonly clientId: number
  readonly name: string
  readonly state: ClientState
  readonly lackingBytes: number
  readonly lossPpm: number
  readonly socketDrops: number
  readonly refusedPackets: number
}

export const TRANSMISSION_STATES = ['preparing', 'waiting', 'running', 'idle', 'stopping', 'stopped', 'failed'] as const
export type TransmissionState = (typeof TRANSMISSION_STATES)[number]

/** The way packets go to the kernel; `gso` unless the interface cannot cut super-packets. */
export type Lane = 'gso' | 'sendmmsg'

export type TransmissionStatus = {
  readonly castId: string
  readonly label: string
  readonly state: TransmissionState
  /** Why it failed: code and sentence of a refusal. */
  readonly failure?: { readonly code: string; readonly message: string }
  readonly sizeBytes: number
  /** Of the content, while it is being hashed. */
  readonly hashedBytes: number
  readonly group: string
  readonly port: number
  readonly interfaceName?: string
  readonly lane?: Lane
  readonly root?: string
  readonly pass: number
  /** What the pace allows now, and what really left in the last second; payload and our header, without IP and UDP. */
  readonly allowedBitsPerSecond: number
  readonly sentBitsPerSecond: number
  readonly sentBytes: number
  readonly clients: readonly ClientStatus[]
  /** Of the clients that ended their probe, how many heard the group. */
  readonly heard: { readonly clients: number; readonly of: number }
}

/** What a transmission is brought back from after a restart. Holds the secret: for the database, not for the API. */
export type SessionRecord = {
  readonly castId: string
  readonly sessionId: string
  /** One higher with each start; at most 65,535. */
  readonly epoch: number
  /** Base64, 32 bytes. */
  readonly secret: string
  readonly group: string
  readonly port: number
  /** The content's etag: another one is another content, and refused. */
  readonly etag: string
  /** Base64, once hashed: saves hashing again. */
  readonly manifest?: string
}

/** The receiver's side of the control plane, implemented over pinned HTTPS elsewhere. Every call ends by itself. */
export type CastControl = {
  readonly manifest: (signal: AbortSignal) => Promise<Result<Uint8Array>>
  readonly join: (request: JoinRequest, signal: AbortSignal) => Promise<Result<JoinAnswer>>
  readonly done: (request: DoneRequest, signal: AbortSignal) => Promise<Result<void>>
  /** Bytes `from` (inclusive) to `to` (exclusive) of the content. */
  readonly range: (from: number, to: number, signal: AbortSignal) => Promise<Result<Uint8Array>>
}
