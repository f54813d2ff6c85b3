/** Jobs: their rows tell the truth however they end, lanes keep order, folders go. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../../src/base/clock.ts'
import { openBus, type WimcastEvent } from '../../src/base/events.ts'
import { formatLine, type Log } from '../../src/base/log.ts'
import { Fault, Refused, refuse } from '../../src/base/refusal.ts'
import { ok, type Result } from '../../src/base/result.ts'
import { type OpenDb, openDb } from '../../src/db/open.ts'
import { jobs as table } from '../../src/db/schema.ts'
import { type Job, type JobContext, type JobSpec, type Jobs, openJobs } from '../../src/jobs/jobs.ts'
import { LOCAL, must } from '../fixtures/library.ts'

let dataDir: string
let opened: OpenDb
let jobs: Jobs
let events: WimcastEvent[]
let lines: string[]
let nowMs: number

const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => nowMs }
const note = (name: string, facts?: Parameters<typeof formatLine>[1]): void => void lines.push(formatLine(name, facts))
const log: Log = { error: note, warning: note, info: note, debug: note }

function open(): void {
  const bus = openBus()
  bus.subscribe((event) => events.push(event), { signal: new AbortController().signal })
  jobs = openJobs({ db: opened.db, dataDir, bus, log, clock })
}

beforeEach(() => {
  nowMs = 1_000_000
  events = []
  lines = []
  dataDir = mkdtempSync(join(tmpdir(), 'wimcast-jobs-'))
  opened = openDb(dataDir)
  open()
})
afterEach(async () => {
  await jobs[Symbol.asyncDispose]()
  opened[Symbol.dispose]()
  rmSync(dataDir, { recursive: true })
})

function start(run: JobSpec['run'], more: Partial<JobSpec> = {}): Job {
  return jobs.start({ kind: 'test', title: 'a test', who: LOCAL, lane: 'a', run, ...more })
}

const leftovers = (): string[] => readdirSync(join(dataDir, 'work'))

/** A job that begins, says so, and goes on when told. */
function gate(): {
  run: JobSpec['run']
  begun: Promise<JobContext>
  go: (result: Result<Record<string, unknown>>) => void
} {
  const begun = Promise.withResolvers<JobContext>()
  const end = Promise.withResolvers<Result<Record<string, unknown>>>()
  return {
    run: (context) => {
      begun.resolve(context)
      return end.promise
    },
    begun: begun.promise,
    go: end.resolve,
  }
}

describe('the end', () => {
  test('done, with what it made', async () => {
    const job = await jobs.ended(
      start(async (context) => {
        writeFileSync(join(context.dir, 'x'), 'x')
        context.step('half')
        context.progress(5, 10)
        nowMs += 50
        return ok({ made: 3 })
      }).id,
    )
    expect(job).toMatchObject({
      state: 'done',
      step: 'half',
      doneBytes: 5,
      totalBytes: 10,
      result: { made: 3 },
      startedBy: 'local',
      createdAtMs: 1_000_000,
      endedAtMs: 1_000_050,
    })
    expect(leftovers()).toEqual([])
    expect(lines).toEqual([`job.done id=${job.id} kind=test tookMs=50`])
  })

  const hint = expect.stringMatching(/\w/)
  test.each<[string, JobSpec['run'], unknown]>([
    [
      'a refusal',
      async () => refuse('corrupt', 'bad', 'Get another.', { n: 1 }),
      { code: 'corrupt', message: 'bad', hint: 'Get another.', facts: { n: 1 } },
    ],
    [
      'a refusal that was thrown',
      () => Promise.reject(new Refused({ code: 'encrypted', message: 'm', hint: 'h' })),
      { code: 'encrypted', message: 'm', hint: 'h' },
    ],
    [
      'a fault',
      () => Promise.reject(new Fault('the disk', { hint: 'Change it.' })),
      { code: 'unavailable', message: 'the disk', hint: 'Change it.' },
    ],
    [
      'a bug',
      () => Promise.reject(new TypeError('x is undefined')),
      { code: 'unavailable', message: 'the job met an unexpected fault', hint },
    ],
    [
      'a bug before it waits',
      () => {
        throw new Error('at once')
      },
      { code: 'unavailable', message: 'the job met an unexpected fault', hint },
    ],
  ])('failed by %s', async (_, run, error) => {
    const job = await jobs.ended(start(run).id)
    expect(job.state).toBe('failed')
    expect(job.error).toEqual(error as Job['error'])
    expect(leftovers()).toEqual([])
  })
})

