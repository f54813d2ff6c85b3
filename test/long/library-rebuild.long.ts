/** The library made anew from its folders: when the database is lost, and when a restored one is older than they are. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { asc, eq } from 'drizzle-orm'
import { openChanges } from '../../src/audit/changes.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { type Db, openDb } from '../../src/db/open.ts'
import {
  audit,
  contentNeeds,
  contents,
  doomedFiles,
  imageGroups,
  installImages,
  segments,
  trash,
  unattendFiles,
} from '../../src/db/schema.ts'
import {
  MANIFEST_NAME,
  type Manifest,
  manifestOf,
  openManifests,
  parseManifest,
} from '../../src/library/rebuild/manifest.ts'
import { type RebuildReport, rebuildLibrary } from '../../src/library/rebuild/rebuild.ts'
import { swapContent } from '../../src/library/trash.ts'
import { writeWim } from '../fixtures/api.ts'
import { SELF } from '../fixtures/job-child.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import { append, capture, HAS_STOCK, imagex, makeTree, sha256 } from '../fixtures/wims.ts'

const T = 60_000
const ROOT = join(import.meta.dir, '../..')
const UNATTEND = '<unattend xmlns="urn:schemas-microsoft-com:unattend"/>'
let work: string
/** A data directory as an appliance leaves it. */
let kept: string
let before: ReturnType<typeof dump>
/** What each image was served as, by its file name. */
let served: Map<string, string>

const groupDirOf = (dataDir: string) => (groupId: number) => join(dataDir, 'groups', String(groupId))

/** All that a rebuild shall bring back, without the ids of segments. */
function dump(db: Db) {
  const files = new Map(
    db
      .select()
      .from(segments)
      .all()
      .map(({ id, fileName }) => [id, fileName]),
  )
  return {
    groups: db.select().from(imageGroups).orderBy(asc(imageGroups.id)).all(),
    images: db.select().from(installImages).orderBy(asc(installImages.id)).all(),
    unattend: db.select().from(unattendFiles).orderBy(asc(unattendFiles.imageId)).all(),
    trash: db.select().from(trash).orderBy(asc(trash.id)).all(),
    contents: db
      .select()
      .from(contents)
      .orderBy(asc(contents.id))
      .all()
      .map(({ segmentId, ...rest }) => ({ ...rest, file: files.get(segmentId) })),
    needs: db.select().from(contentNeeds).orderBy(asc(contentNeeds.contentId)).all(),
    segments: db
      .select()
      .from(segments)
      .orderBy(asc(segments.groupId), asc(segments.id))
      .all()
      .map(({ id: _, scrubbedAtMs: __, ...rest }) => rest),
  }
}

async function writeManifests(db: Db, dataDir: string): Promise<void> {
  await using _manifests = openManifests({ db, groupDir: groupDirOf(dataDir), log: silentLog })
}

/** Hashes of the bytes that each image is served as; each is judged by stock wimlib. */
async function viewsOf(opened: Opened): Promise<Map<string, string>> {
  const views = new Map<string, string>()
  for (const image of must(opened.library.images.list({}, LOCAL))) {
    const path = await saveContent(must(await opened.library.images.content(image)), join(work, 'view.wim'))
    await imagex('verify', path)
    views.set(`${image.group}/${image.fileName}`, sha256(path))
  }
  return views
}

async function rebuild(dataDir: string, dryRun = false, self = SELF): Promise<RebuildReport> {
  using opened = openDb(dataDir)
  const { db } = opened
  return must(
    await rebuildLibrary(
      {
        db,
        dataDir,
        changes: openChanges({ db, clock: systemClock }),
        clock: systemClock,
        log: silentLog,
        self,
        wimlibPath: undefined,
        signal: new AbortController().signal,
        progress() {},
      },
      { who: LOCAL, dryRun },
    ),
  )
}

function readDb<Value>(dataDir: string, read: (db: Db) => Value): Value {
  using opened = openDb(dataDir)
  return read(opened.db)
}

function loseDb(dataDir: string): void {
  for (const name of readdirSync(dataDir)) if (name.startsWith('wimcast.db')) rmSync(join(dataDir, name))
}

