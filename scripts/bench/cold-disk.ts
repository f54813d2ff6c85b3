/**
 * The API while a slow disk is read: `GET /api/groups` over the unix socket is timed, at rest and with downloads over
 * HTTPS and plain HTTP from segments on a disk that takes 20 ms for each read (test/fixtures/slow-disk.ts, cold). To
 * reach: p99 below 50 ms.
 *
 * The disk is FUSE, because a delayed block device wants a device mapper; a read is at most 128 KiB here, so the
 * downloads are slower than those of a real disk of that latency, and more reads wait.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Appliance, startAppliance } from '../../test/fixtures/appliance.ts'
import { slowDisk } from '../../test/fixtures/slow-disk.ts'
import { capture, sampleBytes } from '../../test/fixtures/wims.ts'

const DELAY_MS = 20
const DOWNLOADS = 4
const MEASURE_MS = 8000
/** Between two calls, so that the calls themselves are no load. */
const GAP_MS = 5

type Times = {
  readonly readMiBPerSecond: number
  readonly calls: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

/** What the process has read so far, from files and all else: proc_pid_io(5). */
function readBytes(pid: number): number {
  return Number(/rchar: (\d+)/.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[1])
}

async function measure(appliance: Appliance): Promise<Times> {
  const times: number[] = []
  const endMs = performance.now() + MEASURE_MS
  const before = readBytes(appliance.pid)
  while (performance.now() < endMs) {
    const startedMs = performance.now()
    await (await appliance.fetch('/api/groups')).json()
    times.push(performance.now() - startedMs)
    await Bun.sleep(GAP_MS)
  }
  const readMiBPerSecond = (readBytes(appliance.pid) - before) / 2 ** 20 / (MEASURE_MS / 1000)
  times.sort((a, b) => a - b)
  const at = (share: number): number => times[Math.floor((times.length - 1) * share)] ?? Number.NaN
  return { readMiBPerSecond, calls: times.length, p50: at(0.5), p99: at(0.99), max: at(1) }
}

/** Downloads by curl, over and over, until killed; each has a connection of its own. */
function load(urls: readonly string[], headers: readonly string[]): Disposable {
  const children = urls.map((url) => {
    const each = Array.from({ length: 100 }, () => ['-o', '/dev/null', url]).flat()
    return Bun.spawn(['curl', '-sk', ...headers, ...each], {
      stdio: ['ignore', 'ignore', 'ignore'],
    })
  })
  return {
    [Symbol.dispose]: () => {
      for (const child of children) child.kill('SIGKILL')
    },
  }
}

function row(what: string, { readMiBPerSecond, calls, p50, p99, max }: Times): void {
  const ms = (value: number): string => value.toFixed(1).padStart(8)
  console.log(
    `${what.padEnd(40)} ${String(calls).padStart(6)} ${ms(p50)} ${ms(p99)} ${ms(max)} ${ms(readMiBPerSecond)}`,
  )
}

const work = mkdtempSync(join(tmpdir(), 'wimcast-cold-bench-'))
const start = (): Promise<Appliance> =>
  startAppliance({
    dataDir: join(work, 'data'),
    runDir: join(work, 'run'),
    http: '127.0.0.1:0',
    options: ['--import-roots', work],
  })
try {
  mkdirSync(join(work, 'tree'))
  for (let i = 0; i < 40; i += 1) writeFileSync(join(work, 'tree', `${i}.dat`), sampleBytes(1_000_000, i))
  const wim = await capture(join(work, 'tree'), join(work, 'cold.wim'), 'Cold', '--compress=LZX')
  let token: string
  {
    await using appliance = await start()
    await appliance.cli('group', 'new', 'G')
    await appliance.cli('image', 'import', wim)
    await appliance.cli('image', 'set', 'Cold', '--public', 'on')
    await appliance.overHttps()
    token = (await Bun.file(join(work, 'run/token')).text()).trim()
    await appliance.stop()
  }
  console.log(`GET /api/groups, ms${' '.repeat(22)} calls      p50      p99      max    MiB/s`)
  await using disk = await slowDisk(join(work, 'data/groups/1'))
  await using appliance = await start()
  row('at rest', await measure(appliance))
  await disk.set({ delayMs: DELAY_MS, uncached: true })
  for (const [what, door, headers] of [
    ['HTTPS', appliance.https, ['-H', `Authorization: Bearer ${token}`]],
    ['plain HTTP', appliance.http, []],
  ] as const) {
    using _downloads = load(Array<string>(DOWNLOADS).fill(`${door}/images/G/cold.wim`), headers)
    const times = await measure(appliance)
    row(`${DOWNLOADS} downloads over ${what}, ${DELAY_MS} ms a read`, times)
    if (times.p99 >= 50) process.exitCode = 1
  }
} finally {
  rmSync(work, { recursive: true, force: true })
}
