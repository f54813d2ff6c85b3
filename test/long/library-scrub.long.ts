/** Damage on disk: a check finds it and names whom it touches, views go around it, a repair brings good copies back. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { eq } from 'drizzle-orm'
import { contents, damages, segments, transmissions } from '../../src/db/schema.ts'
import type { Job } from '../../src/jobs/jobs.ts'
import type { RepairRequest, RepairResult } from '../../src/library/health/repair.ts'
import type { ScrubResult } from '../../src/library/health/scrub.ts'
import type { InstallImage } from '../../src/library/rows.ts'
import { readSegmentTable } from '../../src/library/store/segment-table.ts'
import { startVerification } from '../../src/library/store/verify.ts'
import { emptyBlobTable, isMetadata, sha1At } from '../../src/wim/blob-table.ts'
import { decodeHeader, HEADER_BYTES } from '../../src/wim/header.ts'
import { openSource } from '../../src/wim/source.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import { applied, capture, differences, HAS_STOCK, imagex, makeTree, treeOf } from '../fixtures/wims.ts'

const T = 60_000
let work: string
let opened: Opened
let care: Care
const files = { pro: '', home: '', esd: '' }
const trees = { pro: '' }
let counter = 0

type Care = ReturnType<typeof careOf>

const fresh = (name = 'out'): string => {
  counter += 1
  return join(work, `${name}-${counter}`)
}

/** The jobs to their end, and what they say. */
function careOf({ jobs, library, dataDir }: Opened) {
  const { scrubs, repairs, sharing } = library
  const ended = async <R>(job: Job): Promise<R> => {
    const end = await jobs.ended(job.id)
    if (end.state !== 'done') throw new Error(`${end.title} ended ${end.state}: ${JSON.stringify(end.error)}`)
    return end.result as R
  }
  return {
    scrubs,
    sharing,
    groupDir: (groupId: number): string => join(dataDir, 'groups', String(groupId)),
    scrub: (by = BY) => ended<ScrubResult>(must(scrubs.start({}, by))),
    repair: (request: RepairRequest = {}, by = BY) => ended<RepairResult>(must(repairs.start(request, by))),
    health: async () => (await scrubs.health(LOCAL)).groups,
    view: (image: InstallImage | undefined) => library.images.content(image ?? fail()),
  }
}

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(tmpdir(), 'wimcast-scrub-'))
  const pro = makeTree(join(work, 'pro'), { smallFiles: 20 })
  const home = makeTree(join(work, 'home'), { edition: 'Home', smallFiles: 20 })
  files.pro = await capture(pro, join(work, 'pro.wim'), 'Pro')
  files.home = await capture(home, join(work, 'home.wim'), 'Home')
  files.esd = join(work, 'pro.esd')
  await imagex('export', files.pro, '1', files.esd, '--solid')
  trees.pro = treeOf(await applied(files.pro, 1, fresh()))
}, T)
afterAll(() => {
  if (work) rmSync(work, { recursive: true, force: true })
}, T)
beforeEach(async () => {
  opened = await openTestLibrary()
  care = careOf(opened)
}, T)
afterEach(async () => {
  await opened[Symbol.asyncDispose]()
}, T)

function fail(): never {
  throw new Error('missing')
}

const pathOf = (fileName: string, groupId = 1): string => join(care.groupDir(groupId), fileName)
const segmentRows = () => opened.db.select().from(segments).orderBy(segments.id).all()
const damageRows = () => opened.db.select().from(damages).all()

function poke(path: string, at: number, change: (byte: number) => number): void {
  const fd = openSync(path, 'r+')
  const byte = readFileSync(path)[at] ?? fail()
  writeSync(fd, Uint8Array.of(change(byte)), 0, 1, at)
  closeSync(fd)
}

/** Flips a byte in the middle of a content (the largest one) or of a tree; its SHA-1. */
function flip(path: string, what: 'blob' | 'tree'): string {
  const table = readSegmentTable(path)
  let chosen = -1
  for (let i = 0; i < table.count; i += 1)
    if (isMetadata(table, i) === (what === 'tree') && (table.sizeInWim[i] ?? 0) > (table.sizeInWim[chosen] ?? 0))
      chosen = i
  poke(path, (table.offset[chosen] ?? 0) + Math.floor((table.sizeInWim[chosen] ?? 0) / 2), (byte) => byte ^ 0x40)
  return Buffer.from(sha1At(table, chosen)).toString('hex')
}

