/**
 * The packets of a transmission, encoded and decoded. Pure: no socket, no clock, no state.
 *
 * Every packet begins with the same 16 bytes, all numbers big-endian:
 *
 *     0        1        2        3        4        5        6        7
 *    +--------+----+----+--------+--------+--------+--------+--------+--------+
 *    |  0x4D  |vers|type| payload length  |            stream tag             |
 *    +--------+----+----+--------+--------+--------+--------+--------+--------+
 *    |           block number             |     symbol      |      epoch      |
 *    +--------+----+----+--------+--------+--------+--------+--------+--------+
 *     8        9        10       11       12       13       14       15
 *
 * DATA (0) and PARITY (1, kept free for repair symbols) hold nothing of the session: epoch is 0 there, and the stream
 * tag comes from the content alone. The same symbol is the same packet in every pass, session and restart, so one
 * framed copy of an image could be sent by splice(2), and ciphertext may repeat without reusing a nonce for other text.
 * PROBE (4) is kept free: a BEACON is all that a client needs to hear to know that the group reaches it.
 */
import { timingSafeEqual } from 'node:crypto'

export const MAGIC = 0x4d
export const VERSION = 1
export const HEADER_BYTES = 16
export const MAC_BYTES = 16
export const TYPE = { data: 0, parity: 1, beacon: 2, report: 3, probe: 4, bye: 5 } as const
/** Symbols in a full block. A report's bitmap has one bit for each. */
export const BLOCK_SYMBOLS = 128
export const BITMAP_BYTES = BLOCK_SYMBOLS / 8

export type Header = {
  readonly type: number
  /** Bytes after the header. */
  readonly length: number
  readonly tag: number
  readonly block: number
  readonly symbol: number
  readonly epoch: number
}

export function writeHeader(view: DataView, at: number, header: Header): void {
  view.setUint8(at, MAGIC)
  view.setUint8(at + 1, (VERSION << 4) | header.type)
  view.setUint16(at + 2, header.length)
  view.setUint32(at + 4, header.tag)
  view.setUint32(at + 8, header.block)
  view.setUint16(at + 12, header.symbol)
  view.setUint16(at + 14, header.epoch)
}

/** Undefined for what is no packet of ours: too short, other magic or version, or not as long as it says. */
export function decodeHeader(bytes: Uint8Array): Header | undefined {
  if (bytes.byteLength < HEADER_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint8(0) !== MAGIC || view.getUint8(1) >> 4 !== VERSION) return undefined
  const length = view.getUint16(2)
  if (length !== bytes.byteLength - HEADER_BYTES) return undefined
  return {
    type: view.getUint8(1) & 0x0f,
    length,
    tag: view.getUint32(4),
    block: view.getUint32(8),
    symbol: view.getUint16(12),
    epoch: view.getUint16(14),
  }
}

/** The first 16 bytes of HMAC-SHA-256 (RFC 2104 §5 allows the cut to half). */
export function mac(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher('sha256', key).update(bytes).digest().subarray(0, MAC_BYTES))
}

/** Puts the MAC of everything before it into the last 16 bytes. */
export function seal(key: Uint8Array, packet: Uint8Array): Uint8Array {
  const end = packet.byteLength - MAC_BYTES
  packet.set(mac(key, packet.subarray(0, end)), end)
  return packet
}

export function isSealed(key: Uint8Array, packet: Uint8Array): boolean {
  const end = packet.byteLength - MAC_BYTES
  return end >= HEADER_BYTES && timingSafeEqual(mac(key, packet.subarray(0, end)), packet.subarray(end))
}

/** `held`: sends nothing until it is released, however long that takes. */
export const STATES = ['waiting', 'running', 'idle', 'stopping', 'held'] as const
export type BeaconState = (typeof STATES)[number]

/**
 * BEACON, to the group: where the sender is. `block` of the header is its cursor: with `pass` it says that every wanted
 * symbol of the blocks before it has been sent in this pass. `symbol` is 0.
 *
 *    16  8  session id
 *    24  4  sequence, one higher with each beacon of an epoch
 *    28  4  pass, from 1
 *    32  4  rate, kbit/s
 *    36  2  longest wait before a report, ms
 *    38  1  state, index of STATES
 *    39  1  0
 *    40  2  while held: clients that are ready
 *    42  2  while held: clients that it waits for; 0: no number of them
 *    44 16  HMAC-SHA-256/128 by the session key
 *
 * BYE, to the group: the transmission is over; the same layout.
 */
export type Beacon = {
  readonly sessionId: bigint
  readonly epoch: number
  readonly sequence: number
  readonly pass: number
  readonly block: number
  readonly rateKbit: number
  readonly backoffMs: number
  readonly state: BeaconState
  readonly ready: number
  readonly wanted: number
}
export const BEACON_BYTES = 60

export function encodeBeacon(beacon: Beacon, tag: number, key: Uint8Array, type: number = TYPE.beacon): Uint8Array {
  const packet = new Uint8Array(BEACON_BYTES)
  const view = new DataView(packet.buffer)
  const length = BEACON_BYTES - HEADER_BYTES
  writeHeader(view, 0, { type, length, tag, block: beacon.block, symbol: 0, epoch: beacon.epoch })
  view.setBigUint64(16, beacon.sessionId)
  view.setUint32(24, beacon.sequence)
  view.setUint32(28, beacon.pass)
  view.setUint32(32, Math.min(0xffff_ffff, beacon.rateKbit))
  view.setUint16(36, beacon.backoffMs)
  view.setUint8(38, STATES.indexOf(beacon.state))
  view.setUint16(40, Math.min(0xffff, beacon.ready))
  view.setUint16(42, Math.min(0xffff, beacon.wanted))
  return seal(key, packet)
}

