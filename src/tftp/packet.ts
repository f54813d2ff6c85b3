/**
 * The packets of TFTP: RFC 1350 §5, with the options of RFC 2347. Pure: bytes in, packet out, and back.
 *
 *            2 bytes      string    1     string   1    string   1    string  1
 *          +----------+------------+---+----------+---+--------+---+--------+---+
 *   RRQ    |  01      |  file name | 0 |   mode   | 0 | option | 0 | value  | 0 | ...
 *   WRQ    |  02      |            |   |          |   |        |   |        |   |
 *          +----------+------------+---+----------+---+--------+---+--------+---+
 *
 *            2 bytes    2 bytes     n bytes               2 bytes    2 bytes
 *          +----------+---------+------------+          +----------+---------+
 *   DATA   |  03      | block # |    data    |   ACK    |  04      | block # |
 *          +----------+---------+------------+          +----------+---------+
 *
 *            2 bytes    2 bytes     string    1           2 bytes    string   1   string   1
 *          +----------+---------+-----------+---+       +----------+--------+---+--------+---+
 *   ERROR  |  05      |  code   |  message  | 0 | OACK  |  06      | option | 0 | value  | 0 | ...
 *          +----------+---------+-----------+---+       +----------+--------+---+--------+---+
 *
 * Numbers are big-endian, block numbers wrap at 65535. Strings are kept as latin1, except the file name, which stays
 * bytes: path.ts says what it means.
 */
import { Reader, Short, Writer } from '../base/bytes.ts'
import { err, ok, type Result, unreachable } from '../base/result.ts'

/** Names are lower case (RFC 2347: they are not case-sensitive); order is the order in the packet. */
export type Options = ReadonlyMap<string, string>

export type Request = {
  readonly op: 'rrq' | 'wrq'
  readonly file: Uint8Array
  /** Lower case. Any word: whether it is served is not the codec's to say. */
  readonly mode: string
  readonly options: Options
}

export type Packet =
  | Request
  | { readonly op: 'data'; readonly block: number; readonly bytes: Uint8Array }
  | { readonly op: 'ack'; readonly block: number }
  | { readonly op: 'error'; readonly code: number; readonly message: string }
  | { readonly op: 'oack'; readonly options: Options }

/** Why bytes are no packet. */
export type Malformed = 'too-short' | 'too-long' | 'unknown-opcode' | 'unterminated'

/** RFC 1350 appendix; 8 is from RFC 2347. */
export const ERROR = {
  undefined: 0,
  notFound: 1,
  accessViolation: 2,
  illegalOperation: 4,
  unknownTransferId: 5,
  optionsRefused: 8,
} as const

const OPCODE = { rrq: 1, wrq: 2, data: 3, ack: 4, error: 5, oack: 6 } as const

export const DATA_HEADER_BYTES = 4

/** RFC 2347 gives requests 512 octets; paths of a WDS library can be longer, so one unfragmented datagram is taken. */
export const MAX_REQUEST_BYTES = 1468

/** `bytes` of a file name and of DATA are views of `packet`: copy what must outlive it. */
export function decode(packet: Uint8Array): Result<Packet, Malformed> {
  const reader = new Reader(packet)
  try {
    const opcode = reader.u16be()
    switch (opcode) {
      case OPCODE.rrq:
      case OPCODE.wrq:
        if (packet.byteLength > MAX_REQUEST_BYTES) return err('too-long')
        return request(opcode === OPCODE.rrq ? 'rrq' : 'wrq', packet, reader)
      case OPCODE.data:
        return ok({ op: 'data', block: reader.u16be(), bytes: reader.bytes(reader.left) })
      case OPCODE.ack:
        // Quirk(Windows PE bootmgr): with `msftwindow` each ACK carries a 5th byte, the next window size; RFC 1350
        // has four. That option is never agreed to here, and what follows the block number is ignored.
        return ok({ op: 'ack', block: reader.u16be() })
      case OPCODE.error: {
        const code = reader.u16be()
        // Some stacks leave the message and its NUL out; the code is what counts.
        const text = reader.bytes(reader.left)
        const end = text.indexOf(0)
        return ok({ op: 'error', code, message: latin1(end < 0 ? text : text.subarray(0, end)) })
      }
      case OPCODE.oack: {
        const options = pairs(packet, reader)
        return options ? ok({ op: 'oack', options }) : err('unterminated')
      }
      default:
        return err('unknown-opcode')
    }
  } catch (error) {
    if (error instanceof Short) return err('too-short')
    throw error
  }
}

function request(op: 'rrq' | 'wrq', packet: Uint8Array, reader: Reader): Result<Packet, Malformed> {
  const file = untilNul(packet, reader)
  const mode = file && untilNul(packet, reader)
  const options = mode && pairs(packet, reader)
  if (!file || !mode || !options) return err('unterminated')
  return ok({ op, file, mode: latin1(mode).toLowerCase(), options })
}

/** Option pairs up to the end. An empty name ends them: some stacks pad with NULs. A repeated option counts once. */
function pairs(packet: Uint8Array, reader: Reader): Options | undefined {
  const options = new Map<string, string>()
  while (reader.left > 0) {
    const name = untilNul(packet, reader)
    if (!name) return undefined
    if (name.byteLength === 0) break
    const value = untilNul(packet, reader)
    if (!value) return undefined
    const key = latin1(name).toLowerCase()
    if (!options.has(key)) options.set(key, latin1(value))
  }
  return options
}

function untilNul(packet: Uint8Array, reader: Reader): Uint8Array | undefined {
  const end = packet.indexOf(0, reader.at)
  if (end < 0) return undefined
  const text = reader.bytes(end - reader.at)
  reader.skip(1)
  return text
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

export function encode(packet: Packet): Uint8Array {
  switch (packet.op) {
    case 'rrq':
    case 'wrq':
      return join(OPCODE[packet.op], [packet.file, NUL, text(packet.mode), NUL, ...texts(packet.options)])
    case 'data': {
      const bytes = new Uint8Array(DATA_HEADER_BYTES + packet.bytes.byteLength)
      writeDataHeader(bytes, 0, packet.block)
      bytes.set(packet.bytes, DATA_HEADER_BYTES)
      return bytes
    }
    case 'ack':
      return new Writer(4).u16be(OPCODE.ack).u16be(packet.block).bytes
    case 'error':
      return join(OPCODE.error, [new Writer(2).u16be(packet.code).bytes, text(packet.message), NUL])
    case 'oack':
      return join(OPCODE.oack, texts(packet.options))
    default:
      return unreachable(packet)
  }
}

/** The first four bytes of a DATA packet, for callers that lay the data behind them themselves. */
export function writeDataHeader(target: Uint8Array, at: number, block: number): void {
  target[at] = 0
  target[at + 1] = OPCODE.data
  target[at + 2] = Math.floor(block / 256) & 0xff
  target[at + 3] = block & 0xff
}

const NUL = new Uint8Array(1)

function text(value: string): Uint8Array {
  return Buffer.from(value, 'latin1')
}

function texts(options: Options): Uint8Array[] {
  return [...options].flatMap(([name, value]) => [text(name), NUL, text(value), NUL])
}

function join(opcode: number, parts: readonly Uint8Array[]): Uint8Array {
  const writer = new Writer(parts.reduce((sum, part) => sum + part.byteLength, 2)).u16be(opcode)
  for (const part of parts) writer.raw(part)
  return writer.bytes
}
