/**
 * What a transmission outlives: stops with clients still fetching, failures that pass, and restarts of the appliance.
 * Over a real database; the cast room and the library are stand-ins, and time is the test's.
 */
import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Content } from '../../src/base/content.ts'
import { openBus } from '../../src/base/events.ts'
import { silentLog } from '../../src/base/log.ts'
import { type Code, refuse } from '../../src/base/refusal.ts'
import { ok, type Result } from '../../src/base/result.ts'
import type { JoinAnswer, SessionRecord, TransmissionState, TransmissionStatus } from '../../src/cast/control.ts'
import { geometryOf } from '../../src/cast/geometry.ts'
import { reportKey } from '../../src/cast/keys.ts'
import { encodeManifest, HASH_BYTES, sha256 } from '../../src/cast/manifest.ts'
import type { Casts, NewCast } from '../../src/cast/transmissions.ts'
import { type OpenDb, openDb } from '../../src/db/open.ts'
import { contents, imageGroups, segments, transmissions as table } from '../../src/db/schema.ts'
import type { InstallImage } from '../../src/library/rows.ts'
import { GRACE_MS, openTransmissions, RESTART_MS, type Transmissions } from '../../src/transmissions/transmissions.ts'

const MANIFEST = encodeManifest(geometryOf(1000), new Uint8Array(HASH_BYTES))
const SECRET = new Uint8Array(32).fill(7)
const NEVER = new AbortController().signal
const WHO = { kind: 'local', role: 'admin' } as const

function record(id: number): SessionRecord {
  return {
    castId: String(id),
    sessionId: '0'.repeat(16),
    epoch: 1,
    secret: Buffer.from(SECRET).toString('base64'),
    group: '239.192.1.1',
    port: 9700,
    etag: 'e',
    manifest: Buffer.from(MANIFEST).toString('base64'),
  }
}

function proofOf(clientId: number): string {
  return Buffer.from(reportKey(SECRET, sha256(MANIFEST), clientId)).toString('base64')
}

let dataDir: string
let opened: OpenDb
let now: number
let image: InstallImage
/** What the next starts are refused with. */
let refusal: Code | undefined
let started: NewCast[]
let running: Set<string>
let collected: number
let contentRefusal: Code | undefined
let transmissions: Transmissions

const content: Content = {
  sizeBytes: 1000,
  etag: 'e',
  mediaType: 'application/octet-stream',
  fileName: 'f.wim',
  open: () => Promise.reject(new Error('not in this test')),
}

function statusOf(castId: string, state: TransmissionState, failure?: Code): TransmissionStatus {
  return {
    castId,
    label: 'One',
    state,
    ...(failure ? { failure: { code: failure, message: `is ${failure}` } } : {}),
    sizeBytes: 1000,
    hashedBytes: 1000,
    group: '239.192.1.1',
    port: 9700,
    pass: 1,
    allowedBitsPerSecond: 0,
    sentBitsPerSecond: 0,
    sentBytes: 0,
    clients: [],
    heard: { clients: 0, of: 0 },
  }
}

let nextClient = 1
const casts: Casts = {
  create: async (cast) => {
    if (refusal) return refuse(refusal, `is ${refusal}`, 'A hint.')
    started.push(cast)
    running.add(cast.castId)
    transmissions.onSession(record(Number(cast.castId)))
    return ok(statusOf(cast.castId, 'waiting'))
  },
  manifest: async () => ok(MANIFEST),
  join: async (castId): Promise<Result<JoinAnswer>> => {
    const clientId = nextClient++
    return ok({
      ...record(Number(castId)),
      clientId,
      reportAddress: '',
      reportPort: 1,
      sessionKey: '',
      reportKey: '',
      root: '',
    })
  },
  done: () => ok(undefined),
  stop: (castId, options) => {
    if (!running.has(castId)) return refuse('not-found', 'does not run', 'A hint.')
    if (options?.force) ends(castId, 'stopped')
    return ok(undefined)
  },
  list: () => [],
  show: (castId) =>
    running.has(castId) ? ok(statusOf(castId, 'waiting')) : refuse('not-found', 'does not run', 'A hint.'),
  async [Symbol.asyncDispose]() {},
}

/** As the cast room does it: told first, then forgotten. */
function ends(castId: string, state: 'stopped' | 'failed', failure?: Code): void {
  transmissions.onStatus(statusOf(castId, state, failure))
  running.delete(castId)
}

