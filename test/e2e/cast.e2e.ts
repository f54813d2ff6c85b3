/**
 * A transmission on a network of namespaces: three receivers, loss, late join, kill and resume, foreign packets, deaf
 * receivers, a sender killed and brought back. Every file is compared. Needs root, iproute2, nftables.
 * `bun test ./test/e2e/cast.e2e.ts`
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import type { TransmissionStatus } from '../../src/cast/control.ts'
import type { ReceiveSummary } from '../../src/cast/receive.ts'
import type { ReceiverLimits } from '../../src/cast/receiver-messages.ts'
import { type Lab, openLab, until } from './cast/lab.ts'
import type { SendConfig } from './cast/send.ts'

setDefaultTimeout(120_000)

const HERE = new URL('./cast/', import.meta.url).pathname
const MIB = 48
const SIZE = MIB * 1024 * 1024 + 777
let lab: Lab
let dir: string
let source: string
let port = 8080

beforeAll(async () => {
  lab = await openLab(3)
  dir = lab.dir
  source = `${dir}/source`
  await Bun.spawn(['sh', '-c', `head -c ${SIZE} /dev/urandom > ${source}`]).exited
})
afterAll(async () => {
  await lab?.[Symbol.asyncDispose]()
})

type Sender = AsyncDisposable & {
  readonly url: string
  readonly child: Bun.Subprocess
  readonly status: () => Promise<TransmissionStatus>
  readonly ask: (path: string) => Promise<void>
}

async function startSender(config: Partial<SendConfig> = {}): Promise<Sender> {
  port += 1
  const path = `${dir}/send-${port}.json`
  const log = `${dir}/send-${port}.log`
  const full: SendConfig = { file: source, listen: lab.senderAddress, httpPort: port, interfaceName: 'eth0', ...config }
  await Bun.write(path, JSON.stringify(full))
  const child = lab.start(lab.sender, ['bun', `${HERE}send.ts`, path], log)
  await until('the sender', 20_000, async () => ((await readFile(log, 'utf8')).includes('ready') ? true : undefined))
  const url = `http://${lab.senderAddress}:${full.httpPort}`
  const get = (route: string) =>
    lab.run(lab.sender, ['bun', '-e', `console.log(await (await fetch('${url}${route}')).text())`])
  return {
    url,
    child,
    async status() {
      const answer = JSON.parse(await get('/status')) as { value: TransmissionStatus }
      return answer.value
    },
    async ask(route) {
      await get(route)
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await child.exited
    },
  }
}

type Receiver = {
  readonly child: Bun.Subprocess
  readonly out: string
  readonly log: string
  /** Waits for the end and compares the file. */
  readonly summary: () => Promise<ReceiveSummary>
  /** Waits until it says that it holds this share. */
  readonly at: (percent: number) => Promise<void>
}

let receivers = 0
function startReceiver(sender: Sender, index: number, to?: string, limits?: ReceiverLimits): Receiver {
  receivers += 1
  const out = to ?? `${dir}/out-${receivers}`
  const log = `${dir}/receive-${receivers}.log`
  const env = limits === undefined ? [] : ['env', `LIMITS=${JSON.stringify(limits)}`]
  const command = [...env, 'bun', `${HERE}receive.ts`, sender.url, out, 'eth0']
  const child = lab.start(lab.receivers[index] ?? '', command, log)
  return {
    child,
    out,
    log,
    async summary() {
      await child.exited
      const line = (await readFile(log, 'utf8')).split('\n').find((text) => text.startsWith('{'))
      if (line === undefined) throw new Error(await readFile(log, 'utf8'))
      const result = JSON.parse(line) as { ok: boolean; value: ReceiveSummary; error: unknown }
      if (!result.ok) throw new Error(line)
      expect(await Bun.spawn(['cmp', source, out]).exited).toBe(0)
      expect([existsSync(`${out}.part`), existsSync(`${out}.wimcast`)]).toEqual([false, false])
      await rm(out)
      return result.value
    },
    async at(percent) {
      await until(`${percent} %`, 30_000, async () =>
        (await readFile(log, 'utf8')).includes(`at ${percent}\n`) ? true : undefined,
      )
    },
  }
}

const three = [0, 1, 2]
/** 48 MiB in about a second and a half: long enough to be met in the middle. */
const SLOW = { rateBitsPerSecond: 250e6 }