describe('cancel', () => {
  test('while it runs', async () => {
    const { run, begun, go } = gate()
    const { id } = start(run)
    const context = await begun
    expect(existsSync(context.dir)).toBe(true)
    expect(jobs.cancel(id)).toMatchObject({ ok: true })
    expect(context.signal.aborted).toBe(true)
    go(refuse('cancelled', 'it was', 'again'))
    expect(await jobs.ended(id)).toMatchObject({ state: 'cancelled', error: { code: 'cancelled' } })
    expect(leftovers()).toEqual([])
  })

  test('while it waits: it ends at once, and its turn does nothing', async () => {
    const first = gate()
    const before = start(first.run)
    await first.begun
    let ran = false
    const { id } = start(async () => {
      ran = true
      return ok({})
    })
    expect(must(jobs.show(id))).toMatchObject({ state: 'queued', step: 'waiting' })
    expect(must(jobs.cancel(id))).toMatchObject({ state: 'cancelled', error: { code: 'cancelled' } })
    expect(await jobs.ended(id)).toMatchObject({ state: 'cancelled' })
    first.go(ok({}))
    await jobs.ended(before.id)
    ;(await start(async () => ok({}))) && (await jobs.ended(before.id + 2))
    expect(ran).toBe(false)
  })

  test('what a cancelled job throws is its cancel', async () => {
    const { id } = start(
      ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('torn')))),
    )
    await Promise.resolve()
    jobs.cancel(id)
    expect(await jobs.ended(id)).toMatchObject({ state: 'cancelled' })
  })

  test('after its end, and of no job', async () => {
    const { id } = start(async () => ok({}))
    await jobs.ended(id)
    expect(jobs.cancel(id)).toMatchObject({ ok: false, error: { code: 'in-use' } })
    expect(jobs.cancel(999)).toMatchObject({ ok: false, error: { code: 'not-found' } })
    expect(jobs.show(999)).toMatchObject({ ok: false, error: { code: 'not-found' } })
    expect(jobs.ended(999)).rejects.toThrow('no job 999')
  })
})

describe('lanes', () => {
  test('one after the other in one, side by side in two', async () => {
    const order: string[] = []
    const gates = { a1: gate(), b1: gate() }
    const note = (name: string): void => void order.push(name)
    start(gates.a1.run)
    const a2 = start(async () => {
      note('a2')
      return ok({})
    })
    start(gates.b1.run, { lane: 'b' })
    await gates.a1.begun
    await gates.b1.begun
    note('both began')
    const between = jobs.inLane('a', async () => note('in lane'))
    gates.a1.go(refuse('corrupt', 'a failure holds up nobody', 'h'))
    await jobs.ended(a2.id)
    await between
    expect(order).toEqual(['both began', 'a2', 'in lane'])
    gates.b1.go(ok({}))
  })

  test('what throws in a lane is thrown to its caller and holds up nobody', async () => {
    expect(jobs.inLane('a', () => Promise.reject(new Error('mine')))).rejects.toThrow('mine')
    expect(await jobs.inLane('a', async () => 5)).toBe(5)
  })
})

