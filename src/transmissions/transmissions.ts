/**
 * Transmissions: an install image, offered by multicast. Joins the library (what is sent) with the cast room (how), and
 * keeps the rows: an open transmission holds a lease on its content and comes back after a restart with its addresses
 * and keys, so that receivers go on. A ScheduledCast is held until its clients are there, or its time, or somebody starts
 * it. What fails for a reason that may pass (a network that is not up yet) stays open and is started again; what has
 * ended keeps its lease while clients still fetch the rest over HTTPS.
 */
import { and, eq, isNotNull } from 'drizzle-orm'
import type { By, Changed, Changes, Facts } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import type { Content } from '../base/content.ts'
import type { Bus } from '../base/events.ts'
import { type Log, reasonOf } from '../base/log.ts'
import { APPLIANCE, type Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { err, ok, type Result } from '../base/result.ts'
import type { DoneRequest, JoinAnswer, JoinRequest, SessionRecord, TransmissionStatus } from '../cast/control.ts'
import { type Casts, checkProof } from '../cast/transmissions.ts'
import type { Db } from '../db/open.ts'
import { contents, transmissions as table } from '../db/schema.ts'
import type { Alongside } from '../library/alongside.ts'
import type { Library } from '../library/library.ts'
import { findImage, type InstallImage, type Selector } from '../library/rows.ts'
import type { Contents } from '../library/store/contents.ts'
import { dropLeases, leaseOf, takeLeases } from './leases.ts'
import { GRACE_MS, openNeeds } from './needs.ts'
import { freeName, type Multicast, type Plan, parsePlan, warningsOf } from './plan.ts'
import { isFinal, openRestarts } from './restarts.ts'
import {
  endpointOf,
  endpointsOfOpen,
  factsOf,
  findRow,
  insertRow,
  isHeld,
  listRows,
  nameFree,
  openNames,
  openRows,
  type Row,
  sessionOf,
  subjectOf,
  termsOf,
} from './rows.ts'
import { describe, type Failure, readyOf, statusWithoutSender, type Transmission } from './shown.ts'
import type { StartReason } from './start-rule.ts'
import { openUnwritten } from './unwritten.ts'
import { openWaiting } from './waiting.ts'

export type NewTransmission = Multicast & { readonly image: Selector }

/** Parsed and allowed: what is left is to insert it with its image, by the commit that makes that. */
export type Planned = {
  readonly warnings: readonly string[]
  /** Its value is what the transmission is; it begins after the commit. May be called for several images. */
  readonly insert: Alongside
}

/** Dispose it before the cast room: what that ends from then on ends with the appliance, and comes back with it. */
export type Transmissions = Disposable & {
  readonly create: (wanted: NewTransmission, by: By) => Promise<Result<Transmission>>
  /** To be asked before a copy or an import begins, which then fails at once and not at its end. */
  readonly plan: (asked: Multicast) => Result<Planned>
  readonly list: (who: Principal) => Transmission[]
  readonly show: (id: number, who: Principal) => Result<Transmission>
  /** Of one that waits. Refused while there is nobody to begin with. */
  readonly start: (id: number, by: By) => Result<Transmission>
  readonly stop: (id: number, options: { readonly force: boolean }, by: By) => Result<Transmission>
  readonly manifest: (id: number, who: Principal, signal: AbortSignal) => Promise<Result<Uint8Array>>
  readonly join: (id: number, request: JoinRequest, who: Principal, signal: AbortSignal) => Promise<Result<JoinAnswer>>
  readonly done: (id: number, request: DoneRequest, who: Principal) => Result<void>
  /** The content of the transmission, for clients that fetch ranges; the same bytes that are multicast. */
  readonly content: (id: number, who: Principal) => Promise<Result<Content>>
  /** Brings open transmissions back after a start. */
  readonly resume: () => Promise<void>
  /** What the cast room told: to be called by whoever opened it. */
  readonly onSession: (record: SessionRecord) => void
  readonly onStatus: (status: TransmissionStatus) => void
}

export type TransmissionsDeps = {
  readonly db: Db
  readonly changes: Changes
  /** Of times that are given without one: the setting. */
  readonly timeZone: () => string
  readonly casts: Casts
  readonly library: {
    readonly images: { readonly content: Contents['of'] }
    readonly collect: Library['collect']
  }
  readonly bus: Bus
  readonly log: Log
  readonly clock: Clock
}

function over(id: number): Result<never> {
  return refuse('cast-over', `transmission ${id} has ended`, 'Make a new one: wimcast cast new.')
}

export function openTransmissions(deps: TransmissionsDeps): Transmissions {
  const { db, changes, casts, library, bus, log, clock } = deps
  let closing = false
  const unwritten = openUnwritten({ log })
  const told = unwritten.write
  /** Open ones that failed and will be started again. */
  const restarts = openRestarts({
    clock,
    log,
    start: (id) => {
      const again = findOpen(id)
      if (again.ok) void restart(again.value)
    },
  })
  const needs = openNeeds((id) => told(() => release(id)))
  const waiting = openWaiting({
    clock,
    ready: (id) => {
      const live = casts.show(String(id))
      return live.ok ? readyOf(live.value) : 0
    },
    begin: (id, reason, ready) =>
      told(() => {
        const begun = begin(id, { who: APPLIANCE }, reason, ready)
        if (!begun.ok) waiting.forget(id)
      }),
  })
  function find(id: number, who: Principal = APPLIANCE): Result<Row> {
    return findRow(db, id, who)
  }

  function findOpen(id: number, who?: Principal): Result<Row> {
    const row = find(id, who)
    return row.ok && !row.value.open ? over(id) : row
  }

  function isRunning(row: Row): boolean {
    return casts.show(String(row.id)).ok
  }

  /** Open, and there is a sender to talk to. */
  function findRunning(id: number, who: Principal): Result<Row> {
    const row = findOpen(id, who)
    if (!row.ok || isRunning(row.value)) return row
    const why = restarts.failureOf(id)?.message
    return refuse(
      'unavailable',
      `transmission ${id} does not run yet${why === undefined ? '' : `: ${why}`}`,
      'It starts by itself: try again in a moment.',
    )
  }

  function statusOf(row: Row): TransmissionStatus | undefined {
    if (!row.open) return undefined
    const live = casts.show(String(row.id))
    return live.ok ? live.value : statusWithoutSender(row, endpointOf(db, row.id), restarts.failureOf(row.id))
  }

  function shown(row: Row): Transmission {
    return describe(row, statusOf(row))
  }

  /** The row's content by the names and out of the segments it was made with: others would be another root. */
  async function contentOf(row: Row): Promise<Result<Content>> {
    const { imageName: name, description, fileName } = row
    for (;;) {
      const lease = leaseOf(db, row.id)
      if (!lease) return over(row.id)
      const content = await library.images.content({ ...lease, name, description, fileName })
      if (!content.ok || lease.recipe) return content
      takeLeases(db, row.id, content.value.recipe)
    }
  }

  /** Also the first one: a row that came by a copy or an import has not been started before. */
  async function start(row: Row): Promise<Result<TransmissionStatus>> {
    const content = await contentOf(row)
    if (!content.ok) return content
    const earlier = sessionOf(db, row.id)
    if (isHeld(row)) waiting.add(row.id, termsOf(row))
    const started = await casts.create({
      castId: String(row.id),
      label: row.name,
      content: content.value,
      ...(row.interfaceName === null ? {} : { interfaceName: row.interfaceName }),
      ...(row.rateBitsPerSecond === null ? {} : { rateBitsPerSecond: row.rateBitsPerSecond }),
      ...(earlier ? { earlier } : {}),
      ...(isHeld(row) ? { held: row.clientCount === null ? {} : { clientCount: row.clientCount } } : {}),
      avoid: endpointsOfOpen(db, row.id),
    })
    if (!started.ok) return started
    // Somebody may have stopped it meanwhile.
    const now = findOpen(row.id)
    if (now.ok && now.value.reason === null) return started
    casts.stop(String(row.id), { force: true })
    return over(row.id)
  }

  /** Written before a byte is sent: after a crash nobody waits for what has begun. */
  function begin(id: number, by: By, reason: StartReason | 'hand', ready: number): Result<Row> {
    return changes.apply(by, () => {
      const found = findOpen(id, by.who)
      if (!found.ok) return found
      const row = found.value
      if (row.reason !== null) return over(id)
      if (!isHeld(row))
        return refuse(
          'already-started',
          row.kind === 'auto'
            ? `transmission ${id} is an AutoCast: it sends to whoever joins, and waits for nothing`
            : `transmission ${id} has started already`,
          'Clients may join it at any time.',
        )
      if (ready < 1)
        return refuse(
          'no-clients',
          `no client waits for transmission ${id}`,
          'Let one join first: wimcast receive --cast ID --out FILE. It is counted when it hears the group.',
        )
      const startedAtMs = clock.nowMs()
      db.update(table).set({ startedAtMs }).where(eq(table.id, id)).run()
      return ok({
        value: { ...row, startedAtMs },
        entries: [{ verb: 'cast.start', subject: subjectOf(row), after: { id, by: reason, clients: ready } }],
        afterwards: () => {
          waiting.forget(id)
          casts.release(String(id))
          log.info('cast.started', { cast: id, by: reason, clients: ready })
          bus.publish({ kind: 'cast.changed', id })
        },
      })
    })
  }

  function insert(plan: Plan & { readonly name: string }, image: InstallImage, by: By): Result<Changed<Row>> {
    const row = insertRow(db, plan, image, { by, nowMs: clock.nowMs() })
    if (!row.ok) return row
    return ok({
      value: row.value,
      entries: [{ verb: 'cast.new', subject: subjectOf(row.value), after: factsOf(row.value) }],
    })
  }

  function parse(asked: Multicast): Result<Plan> {
    const plan = parsePlan(asked, { timeZone: deps.timeZone(), nowMs: clock.nowMs() })
    if (!plan.ok) return plan
    const network = casts.check(plan.value.interfaceName)
    if (!network.ok) return network
    const free = plan.value.name === undefined ? network : nameFree(db, plan.value.name)
    return free.ok ? plan : free
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
    if (started.ok) log.info('cast.runs', { cast: row.id, name: row.name })
    else failed(row.id, started.error)
    bus.publish({ kind: 'cast.changed', id: row.id })
  }

  /** It does not run: for good, or until the next try. */
  function failed(id: number, failure: Failure): void {
    const row = findOpen(id)
    if (!row.ok) return
    if (isFinal(failure) || row.value.reason !== null) {
      log.error('cast.ended', { cast: id, code: failure.code, reason: failure.message })
      close(row.value, row.value.reason ?? failure.message)
      return
    }
    restarts.later(id, failure)
  }

  /** Ends the row. The content goes when nobody needs it any more, at the latest after the grace. */
  function close(row: Row, reason: string): void {
    writeEnd(row, reason)
    afterEnd(row.id)
  }

  function writeEnd(row: Row, reason: string): void {
    db.update(table).set({ open: false, endedAtMs: clock.nowMs(), reason }).where(eq(table.id, row.id)).run()
  }

  function afterEnd(id: number): void {
    restarts.forget(id)
    waiting.forget(id)
    if (needs.has(id)) needs.endLater(id, GRACE_MS)
    else release(id)
    bus.publish({ kind: 'cast.changed', id })
  }

  /** Lets go of the content and the keys; what nobody else shows is collected. */
  function release(id: number): void {
    needs.forget(id)
    const row = find(id)
    if (!row.ok) return
    const { contentId } = row.value
    const groupId =
      contentId === null
        ? undefined
        : db.select({ id: contents.groupId }).from(contents).where(eq(contents.id, contentId)).get()?.id
    dropLeases(db, id)
    if (groupId !== undefined)
      library
        .collect(groupId)
        .catch((error: unknown) => log.error('library.collect', { group: groupId, reason: reasonOf(error) }))
  }

  /** A client told how it ended. Who falls back still fetches ranges. */
  function account(row: Row, { clientId, outcome }: DoneRequest): void {
    if (outcome === 'fallback') needs.add(row.id, clientId)
    else needs.remove(row.id, clientId)
    if (!row.open && !needs.has(row.id)) release(row.id)
  }

  return {
    create: async (wanted, by) => {
      const found = findImage(db, wanted.image, by.who)
      if (!found.ok) return found
      const plan = parse(wanted)
      if (!plan.ok) return plan
      // One that cannot be had whole is refused before there is a row, and in a dry run too.
      const whole = await library.images.content(found.value)
      if (!whole.ok) return whole
      const warnings = warningsOf(plan.value, clock.nowMs())
      const more = warnings.length === 0 ? {} : { warnings }
      const made = changes.apply(by, () => {
        // As it is by now.
        const image = findImage(db, wanted.image, by.who)
        if (!image.ok) return image
        const name = plan.value.name ?? image.value.name
        const free = nameFree(db, name)
        return free.ok ? insert({ ...plan.value, name }, image.value, by) : free
      })
      if (!made.ok) return made
      const row = made.value
      if (by.dryRun) return ok({ ...describe(row, statusWithoutSender(row, undefined, undefined)), ...more })
      const started = await start(row).catch((error: unknown) => {
        close(row, reasonOf(error))
        throw error
      })
      if (!started.ok) {
        close(row, started.error.message)
        return started
      }
      bus.publish({ kind: 'cast.changed', id: row.id })
      return ok({ ...shown(row), ...more })
    },
    plan: (asked) => {
      const plan = parse(asked)
      if (!plan.ok) return plan
      const insertAlongside = (image: InstallImage, by: By): Result<Changed<Facts>> => {
        const name = freeName(plan.value.name ?? image.name, openNames(db))
        const made = insert({ ...plan.value, name }, image, by)
        if (!made.ok) return made
        const row = made.value.value
        const warnings = warningsOf(plan.value, clock.nowMs())
        return ok({
          value: { ...factsOf(row), ...(warnings.length === 0 ? {} : { warnings }) },
          entries: made.value.entries,
          // What is wrong with the network then shows in its status; the image stands.
          afterwards: () => void restart(row),
        })
      }
      return ok({ warnings: warningsOf(plan.value, clock.nowMs()), insert: insertAlongside })
    },
    list: (who) => listRows(db, who).map(shown),
    show: (id, who) => {
      const row = find(id, who)
      return row.ok ? ok(shown(row.value)) : row
    },
    start: (id, by) => {
      const live = casts.show(String(id))
      const begun = begin(id, by, 'hand', readyOf(live.ok ? live.value : undefined))
      return begun.ok ? ok(shown(begun.value)) : begun
    },
    stop: (id, options, by) =>
      changes.apply(by, () => {
        const found = find(id, by.who)
        if (!found.ok) return found
        const row = found.value
        if (!row.open)
          return refuse('cast-over', `transmission ${id} has already ended`, 'There is nothing left to stop.')
        const runs = isRunning(row)
        // Its clients may take longer than this appliance runs: after a restart it must not come back.
        if (runs) db.update(table).set({ reason: 'stopped' }).where(eq(table.id, id)).run()
        else writeEnd(row, 'stopped')
        const after = find(id)
        if (!after.ok) return after
        return ok({
          value: shown(after.value),
          entries: [{ verb: 'cast.stop', subject: subjectOf(row), after: { id, force: options.force } }],
          afterwards: () => {
            if (runs) casts.stop(String(id), options)
            else afterEnd(id)
          },
        })
      }),
    manifest: async (id, who, signal) => {
      const row = findRunning(id, who)
      return row.ok ? casts.manifest(String(id), signal) : row
    },
    join: async (id, request, who, signal) => {
      const row = findRunning(id, who)
      if (!row.ok) return row
      const joined = await casts.join(String(id), request, signal)
      if (joined.ok) needs.add(id, joined.value.clientId)
      return joined
    },
    done: (id, request, who) => {
      const found = find(id, who)
      if (!found.ok) return found
      const row = found.value
      if (row.open) {
        const running = findRunning(id, who)
        if (!running.ok) return running
        const told = casts.done(String(id), request)
        if (told.ok) account(row, request)
        return told
      }
      // Once the content is gone, no client's end is of interest.
      const session = sessionOf(db, id)
      if (!session) return ok(undefined)
      const proved = checkProof(session, request)
      if (proved.ok) account(row, request)
      return proved
    },
    content: async (id, who) => {
      const row = find(id, who)
      return row.ok ? contentOf(row.value) : row
    },
    resume: async () => {
      const ended = db
        .select({ id: table.id, endedAtMs: table.endedAtMs })
        .from(table)
        .where(and(eq(table.open, false), isNotNull(table.contentId)))
        .all()
      for (const row of ended) {
        // The clock may have been set back: never longer than the grace.
        const leftMs = Math.min(GRACE_MS, (row.endedAtMs ?? 0) + GRACE_MS - clock.nowMs())
        needs.addUnknown(row.id)
        if (leftMs > 0) needs.endLater(row.id, leftMs)
        else release(row.id)
      }
      for (const row of openRows(db)) {
        needs.addUnknown(row.id)
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
      if (state !== 'failed' && state !== 'stopped') {
        waiting.look(id)
        return bus.publish({ kind: 'cast.changed', id })
      }
      told(() => {
        if (failure) failed(id, failure)
        const row = findOpen(id)
        if (state === 'stopped' && row.ok) close(row.value, 'stopped')
        else bus.publish({ kind: 'cast.changed', id })
      })
    },
    [Symbol.dispose]: () => {
      closing = true
      for (const part of [restarts, needs, waiting, unwritten]) part[Symbol.dispose]()
    },
  }
}