/** A start of the appliance over the same rows. */
function start(): Transmissions {
  running = new Set()
  transmissions = openTransmissions({
    db: opened.db,
    casts,
    library: {
      images: {
        show: () => ok(image),
        content: async () => (contentRefusal ? refuse(contentRefusal, `is ${contentRefusal}`, 'A hint.') : ok(content)),
      },
      collect: async () => {
        collected += 1
        return 0
      },
    } as Parameters<typeof openTransmissions>[0]['library'],
    bus: openBus(),
    log: silentLog,
    clock: { nowMs: () => now, monotonicMs: () => now },
  })
  return transmissions
}

async function pass(ms: number): Promise<void> {
  now += ms
  jest.advanceTimersByTime(ms)
  for (let turn = 0; turn < 20; turn += 1) await undefined
}

beforeEach(() => {
  jest.useFakeTimers()
  dataDir = mkdtempSync(join(tmpdir(), 'wimcast-transmissions-'))
  opened = openDb(dataDir)
  now = 1_700_000_000_000
  refusal = undefined
  contentRefusal = undefined
  started = []
  collected = 0
  const { db } = opened
  const group = db.insert(imageGroups).values({ name: 'G', createdAtMs: now }).returning().get()
  const segment = db
    .insert(segments)
    .values({ groupId: group.id, fileName: 's.wim', sizeBytes: 1, verified: true, blobBytes: 1, createdAtMs: now })
    .returning()
    .get()
  const made = db
    .insert(contents)
    .values({
      groupId: group.id,
      segmentId: segment.id,
      imageIndex: 1,
      needs: Buffer.alloc(0),
      element: '',
      facts: {},
      bootable: false,
      rpFix: false,
      viewBytes: 1000,
      createdAtMs: now,
    })
    .returning()
    .get()
  image = { name: 'One', description: '', fileName: 'f.wim', group: 'G', contentId: made.id } as InstallImage
  start()
})
afterEach(() => {
  transmissions[Symbol.dispose]()
  jest.useRealTimers()
  opened[Symbol.dispose]()
  rmSync(dataDir, { recursive: true })
})

async function make(): Promise<number> {
  const made = await transmissions.create({ image: { name: 'One' } }, WHO)
  if (!made.ok) throw new Error(made.error.message)
  return made.value.id
}

async function joined(id: number): Promise<number> {
  const answer = await transmissions.join(id, { clientName: 'PC' }, NEVER)
  if (!answer.ok) throw new Error(answer.error.message)
  return answer.value.clientId
}

function codeOf(result: Result<unknown>): Code | 'ok' {
  return result.ok ? 'ok' : result.error.code
}

function lease(id: number): { readonly contentId: number | null; readonly session: unknown } {
  const row = opened.db
    .select()
    .from(table)
    .all()
    .find((each) => each.id === id)
  if (!row) throw new Error('no row')
  return { contentId: row.contentId, session: row.session }
}

const RELEASED = { contentId: null, session: null }

test('who falls back at the stop has the content until it says how that ended', async () => {
  const id = await make()
  const [one, two] = [await joined(id), await joined(id)]
  const tell = (clientId: number, outcome: 'received' | 'fallback' | 'failed', proof = proofOf(clientId)) =>
    codeOf(transmissions.done(id, { clientId, outcome, proof }))
  transmissions.stop(id, { force: true })
  expect(transmissions.show(id)).toMatchObject({ ok: true, value: { reason: 'stopped' } })
  expect(codeOf(await transmissions.content(id))).toBe('ok')
  expect(tell(one, 'fallback')).toBe('ok')
  expect(tell(two, 'received')).toBe('ok')
  expect(tell(one, 'received', proofOf(two))).toBe('not-allowed')
  expect(codeOf(await transmissions.content(id))).toBe('ok')
  expect(tell(one, 'received')).toBe('ok')
  expect(codeOf(await transmissions.content(id))).toBe('cast-over')
  expect([lease(id), collected]).toEqual([RELEASED, 1])
  expect(tell(one, 'received')).toBe('ok')
})

test('who never says it has the content for an hour; nobody at all, not for a moment', async () => {
  const id = await make()
  await joined(id)
  ends(String(id), 'stopped')
  await pass(GRACE_MS - 1)
  expect(lease(id).contentId).not.toBeNull()
  await pass(1)
  expect([lease(id), collected]).toEqual([RELEASED, 1])
  const empty = await make()
  ends(String(empty), 'stopped')
  expect(lease(empty)).toEqual(RELEASED)
})