function manifestAt(dataDir: string, groupId: number): Manifest {
  return must(parseManifest(readFileSync(join(dataDir, 'groups', String(groupId), MANIFEST_NAME), 'utf8')))
}

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(tmpdir(), 'wimcast-rebuild-'))
  kept = join(work, 'kept')
  const pro = await capture(makeTree(join(work, 'pro'), { smallFiles: 5 }), join(work, 'pro.wim'), 'Pro')
  const two = await capture(
    makeTree(join(work, 'home'), { smallFiles: 5, edition: 'Home' }),
    join(work, 'two.wim'),
    'Home',
  )
  await append(makeTree(join(work, 'edu'), { smallFiles: 6, edition: 'Edu' }), two, 'Edu')
  await using opened = await openTestLibrary({ dataDir: kept })
  const { library, db } = opened
  must(
    library.groups.set(
      'G',
      { description: 'für alle', quotaBytes: 1 << 30, audience: { roles: ['viewer'], machineGroups: ['Lab 1'] } },
      BY,
    ),
  )
  await opened.imported(pro)
  await opened.imported(two, { skipVerify: true })
  must(library.groups.create('Old', BY))
  await opened.imported(writeWim(join(work, 'tiny.wim'), ['Tiny']), { group: 'Old' })
  must(library.images.copy({ name: 'Pro', group: 'G' }, { newName: 'Pro for labs', newFileName: 'labs.wim' }, BY))
  must(library.images.remove({ name: 'Edu', group: 'G' }, BY))
  must(library.groups.remove('Old', { withImages: true }, BY))
  const labs = must(library.images.show({ name: 'Pro for labs', group: 'G' }, LOCAL))
  const home = must(library.images.show({ name: 'Home', group: 'G' }, LOCAL))
  db.transaction(() => {
    swapContent(db, labs, home.contentId, { who: LOCAL, nowMs: 1_800_000_000_000 })
    db.insert(unattendFiles).values({ imageId: labs.id, text: UNATTEND, addedAtMs: 1_800_000_000_000 }).run()
    db.update(installImages)
      .set({
        enabled: false,
        version: '2026.11',
        comment: 'ask Ines',
        architecture: 'arm64',
        language: 'de-DE',
        displayOrder: 3,
        audience: { roles: ['operator'], machineGroups: [] },
      })
      .where(eq(installImages.id, labs.id))
      .run()
    db.update(installImages).set({ bootDefault: true }).where(eq(installImages.id, home.id)).run()
  })
  served = await viewsOf(opened)
  await opened.close()
  using closed = openDb(kept)
  await writeManifests(closed.db, kept)
  before = dump(closed.db)
}, T)
afterAll(() => {
  if (work) rmSync(work, { recursive: true, force: true })
}, T)