/** Undefined unless whole and sealed by `key`. Whether it is new, and of this session, is the caller's to ask. */
export function decodeBeacon(packet: Uint8Array, key: Uint8Array): Beacon | undefined {
  const header = decodeHeader(packet)
  if (!header || packet.byteLength !== BEACON_BYTES || !isSealed(key, packet)) return undefined
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength)
  const state = STATES[view.getUint8(38)]
  if (state === undefined) return undefined
  return {
    sessionId: view.getBigUint64(16),
    epoch: header.epoch,
    sequence: view.getUint32(24),
    pass: view.getUint32(28),
    block: header.block,
    rateKbit: view.getUint32(32),
    backoffMs: view.getUint16(36),
    state,
    ready: view.getUint16(40),
    wanted: view.getUint16(42),
  }
}

/** One damaged block: bit i of the bitmap, least significant first, is set when symbol i is missing. */
export type Missing = { readonly block: number; readonly bitmap: Uint8Array }

/**
 * REPORT, client to server: what is missing of blocks that the sender has been past. `block` of the header is the
 * cursor that the client has heard of, `symbol` the number of entries.
 *
 *    16  4  client id
 *    20  8  counter, higher with each report of a client
 *    28  4  pass of the cursor
 *    32  4  symbols that the client still lacks, of all that it needs
 *    36  4  loss lately, parts per million of what was asked for and sent; 0xffffffff: not known yet
 *    40  4  datagrams that the client's own socket dropped, since it joined
 *    44  4  packets that it refused, since it joined
 *    48  n  entries of 20 bytes: block, bitmap of missing symbols
 *     …  16  HMAC-SHA-256/128 by the client's report key
 */
export type Report = {
  readonly epoch: number
  readonly clientId: number
  readonly counter: number
  readonly pass: number
  readonly block: number
  readonly lacking: number
  readonly lossPpm: number | undefined
  readonly drops: number
  readonly refused: number
  readonly missing: readonly Missing[]
}
const UNKNOWN = 0xffff_ffff
const REPORT_FIXED_BYTES = 48
const ENTRY_BYTES = 4 + BITMAP_BYTES
/** Fits a frame of 1500 bytes: 48 + 70 * 20 + 16 = 1464 of 1472. */
export const MAX_ENTRIES = 70

export function encodeReport(report: Report, tag: number, key: Uint8Array): Uint8Array {
  const packet = new Uint8Array(REPORT_FIXED_BYTES + report.missing.length * ENTRY_BYTES + MAC_BYTES)
  const view = new DataView(packet.buffer)
  writeHeader(view, 0, {
    type: TYPE.report,
    length: packet.byteLength - HEADER_BYTES,
    tag,
    block: report.block,
    symbol: report.missing.length,
    epoch: report.epoch,
  })
  view.setUint32(16, report.clientId)
  view.setBigUint64(20, BigInt(report.counter))
  view.setUint32(28, report.pass)
  view.setUint32(32, report.lacking)
  view.setUint32(36, report.lossPpm ?? UNKNOWN)
  view.setUint32(40, report.drops)
  view.setUint32(44, report.refused)
  report.missing.forEach((entry, index) => {
    const at = REPORT_FIXED_BYTES + index * ENTRY_BYTES
    view.setUint32(at, entry.block)
    packet.set(entry.bitmap, at + 4)
  })
  return seal(key, packet)
}

/** The id says which key to try; nothing else of the packet may be believed before that. */
export function reporterOf(packet: Uint8Array): number | undefined {
  const header = decodeHeader(packet)
  if (!header || header.type !== TYPE.report || header.symbol > MAX_ENTRIES) return undefined
  if (packet.byteLength !== REPORT_FIXED_BYTES + header.symbol * ENTRY_BYTES + MAC_BYTES) return undefined
  return new DataView(packet.buffer, packet.byteOffset).getUint32(16)
}

/** Undefined unless whole and sealed by `key`. Bitmaps are copies: the packet's buffer may be used again. */
export function decodeReport(packet: Uint8Array, key: Uint8Array): Report | undefined {
  const clientId = reporterOf(packet)
  const header = decodeHeader(packet)
  if (clientId === undefined || !header || !isSealed(key, packet)) return undefined
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength)
  const counter = Number(view.getBigUint64(20))
  if (!Number.isSafeInteger(counter)) return undefined
  const missing: Missing[] = []
  for (let index = 0; index < header.symbol; index += 1) {
    const at = REPORT_FIXED_BYTES + index * ENTRY_BYTES
    missing.push({ block: view.getUint32(at), bitmap: packet.slice(at + 4, at + ENTRY_BYTES) })
  }
  return {
    epoch: header.epoch,
    clientId,
    counter,
    pass: view.getUint32(28),
    block: header.block,
    lacking: view.getUint32(32),
    lossPpm: view.getUint32(36) === UNKNOWN ? undefined : view.getUint32(36),
    drops: view.getUint32(40),
    refused: view.getUint32(44),
    missing,
  }
}