describe('a stop', () => {
  test('cancels what runs and waits for it', async () => {
    const { id } = start(
      ({ signal }) =>
        new Promise((resolve) => signal.addEventListener('abort', () => resolve(refuse('cancelled', 'c', 'h')))),
    )
    await Promise.resolve()
    await jobs[Symbol.asyncDispose]()
    expect(must(jobs.show(id))).toMatchObject({ state: 'cancelled' })
  })

  test('that was a crash: what ran is interrupted, what lay in its folder is gone', async () => {
    const { run, begun } = gate()
    const running = start(run)
    const waiting = start(async () => ok({}))
    const context = await begun
    writeFileSync(join(context.dir, 'half'), 'x')
    nowMs += 1000
    open()
    for (const id of [running.id, waiting.id]) {
      expect(must(jobs.show(id))).toMatchObject({
        state: 'failed',
        endedAtMs: nowMs,
        error: { code: 'interrupted' },
      })
    }
    expect(leftovers()).toEqual([])
  })
})

test('a commit that did not come to be is no end: the job failed', async () => {
  const { id } = start(async (context) => {
    opened.db.transaction(() => {
      context.committed({ made: 1 })
      throw new Error('the commit failed')
    })
    return ok({ made: 1 })
  })
  expect(await jobs.ended(id)).toMatchObject({ state: 'failed', result: null, error: { code: 'unavailable' } })
})

test('what goes wrong after the commit does not undo it', async () => {
  const { id } = start(async (context) => {
    opened.db.transaction(() => context.committed({ made: 1 }))
    throw new Error('the file could not be unlinked')
  })
  expect(await jobs.ended(id)).toMatchObject({ state: 'done', result: { made: 1 } })
})

test('one that is told as done keeps nobody from its lane', async () => {
  const { run, begun, go } = gate()
  const { id } = start(run)
  const context = await begun
  expect(jobs.isBusy('a')).toBe(true)
  opened.db.transaction(() => context.committed({ made: 1 }))
  // It still clears away.
  expect(jobs.show(id)).toMatchObject({ value: { state: 'done' } })
  expect(jobs.isBusy('a')).toBe(false)
  go(ok({ made: 1 }))
  await jobs.ended(id)
})

test('a database that takes no row ends no process, and the job ends', async () => {
  const { run, begun, go } = gate()
  const { id } = start(run)
  const context = await begun
  // What a full disk does to every write: the database refuses it.
  opened.db.run('PRAGMA query_only = 1')
  context.step('unwritten')
  go(ok({}))
  expect(await jobs.ended(id)).toMatchObject({ state: 'done', step: 'unwritten' })
  expect(jobs.list()[0]).toMatchObject({ id, state: 'done' })
  expect(lines.filter((line) => line.startsWith('job.unrecorded')).length).toBe(2)
  expect(leftovers()).toEqual([])

  opened.db.run('PRAGMA query_only = 0')
  expect(opened.db.select().from(table).get()).toMatchObject({ id, state: 'running' })
  await jobs[Symbol.asyncDispose]()
  expect(opened.db.select().from(table).get()).toMatchObject({ id, state: 'done', step: 'unwritten', result: {} })
})

test('progress is told at once and then every quarter of a second', async () => {
  const { run, begun, go } = gate()
  const { id } = start(run)
  const context = await begun
  events.length = 0
  for (let done = 0; done < 1000; done += 1) {
    nowMs += 1
    context.progress(done, 1000)
  }
  expect(events.length).toBe(4)
  expect(must(jobs.show(id))).toMatchObject({ doneBytes: 999, totalBytes: 1000 })
  expect(jobs.list()[0]).toMatchObject({ id, doneBytes: 999 })
  go(ok({}))
  await jobs.ended(id)
  expect(events.at(-1)).toEqual({ kind: 'job.changed', id })
})

test('the list is newest first and has an end', async () => {
  const ids = Array.from({ length: 5 }, () => start(async () => ok({})).id)
  await jobs.ended(ids[4] ?? 0)
  expect(jobs.list().map((job) => job.id)).toEqual(ids.toReversed())
  expect(jobs.list(2).map((job) => job.id)).toEqual(ids.toReversed().slice(0, 2))
})
