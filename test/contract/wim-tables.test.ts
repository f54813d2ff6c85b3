/** Header, blob table, resource headers and needs: what is accepted, what is refused, what comes back the same. */
import { describe, expect, test } from 'bun:test'
import { Reader, Writer } from '../../src/base/bytes.ts'
import {
  type BlobTable,
  decodeBlobTable,
  emptyBlobTable,
  encodeBlobTable,
  hasSolid,
  indexBlobs,
  metadataEntries,
  resourceAt,
  Sha1Index,
} from '../../src/wim/blob-table.ts'
import {
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  HEADER_FLAG,
  NO_RESOURCE,
  type ResourceHeader,
  readResourceHeader,
  writeResourceHeader,
} from '../../src/wim/header.ts'
import { decodeNeeds, encodeNeeds, NeedsBuilder, unionNeeds } from '../../src/wim/needs.ts'
import { must } from '../fixtures/library.ts'

const GOOD = {
  flags: HEADER_FLAG.compressed | HEADER_FLAG.lzx | HEADER_FLAG.rpFix,
  chunkSize: 32_768,
  guid: Uint8Array.from({ length: 16 }, (_, i) => i + 1),
  imageCount: 2,
  blobTable: { sizeInWim: 100, flags: 0, offset: 5000, size: 100 },
  xml: { sizeInWim: 900, flags: 0, offset: 5100, size: 900 },
  bootMetadata: { sizeInWim: 1, flags: 6, offset: 2, size: 3 },
  bootIndex: 2,
}

/** A good header with little-endian numbers put over it: [offset, bytes, value]. */
function headerWith(...changes: readonly (readonly [number, number, number])[]): Uint8Array {
  const bytes = encodeHeader(GOOD)
  for (const [at, width, value] of changes) Buffer.from(bytes.buffer).writeUIntLE(value, at, width)
  return bytes
}

describe('header', () => {
  test('comes back as it was written', () => {
    const { blobTable, xml, bootMetadata, ...rest } = GOOD
    expect(must(decodeHeader(encodeHeader(GOOD)))).toEqual({
      ...rest,
      blobTable,
      xml,
      bootMetadata,
      pipable: false,
      version: 0x10d00,
      compression: 'lzx',
      part: 1,
      totalParts: 1,
    })
  })

  test('is the documented bytes', () => {
    const hex = Buffer.from(encodeHeader(GOOD)).toString('hex')
    expect(hex.slice(0, 48)).toBe(`${Buffer.from('MSWIM\0\0\0').toString('hex')}d0000000000d01008200040000800000`)
    expect(hex.slice(0x28 * 2, 0x30 * 2)).toBe('0100010002000000')
    expect(hex.slice(0x30 * 2, 0x48 * 2)).toBe('640000000000000088130000000000006400000000000000')
    expect(hex.slice(0x78 * 2, 0x7c * 2)).toBe('02000000')
  })

  test.each([
    ['nothing', new Uint8Array(0), 'not-a-wim'],
    ['one byte less', encodeHeader(GOOD).subarray(0, HEADER_BYTES - 1), 'not-a-wim'],
    ['text', new TextEncoder().encode('x'.repeat(4096)), 'not-a-wim'],
    ['zeros', new Uint8Array(4096), 'not-a-wim'],
    ['another header size', headerWith([0x08, 4, 212]), 'unsupported'],
    ['an unknown version', headerWith([0x0c, 4, 0x10c00]), 'unsupported'],
    ['a write in progress', headerWith([0x10, 4, HEADER_FLAG.writeInProgress]), 'corrupt'],
    ['part 0', headerWith([0x28, 2, 0]), 'corrupt'],
    ['part 3 of 2', headerWith([0x28, 2, 3], [0x2a, 2, 2]), 'corrupt'],
    ['65,536 images', headerWith([0x2c, 4, 65_536]), 'corrupt'],
    ['four thousand million images', headerWith([0x2c, 4, 0xffff_ffff]), 'corrupt'],
    ['an offset beyond 2^53', headerWith([0x30 + 8 + 6, 2, 0xffff]), 'corrupt'],
    ['a size beyond 2^53', headerWith([0x48 + 16 + 6, 2, 0xffff]), 'corrupt'],
  ])('%s is refused', (_, bytes, code) => {
    expect(decodeHeader(bytes)).toMatchObject({ ok: false, error: { code, hint: expect.stringMatching(/\w/) } })
  })

  test.each([
    [0, 'none'],
    [HEADER_FLAG.compressed | HEADER_FLAG.xpress, 'xpress'],
    [HEADER_FLAG.compressed | HEADER_FLAG.xpress2, 'xpress'],
    [HEADER_FLAG.compressed | HEADER_FLAG.lzx, 'lzx'],
    [HEADER_FLAG.compressed | HEADER_FLAG.lzms, 'lzms'],
    [HEADER_FLAG.lzx, 'none'],
  ])('flags %d mean %s', (flags, compression) => {
    expect(must(decodeHeader(headerWith([0x10, 4, flags]))).compression).toBe(compression as never)
  })

  test('solid version, pipable magic, split parts', () => {
    const bytes = headerWith([0x0c, 4, 0xe00], [0x28, 2, 2], [0x2a, 2, 7])
    bytes.set(Buffer.from('WLPWM'), 0)
    expect(must(decodeHeader(bytes))).toMatchObject({ version: 0xe00, pipable: true, part: 2, totalParts: 7 })
  })

  test('a boot index without its image is none', () => {
    expect(must(decodeHeader(headerWith([0x78, 4, 3]))).bootIndex).toBe(0)
  })
})

