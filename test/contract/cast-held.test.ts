/** A transmission that is held, over loopback with real receivers: they wait, are counted, come back, and then it begins. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { Content } from '../../src/base/content.ts'
import { silentLog } from '../../src/base/log.ts'
import { ok } from '../../src/base/result.ts'
import type { CastControl, SessionRecord, TransmissionStatus } from '../../src/cast/control.ts'
import { type ReceiveSummary, receive } from '../../src/cast/receive.ts'
import type { Waiting } from '../../src/cast/receiver-messages.ts'
import { type CastEvent, type Casts, type NewCast, openCasts } from '../../src/cast/transmissions.ts'
import { must } from '../fixtures/library.ts'

setDefaultTimeout(20_000)

const SIZE = 300_000
let dir: string
let bytes: Uint8Array

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-held-'))
  bytes = crypto.getRandomValues(new Uint8Array(SIZE).fill(0).subarray(0, 65_536))
  bytes = new Uint8Array(SIZE).map((_, index) => bytes[index % 65_536] ?? 0)
  writeFileSync(join(dir, 'content'), bytes)
})
afterAll(() => rmSync(dir, { recursive: true }))

const content: Content = {
  sizeBytes: SIZE,
  etag: 'e',
  mediaType: 'application/octet-stream',
  fileName: 'f.wim',
  async open() {
    const fd = openSync(join(dir, 'content'), 'r')
    const pieces = [{ at: 0, length: SIZE, source: { fd, offset: 0 } }]
    return ok({ sizeBytes: SIZE, pieces, [Symbol.dispose]: () => closeSync(fd) })
  },
}

/** Tells everybody who waits for something that something has happened. */
function signals() {
  let happened = Promise.withResolvers<void>()
  return {
    tell: () => {
      happened.resolve()
      happened = Promise.withResolvers()
    },
    until: async (look: () => boolean) => {
      while (!look()) await happened.promise
    },
  }
}

type Side = AsyncDisposable & {
  readonly casts: Casts
  readonly until: (look: (status: TransmissionStatus) => boolean) => Promise<void>
  readonly statuses: TransmissionStatus[]
  record: SessionRecord | undefined
}

async function send(more: Partial<NewCast>): Promise<Side> {
  const { tell, until } = signals()
  const statuses: TransmissionStatus[] = []
  const side: { record: SessionRecord | undefined } = { record: undefined }
  const casts = openCasts({
    log: silentLog,
    clock: systemClock,
    onEvent: (event: CastEvent) => {
      if (event.kind === 'cast.session') side.record = event.record
      else statuses.push(event.status)
      tell()
    },
  })
  must(await casts.create({ castId: 'a', label: 'a', content, interfaceName: 'lo', ...more }))
  return {
    casts,
    statuses,
    until: (look) =>
      until(() => {
        const last = statuses.at(-1)
        return last !== undefined && look(last)
      }),
    get record() {
      return side.record
    },
    [Symbol.asyncDispose]: () => casts[Symbol.asyncDispose](),
  }
}

const ready = (count: number) => (status: TransmissionStatus) =>
  status.clients.filter(({ state }) => state === 'receiving').length === count

let receivers = 0
function startReceiver(casts: () => Casts) {
  receivers += 1
  const out = join(dir, `out-${receivers}`)
  const { tell, until } = signals()
  const seen: (Waiting | undefined)[] = []
  const stop = new AbortController()
  const control: CastControl = {
    manifest: (signal) => casts().manifest('a', signal),
    join: (request, signal) => casts().join('a', request, signal),
    done: async (request) => casts().done('a', request),
    range: async (from, to) => ok(bytes.slice(from, to)),
  }
  const ended = receive({
    control,
    clientName: 'PC',
    out,
    interfaceName: 'lo',
    // Short of what it waits here: silence and lack of data would be noticed.
    limits: { probeMs: 3000, rejoinMs: 700, silenceMs: 1000 },
    signal: stop.signal,
    onProgress: ({ waiting }) => {
      seen.push(waiting)
      tell()
    },
  })
  return {
    stop: () => stop.abort(),
    sees: (count: number, wanted: number | undefined) =>
      until(() => seen.at(-1)?.ready === count && seen.at(-1)?.wanted === wanted),
    interrupted: async () => expect(ended).rejects.toThrow(),
    summary: async (): Promise<ReceiveSummary> => {
      const summary = must(await ended)
      expect(readFileSync(out).equals(bytes)).toBe(true)
      return summary
    },
  }
}

test('who waits is counted, gets nothing, and does not lose patience; then everybody gets it at once', async () => {
  await using side = await send({ held: { clientCount: 2 } })
  const first = startReceiver(() => side.casts)
  await first.sees(1, 2)
  const gone = startReceiver(() => side.casts)
  await first.sees(2, 2)
  gone.stop()
  await gone.interrupted()
  // It said goodbye, and does not count any more.
  await first.sees(1, 2)
  // Longer than a receiver bears silence, or beacons without data.
  const waited = performance.now()
  await side.until(() => performance.now() - waited > 1300)
  expect(side.statuses.every(({ sentBytes, state }) => sentBytes === 0 && state !== 'running')).toBe(true)
  const second = startReceiver(() => side.casts)
  await Promise.all([first.sees(2, 2), second.sees(2, 2), side.until(ready(2))])
  must(side.casts.release('a'))
  for (const summary of [await first.summary(), await second.summary()]) {
    expect(summary).toMatchObject({ multicastBytes: SIZE, rangeBytes: 0, refusedPackets: 0 })
    expect(summary.fallback).toBeUndefined()
  }
  // Late, as in an AutoCast.
  expect(await startReceiver(() => side.casts).summary()).toMatchObject({ multicastBytes: SIZE })
})

test('who waits when the appliance restarts waits on, and is counted again', async () => {
  let side = await send({ held: {} })
  const receiver = startReceiver(() => side.casts)
  await receiver.sees(1, undefined)
  await side.casts[Symbol.asyncDispose]()
  const { record } = side
  if (!record) throw new Error('no session')
  side = await send({ held: {}, earlier: record })
  await using _ = side
  await side.until(ready(1))
  expect(side.statuses.at(-1)).toMatchObject({ state: 'waiting', sentBytes: 0 })
  must(side.casts.release('a'))
  expect(await receiver.summary()).toMatchObject({ multicastBytes: SIZE, rangeBytes: 0 })
})

test('a stop of one that waits sends those who wait to HTTPS', async () => {
  await using side = await send({ held: { clientCount: 5 } })
  const receiver = startReceiver(() => side.casts)
  await receiver.sees(1, 5)
  must(side.casts.stop('a'))
  expect(await receiver.summary()).toMatchObject({ fallback: 'cast-over', multicastBytes: 0, rangeBytes: SIZE })
})
