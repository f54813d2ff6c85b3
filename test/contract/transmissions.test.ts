/**
 * What a transmission waits for, who may see it, and what it outlives: stops with clients still fetching, failures that
 * pass, and restarts of the appliance. Over a real database; the cast room and the library are stand-ins, and time is the test's.
 */
import { afterEach, beforeEach, describe, expect, jest, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Changes, type Facts, openChanges } from '../../src/audit/changes.ts'
import { openBus } from '../../src/base/events.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Principal } from '../../src/base/principal.ts'
import { type Code, refuse } from '../../src/base/refusal.ts'
import { ok, type Result } from '../../src/base/result.ts'
import type {
  ClientState,
  JoinAnswer,
  SessionRecord,
  TransmissionState,
  TransmissionStatus,
} from '../../src/cast/control.ts'
import { geometryOf } from '../../src/cast/geometry.ts'
import { reportKey } from '../../src/cast/keys.ts'
import { encodeManifest, HASH_BYTES, sha256 } from '../../src/cast/manifest.ts'
import type { Casts, NewCast } from '../../src/cast/transmissions.ts'
import { type OpenDb, openDb } from '../../src/db/open.ts'
import { contents, imageGroups, installImages, segments, transmissions as table } from '../../src/db/schema.ts'
import { imageById } from '../../src/library/rows.ts'
import type { ImageContent } from '../../src/library/store/contents.ts'
import { GRACE_MS } from '../../src/transmissions/needs.ts'
import type { Multicast } from '../../src/transmissions/plan.ts'
import { RESTART_MS } from '../../src/transmissions/restarts.ts'
import { openTransmissions, type Transmissions } from '../../src/transmissions/transmissions.ts'

const MANIFEST = encodeManifest(geometryOf(1000), new Uint8Array(HASH_BYTES))
const SECRET = new Uint8Array(32).fill(7)
const NEVER = new AbortController().signal
const WHO = { kind: 'local', role: 'admin' } as const
const BY = { who: WHO }

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
let changes: Changes
let groupId: number
let imageId: number
/** Clients of each transmission that runs. */
let present: Map<string, ClientState[]>
let released: string[]
/** What the next starts are refused with. */
let refusal: Code | undefined
let started: NewCast[]
let running: Set<string>
let collected: number
let contentRefusal: Code | undefined
let transmissions: Transmissions

const content: ImageContent = {
  recipe: { homeSegmentId: 1, homeIndex: 1, segmentIds: [1] },
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
    clients: (present.get(castId) ?? []).map((each, index) => ({
      clientId: index,
      name: 'PC',
      state: each,
      lackingBytes: 0,
      lossPpm: 0,
      socketDrops: 0,
      refusedPackets: 0,
    })),
    heard: { clients: 0, of: 0 },
  }
}

/** As the cast room tells of clients that come and go. */
function clientsAre(id: number, ...states: readonly ClientState[]): void {
  present.set(String(id), [...states])
  transmissions.onStatus(statusOf(String(id), 'waiting'))
}

let nextClient = 1
const casts: Casts = {
  check: (interfaceName) =>
    interfaceName === 'none' ? refuse('bad-request', 'no such interface', 'A hint.') : ok(undefined),
  release: (castId) => {
    released.push(castId)
    return ok(undefined)
  },
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
  present = new Map()
  released = []
  changes = openChanges({ db: opened.db, clock: { nowMs: () => now, monotonicMs: () => now } })
  transmissions = openTransmissions({
    db: opened.db,
    changes,
    timeZone: () => 'Europe/Berlin',
    casts,
    library: {
      images: {
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
  const group = db
    .insert(imageGroups)
    .values({ name: 'G', folded: 'g', createdAtMs: now, changedAtMs: now })
    .returning()
    .get()
  groupId = group.id
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
      treeSha1: '0'.repeat(40),
      element: '',
      facts: { languages: [] },
      bootable: false,
      rpFix: false,
      viewBytes: 1000,
      createdAtMs: now,
    })
    .returning()
    .get()
  imageId = db
    .insert(installImages)
    .values({
      groupId,
      contentId: made.id,
      name: 'One',
      foldedName: 'one',
      description: '',
      fileName: 'f.wim',
      foldedFile: 'f.wim',
      createdAtMs: now,
      changedAtMs: now,
    })
    .returning()
    .get().id
  start()
})
afterEach(() => {
  transmissions[Symbol.dispose]()
  jest.useRealTimers()
  opened[Symbol.dispose]()
  rmSync(dataDir, { recursive: true })
})

let names = 0
async function make(asked: Multicast = {}): Promise<number> {
  names += 1
  const made = await transmissions.create({ image: { name: 'One' }, name: `T${names}`, ...asked }, BY)
  if (!made.ok) throw new Error(made.error.message)
  return made.value.id
}

async function joined(id: number): Promise<number> {
  const answer = await transmissions.join(id, { clientName: 'PC' }, WHO, NEVER)
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
    codeOf(transmissions.done(id, { clientId, outcome, proof }, WHO))
  transmissions.stop(id, { force: true }, BY)
  expect(transmissions.show(id, WHO)).toMatchObject({ ok: true, value: { reason: 'stopped' } })
  expect(codeOf(await transmissions.content(id, WHO))).toBe('ok')
  expect(tell(one, 'fallback')).toBe('ok')
  expect(tell(two, 'received')).toBe('ok')
  expect(tell(one, 'received', proofOf(two))).toBe('not-allowed')
  expect(codeOf(await transmissions.content(id, WHO))).toBe('ok')
  expect(tell(one, 'received')).toBe('ok')
  expect(codeOf(await transmissions.content(id, WHO))).toBe('cast-over')
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
  expect(codeOf(await transmissions.content(id, WHO))).toBe('ok')
  await pass(GRACE_MS)
  expect(lease(id)).toEqual(RELEASED)
})