test.each<ResourceHeader>([
  NO_RESOURCE,
  { sizeInWim: 1, flags: 0xff, offset: 1, size: 1 },
  { sizeInWim: 0xffff_ffff, flags: 4, offset: 0xffff_ffff, size: 0xffff_ffff },
  { sizeInWim: 0x1_0000_0000, flags: 0x80, offset: 0x1_0000_0001, size: 0x1_0000_0000 },
  { sizeInWim: 2 ** 50 + 1, flags: 6, offset: 2 ** 52 + 3, size: 2 ** 53 - 1 },
])('a resource header comes back: %j', (resource) => {
  const w = new Writer(24)
  writeResourceHeader(w, resource)
  expect(readResourceHeader(new Reader(w.bytes))).toEqual(resource)
})

function hashOf(n: number): Uint8Array {
  return new Bun.CryptoHasher('sha1').update(String(n)).digest()
}

function tableOf(count: number): BlobTable {
  const table = emptyBlobTable(count)
  for (let i = 0; i < count; i += 1) {
    table.sizeInWim[i] = i + 1
    table.offset[i] = 2 ** 40 + i * 7
    table.size[i] = (i + 1) * 3
    table.flags[i] = i % 10 === 9 ? 6 : 4
    table.part[i] = 1 + (i % 3)
    table.refCount[i] = i
    table.sha1.set(hashOf(i), i * 20)
  }
  return table
}

describe('blob table', () => {
  test.each([0, 1, 2, 1000])('of %d entries comes back', (count) => {
    const table = tableOf(count)
    const bytes = encodeBlobTable(table)
    expect(bytes.length).toBe(count * 50)
    expect(must(decodeBlobTable(bytes))).toEqual(table)
  })

  test('that lies inside other bytes is read at its place', () => {
    const bytes = encodeBlobTable(tableOf(3))
    const around = new Uint8Array(bytes.length + 20).fill(0xee)
    around.set(bytes, 13)
    expect(must(decodeBlobTable(around.subarray(13, 13 + bytes.length)))).toEqual(tableOf(3))
  })

  test.each([1, 49, 51, 149])('of %d bytes is refused', (length) => {
    expect(decodeBlobTable(new Uint8Array(length))).toMatchObject({ ok: false, error: { code: 'corrupt' } })
  })

  test('marks: metadata, solid, entries that are not there', () => {
    const table = tableOf(20)
    expect(metadataEntries(table)).toEqual([9, 19])
    expect(hasSolid(table)).toBe(false)
    table.flags[4] = 0x10
    expect(hasSolid(table)).toBe(true)
    expect(() => resourceAt(table, 20)).toThrow('blob 20 of 20')
  })

  test('a directory tree without references is none', () => {
    const table = tableOf(20)
    table.refCount[9] = 0
    expect(metadataEntries(table)).toEqual([19])
  })

  test('the index finds contents, no metadata, nothing else', () => {
    const table = tableOf(1000)
    const index = indexBlobs(table)
    const inside = new Uint8Array(60)
    for (let i = 0; i < 1000; i += 1) {
      inside.set(hashOf(i), 17)
      expect(index.find(inside, 17)).toBe(i % 10 === 9 ? -1 : i)
    }
    for (let i = 1000; i < 2000; i += 1) expect(index.find(hashOf(i))).toBe(-1)
  })

  test('of equal hashes the first is found, and those that begin alike are told apart', () => {
    const sha1 = new Uint8Array(100 * 20)
    for (let i = 0; i < 100; i += 1) sha1[i * 20 + 19] = i >> 1
    const index = new Sha1Index(sha1)
    for (let i = 0; i < 100; i += 2) expect(index.find(sha1, i * 20)).toBe(i)
    expect(new Sha1Index(new Uint8Array(0)).find(sha1)).toBe(-1)
  })
})

describe('needs', () => {
  test('are sorted, counted, and come back', () => {
    const builder = new NeedsBuilder()
    for (let i = 0; i < 5000; i += 1) builder.add(hashOf(i % 3000))
    const needs = builder.finish()
    expect(needs.count).toBe(3000)
    expect(needs.refCount.reduce((sum, n) => sum + n, 0)).toBe(5000)
    for (let i = 1; i < needs.count; i += 1)
      expect(Buffer.compare(needs.sha1.subarray(i * 20 - 20, i * 20), needs.sha1.subarray(i * 20, i * 20 + 20))).toBe(
        -1,
      )
    expect(decodeNeeds(encodeNeeds(needs))).toEqual(needs)
    const index = new Sha1Index(needs.sha1)
    expect(needs.refCount[index.find(hashOf(1))]).toBe(2)
    expect(needs.refCount[index.find(hashOf(2999))]).toBe(1)
  })

  test('of several images add up', () => {
    const needsOf = (...numbers: number[]) => {
      const builder = new NeedsBuilder()
      for (const n of numbers) builder.add(hashOf(n))
      return builder.finish()
    }
    const union = unionNeeds([needsOf(1, 2, 2), needsOf(2, 3), needsOf()])
    expect(union).toEqual(needsOf(1, 2, 2, 2, 3))
    expect(unionNeeds([])).toMatchObject({ count: 0 })
  })
})
