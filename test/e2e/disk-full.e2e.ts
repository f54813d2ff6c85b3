/**
 * A disk that is full, or becomes full: imports and uploads that cannot fit are refused before they begin; one that the
 * disk leaves in the lurch half-way is rolled back. Never half an image, nothing left over, and the same import works
 * when there is space again. The data directory is an ext4 of 320 MiB on a loop device; the sources lie elsewhere.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Appliance, type CommandResult, startAppliance, succeed, until, within } from '../fixtures/appliance.ts'
import { type LoopDisk, makeDisk } from '../fixtures/loop-disk.ts'
import { fromEnvironment, randomOf } from '../fixtures/seed.ts'
import { damageOf, jobsOf } from '../fixtures/whole.ts'
import { capture, sampleBytes } from '../fixtures/wims.ts'

const SEED = fromEnvironment('WIMCAST_SEED', 1)
const DISK_MIB = 320
const MIB = 1 << 20

let work: string
let disk: LoopDisk
let appliance: Appliance
const tookMs = { raw: 0, esd: 0 }
const source = (kind: 'raw' | 'esd'): string => join(work, 'root', kind === 'raw' ? 'raw.wim' : 'solid.esd')
const filler = (): string => join(disk.path, 'filler')

function freeBytes(): number {
  const { bavail, bsize } = statfsSync(disk.path)
  return bavail * bsize
}

/** Takes what is free but for so much; as fast as a file system can. */
async function fill(leftBytes: number): Promise<void> {
  const bytes = freeBytes() - leftBytes
  // It may stop short of what the blocks that describe the file take.
  if (bytes > 0) await succeed('fallocate', '--length', String(bytes), filler()).catch(() => {})
  // The last blocks, which a fallocate in one piece does not get.
  if (leftBytes === 0)
    await succeed('dd', 'if=/dev/zero', `of=${filler()}`, 'oflag=append', 'conv=notrunc', 'bs=4096').catch(() => {})
}

function empty(): void {
  rmSync(filler(), { force: true })
}

async function images(): Promise<readonly string[]> {
  return (await appliance.json<{ name: string }[]>('image', 'list')).map(({ name }) => name).sort()
}

function codeOf({ code, out, error }: CommandResult): string {
  if (code === 0) return 'done'
  const parsed = JSON.parse(out === '' ? '{}' : out) as { error?: { code: string; hint: string } }
  return parsed.error?.code ?? `exit code ${code}: ${error}`
}

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-full-'))
  mkdirSync(join(work, 'root'))
  for (const [name, files, options] of [
    ['base.wim', 4, ['--compress=LZX']],
    ['raw.wim', 40, ['--compress=LZX', '--threads=2']],
    ['solid.esd', 12, ['--solid']],
  ] as const) {
    const dir = join(work, 'tree')
    mkdirSync(dir)
    for (let i = 0; i < files; i += 1) writeFileSync(join(dir, `${i}.dat`), sampleBytes(700_000, files * 100 + i))
    await capture(dir, join(work, 'root', name), name, ...options)
    rmSync(dir, { recursive: true })
  }
  disk = await makeDisk(work, 'disk', DISK_MIB)
  appliance = await startAppliance({
    dataDir: join(disk.path, 'data'),
    runDir: join(work, 'run'),
    https: 'off',
    options: ['--import-roots', join(work, 'root')],
  })
  await appliance.cli('group', 'new', 'kept')
  await appliance.cli('image', 'import', join(work, 'root/base.wim'), '--group', 'kept')
  for (const kind of ['raw', 'esd'] as const) {
    await appliance.cli('group', 'new', kind)
    const startedMs = performance.now()
    await appliance.cli('image', 'import', source(kind), '--group', kind)
    tookMs[kind] = performance.now() - startedMs
    await removeForGood(kind)
  }
}, 180_000)

async function removeForGood(group: string): Promise<void> {
  await appliance.cli('group', 'remove', group, '--with-images')
  await appliance.cli('trash', 'empty')
}

afterAll(async () => {
  await appliance?.[Symbol.asyncDispose]()
  await disk?.[Symbol.asyncDispose]()
  rmSync(work, { recursive: true, force: true })
})

test.each(['raw', 'esd'] as const)('an import (%s) that cannot fit is refused before it writes', async (kind) => {
  await fill(65 * MIB)
  try {
    const refused = await appliance.run('image', 'import', source(kind), '--group', 'kept', '--json')
    expect(codeOf(refused)).toBe('no-space')
    expect(refused.error).toContain('are free')
    expect((await jobsOf(appliance))[0]).toMatchObject({ state: 'failed', error: { code: 'no-space' } })
    expect(await images()).toEqual(['base.wim'])
  } finally {
    empty()
  }
  expect(await damageOf(appliance, join(work, 'scratch'))).toEqual([])
})

