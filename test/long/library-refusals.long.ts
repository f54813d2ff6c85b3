/**
 * Bad files at the library's door. Each gets its own code, a sentence and a hint; rows and folders stay as they were,
 * and nothing is left in the work folder.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Code } from '../../src/base/refusal.ts'
import type { ImportRequest } from '../../src/library/transfer/imports.ts'
import { openSource } from '../../src/wim/source.ts'
import { buildTree, buildWim, CHILDREN_FIELD, type Node, sha1 } from '../fixtures/image-tree.ts'
import { BY, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import { capture, HAS_STOCK, imagex, makeTree } from '../fixtures/wims.ts'

const T = 60_000
let work: string
let opened: Opened
let good: Buffer
let goodPath: string
let counter = 0

const path = (name: string): string => join(work, name)

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(tmpdir(), 'wimcast-refusals-'))
  const tree = makeTree(path('tree'), { smallFiles: 5 })
  goodPath = await capture(tree, path('good.wim'), 'Good')
  good = readFileSync(goodPath)
  await capture(tree, path('solid.esd'), 'Solid', '--solid')
  await imagex('split', goodPath, path('set.swm'), '0.1')
  await capture(makeTree(path('other'), { edition: 'Other', smallFiles: 5 }), path('other.wim'), 'Other')
  await imagex('split', path('other.wim'), path('foreign.swm'), '0.1')
  opened = await openTestLibrary()
  // Something is there already, which a refusal must not touch; in a group of its own, where it hides no damage.
  must(opened.library.groups.create('Kept', BY))
  await opened.imported(path('other.wim'), { group: 'Kept' })
}, T)
afterAll(async () => {
  await opened?.[Symbol.asyncDispose]()
  if (work) rmSync(work, { recursive: true, force: true })
}, T)

function written(bytes: Uint8Array | string): string {
  counter += 1
  const file = path(`bad-${counter}.wim`)
  writeFileSync(file, bytes)
  return file
}

/** The good file with some of its bytes put over. */
function changed(change: (bytes: Buffer) => void, of: Buffer = good): string {
  const bytes = Buffer.from(of)
  change(bytes)
  return written(bytes)
}

async function refuses(
  file: string,
  codes: Code | readonly Code[],
  request: Partial<ImportRequest> = {},
): Promise<void> {
  const before = opened.snapshot()
  const { state, error } = await opened.importFile(file, request)
  expect([file, state]).toEqual([file, 'failed'])
  expect([codes].flat()).toContain((error?.code ?? '') as Code)
  expect(error?.message).toMatch(/\w+ \w+/)
  expect(error?.message.length).toBeLessThan(1000)
  expect(error?.hint).toMatch(/\w+ \w+.*\.$/)
  expect(opened.snapshot()).toEqual(before)
  expect(opened.leftovers()).toEqual([])
}

const HEADER = { flags: 0x10, images: 0x2c, table: 0x30, xml: 0x48 }
const u64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at))

describe.skipIf(!HAS_STOCK)('no WIM at all', () => {
  test.each<[string, string | Uint8Array, Code]>([
    ['an empty file', '', 'not-a-wim'],
    ['a short text', 'hello', 'not-a-wim'],
    ['a text', 'hello '.repeat(1000), 'not-a-wim'],
    ['an ISO', Buffer.concat([Buffer.alloc(32_769), Buffer.from('CD001'), Buffer.alloc(5000)]), 'not-a-wim'],
    ['the magic alone', 'MSWIM\0\0\0', 'not-a-wim'],
    ['the magic and zeros', 'MSWIM\0\0\0'.padEnd(500, '\0'), 'unsupported'],
  ])('%s', async (_, bytes, code) => refuses(written(bytes), code), T)

  test('no file', async () => refuses(path('nowhere.wim'), 'not-found'), T)
  test('a folder', async () => refuses(path('tree'), 'bad-path'), T)
})

