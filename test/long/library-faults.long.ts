/** What happens to an import that is cancelled, whose process is killed, or whose disk fills up, in the middle. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CHILD_COMMAND } from '../../src/jobs/child.ts'
import type { Job } from '../../src/jobs/jobs.ts'
import type { ImportRequest } from '../../src/library/transfer/imports.ts'
import { tinyWim } from '../fixtures/api.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import { applied, capture, differences, HAS_STOCK, imagex, makeTree, treeOf } from '../fixtures/wims.ts'

const T = 60_000
let work: string
let solid: string
let plain: string

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(tmpdir(), 'wimcast-faults-'))
  const tree = makeTree(join(work, 'tree'), { smallFiles: 20 })
  plain = await capture(tree, join(work, 'plain.wim'), 'Plain')
  solid = await capture(tree, join(work, 'solid.esd'), 'Solid', '--solid')
}, T)
afterAll(() => {
  if (work) rmSync(work, { recursive: true, force: true })
}, T)

/** The children of this process that import. */
function children(): number[] {
  const pids = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
  return pids.filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(CHILD_COMMAND))
}

/** Starts an import and calls `then` once, as soon as its row shows the step. */
async function atStep(
  opened: Opened,
  path: string,
  step: string,
  then: (job: Job) => void,
  request: Partial<ImportRequest> = {},
): Promise<Job> {
  const { id } = must(opened.start(path, request))
  let called = false
  const { length } = opened.events
  const look = (): void => {
    const job = must(opened.jobs.show(id))
    if (called || job.step !== step) return
    called = true
    then(job)
  }
  // Events are noted in an array that the library's own listener fills; each new one is a reason to look.
  opened.events.push = (...events) => {
    const result = Array.prototype.push.apply(opened.events, events)
    if (opened.events.length > length) look()
    return result
  }
  const job = await opened.jobs.ended(id)
  expect(called).toBe(true)
  return job
}

