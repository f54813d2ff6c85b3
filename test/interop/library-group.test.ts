/** What a group shares and gives back: every content once, copies for nothing, removal that leaves the others whole. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, readdirSync, readlinkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLog } from '../../src/base/log.ts'
import { contents, doomedFiles, installImages, segments, transmissions } from '../../src/db/schema.ts'
import type { InstallImage, Selector } from '../../src/library/rows.ts'
import { openContents } from '../../src/library/store/contents.ts'
import { openSegmentFiles } from '../../src/library/store/segment-files.ts'
import { isMetadata } from '../../src/wim/blob-table.ts'
import { openSource } from '../../src/wim/source.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, readPiece, saveContent } from '../fixtures/library.ts'
import { applied, capture, differences, HAS_STOCK, imagex, makeTree, treeOf } from '../fixtures/wims.ts'

const T = 60_000
let work: string
let opened: Opened
const files = { pro: '', home: '' }
let counter = 0

const fresh = (): string => {
  counter += 1
  return join(work, `out-${counter}`)
}

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(tmpdir(), 'wimcast-group-'))
  files.pro = await capture(makeTree(join(work, 'pro')), join(work, 'pro.wim'), 'Pro')
  files.home = await capture(makeTree(join(work, 'home'), { edition: 'Home' }), join(work, 'home.wim'), 'Home')
}, T)
afterAll(() => {
  if (work) rmSync(work, { recursive: true, force: true })
}, T)
beforeEach(async () => {
  opened = await openTestLibrary()
}, T)
afterEach(async () => {
  await opened[Symbol.asyncDispose]()
}, T)

const groupDir = (): string => join(opened.dataDir, 'groups', '1')
const wims = (dir: string): string[] => readdirSync(dir).filter((name) => name.endsWith('.wim'))
const segmentNames = (): string[] => wims(groupDir())
const diskBytes = (): number => segmentNames().reduce((sum, name) => sum + statSync(join(groupDir(), name)).size, 0)

/** Into the trash, and out of it. */
async function removeForGood(selector: Selector): Promise<void> {
  must(opened.library.images.remove(selector, BY))
  must(await opened.library.trash.empty({}, BY))
}

async function viewOf(image: InstallImage | undefined): Promise<string> {
  if (!image) throw new Error('no image')
  const view = await saveContent(
    must(await opened.library.images.content({ ...image, contentId: image.contentId })),
    `${fresh()}.wim`,
  )
  await imagex('verify', view)
  return view
}

/** Compressed sizes of the contents of all files together, each content once; and of their trees. */
function union(...paths: string[]): { blobs: number; trees: number } {
  const sizes = new Map<string, number>()
  let trees = 0
  for (const path of paths) {
    using source = must(openSource(path))
    for (let i = 0; i < source.table.count; i += 1) {
      const size = source.table.sizeInWim[i] ?? 0
      if (isMetadata(source.table, i)) trees += size
      else sizes.set(Buffer.from(source.table.sha1.subarray(i * 20, i * 20 + 20)).toString('hex'), size)
    }
  }
  return { blobs: [...sizes.values()].reduce((sum, size) => sum + size, 0), trees }
}