describe.skipIf(!HAS_STOCK)('a file cut short', () => {
  test(
    'at its header, contents, tree, table and XML',
    async () => {
      const { offset: table } = must(openSource(goodPath)).header.blobTable
      const { offset: xml } = must(openSource(goodPath)).header.xml
      for (const length of [1, 207]) await refuses(written(good.subarray(0, length)), 'not-a-wim')
      for (const length of [208, 209, 5000, table - 1, table, table + 49, xml - 1, xml, xml + 20, good.length - 1])
        await refuses(written(good.subarray(0, length)), ['truncated', 'bad-xml'])
    },
    T,
  )

  test(
    'solid and pipable ones too',
    async () => {
      const solid = readFileSync(path('solid.esd'))
      for (const part of [0.3, 0.9, 0.999])
        await refuses(written(solid.subarray(0, Math.floor(solid.length * part))), ['truncated', 'bad-xml'])
      const pipable = readFileSync(await capture(path('tree'), path('pipable.wim'), 'P', '--pipable'))
      for (const part of [0.001, 0.5, 0.999])
        await refuses(written(pipable.subarray(0, Math.max(300, Math.floor(pipable.length * part)))), 'truncated')
    },
    T,
  )
})

describe.skipIf(!HAS_STOCK)('a byte that flipped', () => {
  test(
    'in a content: found by the check; taken when the check is skipped',
    async () => {
      using source = must(openSource(goodPath))
      const sizes = [...source.table.sizeInWim]
      const largest = sizes.indexOf(Math.max(...sizes))
      const at = (source.table.offset[largest] ?? 0) + (sizes[largest] ?? 0) - 1000
      const file = changed((bytes) => bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at))
      await refuses(file, 'corrupt', { fileName: 'flipped' })
      const [image] = await opened.imported(file, { fileName: 'flipped', skipVerify: true })
      const view = await saveContent(
        must(await opened.library.images.content(image ?? fail())),
        path('flipped-view.wim'),
      )
      expect(imagex('verify', view)).rejects.toThrow()
      // A verified import takes nothing from it, and heals the image that came unverified.
      const [good] = await opened.imported(goodPath, { fileName: 'whole' })
      for (const [i, one] of [good, image].entries()) {
        const again = await saveContent(
          must(await opened.library.images.content(one ?? fail())),
          path(`healed-${i}.wim`),
        )
        await imagex('verify', again)
      }
      for (const file of ['flipped', 'whole'])
        must(opened.library.images.remove({ name: 'Good', group: 'G', file }, BY))
      must(await opened.library.trash.empty({}, BY))
      await opened.library.collect(1)
    },
    T,
  )

  test(
    'in a content that the group holds already does no harm: the good one stays',
    async () => {
      const [kept] = await opened.imported(goodPath, { fileName: 'kept' })
      using source = must(openSource(goodPath))
      const sizes = [...source.table.sizeInWim]
      const at = (source.table.offset[sizes.indexOf(Math.max(...sizes))] ?? 0) + 3000
      const file = changed((bytes) => bytes.writeUInt8(bytes.readUInt8(at) ^ 0xff, at))
      const [second] = await opened.imported(file, { fileName: 'second' })
      for (const image of [kept, second])
        await imagex(
          'verify',
          await saveContent(must(await opened.library.images.content(image ?? fail())), path('kept-view.wim')),
        )
      for (const fileName of ['kept', 'second'])
        must(opened.library.images.remove({ name: 'Good', group: 'G', file: fileName }, BY))
      must(await opened.library.trash.empty({}, BY))
      await opened.library.collect(1)
    },
    T,
  )

  test(
    'in a tree: always found',
    async () => {
      using source = must(openSource(goodPath))
      const entry = source.metadata[0] ?? 0
      const [offset, size] = [source.table.offset[entry] ?? 0, source.table.sizeInWim[entry] ?? 0]
      for (const at of [offset + 10, offset + Math.floor(size / 2), offset + Math.floor(size * 0.8)])
        for (const skipVerify of [false, true])
          await refuses(
            changed((bytes) => bytes.writeUInt8(bytes.readUInt8(at) ^ 0x40, at)),
            ['corrupt', 'bad-metadata'],
            { skipVerify },
          )
    },
    T,
  )

  test(
    'in a chunk table, in a SHA-1, in a solid resource',
    async () => {
      using source = must(openSource(goodPath))
      const sizes = [...source.table.size]
      const largest = sizes.indexOf(Math.max(...sizes))
      const offset = source.table.offset[largest] ?? 0
      await refuses(
        changed((bytes) => bytes.writeUInt32LE(0xffff_fff0, offset + 4)),
        'corrupt',
      )
      const table = u64(good, HEADER.table + 8)
      await refuses(
        changed((bytes) => bytes.writeUInt8(bytes.readUInt8(table + 35) ^ 1, table + 35)),
        ['missing-blobs', 'corrupt'],
      )
      const solid = readFileSync(path('solid.esd'))
      await refuses(
        changed((bytes) => bytes.fill(0x55, 100_000, 100_020), solid),
        'corrupt',
      )
      // libwim checks each content when it converts: skipping ours does not let this one in.
      await refuses(
        changed((bytes) => bytes.fill(0x55, 100_000, 100_020), solid),
        'corrupt',
        { skipVerify: true },
      )
    },
    T,
  )
})