describe.skipIf(!HAS_STOCK)('in the middle of an import', () => {
  let opened: Opened
  beforeEach(async () => {
    opened = await openTestLibrary()
  }, T)
  afterEach(async () => {
    await opened[Symbol.asyncDispose]()
  }, T)

  const steps: [string, () => string][] = [
    ['read the tables', () => plain],
    ['read the trees', () => plain],
    ['copy and verify', () => plain],
    ['convert', () => solid],
  ]

  test.each(steps)(
    'a cancel at "%s" leaves nothing',
    async (step, path) => {
      const before = opened.snapshot()
      const job = await atStep(opened, path(), step, ({ id }) => must(opened.jobs.cancel(id)))
      expect(job).toMatchObject({ state: 'cancelled', error: { code: 'cancelled' } })
      expect(opened.snapshot()).toEqual(before)
      expect(opened.leftovers()).toEqual([])
      expect(children()).toEqual([])
    },
    T,
  )

  test.each(steps)(
    'a child killed at "%s" leaves nothing, and the same import works again',
    async (step, path) => {
      const before = opened.snapshot()
      const job = await atStep(opened, path(), step, () => {
        for (const pid of children()) process.kill(pid, 'SIGSTOP')
        for (const pid of children()) process.kill(pid, 'SIGKILL')
      })
      expect(job).toMatchObject({
        state: 'failed',
        error: { code: 'child-died', message: expect.stringContaining('SIGKILL'), hint: expect.stringMatching(/\w/) },
      })
      expect(opened.snapshot()).toEqual(before)
      expect(opened.leftovers()).toEqual([])
      await opened.imported(path())
    },
    T,
  )

  test.each(steps.slice(2))(
    'a replacement cancelled, then killed, at "%s" leaves the image as it was',
    async (step, path) => {
      const tiny = join(work, 'tiny.wim')
      writeFileSync(tiny, tinyWim(['One']))
      await opened.imported(tiny, { fileName: 'image' })
      const request = { replace: { name: 'One', group: 'G' } }
      const before = opened.snapshot()
      await atStep(opened, path(), step, ({ id }) => must(opened.jobs.cancel(id)), request)
      const kill = (): void => {
        for (const pid of children()) process.kill(pid, 'SIGSTOP')
        for (const pid of children()) process.kill(pid, 'SIGKILL')
      }
      const killed = await atStep(opened, path(), step, kill, request)
      expect(killed).toMatchObject({ kind: 'image.replace', state: 'failed', error: { code: 'child-died' } })
      expect(opened.snapshot()).toEqual(before)
      expect(opened.leftovers()).toEqual([])
      expect(await opened.importFile(path(), request)).toMatchObject({ state: 'done' })
    },
    T,
  )

  test(
    'an upload is cleared away, also when the import is cancelled before it began',
    async () => {
      let cleared = 0
      const request = {
        afterwards: async () => {
          cleared += 1
        },
      }
      const first = must(opened.start(solid, { ...request, fileName: 'one' }))
      const second = must(opened.start(plain, { ...request, fileName: 'two' }))
      must(opened.jobs.cancel(second.id))
      must(opened.jobs.cancel(first.id))
      for (const { id } of [first, second]) expect(await opened.jobs.ended(id)).toMatchObject({ state: 'cancelled' })
      expect(cleared).toBe(2)
    },
    T,
  )

  test(
    'a group stays while an import waits for it',
    async () => {
      const gate = Promise.withResolvers<void>()
      const { id: groupId } = must(opened.library.groups.show('G', LOCAL))
      const held = opened.jobs.inLane(`group:${groupId}`, () => gate.promise)
      const { id } = must(opened.start(plain))
      expect(opened.library.groups.remove('G', { withImages: true }, BY)).toMatchObject({
        ok: false,
        error: { code: 'in-use' },
      })
      // Renamed it may be: the import finds it.
      must(opened.library.groups.set('G', { name: 'Renamed' }, BY))
      gate.resolve()
      await held
      expect(await opened.jobs.ended(id)).toMatchObject({ state: 'done', result: { group: 'Renamed' } })
    },
    T,
  )

  test(
    'two imports into one group run one after the other and share; of one file name one wins',
    async () => {
      const names = ['a', 'b', 'A']
      const started = names.map((fileName) => must(opened.start(plain, { fileName })))
      const ended = await Promise.all(started.map(({ id }) => opened.jobs.ended(id)))
      expect(ended.map((job) => job.error?.code ?? job.state)).toEqual(['done', 'done', 'exists'])
      expect(ended[1]?.result).toMatchObject({ newBlobs: 0 })
      expect(readdirSync(join(opened.dataDir, 'groups/1')).filter((name) => name.endsWith('.wim')).length).toBe(2)
    },
    T,
  )
})

/** Mounts need root, and a machine that allows them. */
function mountSmall(dir: string, sizeMib: number): boolean {
  mkdirSync(dir, { recursive: true })
  return (
    process.getuid?.() === 0 &&
    Bun.spawnSync(['mount', '-t', 'tmpfs', '-o', `size=${sizeMib}m`, `wimcast-${process.pid}`, dir]).success
  )
}

const tryDir = mkdtempSync(join(tmpdir(), 'wimcast-mount-'))
const CAN_MOUNT = HAS_STOCK && mountSmall(tryDir, 1) && Bun.spawnSync(['umount', tryDir]).success
rmSync(tryDir, { recursive: true })

