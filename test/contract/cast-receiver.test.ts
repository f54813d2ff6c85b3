/** The receiver without a sender: what it makes of small packets, of standstills, of servers that go away, of files. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  closeSocket,
  interfaceIndexOf,
  openGroup,
  openSender,
  sendDatagram,
  setSegmentSize,
  sockaddrIn,
} from '../../ffi/libc/udp.ts'
import { type Code, refuse } from '../../src/base/refusal.ts'
import { ok, type Result } from '../../src/base/result.ts'
import { Collector } from '../../src/cast/collect.ts'
import type { CastControl, DoneRequest } from '../../src/cast/control.ts'
import { chunkLength, geometryOf } from '../../src/cast/geometry.ts'
import { listeningClock } from '../../src/cast/listening-clock.ts'
import { decodeManifest, encodeManifest, HASH_BYTES, type Manifest, sha256 } from '../../src/cast/manifest.ts'
import { BEACON_BYTES, encodeBeacon } from '../../src/cast/packet.ts'
import { openPartial, type Partial } from '../../src/cast/partial.ts'
import { receive } from '../../src/cast/receive.ts'
import { Reporter } from '../../src/cast/reporter.ts'
import { retry } from '../../src/cast/retry.ts'
import { emptyBlocks } from '../../src/cast/schedule.ts'
import { SymbolSet } from '../../src/cast/wanted.ts'
import type { ApplianceClient } from '../../src/cli/appliance-client.ts'
import { parseWords } from '../../src/cli/args.ts'
import { castControl, receiveCommand } from '../../src/cli/receive.ts'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-receiver-'))
})
afterAll(() => rmSync(dir, { recursive: true }))

const BYTES: Uint8Array = Uint8Array.from({ length: 4_000_000 }, (_, index) => (index * 7 + (index >>> 9)) & 0xff)
const GEOMETRY = geometryOf(BYTES.byteLength)
const chunkOf = (chunk: number) =>
  BYTES.subarray(chunk * GEOMETRY.chunkBytes, chunk * GEOMETRY.chunkBytes + chunkLength(GEOMETRY, chunk))
const HASHES = new Uint8Array(GEOMETRY.chunkCount * HASH_BYTES)
for (let chunk = 0; chunk < GEOMETRY.chunkCount; chunk += 1) HASHES.set(sha256(chunkOf(chunk)), chunk * HASH_BYTES)
const ENCODED = encodeManifest(GEOMETRY, HASHES)

function must<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`${result.error.code}: ${result.error.message}`)
  return result.value
}
const MANIFEST: Manifest = must(decodeManifest(ENCODED))
const codeOf = (result: Result<unknown>) => (result.ok ? 'ok' : result.error.code)

test('small packets that the kernel joined are taken one by one', () => {
  const group = '239.255.77.1'
  const port = 30_000 + (process.pid % 20_000)
  const interfaceIndex = interfaceIndexOf('lo') ?? 0
  const socket = openGroup({ group, port, interfaceIndex, receiveBufferBytes: 1 << 20 })
  const sender = openSender({ address: '127.0.0.1', port: 0, interfaceIndex, ttl: 1 })
  const file = openSync(join(dir, 'none'), 'w+')
  try {
    const have = new SymbolSet(GEOMETRY.symbolCount)
    const lengths: number[] = []
    const collector = new Collector({
      socket,
      file,
      geometry: GEOMETRY,
      tag: 1,
      have,
      reporter: new Reporter(GEOMETRY, have, emptyBlocks(GEOMETRY)),
      control: (packet) => lengths.push(packet.byteLength),
    })
    const fields = {
      sessionId: 1n,
      epoch: 1,
      pass: 1,
      block: 0,
      rateKbit: 1,
      backoffMs: 5,
      state: 'idle' as const,
      ready: 0,
      wanted: 0,
    }
    const three = [1, 2, 3].map((sequence) => encodeBeacon({ ...fields, sequence }, 1, new Uint8Array(32)))
    setSegmentSize(sender, BEACON_BYTES)
    sendDatagram(sender, new Uint8Array(Buffer.concat(three)), sockaddrIn(group, port))
    const endMs = performance.now() + 2000
    while (lengths.length < 3 && performance.now() < endMs) collector.receive()
    expect([lengths, collector.refused]).toEqual([[BEACON_BYTES, BEACON_BYTES, BEACON_BYTES], 0])
  } finally {
    closeSocket(socket)
    closeSocket(sender)
    closeSync(file)
  }
})

test('a standstill of ours is no silence of the sender', () => {
  let nowMs = 1000
  const clock = listeningClock(() => nowMs)
  nowMs += 10
  expect(clock()).toBe(10)
  nowMs += 20_000
  expect(clock()).toBeLessThan(1000)
  const before = clock()
  nowMs += 100
  expect(clock() - before).toBe(100)
})

const QUICK = { firstMs: 1, longestMs: 4, limitMs: 60_000 }
const away = (code: Code = 'unreachable') => refuse(code, 'away', 'Wait.')

describe('asking again', () => {
  const asked = async (answers: readonly Code[], limitMs = 60_000) => {
    let calls = 0
    const call = async () => {
      const code = answers[calls]
      calls += 1
      return code === undefined ? ok('there') : away(code)
    }
    return { result: await retry(call, { ...QUICK, limitMs }, new AbortController().signal), calls: () => calls }
  }
  test('goes on while the other side is away', async () => {
    const { result, calls } = await asked(['unreachable', 'unavailable', 'unreachable'])
    expect([codeOf(result), calls()]).toEqual(['ok', 4])
  })
  test('ends with a refusal that stands', async () => {
    const { result, calls } = await asked(['unreachable', 'cast-over'])
    expect([codeOf(result), calls()]).toEqual(['cast-over', 2])
  })
  test('ends when its time is over', async () => {
    const { result, calls } = await asked(['unreachable', 'unreachable'], 0)
    expect([codeOf(result), calls()]).toEqual(['unreachable', 1])
  })
  test('ends with an abort', async () => {
    const stop = new AbortController()
    const call = async () => {
      stop.abort()
      return away()
    }
    await expect(retry(call, { ...QUICK, firstMs: 60_000 }, stop.signal)).rejects.toThrow()
  })
})

/** A server without multicast: nothing comes from this group. `range` decides for each call. */
function serverOf(range: (call: number) => Result<void>): {
  control: CastControl
  told: DoneRequest[]
  late: boolean[]
} {
  const told: DoneRequest[] = []
  const late: boolean[] = []
  let calls = 0
  const key = Buffer.alloc(32).toString('base64')
  const control: CastControl = {
    manifest: async () => ok(ENCODED),
    join: async () =>
      ok({
        castId: '1',
        sessionId: '0000000000000001',
        epoch: 1,
        clientId: 7,
        group: '239.255.77.2',
        port: 30_000 + (process.pid % 20_000),
        reportAddress: '127.0.0.1',
        reportPort: 9,
        sessionKey: key,
        reportKey: key,
        root: Buffer.from(MANIFEST.root).toString('hex'),
      }),
    async done(request, signal) {
      told.push(request)
      late.push(signal.aborted)
      return ok(undefined)
    },
    async range(from, to) {
      calls += 1
      const may = range(calls)
      return may.ok ? ok(BYTES.slice(from, to)) : may
    },
  }
  return { control, told, late }
}

