/**
 * Jobs: long work with a name, steps, progress and an end that is told truly. A row says what a job is; the work itself
 * lives in memory, so a job that ran when the appliance stopped is `failed` with code `interrupted` after the restart,
 * and its folder is gone.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { desc, eq, inArray } from 'drizzle-orm'
import type { Clock } from '../base/clock.ts'
import { diskFull, isDiskFull } from '../base/disk-full.ts'
import type { Bus } from '../base/events.ts'
import { type Log, reasonOf } from '../base/log.ts'
import { nameOf, type Principal } from '../base/principal.ts'
import { Fault, type Refusal, Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { jobs as table } from '../db/schema.ts'

export type Job = typeof table.$inferSelect

export type JobContext = {
  readonly id: number
  readonly signal: AbortSignal
  /** A folder of the job's own on the data disk; removed when the job ends, however it ends. */
  readonly dir: string
  readonly step: (name: string) => void
  readonly progress: (doneBytes: number, totalBytes: number) => void
  /**
   * For a transaction that publishes what the job made: the row says `done` by the same commit. Between two commits the
   * power may fail, and a job that is told as interrupted has left nothing.
   */
  readonly committed: (result: Readonly<Record<string, unknown>>) => void
}

export type JobSpec = {
  readonly kind: string
  readonly title: string
  /** The group it works on, if it is one. */
  readonly groupId?: number | undefined
  readonly who: Principal
  /** Jobs of one lane run one after the other, in the order they came. */
  readonly lane: string
  readonly run: (context: JobContext) => Promise<Result<Readonly<Record<string, unknown>>>>
  /** Clears away what the job was given, e.g. an upload. Runs at the end of each job, also of one that never ran. */
  readonly afterwards?: (() => Promise<void>) | undefined
}

export type Jobs = AsyncDisposable & {
  readonly start: (spec: JobSpec) => Job
  /** Newest first. */
  readonly list: (limit?: number) => Job[]
  readonly show: (id: number) => Result<Job>
  readonly cancel: (id: number) => Result<Job>
  /** Resolves when the job has ended. */
  readonly ended: (id: number) => Promise<Job>
  /** A job of the lane runs or waits. */
  readonly isBusy: (lane: string) => boolean
  /** Runs short work in a lane without a row: what must not happen beside a job of that lane. */
  readonly inLane: <T>(lane: string, work: () => Promise<T>) => Promise<T>
}

type Live = {
  readonly spec: JobSpec
  readonly abort: AbortController
  readonly done: Promise<void>
  doneBytes: number
  totalBytes: number
  publishedAtMs: number
  begun: boolean
}

/** Progress reaches listeners at most this often. */
const PROGRESS_EVERY_MS = 250