describe.skipIf(!HAS_STOCK)('split sets', () => {
  const parts = (set: string): string[] =>
    [...new Bun.Glob(`${set}*.swm`).scanSync(work)].sort((a, b) => a.length - b.length || a.localeCompare(b))
  function copySet(to: string): string[] {
    mkdirSync(path(to))
    const names = parts('set')
    for (const name of names) copyFileSync(path(name), path(`${to}/${name}`))
    return names.map((name) => path(`${to}/${name}`))
  }

  test(
    'by another part than the first',
    async () => {
      expect(parts('set').length).toBeGreaterThan(3)
      await refuses(path('set2.swm'), 'not-first-part')
    },
    T,
  )

  test(
    'with a part missing, which is named',
    async () => {
      const [first = '', , third = ''] = copySet('missing')
      rmSync(third)
      await refuses(first, 'missing-part')
      expect(opened.jobs.list(1)[0]?.error).toMatchObject({
        message: expect.stringContaining('set3.swm'),
        facts: { missing: ['set3.swm'] },
      })
    },
    T,
  )

  test(
    'with a part of another set, the same part twice, and a part that is no WIM',
    async () => {
      const [first = '', second = '', third = ''] = copySet('wrong')
      copyFileSync(path('foreign2.swm'), second)
      await refuses(first, 'wrong-part')
      copyFileSync(third, second)
      await refuses(first, 'wrong-part')
      writeFileSync(second, 'x'.repeat(1000))
      await refuses(first, 'not-a-wim')
    },
    T,
  )

  test(
    'that claims 65,535 parts',
    async () => {
      await refuses(
        changed((bytes) => bytes.writeUInt16LE(65_535, 0x2a)),
        'missing-part',
      )
    },
    T,
  )
})

/** The good file with another XML document at its end. */
function withXml(text: string): string {
  const xml = Buffer.from(`\ufeff${text}`, 'utf16le')
  const at = u64(good, HEADER.xml + 8)
  const bytes = Buffer.concat([good.subarray(0, at), xml])
  bytes.writeUIntLE(xml.length, HEADER.xml, 6)
  bytes.writeBigUInt64LE(BigInt(xml.length), HEADER.xml + 16)
  return written(bytes)
}