/** The image as stock tools find it: verified, and the tree that an apply gives. */
async function isWhole(image: InstallImage | undefined, expected: string): Promise<void> {
  const view = await saveContent(must(await care.view(image)), `${fresh()}.wim`)
  await imagex('verify', view)
  expect(differences(treeOf(await applied(view, 1, fresh())), expected)).toEqual([])
}

const firstSegment = (): string => segmentRows()[0]?.fileName ?? fail()

describe.skipIf(!HAS_STOCK)('a check', () => {
  test(
    'of a whole library finds nothing, notes when it was, and verifies what was not',
    async () => {
      const [pro] = await opened.imported(files.pro, { skipVerify: true })
      expect(segmentRows()[0]).toMatchObject({ verified: false, scrubbedAtMs: null })
      const result = await care.scrub()
      expect(result).toEqual({
        segments: 1,
        bytes: segmentRows()[0]?.sizeBytes ?? 0,
        damaged: 0,
        bad: [],
        lacking: [],
        unchecked: [],
      })
      expect(segmentRows()[0]).toMatchObject({ verified: true, scrubbedAtMs: expect.any(Number) })
      const [health] = await care.health()
      expect(health).toMatchObject({
        group: 'G',
        damaged: 0,
        lacking: [],
        lastScrubAtMs: segmentRows()[0]?.scrubbedAtMs,
      })
      expect(opened.changes.list({ verb: 'library.scrub' })).toMatchObject([
        { who: 'local', subject: 'G', jobId: expect.any(Number), after: { damaged: 0, segments: 1 } },
      ])
      await isWhole(pro, trees.pro)
    },
    T,
  )

  test(
    'names a damaged content and the images that need it; the others are served',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const [home] = await opened.imported(files.home)
      // The second segment holds what only Home has.
      const file = segmentRows()[1]?.fileName ?? fail()
      const sha1 = flip(pathOf(file), 'blob')
      const result = await care.scrub()
      expect(result).toMatchObject({
        segments: 2,
        damaged: 1,
        bad: [{ group: 'G', file, sha1, images: ['Home'] }],
        lacking: [{ group: 'G', name: 'Home', fileName: 'home.wim', inTrash: false, contents: 1 }],
      })
      expect(damageRows()).toMatchObject([{ segmentId: segmentRows()[1]?.id, sha1 }])
      expect(opened.log.join('\n')).toContain(`library.damaged group=G file=${file} contents=1 first=${sha1}`)
      expect(await care.view(home)).toMatchObject({
        ok: false,
        error: { code: 'damaged', message: expect.stringContaining(sha1), facts: { lacking: 1, first: sha1 } },
      })
      await isWhole(pro, trees.pro)
    },
    T,
  )

  test(
    'that is a dry run finds the same and writes nothing',
    async () => {
      await opened.imported(files.pro)
      const sha1 = flip(pathOf(firstSegment()), 'blob')
      const before = { rows: segmentRows(), audit: opened.changes.list().length }
      expect(await care.scrub({ ...BY, dryRun: true })).toMatchObject({
        dryRun: true,
        bad: [{ sha1, images: ['Pro'] }],
        lacking: [{ name: 'Pro', contents: 1 }],
      })
      expect({ rows: segmentRows(), audit: opened.changes.list().length }).toEqual(before)
      expect(damageRows()).toEqual([])
    },
    T,
  )

  test(
    'of a damaged tree names its image; a second copy of the tree is used instead',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const sha1 = flip(pathOf(firstSegment()), 'tree')
      expect(await care.scrub()).toMatchObject({
        bad: [{ sha1, images: ['Pro'] }],
        lacking: [{ name: 'Pro', contents: 1 }],
      })
      expect(await care.view(pro)).toMatchObject({ ok: false, error: { code: 'damaged' } })
      await opened.imported(files.pro, { fileName: 'again' })
      await isWhole(pro, trees.pro)
      expect((await care.health())[0]).toMatchObject({ damaged: 1, lacking: [] })
    },
    T,
  )

  test(
    'of a file that is cut short, without a header, or gone',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const path = pathOf(firstSegment())
      const kept = `${fresh('kept')}.wim`
      copyFileSync(path, kept)
      const wholes: [string, () => void][] = [
        ['size', () => truncateSync(path, 100_000)],
        ['tables', () => poke(path, 0, () => 0)],
        ['missing', () => rmSync(path)],
      ]
      for (const [why, damage] of wholes) {
        copyFileSync(kept, path)
        damage()
        const result = await care.scrub()
        expect(result).toMatchObject({ segments: 1, damaged: 1, bad: [{ file: firstSegment(), sha1: '' }] })
        expect(result.lacking.map(({ name }) => name)).toEqual(['Pro'])
        expect(result.bad[0]?.images).toEqual(['Pro'])
        expect(opened.log.join('\n')).toContain(`why=${why}`)
        expect(await care.view(pro)).toMatchObject({ ok: false, error: { code: 'damaged' } })
      }
    },
    T,
  )

  test(
    'of a file whose table is garbage: what it claims and what is lacking are named, nothing crashes',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const path = pathOf(firstSegment())
      const { blobTable } = must(decodeHeader(readFileSync(path).subarray(0, HEADER_BYTES)))
      const fd = openSync(path, 'r+')
      // The third entry, every bit of it: sizes of petabytes, flags, offset, SHA-1.
      writeSync(fd, new Uint8Array(50).fill(0xff), 0, 50, blobTable.offset + 100)
      closeSync(fd)
      expect(await care.scrub()).toMatchObject({
        bad: [{ sha1: 'ff'.repeat(20), images: [] }],
        lacking: [{ name: 'Pro', contents: 1 }],
      })
      expect(await care.view(pro)).toMatchObject({ ok: false, error: { code: 'damaged', facts: { lacking: 1 } } })
    },
    T,
  )

  test(
    'takes back what is no longer true',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const path = pathOf(firstSegment())
      copyFileSync(path, join(work, 'kept.wim'))
      flip(path, 'blob')
      flip(path, 'tree')
      expect(await care.scrub()).toMatchObject({ damaged: 2 })
      expect(damageRows().length).toBe(2)
      renameSync(join(work, 'kept.wim'), path)
      expect(await care.scrub()).toMatchObject({ damaged: 0, bad: [], lacking: [] })
      expect(damageRows()).toEqual([])
      await isWhole(pro, trees.pro)
    },
    T,
  )

  test(
    'runs alone, is cancelled, and goes over a segment that went meanwhile',
    async () => {
      await opened.imported(files.pro)
      const [first] = segmentRows()
      const started = must(care.scrubs.start({}, BY))
      expect(care.scrubs.start({ group: 'G' }, BY)).toMatchObject({ ok: false, error: { code: 'in-use' } })
      expect(await care.scrubs.health(LOCAL)).toMatchObject({ scrubJobId: started.id })
      must(opened.jobs.cancel(started.id))
      expect(await opened.jobs.ended(started.id)).toMatchObject({ state: 'cancelled' })
      expect(care.scrubs.start({ group: 'unknown' }, BY)).toMatchObject({ ok: false, error: { code: 'not-found' } })
      // The row goes while the child looks for the file.
      const again = must(care.scrubs.start({}, BY))
      rmSync(pathOf(firstSegment()))
      opened.db.run('PRAGMA foreign_keys = OFF')
      opened.db.delete(segments).run()
      opened.db.run('PRAGMA foreign_keys = ON')
      expect(await opened.jobs.ended(again.id)).toMatchObject({
        state: 'done',
        result: { segments: 0, damaged: 0, bad: [] },
      })
      opened.db
        .insert(segments)
        .values(first ?? fail())
        .run()
    },
    T,
  )
})

