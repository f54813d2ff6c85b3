/**
 * kill -9 of the appliance at random moments of imports, removals and casts. After each restart: the library is whole, jobs tell
 * the truth, nothing is left over; a transmission is back where it was, and a receiver that ran all the while (or is
 * killed too, and started again) gets its file.
 *
 * WIMCAST_KILLS moments from WIMCAST_SEED on; scripts/soak/kill runs more of them.
 */
import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type Appliance,
  type CommandResult,
  processesOf,
  type RunningCommand,
  startAppliance,
  until,
  within,
} from '../fixtures/appliance.ts'
import { fromEnvironment, randomOf } from '../fixtures/seed.ts'
import { changesIn } from '../fixtures/watch.ts'
import { damageOf, jobsOf } from '../fixtures/whole.ts'
import { capture, sampleBytes, sha256 } from '../fixtures/wims.ts'

const KILLS = fromEnvironment('WIMCAST_KILLS', 12)
const SEED = fromEnvironment('WIMCAST_SEED', 1)
const CAST_RATE = '30M'
const RECEIVE_MS = 90_000

type Session = {
  readonly sessionId: string
  readonly group: string
  readonly port: number
  readonly epoch: number
  readonly etag: string
}
type Summary = {
  readonly sizeBytes: number
  readonly resumedBytes: number
  readonly multicastBytes: number
  readonly rangeBytes: number
  readonly fallback?: string
}

let work: string
let appliance: Appliance
let baseSha256: string
/** How long each takes when nobody kills it; moments are drawn from a little more. */
const tookMs = { raw: 0, upload: 0, esd: 0, remove: 0, cast: 0 }
const counts: Record<string, number> = {}
const count = (what: string): void => {
  counts[what] = (counts[what] ?? 0) + 1
}

async function start(https = '127.0.0.1:0'): Promise<Appliance> {
  return startAppliance({
    dataDir: join(work, 'data'),
    runDir: join(work, 'run'),
    https,
    options: ['--import-roots', join(work, 'root')],
  })
}

/** The same doors as before: receivers come back to the address that they know. */
async function restart(): Promise<void> {
  appliance = await start(new URL(appliance.https).host)
}

/** Kills the appliance alone, and proves that its job children follow it. */
async function kill(): Promise<void> {
  await appliance.kill()
  await until(5000, 'the end of the job children', () => (processesOf(appliance.pid).length === 0 ? true : undefined))
}

function makeFolder(name: string, files: number, bytes: number, seed: number): string {
  const dir = join(work, name)
  mkdirSync(dir)
  for (let i = 0; i < files; i += 1) writeFileSync(join(dir, `${i}.dat`), sampleBytes(bytes, seed + i))
  return dir
}

async function timed(run: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now()
  await run()
  return performance.now() - startedMs
}

async function dropGroup(group: string): Promise<void> {
  await appliance.cli('group', 'remove', group, '--with-images')
  await appliance.cli('trash', 'empty')
}

const source = (kind: 'raw' | 'upload' | 'esd'): string =>
  join(work, kind === 'upload' ? 'upload.wim' : kind === 'raw' ? 'root/raw.wim' : 'root/solid.esd')

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-kill-'))
  mkdirSync(join(work, 'root'))
  mkdirSync(join(work, 'received'))
  const base = makeFolder('base', 24, 600_000, 1)
  const large = makeFolder('large', 40, 1_000_000, 1000)
  const small = makeFolder('small', 16, 400_000, 5000)
  await capture(base, join(work, 'root/base.wim'), 'Base', '--compress=LZX')
  await capture(large, join(work, 'root/raw.wim'), 'Large', '--compress=LZX', '--threads=2')
  await capture(small, join(work, 'root/solid.esd'), 'Solid', '--solid')
  await Bun.write(join(work, 'upload.wim'), Bun.file(join(work, 'root/raw.wim')))
  for (const dir of [base, large, small]) rmSync(dir, { recursive: true })

  appliance = await start()
  await appliance.cli('group', 'new', 'kept')
  await appliance.cli('image', 'import', join(work, 'root/base.wim'), '--group', 'kept')
  await appliance.cli('image', 'export', 'Base', '--to', join(work, 'base.exported'))
  baseSha256 = sha256(join(work, 'base.exported'))
  for (const kind of ['raw', 'upload', 'esd'] as const) {
    await appliance.cli('group', 'new', kind)
    tookMs[kind] = await timed(() => appliance.cli('image', 'import', source(kind), '--group', kind))
    if (kind === 'raw') {
      await appliance.cli('image', 'remove', 'Large', '--group', kind)
      tookMs.remove = await timed(() => appliance.cli('trash', 'empty'))
    }
    await dropGroup(kind)
  }
  overHttps = await appliance.overHttps()
  const cast = await newCast()
  tookMs.cast = await timed(async () => finished(await receive(cast, 'timed').ended, 'timed'))
  await stopCast(cast)
}, 300_000)

