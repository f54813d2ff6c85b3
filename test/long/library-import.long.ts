/**
 * Import of every kind of WIM that libwim reads, with stock `wimlib-imagex` as the judge: what a view gives when it is
 * applied is what the source gives, and the segments are WIMs that stock tools read by themselves.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { HEADER_FLAG } from '../../src/wim/header.ts'
import { openSource, type Source } from '../../src/wim/source.ts'
import { buildTree, buildWim, type Node, sha1 } from '../fixtures/image-tree.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import {
  append,
  applied,
  capture,
  detailsOf,
  differences,
  HAS_STOCK,
  imagex,
  makeTree,
  sha256,
  treeOf,
} from '../fixtures/wims.ts'

const T = 60_000
let work: string
let pro: string
let home: string
let proTree: string
let opened: Opened
let counter = 0

const path = (name: string): string => join(work, name)
const fresh = (): string => {
  counter += 1
  return path(`out-${counter}`)
}

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(tmpdir(), 'wimcast-import-'))
  pro = makeTree(path('pro'))
  home = makeTree(path('home'), { edition: 'Home' })
  await capture(pro, path('lzx.wim'), 'Pro')
  proTree = treeOf(await applied(path('lzx.wim'), 1, fresh()))
  opened = await openTestLibrary()
}, T)
afterAll(async () => {
  await opened?.[Symbol.asyncDispose]()
  if (work) rmSync(work, { recursive: true, force: true })
}, T)

/** A group of its own, by name. */
function groupOf(name: string): string {
  must(opened.library.groups.create(name, BY))
  return name
}

const segmentsOf = (group: string): string[] => {
  const { id } = must(opened.library.groups.show(group, LOCAL))
  const dir = join(opened.dataDir, 'groups', String(id))
  return readdirSync(dir)
    .filter((name) => name.endsWith('.wim'))
    .map((name) => join(dir, name))
}

/** SHA-1s of the directory trees: ACLs, attributes, times and names are in there. */
function treeHashes(wim: string): string[] {
  using source: Source = must(openSource(wim))
  return source.metadata.map((entry) =>
    Buffer.from(source.table.sha1.subarray(entry * 20, entry * 20 + 20)).toString('hex'),
  )
}