const HASTE = {
  clientName: 'test',
  interfaceName: 'lo',
  limits: { probeMs: 30, rejoinMs: 30, silenceMs: 60 },
  patience: QUICK,
}
const NEVER = new AbortController().signal

describe('a receiver', () => {
  test('waits for a server that goes away between ranges', async () => {
    const out = join(dir, 'ranges')
    const { control, told } = serverOf((call) => (call % 3 === 0 ? ok(undefined) : away()))
    const summary = must(await receive({ control, out, signal: NEVER, ...HASTE }))
    expect(summary).toMatchObject({ fallback: 'no-multicast', rangeBytes: BYTES.byteLength })
    expect(readFileSync(out).equals(BYTES)).toBe(true)
    expect(told.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      ['fallback', 'no-multicast'],
      ['received', undefined],
    ])
    expect([existsSync(`${out}.part`), existsSync(`${out}.wimcast`)]).toEqual([false, false])
  })

  test('keeps what it has when it is interrupted, says so, and goes on from there', async () => {
    const out = join(dir, 'interrupted')
    const stop = new AbortController()
    const first = serverOf((call) => {
      if (call < 2) return ok(undefined)
      stop.abort()
      return away()
    })
    await expect(receive({ control: first.control, out, signal: stop.signal, ...HASTE })).rejects.toThrow()
    expect(first.told.at(-1)).toMatchObject({ outcome: 'failed', reason: 'cancelled' })
    expect(first.late.at(-1)).toBe(false)
    const { control } = serverOf(() => ok(undefined))
    const summary = must(await receive({ control, out, signal: NEVER, ...HASTE }))
    expect(summary.resumedBytes).toBe(GEOMETRY.chunkBytes)
  })

  test('replaces what somebody made meanwhile only when it may', async () => {
    const out = join(dir, 'meanwhile')
    const { control, told } = serverOf(() => {
      writeFileSync(out, 'precious')
      return ok(undefined)
    })
    expect(codeOf(await receive({ control, out, signal: NEVER, ...HASTE }))).toBe('exists')
    expect(readFileSync(out, 'utf8')).toBe('precious')
    expect(told.at(-1)).toMatchObject({ outcome: 'failed', reason: 'exists' })
    must(await receive({ control, out, ifExists: 'overwrite', signal: NEVER, ...HASTE }))
    expect(readFileSync(out).equals(BYTES)).toBe(true)
  })
})

