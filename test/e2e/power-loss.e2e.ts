/**
 * Power cuts at random moments of imports. The data directory is an ext4 on a loop device; at the moment everything that
 * writes is frozen, and the backing file is copied: what the page cache of the ext4 still holds, and nobody has synced,
 * is not in the copy. The copy is mounted (its journal is replayed) and a second appliance is started on it: the library
 * must be whole, jobs must tell the truth, and what was answered before the cut must be there.
 *
 * Limits of the model: writes that the disk was given are all kept, in their order. `commit=600` keeps ext4's timer from
 * saving what we forgot to sync.
 *
 * The last test is the proof that this can fail: the same with fsync(2) made a no-op must lose an import.
 * WIMCAST_CUTS moments from WIMCAST_SEED on; scripts/soak/power-loss runs more of them.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Appliance, startAppliance, succeed } from '../fixtures/appliance.ts'
import { type LoopDisk, makeDisk, mountImage } from '../fixtures/loop-disk.ts'
import { fromEnvironment, randomOf } from '../fixtures/seed.ts'
import { changesIn } from '../fixtures/watch.ts'
import { damageOf, jobsOf } from '../fixtures/whole.ts'
import { capture, sampleBytes } from '../fixtures/wims.ts'

const CUTS = fromEnvironment('WIMCAST_CUTS', 4)
const SEED = fromEnvironment('WIMCAST_SEED', 1)
const DISK_MIB = 512
/** Only what is synced reaches the disk within the life of a test. */
const MOUNT = 'commit=600'

const NO_FSYNC = `
  int fsync(int fd) { return 0; }
  int fdatasync(int fd) { return 0; }
  int sync_file_range(int fd, long offset, long length, unsigned flags) { return 0; }
`

let work: string
let importMs = 0
const counts: Record<string, number> = {}
const count = (what: string): void => {
  counts[what] = (counts[what] ?? 0) + 1
}

const start = (disk: LoopDisk, environment: Readonly<Record<string, string>> = {}): Promise<Appliance> =>
  startAppliance({
    dataDir: join(disk.path, 'data'),
    https: 'off',
    options: ['--import-roots', join(work, 'root')],
    environment,
  })

/** Freezes the appliance with its children, and copies what the disk holds at that moment. */
async function cutPower(appliance: Appliance, disk: LoopDisk, name: string): Promise<LoopDisk> {
  await appliance.freeze()
  const copy = join(work, `${name}.img`)
  await succeed('cp', '--sparse=always', '--reflink=auto', disk.image, copy)
  await appliance[Symbol.asyncDispose]()
  return mountImage(copy, join(work, name))
}

type Image = { readonly name: string; readonly group: string }
const named = (images: readonly Image[]): string[] => images.map(({ name, group }) => `${group}/${name}`).sort()

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-power-'))
  mkdirSync(join(work, 'root'))
  for (const [name, files] of [
    ['base', 4],
    ['large', 30],
  ] as const) {
    const dir = join(work, name)
    mkdirSync(dir)
    for (let i = 0; i < files; i += 1) writeFileSync(join(dir, `${i}.dat`), sampleBytes(1_000_000, files * 100 + i))
    await capture(dir, join(work, 'root', `${name}.wim`), name, '--compress=LZX', '--threads=2')
    rmSync(dir, { recursive: true })
  }
  await using disk = await makeDisk(work, 'trial', DISK_MIB, MOUNT)
  await using appliance = await start(disk)
  await appliance.cli('group', 'new', 'trial')
  const startedMs = performance.now()
  await appliance.cli('image', 'import', join(work, 'root/large.wim'), '--group', 'trial')
  importMs = performance.now() - startedMs
}, 120_000)

afterAll(() => {
  if (process.env['WIMCAST_CUTS'] !== undefined)
    process.stderr.write(`power loss: ${JSON.stringify({ seed: SEED, ...counts, importMs })}\n`)
  rmSync(work, { recursive: true, force: true })
})

const random = randomOf(SEED)
/** By turns a share of the time that an import takes, and the nth change in the folder of the group: publishing is short. */
const moments = Array.from({ length: CUTS }, (_, i) => {
  const share = Number((random() * 1.1).toFixed(3))
  const change = i % 2 === 0 ? undefined : 1 + Math.floor(random() * 6)
  return { share, change, said: change === undefined ? `at ${share} of its time` : `at change ${change} of the folder` }
})

test.each(moments)(
  'power cut of an import $said',
  async ({ share, change }) => {
    await using disk = await makeDisk(work, 'disk', DISK_MIB, MOUNT)
    await using before = await start(disk)
    await before.cli('group', 'new', 'kept')
    await before.cli('image', 'import', join(work, 'root/base.wim'), '--group', 'kept')
    await before.cli('group', 'new', 'late')
    const command = before.start('image', 'import', join(work, 'root/large.wim'), '--group', 'late')
    let answered = false
    command.ended.then(({ code }) => {
      answered = code === 0
    })
    if (change === undefined) await Bun.sleep(share * importMs)
    else await changesIn(join(before.dataDir, 'groups/2'), change, command.ended)
    const told = answered
    await using copy = await cutPower(before, disk, 'copy')
    await command.ended

    await using after = await start(copy)
    expect(await damageOf(after, join(work, 'scratch'))).toEqual([])
    const images = named(await after.json<Image[]>('image', 'list'))
    const [job] = (await jobsOf(after)).filter((row) => row.title === 'import large.wim into late')
    const state = job === undefined ? 'not begun' : `${job.state}${job.error ? ` (${job.error.code})` : ''}`
    count(`${change === undefined ? '' : 'publishing: '}${state}`)
    expect(['not begun', 'failed (interrupted)', 'done']).toContain(state)
    expect({ state, images }).toEqual({ state, images: state === 'done' ? ['kept/base', 'late/large'] : ['kept/base'] })
    if (told) expect(state).toBe('done')
    expect((await after.json<{ name: string }[]>('group', 'list')).map(({ name }) => name)).toEqual(['kept', 'late'])
  },
  120_000,
)

test('the same without fsync loses what was answered: the test can fail', async () => {
  const preload = join(work, 'no-fsync.so')
  await Bun.write(join(work, 'no-fsync.c'), NO_FSYNC)
  await succeed('gcc', '-shared', '-fPIC', '-o', preload, join(work, 'no-fsync.c'))
  await using disk = await makeDisk(work, 'disk', DISK_MIB, MOUNT)
  // What was there before is on the disk; only the import is left to luck.
  {
    await using appliance = await start(disk)
    await appliance.cli('group', 'new', 'kept')
    await appliance.stop()
    await succeed('sync', '--file-system', disk.path)
  }
  await using before = await start(disk, { LD_PRELOAD: preload })
  await before.cli('image', 'import', join(work, 'root/base.wim'), '--group', 'kept')
  await using copy = await cutPower(before, disk, 'copy')
  const found = await start(copy).then(
    async (opened) => {
      await using after = opened
      return {
        images: named(await after.json<Image[]>('image', 'list')),
        damage: await damageOf(after, join(work, 'scratch')),
      }
    },
    (error: Error) => error.message,
  )
  expect(found).not.toEqual({ images: ['kept/base'], damage: [] })
}, 120_000)