describe.skipIf(!HAS_STOCK)('beside other work', () => {
  test(
    'begins with what was checked longest ago, so that checks which are cut short come round',
    async () => {
      await opened.imported(files.pro)
      await opened.imported(files.home)
      const [one, two] = segmentRows()
      const checkedAt = (id: number | undefined, scrubbedAtMs: number): unknown =>
        opened.db
          .update(segments)
          .set({ scrubbedAtMs })
          .where(eq(segments.id, id ?? -1))
          .run()
      checkedAt(one?.id, 2000)
      checkedAt(two?.id, 1000)
      const job = must(care.scrubs.start({}, BY))
      const ended = opened.jobs.ended(job.id)
      // The first is checked; the second is cut short.
      while (segmentRows().every(({ scrubbedAtMs }) => (scrubbedAtMs ?? 0) <= 2000)) await setImmediate()
      opened.jobs.cancel(job.id)
      await ended
      expect(segmentRows()[1]?.scrubbedAtMs).toBeGreaterThan(2000)
    },
    T,
  )

  test(
    'the books of a group that is laid out anew meanwhile tell of nothing that would be lacking',
    async () => {
      await opened.imported(files.pro)
      const [old] = segmentRows()
      const health = care.health()
      // As a compaction publishes: in one turn, before the thread has looked.
      const fileName = 'seg-new.wim'
      copyFileSync(pathOf(old?.fileName ?? fail()), pathOf(fileName))
      const { id: _, ...row } = old ?? fail()
      const made = opened.db
        .insert(segments)
        .values({ ...row, fileName })
        .returning()
        .get()
      opened.db.update(contents).set({ segmentId: made.id }).run()
      opened.db
        .delete(segments)
        .where(eq(segments.id, old?.id ?? -1))
        .run()
      rmSync(pathOf(old?.fileName ?? fail()))
      expect((await health)[0]?.lacking).toEqual([])
    },
    T,
  )

  test(
    'a compaction gives up when a check finds damage in what it counted on',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const [home] = await opened.imported(files.home)
      must(opened.library.images.remove({ name: pro?.name ?? '', group: 'G' }, BY))
      must(await opened.library.trash.empty({}, BY))
      await opened.library.collect(1)
      const before = { rows: segmentRows().map(({ id }) => id), files: readdirSync(care.groupDir(1)).length }
      const stays = before.rows[1] ?? fail()
      const job = must(opened.library.groups.compact('G', {}, BY))
      while (must(opened.jobs.show(job.id)).step !== 'copy and verify') await setImmediate()
      opened.db
        .insert(damages)
        .values({ segmentId: stays, sha1: '0'.repeat(40), foundAtMs: 1 })
        .run()
      expect(await opened.jobs.ended(job.id)).toMatchObject({ state: 'failed', error: { code: 'changed' } })
      expect({ rows: segmentRows().map(({ id }) => id), files: readdirSync(care.groupDir(1)).length }).toEqual(before)
      const again = must(opened.library.groups.compact('G', {}, BY))
      expect(await opened.jobs.ended(again.id)).toMatchObject({ state: 'done', result: { segments: 1 } })
      expect(await care.view(home)).toMatchObject({ ok: true })
    },
    T,
  )

  test(
    'a repair drops no file that a check finds unreadable only now: others may need what is in it',
    async () => {
      const [pro] = await opened.imported(files.pro)
      const [home] = await opened.imported(files.home)
      // Nobody's home any more, and what Home shares with it lies nowhere else.
      must(opened.library.images.remove({ name: pro?.name ?? '', group: 'G' }, BY))
      must(await opened.library.trash.empty({}, BY))
      await opened.library.collect(1)
      const [first, second] = segmentRows()
      const damage = (segmentId: number | undefined, sha1: string): unknown =>
        opened.db
          .insert(damages)
          .values({ segmentId: segmentId ?? -1, sha1, foundAtMs: 1 })
          .run()
      damage(second?.id, '0'.repeat(40))
      const job = must(opened.library.repairs.start({}, BY))
      // It has begun, and its books are being made.
      for (let turn = 0; turn < 50; turn += 1) await undefined
      damage(first?.id, '')
      expect(await opened.jobs.ended(job.id)).toMatchObject({ state: 'done' })
      expect(segmentRows().length).toBe(2)
      await care.scrub()
      expect(damageRows()).toEqual([])
      expect(await care.view(home)).toMatchObject({ ok: true })
    },
    T,
  )
})