test('a network that is not up yet does not end it: not before it is brought back, and not by refusing', async () => {
  const id = await make()
  transmissions[Symbol.dispose]()
  start()
  const asked = async () => [
    codeOf(await transmissions.join(id, { clientName: 'PC' }, WHO, NEVER)),
    codeOf(await transmissions.manifest(id, WHO, NEVER)),
    codeOf(transmissions.done(id, { clientId: 1, outcome: 'received', proof: proofOf(1) }, WHO)),
  ]
  const unavailable: readonly Code[] = ['unavailable', 'unavailable', 'unavailable']
  expect(await asked()).toEqual([...unavailable])
  refusal = 'bad-request'
  started = []
  await transmissions.resume()
  const status = { state: 'preparing', failure: { code: 'bad-request', message: 'is bad-request' }, port: 9700 }
  expect(transmissions.show(id, WHO)).toMatchObject({ ok: true, value: { status } })
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
  expect(transmissions.show(id, WHO)).toMatchObject({ ok: true, value: { reason: `is ${code}` } })
  expect(codeOf(await transmissions.join(id, { clientName: 'PC' }, WHO, NEVER))).toBe('cast-over')
})

test('a running one that the network refused is started again; an unreadable one is not', async () => {
  const id = await make()
  ends(String(id), 'failed', 'unavailable')
  expect(transmissions.show(id, WHO)).toMatchObject({
    ok: true,
    value: { status: { failure: { code: 'unavailable' } } },
  })
  await pass(RESTART_MS)
  expect([started.length, running.has(String(id))]).toEqual([2, true])
  ends(String(id), 'failed', 'unreadable')
  expect(transmissions.show(id, WHO)).toMatchObject({ ok: true, value: { reason: 'is unreadable', endedAtMs: now } })
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
  expect(transmissions.stop(id, { force: false }, BY)).toMatchObject({ ok: true, value: { reason: 'stopped' } })
  transmissions[Symbol.dispose]()
  await pass(60_000)
  expect(started.length).toBe(2)
  await start().resume()
  expect([...running]).toEqual([String(other)])
})

test('a session told late does not bring the secret back', async () => {
  const id = await make()
  transmissions.stop(id, { force: true }, BY)
  transmissions.onSession(record(id))
  expect(lease(id)).toEqual(RELEASED)
})

test('another start avoids the address of one that waits', async () => {
  const id = await make()
  ends(String(id), 'failed', 'unavailable')
  await make()
  expect(started.at(-1)?.avoid).toMatchObject([{ group: '239.192.1.1', port: 9700 }])
})

function waitsFor(id: number): unknown {
  const shown = transmissions.show(id, WHO)
  return shown.ok ? shown.value.waitsFor : shown.error.code
}

function verbs(): string[] {
  return changes
    .list()
    .map(({ who, verb }) => `${who} ${verb}`)
    .reverse()
}

const HOUR_MS = 3_600_000
const at = (ms: number) => new Date(ms).toISOString()

test('without a word it is an AutoCast, which waits for nothing', async () => {
  const id = await make()
  expect(started).toMatchObject([{ castId: String(id) }])
  expect(started[0]).not.toHaveProperty('held')
  clientsAre(id, 'receiving')
  expect([waitsFor(id), released]).toEqual([undefined, []])
  expect(codeOf(transmissions.start(id, BY))).toBe('already-started')
})