describe.skipIf(!HAS_STOCK)('library rebuild', () => {
  let dataDir: string
  beforeEach(() => {
    dataDir = mkdtempSync(join(work, 'data-'))
    cpSync(kept, dataDir, { recursive: true, preserveTimestamps: true })
  })
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

  test(
    'brings everything back when the database is lost, and the same bytes are served',
    async () => {
      loseDb(dataDir)
      const report = await rebuild(dataDir)
      expect(report).toMatchObject({
        groups: ['G', 'Old'],
        versions: 1,
        lost: [],
        incomplete: [],
        missing: [],
        unreadable: [],
      })
      expect(report.segments).toHaveLength(3)
      expect(readDb(dataDir, dump)).toEqual(before)
      expect(readDb(dataDir, (db) => db.select().from(audit).all())).toMatchObject([
        { who: 'local', verb: 'library.rebuild' },
      ])
      await using opened = await openTestLibrary({ dataDir })
      expect(await viewsOf(opened)).toEqual(served)
      expect(opened.log.filter((line) => line.includes('unknown') || line.includes('missing'))).toEqual([])
    },
    T,
  )

  test('a group has the name of one that was removed before', async () => {
    {
      using opened = openDb(dataDir)
      opened.db.update(imageGroups).set({ name: 'Old', folded: 'old' }).where(eq(imageGroups.name, 'G')).run()
      await writeManifests(opened.db, dataDir)
    }
    const renamed = readDb(dataDir, dump)
    loseDb(dataDir)
    expect(await rebuild(dataDir)).toMatchObject({ groups: ['Old', 'Old'] })
    expect(readDb(dataDir, dump)).toEqual(renamed)
  })

  test('a second one finds nothing to do, and a dry run changes nothing', async () => {
    loseDb(dataDir)
    const tried = await rebuild(dataDir, true)
    expect(tried).toMatchObject({ dryRun: true, groups: ['G', 'Old'] })
    expect(readDb(dataDir, dump).groups).toEqual([])
    const { dryRun: _, ...done } = await rebuild(dataDir)
    const { dryRun: __, ...would } = tried
    expect(done).toEqual(would)
    expect(await rebuild(dataDir)).toMatchObject({ groups: [], segments: [], images: [], versions: 0, rehomed: 0 })
    expect(readDb(dataDir, dump)).toEqual(before)
  })

  test(
    'without a manifest the segments speak for themselves: disabled, not public',
    async () => {
      loseDb(dataDir)
      for (const id of ['1', '2']) rmSync(join(dataDir, 'groups', id, MANIFEST_NAME))
      const report = await rebuild(dataDir)
      expect(report.groups).toEqual(['Recovered 1', 'Recovered 2'])
      expect(report.images.map(({ name, from }) => `${name} ${from}`).sort()).toEqual(
        ['Edu', 'Home', 'Pro', 'Tiny'].map((name) => `${name} segment`),
      )
      const after = readDb(dataDir, dump)
      expect(after.images.every(({ enabled, isPublic }) => !enabled && !isPublic)).toBe(true)
      expect(after.segments.every(({ verified }) => !verified)).toBe(true)
      await using opened = await openTestLibrary({ dataDir, group: 'Recovered 1' })
      expect((await viewsOf(opened)).size).toBe(4)
    },
    T,
  )

  test('a manifest that is older than a segment: what it names, and the rest disabled', async () => {
    const { segments: all, ...rest } = manifestAt(dataDir, 1)
    const [first] = all
    const stale: Manifest = {
      ...rest,
      segments: first ? [first] : [],
      contents: rest.contents.filter(({ segment }) => segment === first?.file),
      images: rest.images.filter(({ name }) => name === 'Pro'),
      trash: [],
    }
    writeFileSync(join(dataDir, 'groups', '1', MANIFEST_NAME), JSON.stringify(stale))
    loseDb(dataDir)
    const report = await rebuild(dataDir)
    const made = report.images.filter(({ group }) => group === 'G').map(({ name, from }) => `${name} ${from}`)
    expect(made).toEqual(['Pro manifest', 'Home segment', 'Edu segment'])
  })

  test('what was removed for good does not come back from a segment that stays', async () => {
    const manifest = manifestAt(dataDir, 1)
    const edu = manifest.images.find(({ name }) => name === 'Edu')
    const purged: Manifest = {
      ...manifest,
      images: manifest.images.filter((image) => image !== edu),
      contents: manifest.contents.filter(({ id }) => id !== edu?.content),
      trash: manifest.trash.filter(({ image }) => image !== edu?.id),
    }
    writeFileSync(join(dataDir, 'groups', '1', MANIFEST_NAME), JSON.stringify(purged))
    loseDb(dataDir)
    const report = await rebuild(dataDir)
    expect(report.unused).toBe(1)
    expect(report.images.map(({ name }) => name)).not.toContain('Edu')
  })

  test('garbage, truncated, foreign and linked files are told, stay, and stop nothing', async () => {
    const dir = join(dataDir, 'groups', '1')
    const [whole = ''] = manifestAt(dataDir, 1).segments.map(({ file }) => file)
    writeFileSync(join(dir, 'garbage.wim'), 'this is no image')
    writeFileSync(join(dir, 'empty.wim'), '')
    writeFileSync(join(dir, 'cut.wim'), readFileSync(join(dir, whole)).subarray(0, 5000))
    cpSync(join(work, 'pro'), join(dir, 'folder.wim'), { recursive: true })
    writeFileSync(join(dataDir, 'groups', '2', MANIFEST_NAME), '{"wimcast":')
    loseDb(dataDir)
    const report = await rebuild(dataDir)
    expect(report.unreadable.map(({ file, code }) => `${file} ${code}`).sort()).toEqual([
      'cut.wim truncated',
      'empty.wim not-a-wim',
      'folder.wim bad-path',
      'garbage.wim not-a-wim',
      'group.json corrupt',
    ])
    expect(report.groups).toEqual(['G', 'Recovered 2'])
    for (const name of ['garbage.wim', 'empty.wim', 'cut.wim', 'folder.wim'])
      expect(existsSync(join(dir, name))).toBe(true)
    const after = readDb(dataDir, dump)
    expect(after.images.filter(({ groupId }) => groupId === 1)).toEqual(
      before.images.filter(({ groupId }) => groupId === 1),
    )
  })

  test('a file that kills its reader costs nothing but itself', async () => {
    const script = join(work, 'dies.ts')
    writeFileSync(
      script,
      `import { serveChild } from '${ROOT}/src/jobs/child.ts'
       import { readSegmentsTask } from '${ROOT}/src/library/rebuild/rebuild-task.ts'
       const run = async (input, report) => {
         const at = input.paths.findIndex((path) => path.endsWith('b-deadly.wim'))
         const read = await readSegmentsTask.run({ ...input, paths: input.paths.slice(0, at + 1 || undefined) }, report)
         if (at >= 0) process.kill(process.pid, 'SIGSEGV')
         return read
       }
       process.exitCode = await serveChild([{ name: 'read-segments', run }])`,
    )
    const dir = join(dataDir, 'groups', '1')
    for (const name of ['a.wim', 'b-deadly.wim']) writeFileSync(join(dir, name), 'boom')
    loseDb(dataDir)
    const report = await rebuild(dataDir, false, [process.execPath, script])
    expect(report.unreadable.map(({ file, code }) => `${file} ${code}`).sort()).toEqual([
      'a.wim not-a-wim',
      'b-deadly.wim child-died',
    ])
    expect(readDb(dataDir, dump)).toEqual(before)
  })

  test(
    'an older database: new images come from the manifest, moved contents are found where they are now',
    async () => {
      // Yesterday's database knew the first segment only, under a name that compaction has changed since.
      const manifest = manifestAt(dataDir, 1)
      const [first, second] = manifest.segments
      const old = 'seg-of-yesterday.wim'
      readDb(dataDir, (db) => {
        const gone =
          db
            .select()
            .from(segments)
            .where(eq(segments.fileName, second?.file ?? ''))
            .get()?.id ?? 0
        const dead = db.select().from(contents).where(eq(contents.segmentId, gone)).all()
        db.delete(trash).where(eq(trash.groupId, 1)).run()
        for (const { id } of dead) {
          db.delete(installImages).where(eq(installImages.contentId, id)).run()
          db.delete(contents).where(eq(contents.id, id)).run()
        }
        db.delete(segments).where(eq(segments.id, gone)).run()
        db.update(segments)
          .set({ fileName: old })
          .where(eq(segments.fileName, first?.file ?? ''))
          .run()
        db.update(installImages).set({ name: 'Pro of yesterday' }).where(eq(installImages.name, 'Pro')).run()
      })
      // The appliance was started on it first: what the manifest says of newer images must not be lost by that.
      {
        using started = openDb(dataDir)
        await writeManifests(started.db, dataDir)
      }
      expect(readdirSync(join(dataDir, 'groups', '1'))).toContain(`${MANIFEST_NAME}.before`)
      const report = await rebuild(dataDir)
      expect(report).toMatchObject({ groups: [], rehomed: 1, versions: 1, lost: [], incomplete: [], missing: [] })
      const after = readDb(dataDir, dump)
      const named = (images: typeof before.images) =>
        images
          .filter(({ groupId }) => groupId === 1)
          .map(({ name }) => name)
          .sort()
      expect(named(after.images)).toEqual(['Edu', 'Home', 'Pro for labs', 'Pro of yesterday'])
      expect(after.unattend).toEqual(before.unattend)
      expect(
        after.segments
          .filter(({ groupId }) => groupId === 1)
          .map(({ fileName }) => fileName)
          .sort(),
      ).toEqual([first?.file ?? '', second?.file ?? ''].sort())
      expect(readdirSync(join(dataDir, 'groups', '1'))).not.toContain(`${MANIFEST_NAME}.before`)
      await using opened = await openTestLibrary({ dataDir })
      expect((await viewsOf(opened)).size).toBe(served.size)
    },
    T,
  )

  test('an older database gives nothing back before the rebuild: images that came since may need it', async () => {
    const since = mkdtempSync(join(work, 'since-'))
    const dbFile = join(since, 'wimcast.db')
    const remove = async (opened: Opened): Promise<void> => {
      must(opened.library.images.remove({ name: 'Pro', group: 'G' }, BY))
      must(opened.library.groups.remove('H', { withImages: true }, BY))
      await opened.close()
    }
    {
      await using opened = await openTestLibrary({ dataDir: since })
      must(opened.library.groups.create('H', BY))
      await opened.imported(join(work, 'pro.wim'))
      await opened.imported(join(work, 'pro.wim'), { group: 'H' })
      await remove(opened)
    }
    cpSync(dbFile, `${dbFile}.yesterday`)
    {
      await using opened = await openTestLibrary({ dataDir: since })
      const { trash: bin } = opened.library
      for (const { id, kind } of bin.list(LOCAL)) if (kind === 'group') must(bin.restore(id, {}, BY))
      for (const group of ['G', 'H'])
        await opened.imported(join(work, 'two.wim'), { group, select: { kind: 'index', index: 1 } })
    }
    renameSync(`${dbFile}.yesterday`, dbFile)
    {
      await using opened = await openTestLibrary({ dataDir: since })
      const { trash: bin } = opened.library
      const ids = bin.list(LOCAL).map(({ id }) => id)
      expect(await bin.empty({ ids }, BY)).toMatchObject({ ok: false, error: { code: 'in-use' } })
      expect(must(await bin.empty({}, BY))).toMatchObject([{ title: 'Pro' }])
      expect(bin.list(LOCAL)).toMatchObject([{ kind: 'group', title: 'H' }])
      const { id } = must(opened.library.groups.compact('G', { all: true }, BY))
      expect(await opened.jobs.ended(id)).toMatchObject({ state: 'failed', error: { code: 'in-use' } })
      expect(opened.log.join()).toContain('library.not-collected group=1')
    }
    expect(await rebuild(since)).toMatchObject({ lost: [], incomplete: [], missing: [] })
    await using opened = await openTestLibrary({ dataDir: since })
    expect([...(await viewsOf(opened)).keys()]).toEqual(['G/two.wim'])
    const { id } = must(opened.library.groups.compact('G', { all: true }, BY))
    expect(await opened.jobs.ended(id)).toMatchObject({ state: 'done' })
    expect([...(await viewsOf(opened)).keys()]).toEqual(['G/two.wim'])
  })

  test('an older database: a version that came since, of an image that shows what it showed', async () => {
    const since = mkdtempSync(join(work, 'since-'))
    const dbFile = join(since, 'wimcast.db')
    const image = { name: 'Pro', group: 'G' }
    {
      await using opened = await openTestLibrary({ dataDir: since })
      await opened.imported(join(work, 'pro.wim'))
    }
    cpSync(dbFile, `${dbFile}.yesterday`)
    {
      await using opened = await openTestLibrary({ dataDir: since })
      const home = { select: { kind: 'index', index: 1 }, replace: image } as const
      expect(await opened.importFile(join(work, 'two.wim'), home)).toMatchObject({ state: 'done' })
      must(opened.library.trash.undo(image, BY))
    }
    renameSync(`${dbFile}.yesterday`, dbFile)
    await (await openTestLibrary({ dataDir: since })).close()
    expect(await rebuild(since)).toMatchObject({ versions: 1, images: [], unused: 0 })
    await using opened = await openTestLibrary({ dataDir: since })
    must(opened.library.trash.undo(image, BY))
    expect((await viewsOf(opened)).size).toBe(1)
  })

  test('a version whose image is nowhere comes back by itself', async () => {
    const since = mkdtempSync(join(work, 'since-'))
    {
      await using opened = await openTestLibrary({ dataDir: since })
      await opened.imported(join(work, 'pro.wim'))
      const replace = { name: 'Pro', group: 'G' }
      await opened.importFile(writeWim(join(work, 'tiny.wim'), ['Tiny']), { replace })
    }
    await using closed = await openTestLibrary({ dataDir: since })
    await closed.close()
    rmSync(join(since, 'groups', '1', manifestAt(since, 1).segments[1]?.file ?? ''))
    loseDb(since)
    expect(await rebuild(since)).toMatchObject({
      lost: [{ group: 'G', image: 'Pro' }],
      images: [{ name: 'Pro', from: 'segment' }],
      unused: 0,
    })
    await using opened = await openTestLibrary({ dataDir: since })
    expect((await viewsOf(opened)).size).toBe(1)
  })

  test('an image that was replaced since the backup comes beside the old one, and is not offered', async () => {
    const manifest = manifestAt(dataDir, 1)
    const file = manifest.segments[1]?.file ?? ''
    readDb(dataDir, (db) => {
      const ids = new Map(
        db
          .select()
          .from(segments)
          .all()
          .map(({ fileName, id }) => [fileName, id]),
      )
      const pro = db.select().from(installImages).where(eq(installImages.name, 'Pro')).get()
      const dead = db
        .select()
        .from(contents)
        .where(eq(contents.segmentId, ids.get(file) ?? 0))
        .all()
      db.delete(trash).where(eq(trash.groupId, 1)).run()
      // Home was replaced: here it still shows what Pro shows.
      db.update(installImages)
        .set({ contentId: pro?.contentId ?? 0 })
        .where(eq(installImages.groupId, 1))
        .run()
      for (const { id } of dead) db.delete(contents).where(eq(contents.id, id)).run()
      db.delete(segments).where(eq(segments.fileName, file)).run()
    })
    const report = await rebuild(dataDir)
    expect(report.images.map(({ fileName }) => fileName)).toContain('two-1 (2).wim')
    const home = readDb(dataDir, dump).images.filter(({ name }) => name === 'Home')
    expect(home.map(({ fileName, enabled }) => [fileName, enabled])).toEqual([
      ['two-1.wim', true],
      ['two-1 (2).wim', false],
    ])
  })

  test('a segment that is gone: its row stays while a content has its tree there, and is told', async () => {
    const [first, second] = manifestAt(dataDir, 1).segments
    renameSync(join(dataDir, 'groups', '1', second?.file ?? ''), join(work, 'aside.wim'))
    const report = await rebuild(dataDir)
    expect(report.missing).toEqual([{ group: 'G', file: second?.file ?? '' }])
    expect(report.incomplete.map(({ image }) => image).sort()).toEqual(['Edu', 'Home', 'Pro for labs'])
    expect(readDb(dataDir, dump)).toEqual(before)
    loseDb(dataDir)
    const lost = await rebuild(dataDir)
    expect(lost.lost.map(({ image }) => image).sort()).toEqual(['Edu', 'Home', 'Pro for labs'])
    // And when it turns up again, all is well.
    renameSync(join(work, 'aside.wim'), join(dataDir, 'groups', '1', second?.file ?? ''))
    expect(await rebuild(dataDir)).toMatchObject({ segments: [{ file: second?.file }], incomplete: [] })
    expect(readDb(dataDir, dump).images).toEqual(before.images)
    expect(first?.verified).toBe(true)
  })

  test('a segment without tree or need is nobody’s loss; doomed files go as at a start', async () => {
    const dir = join(dataDir, 'groups', '1')
    writeFileSync(join(dir, 'doomed.wim'), 'half')
    readDb(dataDir, (db) => {
      db.insert(doomedFiles).values({ fileName: 'doomed.wim', groupId: 1 }).run()
      db.insert(segments)
        .values({ groupId: 1, fileName: 'gone.wim', sizeBytes: 1, verified: true, blobBytes: 1, createdAtMs: 1 })
        .run()
    })
    const report = await rebuild(dataDir)
    expect(report).toMatchObject({ missing: [], unreadable: [] })
    expect(existsSync(join(dir, 'doomed.wim'))).toBe(false)
    expect(readDb(dataDir, dump)).toEqual(before)
  })

  test('a replaced segment is taken again when its successor is not there', async () => {
    const manifest = manifestAt(dataDir, 1)
    const [first] = manifest.segments
    const retired = {
      ...manifest,
      segments: manifest.segments.map((one) => ({ ...one, retired: one.file === first?.file })),
    }
    writeFileSync(join(dataDir, 'groups', '1', MANIFEST_NAME), JSON.stringify(retired))
    loseDb(dataDir)
    expect(await rebuild(dataDir)).toMatchObject({ incomplete: [], lost: [] })
    expect(readDb(dataDir, dump).segments.every((one) => !one.retired)).toBe(true)
  })
})

