/**
 * Our cast against udp-sender/udp-receiver: three receivers, the same namespaces, alternating runs, every file compared.
 * `cast [--mib 512] [--runs 3] [--loss 0,1,5] [--only ours|udpcast]`. Sender, bridge and receivers share this machine's
 * cores, so the figures compare the programs with each other; they are not what a network card would do.
 *
 * Time: ours from the first receiver's first request to the last one's end (join, hashing and renaming included);
 * udpcast's from its "Starting transfer" to its sender's end (its start delay of 2 s left out). Neither counts
 * the start of the processes.
 * CPU: all threads of the process, from start to end; ours with the hashing of the manifest, which is shown apart too.
 */

import { readFile, rm } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { type Lab, openLab, until } from '../../test/e2e/cast/lab.ts'
import { median } from './measure.ts'

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '512' },
    runs: { type: 'string', default: '3' },
    loss: { type: 'string', default: '0,1,5' },
    only: { type: 'string' },
    rate: { type: 'string' },
    verbose: { type: 'boolean', default: false },
  },
})
const MIB = Number(values.mib)
const RECEIVERS = 3
/** A lost packet of its start makes udpcast hang now and then; such a run is repeated. */
const UDPCAST_LIMIT_MS = 30_000 + MIB * 40
const UDPCAST_TRIES = 4
const ROOT = new URL('../../', import.meta.url).pathname

type Run = {
  readonly seconds: number
  readonly senderCpu: number
  /** Ours only: without the hashing. */
  readonly senderCpuSending?: number
  readonly receiverCpu: number
  readonly same: boolean
}

async function sameFile(one: string, other: string): Promise<boolean> {
  return (await Bun.spawn(['cmp', '-s', one, other]).exited) === 0
}

function cpuOf(child: Bun.Subprocess): number {
  return Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6
}

async function cpuNow(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'latin1')).split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function timesOf(log: string): { readonly startedMs: number; readonly endedMs: number } {
  const line = log.split('\n').find((text) => text.startsWith('{'))
  if (line === undefined) throw new Error(log)
  return JSON.parse(line)
}

async function ours(lab: Lab, dir: string, source: string): Promise<Run> {
  const config = `${dir}/send.json`
  const rate = values.rate === undefined ? {} : { rateBitsPerSecond: Number(values.rate) }
  await Bun.write(
    config,
    JSON.stringify({ file: source, listen: lab.senderAddress, httpPort: 8080, interfaceName: 'eth0', ...rate }),
  )
  const sender = lab.start(lab.sender, ['bun', `${ROOT}test/e2e/cast/send.ts`, config], `${dir}/s.log`)
  await until('sender', 60_000, async () =>
    (await readFile(`${dir}/s.log`, 'utf8')).includes('ready') ? true : undefined,
  )
  const cpuBefore = await cpuNow(sender.pid)
  const receivers = lab.receivers.map((name, index) =>
    lab.start(
      name,
      ['bun', `${ROOT}test/e2e/cast/receive.ts`, `http://${lab.senderAddress}:8080`, `${dir}/o${index}`, 'eth0'],
      `${dir}/r${index}.log`,
    ),
  )
  await Promise.all(receivers.map((child) => child.exited))
  const times = await Promise.all(
    receivers.map(async (_, index) => timesOf(await readFile(`${dir}/r${index}.log`, 'utf8'))),
  )
  const seconds =
    (Math.max(...times.map((time) => time.endedMs)) - Math.min(...times.map((time) => time.startedMs))) / 1000
  const senderCpuSending = (await cpuNow(sender.pid)) - cpuBefore
  if (values.verbose) {
    for (const index of lab.receivers.keys()) process.stdout.write(await readFile(`${dir}/r${index}.log`, 'utf8'))
    process.stdout.write(
      `${await await lab.run(lab.sender, ['curl', '-s', `http://${lab.senderAddress}:8080/status`])}\n`,
    )
  }
  sender.kill('SIGTERM')
  await sender.exited
  return await judged(lab, dir, source, seconds, sender, receivers, senderCpuSending)
}