describe.skipIf(!HAS_STOCK)('a repair', () => {
  test(
    'by importing the same file again',
    async () => {
      const [pro] = await opened.imported(files.pro)
      flip(pathOf(firstSegment()), 'blob')
      await care.scrub()
      const job = await opened.importFile(files.pro, { fileName: 'again' })
      expect(job).toMatchObject({ state: 'done', result: { newBlobs: 1 } })
      await isWhole(pro, trees.pro)
      expect((await care.health())[0]).toMatchObject({ damaged: 1, lacking: [] })
      // The damaged copy is a second copy now.
      expect(await care.repair()).toEqual({ groups: [] })
    },
    T,
  )

  const repairs: [string, string, () => Promise<string>, (path: string) => void][] = [
    [
      'an export made before',
      'a content and a tree',
      async () => saveContent(must(await care.view(await proImage())), `${fresh()}.wim`),
      (path) => [flip(path, 'blob'), flip(path, 'tree')],
    ],
    ['the file itself', 'a file that is cut short', async () => files.pro, (path) => truncateSync(path, 200_000)],
    ['a solid .esd', 'a missing file', async () => files.esd, (path) => rmSync(path)],
  ]
  const proImage = async () => must(opened.library.images.show({ name: 'Pro', group: 'G' }, LOCAL))

  test.each(repairs)(
    'from %s, of %s',
    async (_, what, source, damage) => {
      const [pro] = await opened.imported(files.pro)
      const path = await source()
      damage(pathOf(firstSegment()))
      await care.scrub()
      const request = { source: { path, sourceName: 'backup.wim' } }
      const dry = await care.repair(request, { ...BY, dryRun: true })
      expect(segmentRows().length).toBe(1)
      const result = await care.repair(request)
      expect({ ...result, dryRun: true }).toEqual(dry as RepairResult & { dryRun: true })
      expect(result).toMatchObject({
        groups: [{ group: 'G', lackingContents: 0, lacking: [], dropped: what === 'a content and a tree' ? 0 : 1 }],
      })
      expect(result.groups[0]?.from.at(-1)?.where).toBe('backup.wim')
      const made = segmentRows().at(-1)
      expect(made).toMatchObject({ verified: true })
      await imagex('verify', pathOf(made?.fileName ?? ''), `--ref=${join(care.groupDir(1), '*.wim')}`)
      await isWhole(pro, trees.pro)
      expect((await care.health())[0]?.lacking).toEqual([])
      expect(opened.changes.list({ verb: 'library.repair' })).toMatchObject([{ subject: 'G', after: { lacking: 0 } }])
    },
    T,
  )

  test(
    'from another group, and nothing lacks after it',
    async () => {
      const [pro] = await opened.imported(files.pro)
      must(opened.library.groups.create('Other', BY))
      await opened.imported(files.pro, { group: 'Other' })
      flip(pathOf(firstSegment()), 'tree')
      flip(pathOf(firstSegment()), 'blob')
      await care.scrub()
      expect(await care.repair({ group: 'G' })).toMatchObject({
        groups: [
          {
            group: 'G',
            repaired: 2,
            lackingContents: 0,
            from: [{ where: expect.stringMatching(/^Other\/seg-/), contents: 2 }],
          },
        ],
      })
      expect(await care.scrub()).toMatchObject({ damaged: 2, lacking: [] })
      await isWhole(pro, trees.pro)
      expect((await care.health())[0]).toMatchObject({ damaged: 2, lacking: [] })
    },
    T,
  )

  test(
    'takes no copy that is damaged itself, and says what is still lacking',
    async () => {
      const [pro] = await opened.imported(files.pro)
      must(opened.library.groups.create('Other', BY))
      await opened.imported(files.pro, { group: 'Other' })
      const [one, other] = segmentRows()
      flip(pathOf(one?.fileName ?? ''), 'blob')
      await care.scrub()
      // After the check: nobody knows of it yet.
      flip(pathOf(other?.fileName ?? '', other?.groupId), 'blob')
      expect(await care.repair({ group: 'G' })).toMatchObject({
        groups: [{ repaired: 0, lackingContents: 1, lacking: [{ name: 'Pro', contents: 1 }] }],
      })
      expect(segmentRows().length).toBe(2)
      expect(await care.view(pro)).toMatchObject({ ok: false, error: { code: 'damaged' } })
      expect(
        await care.repair({ source: { path: join(work, 'pro', 'Users/CASE.TXT'), sourceName: 'x' } }).catch(String),
      ).toMatch('not-a-wim')
    },
    T,
  )
})