test('a number of clients: those who are there count, those who went do not', async () => {
  const id = await make({ clientCount: 2 })
  expect(started).toMatchObject([{ held: { clientCount: 2 } }])
  clientsAre(id, 'probing', 'lost', 'receiving')
  expect([waitsFor(id), released]).toEqual([{ ready: 1, clientCount: 2, manual: false }, []])
  clientsAre(id, 'receiving', 'lost', 'receiving')
  expect([waitsFor(id), released]).toEqual([undefined, [String(id)]])
  expect(transmissions.show(id, WHO)).toMatchObject({ ok: true, value: { kind: 'scheduled', startedAtMs: now } })
  clientsAre(id, 'receiving', 'receiving', 'receiving')
  expect([released.length, verbs()]).toEqual([1, ['local cast.new', 'appliance cast.start']])
  expect(codeOf(transmissions.start(id, BY))).toBe('already-started')
})

test('a time: it begins then, with whoever is there', async () => {
  const id = await make({ startTime: at(now + 2 * HOUR_MS) })
  expect(started).toMatchObject([{ held: {} }])
  clientsAre(id, 'receiving')
  await pass(2 * HOUR_MS - 1000)
  expect([waitsFor(id), released]).toEqual([{ ready: 1, startAtMs: now + 1000, manual: false }, []])
  await pass(1000)
  expect(released).toEqual([String(id)])
})

test('a time that comes while nobody is there is kept for the first client', async () => {
  const id = await make({ startTime: at(now + 1000), clientCount: 9 })
  await pass(HOUR_MS)
  clientsAre(id, 'probing')
  expect(released).toEqual([])
  clientsAre(id, 'receiving')
  expect(released).toEqual([String(id)])
})

test('a clock that is set forward is noticed within a minute', async () => {
  const id = await make({ startTime: at(now + 20 * HOUR_MS) })
  clientsAre(id, 'receiving')
  now += 20 * HOUR_MS
  await pass(60_000)
  expect(released).toEqual([String(id)])
})

test('a time that has passed is warned of, and waits for its first client', async () => {
  const made = await transmissions.create({ image: { name: 'One' }, startTime: '2014/12/01:11:00' }, BY)
  if (!made.ok) throw new Error(made.error.message)
  expect(made.value.warnings).toHaveLength(1)
  expect(waitsFor(made.value.id)).toMatchObject({ ready: 0 })
  clientsAre(made.value.id, 'receiving')
  expect(released).toEqual([String(made.value.id)])
})

test('by hand: never by itself, and not for nobody', async () => {
  const id = await make({ manualStart: true })
  await pass(100 * HOUR_MS)
  expect(codeOf(transmissions.start(id, BY))).toBe('no-clients')
  clientsAre(id, 'probing', 'lost')
  expect(codeOf(transmissions.start(id, BY))).toBe('no-clients')
  clientsAre(id, 'receiving')
  expect([waitsFor(id), released]).toEqual([{ ready: 1, manual: true }, []])
  expect(transmissions.start(id, { ...BY, dryRun: true })).toMatchObject({ ok: true, value: { startedAtMs: now } })
  expect([waitsFor(id), released]).toEqual([{ ready: 1, manual: true }, []])
  expect(transmissions.start(id, BY)).toMatchObject({ ok: true, value: { startedAtMs: now } })
  expect([released, verbs()]).toEqual([[String(id)], ['local cast.new', 'local cast.start']])
})

test('one that waits for others may be started by hand before', async () => {
  const id = await make({ clientCount: 5, startTime: at(now + HOUR_MS) })
  clientsAre(id, 'receiving')
  expect(codeOf(transmissions.start(id, BY))).toBe('ok')
  await pass(2 * HOUR_MS)
  expect(released).toEqual([String(id)])
})

test('it waits on after a restart; a time that passed meanwhile is due; what has begun is not held again', async () => {
  const counted = await make({ clientCount: 2 })
  const timed = await make({ startTime: at(now + 1000) })
  const begun = await make({ clientCount: 1 })
  clientsAre(begun, 'receiving')
  transmissions[Symbol.dispose]()
  now += HOUR_MS
  started = []
  await start().resume()
  expect(started.map(({ castId, held }) => [castId, held])).toEqual([
    [String(counted), { clientCount: 2 }],
    [String(timed), {}],
    [String(begun), undefined],
  ])
  clientsAre(timed, 'receiving')
  clientsAre(counted, 'receiving')
  expect(released).toEqual([String(timed)])
  clientsAre(counted, 'receiving', 'receiving')
  expect(released).toEqual([String(timed), String(counted)])
})

