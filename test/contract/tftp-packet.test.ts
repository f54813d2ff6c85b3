import { describe, expect, test } from 'bun:test'
import {
  decode,
  encode,
  MAX_REQUEST_BYTES,
  type Malformed,
  type Packet,
  writeDataHeader,
} from '../../src/tftp/packet.ts'

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1')
const rrq = (rest: string): Uint8Array => bytes(`\x00\x01${rest}`)

describe('accepts', () => {
  const request = (file: string, mode: string, options: Record<string, string> = {}): Packet => ({
    op: 'rrq',
    file: bytes(file),
    mode,
    options: new Map(Object.entries(options)),
  })
  const cases: [string, Uint8Array, Packet][] = [
    ['a plain request', rrq('a\0octet\0'), request('a', 'octet')],
    ['a mode in capitals', rrq('a\0OcTeT\0'), request('a', 'octet')],
    ['an unknown mode, for the server to refuse', rrq('a\0mail\0'), request('a', 'mail')],
    ['an empty name, for the path to refuse', rrq('\0octet\0'), request('', 'octet')],
    [
      'options, names in any case, in their order',
      rrq('a\0octet\0TSize\x000\0BLKSIZE\x001468\0'),
      request('a', 'octet', { tsize: '0', blksize: '1468' }),
    ],
    ['an unknown option', rrq('a\0octet\0msftwindow\x0031416\0'), request('a', 'octet', { msftwindow: '31416' })],
    [
      'a repeated option once, the first',
      rrq('a\0octet\0blksize\x00512\0BLKSIZE\x001024\0'),
      request('a', 'octet', { blksize: '512' }),
    ],
    ['an empty value', rrq('a\0octet\0blksize\0\0'), request('a', 'octet', { blksize: '' })],
    ['padding with NULs', rrq('a\0octet\0tsize\x000\0\0\0\0'), request('a', 'octet', { tsize: '0' })],
    ['a name that is not UTF-8, as bytes', rrq('\xe4\xff\0octet\0'), request('\xe4\xff', 'octet')],
    ['an ACK', bytes('\0\x04\xff\xff'), { op: 'ack', block: 65535 }],
    ['an ACK with a fifth byte (msftwindow)', bytes('\0\x04\x01\x02\x08'), { op: 'ack', block: 258 }],
    ['DATA', bytes('\0\x03\x00\x01xyz'), { op: 'data', block: 1, bytes: bytes('xyz') }],
    ['an empty DATA', bytes('\0\x03\x00\x01'), { op: 'data', block: 1, bytes: bytes('') }],
    ['an ERROR', bytes('\0\x05\x00\x08User aborted\0'), { op: 'error', code: 8, message: 'User aborted' }],
    ['an ERROR without NUL', bytes('\0\x05\x00\x00oops'), { op: 'error', code: 0, message: 'oops' }],
    ['an ERROR without message', bytes('\0\x05\x00\x08'), { op: 'error', code: 8, message: '' }],
    ['an OACK', bytes('\0\x06tsize\x009\0'), { op: 'oack', options: new Map([['tsize', '9']]) }],
    ['an empty OACK', bytes('\0\x06'), { op: 'oack', options: new Map() }],
  ]
  test.each(cases)('%s', (_, packet, expected) => {
    // Views of the packet are compared as bytes, whatever array type they come in.
    expect(plain(decode(packet))).toEqual(plain({ ok: true, value: expected }))
  })

  test('a request as long as one datagram', () => {
    const name = 'a'.repeat(MAX_REQUEST_BYTES - 2 - 1 - 6)
    expect(decode(rrq(`${name}\0octet\0`)).ok).toBe(true)
  })
})

describe('refuses', () => {
  const cases: [string, Uint8Array, Malformed][] = [
    ['nothing', bytes(''), 'too-short'],
    ['one byte', bytes('\0'), 'too-short'],
    ['opcode 0', bytes('\0\0aaaa'), 'unknown-opcode'],
    ['opcode 7', bytes('\0\x07aaaa'), 'unknown-opcode'],
    ['an opcode in the wrong byte order', bytes('\x01\0a\0octet\0'), 'unknown-opcode'],
    ['an RRQ that is only an opcode', rrq(''), 'unterminated'],
    ['a file name without NUL', rrq('file'), 'unterminated'],
    ['a request without mode', rrq('file\0'), 'unterminated'],
    ['a mode without NUL', rrq('file\0octet'), 'unterminated'],
    ['an option without value', rrq('file\0octet\0blksize\0'), 'unterminated'],
    ['an option name without NUL', rrq('file\0octet\0blksize'), 'unterminated'],
    ['a value without NUL', rrq('file\0octet\0blksize\x00512'), 'unterminated'],
    ['an OACK value without NUL', bytes('\0\x06tsize\x009'), 'unterminated'],
    ['an ACK without block number', bytes('\0\x04'), 'too-short'],
    ['half a block number', bytes('\0\x03\0'), 'too-short'],
    ['an ERROR without code', bytes('\0\x05\0'), 'too-short'],
    ['a request longer than one datagram', rrq(`${'a'.repeat(MAX_REQUEST_BYTES)}\0octet\0`), 'too-long'],
  ]
  test.each(cases)('%s', (_, packet, reason) => {
    expect(decode(packet)).toEqual({ ok: false, error: reason })
  })
})

describe('round trip', () => {
  const cases: Packet[] = [
    { op: 'rrq', file: bytes('boot/x64/wdsnbp.com'), mode: 'octet', options: new Map() },
    { op: 'wrq', file: bytes('\xc3\xa4'), mode: 'netascii', options: new Map([['tsize', '7']]) },
    { op: 'data', block: 65535, bytes: bytes('\0\x01\x02') },
    { op: 'ack', block: 0 },
    { op: 'error', code: 1, message: 'File not found' },
    {
      op: 'oack',
      options: new Map([
        ['blksize', '1468'],
        ['windowsize', '4'],
      ]),
    },
  ]
  test.each(cases.map((packet) => [packet.op, packet] as const))('%s', (_, packet) => {
    expect(plain(decode(encode(packet)))).toEqual(plain({ ok: true, value: packet }))
  })

  test('the header of DATA laid by hand is the one of encode', () => {
    const packet = new Uint8Array(4)
    writeDataHeader(packet, 0, 0xabcd)
    expect(packet).toEqual(new Uint8Array(encode({ op: 'data', block: 0xabcd, bytes: new Uint8Array() })))
  })
})

/** Buffers and Uint8Arrays with the same bytes are the same; so are maps with the same pairs in the same order. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, part: unknown) => {
      if (part instanceof Map) return [...part]
      if (part instanceof Uint8Array) return Buffer.from(part).toString('hex')
      if (typeof part === 'object' && part !== null && 'type' in part && part.type === 'Buffer' && 'data' in part)
        return Buffer.from(part.data as number[]).toString('hex')
      return part
    }),
  )
}