describe.skipIf(!CAN_MOUNT)('a full disk', () => {
  let disk: string
  let opened: Opened | undefined

  async function on(sizeMib: number): Promise<Opened> {
    disk = mkdtempSync(join(tmpdir(), 'wimcast-disk-'))
    expect(mountSmall(disk, sizeMib)).toBe(true)
    opened = await openTestLibrary({ dataDir: join(disk, 'data') })
    return opened
  }
  afterEach(async () => {
    rmSync(join(disk, 'ballast'), { force: true })
    await opened?.close()
    // Lazily: bun:sqlite closes its files when the last statement is collected.
    Bun.spawnSync(['umount', '-l', disk])
    rmSync(disk, { recursive: true })
  }, T)

  /** Takes what is left of the disk but `leave` bytes. */
  function fill(name: string, leave: number): void {
    const { bavail, bsize } = statfsSync(disk)
    const bytes = Math.floor(bavail * bsize - leave)
    if (bytes > 0) Bun.spawnSync(['fallocate', '-l', String(bytes), join(disk, name)])
  }

  test(
    'of another kind than the source lies on is written all the same',
    async () => {
      const library = await on(100)
      const [image] = await library.imported(plain)
      const view = await saveContent(
        must(await library.library.images.content(image ?? fail())),
        join(work, 'other-disk.wim'),
      )
      await imagex('verify', view)
      expect(
        differences(
          treeOf(await applied(view, 1, join(work, 'one'))),
          treeOf(await applied(plain, 1, join(work, 'two'))),
        ),
      ).toEqual([])
    },
    T,
  )

  test.each([
    ['copy', () => plain],
    ['conversion', () => solid],
  ])(
    'is foreseen before a %s',
    async (_, path) => {
      const library = await on(64)
      const before = library.snapshot()
      expect(await library.importFile(path())).toMatchObject({
        state: 'failed',
        error: {
          code: 'no-space',
          hint: expect.stringContaining('larger disk'),
          facts: { freeBytes: expect.any(Number) },
        },
      })
      expect(library.snapshot()).toEqual(before)
      expect(library.leftovers()).toEqual([])
    },
    T,
  )

  test(
    'is foreseen too when a file says of itself that it is small',
    async () => {
      const library = await on(100)
      const { bavail, bsize } = statfsSync(disk)
      must(library.settings.set('space.reserve', String(bavail * bsize - (200 << 10)), BY))
      // Both times in UTF-16: <TOTALBYTES>1234567</TOTALBYTES> -> <TOTALBYTES>0000001</TOTALBYTES>
      const lie = readFileSync(solid)
        .toString('latin1')
        .replaceAll(/(?<=T\0O\0T\0A\0L\0B\0Y\0T\0E\0S\0>\0)(?:\d\0)+/g, (digits) =>
          '1\0'.padStart(digits.length, '0\0'),
        )
      const file = join(work, 'lie.esd')
      writeFileSync(file, Buffer.from(lie, 'latin1'))
      expect(await imagex('info', file, '1')).toMatch(/Total Bytes: +1\n/)
      const before = library.snapshot()
      const job = await library.importFile(file)
      expect(job).toMatchObject({ state: 'failed', error: { code: 'no-space' } })
      expect(Number(job.error?.facts?.['neededBytes'])).toBeGreaterThan(200 << 10)
      expect(library.snapshot()).toEqual(before)
      expect(library.leftovers()).toEqual([])
      must(library.settings.set('space.reserve', undefined, BY))
      await library.imported(file)
    },
    T,
  )

  test.each([
    ['copy and verify', () => plain],
    ['convert', () => solid],
  ])(
    'at "%s" rolls back, and the next import works when there is room again',
    async (step, path) => {
      const library = await on(100)
      const before = library.snapshot()
      const job = await atStep(library, path(), step, () => {
        const pids = children()
        for (const pid of pids) process.kill(pid, 'SIGSTOP')
        fill('ballast', 0)
        for (const pid of pids) process.kill(pid, 'SIGCONT')
      })
      expect(job).toMatchObject({ state: 'failed', error: { code: 'no-space', hint: expect.stringMatching(/\w/) } })
      expect(library.snapshot()).toEqual(before)
      expect(library.leftovers()).toEqual([])
      rmSync(join(disk, 'ballast'))
      const [image] = await library.imported(path())
      await imagex(
        'verify',
        await saveContent(must(await library.library.images.content(image ?? fail())), join(work, 'after.wim')),
      )
    },
    T,
  )
})

function fail(): never {
  throw new Error('missing')
}
