/** Compaction: space comes back online, images stay what they are, and a transmission's bytes do not move. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { OpenContent } from '../../src/base/content.ts'
import { openBus } from '../../src/base/events.ts'
import { silentLog } from '../../src/base/log.ts'
import { contents, damages, doomedFiles, segmentLeases, segments, transmissions, trash } from '../../src/db/schema.ts'
import type { Job } from '../../src/jobs/jobs.ts'
import { segmentsOf } from '../../src/library/rows.ts'
import { openContents } from '../../src/library/store/contents.ts'
import { readSegmentTable } from '../../src/library/store/segment-table.ts'
import { openTransmissions, type Transmissions } from '../../src/transmissions/transmissions.ts'
import { isMetadata, sha1At } from '../../src/wim/blob-table.ts'
import { decodeHeader } from '../../src/wim/header.ts'
import { openSource } from '../../src/wim/source.ts'
import { LOCAL, must, readPiece, saveContent } from '../fixtures/library.ts'
import { openStore, type Store, type StoredImage } from '../fixtures/store.ts'
import { applied, capture, differences, HAS_STOCK, imagex, makeTree, treeOf } from '../fixtures/wims.ts'

const T = 60_000
const NAMES = ['Pro', 'Home', 'Education'] as const
let work: string
const files: Record<(typeof NAMES)[number], string> = { Pro: '', Home: '', Education: '' }
const trees: Record<string, string> = {}
let counter = 0
const fresh = (): string => {
  counter += 1
  return join(work, `out-${counter}`)
}

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(tmpdir(), 'wimcast-compact-'))
  for (const name of NAMES) {
    const tree = makeTree(join(work, name), { edition: name, smallFiles: 30 })
    files[name] = await capture(tree, join(work, `${name}.wim`), name, ...(name === 'Home' ? ['--boot'] : []))
    trees[name] = treeOf(await applied(files[name], 1, fresh()))
  }
}, T)
afterAll(() => {
  if (work) rmSync(work, { recursive: true, force: true })
}, T)
/** Pro came first, so its segment holds what all of them share. */
function three(store: Store): { pro: StoredImage; home: StoredImage; education: StoredImage } {
  const [pro, home, education] = NAMES.flatMap((name) => store.put(files[name]))
  if (!pro || !home || !education) throw new Error('missing')
  return { pro, home, education }
}

async function isWhole(store: Store, image: StoredImage): Promise<string> {
  const view = await saveContent(must(await store.views.of(image)), `${fresh()}.wim`)
  await imagex('verify', view)
  expect(differences(treeOf(await applied(view, 1, fresh())), trees[image.name] ?? '')).toEqual([])
  return view
}

/** Compressed bytes of the contents of these files together, each once, and of their trees. */
function union(...paths: string[]): number {
  const sizes = new Map<string, number>()
  for (const path of paths) {
    using source = must(openSource(path))
    const { table } = source
    for (let i = 0; i < table.count; i += 1)
      sizes.set(
        `${isMetadata(table, i) ? path : ''} ${Buffer.from(sha1At(table, i)).toString('hex')}`,
        table.sizeInWim[i] ?? 0,
      )
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0)
}

const sha256Of = (bytes: Uint8Array): string => new Bun.CryptoHasher('sha256').update(bytes).digest('hex')

const headerOf = (path: string) => must(decodeHeader(new Uint8Array(readFileSync(path).subarray(0, 208))))

function ok(job: Job): Readonly<Record<string, unknown>> {
  if (job.state !== 'done') throw new Error(`the job ended ${job.state}: ${JSON.stringify(job.error)}`)
  return { ...job.result }
}

