import { afterAll, beforeAll, expect, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { block, mapForReading } from '../../ffi/libc/memory.ts'
import { geometryOf } from '../../src/cast/geometry.ts'
import { decodeManifest, encodeManifest, HASH_BYTES, sha256 } from '../../src/cast/manifest.ts'
import { openPartial } from '../../src/cast/partial.ts'
import { hashContent } from '../../src/cast/sender.ts'
import { MappedSource, readContent, type SourcePiece, tidy, Unreadable } from '../../src/cast/source.ts'
import { SymbolSet } from '../../src/cast/wanted.ts'

const BYTES: Uint8Array = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 31 + (index >>> 8)) & 0xff)
let dir: string
let fd: number

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-cast-'))
  writeFileSync(join(dir, 'segment'), BYTES)
  fd = openSync(join(dir, 'segment'), 'r')
})
afterAll(() => {
  closeSync(fd)
  rmSync(dir, { recursive: true })
})

/** The file backwards in thirds, with runs of single bytes and bytes of memory between. */
function uneven(): { pieces: SourcePiece[]; expected: Uint8Array } {
  const runs: { offset: number; length: number; memory?: boolean }[] = [
    { offset: 200_000, length: 100_000 },
    { offset: 7, length: 50, memory: true },
    ...Array.from({ length: 200 }, (_, index) => ({ offset: index * 3, length: 1 })),
    { offset: 100_000, length: 60_000 },
    { offset: 160_000, length: 40_000 },
    { offset: 0, length: 100_000 },
  ]
  const pieces: SourcePiece[] = []
  const parts: Uint8Array[] = []
  let at = 0
  for (const { offset, length, memory } of runs) {
    const bytes = BYTES.slice(offset, offset + length)
    pieces.push(memory === true ? { at, length, bytes } : { at, length, fd, offset })
    parts.push(bytes)
    at += length
  }
  return { pieces, expected: new Uint8Array(Buffer.concat(parts)) }
}

test('reads across pieces', () => {
  const { pieces, expected } = uneven()
  for (const [from, length] of [
    [0, expected.byteLength],
    [99_999, 500],
    [100_020, 3],
    [160_100, 100_000],
  ] as const) {
    const into = new Uint8Array(length)
    readContent(pieces, from, into)
    expect(Buffer.from(into).equals(expected.subarray(from, from + length))).toBe(true)
  }
})

test('tidy joins neighbours and short runs, and changes no byte', () => {
  const { pieces, expected } = uneven()
  const tidied = tidy(pieces)
  expect(tidied.length).toBe(4)
  const into = new Uint8Array(expected.byteLength)
  readContent(tidied, 0, into)
  expect(Buffer.from(into).equals(expected)).toBe(true)
})

test('a mapped source finds every byte, forwards and at random', () => {
  const { pieces, expected } = uneven()
  using source = new MappedSource(pieces)
  for (const start of [0, 250_000, 99_990, 100_100, 260_000, 5]) {
    let at = start
    while (at < Math.min(expected.byteLength, start + 20_000)) {
      source.seek(at)
      const left = source.leftAt(at)
      expect(left).toBeGreaterThan(0)
      expect(source.addressOf(at)).toBeGreaterThan(0)
      at += Math.min(left, 1456)
    }
  }
})

test('a source that cannot be mapped whole leaves nothing mapped', () => {
  const path = join(dir, 'mapped')
  writeFileSync(path, BYTES)
  const whole = openSync(path, 'r')
  const pieces: SourcePiece[] = [
    { at: 0, length: 200_000, fd: whole, offset: 0 },
    { at: 200_000, length: 1000, fd: -1, offset: 0 },
  ]
  expect(() => new MappedSource(pieces)).toThrow('mmap')
  closeSync(whole)
  expect(readFileSync('/proc/self/maps', 'utf8')).not.toContain(path)
})

test('a mapping needs no alignment', () => {
  using mapping = mapForReading(fd, 65_537, 1000)
  expect(mapping.address % 65_536 === 1 || mapping.address % 4096 === 1).toBe(true)
  expect(block(3).words.length).toBe(2)
})

test('a truncated file is unreadable, by name and place', () => {
  const path = join(dir, 'short')
  writeFileSync(path, BYTES)
  const short = openSync(path, 'r')
  truncateSync(path, 1000)
  const read = () => readContent([{ at: 0, length: 5000, fd: short, offset: 0 }], 0, new Uint8Array(5000))
  expect(read).toThrow(Unreadable)
  expect(read).toThrow('byte 1000')
  closeSync(short)
})

test('the manifest has the hash of each chunk', async () => {
  const geometry = geometryOf(BYTES.byteLength, 128)
  const bytes = await hashContent([{ at: 0, length: BYTES.byteLength, fd, offset: 0 }], geometry, async () => true)
  const hashes = new Uint8Array(geometry.chunkCount * HASH_BYTES)
  for (let chunk = 0; chunk < geometry.chunkCount; chunk += 1) {
    hashes.set(
      sha256(BYTES.subarray(chunk * geometry.chunkBytes, (chunk + 1) * geometry.chunkBytes)),
      chunk * HASH_BYTES,
    )
  }
  expect(bytes).toEqual(encodeManifest(geometry, hashes))
  const stopped = await hashContent([{ at: 0, length: BYTES.byteLength, fd, offset: 0 }], geometry, async () => false)
  expect(stopped).toBeUndefined()
})

test('a partial file remembers what it holds, and refuses another content', async () => {
  const geometry = geometryOf(BYTES.byteLength, 128)
  const encoded = await hashContent([{ at: 0, length: BYTES.byteLength, fd, offset: 0 }], geometry, async () => true)
  const manifest = decodeManifest(encoded ?? new Uint8Array())
  if (!manifest.ok) throw new Error(manifest.error.message)
  const out = join(dir, 'out')
  {
    const opened = await openPartial(out, manifest.value)
    if (!opened.ok) throw new Error(opened.error.message)
    await using partial = opened.value
    expect(partial.resumed).toBe(false)
    await partial.write(1, BYTES.subarray(geometry.chunkBytes, 2 * geometry.chunkBytes))
    expect([partial.holds(0), partial.holds(1)]).toEqual([false, true])
    expect([await partial.verify(0), await partial.verify(1)]).toEqual([false, true])
    await partial.save()
  }
  {
    const opened = await openPartial(out, manifest.value)
    if (!opened.ok) throw new Error(opened.error.message)
    await using partial = opened.value
    expect([partial.resumed, partial.holds(0), partial.holds(1)]).toEqual([true, false, true])
    expect(new SymbolSet(geometry.symbolCount, partial.memory).size).toBe(1024)
    partial.forget(1)
    expect(partial.holds(1)).toBe(false)
  }
  const other = decodeManifest(encodeManifest(geometry, new Uint8Array(geometry.chunkCount * HASH_BYTES)))
  if (!other.ok) throw new Error(other.error.message)
  const refused = await openPartial(out, other.value)
  expect(refused.ok ? '' : refused.error.code).toBe('wrong-content')
})
