/**
 * The library against stock wimlib-imagex, in alternating pairs on one disk; both sides are synced.
 *   import, verified      against `wimlib-imagex verify` + `export` + sync
 *   import --skip-verify  against `wimlib-imagex export` + sync
 *   a second edition      bytes in the segments against the union of the distinct contents
 *   a copy in its group   time, and bytes of data (0)
 * Usage: scripts/bench/library [--pairs N] [--wim FILE] [--second FILE]    default: the sample of scripts/lib/sample
 * Measures dist/wimcast; WIMCAST names another executable.
 */
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { median, run } from './measure.ts'

const { values } = parseArgs({
  options: { pairs: { type: 'string', default: '5' }, wim: { type: 'string' }, second: { type: 'string' } },
})
const root = resolve(import.meta.dir, '../..')
const wimcast = resolve(process.env['WIMCAST'] ?? join(root, 'dist/wimcast'))
const folder = join(root, '.cache', `bench-library-${process.pid}`)
const sample = join(root, '.cache/sample')

const seconds = (ms: number): string => (ms / 1000).toFixed(2)

/** Distinct contents of both files, compressed as they lie, by stock wimlib-imagex: blob entries by SHA-1. */
async function distinctBytes(files: readonly string[]): Promise<number> {
  const sizes = new Map<string, number>()
  for (const file of files) {
    const { stdout } = await run(['wimlib-imagex', 'info', file, '--blobs'])
    for (const entry of stdout.split('\n\n')) {
      const hash = /^Hash\s*=\s*0x([0-9a-f]{40})/m.exec(entry)?.[1]
      const size = /^Compressed size\s*=\s*(\d+)/m.exec(entry)?.[1]
      // The first counts: that is the one the group keeps.
      if (hash && size && !sizes.has(hash) && !entry.includes('WIM_RESHDR_FLAG_METADATA')) sizes.set(hash, Number(size))
    }
  }
  return [...sizes.values()].reduce((sum, size) => sum + size, 0)
}

mkdirSync(folder, { recursive: true })
const data = join(folder, 'data')
const socket = join(folder, 'api.sock')
let server: Bun.Subprocess<'ignore', 'pipe', 'inherit'> | undefined
try {
  if (values.wim === undefined) await run([join(root, 'scripts/lib/sample'), sample])
  const wim = resolve(values.wim ?? join(sample, 'pro.wim'))
  let second = values.second
  if (second === undefined) {
    second = join(folder, 'education.wim')
    await run([
      'wimlib-imagex',
      'export',
      join(sample, 'education.esd'),
      '1',
      second,
      '--compress=LZX',
      '--chunk-size=32K',
    ])
  }
  const cli = (...words: string[]) => run([wimcast, '--socket', socket, ...words])
  server = Bun.spawn(
    [
      wimcast,
      'serve',
      '--data',
      data,
      '--socket',
      socket,
      '--http',
      'off',
      '--https',
      'off',
      '--tftp',
      'off',
      '--log-level',
      'warning',
      '--import-roots',
      [resolve(wim, '..'), resolve(second, '..')].join(','),
    ],
    { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' },
  )
  const reader = server.stdout.getReader()
  await reader.read()

  const exported = join(folder, 'peer.wim')
  const peer = async (verify: boolean): Promise<number> => {
    rmSync(exported, { force: true })
    const verified = verify ? (await run(['wimlib-imagex', 'verify', wim])).tookMs : 0
    const copied = await run(['wimlib-imagex', 'export', wim, '1', exported])
    return verified + copied.tookMs + (await run(['sync', exported])).tookMs
  }
  const ours = async (verify: boolean): Promise<number> => {
    await cli('group', 'new', 'bench')
    const { tookMs } = await cli(
      'image',
      'import',
      wim,
      '--group',
      'bench',
      '--name',
      'bench',
      ...(verify ? [] : ['--skip-verify']),
    )
    await cli('group', 'remove', 'bench', '--with-images')
    await cli('trash', 'empty')
    return tookMs
  }
  await run(['cat', wim])
  console.log(`source ${wim}: ${(statSync(wim).size / 1e6).toFixed(0)} MB`)
  for (const verify of [true, false]) {
    const times = { ours: [] as number[], peer: [] as number[] }
    for (let pair = 0; pair < Number(values.pairs); pair += 1) {
      times.peer.push(await peer(verify))
      times.ours.push(await ours(verify))
    }
    const ratio = median(times.ours) / median(times.peer)
    console.log(
      `import${verify ? ', verified      ' : ' --skip-verify  '} ours ${seconds(median(times.ours))} s, wimlib-imagex ${verify ? 'verify + export' : 'export'} ${seconds(median(times.peer))} s: ${ratio.toFixed(2)}x the time (goal <= ${verify ? 1.2 : 0.9})`,
    )
  }

  await cli('group', 'new', 'editions')
  await cli('image', 'import', wim, '--group', 'editions', '--name', 'first')
  await cli('image', 'import', second, '--group', 'editions', '--name', 'second', '--file-name', 'second')
  const union = await distinctBytes([wim, second])
  const group = JSON.parse((await cli('group', 'show', 'editions', '--json')).stdout) as {
    storedBytes: number
    apparentBytes: number
  }
  console.log(
    `two editions: ${group.apparentBytes} bytes as files, ${group.storedBytes} stored, union of contents ${union}: ${((group.storedBytes / union - 1) * 100).toFixed(2)} % more (goal <= 2 %)`,
  )
  const before = folderBytes(join(data, 'groups'))
  const copies: number[] = []
  for (let i = 0; i < 5; i += 1)
    copies.push(
      (
        await cli(
          'image',
          'copy',
          'first',
          '--group',
          'editions',
          '--new-name',
          `copy ${i}`,
          '--new-file-name',
          `copy-${i}`,
        )
      ).tookMs,
    )
  console.log(
    `copy in its group: ${median(copies).toFixed(0)} ms with the start of the command line, ${folderBytes(join(data, 'groups')) - before} bytes of data (goal < 100 ms, 0 bytes)`,
  )
} finally {
  server?.kill('SIGTERM')
  await server?.exited
  rmSync(folder, { recursive: true, force: true })
}

function folderBytes(dir: string): number {
  let bytes = 0
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name)).size
  return bytes
}
