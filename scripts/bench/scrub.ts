/**
 * `wimcast library scrub` against stock `wimlib-imagex verify` of the same contents (the group's one image as a file of
 * its own), in alternating pairs on one disk, from a warm cache: both sides decompress and hash with all cores.
 * Usage: scripts/bench/scrub [--pairs N] [--wim FILE]    default: the sample of scripts/lib/sample
 * Measures dist/wimcast; WIMCAST names another executable (several words: `bun src/main.ts`).
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { median, run } from './measure.ts'

const { values } = parseArgs({ options: { pairs: { type: 'string', default: '5' }, wim: { type: 'string' } } })
const root = resolve(import.meta.dir, '../..')
const wimcast = process.env['WIMCAST']?.split(' ') ?? [join(root, 'dist/wimcast')]
const folder = join(root, '.cache', `bench-scrub-${process.pid}`)
const sample = join(root, '.cache/sample')
const socket = join(folder, 'api.sock')

mkdirSync(folder, { recursive: true })
let server: Bun.Subprocess<'ignore', 'pipe', 'inherit'> | undefined
try {
  if (values.wim === undefined) await run([join(root, 'scripts/lib/sample'), sample])
  const wim = resolve(values.wim ?? join(sample, 'pro.wim'))
  const cli = (...words: string[]) => run([...wimcast, '--socket', socket, ...words])
  server = Bun.spawn(
    [
      ...wimcast,
      'serve',
      ...['--data', join(folder, 'data'), '--socket', socket, '--log-level', 'warning'],
      ...['--http', 'off', '--https', 'off', '--tftp', 'off', '--import-roots', resolve(wim, '..')],
    ],
    { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' },
  )
  await server.stdout.getReader().read()
  await cli('group', 'new', 'bench')
  await cli('image', 'import', wim, '--group', 'bench', '--name', 'bench')
  const exported = join(folder, 'exported.wim')
  await cli('image', 'export', 'bench', '--to', exported)
  const result = JSON.parse((await cli('library', 'scrub', '--json')).stdout) as { bytes: number; damaged: number }
  if (result.damaged > 0) throw new Error('the library is damaged')
  await run(['wimlib-imagex', 'verify', exported])

  const times = { ours: [] as number[], peer: [] as number[] }
  for (let pair = 0; pair < Number(values.pairs); pair += 1) {
    times.peer.push((await run(['wimlib-imagex', 'verify', exported])).tookMs)
    times.ours.push((await cli('library', 'scrub')).tookMs)
  }
  const rate = (ms: number): string => (result.bytes / 1e3 / ms).toFixed(0)
  const ratio = median(times.peer) / median(times.ours)
  console.log(
    `scrub ${(result.bytes / 1e6).toFixed(0)} MB, with the start of the command line: ours ${rate(median(times.ours))} MB/s, wimlib-imagex verify ${rate(median(times.peer))} MB/s: ${ratio.toFixed(2)}x (goal >= 0.8)`,
  )
} finally {
  server?.kill('SIGTERM')
  await server?.exited
  rmSync(folder, { recursive: true, force: true })
}
