import { describe, expect, test } from 'bun:test'
import { geometryOf, symbolLength, symbolsInBlock } from '../../src/cast/geometry.ts'
import { reportKey, sessionKey } from '../../src/cast/keys.ts'
import { decodeManifest, encodeManifest, HASH_BYTES, sha256, streamTag } from '../../src/cast/manifest.ts'
import {
  type Beacon,
  decodeBeacon,
  decodeHeader,
  decodeReport,
  encodeBeacon,
  encodeReport,
  isSealed,
  MAX_ENTRIES,
  type Report,
  reporterOf,
  TYPE,
  writeHeader,
} from '../../src/cast/packet.ts'

const KEY = new Uint8Array(32).fill(7)
const OTHER = new Uint8Array(32).fill(8)

function packetOf(fields: Partial<Parameters<typeof writeHeader>[2]>, payloadBytes: number): Uint8Array {
  const packet = new Uint8Array(16 + payloadBytes)
  const header = { type: TYPE.data, length: payloadBytes, tag: 0x0a0b0c0d, block: 0x01020304, symbol: 0x7f, epoch: 0 }
  writeHeader(new DataView(packet.buffer), 0, { ...header, ...fields })
  return packet
}

describe('the header', () => {
  test('lies on the wire as the diagram says', () => {
    expect(Buffer.from(packetOf({}, 2)).toString('hex')).toBe('4d1000020a0b0c0d01020304007f00000000')
    expect(Buffer.from(packetOf({ type: TYPE.report, epoch: 0x1122 }, 0)).toString('hex')).toBe(
      '4d1300000a0b0c0d01020304007f1122',
    )
  })

  test('round trip', () => {
    expect(decodeHeader(packetOf({}, 5))).toEqual({
      type: 0,
      length: 5,
      tag: 0x0a0b0c0d,
      block: 0x01020304,
      symbol: 127,
      epoch: 0,
    })
  })

  const refused: [string, (packet: Uint8Array) => Uint8Array][] = [
    ['empty', () => new Uint8Array(0)],
    ['15 bytes', (packet) => packet.subarray(0, 15)],
    ['other magic', (packet) => packet.with(0, 0x4e)],
    ['version 2', (packet) => packet.with(1, 0x20)],
    ['a length that is too long', (packet) => packet.with(3, 6)],
    ['a length that is too short', (packet) => packet.with(3, 4)],
  ]
  test.each(refused)('refuses %s', (_, change) => {
    expect(decodeHeader(change(packetOf({}, 5)))).toBeUndefined()
  })
})

const BEACON: Beacon = {
  sessionId: 0x1122334455667788n,
  epoch: 3,
  sequence: 9,
  pass: 4,
  block: 77,
  rateKbit: 950_000,
  backoffMs: 5,
  state: 'running',
  ready: 0,
  wanted: 0,
}

describe('BEACON', () => {
  test('round trip', () => {
    expect(decodeBeacon(encodeBeacon(BEACON, 1, KEY), KEY)).toEqual(BEACON)
  })
  test('held, it says who is ready, up to what 16 bits can say', () => {
    const held = { ...BEACON, state: 'held', ready: 70_000, wanted: 1000 } as const
    expect(decodeBeacon(encodeBeacon(held, 1, KEY), KEY)).toEqual({ ...held, ready: 0xffff })
  })
  test('BYE has the same layout and another type', () => {
    const bye = encodeBeacon(BEACON, 1, KEY, TYPE.bye)
    expect(decodeHeader(bye)?.type).toBe(TYPE.bye)
    expect(decodeBeacon(bye, KEY)).toEqual(BEACON)
  })
  test('refuses another key, and each flipped byte', () => {
    const packet = encodeBeacon(BEACON, 1, KEY)
    expect(decodeBeacon(packet, OTHER)).toBeUndefined()
    for (const [at, byte] of packet.entries()) expect(decodeBeacon(packet.with(at, byte ^ 1), KEY)).toBeUndefined()
  })
})

const REPORT: Report = {
  epoch: 3,
  clientId: 0xfffffffe,
  counter: 2 ** 40,
  pass: 2,
  block: 12,
  lacking: 1000,
  lossPpm: 10_000,
  drops: 3,
  refused: 4,
  missing: [
    { block: 0, bitmap: new Uint8Array(16).fill(0xff) },
    { block: 0xfffffffe, bitmap: Uint8Array.from({ length: 16 }, (_, index) => index) },
  ],
}