test.each([
  [0, 1.001],
  [1, 1.06],
  [5, 1.2],
])('three receivers at %d %% loss get the same file, by multicast alone', async (loss, limit) => {
  await lab.lose(loss)
  await using sender = await startSender()
  const summaries = await Promise.all(three.map((index) => startReceiver(sender, index)).map((each) => each.summary()))
  for (const summary of summaries) {
    expect(summary).toMatchObject({
      sizeBytes: SIZE,
      multicastBytes: SIZE,
      rangeBytes: 0,
      badChunks: 0,
      refusedPackets: 0,
    })
    expect(summary.fallback).toBeUndefined()
  }
  const status = await until('idle', 5000, async () => {
    const now = await sender.status()
    return now.state === 'idle' ? now : undefined
  })
  expect(status.clients.map((client) => client.state)).toEqual(['done', 'done', 'done'])
  expect(status.heard).toEqual({ clients: 3, of: 3 })
  // Receivers that start a moment apart share all but that moment.
  expect(status.sentBytes).toBeLessThan(SIZE * 1.011 * (limit + 0.6))
  await lab.lose(0)
})

test('a view of uneven pieces, some in memory, with and without super-packets', async () => {
  for (const segment of [true, false]) {
    await using sender = await startSender({ pieceBytes: 3000, segment })
    const summary = await startReceiver(sender, 0).summary()
    expect(summary.multicastBytes).toBe(SIZE)
    expect((await sender.status()).lane).toBe(segment ? 'gso' : 'sendmmsg')
  }
})

test('who joins at half time gets it all, and no byte goes out more often than needed', async () => {
  await using sender = await startSender(SLOW)
  const first = startReceiver(sender, 0)
  await first.at(50)
  const second = startReceiver(sender, 1)
  const [one, two] = await Promise.all([first.summary(), second.summary()])
  expect([one.multicastBytes, two.multicastBytes]).toEqual([SIZE, SIZE])
  expect(one.duplicates).toBeLessThan(SIZE / 1456 / 50)
  // The first half twice, with the time that the second needs to start; never all of it twice.
  expect((await sender.status()).sentBytes).toBeLessThan(SIZE * 2 * 1.011)
})

test('a receiver that was killed goes on where it was', async () => {
  await lab.lose(1)
  await using sender = await startSender({ rateBitsPerSecond: 80e6 })
  const killed = startReceiver(sender, 0)
  const other = startReceiver(sender, 1)
  await killed.at(60)
  killed.child.kill('SIGKILL')
  await killed.child.exited
  expect(existsSync(killed.out)).toBe(false)
  const again = startReceiver(sender, 0, killed.out)
  const [resumed, undisturbed] = await Promise.all([again.summary(), other.summary()])
  expect(resumed.resumedBytes).toBeGreaterThan(SIZE * 0.3)
  expect(resumed.resumedBytes + resumed.multicastBytes).toBe(SIZE)
  expect(undisturbed.multicastBytes).toBe(SIZE)
  expect((await sender.status()).sentBytes).toBeLessThan(SIZE * 1.35)
  await lab.lose(0)
})

test('a sender that was killed and brought back is followed, and resends only what is missing', async () => {
  const session = `${dir}/session.json`
  const config = { ...SLOW, rateBitsPerSecond: 120e6, session, httpPort: 9099 }
  const before = await startSender(config)
  const receiver = startReceiver(before, 0)
  await receiver.at(40)
  before.child.kill('SIGKILL')
  await before.child.exited
  await using after = await startSender(config)
  const summary = await receiver.summary()
  expect(summary).toMatchObject({ multicastBytes: SIZE, rangeBytes: 0 })
  expect((await after.status()).sentBytes).toBeLessThan(SIZE * 0.75)
})

test('a sender that is away for longer than its silence is borne is joined again', async () => {
  const session = `${dir}/session-away.json`
  const config = { ...SLOW, rateBitsPerSecond: 120e6, session, httpPort: 9098 }
  const before = await startSender(config)
  const receiver = startReceiver(before, 0, undefined, { probeMs: 3000, rejoinMs: 500, silenceMs: 1500 })
  await receiver.at(40)
  before.child.kill('SIGKILL')
  await before.child.exited
  await until('a join in vain', 10_000, async () =>
    (await readFile(receiver.log, 'utf8')).split('join\n').length > 2 ? true : undefined,
  )
  await using after = await startSender(config)
  const summary = await receiver.summary()
  expect(summary).toMatchObject({ multicastBytes: SIZE, rangeBytes: 0 })
  expect(summary.fallback).toBeUndefined()
  expect((await after.status()).sentBytes).toBeLessThan(SIZE * 0.75)
})