describe.skipIf(!HAS_STOCK)('XML', () => {
  test.each<[string, string, Code]>([
    [
      'an encrypted ESD',
      '<WIM><IMAGE INDEX="1"><NAME>x</NAME></IMAGE><ESD><ENCRYPTED></ENCRYPTED></ESD></WIM>',
      'encrypted',
    ],
    ['malformed', '<WIM><IMAGE INDEX="1"><NAME>x</IMAGE></WIM>', 'bad-xml'],
    [
      'a document type',
      '<!DOCTYPE WIM [<!ENTITY x SYSTEM "file:///etc/passwd">]><WIM><IMAGE INDEX="1"><NAME>&x;</NAME></IMAGE></WIM>',
      'bad-xml',
    ],
    ['no image', '<WIM></WIM>', 'bad-xml'],
    [
      'a description of 10 MB',
      `<WIM><IMAGE INDEX="1"><NAME>x</NAME><DESCRIPTION>${'x'.repeat(5 << 20)}</DESCRIPTION></IMAGE></WIM>`,
      'bad-xml',
    ],
    [
      'a description of 5,000 characters',
      `<WIM><IMAGE INDEX="1"><NAME>x</NAME><DESCRIPTION>${'x'.repeat(5000)}</DESCRIPTION></IMAGE></WIM>`,
      'bad-name',
    ],
    ['a name with a line in it', '<WIM><IMAGE INDEX="1"><NAME>x\ny</NAME></IMAGE></WIM>', 'bad-name'],
    ['nothing', '', 'bad-xml'],
  ])('%s', async (_, text, code) => refuses(withXml(text), code), T)
})

describe.skipIf(!HAS_STOCK)('numbers without measure', () => {
  const huge = 2n ** 50n
  test.each<[string, (bytes: Buffer) => void, readonly Code[]]>([
    ['a table of 2^50 bytes', (bytes) => bytes.writeUIntLE(2 ** 45, HEADER.table, 6), ['truncated', 'corrupt']],
    ['a table at 2^50', (bytes) => bytes.writeBigUInt64LE(huge, HEADER.table + 8), ['truncated']],
    [
      'a table that ends a byte beyond the file',
      (bytes) => bytes.writeBigUInt64LE(BigInt(bytes.length + 1 - bytes.readUIntLE(HEADER.table, 6)), HEADER.table + 8),
      ['truncated'],
    ],
    ['a table at 2^63', (bytes) => bytes.writeBigUInt64LE(2n ** 63n, HEADER.table + 8), ['corrupt']],
    [
      'a table that is half an entry longer',
      (bytes) => bytes.writeUIntLE(Number(bytes.readUIntLE(HEADER.table, 6)) + 25, HEADER.table, 6),
      ['corrupt'],
    ],
    ['XML of 2^45 bytes', (bytes) => bytes.writeUIntLE(2 ** 45, HEADER.xml, 6), ['truncated', 'bad-xml']],
    ['compressed XML', (bytes) => bytes.writeUInt8(4, HEADER.xml + 7), ['unsupported']],
    ['65,535 images', (bytes) => bytes.writeUInt32LE(65_535, HEADER.images), ['bad-xml']],
    ['2^31 images', (bytes) => bytes.writeUInt32LE(2 ** 31, HEADER.images), ['corrupt']],
    ['4,294,967,295 images', (bytes) => bytes.writeUInt32LE(0xffff_ffff, HEADER.images), ['corrupt']],
    ['no image', (bytes) => bytes.writeUInt32LE(0, HEADER.images), ['bad-xml', 'corrupt']],
    [
      'contents of 2^50 bytes',
      (bytes) => eachEntry(bytes, (at, metadata) => !metadata && bytes.writeBigUInt64LE(huge, at + 16)),
      ['corrupt'],
    ],
    [
      'contents that take 2^40 bytes',
      (bytes) => eachEntry(bytes, (at, metadata) => !metadata && bytes.writeUIntLE(2 ** 40, at, 6)),
      ['truncated'],
    ],
    [
      'contents that take 2^55 bytes',
      (bytes) => eachEntry(bytes, (at, metadata) => !metadata && bytes.writeUInt8(0x80, at + 6)),
      ['truncated'],
    ],
    [
      'contents at 2^50',
      (bytes) => eachEntry(bytes, (at, metadata) => !metadata && bytes.writeBigUInt64LE(huge, at + 8)),
      ['truncated'],
    ],
    [
      'a tree of 2^50 bytes',
      (bytes) => eachEntry(bytes, (at, metadata) => metadata && bytes.writeBigUInt64LE(huge, at + 16)),
      ['corrupt'],
    ],
    [
      'a tree of 900 MiB in a few kilobytes',
      (bytes) => eachEntry(bytes, (at, metadata) => metadata && bytes.writeBigUInt64LE(900n << 20n, at + 16)),
      ['corrupt'],
    ],
    ['no tree', (bytes) => eachEntry(bytes, (at, metadata) => metadata && bytes.writeUInt8(4, at + 7)), ['corrupt']],
    ['chunks of 4 GiB', (bytes) => bytes.writeUInt32LE(0xffff_ffff, 0x14), ['corrupt']],
    ['chunks of 0', (bytes) => bytes.writeUInt32LE(0, 0x14), ['corrupt']],
  ])('%s', async (_, change, codes) => refuses(changed(change), codes), T)

  function eachEntry(bytes: Buffer, change: (at: number, metadata: boolean) => unknown): void {
    const table = u64(bytes, HEADER.table + 8)
    const end = table + Number(bytes.readUIntLE(HEADER.table, 6))
    for (let at = table; at < end; at += 50) change(at, (bytes.readUInt8(at + 7) & 2) !== 0)
  }
})