describe('REPORT', () => {
  test('round trip', () => {
    const packet = encodeReport(REPORT, 1, KEY)
    expect(reporterOf(packet)).toBe(REPORT.clientId)
    expect(decodeReport(packet, KEY)).toEqual(REPORT)
    const unknown = { ...REPORT, lossPpm: undefined }
    expect(decodeReport(encodeReport(unknown, 1, KEY), KEY)).toEqual(unknown)
  })
  test('a full one fits a frame of 1500 bytes', () => {
    const missing = Array.from({ length: MAX_ENTRIES }, (_, block) => ({ block, bitmap: new Uint8Array(16) }))
    const packet = encodeReport({ ...REPORT, missing }, 1, KEY)
    expect(packet.byteLength).toBeLessThanOrEqual(1472)
    expect(decodeReport(packet, KEY)?.missing).toHaveLength(MAX_ENTRIES)
  })
  test('refuses another key, each flipped byte, and every cut', () => {
    const packet = encodeReport(REPORT, 1, KEY)
    expect(decodeReport(packet, OTHER)).toBeUndefined()
    for (const [at, byte] of packet.entries()) expect(decodeReport(packet.with(at, byte ^ 1), KEY)).toBeUndefined()
    for (let length = 0; length < packet.byteLength; length += 1) {
      expect(decodeReport(packet.subarray(0, length), KEY)).toBeUndefined()
    }
  })
  test('its bitmaps do not change when the buffer is used again', () => {
    const packet = encodeReport(REPORT, 1, KEY)
    const report = decodeReport(packet, KEY)
    packet.fill(0)
    expect(report).toEqual(REPORT)
  })
  test('what has no room for a MAC is not sealed', () => {
    expect(isSealed(KEY, new Uint8Array(16))).toBe(false)
  })
})

describe('the cut of a content', () => {
  test.each([
    [1, 1, 1, 1],
    [1456, 1, 1, 1],
    [1457, 2, 1, 1],
    [1456 * 128, 128, 1, 1],
    [1456 * 128 + 1, 129, 2, 1],
    [1456 * 1024, 1024, 8, 1],
    [1456 * 1024 + 1, 1025, 9, 2],
  ])('%d bytes: %d symbols, %d blocks, %d chunks', (size, symbols, blocks, chunks) => {
    const geometry = geometryOf(size)
    expect([geometry.symbolCount, geometry.blockCount, geometry.chunkCount]).toEqual([symbols, blocks, chunks])
    let bytes = 0
    for (let symbol = 0; symbol < symbols; symbol += 1) bytes += symbolLength(geometry, symbol)
    expect(bytes).toBe(size)
    let inBlocks = 0
    for (let block = 0; block < blocks; block += 1) inBlocks += symbolsInBlock(geometry, block)
    expect(inBlocks).toBe(symbols)
  })
})

describe('the manifest', () => {
  const geometry = geometryOf(3_000_000)
  const hashes = new Uint8Array(geometry.chunkCount * HASH_BYTES).fill(5)
  const bytes = encodeManifest(geometry, hashes)

  test('round trip; the root is the hash of all of it', () => {
    const manifest = decodeManifest(bytes)
    expect(manifest).toEqual({ ok: true, value: { geometry, hashes, root: sha256(bytes) } })
  })
  test.each([
    ['corrupt', bytes.with(0, 0)],
    ['corrupt', bytes.subarray(0, bytes.byteLength - 1)],
    ['corrupt', new Uint8Array([...bytes, 0])],
    ['corrupt', bytes.subarray(0, 10)],
    ['unsupported', bytes.with(15, 64)],
    ['unsupported', bytes.with(17, 4)],
    ['unsupported', bytes.with(4, 0x00).with(5, 0x1f)],
  ] as const)('refuses %s', (code, changed) => {
    const manifest = decodeManifest(changed)
    expect(manifest.ok ? 'ok' : manifest.error.code).toBe(code)
  })
  test('every content has its own tag and keys', () => {
    const one = sha256(new Uint8Array([1]))
    const two = sha256(new Uint8Array([2]))
    expect(streamTag(one)).not.toBe(streamTag(two))
    const keys = [sessionKey(KEY, one), sessionKey(KEY, two), reportKey(KEY, one, 1), reportKey(KEY, one, 2)]
    expect(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size).toBe(4)
  })
})