export function openJobs(deps: {
  readonly db: Db
  readonly dataDir: string
  readonly bus: Bus
  readonly log: Log
  readonly clock: Clock
}): Jobs {
  const { db, bus, log, clock } = deps
  const workDir = join(deps.dataDir, 'work')
  const live = new Map<number, Live>()
  const lanes = new Map<string, Promise<unknown>>()
  /** Jobs that were cancelled while they waited: what they were given is being removed. */
  const clearing = new Map<number, Promise<void>>()
  const unwritten = new Map<number, Partial<Job>>()

  rmSync(workDir, { recursive: true, force: true })
  mkdirSync(workDir, { recursive: true, mode: 0o750 })
  const cut = db
    .update(table)
    .set({
      state: 'failed',
      endedAtMs: clock.nowMs(),
      error: {
        code: 'interrupted',
        message: 'the appliance stopped while this job ran',
        hint: 'Nothing of it was kept. Start it again.',
      },
    })
    .where(inArray(table.state, ['queued', 'running']))
    .returning({ id: table.id, kind: table.kind })
    .all()
  for (const { id, kind } of cut) log.warning('job.interrupted', { id, kind })

  function inLane<T>(lane: string, work: () => Promise<T>): Promise<T> {
    const before = lanes.get(lane) ?? Promise.resolve()
    const mine = before.then(work, work)
    const settled = mine.then(
      () => {},
      () => {},
    )
    lanes.set(lane, settled)
    settled.then(() => {
      if (lanes.get(lane) === settled) lanes.delete(lane)
    })
    return mine
  }

  /**
   * A full disk takes no row either. The work goes on to its own end, and what could not be written is told from memory
   * until it can; what is not written by the next start was `interrupted`.
   */
  function record(id: number, set: Partial<Job>): void {
    unwritten.set(id, { ...unwritten.get(id), ...set })
    flush()
    bus.publish({ kind: 'job.changed', id })
  }

  function flush(): void {
    for (const [id, set] of unwritten)
      try {
        db.update(table).set(set).where(eq(table.id, id)).run()
        unwritten.delete(id)
      } catch (error) {
        log.error('job.unrecorded', { id, state: set.state, step: set.step, reason: reasonOf(error) })
        return
      }
  }

  /** A row as it is now: what is known but not written, and the progress of what runs. */
  function current(row: Job): Job {
    const running = live.get(row.id)
    return {
      ...row,
      ...unwritten.get(row.id),
      ...(running ? { doneBytes: running.doneBytes, totalBytes: running.totalBytes } : {}),
    }
  }

  function show(id: number): Result<Job> {
    const row = db.select().from(table).where(eq(table.id, id)).get()
    if (!row) return refuse('not-found', `there is no job ${id}`, 'List them: wimcast job list.')
    return ok(current(row))
  }

  function isDone(id: number): boolean {
    return db.select({ state: table.state }).from(table).where(eq(table.id, id)).get()?.state === 'done'
  }

  async function outcome(spec: JobSpec, context: JobContext): Promise<Result<Readonly<Record<string, unknown>>>> {
    try {
      mkdirSync(context.dir, { recursive: true, mode: 0o750 })
      return await spec.run(context)
    } catch (error) {
      if (context.signal.aborted)
        return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
      if (error instanceof Refused) return { ok: false, error: error.refusal }
      if (isDiskFull(error)) return diskFull()
      log.error('job.fault', { id: context.id, kind: spec.kind, reason: reasonOf(error) })
      const hint = error instanceof Fault ? error.hint : 'This is a fault of wimcast or of the machine: see the log.'
      return refuse('unavailable', error instanceof Fault ? error.message : 'the job met an unexpected fault', hint)
    }
  }

  /** What cannot be removed now goes at the next start; the job's end is told all the same. */
  async function clearAway(spec: JobSpec, dir: string): Promise<void> {
    try {
      await rm(dir, { recursive: true, force: true })
      await spec.afterwards?.()
    } catch (error) {
      log.error('job.leftovers', { kind: spec.kind, reason: reasonOf(error) })
    }
  }

  async function work(id: number, spec: JobSpec, abort: AbortController): Promise<void> {
    const dir = join(workDir, String(id))
    let committed: Readonly<Record<string, unknown>> | undefined
    const context: JobContext = {
      id,
      signal: abort.signal,
      dir,
      step: (name) => record(id, { step: name }),
      progress: (doneBytes, totalBytes) => {
        const row = live.get(id)
        if (!row) return
        row.doneBytes = doneBytes
        row.totalBytes = totalBytes
        const now = clock.monotonicMs()
        if (now - row.publishedAtMs < PROGRESS_EVERY_MS) return
        row.publishedAtMs = now
        bus.publish({ kind: 'job.changed', id })
      },
      committed: (result) => {
        committed = result
        db.update(table).set({ state: 'done', endedAtMs: clock.nowMs(), result }).where(eq(table.id, id)).run()
      },
    }
    const startedMs = clock.monotonicMs()
    const own = live.get(id)
    // Cancelled while it waited: it has ended already.
    if (!own) return
    own.begun = true
    record(id, { state: 'running' })
    let result = await outcome(spec, context)
    // Whether that commit came to be, the row says: what threw may have been the commit itself.
    if (committed && !result.ok && isDone(id)) {
      // What it made is there; a fault after that is for the log.
      log.error('job.after-commit', { id, kind: spec.kind, reason: result.error.message })
      result = { ok: true, value: committed }
    }
    await clearAway(spec, dir)
    const progress = live.get(id)
    live.delete(id)
    const end = { endedAtMs: clock.nowMs(), doneBytes: progress?.doneBytes ?? 0, totalBytes: progress?.totalBytes ?? 0 }
    const tookMs = Math.round(clock.monotonicMs() - startedMs)
    if (result.ok) {
      record(id, { ...end, state: 'done', result: result.value })
      log.info('job.done', { id, kind: spec.kind, tookMs })
    } else {
      record(id, {
        ...end,
        state: result.error.code === 'cancelled' ? 'cancelled' : 'failed',
        error: plain(result.error),
      })
      log.warning('job.failed', { id, kind: spec.kind, code: result.error.code, reason: result.error.message, tookMs })
    }
  }

  return {
    start: (spec) => {
      const row = db
        .insert(table)
        .values({
          kind: spec.kind,
          title: spec.title,
          groupId: spec.groupId ?? null,
          state: 'queued',
          step: 'waiting',
          startedBy: nameOf(spec.who),
          createdAtMs: clock.nowMs(),
        })
        .returning()
        .get()
      const abort = new AbortController()
      const done = inLane(spec.lane, () => work(row.id, spec, abort))
      live.set(row.id, { abort, done, doneBytes: 0, totalBytes: 0, publishedAtMs: 0, begun: false, spec })
      bus.publish({ kind: 'job.changed', id: row.id })
      return row
    },
    list: (limit = 200) => db.select().from(table).orderBy(desc(table.id)).limit(limit).all().map(current),
    show,
    cancel: (id) => {
      const row = show(id)
      if (!row.ok) return row
      const running = live.get(id)
      if (!running)
        return refuse('in-use', `job ${id} has already ended (${row.value.state})`, 'There is nothing left to cancel.')
      running.abort.abort()
      if (running.begun) return row
      // It waits for another job, perhaps for hours: it ends now, and its turn in the lane does nothing.
      live.delete(id)
      const error = { code: 'cancelled', message: 'the job was cancelled', hint: 'Start it again when you want it.' }
      record(id, { state: 'cancelled', endedAtMs: clock.nowMs(), error })
      const cleared = clearAway(running.spec, join(workDir, String(id))).finally(() => clearing.delete(id))
      clearing.set(id, cleared)
      return show(id)
    },
    ended: async (id) => {
      await (live.get(id)?.done ?? clearing.get(id))
      const row = show(id)
      if (!row.ok) throw new Refused(row.error)
      return row.value
    },
    // One that is told as done only clears away: whoever waited for that may go on.
    isBusy: (lane) => [...live].some(([id, job]) => job.spec.lane === lane && !isDone(id)),
    inLane,
    [Symbol.asyncDispose]: async () => {
      const all = [...live.values()]
      for (const job of all) job.abort.abort()
      await Promise.allSettled([...all.map((job) => job.done), ...clearing.values(), ...lanes.values()])
      flush()
    },
  }
}

function plain(refusal: Refusal): { code: string; message: string; hint: string; facts?: Record<string, unknown> } {
  return { ...refusal, ...(refusal.facts ? { facts: { ...refusal.facts } } : {}) } as ReturnType<typeof plain>
}