/** A data directory with one empty group; nothing but the test writes its manifest. */
function emptyGroup(): { readonly dataDir: string; readonly path: string } {
  const dataDir = mkdtempSync(join(work, 'manifest-'))
  const at = { createdAtMs: 1, changedAtMs: 1 }
  readDb(dataDir, (db) =>
    db
      .insert(imageGroups)
      .values({ name: 'G', folded: 'g', ...at })
      .run(),
  )
  mkdirSync(join(dataDir, 'groups', '1'), { recursive: true })
  return { dataDir, path: join(dataDir, 'groups', '1', MANIFEST_NAME) }
}

describe.skipIf(!HAS_STOCK)('the manifest', () => {
  test('follows the rows, is not written twice, and is for the service alone', async () => {
    const { dataDir, path } = emptyGroup()
    using opened = openDb(dataDir)
    const { db } = opened
    const describeIt = (description: string): void => void db.update(imageGroups).set({ description }).run()
    {
      await using manifests = openManifests({ db, groupDir: groupDirOf(dataDir), log: silentLog, gatherMs: 60_000 })
      for (const description of ['one', 'two']) {
        describeIt(description)
        manifests.changed(1)
      }
    }
    expect(manifestAt(dataDir, 1).group.description).toBe('two')
    const { mode, ino } = statSync(path)
    expect(mode & 0o777).toBe(0o640)
    await writeManifests(db, dataDir)
    expect(statSync(path).ino).toBe(ino)
    describeIt('three')
    await writeManifests(db, dataDir)
    expect(manifestAt(dataDir, 1).group.description).toBe('three')
    expect(readdirSync(join(dataDir, 'groups', '1'))).toEqual([MANIFEST_NAME])
  })

  test('a write that fails is told, and tried again', async () => {
    const { dataDir, path } = emptyGroup()
    using opened = openDb(dataDir)
    const failed = Promise.withResolvers<void>()
    const log = { ...silentLog, error: () => failed.resolve() }
    // A folder of its name cannot be replaced by a file.
    cpSync(join(work, 'pro'), path, { recursive: true })
    {
      const options = { groupDir: groupDirOf(dataDir), log, gatherMs: 0, retryMs: 1 }
      await using _manifests = openManifests({ db: opened.db, ...options })
      await failed.promise
      rmSync(path, { recursive: true })
    }
    expect(manifestAt(dataDir, 1).group.name).toBe('G')
  })

  test('nothing is written into a folder that goes', async () => {
    const { dataDir, path } = emptyGroup()
    using opened = openDb(dataDir)
    await using manifests = openManifests({ db: opened.db, groupDir: groupDirOf(dataDir), log: silentLog })
    await manifests.forget(1)
    expect(existsSync(path)).toBe(false)
  })

  test('a thousand images take milliseconds', async () => {
    const dataDir = mkdtempSync(join(work, 'manifest-'))
    cpSync(kept, dataDir, { recursive: true })
    using opened = openDb(dataDir)
    const { db } = opened
    const [image] = db.select().from(installImages).where(eq(installImages.groupId, 1)).all()
    if (!image) throw new Error('no image')
    db.transaction(() => {
      for (let i = 0; i < 1000; i += 1) {
        const { id: _, ...row } = { ...image, fileName: `${i}.wim`, foldedFile: `${i}.wim` }
        const { id } = db.insert(installImages).values(row).returning().get()
        db.insert(unattendFiles)
          .values({ imageId: id, text: UNATTEND.repeat(50), addedAtMs: 1 })
          .run()
      }
    })
    const from = performance.now()
    JSON.stringify(manifestOf(db, 1))
    expect(performance.now() - from).toBeLessThan(500)
    await writeManifests(db, dataDir)
    expect(manifestAt(dataDir, 1).images.length).toBeGreaterThan(1000)
  })
})