test('a sender that failed while it waited waits again', async () => {
  const id = await make({ clientCount: 1 })
  ends(String(id), 'failed', 'unavailable')
  await pass(RESTART_MS)
  expect(started.map(({ held }) => held)).toEqual([{ clientCount: 1 }, { clientCount: 1 }])
  clientsAre(id, 'receiving')
  expect(released).toEqual([String(id)])
})

test('stopped, it does not begin any more', async () => {
  const id = await make({ startTime: at(now + 1000) })
  expect(transmissions.stop(id, { force: false }, BY)).toMatchObject({ ok: true, value: { reason: 'stopped' } })
  clientsAre(id, 'receiving')
  await pass(HOUR_MS)
  expect([waitsFor(id), released, codeOf(transmissions.start(id, BY))]).toEqual([undefined, [], 'cast-over'])
})

const REFUSED: readonly (readonly [string, Multicast, Code])[] = [
  ['by hand and a number', { manualStart: true, clientCount: 2 }, 'bad-request'],
  ['by hand and a time', { manualStart: true, startTime: '2031-01-01T00:00' }, 'bad-request'],
  ['nobody', { clientCount: 0 }, 'bad-request'],
  ['too many', { clientCount: 1001 }, 'bad-request'],
  ['half a client', { clientCount: 1.5 }, 'bad-request'],
  ['a time that is none', { startTime: 'noon' }, 'bad-request'],
  ['a name of two lines', { name: 'a\nb' }, 'bad-name'],
  ['no name', { name: ' ' }, 'bad-name'],
  ['a name of an open one', { name: 'TAKEN' }, 'exists'],
  ['an interface that is none', { interfaceName: 'none' }, 'bad-request'],
]
test.each(REFUSED)('refused, before anything is written: %s', async (_, asked, code) => {
  await make({ name: 'Taken' })
  const before = opened.db.select().from(table).all().length
  expect(codeOf(await transmissions.create({ image: { name: 'One' }, ...asked }, BY))).toBe(code)
  expect(codeOf(transmissions.plan(asked))).toBe(code)
  expect(opened.db.select().from(table).all().length).toBe(before)
})

test('a disabled image is not offered; what runs goes on', async () => {
  const id = await make()
  opened.db.update(installImages).set({ enabled: false }).run()
  expect(codeOf(await transmissions.create({ image: { name: 'One' }, name: 'Other' }, BY))).toBe('disabled')
  expect(await joined(id)).toBeGreaterThan(0)
})

test.each([true, false])(
  'an image that is damaged is refused without a row and a line (dry run: %s)',
  async (dryRun) => {
    contentRefusal = 'damaged'
    expect(codeOf(await transmissions.create({ image: { name: 'One' } }, { ...BY, dryRun }))).toBe('damaged')
    expect([opened.db.select().from(table).all(), verbs()]).toEqual([[], []])
  },
)

test('the name of one that has ended, or ends, is free again', async () => {
  const id = await make({ name: 'Again' })
  transmissions.stop(id, { force: false }, BY)
  expect(running.has(String(id))).toBe(true)
  expect(await make({ name: 'again' })).toBeGreaterThan(id)
})

test('a dry run answers the same and leaves nothing', async () => {
  const asked = { image: { name: 'One' }, clientCount: 3 }
  const tried = await transmissions.create(asked, { ...BY, dryRun: true })
  expect([opened.db.select().from(table).all(), started]).toEqual([[], []])
  const made = await transmissions.create(asked, BY)
  if (!tried.ok || !made.ok) throw new Error('refused')
  const { status: _, ...rest } = made.value
  expect(tried.value).toMatchObject(rest)
  expect(codeOf(await transmissions.create(asked, { ...BY, dryRun: true }))).toBe('exists')
  expect(transmissions.stop(made.value.id, { force: true }, { ...BY, dryRun: true })).toMatchObject({ ok: true })
  expect(waitsFor(made.value.id)).toBeDefined()
  expect(verbs()).toEqual(['local cast.new'])
})