test('a disk that fills is told by name, to us and to the sender', async () => {
  await using sender = await startSender(SLOW)
  const disk = `${dir}/disk`
  await mkdir(disk)
  expect(await Bun.spawn(['mount', '-t', 'tmpfs', '-o', `size=${MIB + 4}M`, 'tmpfs', disk]).exited).toBe(0)
  try {
    const receiver = startReceiver(sender, 0, `${disk}/out`)
    await receiver.at(10)
    await Bun.spawn(['sh', '-c', `cat /dev/zero > ${disk}/rest 2>/dev/null`]).exited
    await receiver.child.exited
    expect(await readFile(receiver.log, 'utf8')).toContain('"code":"no-space"')
    expect((await sender.status()).clients.map((client) => client.state)).toEqual(['left'])
  } finally {
    await Bun.spawn(['umount', disk]).exited
  }
})

test('foreign, forged and damaged packets are counted and never written', async () => {
  await using sender = await startSender(SLOW)
  const { group, port: groupPort } = await sender.status()
  const victim = startReceiver(sender, 0)
  await victim.at(10)
  const attack = `
    const socket = await Bun.udpSocket({})
    socket.setMulticastInterface('10.77.0.12')
    const packets = [new Uint8Array(0), new Uint8Array(9), new Uint8Array(1472).fill(0x4d), new Uint8Array(60_000)]
    for (const type of [0x10, 0x12, 0x15, 0x20]) {
      const packet = new Uint8Array(type === 0x10 ? 1472 : 56)
      packet.set([0x4d, type, 0x05, 0xb0])
      packets.push(packet)
    }
    for (let round = 0; round < 200; round += 1) for (const packet of packets) socket.send(packet, ${groupPort}, '${group}')
    socket.close()`
  await lab.run(lab.receivers[1] ?? '', ['bun', '-e', attack])
  const summary = await victim.summary()
  expect(summary.refusedPackets).toBeGreaterThan(500)
  expect(summary).toMatchObject({ multicastBytes: SIZE, badChunks: 0 })
})

test('a packet of the right form with wrong bytes costs one chunk; a second one costs the group', async () => {
  await using sender = await startSender({ rateBitsPerSecond: 100e6 })
  const { group, port: groupPort, root } = await sender.status()
  const victim = startReceiver(sender, 0)
  await victim.at(10)
  // The last symbols of two chunks far ahead of the sender: the tag is no secret to who has the manifest.
  const attack = `
    const { streamTag } = await import('${new URL('../../src/cast/manifest.ts', import.meta.url).pathname}')
    const socket = await Bun.udpSocket({})
    socket.setMulticastInterface('10.77.0.12')
    for (const block of [200, 230]) {
      const packet = new Uint8Array(1472)
      const view = new DataView(packet.buffer)
      packet.set([0x4d, 0x10, 0x05, 0xb0])
      view.setUint32(4, streamTag(Buffer.from('${root}', 'hex')))
      view.setUint32(8, block)
      socket.send(packet, ${groupPort}, '${group}')
    }
    socket.close()`
  await lab.run(lab.receivers[1] ?? '', ['bun', '-e', attack])
  const summary = await victim.summary()
  expect(summary.badChunks).toBe(2)
  expect(summary.fallback).toBe('corrupt')
  expect(summary.rangeBytes).toBeGreaterThan(2 * 1024 * 1024)
})

test('who hears nothing fetches over HTTPS, and the sender sends nothing for it', async () => {
  await using sender = await startSender()
  const deaf = lab.receivers[2] ?? ''
  const rule = 'table inet deaf {\n chain in {\n type filter hook input priority 0\n ip daddr 224.0.0.0/4 drop\n }\n}\n'
  await lab.run(deaf, ['nft', '-f', '-'], rule)
  const summary = await startReceiver(sender, 2).summary()
  await lab.run(deaf, ['nft', 'delete', 'table', 'inet', 'deaf'])
  expect(summary).toMatchObject({ fallback: 'no-multicast', multicastBytes: 0, rangeBytes: SIZE })
  const status = await sender.status()
  expect(status.sentBytes).toBe(0)
  expect(status.heard).toEqual({ clients: 0, of: 1 })
  expect(status.clients.map((client) => client.state)).toEqual(['left'])
})

