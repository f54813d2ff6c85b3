/**
 * A library on a bad disk: segments whose reads hang, fail, or end too early. The API answers all the while, only the
 * transfers that touch the bad place fail, and the appliance lives. The disk is test/fixtures/slow-disk.ts.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Appliance, startAppliance, until, within } from '../fixtures/appliance.ts'
import { type SlowDisk, slowDisk } from '../fixtures/slow-disk.ts'
import { capture, sampleBytes, sha256 } from '../fixtures/wims.ts'

/** How long a read hangs while the API is asked. */
const HANG_MS = 3000
const API_MS = 1000

let work: string
let appliance: Appliance
let disk: SlowDisk | undefined
/** The folder of the group, and the segment of each image in it. */
let dir: string
const segments = { Good: '', Bad: '' }
const sums = { Good: '', Bad: '' }
type Name = keyof typeof segments

async function start(): Promise<void> {
  appliance = await startAppliance({
    dataDir: join(work, 'data'),
    runDir: join(work, 'run'),
    options: ['--import-roots', join(work, 'root')],
  })
}

/** Starts anew on a disk that nobody has read from yet: nothing of it is in memory. */
async function onColdDisk(): Promise<SlowDisk> {
  await appliance.stop()
  const made = await slowDisk(dir)
  disk = made
  await start()
  return made
}

const download = (name: Name): Promise<Response> => appliance.fetch(`/images/G/${name}.wim`)
const sumOf = (bytes: ArrayBuffer): string => new Bun.CryptoHasher('sha256').update(bytes).digest('hex')

/** The download as a client sees it: its SHA-256, or how it failed. */
async function outcome(name: Name): Promise<string> {
  try {
    const response = await download(name)
    if (!response.ok) return ((await response.json()) as { code: string }).code
    return sumOf(await response.arrayBuffer())
  } catch {
    return 'broken off'
  }
}

let casts = 0
/** Each under a name of its own: those of an earlier test may still be open. */
function newCast(image: Name): readonly string[] {
  casts += 1
  return ['cast', 'new', '--image', image, '--interface', 'lo', '--name', `${image} ${casts}`]
}

/** What a transmission of the image ends with. */
async function castFailure(name: Name): Promise<string> {
  const { id } = await appliance.json<{ id: number }>(...newCast(name))
  return until(
    20_000,
    'the end of the transmission',
    async () => (await appliance.json<{ reason?: string }>('cast', 'show', String(id))).reason,
  )
}

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-cold-'))
  mkdirSync(join(work, 'root'))
  await start()
  await appliance.cli('group', 'new', 'G')
  dir = join(appliance.dataDir, 'groups/1')
  for (const [seed, name] of ['Good', 'Bad'].entries()) {
    const tree = join(work, name)
    mkdirSync(tree)
    for (let i = 0; i < 10; i += 1) writeFileSync(join(tree, `${i}.dat`), sampleBytes(800_000, seed * 100 + i))
    const wim = await capture(tree, join(work, 'root', `${name}.wim`), name, '--compress=LZX')
    const before = new Set(readdirSync(dir))
    await appliance.cli('image', 'import', wim)
    const exported = join(work, `${name}.exported`)
    await appliance.cli('image', 'export', name, '--to', exported)
    segments[name as Name] = readdirSync(dir).find((file) => !before.has(file) && file.endsWith('.wim')) ?? ''
    sums[name as Name] = sha256(exported)
  }
}, 120_000)

afterEach(async () => {
  await appliance.stop()
  await disk?.[Symbol.asyncDispose]()
  disk = undefined
  await start()
}, 60_000)

afterAll(async () => {
  await appliance?.[Symbol.asyncDispose]()
  await disk?.[Symbol.asyncDispose]()
  rmSync(work, { recursive: true, force: true })
})

/** A stretch in the middle of the contents of the bad segment. */
const middle = (): { name: string; from: number; to: number } => {
  const size = statSync(join(dir, segments.Bad)).size
  return { name: segments.Bad, from: Math.floor(size / 2), to: Math.floor(size / 2) + 65_536 }
}