describe.skipIf(!HAS_STOCK)('a group', () => {
  test(
    'holds the union of its images, not the sum',
    async () => {
      const pro = await opened.imported(files.pro)
      const home = await opened.imported(files.home)
      const both = union(files.pro, files.home)
      const rows = opened.db.select().from(segments).all()
      expect(rows.reduce((sum, row) => sum + row.blobBytes, 0)).toBe(both.blobs)
      expect(rows.reduce((sum, row) => sum + row.sizeBytes, 0)).toBe(diskBytes())
      // Besides contents and trees: header, 50 bytes an entry, XML.
      const entries =
        rows.length * 208 + 50 * [...segmentNames()].reduce((sum, name) => sum + countOf(join(groupDir(), name)), 0)
      expect(diskBytes() - both.blobs - both.trees - entries).toBeLessThan(6000)
      expect(both.blobs).toBeLessThan(0.6 * (union(files.pro).blobs + union(files.home).blobs))
      const report = must(opened.library.groups.show('G', LOCAL))
      expect(report).toMatchObject({ images: 2, storedBytes: diskBytes() })
      expect(report.apparentBytes).toBeGreaterThan(1.6 * report.storedBytes)
      for (const image of [...pro, ...home]) await viewOf(image)
    },
    T,
  )

  test(
    'takes the same image again for its tree alone',
    async () => {
      await opened.imported(files.pro)
      const before = diskBytes()
      const job = await opened.importFile(files.pro, { fileName: 'again' })
      expect(job).toMatchObject({ state: 'done', result: { newBlobs: 0, images: ['Pro'] } })
      expect(diskBytes() - before).toBeLessThan(union(files.pro).trees + 4096)
    },
    T,
  )

  test(
    'segments are read by stock tools with the others beside them, and not alone',
    async () => {
      await opened.imported(files.pro)
      await opened.imported(files.home)
      const names = segmentNames()
      const home =
        names.find((name) => must(openSource(join(groupDir(), name))).document.images[0]?.facts.name === 'Home') ?? ''
      const all = `--ref=${join(groupDir(), '*.wim')}`
      expect(
        differences(
          treeOf(await applied(join(groupDir(), home), 1, fresh(), all)),
          treeOf(await applied(files.home, 1, fresh())),
        ),
      ).toEqual([])
      expect(applied(join(groupDir(), home), 1, fresh())).rejects.toThrow()
    },
    T,
  )

  test(
    'a copy is one row: no byte of data, the same tree under another name',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const before = { files: readdirSync(groupDir()), contents: opened.db.select().from(contents).all().length }
      const copy = must(
        opened.library.images.copy(
          { name: 'pro' },
          { newName: 'Kiosk', newFileName: 'kiosk', newDescription: 'for the hall' },
          BY,
        ),
      ).image
      expect(copy).toMatchObject({
        name: 'Kiosk',
        fileName: 'kiosk.wim',
        description: 'for the hall',
        contentId: pro?.contentId ?? 0,
        isPublic: false,
      })
      expect({ files: readdirSync(groupDir()), contents: opened.db.select().from(contents).all().length }).toEqual(
        before,
      )
      const view = await viewOf(copy)
      expect(await imagex('info', view, '1')).toMatch(/Name: +Kiosk\n/)
      expect(
        differences(treeOf(await applied(view, 1, fresh())), treeOf(await applied(files.pro, 1, fresh()))),
      ).toEqual([])
      expect(opened.library.images.copy({ name: 'Pro' }, { newName: 'x', newFileName: 'PRO.wim' }, BY)).toMatchObject({
        ok: false,
        error: { code: 'exists' },
      })

      // The original goes, the copy stays whole.
      await removeForGood({ name: 'Pro' })
      expect(await opened.library.collect(1)).toBe(0)
      await viewOf(copy)
    },
    T,
  )

  test(
    'removal gives back what nobody needs, and only that',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const [proSegment] = segmentNames()
      const [home] = await opened.imported(files.home)
      const full = diskBytes()
      // Pro came first: its segment holds what Home shares with it, so it stays until Home goes too.
      await removeForGood({ name: 'Pro' })
      await opened.library.collect(1)
      expect(diskBytes()).toBe(full)
      await viewOf(home)
      expect(await opened.library.images.content(pro ?? fail())).toMatchObject({
        ok: false,
        error: { code: 'not-found' },
      })

      await opened.imported(files.pro)
      await removeForGood({ name: 'Home' })
      await opened.library.collect(1)
      const names = segmentNames()
      expect(names).toContain(proSegment ?? '')
      expect(names.length).toBe(2)
      await viewOf(must(opened.library.images.show({ name: 'Pro' }, LOCAL)))

      await removeForGood({ name: 'Pro' })
      await opened.library.collect(1)
      expect(segmentNames()).toEqual([])
      expect(opened.snapshot()).toMatchObject({ segments: [], contents: [], images: [] })
      expect(opened.library.groups.remove('G', {}, BY)).toMatchObject({ ok: true })
      must(await opened.library.trash.empty({}, BY))
      expect(readdirSync(join(opened.dataDir, 'groups'))).toEqual([])
    },
    T,
  )

  test(
    'an open reader keeps its bytes while image and segment go',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const content = must(await opened.library.images.content(pro ?? fail()))
      const expected = await Bun.file(await saveContent(content, fresh())).bytes()
      const reader = must(await content.open())
      await removeForGood({ name: 'Pro' })
      await opened.library.collect(1)
      expect(segmentNames()).toEqual([])
      for (const piece of reader.pieces)
        expect(Buffer.compare(readPiece(piece), expected.subarray(piece.at, piece.at + piece.length))).toBe(0)
      reader[Symbol.dispose]()
      reader[Symbol.dispose]()
      expect(await content.open()).toMatchObject({ ok: false, error: { code: 'not-found' } })
    },
    T,
  )

  test(
    'a collection while a view is made does it no harm',
    async () => {
      const [pro] = await opened.imported(files.pro)
      await opened.imported(files.home)
      await removeForGood({ name: 'Home' })
      const real = openSegmentFiles()
      let collected = false
      const contents = openContents({
        db: opened.db,
        groupDir,
        log: silentLog,
        files: {
          ...real,
          // The tables are asked for once the rows are read: now the segment goes.
          table: async (path) => {
            await opened.library.collect(1)
            collected = true
            return real.table(path)
          },
        },
      })
      const { sizeBytes } = must(await contents.of(pro ?? fail()))
      expect(collected).toBe(true)
      expect(segmentNames().length).toBe(1)
      expect(sizeBytes).toBe(must(await opened.library.images.content(pro ?? fail())).sizeBytes)
    },
    T,
  )

  test(
    'a transmission holds its content like an image does',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const lease = {
        name: 't',
        contentId: pro?.contentId ?? 0,
        imageName: 'Pro',
        description: '',
        fileName: 'pro.wim',
        group: 'G',
        open: true,
        createdBy: 'local',
        createdAtMs: 1,
      }
      opened.db.insert(transmissions).values(lease).run()
      await removeForGood({ name: 'Pro' })
      expect(await opened.library.collect(1)).toBe(0)
      await viewOf(pro)
      expect(opened.library.groups.remove('G', {}, BY)).toMatchObject({ ok: false, error: { code: 'in-use' } })
      opened.db.update(transmissions).set({ contentId: null, open: false }).run()
      expect(await opened.library.collect(1)).toBeGreaterThan(0)
      expect(segmentNames()).toEqual([])
    },
    T,
  )

  test(
    'descriptors are given back',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const content = must(await opened.library.images.content(pro ?? fail()))
      const segmentFds = (): number =>
        readdirSync('/proc/self/fd').filter((fd) => linkOf(fd).includes(opened.dataDir) && linkOf(fd).includes('seg-'))
          .length
      const readers = await Promise.all(Array.from({ length: 20 }, async () => must(await content.open())))
      expect(segmentFds()).toBe(1)
      for (const reader of readers) reader[Symbol.dispose]()
      // The close runs in the thread pool; the test's own time limit ends the waiting.
      while (segmentFds() > 0) await stat(work)
      const again = must(await content.open())
      expect(segmentFds()).toBe(1)
      again[Symbol.dispose]()
    },
    T,
  )

  test(
    'the shelf: by path, any case; the public ones to anybody',
    async () => {
      await opened.imported(files.pro)
      const { shelf, images } = opened.library
      const anybody = { kind: 'anonymous', door: 'http', address: '192.0.2.1' } as const
      const viewer = { kind: 'token', name: 't', role: 'viewer', machineGroups: [], address: '192.0.2.1' } as const
      expect(await shelf.find('images/g/PRO.WIM', viewer)).toMatchObject({
        fileName: 'pro.wim',
        mediaType: 'application/octet-stream',
      })
      expect(await shelf.find('images/G/pro.wim', anybody)).toBeUndefined()
      must(images.set({ name: 'Pro' }, { isPublic: true }, BY))
      expect(await shelf.find('images/G/pro.wim', anybody)).toMatchObject({ fileName: 'pro.wim' })
      for (const path of [
        'images/G',
        'images/G/',
        'images/G/other.wim',
        'images/H/pro.wim',
        'images/G/pro.wim/x',
        'boot/G/pro.wim',
        '',
        '/images/G/pro.wim',
      ])
        expect(await shelf.find(path, viewer)).toBeUndefined()
    },
    T,
  )

  test(
    'a new name is another etag, and the old one again is the old bytes',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const { images } = opened.library
      const etag = async (image: InstallImage | undefined): Promise<string> =>
        must(await images.content(image ?? fail())).etag
      const first = await etag(pro)
      const renamed = must(images.set({ name: 'Pro' }, { name: 'Pro 2' }, BY))
      expect(await etag(renamed)).not.toBe(first)
      expect(await etag(must(images.set({ name: 'Pro 2' }, { name: 'Pro' }, BY)))).toBe(first)
      expect(images.set({ name: 'Pro' }, { name: '\0' }, BY)).toMatchObject({ ok: false, error: { code: 'bad-name' } })
      // It stays when the group grows and when the appliance starts anew.
      await opened.imported(files.home)
      expect(await etag(pro)).toBe(first)
      const { dataDir } = opened
      await opened.close()
      await using again = await openTestLibrary({ dataDir })
      expect(must(await again.library.images.content(pro ?? fail())).etag).toBe(first)
      rmSync(dataDir, { recursive: true })
      opened = await openTestLibrary()
    },
    T,
  )

  test(
    'a group is not removed under an import, and is afterwards',
    async () => {
      const job = must(opened.start(files.pro))
      expect(opened.library.groups.remove('G', {}, BY)).toMatchObject({ ok: false, error: { code: 'in-use' } })
      expect(await opened.jobs.ended(job.id)).toMatchObject({ state: 'done' })
      await removeForGood({ name: 'Pro' })
      expect(opened.library.groups.remove('G', {}, BY)).toMatchObject({ ok: true })
    },
    T,
  )

  test(
    'a file name that is taken is refused before the file is read, where it is known',
    async () => {
      await opened.imported(files.pro)
      const refused = { ok: false, error: { code: 'exists' } }
      expect(opened.start(files.pro, { select: { kind: 'index', index: 1 } })).toMatchObject(refused)
      expect(opened.start(files.home, { fileName: 'PRO' })).toMatchObject(refused)
      // Of all images of a file the names are known when it has been read.
      expect(await opened.importFile(files.pro)).toMatchObject({ state: 'failed', error: { code: 'exists' } })
    },
    T,
  )

  test('groups and their names', async () => {
    const { groups, images } = opened.library
    expect(groups.create('g', BY)).toMatchObject({ ok: false, error: { code: 'exists' } })
    expect(groups.create('a/b', BY)).toMatchObject({ ok: false, error: { code: 'bad-name' } })
    expect(groups.show('nobody', LOCAL)).toMatchObject({
      ok: false,
      error: { code: 'not-found', facts: { groups: ['G'] } },
    })
    await opened.imported(files.pro)
    expect(groups.remove('g', {}, BY)).toMatchObject({ ok: false, error: { code: 'in-use' } })
    must(groups.create('H', BY))
    expect(images.show({ name: 'Pro' }, LOCAL)).toMatchObject({
      ok: false,
      error: { code: 'ambiguous', facts: { groups: ['G', 'H'] } },
    })
    expect(images.show({ name: 'Pro', group: 'G' }, LOCAL)).toMatchObject({ ok: true })
    expect(images.show({ name: 'Nobody', group: 'G' }, LOCAL)).toMatchObject({
      ok: false,
      error: { code: 'not-found' },
    })
    must(images.copy({ name: 'Pro', group: 'G' }, { newName: 'pro', newFileName: 'other' }, BY))
    expect(images.show({ name: 'Pro', group: 'G' }, LOCAL)).toMatchObject({
      ok: false,
      error: { code: 'ambiguous', facts: { files: ['other.wim', 'pro.wim'] } },
    })
    expect(must(images.show({ name: 'Pro', group: 'G', file: 'OTHER' }, LOCAL))).toMatchObject({ name: 'pro' })
  })
})