afterAll(async () => {
  if (process.env['WIMCAST_KILLS'] !== undefined)
    process.stderr.write(`kill: ${JSON.stringify({ seed: SEED, ...counts, tookMs })}\n`)
  await appliance?.[Symbol.asyncDispose]()
  rmSync(work, { recursive: true, force: true })
})

/** A share of the time that it takes, or the nth change in the folder of the group: publishing and removing are short. */
type Moment = { readonly share: number } | { readonly change: number } | 'the end of the work folder'

async function when(moment: Moment, wholeMs: number, group: string, command: RunningCommand): Promise<void> {
  // Made and removed; the rows are written by then, the job's end perhaps not.
  if (typeof moment === 'string') await changesIn(join(work, 'data/work'), 2, command.ended)
  else if ('share' in moment) await Bun.sleep(moment.share * wholeMs)
  else await changesIn(join(work, 'data/groups', groupId(group)), moment.change, command.ended)
}

async function interruptedImport(kind: 'raw' | 'upload' | 'esd', moment: Moment): Promise<void> {
  const group = `${kind}-${crypto.randomUUID().slice(0, 8)}`
  await appliance.cli('group', 'new', group)
  const command = appliance.start('image', 'import', source(kind), '--group', group)
  await when(moment, tookMs[kind], group, command)
  await kill()
  const said = await within(30_000, 'the end of the import command', command.ended)
  await restart()

  const [job] = (await jobsOf(appliance)).filter((row) => row.title.endsWith(` into ${group}`))
  const images = await appliance.json<unknown[]>('image', 'list', '--group', group)
  const state = job === undefined ? 'not begun' : `${job.state}${job.error ? ` (${job.error.code})` : ''}`
  count(`${kind}${typeof moment === 'string' || 'change' in moment ? ' (publishing)' : ''}: ${state}`)
  expect(['not begun', 'failed (interrupted)', 'done']).toContain(state)
  // The truth in both directions, and what the command was told is kept.
  expect({ state, images: images.length }).toEqual({ state, images: state === 'done' ? 1 : 0 })
  if (said.code === 0) expect(state).toBe('done')
  expect(await damageOf(appliance, join(work, 'scratch'))).toEqual([])
  await dropGroup(group)
}

async function interruptedRemove(moment: Moment): Promise<void> {
  const group = `remove-${crypto.randomUUID().slice(0, 8)}`
  await appliance.cli('group', 'new', group)
  await appliance.cli('image', 'import', source('raw'), '--group', group)
  await appliance.cli('image', 'remove', 'Large', '--group', group)
  const command = appliance.start('trash', 'empty')
  await when(moment, tookMs.remove, group, command)
  await kill()
  const said = await within(30_000, 'the end of the command', command.ended)
  await restart()
  const images = (await appliance.json<unknown[]>('trash', 'list')).length
  count(
    `remove${typeof moment === 'string' || 'change' in moment ? ' (removing)' : ''}: ${images === 0 ? 'gone' : 'not begun'}`,
  )
  if (said.code === 0) expect(images).toBe(0)
  // What a stop left uncollected is collected by the next start, in the background.
  if (images === 0)
    await until(10_000, 'the space to come back', async () => {
      const { storedBytes } = await appliance.json<{ storedBytes: number }>('group', 'show', group)
      return storedBytes === 0 &&
        !readdirSync(join(work, 'data/groups', groupId(group))).some((name) => name.endsWith('.wim'))
        ? true
        : undefined
    })
  expect(await damageOf(appliance, join(work, 'scratch'))).toEqual([])
  await dropGroup(group)
}

function groupId(name: string): string {
  using database = new Database(join(work, 'data/wimcast.db'), { readonly: true })
  return String(database.query<{ id: number }, [string]>('SELECT id FROM image_groups WHERE name = ?').get(name)?.id)
}

async function newCast(): Promise<number> {
  const { id } = await appliance.json<{ id: number }>(
    'cast',
    'new',
    '--image',
    'Base',
    '--interface',
    'lo',
    '--rate',
    CAST_RATE,
  )
  return id
}

async function stopCast(id: number): Promise<void> {
  await appliance.run('cast', 'stop', String(id), '--force')
  await until(10_000, 'the end of the transmission', async () => (isOpen(id) ? undefined : true))
}

function isOpen(id: number): boolean {
  using database = new Database(join(work, 'data/wimcast.db'), { readonly: true })
  return database.query<{ open: number }, [number]>('SELECT open FROM transmissions WHERE id = ?').get(id)?.open === 1
}