test.each(['the tables', 'nothing'])(
  'the API answers while reads of downloads and of a cast hang; in memory: %s',
  async (warm) => {
    const slow = await onColdDisk()
    if (warm === 'the tables') await (await appliance.fetch('/images/G/Bad.wim', { method: 'HEAD' })).text()
    await slow.set({ hold: true })
    const downloads = [outcome('Good'), outcome('Bad'), outcome('Bad'), outcome('Good')]
    const cast = appliance.start(...newCast('Bad'))
    const endMs = performance.now() + HANG_MS
    let calls = 0
    while (performance.now() < endMs) {
      for (const path of ['/api/groups', '/api/images', '/api/jobs', '/api/casts']) {
        const response = await within(API_MS, `GET ${path}`, appliance.fetch(path))
        expect(response.status).toBe(200)
        await response.json()
        calls += 1
      }
    }
    expect(await Promise.race([...downloads, 'hanging'])).toBe('hanging')
    expect(calls).toBeGreaterThan(20)
    await slow.set({})
    expect(await Promise.all(downloads)).toEqual([sums.Good, sums.Bad, sums.Bad, sums.Good])
    expect((await cast.ended).code).toBe(0)
  },
  60_000,
)

test('bytes that cannot be read fail the transfers that touch them, and nothing else', async () => {
  const slow = await onColdDisk()
  await slow.set({ broken: middle() })
  const { pid } = appliance
  expect(await Promise.all([outcome('Good'), outcome('Bad'), outcome('Good'), outcome('Bad')])).toEqual([
    sums.Good,
    'broken off',
    sums.Good,
    'broken off',
  ])
  // Before the bad place all is well.
  const head = await appliance.fetch('/images/G/Bad.wim', { headers: { Range: 'bytes=0-65535' } })
  expect((await head.arrayBuffer()).byteLength).toBe(65_536)
  expect(appliance.log.join('\n')).toContain('is unreadable at byte')
  expect(await castFailure('Bad')).toContain('cannot be read')
  expect(appliance.log.find((line) => line.startsWith('cast.failed'))).toContain('code=unreadable')
  expect(await outcome('Good')).toBe(sums.Good)
  process.kill(pid, 0)
}, 60_000)

test('bytes that go bad under a running transmission end it, and nothing else', async () => {
  const slow = await onColdDisk()
  const { id } = await appliance.json<{ id: number }>(...newCast('Bad'), '--rate', '8M')
  await until(20_000, 'the hashes', async () => {
    const { status } = await appliance.json<{ status?: { state: string } }>('cast', 'show', String(id))
    return status?.state === 'waiting' ? true : undefined
  })
  // Its hashes are made; a restart drops what memory holds of the file, and the transmission comes back with them.
  await slow.set({ broken: middle() })
  await appliance.stop()
  await disk?.[Symbol.asyncDispose]()
  const again = await slowDisk(dir)
  disk = again
  await again.set({ broken: middle() })
  await start()
  const receiver = appliance.start(
    'receive',
    ...(await appliance.overHttps()),
    '--cast',
    String(id),
    '--out',
    join(work, 'received.wim'),
    '--interface',
    'lo',
    '--json',
  )
  const reason = await until(
    60_000,
    'the end of the transmission',
    async () => (await appliance.json<{ reason?: string }>('cast', 'show', String(id))).reason,
  )
  expect(reason).toContain('cannot be read')
  receiver.kill()
  await receiver.ended
  expect(await outcome('Good')).toBe(sums.Good)
}, 120_000)

test('a segment that ends too early fails what needs its tail, and nothing else', async () => {
  const slow = await onColdDisk()
  const { size } = statSync(join(dir, segments.Bad))
  // The tables of a segment are at its end; they are in memory when the file is cut.
  await (await appliance.fetch('/images/G/Bad.wim', { method: 'HEAD' })).text()
  await slow.set({ truncated: { name: segments.Bad, at: Math.floor(size / 2) } })
  expect(await Promise.all([outcome('Bad'), outcome('Good')])).toEqual(['broken off', sums.Good])
  expect(appliance.log.join('\n')).toContain('is truncated at byte')
  expect(await castFailure('Bad')).toContain('cannot be read')
  expect(await outcome('Good')).toBe(sums.Good)
}, 60_000)