test('the command looks at the file before it asks anybody', async () => {
  const out = join(dir, 'there')
  writeFileSync(out, 'precious')
  const silent = { result() {}, progress: { show() {}, end() {} } }
  const run = (...words: string[]) => {
    const args = must(parseWords(['--cast', '1', ...words], receiveCommand.options))
    const raw = { base: '', fetch: () => Promise.reject(new Error('asked')), [Symbol.dispose]() {} }
    // The command asks by the raw client alone.
    const appliance = { raw, local: false } as unknown as ApplianceClient
    return receiveCommand.run({ appliance, args, out: silent, signal: NEVER })
  }
  await expect(run('--out', out)).rejects.toMatchObject({ refusal: { code: 'exists' } })
  await expect(run('--out', join(dir, 'no/folder'))).rejects.toMatchObject({ refusal: { code: 'bad-path' } })
  await expect(run('--out', dir, '--if-exists', 'overwrite')).rejects.toMatchObject({ refusal: { code: 'bad-path' } })
  await expect(run('--out', out, '--if-exists', 'overwrite')).rejects.toThrow('asked')
})

describe('a partial file', () => {
  test('has one writer', async () => {
    const out = join(dir, 'shared')
    {
      await using partial: Partial = must(await openPartial(out, MANIFEST))
      await partial.write(0, chunkOf(0))
      expect(codeOf(await openPartial(out, MANIFEST))).toBe('in-use')
      expect(await partial.verify(0)).toBe(true)
    }
    await using again = must(await openPartial(out, MANIFEST))
    expect(await again.verify(0)).toBe(true)
  })

  test('of somebody else is left alone', async () => {
    const out = join(dir, 'foreign')
    writeFileSync(`${out}.part`, 'precious')
    expect(codeOf(await openPartial(out, MANIFEST))).toBe('exists')
    expect(readFileSync(`${out}.part`, 'utf8')).toBe('precious')
    rmSync(`${out}.part`)
    writeFileSync(`${out}.wimcast`, 'precious')
    expect(codeOf(await openPartial(out, MANIFEST))).toBe('exists')
    expect([readFileSync(`${out}.wimcast`, 'utf8'), existsSync(`${out}.part`)]).toEqual(['precious', false])
  })

  test('is known as ours before its first byte', async () => {
    const out = join(dir, 'crashed')
    {
      await using _partial = must(await openPartial(out, MANIFEST))
      expect(existsSync(`${out}.wimcast`)).toBe(true)
    }
    expect(statSync(`${out}.part`).size).toBe(BYTES.byteLength)
    await using again = must(await openPartial(out, MANIFEST))
    expect(new SymbolSet(GEOMETRY.symbolCount, again.memory).size).toBe(0)
  })

  test('counts exactly the symbols of a chunk, the short last one too', async () => {
    await using partial = must(await openPartial(join(dir, 'counted'), MANIFEST))
    const held = () => new SymbolSet(GEOMETRY.symbolCount, partial.memory.slice(0)).size
    const last = GEOMETRY.chunkCount - 1
    await partial.write(last, chunkOf(last))
    expect(held()).toBe(GEOMETRY.symbolCount - last * 1024)
    await partial.write(0, chunkOf(0))
    expect([held(), partial.holds(0), partial.holds(1)]).toEqual([
      GEOMETRY.symbolCount - last * 1024 + 1024,
      true,
      false,
    ])
    partial.forget(last)
    expect([held(), partial.holds(last)]).toEqual([1024, false])
    // No bit beyond the end: what is saved is what another run reads.
    await partial.write(last, chunkOf(last))
    const bits = new Uint8Array(partial.memory).reduce(
      (sum, byte) => sum + byte.toString(2).replaceAll('0', '').length,
      0,
    )
    expect(bits).toBe(held())
  })
})

describe('the control plane over HTTPS', () => {
  const controlOf = (fetch: (signal: AbortSignal | null | undefined) => Promise<Response>) =>
    castControl({ base: 'https://there', fetch: async (_, init) => fetch(init?.signal), [Symbol.dispose]() {} }, 1)

  test('a join that is answered in another form is refused', async () => {
    for (const body of ['{"castId": "1"}', '<html>']) {
      const join = await controlOf(async () => new Response(body)).join({ clientName: 'x' }, NEVER)
      expect(codeOf(join)).toBe('unsupported')
    }
  })

  test('an interrupt is no late answer', async () => {
    const stop = new AbortController()
    const hangs = (signal: AbortSignal | null | undefined): Promise<Response> => {
      const never = Promise.withResolvers<Response>()
      signal?.addEventListener('abort', () => never.reject(signal.reason))
      stop.abort()
      return never.promise
    }
    await expect(controlOf(hangs).manifest(stop.signal)).rejects.toThrow()
    const late = controlOf(async () => Promise.reject(new DOMException('late', 'TimeoutError')))
    expect(codeOf(await late.manifest(NEVER))).toBe('unreachable')
  })
})