describe.skipIf(!HAS_STOCK)('a compaction', () => {
  test.concurrent(
    'leaves the union of what is shown, whole images, and segments that stock tools read',
    async () => {
      await using store = await openStore()
      const { pro, home, education } = three(store)
      store.drop(pro)
      expect(await store.collect()).toBe(0)
      const before = store.diskBytes()
      const dry = ok(await store.compact({}, true))
      expect(dry).toMatchObject({ dryRun: true, group: 'G' })
      expect(store.diskBytes()).toBe(before)

      const result = ok(await store.compact())
      expect(result).toEqual({ ...dry, dryRun: undefined, heldBytes: 0 })
      expect(before - store.diskBytes()).toBe(result['freedBytes'] as number)
      expect(result['freedBytes']).toBeGreaterThan(30_000)
      // Besides contents and trees: header, 50 bytes an entry and XML.
      const rows = segmentsOf(store.db, store.groupId)
      const paths = rows.map((row) => join(store.groupDir, row.fileName))
      const framing = paths.reduce((sum, path) => sum + readSegmentTable(path).count * 50 + 3000, 0)
      expect(store.diskBytes() - framing).toBeLessThan(1.01 * union(files.Home, files.Education))
      expect(rows.reduce((sum, row) => sum + row.sizeBytes, 0)).toBe(store.diskBytes())
      expect(rows.every((row) => row.verified && !row.retired)).toBe(true)

      expect(headerOf(await isWhole(store, home))).toMatchObject({ bootIndex: 1 })
      expect(headerOf(await isWhole(store, education))).toMatchObject({ bootIndex: 0 })
      const [made] = paths.slice(-1)
      const names = must(openSource(made ?? '')).document.images.map((image) => image.facts.name)
      for (const [i, name] of names.entries()) {
        expect(await imagex('info', made ?? '', String(i + 1))).toMatch(new RegExp(`Name: +${name}\n`))
        const out = await applied(made ?? '', i + 1, fresh(), `--ref=${join(store.groupDir, '*.wim')}`)
        expect(differences(treeOf(out), trees[name] ?? '')).toEqual([])
      }
      expect(store.changes.list({ verb: 'group.compact' })).toMatchObject([
        { who: 'local', subject: 'G', before: { storedBytes: before }, after: { storedBytes: store.diskBytes() } },
      ])
      expect(store.snapshot()).toMatchObject({ doomed: [], work: [] })
      // A second one finds nothing to do.
      const again = store.snapshot()
      expect(ok(await store.compact({ all: true }))).toMatchObject({ segments: 0, freedBytes: 0 })
      expect(store.snapshot()).toEqual(again)
    },
    T,
  )

  test.concurrent(
    'keeps what the trash keeps, and takes what it no longer keeps',
    async () => {
      await using store = await openStore()
      const { pro, home } = three(store)
      const version = { kind: 'version' as const, groupId: store.groupId, imageId: home.imageId, title: 'Home' }
      store.db
        .insert(trash)
        .values({ ...version, contentId: pro.contentId, removedAtMs: 1, removedBy: 'local' })
        .run()
      store.drop(pro)
      expect(ok(await store.compact({ all: true }))).toMatchObject({ segments: 0 })
      await isWhole(store, pro)
      store.db.delete(trash).run()
      expect(ok(await store.compact())).toMatchObject({ segments: 1 })
      await isWhole(store, home)
    },
    T,
  )

  test.concurrent(
    'while the trash is emptied: what died since it collected still finds a home',
    async () => {
      await using store = await openStore()
      const { pro, home, education } = three(store)
      store.drop(pro)
      const job = store.start({ all: true })
      // It collects, and has seen that this one is shown.
      await setImmediate()
      store.drop(home)
      ok(await store.jobs.ended(job.id))
      expect(store.snapshot()).toMatchObject({ doomed: [], work: [] })
      await isWhole(store, education)
      await store.collect()
      expect(store.db.select({ id: contents.id }).from(contents).all()).toEqual([{ id: education.contentId }])
      await isWhole(store, education)
    },
    T,
  )

  test.concurrent(
    'leaves alone what is dead by less than was said, and with nothing shown nothing remains',
    async () => {
      await using store = await openStore()
      const { pro, home, education } = three(store)
      store.drop(pro)
      const before = store.segmentNames()
      expect(ok(await store.compact({ atPercent: 50 }))).toMatchObject({ segments: 0, freedBytes: 0 })
      expect(store.segmentNames()).toEqual(before)
      expect(store.compaction.start({ id: 1, name: 'G' }, { atPercent: 101 }, { who: LOCAL })).toMatchObject({
        ok: false,
        error: { code: 'bad-request' },
      })
      store.drop(home)
      store.drop(education)
      const whole = store.diskBytes()
      expect(ok(await store.compact({}, true))).toMatchObject({ segments: 3, freedBytes: whole, rewrittenBytes: 0 })
      expect(ok(await store.compact())).toMatchObject({ freedBytes: whole })
      expect(store.segmentNames()).toEqual([])
    },
    T,
  )

  test.concurrent(
    'does not disturb a download that runs, nor one that is about to',
    async () => {
      await using store = await openStore()
      const { pro, home, education } = three(store)
      const found = must(await store.views.of(home))
      const bytes = readFileSync(await saveContent(found, fresh()))
      const isSame = (open: OpenContent): boolean =>
        open.pieces.every(
          (piece) => Buffer.compare(readPiece(piece), bytes.subarray(piece.at, piece.at + piece.length)) === 0,
        )
      store.drop(pro)
      ok(await store.compact())
      const names = store.segmentNames()
      expect(must(await store.views.of(home)).etag).not.toBe(found.etag)
      // Found before the compaction, opened after it.
      const late = must(await found.open())
      expect(isSame(late)).toBe(true)
      late[Symbol.dispose]()

      const running = must(await must(await store.views.of(home)).open())
      const sum = (): string => running.pieces.map((piece) => sha256Of(readPiece(piece))).join()
      const before = sum()
      store.drop(education)
      ok(await store.compact({ all: true }))
      expect(names.some((name) => !existsSync(join(store.groupDir, name)))).toBe(true)
      expect(sum()).toBe(before)
      running[Symbol.dispose]()
    },
    T,
  )

  test.concurrent(
    'while a view is made: it is made anew',
    async () => {
      await using store = await openStore()
      const { pro, home } = three(store)
      store.drop(pro)
      let compacted = false
      const views = openContents({
        db: store.db,
        groupDir: () => store.groupDir,
        log: silentLog,
        files: {
          ...store.files,
          // The tables are asked for once the rows are read: now the segments go.
          table: async (path) => {
            if (!compacted) {
              compacted = true
              ok(await store.compact())
            }
            return store.files.table(path)
          },
        },
      })
      const made = must(await views.of(home))
      expect(made.etag).toBe(must(await store.views.of(home)).etag)
      await saveContent(made, fresh())
    },
    T,
  )

  /** Flips a byte of a content that the group needs, in the segment that holds it. */
  function damage(store: Store, index: number): { readonly sha1: string; readonly segmentId: number } {
    const row = segmentsOf(store.db, store.groupId)[index]
    const path = join(store.groupDir, row?.fileName ?? '')
    const table = readSegmentTable(path)
    // The largest is the kernel, which all images have.
    let largest = 0
    for (let i = 0; i < table.count; i += 1)
      if ((table.sizeInWim[i] ?? 0) > (table.sizeInWim[largest] ?? 0)) largest = i
    const bytes = readFileSync(path)
    const at = (table.offset[largest] ?? 0) + 5000
    bytes[at] = (bytes[at] ?? 0) ^ 0xff
    writeFileSync(path, bytes)
    return { sha1: Buffer.from(sha1At(table, largest)).toString('hex'), segmentId: row?.id ?? 0 }
  }

  test.concurrent(
    'refuses to copy what is damaged: nothing changes',
    async () => {
      await using store = await openStore()
      const { pro, home } = three(store)
      store.drop(pro)
      await store.collect()
      const { sha1 } = damage(store, 0)
      const before = store.snapshot()
      const job = await store.compact()
      expect(job).toMatchObject({ state: 'failed', error: { code: 'corrupt', facts: { bad: 1, sha1: [sha1] } } })
      expect(job.error?.message).toContain(sha1)
      expect(job.error?.hint).toContain('wimcast library scrub')
      expect(store.snapshot()).toEqual(before)
      must(await store.views.of(home))
    },
    T,
  )

  test.concurrent(
    'refuses a group of which a segment cannot be read, and a collection goes round it',
    async () => {
      await using store = await openStore()
      const { home, education } = three(store)
      // What it holds is not known then: nothing can be said to be dead.
      const [row] = segmentsOf(store.db, store.groupId).slice(-1)
      rmSync(join(store.groupDir, row?.fileName ?? ''))
      store.drop(education)
      const segmentsBefore = segmentsOf(store.db, store.groupId).length
      expect(await store.compact()).toMatchObject({ state: 'failed', error: { code: 'unreadable' } })
      await store.collect()
      expect(segmentsOf(store.db, store.groupId).length).toBe(segmentsBefore)
      await isWhole(store, home)
    },
    T,
  )

  test.concurrent(
    'keeps one of two copies',
    async () => {
      await using store = await openStore()
      const [unchecked] = store.put(files.Pro, { verified: false })
      const [pro] = store.put(files.Home)
      const [home] = store.put(files.Home, { whole: true })
      if (!home || !pro) throw new Error('missing')
      store.drop(unchecked)
      ok(await store.compact({ all: true }))
      // Of what lies twice one copy is left.
      expect(store.diskBytes()).toBeLessThan(1.02 * union(files.Home) + 30_000)
      await isWhole(store, home)
    },
    T,
  )

  test.concurrent(
    'keeps the good one of two copies when a check found the other damaged',
    async () => {
      await using store = await openStore()
      const [first] = store.put(files.Home)
      const [second] = store.put(files.Home, { whole: true })
      if (!first || !second) throw new Error('missing')
      const bad = damage(store, 0)
      store.db
        .insert(damages)
        .values({ ...bad, foundAtMs: 1 })
        .run()
      ok(await store.compact({ all: true }))
      await isWhole(store, first)
      await isWhole(store, second)
    },
    T,
  )

  const steps = ['look for what is needed', 'copy and verify'] as const
  test.concurrent.each(steps)(
    'that is cancelled at "%s" leaves nothing',
    async (step) => {
      await using store = await openStore()
      const { pro, home } = three(store)
      store.drop(pro)
      await store.collect()
      const before = store.snapshot()
      const { id } = store.start()
      await store.atStep(id, step)
      must(store.jobs.cancel(id))
      expect(await store.jobs.ended(id)).toMatchObject({ state: 'cancelled' })
      expect(store.snapshot()).toEqual(before)
      await isWhole(store, home)
    },
    T,
  )

  test.concurrent(
    'that is cut off between file and rows leaves a doomed file, which the next start removes',
    async () => {
      await using store = await openStore()
      const { pro, home } = three(store)
      store.drop(pro)
      await store.collect()
      const before = store.snapshot()
      const name = `seg-${crypto.randomUUID()}.wim`
      store.db.insert(doomedFiles).values({ fileName: name, groupId: store.groupId }).run()
      writeFileSync(join(store.groupDir, name), 'x')
      await store.close()
      await using again = await openStore(store.dataDir)
      expect(again.snapshot()).toEqual(before)
      ok(await again.compact())
      await isWhole(again, home)
    },
    T,
  )

  test.concurrent(
    'needs room for what it writes',
    async () => {
      await using store = await openStore()
      const { pro } = three(store)
      store.drop(pro)
      await store.collect()
      store.db.run("insert into settings (key, value) values ('space.reserve', '900 TiB')")
      const before = store.snapshot()
      expect(await store.compact()).toMatchObject({ state: 'failed', error: { code: 'no-space' } })
      expect(store.snapshot()).toEqual(before)
      expect(ok(await store.compact({}, true))).toMatchObject({ dryRun: true, segments: 1 })
    },
    T,
  )
})