describe.skipIf(!HAS_STOCK)('a start', () => {
  /** Ends the library without a word, does something to its folder, and starts it again. */
  async function restarted(meanwhile: (dataDir: string) => void): Promise<Opened> {
    const { dataDir } = opened
    await opened.close()
    meanwhile(dataDir)
    return openTestLibrary({ dataDir })
  }
  afterEach(async () => {
    rmSync(opened.dataDir, { recursive: true, force: true })
  }, T)

  test(
    'clears away what a crash left, and keeps what rows name',
    async () => {
      await opened.imported(files.pro)
      const before = opened.snapshot()
      opened.db.insert(doomedFiles).values({ groupId: 1, fileName: 'seg-doomed.wim' }).run()
      await using again = await restarted((dataDir) => {
        writeFileSync(join(dataDir, 'groups/1/seg-doomed.wim'), 'x')
        writeFileSync(join(dataDir, 'work/left'), 'x')
      })
      expect(again.snapshot()).toEqual(before)
      expect(again.leftovers()).toEqual([])
      expect(again.db.select().from(doomedFiles).all()).toEqual([])
    },
    T,
  )

  test(
    'leaves what no row names, and names it: it may belong to a database that was lost',
    async () => {
      await opened.imported(files.pro)
      await using again = await restarted((dataDir) => {
        writeFileSync(join(dataDir, 'groups/1/seg-unknown.wim'), 'x')
        writeFileSync(join(dataDir, 'groups/77'), 'x')
      })
      expect(again.log.filter((line) => line.startsWith('library.unknown-file'))).toEqual([
        'library.unknown-file name=77',
        'library.unknown-file group=G name=seg-unknown.wim hint="wimcast library rebuild"',
      ])
      expect(readdirSync(join(again.dataDir, 'groups/1'))).toContain('seg-unknown.wim')
    },
    T,
  )

  test(
    'does not start on images with a database that knows none',
    async () => {
      await opened.imported(files.pro)
      const { dataDir } = opened
      const before = wims(join(dataDir, 'groups/1'))
      expect(
        await restarted(() => {
          for (const name of readdirSync(dataDir)) if (name.startsWith('wimcast.db')) rmSync(join(dataDir, name))
        }).then(
          () => 'started',
          (error: unknown) => String(error),
        ),
      ).toContain('knows no image group')
      expect(wims(join(dataDir, 'groups/1'))).toEqual(before)
    },
    T,
  )

  test(
    'finishes the collection that a crash cut off before its transaction',
    async () => {
      await opened.imported(files.pro)
      // The image's row is gone, its content not yet.
      opened.db.delete(installImages).run()
      await using again = await restarted(() => {})
      await again.library.collect(1)
      expect(again.snapshot()).toMatchObject({ segments: [], contents: [], images: [], files: ['1'] })
    },
    T,
  )

  test(
    'with a segment missing or damaged: named in the log, its images unreadable, the others whole',
    async () => {
      const [pro] = await opened.imported(files.pro)
      must(opened.library.groups.create('Other', BY))
      const [home] = await opened.imported(files.home, { group: 'Other' })
      const name = segmentNames()[0] ?? ''
      let again = await restarted((dataDir) => renameSync(join(dataDir, 'groups/1', name), join(dataDir, 'kept.wim')))
      expect(again.log.join('\n')).toContain(`library.segment-missing group=G file=${name}`)
      expect(await again.library.images.content(pro ?? fail())).toMatchObject({
        ok: false,
        error: { code: 'unreadable', hint: expect.stringContaining('backup') },
      })
      expect(again.library.shelf.find('images/G/pro.wim', { kind: 'local', role: 'admin' })).rejects.toThrow(
        'cannot be read',
      )
      await saveContent(must(await again.library.images.content(home ?? fail())), fresh())

      for (const damage of ['', 'x'.repeat(300), 'MSWIM'.padEnd(400, '\0')]) {
        const { dataDir } = again
        await again.close()
        writeFileSync(join(dataDir, 'groups/1', name), damage)
        again = await openTestLibrary({ dataDir })
        expect(await again.library.images.content(pro ?? fail())).toMatchObject({
          ok: false,
          error: { code: 'unreadable' },
        })
        expect(await again.importFile(files.home, { fileName: 'new' })).toMatchObject({
          state: 'failed',
          error: { code: 'unavailable', hint: expect.stringContaining('backup') },
        })
      }
      const { dataDir } = again
      await again.close()
      renameSync(join(dataDir, 'kept.wim'), join(dataDir, 'groups/1', name))
      again = await openTestLibrary({ dataDir })
      await saveContent(must(await again.library.images.content(pro ?? fail())), fresh())
      await again.close()
    },
    T,
  )
})

function countOf(path: string): number {
  using source = must(openSource(path))
  return source.table.count
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return ''
  }
}

function fail(): never {
  throw new Error('missing')
}

test('a group whose folder cannot be made is none', async () => {
  await using opened = await openTestLibrary()
  const { groups } = opened.library
  const blocked = join(opened.dataDir, 'groups/2')
  writeFileSync(blocked, 'x')
  expect(() => groups.create('H', BY)).toThrow()
  expect(groups.list(LOCAL).map(({ name }) => name)).toEqual(['G'])
  rmSync(blocked)
  expect(must(groups.create('H', { ...BY, dryRun: true })).name).toBe('H')
  expect(readdirSync(join(opened.dataDir, 'groups'))).toEqual(['1'])
  must(groups.create('H', BY))
  expect(readdirSync(join(opened.dataDir, 'groups')).sort()).toEqual(['1', '2'])
})
