/** Chunk tables of compressed resources: the right bytes out of good ones, and only refusals out of bad ones. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Decompressor } from '../../ffi/wimlib/decompressor.ts'
import { loadWimlib } from '../../ffi/wimlib/load.ts'
import { RESOURCE_FLAG, type ResourceHeader } from '../../src/wim/header.ts'
import { BadResource, ResourceReader, readExactly } from '../../src/wim/resource.ts'
import { compressed } from '../fixtures/image-tree.ts'
import { sampleBytes } from '../fixtures/wims.ts'

const CHUNK = 32_768
const folder = mkdtempSync(join(tmpdir(), 'wimcast-resource-'))
const path = join(folder, 'file')
let decompressor: Decompressor
let fd = -1

beforeAll(() => {
  decompressor = new Decompressor(loadWimlib(), 'LZX', CHUNK)
})
afterAll(() => {
  decompressor?.[Symbol.dispose]()
  if (fd >= 0) closeSync(fd)
  rmSync(folder, { recursive: true })
})

/** Reads `bytes`, which lie at offset 100 of a file, as a resource. */
function read(bytes: Uint8Array, resource: Partial<ResourceHeader>, limitBytes = 1 << 30): Uint8Array {
  writeFileSync(path, Buffer.concat([Buffer.alloc(100, 0xee), bytes]))
  if (fd >= 0) closeSync(fd)
  fd = openSync(path, 'r')
  const reader = new ResourceReader({ fd, chunkSize: CHUNK, decompressor })
  return reader.readAll(
    { sizeInWim: bytes.length, flags: RESOURCE_FLAG.compressed, offset: 100, size: bytes.length, ...resource },
    limitBytes,
  )
}

describe('good resources', () => {
  test.each([1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 10 * CHUNK + 7, 150 * CHUNK])(
    'of %d bytes, compressed',
    (size) => {
      const content = sampleBytes(size, size)
      expect(Buffer.compare(read(compressed(content), { size }), content)).toBe(0)
    },
  )

  test.each([0, 1, CHUNK, 5 << 20])('of %d bytes, stored', (size) => {
    const content = sampleBytes(size, 5)
    expect(Buffer.compare(read(content, { flags: 0, size }), content)).toBe(0)
  })

  test('noise is stored chunk by chunk', () => {
    const noise = crypto.getRandomValues(new Uint8Array(2 * CHUNK))
    expect(compressed(noise).length).toBe(noise.length + 4)
    expect(Buffer.compare(read(compressed(noise), { size: noise.length }), noise)).toBe(0)
  })
})

describe('bad resources', () => {
  const size = 4 * CHUNK
  const good = (): Uint8Array => compressed(sampleBytes(size, 9))
  const withEntry = (i: number, value: number): Uint8Array => {
    const bytes = good()
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(i * 4, value, true)
    return bytes
  }

  test.each<[string, () => Uint8Array, Partial<ResourceHeader>]>([
    ['cut by one byte', () => good().subarray(0, -1), { sizeInWim: 0 }],
    ['beyond the end of the file', good, { sizeInWim: 1 << 20 }],
    ['at an offset beyond the file', good, { offset: 1 << 30 }],
    ['a table longer than the resource', good, { sizeInWim: 11 }],
    ['a chunk that begins at 2^32', () => withEntry(0, 0xffff_ffff), {}],
    ['a chunk that begins before the one before', () => withEntry(1, 0), {}],
    ['an empty chunk', () => withEntry(0, 0), {}],
    ['a chunk larger than its content', () => withEntry(0, CHUNK + 1), {}],
    ['fewer bytes than chunks', good, { size: CHUNK * (1 << 20) }],
    ['2^50 bytes', good, { size: 2 ** 50 }],
    ['stored, with two sizes', good, { flags: 0, size }],
    ['solid', good, { flags: RESOURCE_FLAG.solid | RESOURCE_FLAG.compressed }],
  ])('%s', (name, bytes, resource) => {
    const made = bytes()
    const header = { size, ...resource, ...(name.startsWith('cut') ? { sizeInWim: made.length + 1 } : {}) }
    expect(() => read(made, header)).toThrow(BadResource)
  })

  test('more than the reader will hold', () => {
    expect(() => read(good(), { size }, size - 1)).toThrow('more than')
  })

  test('a chunk that is no LZX', () => {
    const bytes = good()
    bytes.fill(0xff, 12, 200)
    let result: Uint8Array | undefined
    try {
      result = read(bytes, { size })
    } catch (error) {
      expect(error).toBeInstanceOf(BadResource)
    }
    // LZX has no checksum: nonsense may decompress to nonsense, which the SHA-1 finds.
    if (result) expect(Buffer.compare(result, sampleBytes(size, 9))).not.toBe(0)
  })

  test('a read beyond the end is told where', () => {
    expect(() => readExactly(fd, new Uint8Array(10), 1 << 30)).toThrow('the file ends at 1073741824')
  })
})
