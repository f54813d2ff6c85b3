/**
 * Transmissions: an install image, offered by multicast. Joins the library (what is sent) with the cast room (how), and
 * keeps the rows: an open transmission holds a lease on its content and comes back after a restart with its addresses
 * and keys, so that receivers go on. What fails for a reason that may pass (a network that is not up yet) stays open and
 * is started again; what has ended keeps its lease while clients still fetch the rest over HTTPS.
 */
import { and, desc, eq, isNotNull } from 'drizzle-orm'
import type { Clock } from '../base/clock.ts'
import type { Content } from '../base/content.ts'
import { isDiskFull } from '../base/disk-full.ts'
import type { Bus } from '../base/events.ts'
import { type Log, reasonOf } from '../base/log.ts'
import { nameOf, type Principal } from '../base/principal.ts'
import { type Code, type Refusal, refuse } from '../base/refusal.ts'
import { err, ok, type Result } from '../base/result.ts'
import type { Endpoint } from '../cast/address.ts'
import type { DoneRequest, JoinAnswer, JoinRequest, SessionRecord, TransmissionStatus } from '../cast/control.ts'
import { type Casts, checkProof } from '../cast/transmissions.ts'
import type { Db } from '../db/open.ts'
import { contents, transmissions as table } from '../db/schema.ts'
import type { Library } from '../library/library.ts'
import type { Selector } from '../library/rows.ts'

type Row = typeof table.$inferSelect

export type Transmission = {
  readonly id: number
  readonly name: string
  readonly image: string
  readonly group: string
  readonly createdBy: string
  readonly createdAtMs: number
  readonly endedAtMs?: number
  /** Why it is not there any more, in words; absent while it is open. */
  readonly reason?: string
  readonly rateBitsPerSecond?: number
  /** What it does now; absent when it has ended. */
  readonly status?: TransmissionStatus
}

export type NewTransmission = {
  readonly image: Selector
  readonly interfaceName?: string | undefined
  readonly rateBitsPerSecond?: number | undefined
}

/** Dispose it before the cast room: what that ends from then on ends with the appliance, and comes back with it. */
export type Transmissions = Disposable & {
  readonly create: (wanted: NewTransmission, who: Principal) => Promise<Result<Transmission>>
  readonly list: () => Transmission[]
  readonly show: (id: number) => Result<Transmission>
  readonly stop: (id: number, options: { readonly force: boolean }) => Result<Transmission>
  readonly manifest: (id: number, signal: AbortSignal) => Promise<Result<Uint8Array>>
  readonly join: (id: number, request: JoinRequest, signal: AbortSignal) => Promise<Result<JoinAnswer>>
  readonly done: (id: number, request: DoneRequest) => Result<void>
  /** The content of the transmission, for clients that fetch ranges; the same bytes that are multicast. */
  readonly content: (id: number) => Promise<Result<Content>>
  /** Brings open transmissions back after a start. */
  readonly resume: () => Promise<void>
  /** What the cast room told: to be called by whoever opened it. */
  readonly onSession: (record: SessionRecord) => void
  readonly onStatus: (status: TransmissionStatus) => void
}

export type TransmissionsDeps = {
  readonly db: Db
  readonly casts: Casts
  readonly library: {
    readonly images: Pick<Library['images'], 'show' | 'content'>
    readonly collect: Library['collect']
  }
  readonly bus: Bus
  readonly log: Log
  readonly clock: Clock
}

/** How long an ended transmission keeps its content for clients that have not told how they ended. */
export const GRACE_MS = 60 * 60_000
/** How soon to write again what a full disk did not take. */
const UNWRITTEN_AGAIN_MS = 5000
/** Until the first new start; doubled with each failure in a row. */
export const RESTART_MS = 1000
const RESTART_LIMIT_MS = 30_000
/** A transmission that ran for so long begins anew with the first wait. */
const CALM_MS = 60_000

/** What another start cannot mend: the content is not there, or not what it was. Everything else is tried again. */
const FINAL: ReadonlySet<string> = new Set<Code>([
  'not-found',
  'wrong-content',
  'cast-over',
  'unreadable',
  'truncated',
  'corrupt',
  'missing-blobs',
  'bad-metadata',
  'unsupported',
])

type Failure = Pick<Refusal, 'message'> & { readonly code: string }

type Restart = {
  readonly failure: Failure
  /** In a row. */
  readonly failures: number
  readonly dueMs: number
  readonly timer: Timer
}