describe.skipIf(!HAS_STOCK)('hostile trees', () => {
  const blob = Buffer.from('data')
  const file = (name: string): Node => ({ name, hash: sha1(blob) })
  const wimOf = (metadata: Uint8Array): string => written(buildWim([{ name: 'x', metadata }], [blob]))

  test.each([
    ['a name with a slash', [file('../../etc/passwd')]],
    ['a name with a backslash', [file('..\\x')]],
    ['..', [file('..')]],
    ['a name twice', [file('x'), file('x')]],
  ])('%s', async (_, children) => refuses(wimOf(buildTree({ name: '', children }).bytes), 'bad-metadata'), T)

  test(
    'a cycle',
    async () => {
      const inner: Node = { name: 'inner', children: [file('x')] }
      const root: Node = { name: '', children: [inner] }
      const { bytes, entry, children } = buildTree(root)
      new DataView(bytes.buffer).setBigUint64(
        (entry.get(inner) ?? 0) + CHILDREN_FIELD,
        BigInt(children.get(root) ?? 0),
        true,
      )
      await refuses(wimOf(bytes), 'bad-metadata')
    },
    T,
  )

  test(
    'a tree that ends early',
    async () => refuses(wimOf(buildTree({ name: '', children: [file('x')] }).bytes.slice(0, 150)), 'bad-metadata'),
    T,
  )
  test(
    'contents that are nowhere',
    async () =>
      refuses(
        written(buildWim([{ name: 'x', metadata: buildTree({ name: '', children: [file('x')] }).bytes }], [])),
        'missing-blobs',
      ),
    T,
  )
})

test.skipIf(!HAS_STOCK)(
  'a file name that is taken, found before the work and after it',
  async () => {
    expect(opened.start(goodPath, { group: 'Kept', fileName: 'OTHER' })).toMatchObject({
      ok: false,
      error: { code: 'exists' },
    })
    copyFileSync(goodPath, path('copy-other.wim'))
    await refuses(path('copy-other.wim'), 'exists', { group: 'Kept', sourceName: 'Other.esd' })
  },
  T,
)

function fail(): never {
  throw new Error('missing')
}
