/** The sender's side over loopback: who may end whom, what is forgotten, which address is taken, and by which lane. */
import { ptr } from 'bun:ffi'
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { c } from '../../ffi/libc/symbols.ts'
import { closeSocket, interfaceIndexOf, openSender } from '../../ffi/libc/udp.ts'
import { systemClock } from '../../src/base/clock.ts'
import type { Content } from '../../src/base/content.ts'
import { silentLog } from '../../src/base/log.ts'
import { ok } from '../../src/base/result.ts'
import { FIRST_PORT, PORTS } from '../../src/cast/address.ts'
import type { TransmissionState } from '../../src/cast/control.ts'
import { geometryOf } from '../../src/cast/geometry.ts'
import { MappedSource } from '../../src/cast/source.ts'
import { type CastEvent, type Casts, openCasts } from '../../src/cast/transmissions.ts'
import { SEGMENTS_AGAIN_MS, Transmitter } from '../../src/cast/transmit.ts'

const SIZE = 100_000
const NEVER = new AbortController().signal
let dir: string
let path: string

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-sender-'))
  path = join(dir, 'content')
  writeFileSync(path, new Uint8Array(SIZE))
})
afterAll(() => rmSync(dir, { recursive: true }))

const content: Content = {
  sizeBytes: SIZE,
  etag: 'e',
  mediaType: 'application/octet-stream',
  fileName: 'f.wim',
  async open() {
    const fd = openSync(path, 'r')
    const pieces = [{ at: 0, length: SIZE, source: { fd, offset: 0 } }]
    return ok({ sizeBytes: SIZE, pieces, [Symbol.dispose]: () => closeSync(fd) })
  },
}

function open(onEvent: (event: CastEvent) => void = () => {}): Casts {
  return openCasts({ log: silentLog, clock: systemClock, onEvent })
}

const wanted = (castId: string) => ({ castId, label: castId, content, interfaceName: 'lo' })

test('two of one name at once: one is refused', async () => {
  await using casts = open()
  const both = await Promise.all([casts.create(wanted('a')), casts.create(wanted('a'))])
  expect(both.map((result) => (result.ok ? 'ok' : result.error.code))).toEqual(['ok', 'exists'])
})

test('only the client itself says how it ended; what has ended is told, then forgotten', async () => {
  const over = Promise.withResolvers<TransmissionState>()
  await using casts = open((event) => {
    if (event.kind === 'cast.status' && event.status.state === 'stopped') over.resolve(event.status.state)
  })
  await casts.create(wanted('a'))
  const joins = [await casts.join('a', { clientName: 'x' }, NEVER), await casts.join('a', { clientName: 'y' }, NEVER)]
  const [one, two] = joins.map((join) => (join.ok ? join.value : undefined))
  if (!one || !two) throw new Error('refused')
  const end = (clientId: number, proof: string) => {
    const told = casts.done('a', { clientId, proof, outcome: 'received' })
    return told.ok ? 'ok' : told.error.code
  }
  expect(end(one.clientId, two.reportKey)).toBe('not-allowed')
  expect(end(one.clientId, '')).toBe('not-allowed')
  expect(end(one.clientId, one.reportKey)).toBe('ok')
  casts.stop('a', { force: true })
  expect(await over.promise).toBe('stopped')
  const gone = casts.show('a')
  expect([gone.ok ? '' : gone.error.code, casts.list()]).toEqual(['not-found', []])
})

test('nobody else gets the reports: the address is held alone', () => {
  const request = { address: '127.0.0.1', port: 9650, interfaceIndex: 0, ttl: 1 }
  const first = openSender(request)
  try {
    expect(() => openSender(request)).toThrow('EADDRINUSE')
  } finally {
    closeSocket(first)
  }
})

/** Undefined when somebody else has it: other tests may run on this machine. */
function hold(port: number): { readonly port: number; readonly fd: number } | undefined {
  try {
    return { port, fd: openSender({ address: '127.0.0.1', port, interfaceIndex: 0, ttl: 1 }) }
  } catch {
    return undefined
  }
}

test('a port of the pool that another process holds is passed over', async () => {
  const ports = Array.from({ length: PORTS }, (_, index) => FIRST_PORT + index)
  const held = ports.flatMap((port) => hold(port) ?? [])
  const free = held.pop()
  if (!free) throw new Error('every port is taken')
  closeSocket(free.fd)
  try {
    await using casts = open()
    const made = await casts.create(wanted('a'))
    if (!made.ok) throw new Error(made.error.message)
    expect(held.map(({ port }) => port)).not.toContain(made.value.port)
  } finally {
    for (const { fd } of held) closeSocket(fd)
  }
})

test('closing gives the addresses back, so that the next start takes the same', async () => {
  const port = 9652
  const endpoint = { group: '239.192.9.9', port }
  {
    await using casts = open()
    await casts.create({ ...wanted('a'), endpoint })
    await casts.manifest('a', NEVER)
  }
  closeSocket(openSender({ address: '127.0.0.1', port, interfaceIndex: 0, ttl: 1 }))
})

test('one refused super-packet is one minute without them, not a life', () => {
  const file = openSync(path, 'r')
  const port = 9651
  const fd = openSender({ address: '127.0.0.1', port, interfaceIndex: interfaceIndexOf('lo') ?? 0, ttl: 1 })
  try {
    using source = new MappedSource([{ at: 0, length: SIZE, fd: file, offset: 0 }])
    const geometry = geometryOf(SIZE)
    const options = { fd, group: '239.192.1.1', port, geometry, tag: 1, source, pause: () => {} }
    const transmitter = new Transmitter({ ...options, segment: true })
    const symbols = Uint32Array.from({ length: 8 }, (_, index) => index)
    const laneAt = (nowMs: number) => {
      transmitter.send(symbols, symbols.length, nowMs)
      return transmitter.lane
    }
    // SO_NO_CHECK (11): without checksums the kernel cuts no super-packets (udp_send_skb: EIO or EINVAL).
    const noChecksums = (on: number) => Number(c.setsockopt(fd, 1, 11, ptr(new Int32Array([on])), 4))
    expect(laneAt(0)).toBe('gso')
    expect(noChecksums(1)).toBe(0)
    expect(laneAt(1000)).toBe('sendmmsg')
    expect(noChecksums(0)).toBe(0)
    expect(laneAt(999 + SEGMENTS_AGAIN_MS)).toBe('sendmmsg')
    expect(laneAt(1000 + SEGMENTS_AGAIN_MS)).toBe('gso')
    expect(new Transmitter({ ...options, segment: false }).lane).toBe('sendmmsg')
  } finally {
    closeSocket(fd)
    closeSync(file)
  }
})