test('whose reports do not reach the sender gets it over HTTPS, within limits', async () => {
  await using sender = await startSender()
  const mute = lab.receivers[2] ?? ''
  const rule = 'table inet mute {\n chain out {\n type filter hook output priority 0\n meta l4proto udp drop\n }\n}\n'
  await lab.run(mute, ['nft', '-f', '-'], rule)
  const summary = await startReceiver(sender, 2).summary()
  await lab.run(mute, ['nft', 'delete', 'table', 'inet', 'mute'])
  expect(summary).toMatchObject({ fallback: 'silent', multicastBytes: 0, rangeBytes: SIZE })
  expect((await sender.status()).sentBytes).toBe(0)
})

test('without a route for the group, HTTPS at once', async () => {
  await using sender = await startSender()
  const away = lab.receivers[2] ?? ''
  await lab.run(away, ['ip', 'route', 'del', '224.0.0.0/4'])
  const out = `${dir}/away`
  const child = lab.start(away, ['bun', `${HERE}receive.ts`, sender.url, out], `${out}.log`)
  await child.exited
  await lab.run(away, ['ip', 'route', 'add', '224.0.0.0/4', 'dev', 'eth0'])
  expect(await readFile(`${out}.log`, 'utf8')).toContain('"fallback":"no-multicast"')
  expect(await Bun.spawn(['cmp', source, out]).exited).toBe(0)
})

test('a sender without receivers costs next to nothing; stopped, it refuses who comes', async () => {
  await using sender = await startSender()
  const cpu = async () => {
    const fields = (await readFile(`/proc/${sender.child.pid}/stat`, 'latin1')).split(') ')[1]?.split(' ') ?? []
    return Number(fields[11]) + Number(fields[12])
  }
  const capture = `
    const { openGroup, inbox, receiveDatagram } = await import('${new URL('../../ffi/libc/udp.ts', import.meta.url).pathname}')
    const fd = openGroup({ group: process.argv[1], port: Number(process.argv[2]), interfaceIndex: 0, receiveBufferBytes: 65536 })
    await new Promise((resolve) => setTimeout(resolve, 3000))
    let count = 0
    const box = inbox(2048)
    while (receiveDatagram(fd, box)) count += 1
    console.log(count)`
  const { group, port: groupPort, state } = await sender.status()
  expect(state).toBe('waiting')
  const before = await cpu()
  const beacons = Number(await lab.run(lab.receivers[0] ?? '', ['bun', '-e', capture, group, `${groupPort}`]))
  expect(beacons).toBeGreaterThanOrEqual(2)
  expect(beacons).toBeLessThanOrEqual(5)
  expect((await cpu()) - before).toBeLessThan(30)
  await sender.ask('/stop')
  await until('stopped', 5000, async () => ((await sender.status()).state === 'stopped' ? true : undefined))
  const late = startReceiver(sender, 0)
  await late.child.exited
  expect(await readFile(late.log, 'utf8')).toContain('not-found')
})

test('stop lets the present finish; a cut sends them to HTTPS', async () => {
  {
    await using sender = await startSender(SLOW)
    const present = startReceiver(sender, 0)
    await present.at(20)
    await sender.ask('/stop')
    expect((await present.summary()).multicastBytes).toBe(SIZE)
    await until('stopped', 5000, async () => ((await sender.status()).state === 'stopped' ? true : undefined))
  }
  await using sender = await startSender(SLOW)
  const present = startReceiver(sender, 0)
  await present.at(20)
  await sender.ask('/cut')
  const summary = await present.summary()
  expect(summary.fallback).toBe('cast-over')
  expect(summary.multicastBytes).toBeLessThan(SIZE)
})

test('a content that becomes unreadable fails the transmission by name, and the process lives', async () => {
  const copy = `${dir}/fading`
  await Bun.write(copy, Bun.file(source))
  await using sender = await startSender({ ...SLOW, rateBitsPerSecond: 100e6, file: copy })
  const receiver = startReceiver(sender, 0)
  await receiver.at(10)
  await Bun.spawn(['truncate', '-s', '1M', copy]).exited
  const status = await until('failed', 10_000, async () => {
    const now = await sender.status()
    return now.state === 'failed' ? now : undefined
  })
  expect(status.failure?.code).toBe('unreadable')
  // It was told goodbye: it asks for ranges at once, and does not wait for a sender that will not come back.
  const saidMs = performance.now()
  await until('the goodbye', 10_000, async () =>
    (await readFile(receiver.log, 'utf8')).includes('"ok":false') ? true : undefined,
  )
  expect(performance.now() - saidMs).toBeLessThan(5000)
})