describe.skipIf(!HAS_STOCK)('import', () => {
  const kinds: [string, () => Promise<{ file: string; apply?: string[] }>][] = [
    ['LZX', async () => ({ file: path('lzx.wim') })],
    ['XPRESS', async () => ({ file: await capture(pro, path('xpress.wim'), 'Pro', '--compress=xpress') })],
    ['uncompressed', async () => ({ file: await capture(pro, path('none.wim'), 'Pro', '--compress=none') })],
    [
      'LZX with 64 KiB chunks',
      async () => ({ file: await capture(pro, path('lzx64.wim'), 'Pro', '--compress=lzx', '--chunk-size=64K') }),
    ],
    ['LZMS', async () => ({ file: await capture(pro, path('lzms.wim'), 'Pro', '--compress=lzms') })],
    ['solid LZMS', async () => ({ file: await capture(pro, path('solid.esd'), 'Pro', '--solid') })],
    ['with an integrity table', async () => ({ file: await capture(pro, path('check.wim'), 'Pro', '--check') })],
    ['pipable', async () => ({ file: await capture(pro, path('pipable.wim'), 'Pro', '--pipable') })],
    [
      'pipable XPRESS',
      async () => ({ file: await capture(pro, path('pipable-x.wim'), 'Pro', '--pipable', '--compress=xpress') }),
    ],
    [
      'split',
      async () => {
        await imagex('split', path('lzx.wim'), path('split.swm'), '0.1')
        return { file: path('split.swm'), apply: [`--ref=${path('split*.swm')}`] }
      },
    ],
    [
      'split XPRESS',
      async () => {
        await imagex('split', path('xpress.wim'), path('splitx.swm'), '0.1')
        return { file: path('splitx.swm'), apply: [`--ref=${path('splitx*.swm')}`] }
      },
    ],
  ]

  test.each(kinds)(
    '%s: the view is the source',
    async (kind, make) => {
      const { file, apply = [] } = await make()
      if (kind.startsWith('split'))
        expect(
          readdirSync(work).filter((name) => name.startsWith(file.split('/').at(-1)?.replace('.swm', '') ?? '')).length,
        ).toBeGreaterThan(3)
      const before = sha256(file)
      const [image] = await opened.imported(file, { group: groupOf(kind) })
      if (!image) throw new Error('no image came')
      expect(sha256(file)).toBe(before)
      expect(opened.leftovers()).toEqual([])
      expect(image).toMatchObject({
        name: 'Pro',
        description: 'Pro description',
        isPublic: false,
        facts: { name: 'Pro' },
      })

      const content = must(await opened.library.images.content(image))
      const view = await saveContent(content, `${fresh()}.wim`)
      await imagex('verify', view)
      // The row says what the view takes, give or take its names.
      expect(Math.abs(image.viewBytes - content.sizeBytes)).toBeLessThan(4096)
      expect(differences(treeOf(await applied(view, 1, fresh())), proTree)).toEqual([])
      expect(differences(treeOf(await applied(file, 1, fresh(), ...apply)), proTree)).toEqual([])
      expect(
        differences(
          await detailsOf(view, 1),
          await detailsOf(
            kind.startsWith('split') ? file.replace(/split(x?)\.swm/, (_, x) => (x ? 'xpress.wim' : 'lzx.wim')) : file,
            1,
          ),
        ),
      ).toEqual([])
      // libwim writes trees anew, in its own order; a raw copy keeps them to the byte.
      if (must(openSource(file)).notRaw === undefined) expect(treeHashes(view)).toEqual(treeHashes(file))

      const [segment] = segmentsOf(kind)
      if (!segment) throw new Error('no segment')
      await imagex('verify', segment)
      expect(differences(treeOf(await applied(segment, 1, fresh())), proTree)).toEqual([])
    },
    T,
  )

  test(
    'of several images: all, by index, by name; views hold one each',
    async () => {
      const file = path('multi.wim')
      await capture(pro, file, 'Pro')
      await append(home, file, 'Home')
      const all = await opened.imported(file, { group: groupOf('multi all') })
      expect(all.map((image) => [image.name, image.fileName])).toEqual([
        ['Home', 'multi-2.wim'],
        ['Pro', 'multi-1.wim'],
      ])
      expect(segmentsOf('multi all').length).toBe(1)
      for (const image of all) {
        const view = await saveContent(must(await opened.library.images.content(image)), `${fresh()}.wim`)
        await imagex('verify', view)
        expect(
          differences(treeOf(await applied(view, 1, fresh())), treeOf(await applied(file, image.name, fresh()))),
        ).toEqual([])
        expect(await imagex('info', view)).toMatch(/Image Count: +1\n/)
      }
      const [second] = await opened.imported(file, {
        group: groupOf('multi by index'),
        select: { kind: 'index', index: 2 },
      })
      expect(second).toMatchObject({ name: 'Home', fileName: 'multi.wim' })
      const [first] = await opened.imported(file, {
        group: groupOf('multi by name'),
        select: { kind: 'name', name: 'pro' },
      })
      expect(first).toMatchObject({ name: 'Pro' })
      const view = await saveContent(
        must(await opened.library.images.content(first ?? second ?? all[0] ?? fail())),
        `${fresh()}.wim`,
      )
      expect(differences(treeOf(await applied(view, 1, fresh())), proTree)).toEqual([])

      const named = { name: 'Büro <1>', description: 'a & b', fileName: 'office' }
      const [renamed] = await opened.imported(file, {
        group: groupOf('multi renamed'),
        select: { kind: 'index', index: 1 },
        ...named,
      })
      expect(renamed).toMatchObject({ ...named, fileName: 'office.wim' })
      const info = await imagex(
        'info',
        await saveContent(must(await opened.library.images.content(renamed ?? fail())), `${fresh()}.wim`),
        '1',
      )
      expect(info).toMatch(/Name: +Büro <1>\n/)
      expect(info).toMatch(/Description: +a & b\n/)
    },
    T,
  )

  test(
    'of several images out of a solid file, two of one tree, some of one name in other cases',
    async () => {
      const file = path('multi.esd')
      await capture(pro, file, 'Pro', '--solid')
      await append(home, file, 'PRO')
      await append(pro, file, 'again')
      const images = await opened.imported(file, { group: groupOf('multi solid') })
      expect(images.length).toBe(3)
      for (const image of images) {
        const view = await saveContent(must(await opened.library.images.content(image)), `${fresh()}.wim`)
        await imagex('verify', view)
        const index = Number(/-(\d)\.wim/.exec(image.fileName)?.[1])
        expect(
          differences(treeOf(await applied(view, 1, fresh())), treeOf(await applied(file, index, fresh()))),
        ).toEqual([])
      }
    },
    T,
  )

  test.each([
    ['LZX', []],
    ['XPRESS', ['--compress=xpress']],
  ])(
    'of a delta (%s): refused without its base, whole with it',
    async (kind, options) => {
      const file = path(`delta-${kind}.wim`)
      await capture(home, file, 'Home', `--delta-from=${path('lzx.wim')}`, ...options)
      const group = groupOf(`delta ${kind}`)
      const before = opened.snapshot()
      const refused = await opened.importFile(file, { group })
      expect(refused).toMatchObject({
        state: 'failed',
        error: { code: 'missing-blobs', hint: expect.stringContaining('base') },
      })
      expect(opened.snapshot()).toEqual(before)
      expect(opened.leftovers()).toEqual([])

      await opened.imported(path('lzx.wim'), { group })
      const [image] = await opened.imported(file, { group })
      const view = await saveContent(must(await opened.library.images.content(image ?? fail())), `${fresh()}.wim`)
      await imagex('verify', view)
      expect(
        differences(
          treeOf(await applied(view, 1, fresh())),
          treeOf(await applied(file, 1, fresh(), `--ref=${path('lzx.wim')}`)),
        ),
      ).toEqual([])
    },
    T,
  )

  test(
    'of 1,000 files',
    async () => {
      const many = makeTree(path('many'), { smallFiles: 1000 })
      const file = await capture(many, path('many.wim'), 'Many', '--compress=fast')
      const [image] = await opened.imported(file, { group: groupOf('many') })
      const view = await saveContent(must(await opened.library.images.content(image ?? fail())), `${fresh()}.wim`)
      await imagex('verify', view)
      expect(differences(treeOf(await applied(view, 1, fresh())), treeOf(many))).toEqual([])
    },
    T,
  )

  test(
    'an image without a file',
    async () => {
      mkdirSync(path('nothing'))
      const file = await capture(path('nothing'), path('empty-image.wim'), 'Nothing')
      const [image] = await opened.imported(file, { group: groupOf('nothing') })
      const view = await saveContent(must(await opened.library.images.content(image ?? fail())), `${fresh()}.wim`)
      await imagex('verify', view)
      expect(readdirSync(await applied(view, 1, fresh()))).toEqual([])
    },
    T,
  )

  test.each([
    ['bootable and RPFIX', ['--boot', '--rpfix'], 1, HEADER_FLAG.rpFix],
    ['neither', ['--norpfix'], 0, 0],
    ['bootable out of a solid file', ['--boot', '--rpfix', '--solid'], 1, HEADER_FLAG.rpFix],
  ])(
    'what the header said is carried over: %s',
    async (name, options, bootIndex, rpFix) => {
      const small = makeTree(path(`boot ${name}`), { smallFiles: 1 })
      const file = path(`${name}.wim`)
      await imagex('capture', small, file, 'Boot', ...options)
      const [image] = await opened.imported(file, { group: groupOf(name) })
      const view = await saveContent(must(await opened.library.images.content(image ?? fail())), `${fresh()}.wim`)
      using source = must(openSource(view))
      expect(source.header.bootIndex).toBe(bootIndex)
      expect(source.header.flags & HEADER_FLAG.rpFix).toBe(rpFix)
      expect(await imagex('info', view)).toMatch(new RegExp(`Boot Index: +${bootIndex}\n`))
    },
    T,
  )

  test(
    'ACLs, short names, named streams, reparse points, attributes and Linux rights survive',
    async () => {
      const hash = (text: string): Uint8Array => sha1(Buffer.from(text))
      const blobs = ['data', 'zone', 'directory stream'].map((text) => Buffer.from(text))
      // Revision 1, self-relative, owner and group S-1-5-18 / S-1-5-32-544, no ACLs.
      const descriptor = Buffer.from(
        '010000801400000020000000000000000000000001010000000000051200000001020000000000052000000020020000',
        'hex',
      )
      const junction = Buffer.concat([
        Buffer.from('0000200022000000', 'hex'),
        Buffer.from('\\??\\C:\\Windows\\x\0', 'utf16le'),
        Buffer.from('C:\\Win\0\0', 'utf16le'),
      ])
      const linked: Partial<Node> = {
        hash: hash('data'),
        security: 0,
        linkGroup: 77,
        streams: [{ name: 'Zone.Identifier', hash: hash('zone') }],
      }
      const root: Node = {
        name: '',
        security: 0,
        children: [
          {
            name: 'Program Files',
            shortName: 'PROGRA~1',
            security: 1,
            children: [{ name: 'linked one', ...linked }],
            streams: [{ name: 'on a directory', hash: hash('directory stream') }],
          },
          { name: 'linked two', ...linked },
          { name: 'hidden', attributes: 0x27, hash: hash('data'), time: 116_444_736_000_000_001n },
          { name: 'junction', attributes: 0x410, reparseTag: 0xa000_0003, hash: sha1(junction) },
          { name: 'Größe', shortName: 'GRE~1', security: 1, hash: hash('zone') },
        ],
      }
      const tree = buildTree(root, [descriptor, Buffer.concat([descriptor, Buffer.alloc(4)])])
      const file = path('windows.wim')
      writeFileSync(file, buildWim([{ name: 'Windows', metadata: tree.bytes }], [...blobs, junction]))
      await imagex('verify', file)
      const details = await detailsOf(file, 1)
      for (const word of ['PROGRA~1', 'Zone.Identifier', 'on a directory', '0xa0000003', 'FILE_ATTRIBUTE_HIDDEN'])
        expect(details.toLowerCase()).toContain(word.toLowerCase())
      const [image] = await opened.imported(file, { group: groupOf('windows') })
      const view = await saveContent(must(await opened.library.images.content(image ?? fail())), `${fresh()}.wim`)
      await imagex('verify', view)
      expect(differences(await detailsOf(view, 1), details)).toEqual([])
      expect(treeHashes(view)).toEqual(treeHashes(file))

      // And through libwim's conversion, from XPRESS.
      await imagex('export', file, '1', path('windows-x.wim'), '--compress=xpress', '--rebuild')
      const [converted] = await opened.imported(path('windows-x.wim'), { group: groupOf('windows converted') })
      const again = await saveContent(must(await opened.library.images.content(converted ?? fail())), `${fresh()}.wim`)
      await imagex('verify', again)
      expect(differences(await detailsOf(again, 1), details)).toEqual([])

      const unix = await capture(pro, path('unix.wim'), 'Unix', '--unix-data')
      const [linux] = await opened.imported(unix, { group: groupOf('unix') })
      const linuxView = await saveContent(must(await opened.library.images.content(linux ?? fail())), `${fresh()}.wim`)
      expect(differences(await detailsOf(linuxView, 1), await detailsOf(unix, 1))).toEqual([])
      expect(treeHashes(linuxView)).toEqual(treeHashes(unix))
    },
    T,
  )

  test(
    'a tree without references, as in the WinPE files of WAIK 2.1, is passed over',
    async () => {
      const [old, kept] = ['old', 'kept'].map(
        (name) => buildTree({ name: '', children: [{ name, hash: sha1(Buffer.from('data')) }] }).bytes,
      )
      const bytes = Buffer.from(
        buildWim(
          [
            { name: 'old', metadata: old ?? fail() },
            { name: 'kept', metadata: kept ?? fail() },
          ],
          [Buffer.from('data')],
        ),
      )
      const table = Number(bytes.readBigUInt64LE(0x38))
      // Entry 1 is the first tree: nobody refers to it; the header and the XML know one image.
      bytes.writeUInt32LE(0, table + 50 + 26)
      bytes.writeUInt32LE(1, 0x2c)
      const xml = Buffer.from('\ufeff<WIM><IMAGE INDEX="1"><NAME>kept</NAME></IMAGE></WIM>', 'utf16le')
      const xmlAt = Number(bytes.readBigUInt64LE(0x50))
      for (const field of [0x48, 0x58]) bytes.writeUIntLE(xml.length, field, 6)
      const file = path('waik.wim')
      writeFileSync(file, Buffer.concat([bytes.subarray(0, xmlAt), xml]))
      await imagex('verify', file)
      const [image] = await opened.imported(file, { group: groupOf('waik') })
      const view = await saveContent(must(await opened.library.images.content(image ?? fail())), `${fresh()}.wim`)
      await imagex('verify', view)
      expect(readdirSync(await applied(view, 1, fresh()))).toEqual(['kept'])
    },
    T,
  )

  test('which image: refusals', async () => {
    const group = groupOf('selection')
    const file = path('twice.wim')
    writeFileSync(
      file,
      buildWim(
        ['same', 'SAME', 'other'].map((name) => ({ name, metadata: buildTree({ name: '', children: [] }).bytes })),
        [],
      ),
    )
    const before = opened.snapshot()
    const table = [
      [{ select: { kind: 'index', index: 4 } }, 'not-found'],
      [{ select: { kind: 'index', index: 0 } }, 'not-found'],
      [{ select: { kind: 'name', name: 'nobody' } }, 'not-found'],
      [{ select: { kind: 'name', name: 'Same' } }, 'ambiguous'],
      [{ name: 'one for all' }, 'bad-request'],
      [{ fileName: 'one-for-all' }, 'bad-request'],
    ] as const
    for (const [request, code] of table)
      expect(await opened.importFile(file, { group, ...request })).toMatchObject({
        state: 'failed',
        error: { code, hint: expect.stringMatching(/\w/) },
      })
    expect(opened.start(file, { group, name: 'a\0b' })).toMatchObject({ ok: false, error: { code: 'bad-name' } })
    expect(opened.start(file, { group, fileName: '../x' })).toMatchObject({ ok: false, error: { code: 'bad-name' } })
    expect(opened.start(file, { group: 'nowhere' })).toMatchObject({ ok: false, error: { code: 'not-found' } })
    expect(opened.snapshot()).toEqual(before)
    expect(readFileSync(file).length).toBeGreaterThan(0)
  })
})

function fail(): never {
  throw new Error('missing')
}