async function udpcast(lab: Lab, dir: string, source: string): Promise<Run> {
  const common = ['--interface', 'eth0', '--nokbd', '--no-progress']
  const receivers = lab.receivers.map((name, index) =>
    lab.start(
      name,
      [
        'udp-receiver',
        ...common,
        '--file',
        `${dir}/o${index}`,
        '--rcvbuf',
        '4M',
        '--start-timeout',
        '20',
        '--receive-timeout',
        '15',
      ],
      `${dir}/r${index}.log`,
    ),
  )
  await new Promise((resolve) => setTimeout(resolve, 500))
  const options = [
    '--min-receivers',
    `${RECEIVERS}`,
    '--mcast-data-address',
    '239.77.0.1',
    '--nopointopoint',
    '--rexmit-hello-interval',
    '500',
  ]
  const sender = lab.start(lab.sender, ['udp-sender', ...common, '--file', source, ...options], `${dir}/s.log`)
  await until('udp-sender', 45_000, async () =>
    (await readFile(`${dir}/s.log`, 'utf8')).includes('Starting transfer') ? true : undefined,
  )
  const started = performance.now()
  const inTime = await Promise.race([sender.exited.then(() => true), Bun.sleep(UDPCAST_LIMIT_MS).then(() => false)])
  const seconds = (performance.now() - started) / 1000
  if (!inTime) for (const child of [sender, ...receivers]) child.kill('SIGKILL')
  await Promise.all([sender, ...receivers].map((child) => child.exited))
  return await judged(lab, dir, source, seconds, sender, receivers)
}

async function judged(
  lab: Lab,
  dir: string,
  source: string,
  seconds: number,
  sender: Bun.Subprocess,
  receivers: readonly Bun.Subprocess[],
  senderCpuSending?: number,
): Promise<Run> {
  const checks = await Promise.all(lab.receivers.map((_, index) => sameFile(source, `${dir}/o${index}`)))
  for (const index of lab.receivers.keys()) await rm(`${dir}/o${index}`, { force: true })
  const perGib = 1024 / MIB
  return {
    seconds,
    senderCpu: cpuOf(sender) * perGib,
    ...(senderCpuSending === undefined ? {} : { senderCpuSending: senderCpuSending * perGib }),
    receiverCpu: (receivers.reduce((sum, child) => sum + cpuOf(child), 0) / receivers.length) * perGib,
    same: checks.every(Boolean),
  }
}

await using lab = await openLab(RECEIVERS)
const { dir } = lab
const source = `${dir}/image`
await Bun.spawn(['sh', '-c', `head -c ${MIB}M /dev/urandom > ${source}`]).exited
process.stdout.write(`${MIB} MiB, ${RECEIVERS} receivers, medians of ${values.runs}; CPU in s/GiB, all threads\n`)
process.stdout.write('loss   tool      MiB/s   all runs               sender (sending)   receiver   files\n')
for (const loss of values.loss.split(',').map(Number)) {
  await lab.lose(loss)
  const runs: Record<'ours' | 'udpcast', Run[]> = { ours: [], udpcast: [] }
  for (let round = 0; round < Number(values.runs); round += 1) {
    for (let tries = 1; values.only !== 'ours'; tries += 1) {
      const run = await udpcast(lab, dir, source)
      if (!run.same && tries < UDPCAST_TRIES) continue
      runs.udpcast.push(run)
      break
    }
    if (values.only !== 'udpcast') runs.ours.push(await ours(lab, dir, source))
  }
  for (const [tool, list] of Object.entries(runs)) {
    if (list.length === 0) continue
    const speeds = list.map((run) => MIB / run.seconds)
    const sending = tool === 'ours' ? ` (${median(list.map((run) => run.senderCpuSending ?? 0)).toFixed(1)})` : ''
    const columns = [
      `${loss} %`.padEnd(6),
      tool.padEnd(9),
      median(speeds).toFixed(0).padStart(5),
      `  ${speeds.map((speed) => speed.toFixed(0)).join(', ')}`.padEnd(24),
      `${median(list.map((run) => run.senderCpu)).toFixed(1)}${sending}`.padEnd(18),
      median(list.map((run) => run.receiverCpu))
        .toFixed(1)
        .padEnd(10),
      list.every((run) => run.same) ? 'identical' : 'DIFFER',
    ]
    process.stdout.write(`${columns.join(' ')}\n`)
  }
  if (values.only === undefined) {
    const speed = median(runs.udpcast.map((run) => run.seconds)) / median(runs.ours.map((run) => run.seconds))
    const cpu = median(runs.ours.map((run) => run.senderCpu)) / median(runs.udpcast.map((run) => run.senderCpu))
    process.stdout.write(
      `${''.padEnd(6)} ratio     ${speed.toFixed(2)}x (goal >= 1.5)   sender CPU ${cpu.toFixed(2)}x (goal <= 0.6)\n`,
    )
  }
}