describe.skipIf(!HAS_STOCK)('a transmission', () => {
  function sent(store: Store): Transmissions {
    return openTransmissions({
      db: store.db,
      changes: store.changes,
      timeZone: () => 'UTC',
      casts: {} as Parameters<typeof openTransmissions>[0]['casts'],
      library: { images: { content: store.views.of }, collect: store.collect },
      bus: openBus(),
      log: silentLog,
      clock: { nowMs: () => 10, monotonicMs: () => 10 },
    })
  }

  function insert(store: Store, image: StoredImage): number {
    return store.db
      .insert(transmissions)
      .values({
        name: 't',
        contentId: image.contentId,
        imageId: image.imageId,
        imageName: image.name,
        description: image.description,
        fileName: image.fileName,
        group: 'G',
        open: true,
        createdBy: 'local',
        createdAtMs: 1,
      })
      .returning()
      .get().id
  }

  test.concurrent(
    'has the same bytes through compactions and a restart, and lets go of its segments at its end',
    async () => {
      await using store = await openStore()
      const { pro, home, education } = three(store)
      const cast = insert(store, home)
      const first = must(await sent(store).content(cast, LOCAL))
      expect(store.db.select().from(segmentLeases).all().length).toBe(2)
      const bytes = readFileSync(await saveContent(first, fresh()))
      const names = store.segmentNames()
      store.drop(pro)
      const held = ok(await store.compact())
      expect(held).toMatchObject({ segments: 1 })
      expect(held['heldBytes']).toBeGreaterThan(0)
      expect(held['freedBytes']).toBeLessThan(0)

      // New views are made of the new segment alone; the transmission's of what it was made of.
      const retired = store.db
        .select()
        .from(segments)
        .all()
        .filter((row) => row.retired)
      expect(retired.length).toBe(1)
      const view = must(await store.views.of(home))
      expect(view.etag).not.toBe(first.etag)
      expect(view.recipe.segmentIds).not.toContain(retired[0]?.id ?? 0)
      await isWhole(store, home)
      const isSame = async (from: Store): Promise<void> => {
        const content = must(await sent(from).content(cast, LOCAL))
        expect(content.etag).toBe(first.etag)
        expect(Buffer.compare(readFileSync(await saveContent(content, fresh())), bytes)).toBe(0)
      }
      await isSame(store)
      await store.close()
      await using again = await openStore(store.dataDir)
      await again.collect()
      await isSame(again)
      expect(again.segmentNames()).toEqual(expect.arrayContaining(names))

      // It has ended, and its grace with it.
      again.db.update(transmissions).set({ open: false, endedAtMs: 0, reason: 'stopped' }).run()
      again.db.update(transmissions).set({ endedAtMs: -4_000_000 }).run()
      await sent(again).resume()
      await again.collect()
      expect(again.db.select().from(segmentLeases).all()).toEqual([])
      expect(again.db.select().from(transmissions).get()).toMatchObject({ homeSegmentId: null, contentId: null })
      expect(again.segmentNames()).not.toContain(retired[0]?.fileName ?? '')
      expect(
        again.db
          .select()
          .from(segments)
          .all()
          .some((row) => row.retired),
      ).toBe(false)
      expect(existsSync(join(again.groupDir, retired[0]?.fileName ?? ''))).toBe(false)
      await isWhole(again, home)
      await isWhole(again, education)
    },
    T,
  )

  test.concurrent(
    'of an image that is gone keeps its segments, however often it is compacted',
    async () => {
      await using store = await openStore()
      const { pro, home, education } = three(store)
      const cast = insert(store, pro)
      const { etag } = must(await sent(store).content(cast, LOCAL))
      for (const image of [pro, home, education]) {
        store.db.update(transmissions).set({ imageId: null }).run()
        store.drop(image)
        ok(await store.compact({ all: true }))
        expect(must(await sent(store).content(cast, LOCAL)).etag).toBe(etag)
      }
      await saveContent(must(await sent(store).content(cast, LOCAL)), fresh())
      store.db.update(transmissions).set({ open: false, endedAtMs: -4_000_000 }).run()
      await sent(store).resume()
      await store.collect()
      expect(store.segmentNames()).toEqual([])
      expect(store.db.select().from(contents).all()).toEqual([])
    },
    T,
  )

  test.concurrent('whose view is asked for by many at once takes one lease', async () => {
    await using store = await openStore()
    const { home } = three(store)
    const cast = insert(store, home)
    const transmission = sent(store)
    const asked = await Promise.all(Array.from({ length: 5 }, () => transmission.content(cast, LOCAL)))
    expect(new Set(asked.map((content) => must(content).etag)).size).toBe(1)
    expect(
      store.db
        .select()
        .from(segmentLeases)
        .all()
        .map(({ position }) => position),
    ).toEqual([0, 1])
  })
})