test('a content that the disk does not give back is a bad one for a check, and a fault for an import', async () => {
  const table = emptyBlobTable(3)
  table.part.fill(1)
  table.size.fill(10)
  table.sizeInWim.fill(10)
  const entries = Int32Array.of(0, 1, 2)
  // Reading a folder is an error (EISDIR), as reading a bad sector is (EIO).
  const fd = openSync(tmpdir(), 'r')
  try {
    expect((await startVerification(table, entries, { fds: [fd], unreadableIsBad: true }).bad).toSorted()).toEqual([
      0, 1, 2,
    ])
    await expect(startVerification(table, entries, { fds: [fd] }).bad).rejects.toThrow('cannot be read')
  } finally {
    closeSync(fd)
  }
})

describe.skipIf(!HAS_STOCK)('the sharing report', () => {
  test(
    'adds up: own, shared and saved bytes, of images, copies and the trash',
    async () => {
      const [pro] = await opened.imported(files.pro)
      await opened.imported(files.home)
      const first = must(await care.sharing.report('g', LOCAL))
      const own = (name: string, report = first) => report.images.find((image) => image.name === name)
      using pros = must(openSource(files.pro))
      using homes = must(openSource(files.home))
      let onlyPro = 0
      let shared = 0
      for (let i = 0; i < pros.table.count; i += 1)
        if (isMetadata(pros.table, i) || homes.index.find(sha1At(pros.table, i)) < 0)
          onlyPro += pros.table.sizeInWim[i] ?? 0
        else shared += pros.table.sizeInWim[i] ?? 0
      expect(own('Pro')).toMatchObject({ ownBytes: onlyPro, sharedBytes: shared, inTrash: false })
      expect(first.storedBytes).toBe(segmentRows().reduce((sum, row) => sum + row.sizeBytes, 0))
      expect(first.reclaimableBytes).toBe(0)
      // Each of the two saves half of what both need.
      expect(Math.abs(first.savedBytes - shared)).toBeLessThanOrEqual(1)

      must(opened.library.images.copy({ name: 'Pro', group: 'G' }, { newName: 'Copy', newFileName: 'copy' }, BY))
      const copied = must(await care.sharing.report('G', LOCAL))
      expect(own('Pro', copied)).toMatchObject({ ownBytes: 0, sharedBytes: onlyPro + shared })
      // Of three that need the shared bytes one copy is stored, and of two that need Pro's own.
      expect(Math.abs(copied.savedBytes - (2 * shared + onlyPro))).toBeLessThanOrEqual(3)
      // A transmission holds what it sends, but it is no image that would need the bytes once more.
      const cast = { name: 't', imageName: 'Pro', description: '', fileName: 'pro.wim', group: 'G', open: true }
      opened.db
        .insert(transmissions)
        .values({ ...cast, contentId: pro?.contentId ?? 0, createdBy: 'local', createdAtMs: 1 })
        .run()
      expect(must(await care.sharing.report('G', LOCAL)).savedBytes).toBe(copied.savedBytes)
      opened.db.delete(transmissions).run()
      must(opened.library.images.remove({ name: 'Copy', group: 'G' }, BY))
      must(opened.library.images.remove({ name: 'Pro', group: 'G' }, BY))
      const trashed = must(await care.sharing.report('G', LOCAL))
      // One image is left, beside the trash: there is nobody to share with.
      expect(Math.abs(trashed.savedBytes)).toBeLessThanOrEqual(1)
      expect(
        trashed.images
          .filter(({ inTrash }) => inTrash)
          .map(({ name }) => name)
          .toSorted(),
      ).toEqual(['Copy', 'Pro'])
      expect(trashed).toMatchObject({ trashBytes: onlyPro, reclaimableBytes: 0 })
      must(await opened.library.trash.empty({}, BY))
      const emptied = must(await care.sharing.report('G', LOCAL))
      expect(emptied).toMatchObject({ trashBytes: 0, reclaimableBytes: onlyPro })
      expect(pro).toBeDefined()
    },
    T,
  )
})