test('the hour goes on over a restart', async () => {
  const id = await make()
  await joined(id)
  ends(String(id), 'stopped')
  for (const [gone, kept] of [
    [GRACE_MS - 1000, true],
    [999, true],
    [1, false],
  ] as const) {
    transmissions[Symbol.dispose]()
    now += gone
    await start().resume()
    expect(lease(id).contentId !== null).toBe(kept)
  }
})

test('after a restart the grace holds even for clients that this process never met', async () => {
  const id = await make()
  transmissions[Symbol.dispose]()
  await start().resume()
  ends(String(id), 'stopped')
  expect(codeOf(await transmissions.content(id))).toBe('ok')
  await pass(GRACE_MS)
  expect(lease(id)).toEqual(RELEASED)
})

test('a network that is not up yet does not end it: not before it is brought back, and not by refusing', async () => {
  const id = await make()
  transmissions[Symbol.dispose]()
  start()
  const asked = async () => [
    codeOf(await transmissions.join(id, { clientName: 'PC' }, NEVER)),
    codeOf(await transmissions.manifest(id, NEVER)),
    codeOf(transmissions.done(id, { clientId: 1, outcome: 'received', proof: proofOf(1) })),
  ]
  const unavailable: readonly Code[] = ['unavailable', 'unavailable', 'unavailable']
  expect(await asked()).toEqual([...unavailable])
  refusal = 'bad-request'
  started = []
  await transmissions.resume()
  const status = { state: 'preparing', failure: { code: 'bad-request', message: 'is bad-request' }, port: 9700 }
  expect(transmissions.show(id)).toMatchObject({ ok: true, value: { status } })
  expect(await asked()).toEqual([...unavailable])
  await pass(RESTART_MS)
  refusal = undefined
  await pass(2 * RESTART_MS - 1)
  expect(started).toEqual([])
  await pass(1)
  expect(started).toMatchObject([{ castId: String(id), earlier: { port: 9700 } }])
  expect(await asked()).toEqual(['ok', 'ok', 'ok'])
})

test.each(['wrong-content', 'not-found'] as const)('%s at the start ends it', async (code) => {
  const id = await make()
  transmissions[Symbol.dispose]()
  start()
  if (code === 'not-found') contentRefusal = code
  else refusal = code
  await transmissions.resume()
  expect(transmissions.show(id)).toMatchObject({ ok: true, value: { reason: `is ${code}` } })
  expect(codeOf(await transmissions.join(id, { clientName: 'PC' }, NEVER))).toBe('cast-over')
})

test('a running one that the network refused is started again; an unreadable one is not', async () => {
  const id = await make()
  ends(String(id), 'failed', 'unavailable')
  expect(transmissions.show(id)).toMatchObject({ ok: true, value: { status: { failure: { code: 'unavailable' } } } })
  await pass(RESTART_MS)
  expect([started.length, running.has(String(id))]).toEqual([2, true])
  ends(String(id), 'failed', 'unreadable')
  expect(transmissions.show(id)).toMatchObject({ ok: true, value: { reason: 'is unreadable', endedAtMs: now } })
  await pass(GRACE_MS)
  expect(started.length).toBe(2)
})

test('waits grow to half a minute and begin anew after a quiet while', async () => {
  const id = await make()
  ends(String(id), 'failed', 'unavailable')
  refusal = 'unavailable'
  for (const seconds of [1, 2, 4, 8, 16, 30]) await pass(seconds * 1000)
  refusal = undefined
  await pass(29_999)
  expect(running.size).toBe(0)
  await pass(1)
  expect(running.size).toBe(1)
  await pass(60_001)
  ends(String(id), 'failed', 'unavailable')
  await pass(RESTART_MS)
  expect(running.size).toBe(1)
})

test('a stop ends one that waits for its start, and a dispose only the waiting', async () => {
  const id = await make()
  const other = await make()
  for (const each of [id, other]) ends(String(each), 'failed', 'unavailable')
  expect(transmissions.stop(id, { force: false })).toMatchObject({ ok: true, value: { reason: 'stopped' } })
  transmissions[Symbol.dispose]()
  await pass(60_000)
  expect(started.length).toBe(2)
  await start().resume()
  expect([...running]).toEqual([String(other)])
})

test('a session told late does not bring the secret back', async () => {
  const id = await make()
  transmissions.stop(id, { force: true })
  transmissions.onSession(record(id))
  expect(lease(id)).toEqual(RELEASED)
})

test('another start avoids the address of one that waits', async () => {
  const id = await make()
  ends(String(id), 'failed', 'unavailable')
  await make()
  expect(started.at(-1)?.avoid).toMatchObject([{ group: '239.192.1.1', port: 9700 }])
})