type Timer = ReturnType<typeof setTimeout>

function over(id: number): Result<never> {
  return refuse('cast-over', `transmission ${id} has ended`, 'Make a new one: wimcast cast new.')
}

export function openTransmissions(deps: TransmissionsDeps): Transmissions {
  const { db, casts, library, bus, log, clock } = deps
  let closing = false
  const unwritten: (() => void)[] = []
  let again: ReturnType<typeof setTimeout> | undefined
  /** Open ones that failed and will be started again. */
  const restarts = new Map<number, Restart>()
  /** Of each transmission those who joined and have not told how it ended for them. */
  const clients = new Map<number, Set<number>>()
  /** Brought back after a restart: there are clients that this process has never met. */
  const resumed = new Set<number>()
  /** Ended ones that keep their content for now. */
  const graces = new Map<number, Timer>()

  function find(id: number): Result<Row> {
    const row = db.select().from(table).where(eq(table.id, id)).get()
    return row ? ok(row) : refuse('not-found', `there is no transmission ${id}`, 'List them: wimcast cast list.')
  }

  function findOpen(id: number): Result<Row> {
    const row = find(id)
    return row.ok && !row.value.open ? over(id) : row
  }

  function isRunning(row: Row): boolean {
    return casts.show(String(row.id)).ok
  }

  /** Open, and there is a sender to talk to. */
  function findRunning(id: number): Result<Row> {
    const row = findOpen(id)
    if (!row.ok || isRunning(row.value)) return row
    const why = restarts.get(id)?.failure.message
    return refuse(
      'unavailable',
      `transmission ${id} does not run yet${why === undefined ? '' : `: ${why}`}`,
      'It starts by itself: try again in a moment.',
    )
  }

  function statusOf(row: Row): TransmissionStatus | undefined {
    if (!row.open) return undefined
    const live = casts.show(String(row.id))
    return live.ok ? live.value : waitingStatus(row, restarts.get(row.id)?.failure)
  }

  function describe(row: Row): Transmission {
    const status = statusOf(row)
    return {
      id: row.id,
      name: row.name,
      image: row.imageName,
      group: row.group,
      createdBy: row.createdBy,
      createdAtMs: row.createdAtMs,
      ...(row.endedAtMs === null ? {} : { endedAtMs: row.endedAtMs }),
      ...(row.reason === null ? {} : { reason: row.reason }),
      ...(row.rateBitsPerSecond === null ? {} : { rateBitsPerSecond: row.rateBitsPerSecond }),
      ...(status ? { status } : {}),
    }
  }

  /** The row's content by the names it was made with: another name would be other bytes, and another root. */
  async function contentOf(row: Row): Promise<Result<Content>> {
    if (row.contentId === null) return over(row.id)
    return library.images.content({
      contentId: row.contentId,
      name: row.imageName,
      description: row.description,
      fileName: row.fileName,
    })
  }

  async function start(row: Row): Promise<Result<TransmissionStatus>> {
    const content = await contentOf(row)
    if (!content.ok) return content
    const started = await casts.create({
      castId: String(row.id),
      label: row.name,
      content: content.value,
      ...(row.interfaceName === null ? {} : { interfaceName: row.interfaceName }),
      ...(row.rateBitsPerSecond === null ? {} : { rateBitsPerSecond: row.rateBitsPerSecond }),
      ...(row.session ? { earlier: row.session as SessionRecord } : {}),
      avoid: endpointsOfOpen(row.id),
    })
    if (!started.ok) return started
    // Somebody may have stopped it meanwhile.
    const now = findOpen(row.id)
    if (now.ok && now.value.reason === null) return started
    casts.stop(String(row.id), { force: true })
    return over(row.id)
  }

  /** A fault is a reason like any other not to run yet; the appliance starts all the same. */
  async function restart(row: Row): Promise<void> {
    let started: Result<TransmissionStatus>
    try {
      started = await start(row)
    } catch (error) {
      const hint = 'The log has the particulars.'
      started = err({ code: 'unavailable', message: reasonOf(error), hint })
    }
    if (closing) return
    if (started.ok) log.info('cast.resumed', { cast: row.id, name: row.name })
    else failed(row.id, started.error)
    bus.publish({ kind: 'cast.changed', id: row.id })
  }

  /** It does not run: for good, or until the next try. */
  function failed(id: number, failure: Failure): void {
    const row = findOpen(id)
    if (!row.ok) return
    if (FINAL.has(failure.code) || row.value.reason !== null) {
      log.error('cast.ended', { cast: id, code: failure.code, reason: failure.message })
      close(row.value, row.value.reason ?? failure.message)
      return
    }
    const before = restarts.get(id)
    const calm = before === undefined || clock.monotonicMs() - before.dueMs > CALM_MS
    const failures = calm ? 0 : before.failures + 1
    const delayMs = Math.min(RESTART_LIMIT_MS, RESTART_MS * 2 ** failures)
    clearTimeout(before?.timer)
    const timer = setTimeout(() => {
      const again = findOpen(id)
      if (again.ok) void restart(again.value)
    }, delayMs)
    timer.unref()
    restarts.set(id, { failure, failures, dueMs: clock.monotonicMs() + delayMs, timer })
    log.warning('cast.waits', { cast: id, code: failure.code, reason: failure.message, delayMs })
  }

  function endpointsOfOpen(butNot: number): Endpoint[] {
    const rows = db.select({ id: table.id, session: table.session }).from(table).where(eq(table.open, true)).all()
    return rows.flatMap(({ id, session }) => (session && id !== butNot ? [session as SessionRecord] : []))
  }

  /**
   * Writes what came by a callback, where nobody could be told of a failure. A full disk takes no row: it is tried again,
   * in order, until there is room; what is not written by the next start is found out again then.
   */
  function told(write: () => void): void {
    unwritten.push(write)
    if (again === undefined) flush()
  }

  function flush(): void {
    again = undefined
    for (let write = unwritten[0]; write !== undefined; write = unwritten[0]) {
      try {
        write()
      } catch (error) {
        log.error('cast.unrecorded', { reason: reasonOf(error) })
        if (isDiskFull(error)) {
          again = setTimeout(flush, UNWRITTEN_AGAIN_MS)
          again.unref()
          return
        }
      }
      unwritten.shift()
    }
  }

  /** Ends the row. The content goes when nobody needs it any more, at the latest after the grace. */
  function close(row: Row, reason: string): void {
    db.update(table).set({ open: false, endedAtMs: clock.nowMs(), reason }).where(eq(table.id, row.id)).run()
    clearTimeout(restarts.get(row.id)?.timer)
    restarts.delete(row.id)
    if (isNeeded(row.id)) releaseLater(row.id, GRACE_MS)
    else release(row.id)
    bus.publish({ kind: 'cast.changed', id: row.id })
  }

  function isNeeded(id: number): boolean {
    return resumed.has(id) || (clients.get(id)?.size ?? 0) > 0
  }

  function releaseLater(id: number, delayMs: number): void {
    const timer = setTimeout(() => told(() => release(id)), delayMs)
    timer.unref()
    graces.set(id, timer)
  }

  /** Lets go of the content and the keys; what nobody else shows is collected. */
  function release(id: number): void {
    clearTimeout(graces.get(id))
    graces.delete(id)
    clients.delete(id)
    resumed.delete(id)
    const row = find(id)
    if (!row.ok) return
    const { contentId } = row.value
    const groupId =
      contentId === null
        ? undefined
        : db.select({ id: contents.groupId }).from(contents).where(eq(contents.id, contentId)).get()?.id
    db.update(table).set({ contentId: null, session: null }).where(eq(table.id, id)).run()
    if (groupId !== undefined)
      library
        .collect(groupId)
        .catch((error: unknown) => log.error('library.collect', { group: groupId, reason: reasonOf(error) }))
  }

  /** A client told how it ended. Who falls back still fetches ranges. */
  function account(row: Row, { clientId, outcome }: DoneRequest): void {
    if (outcome === 'fallback') clientsOf(row.id).add(clientId)
    else clientsOf(row.id).delete(clientId)
    if (!row.open && !isNeeded(row.id)) release(row.id)
  }

  function clientsOf(id: number): Set<number> {
    const known = clients.get(id) ?? new Set()
    clients.set(id, known)
    return known
  }

  return {
    create: async (wanted, who) => {
      const image = library.images.show(wanted.image)
      if (!image.ok) return image
      const { name, description, fileName, group, contentId } = image.value
      const row = db
        .insert(table)
        .values({
          name,
          imageName: name,
          description,
          fileName,
          group,
          contentId,
          interfaceName: wanted.interfaceName ?? null,
          rateBitsPerSecond: wanted.rateBitsPerSecond ?? null,
          open: true,
          createdBy: nameOf(who),
          createdAtMs: clock.nowMs(),
        })
        .returning()
        .get()
      const started = await start(row).catch((error: unknown) => {
        close(row, reasonOf(error))
        throw error
      })
      if (!started.ok) {
        close(row, started.error.message)
        return started
      }
      bus.publish({ kind: 'cast.changed', id: row.id })
      return ok(describe(row))
    },
    list: () => db.select().from(table).orderBy(desc(table.id)).limit(200).all().map(describe),
    show: (id) => {
      const row = find(id)
      return row.ok ? ok(describe(row.value)) : row
    },
    stop: (id, options) => {
      const row = find(id)
      if (!row.ok) return row
      if (!row.value.open)
        return refuse('cast-over', `transmission ${id} has already ended`, 'There is nothing left to stop.')
      // Its clients may take longer than this appliance runs: after a restart it must not come back.
      if (casts.stop(String(id), options).ok) db.update(table).set({ reason: 'stopped' }).where(eq(table.id, id)).run()
      else close(row.value, 'stopped')
      const after = find(id)
      return after.ok ? ok(describe(after.value)) : after
    },
    manifest: async (id, signal) => {
      const row = findRunning(id)
      return row.ok ? casts.manifest(String(id), signal) : row
    },
    join: async (id, request, signal) => {
      const row = findRunning(id)
      if (!row.ok) return row
      const joined = await casts.join(String(id), request, signal)
      if (joined.ok) clientsOf(id).add(joined.value.clientId)
      return joined
    },
    done: (id, request) => {
      const found = find(id)
      if (!found.ok) return found
      const row = found.value
      if (row.open) {
        const running = findRunning(id)
        if (!running.ok) return running
        const told = casts.done(String(id), request)
        if (told.ok) account(row, request)
        return told
      }
      // Once the content is gone, no client's end is of interest.
      if (!row.session) return ok(undefined)
      const proved = checkProof(row.session as SessionRecord, request)
      if (proved.ok) account(row, request)
      return proved
    },
    content: async (id) => {
      const row = find(id)
      return row.ok ? contentOf(row.value) : row
    },
    resume: async () => {
      const ended = db
        .select()
        .from(table)
        .where(and(eq(table.open, false), isNotNull(table.contentId)))
        .all()
      for (const row of ended) {
        // The clock may have been set back: never longer than the grace.
        const leftMs = Math.min(GRACE_MS, (row.endedAtMs ?? 0) + GRACE_MS - clock.nowMs())
        resumed.add(row.id)
        if (leftMs > 0) releaseLater(row.id, leftMs)
        else release(row.id)
      }
      for (const row of db.select().from(table).where(eq(table.open, true)).all()) {
        resumed.add(row.id)
        if (row.reason === null) await restart(row)
        else close(row, row.reason)
      }
    },
    onSession: (record) =>
      told(() => {
        db.update(table)
          .set({ session: record })
          .where(and(eq(table.id, Number(record.castId)), eq(table.open, true)))
          .run()
      }),
    onStatus: (status) => {
      if (closing) return
      const id = Number(status.castId)
      const { state, failure } = status
      if (state !== 'failed' && state !== 'stopped') return bus.publish({ kind: 'cast.changed', id })
      told(() => {
        if (failure) failed(id, failure)
        const row = findOpen(id)
        if (state === 'stopped' && row.ok) close(row.value, 'stopped')
        else bus.publish({ kind: 'cast.changed', id })
      })
    },
    [Symbol.dispose]: () => {
      closing = true
      for (const { timer } of restarts.values()) clearTimeout(timer)
      for (const timer of graces.values()) clearTimeout(timer)
      clearTimeout(again)
    },
  }
}

/** Of an open one that does not run: what is known of it without a sender. */
function waitingStatus(row: Row, failure: Failure | undefined): TransmissionStatus {
  const session = row.session ? (row.session as SessionRecord) : undefined
  return {
    castId: String(row.id),
    label: row.name,
    state: 'preparing',
    ...(failure === undefined ? {} : { failure: { code: failure.code, message: failure.message } }),
    sizeBytes: 0,
    hashedBytes: 0,
    group: session?.group ?? '0.0.0.0',
    port: session?.port ?? 0,
    ...(row.interfaceName === null ? {} : { interfaceName: row.interfaceName }),
    pass: 0,
    allowedBitsPerSecond: 0,
    sentBitsPerSecond: 0,
    sentBytes: 0,
    clients: [],
    heard: { clients: 0, of: 0 },
  }
}
