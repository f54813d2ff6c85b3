/** A transmission as others see it: its row, and what its sender tells. */
import type { Refusal } from '../base/refusal.ts'
import type { Endpoint } from '../cast/address.ts'
import type { TransmissionStatus } from '../cast/control.ts'
import { isHeld, isManual, type Row, termsOf } from './rows.ts'

export type WaitsFor = {
  /** Clients that are there and can begin. */
  readonly ready: number
  readonly clientCount?: number
  readonly startAtMs?: number
  /** Neither: somebody has to start it. */
  readonly manual: boolean
}

export type Transmission = {
  readonly id: number
  readonly name: string
  readonly image: string
  readonly group: string
  readonly kind: 'auto' | 'scheduled'
  readonly clientCount?: number
  readonly startAtMs?: number
  readonly startedAtMs?: number
  /** Absent when it has started, and when it has ended. */
  readonly waitsFor?: WaitsFor
  readonly createdBy: string
  readonly createdAtMs: number
  readonly endedAtMs?: number
  /** Why it is not there any more, in words; absent while it is open. */
  readonly reason?: string
  readonly rateBitsPerSecond?: number
  /** What it does now; absent when it has ended. */
  readonly status?: TransmissionStatus
  /** What is odd about what was asked for; in the answer to it only. */
  readonly warnings?: readonly string[]
}

export type Failure = Pick<Refusal, 'message'> & { readonly code: string }

/** Whom the group has reached, and who still answers. */
export function readyOf(status: Pick<TransmissionStatus, 'clients'> | undefined): number {
  return status?.clients.filter(({ state }) => state === 'receiving').length ?? 0
}

export function describe(row: Row, status: TransmissionStatus | undefined): Transmission {
  const { clientCount, startAtMs } = termsOf(row)
  const terms = {
    ...(clientCount === undefined ? {} : { clientCount }),
    ...(startAtMs === undefined ? {} : { startAtMs }),
  }
  const waits = row.open && row.reason === null && isHeld(row)
  return {
    id: row.id,
    name: row.name,
    image: row.imageName,
    group: row.group,
    kind: row.kind,
    ...terms,
    ...(row.startedAtMs === null ? {} : { startedAtMs: row.startedAtMs }),
    ...(waits ? { waitsFor: { ready: readyOf(status), ...terms, manual: isManual(row) } } : {}),
    createdBy: row.createdBy,
    createdAtMs: row.createdAtMs,
    ...(row.endedAtMs === null ? {} : { endedAtMs: row.endedAtMs }),
    ...(row.reason === null ? {} : { reason: row.reason }),
    ...(row.rateBitsPerSecond === null ? {} : { rateBitsPerSecond: row.rateBitsPerSecond }),
    ...(status ? { status } : {}),
  }
}

/** Of an open one that does not run: what is known of it without a sender. */
export function statusWithoutSender(
  row: Row,
  endpoint: Endpoint | undefined,
  failure: Failure | undefined,
): TransmissionStatus {
  return {
    castId: String(row.id),
    label: row.name,
    state: 'preparing',
    ...(failure === undefined ? {} : { failure: { code: failure.code, message: failure.message } }),
    sizeBytes: 0,
    hashedBytes: 0,
    group: endpoint?.group ?? '0.0.0.0',
    port: endpoint?.port ?? 0,
    ...(row.interfaceName === null ? {} : { interfaceName: row.interfaceName }),
    pass: 0,
    allowedBitsPerSecond: 0,
    sentBitsPerSecond: 0,
    sentBytes: 0,
    clients: [],
    heard: { clients: 0, of: 0 },
  }
}
