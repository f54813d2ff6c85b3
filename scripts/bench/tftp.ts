/**
 * How fast TFTP gives a file, beside atftpd in the same run: `atftp` fetches 64 MiB over loopback from each in turn,
 * blocks of 1468 bytes, windows of 1 to 64. Prints rate, server CPU and the ratio; the median of three.
 *
 *   scripts/bench/tftp        needs atftp and atftpd (ATFTPD names it when it is not on the PATH)
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { stderrLog } from '../../src/base/log.ts'
import { fileContent } from '../../src/content/file.ts'
import { openTftp } from '../../src/tftp/server.ts'

const SIZE_BYTES = 64 * 1024 * 1024
const ROUNDS = 3
const PORT = { wimcast: 16_901, atftpd: 16_902 }

type Measured = { readonly mibPerS: number; readonly cpuPerGib: number }

async function serve(root: string): Promise<void> {
  await openTftp({
    host: '127.0.0.1',
    port: PORT.wimcast,
    log: stderrLog({ level: 'warning', journal: false }),
    clock: systemClock,
    shelf: {
      async find(path) {
        const content = await fileContent(join(root, path))
        return content.ok ? content.value : undefined
      },
    },
  })
  console.log('ready')
}

/** User and system time of a process and its threads, in seconds (proc_pid_stat(5), fields 14 and 15). */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await Bun.file(`/proc/${pid}/stat`).text()
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function fetch(port: number, windowsize: number, pid: number): Promise<Measured> {
  const window = windowsize > 1 ? ['--option', `windowsize ${windowsize}`] : []
  const before = await cpuSeconds(pid)
  const startedMs = performance.now()
  const client = Bun.spawn(
    [
      'atftp',
      '--get',
      '--option',
      'blksize 1468',
      ...window,
      '-r',
      'file',
      '-l',
      '/dev/null',
      '127.0.0.1',
      String(port),
    ],
    { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' },
  )
  if ((await client.exited) !== 0) throw new Error(`atftp failed on port ${port}`)
  const seconds = (performance.now() - startedMs) / 1000
  const cpu = (await cpuSeconds(pid)) - before
  return { mibPerS: SIZE_BYTES / 2 ** 20 / seconds, cpuPerGib: (cpu * 2 ** 30) / SIZE_BYTES }
}

async function median(port: number, windowsize: number, pid: number): Promise<Measured> {
  const rounds: Measured[] = []
  for (let round = 0; round < ROUNDS; round += 1) rounds.push(await fetch(port, windowsize, pid))
  const middle = rounds.sort((a, b) => a.mibPerS - b.mibPerS)[Math.floor(ROUNDS / 2)]
  if (!middle) throw new Error('no round')
  return middle
}

async function main(): Promise<void> {
  const atftpd = Bun.env['ATFTPD'] ?? Bun.which('atftpd', { PATH: `${Bun.env['PATH']}:/usr/sbin` })
  const root = await mkdtemp('/dev/shm/wimcast-bench-')
  const ours = Bun.spawn([process.execPath, import.meta.path, 'serve', root], { stdout: 'pipe' })
  const theirs = atftpd
    ? Bun.spawn(
        [
          ...[atftpd, '--daemon', '--no-fork', '--no-multicast', '--bind-address', '127.0.0.1'],
          ...['--port', String(PORT.atftpd), '--user', 'root.root', '--logfile', '/dev/null', root],
        ],
        { stdout: 'ignore' },
      )
    : undefined
  try {
    const bytes = new Uint8Array(SIZE_BYTES)
    for (let at = 0; at < SIZE_BYTES; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536))
    await Bun.write(join(root, 'file'), bytes)
    await ours.stdout.getReader().read()
    console.log('windowsize  wimcast MiB/s  CPU s/GiB   atftpd MiB/s  CPU s/GiB   ratio')
    for (const windowsize of [1, 4, 16, 64]) {
      const mine = await median(PORT.wimcast, windowsize, ours.pid)
      const peer = theirs && (await median(PORT.atftpd, windowsize, theirs.pid))
      const cells = [mine.mibPerS.toFixed(0), mine.cpuPerGib.toFixed(1)]
      if (peer) cells.push(peer.mibPerS.toFixed(0), peer.cpuPerGib.toFixed(1), (mine.mibPerS / peer.mibPerS).toFixed(2))
      console.log(`${String(windowsize).padStart(10)} ${cells.map((cell) => cell.padStart(12)).join(' ')}`)
    }
    if (!theirs) console.log('atftpd is not installed: no comparison')
  } finally {
    ours.kill()
    theirs?.kill()
    await Promise.all([ours.exited, theirs?.exited])
    await rm(root, { recursive: true })
  }
}

if (process.argv[2] === 'serve') await serve(process.argv[3] ?? '.')
else await main()
