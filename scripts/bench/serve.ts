/**
 * What the running appliance costs: time from exec to the ready line, and anonymous memory (RssAnon: mapped files
 * aside) at rest and at most while 2 GiB go out by each transport, and to 20 slow readers at once.
 * Usage: scripts/bench/serve [--wim FILE] [--starts N]     default: the sample of scripts/lib/sample
 * Measures dist/wimcast; WIMCAST names another executable. Start times are compared with `bun --version`.
 */
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { median, run } from './measure.ts'

const { values } = parseArgs({ options: { wim: { type: 'string' }, starts: { type: 'string', default: '11' } } })
const root = resolve(import.meta.dir, '../..')
const wimcast = resolve(process.env['WIMCAST'] ?? join(root, 'dist/wimcast'))
const folder = join(root, '.cache', `bench-serve-${process.pid}`)
const socket = join(folder, 'api.sock')
const TOTAL = 2 * 1024 ** 3

async function start(data: string, roots: string): Promise<{ server: Bun.Subprocess; line: string; tookMs: number }> {
  const started = performance.now()
  const server = Bun.spawn(
    [
      wimcast,
      'serve',
      '--data',
      data,
      '--socket',
      socket,
      '--http',
      '127.0.0.1:0',
      '--https',
      '127.0.0.1:0',
      '--tftp',
      '127.0.0.1:0',
      '--log-level',
      'error',
      '--import-roots',
      roots,
    ],
    { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' },
  )
  const { value } = await server.stdout.getReader().read()
  return { server, line: new TextDecoder().decode(value), tookMs: performance.now() - started }
}

function rssAnonMiB(pid: number): number {
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
}

async function watch(pid: number, what: string, work: () => Promise<unknown>): Promise<void> {
  const before = rssAnonMiB(pid)
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, rssAnonMiB(pid))
  }, 20)
  const started = performance.now()
  await work()
  clearInterval(timer)
  console.log(
    `${what.padEnd(34)} RssAnon ${before.toFixed(0)} -> at most ${most.toFixed(0)} MiB (+${(most - before).toFixed(0)}, goal <= +60), ${((performance.now() - started) / 1000).toFixed(1)} s`,
  )
}

mkdirSync(folder, { recursive: true })
let running: Bun.Subprocess | undefined
try {
  const sample = join(root, '.cache/sample')
  if (values.wim === undefined) await run([join(root, 'scripts/lib/sample'), sample])
  const wim = resolve(values.wim ?? join(sample, 'pro.wim'))
  const data = join(folder, 'data')

  const times: number[] = []
  const bare: number[] = []
  for (let i = 0; i < Number(values.starts); i += 1) {
    const began = performance.now()
    await run(['bun', '--version'])
    bare.push(performance.now() - began)
    const { server, tookMs } = await start(data, resolve(wim, '..'))
    times.push(tookMs)
    server.kill('SIGTERM')
    await server.exited
  }
  console.log(
    `start to ready: median ${median(times).toFixed(0)} ms, most ${Math.max(...times).toFixed(0)} (goal < 300); bun --version ${median(bare).toFixed(0)} ms`,
  )

  const { server, line } = await start(data, resolve(wim, '..'))
  running = server
  const door = (name: string): string => new RegExp(`${name}=(\\S+)`).exec(line)?.[1] ?? ''
  const cli = async (...words: string[]) => (await run([wimcast, '--socket', socket, ...words])).stdout
  await cli('group', 'new', 'bench')
  await cli('image', 'import', wim, '--group', 'bench', '--name', 'bench', '--file-name', 'bench.wim', '--skip-verify')
  await cli('image', 'set', 'bench', '--public', 'on')
  const token = (await cli('token', 'new', '--name', 'bench', '--role', 'operator')).trim()
  await Bun.write(join(folder, 'token'), token)
  console.log(`at rest: RssAnon ${rssAnonMiB(server.pid).toFixed(0)} MiB (goal <= 120)`)
  const size = statSync(wim).size
  const times2GiB = Math.ceil(TOTAL / size)
  const path = 'images/bench/bench.wim'
  const curl = (...more: string[]) => run(['curl', '-sfk', '-o', '/dev/null', ...more])
  const repeat = async (work: () => Promise<unknown>) => {
    for (let i = 0; i < times2GiB; i += 1) await work()
  }
  await watch(server.pid, 'plain HTTP, 2 GiB', () => repeat(() => curl(`${door('http')}/${path}`)))
  await watch(server.pid, 'HTTPS, 2 GiB', () =>
    repeat(() => curl('-H', `Authorization: Bearer ${token}`, `${door('https')}/${path}`)),
  )
  await watch(server.pid, 'TFTP, 2 GiB', () => repeat(() => curl('--tftp-blksize', '1468', `${door('tftp')}/${path}`)))
  const slow = (url: string, ...more: string[]) =>
    curl('--limit-rate', '200k', '--max-time', '8', ...more, url).catch(() => {})
  await watch(server.pid, '20 slow readers, plain HTTP', () =>
    Promise.all(Array.from({ length: 20 }, () => slow(`${door('http')}/${path}`))),
  )
  await watch(server.pid, '20 slow readers, HTTPS', () =>
    Promise.all(
      Array.from({ length: 20 }, () => slow(`${door('https')}/${path}`, '-H', `Authorization: Bearer ${token}`)),
    ),
  )
  const cast = JSON.parse(await cli('cast', 'new', '--image', 'bench', '--interface', 'lo', '--json')) as { id: number }
  const receive = () =>
    run([
      wimcast,
      'receive',
      '--server',
      door('https'),
      '--fingerprint',
      door('fingerprint'),
      '--token-file',
      join(folder, 'token'),
      '--cast',
      String(cast.id),
      '--out',
      join(folder, 'out.wim'),
      '--interface',
      'lo',
    ])
  await watch(server.pid, 'cast, 2 GiB', () =>
    repeat(async () => {
      await receive()
      rmSync(join(folder, 'out.wim'))
    }),
  )
} finally {
  running?.kill('SIGTERM')
  await running?.exited
  rmSync(folder, { recursive: true, force: true })
}
