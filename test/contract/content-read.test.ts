import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { OpenContent, Piece } from '../../src/base/content.ts'
import { fileContent, memoryContent } from '../../src/content/file.ts'
import { ContentFault, pieceIndexAt, readFully, readNow } from '../../src/content/read.ts'

const folder = mkdtempSync(join(tmpdir(), 'content-'))
const path = join(folder, 'file')
const original = new Uint8Array(300_000).map((_, at) => (at * 31 + (at >> 8)) & 255)
let fd = -1
beforeAll(() => {
  writeFileSync(path, original)
  fd = openSync(path, 'r')
})
afterAll(() => {
  closeSync(fd)
  rmSync(folder, { recursive: true })
})

function assemble(sources: readonly { length: number; source: Piece['source'] }[]): OpenContent {
  const pieces: Piece[] = []
  let sizeBytes = 0
  for (const { length, source } of sources) {
    pieces.push({ at: sizeBytes, length, source })
    sizeBytes += length
  }
  return { sizeBytes, pieces, [Symbol.dispose]() {} }
}

/** Pieces of all lengths around 1, in an order that is not the file's. */
function shuffled(): { open: OpenContent; expected: Uint8Array } {
  const sources: { length: number; source: Piece['source'] }[] = []
  const parts: Uint8Array[] = []
  for (let count = 0; count < 700; count += 1) {
    const length = (count * 7919) % 701
    const offset = (count * 104_729) % (original.length - 701)
    const bytes = original.subarray(offset, offset + length)
    parts.push(bytes)
    sources.push({ length, source: count % 5 === 0 ? { bytes } : { fd, offset } })
  }
  return { open: assemble(sources), expected: new Uint8Array(Buffer.concat(parts)) }
}

/** One file of which only the first half is there any more. */
function halved(): { open: OpenContent; end: () => void } {
  const half = join(folder, 'half')
  writeFileSync(half, original)
  const descriptor = openSync(half, 'r')
  truncateSync(half, original.length / 2)
  return {
    open: assemble([{ length: original.length, source: { fd: descriptor, offset: 0 } }]),
    end: () => closeSync(descriptor),
  }
}

describe('pieces', () => {
  test('every byte is found in its piece', () => {
    const { open } = shuffled()
    for (let at = 0; at < open.sizeBytes; at += 97) {
      const piece = open.pieces[pieceIndexAt(open.pieces, at)]
      expect(piece && piece.at <= at && at < piece.at + piece.length).toBe(true)
    }
  })

  test.each([1, 13, 512, 1428, 65_536, 1_000_000])('slices of %d bytes give the whole', async (slice) => {
    const { open, expected } = shuffled()
    const whole = new Uint8Array(open.sizeBytes)
    for (let at = 0; at < whole.length; at += slice) await readFully(open, at, whole.subarray(at, at + slice))
    expect(Buffer.compare(whole, expected)).toBe(0)
  })

  test('reading now stays right after the JIT has compiled it', async () => {
    const { open, expected } = shuffled()
    const target = new Uint8Array(4096)
    let wrong = 0
    for (let round = 0; round < 60_000; round += 1) {
      const at = (round * 611) % (open.sizeBytes - 4096)
      const want = 1 + (round % 1999)
      const got = readNow(open, at, target.subarray(0, want))
      if (got > 0 && Buffer.compare(target.subarray(0, got), expected.subarray(at, at + got)) !== 0) wrong += 1
    }
    expect(wrong).toBe(0)
  })

  test('the end is the end', async () => {
    const open = assemble([{ length: 10, source: { bytes: original.subarray(0, 10) } }])
    expect(readNow(open, 8, new Uint8Array(100))).toBe(2)
    expect(readNow(open, 10, new Uint8Array(100))).toBe(0)
    expect(readFully(open, 8, new Uint8Array(3))).rejects.toBeInstanceOf(RangeError)
  })
})

describe('files that give less than promised', () => {
  test('a truncated file fails where it ends, by name', async () => {
    const { open, end } = halved()
    try {
      await readFully(open, 0, new Uint8Array(original.length / 2))
      expect(readNow(open, original.length / 2, new Uint8Array(10))).toBe(-1)
      const fault = await readFully(open, 0, new Uint8Array(original.length)).catch((error: unknown) => error)
      expect(fault).toBeInstanceOf(ContentFault)
      expect(fault).toMatchObject({ problem: 'truncated', file: join(folder, 'half'), offset: original.length / 2 })
    } finally {
      end()
    }
  })

  test('a failing read is unreadable, with its cause', async () => {
    const directory = openSync(folder, 'r')
    try {
      const open = assemble([{ length: 10, source: { fd: directory, offset: 0 } }])
      expect(readNow(open, 0, new Uint8Array(10))).toBe(-1)
      const fault = await readFully(open, 0, new Uint8Array(10)).catch((error: unknown) => error)
      expect(fault).toMatchObject({ problem: 'unreadable', file: folder, cause: { code: 'EISDIR' } })
    } finally {
      closeSync(directory)
    }
  })

  test('a failure gives its turn to the next', async () => {
    const { open, end } = halved()
    try {
      const reads = Array.from({ length: 50 }, () => readFully(open, open.sizeBytes - 10, new Uint8Array(10)))
      const results = await Promise.allSettled(reads)
      expect(results.every((result) => result.status === 'rejected')).toBe(true)
    } finally {
      end()
    }
  })

  test('an abort is answered with its reason', async () => {
    const { open } = shuffled()
    const reason = new Error('enough')
    expect(readFully(open, 0, new Uint8Array(10), AbortSignal.abort(reason))).rejects.toBe(reason)
  })
})

describe('single contents', () => {
  test('a file, its labels and its descriptor', async () => {
    const content = await fileContent(path)
    if (!content.ok) throw new Error(content.error.message)
    expect(content.value).toMatchObject({ sizeBytes: original.length, fileName: 'file' })
    const before = readdirSync('/proc/self/fd').length
    const opened = await content.value.open()
    if (!opened.ok) throw new Error(opened.error.message)
    const whole = new Uint8Array(original.length)
    await readFully(opened.value, 0, whole)
    expect(Buffer.compare(whole, original)).toBe(0)
    opened.value[Symbol.dispose]()
    opened.value[Symbol.dispose]()
    expect(readdirSync('/proc/self/fd').length).toBe(before)
  })

  test('another file under the name is not the content that was found', async () => {
    const changing = join(folder, 'changing')
    writeFileSync(changing, 'one')
    const content = await fileContent(changing)
    writeFileSync(changing, 'other')
    expect(content.ok && (await content.value.open())).toMatchObject({ ok: false, error: { code: 'unreadable' } })
  })

  test.each([
    ['nothing', join(folder, 'missing'), 'not-found'],
    ['a folder', folder, 'bad-path'],
    ['a device', '/dev/null', 'bad-path'],
    ['below a file', join(path, 'x'), 'not-found'],
  ])('%s is refused', async (_, where, code) => {
    expect(await fileContent(where)).toMatchObject({ ok: false, error: { code } })
  })

  test('bytes have the etag of their contents', async () => {
    const [one, same, other] = ['a', 'a', 'b'].map((text) => memoryContent(Buffer.from(text)))
    expect(one?.etag).toBe(same?.etag ?? '')
    expect(one?.etag).not.toBe(other?.etag ?? '')
  })
})