test('who may not see the image, or its group, does not see the transmission', async () => {
  const { db } = opened
  const seenBy = (role: 'viewer' | 'operator' | 'admin', ...machineGroups: string[]): Principal => ({
    kind: 'token',
    name: 'n',
    role,
    machineGroups,
    address: '',
  })
  const operators = { roles: ['operator' as const], machineGroups: [] }
  db.update(imageGroups).set({ audience: operators }).run()
  const id = await make()
  db.update(imageGroups).set({ audience: null }).run()
  db.update(installImages)
    .set({ audience: { roles: ['operator'], machineGroups: ['Lab'] } })
    .run()
  const clientId = await joined(id)
  const asks = async (who: Principal): Promise<Code[]> => [
    codeOf(transmissions.show(id, who)) as Code,
    codeOf(transmissions.start(id, { who })) as Code,
    codeOf(await transmissions.manifest(id, who, NEVER)) as Code,
    codeOf(await transmissions.join(id, { clientName: 'PC' }, who, NEVER)) as Code,
    codeOf(await transmissions.content(id, who)) as Code,
    codeOf(transmissions.done(id, { clientId, outcome: 'received', proof: proofOf(clientId) }, who)) as Code,
    codeOf(transmissions.stop(id, { force: false }, { who, dryRun: true })) as Code,
  ]
  const hidden = Array(7).fill('not-found')
  const open = ['ok', 'already-started', 'ok', 'ok', 'ok', 'ok', 'ok']
  // A machine of the lab may see the image by now; the group did not admit it when this was made.
  for (const who of [seenBy('viewer'), seenBy('viewer', 'lab')]) {
    expect((await asks(who)) as string[]).toEqual(hidden)
    expect(transmissions.list(who)).toEqual([])
  }
  for (const who of [seenBy('operator'), seenBy('admin'), WHO]) {
    expect((await asks(who)) as string[]).toEqual(open)
    expect(transmissions.list(who)).toHaveLength(1)
  }
  // The image goes for good: what was said when this was made still holds.
  db.delete(installImages).run()
  expect(codeOf(transmissions.show(id, seenBy('operator')))).toBe('ok')
  expect(codeOf(transmissions.show(id, seenBy('viewer', 'lab')))).toBe('not-found')
})

test('the list is the newest two hundred that one may see', async () => {
  const first = await make()
  const [row] = opened.db.select().from(table).all()
  if (!row) throw new Error('no row')
  const { id: _, ...copy } = row
  const limited = [{ roles: ['operator' as const], machineGroups: [] }]
  for (let count = 0; count < 300; count += 1)
    opened.db
      .insert(table)
      .values({ ...copy, open: false, contentId: null, audiences: count % 100 === 0 ? [] : limited })
      .run()
  const viewer: Principal = { kind: 'token', name: 'n', role: 'viewer', machineGroups: [], address: '' }
  expect(transmissions.list(viewer).map(({ id }) => id - first)).toEqual([201, 101, 1, 0])
  expect(transmissions.list(WHO).map(({ id }) => id - first)).toEqual(Array.from({ length: 200 }, (_, i) => 300 - i))
})

describe('alongside a change of the library', () => {
  /** As a copy does it: the image and its transmission by one commit. */
  function alongside(asked: Multicast, fails = false): Result<Facts> {
    const plan = transmissions.plan(asked)
    if (!plan.ok) return plan
    return changes.apply(BY, () => {
      const image = imageById(opened.db, imageId)
      if (!image) throw new Error('no image')
      const made = plan.value.insert(image, BY)
      if (!made.ok || !fails) return made
      return refuse('no-space', 'the commit fails', 'A hint.')
    })
  }

  test('it is there with the commit, and begins after it', async () => {
    const made = alongside({ clientCount: 2, startTime: '2014/12/01:11:00' })
    expect(made).toMatchObject({ ok: true, value: { name: 'One', kind: 'scheduled', clientCount: 2 } })
    if (!made.ok) return
    expect(made.value['warnings']).toHaveLength(1)
    expect(verbs()).toEqual(['local cast.new'])
    await pass(0)
    expect(started).toMatchObject([{ label: 'One', held: { clientCount: 2 } }])
  })

  test('without the commit it is not', async () => {
    expect(codeOf(alongside({}, true))).toBe('no-space')
    await pass(0)
    expect([opened.db.select().from(table).all(), started, verbs()]).toEqual([[], [], []])
  })

  test('a name that was taken meanwhile costs nobody an import', () => {
    const names = [alongside({}), alongside({}), alongside({})].map((made) => made.ok && made.value['name'])
    expect(names).toEqual(['One', 'One (2)', 'One (3)'])
  })

  test('a start that fails is tried again and shows; the image stands', async () => {
    refusal = 'unavailable'
    const made = alongside({})
    if (!made.ok) throw new Error(made.error.message)
    await pass(0)
    const id = Number(made.value['id'])
    expect(transmissions.show(id, WHO)).toMatchObject({
      ok: true,
      value: { status: { failure: { code: 'unavailable' } } },
    })
    refusal = undefined
    await pass(RESTART_MS)
    expect([...running]).toEqual([String(id)])
  })
})