test('an upload larger than what is free is refused before it is sent', async () => {
  const large = join(work, 'large.wim')
  writeFileSync(large, '')
  truncateSync(large, DISK_MIB * MIB)
  const refused = await appliance.run('image', 'import', large, '--group', 'kept', '--json')
  expect(codeOf(refused)).toBe('no-space')
  expect(readdirSync(join(appliance.dataDir, 'uploads'))).toEqual([])
})

test('an upload of unknown length that fills the disk is refused, and nothing of it stays', async () => {
  const { id } = (await (await appliance.fetch('/api/uploads', { method: 'POST' })).json()) as { id: string }
  await fill(70 * MIB)
  try {
    const block = new Uint8Array(MIB)
    let sent = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sent += 1
        if (sent > DISK_MIB) controller.close()
        else controller.enqueue(block)
      },
    })
    const answer = await appliance.fetch(`/api/uploads/${id}/endless.wim`, {
      method: 'PUT',
      body,
      headers: { 'Content-Type': 'application/octet-stream' },
    })
    expect(answer.ok).toBe(false)
    expect(await answer.json()).toMatchObject({ code: 'no-space' })
    expect(readdirSync(join(appliance.dataDir, 'uploads', id))).toEqual([])
  } finally {
    empty()
    await appliance.fetch(`/api/uploads/${id}`, { method: 'DELETE' })
  }
  expect(await damageOf(appliance, join(work, 'scratch'))).toEqual([])
})

/** Imports into a group of its own while `fillDisk` runs; whatever comes of it must be whole, and go well afterwards. */
async function filledDuring(kind: 'raw' | 'esd', fillDisk: () => Promise<void>): Promise<string> {
  const group = crypto.randomUUID()
  await appliance.cli('group', 'new', group)
  let state: string
  try {
    const command = appliance.start('image', 'import', source(kind), '--group', group, '--json')
    await fillDisk()
    state = codeOf(await within(60_000, 'the import on a full disk', command.ended))
    expect(['done', 'no-space']).toContain(state)
    // Told truly while the disk is still full; a job that could not be written down was refused as a whole.
    const [job] = (await jobsOf(appliance)).filter((one) => one.title.endsWith(` into ${group}`))
    if (state === 'done') expect(job).toMatchObject({ state: 'done' })
    else if (job) expect(job).toMatchObject({ state: 'failed', error: { code: 'no-space' } })
    expect((await images()).length).toBe(state === 'done' ? 2 : 1)
  } finally {
    empty()
  }
  expect(await damageOf(appliance, join(work, 'scratch'))).toEqual([])
  if (state !== 'done') await appliance.cli('image', 'import', source(kind), '--group', group)
  await removeForGood(group)
  return state
}

test.each([
  ['raw', 'segment.wim'],
  ['esd', 'converted.wim'],
] as const)('an import (%s) is rolled back when the disk fills up as soon as %s is there', async (kind, file) => {
  const workDir = join(appliance.dataDir, 'work')
  const written = (): true | undefined =>
    readdirSync(workDir).some((job) => existsSync(join(workDir, job, file))) ? true : undefined
  await filledDuring(kind, async () => {
    await until(30_000, `${file} in ${workDir}`, written)
    await fill(0)
  })
})

const random = randomOf(SEED)
const moments = Array.from({ length: 8 }, (_, i) => ({
  i,
  kind: i % 2 === 0 ? ('raw' as const) : ('esd' as const),
  moment: Number(random().toFixed(3)),
  leftBytes: i % 4 < 2 ? 0 : Math.floor(random() * 4 * MIB),
}))

test.each(moments)(
  'disk full $i: $kind, $leftBytes bytes left, at $moment of its time',
  async ({ kind, moment, leftBytes }) => {
    const state = await filledDuring(kind, async () => {
      await Bun.sleep(moment * tookMs[kind])
      await fill(leftBytes)
    })
    expect(['done', 'no-space']).toContain(state)
  },
  120_000,
)

test('a full disk is told as that, whatever is asked for; reading goes on', async () => {
  await fill(0)
  try {
    const made: string[] = []
    // The log of the database has room in its file for a few commits.
    for (let i = 0; i < 2000 && made.at(-1) !== 'no-space'; i += 1) {
      const answer = await appliance.fetch('/api/groups', {
        method: 'POST',
        body: JSON.stringify({ name: `full ${i}` }),
        headers: { 'Content-Type': 'application/json' },
      })
      made.push(answer.ok ? 'made' : ((await answer.json()) as { code: string }).code)
      if (!answer.ok && made.at(-1) !== 'no-space') break
    }
    expect(made.at(-1)).toBe('no-space')
    expect(await images()).toEqual(['base.wim'])
    await appliance.cli('image', 'export', 'base.wim', '--group', 'kept', '--to', join(work, 'exported.wim'))
  } finally {
    empty()
  }
  expect(await damageOf(appliance, join(work, 'scratch'))).toEqual([])
}, 120_000)