function session(id: number): Session | undefined {
  using database = new Database(join(work, 'data/wimcast.db'), { readonly: true })
  const row = database
    .query<{ session: string | null }, [number]>('SELECT session FROM transmissions WHERE id = ?')
    .get(id)
  return row?.session ? (JSON.parse(row.session) as Session) : undefined
}

let overHttps: readonly string[] = []
function receive(cast: number, name: string) {
  const out = join(work, 'received', name)
  return appliance.start(
    'receive',
    ...overHttps,
    '--cast',
    String(cast),
    '--out',
    out,
    // Who is killed after the file got its name, and before saying so, is started again all the same.
    '--if-exists',
    'overwrite',
    '--interface',
    'lo',
    '--name',
    name,
    '--json',
  )
}

/** A receiver that ended well has the right file, and every byte of it came exactly one way. */
function finished(result: CommandResult, name: string): Summary {
  if (result.code !== 0) throw new Error(`the receiver ended with ${result.code}: ${result.error}`)
  const summary = JSON.parse(result.out) as Summary
  const out = join(work, 'received', name)
  expect(sha256(out)).toBe(baseSha256)
  expect(existsSync(`${out}.part`) || existsSync(`${out}.wimcast`)).toBe(false)
  rmSync(out)
  return summary
}

/** Symbols that the sidecar of a broken off download claims. */
function symbolsHeld(name: string): number {
  const path = join(work, 'received', `${name}.wimcast`)
  if (!existsSync(path)) return 0
  return readFileSync(path)
    .subarray(36)
    .reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
}

async function interruptedCast(moment: number, receiverToo: boolean, stop = kill): Promise<void> {
  const cast = await newCast()
  const before = await until(20_000, 'the session of the transmission', () => session(cast))
  const name = `r${cast}`
  let receiver = receive(cast, name)
  await Bun.sleep(moment * tookMs.cast)
  await stop()
  if (receiverToo) receiver.kill('SIGKILL')
  await restart()

  const after = await until(20_000, 'the transmission to be back', () => {
    const now = session(cast)
    return now && now.epoch > before.epoch ? now : undefined
  })
  expect(after).toMatchObject({
    sessionId: before.sessionId,
    group: before.group,
    port: before.port,
    etag: before.etag,
  })
  let ended = await within(RECEIVE_MS, 'the receiver', receiver.ended)
  if (ended.code === 0) {
    count(`cast: the receiver ${receiverToo ? 'had it already' : 'went on'}`)
    finished(ended, name)
  } else {
    const held = symbolsHeld(name)
    receiver = receive(cast, name)
    ended = await within(RECEIVE_MS, 'the second run of the receiver', receiver.ended)
    const summary = finished(ended, name)
    count(
      `cast: the receiver ${receiverToo ? 'was killed' : 'gave up'}, ${summary.resumedBytes > 0 ? 'resumed' : 'began anew'}`,
    )
    if (held > 0) expect(summary.resumedBytes).toBeGreaterThan(0)
    // Whole chunks that fail their hash are fetched again; beyond that nothing comes twice.
    expect(summary.resumedBytes + summary.multicastBytes + summary.rangeBytes).toBe(summary.sizeBytes)
  }
  await stopCast(cast)
  expect(await damageOf(appliance, join(work, 'scratch'))).toEqual([])
}

test('a transmission comes back after a clean stop too, in the middle of its work', async () => {
  await interruptedCast(0.4, false, async () => expect(await appliance.stop()).toBe(0))
})

const random = randomOf(SEED)
const KINDS = ['raw', 'cast', 'publish', 'esd', 'cast', 'remove', 'upload', 'publish'] as const
const moments = Array.from({ length: KILLS }, (_, i) => {
  const kind = KINDS[i % KINDS.length] ?? 'raw'
  const share = Number((random() * 1.1).toFixed(3))
  const byChange = kind === 'publish' || (kind === 'remove' && random() < 0.7)
  const atEnd = kind === 'publish' && random() < 0.4
  const moment = atEnd
    ? ('the end of the work folder' as const)
    : byChange
      ? { change: 1 + Math.floor(random() * (kind === 'publish' ? 6 : 2)) }
      : { share }
  const said =
    typeof moment === 'string'
      ? `at ${moment}`
      : 'change' in moment
        ? `at change ${moment.change} of the folder`
        : `at ${share} of its time`
  return { i, kind, moment, said, share, receiverToo: kind === 'cast' && random() < 0.4 }
})

test.each(moments)(
  'kill $i: $kind, $said',
  async ({ kind, moment, share, receiverToo }) => {
    if (kind === 'cast') await interruptedCast(share, receiverToo)
    else if (kind === 'remove') await interruptedRemove(moment)
    else await interruptedImport(kind === 'publish' ? 'raw' : kind, moment)
  },
  240_000,
)
