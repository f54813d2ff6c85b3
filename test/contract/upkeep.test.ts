/** When upkeep is due, whatever the clock does; and what it then does, in which order. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Changes, openChanges } from '../../src/audit/changes.ts'
import { silentLog } from '../../src/base/log.ts'
import { refuse } from '../../src/base/refusal.ts'
import { ok } from '../../src/base/result.ts'
import { openDb } from '../../src/db/open.ts'
import type { Job } from '../../src/jobs/jobs.ts'
import { openSettings, type Settings } from '../../src/settings/settings.ts'
import { type Every, nextDueMs } from '../../src/upkeep/schedule.ts'
import { openUpkeep, type UpkeepDeps } from '../../src/upkeep/upkeep.ts'
import { BY, must } from '../fixtures/library.ts'

const ZONE = 'Europe/Berlin'
/** Wall clock of the zone, as `2026-03-29T03:00`. */
const at = (text: string, zone = ZONE): number =>
  Temporal.PlainDateTime.from(text).toZonedDateTime(zone).epochMilliseconds
const shown = (ms: number, zone = ZONE): string =>
  Temporal.Instant.fromEpochMilliseconds(ms)
    .toZonedDateTimeISO(zone)
    .toPlainDateTime()
    .toString({ smallestUnit: 'minute' })
const THREE = { hour: 3, minute: 0 }
const due = (every: Every, last: string | undefined, now: string, time = THREE, zone = ZONE): string =>
  shown(nextDueMs({ every, at: time }, last === undefined ? undefined : at(last, zone), at(now, zone), zone), zone)

describe('due', () => {
  test.each<[Every, string | undefined, string, string]>([
    // Never before: the first time that comes.
    ['daily', undefined, '2026-01-05T12:00', '2026-01-06T03:00'],
    ['daily', undefined, '2026-01-05T02:59', '2026-01-05T03:00'],
    // The 5th is a Monday; weeks begin on Sunday.
    ['weekly', undefined, '2026-01-05T12:00', '2026-01-11T03:00'],
    ['weekly', undefined, '2026-01-11T02:00', '2026-01-11T03:00'],
    ['monthly', undefined, '2026-01-05T12:00', '2026-02-01T03:00'],
    // As always.
    ['daily', '2026-01-05T03:00', '2026-01-05T03:01', '2026-01-06T03:00'],
    ['weekly', '2026-01-11T03:00', '2026-01-14T12:00', '2026-01-18T03:00'],
    ['monthly', '2026-01-01T03:00', '2026-01-31T12:00', '2026-02-01T03:00'],
    ['monthly', '2026-12-01T03:00', '2026-12-31T12:00', '2027-01-01T03:00'],
    // It began late; the next is on time.
    ['daily', '2026-01-05T14:00', '2026-01-05T15:00', '2026-01-06T03:00'],
    ['weekly', '2026-01-13T14:00', '2026-01-13T15:00', '2026-01-18T03:00'],
    // Missed while off: due since then, once.
    ['daily', '2026-01-05T03:00', '2026-01-09T12:00', '2026-01-06T03:00'],
    ['weekly', '2026-01-11T03:00', '2026-02-20T12:00', '2026-01-18T03:00'],
    ['daily', '2026-01-09T12:00', '2026-01-09T12:01', '2026-01-10T03:00'],
    // In the night of the run, before its time.
    ['daily', '2026-01-06T01:00', '2026-01-06T02:00', '2026-01-06T03:00'],
    // The clock was set back by a day after a run: not twice in that period.
    ['daily', '2026-01-06T03:00', '2026-01-05T20:00', '2026-01-07T03:00'],
    ['weekly', '2026-01-11T03:00', '2026-01-10T20:00', '2026-01-18T03:00'],
    // The clock had been years ahead: not lost for years.
    ['daily', '2031-01-06T03:00', '2026-01-05T20:00', '2026-01-05T03:00'],
    ['weekly', '2031-01-06T03:00', '2026-01-05T20:00', '2026-01-04T03:00'],
    // The clock was set forward over the time: due at once.
    ['daily', '2026-01-05T03:00', '2026-01-06T09:00', '2026-01-06T03:00'],
  ])('%s, last %s, now %s: %s', (every, last, now, expected) => {
    expect(due(every, last, now)).toBe(expected)
  })

  test('summer time moves nothing, leaves nothing out, and brings nothing twice', () => {
    const half = { hour: 2, minute: 30 }
    // 02:30 is left out on the 29th of March: an hour later by the clock that was.
    expect(due('daily', '2026-03-28T02:30', '2026-03-28T12:00', half)).toBe('2026-03-29T03:30')
    expect(due('daily', '2026-03-29T03:30', '2026-03-29T12:00', half)).toBe('2026-03-30T02:30')
    // 02:30 comes twice on the 25th of October: the first counts, and the second is no other one.
    const first = nextDueMs({ every: 'daily', at: half }, at('2026-10-24T02:30'), at('2026-10-24T12:00'), ZONE)
    expect(new Date(first).toISOString()).toBe('2026-10-25T00:30:00.000Z')
    expect(shown(nextDueMs({ every: 'daily', at: half }, first, first + 3600_000, ZONE))).toBe('2026-10-26T02:30')
    // Midnight does not exist there on that day.
    expect(due('daily', '2026-09-05T00:00', '2026-09-05T12:00', { hour: 0, minute: 0 }, 'America/Santiago')).toBe(
      '2026-09-06T01:00',
    )
  })

  test.each<Every>(['daily', 'weekly', 'monthly'])('%s, through two years of minutes: once in each period', (every) => {
    const end = at('2027-12-31T00:00')
    let last: number | undefined
    const runs: number[] = []
    // Steps that divide no day: 37 minutes.
    for (let now = at('2026-01-01T00:00'); now < end; now += 37 * 60_000) {
      if (nextDueMs({ every, at: THREE }, last ?? at('2026-01-01T00:00'), now, ZONE) > now) continue
      last = now
      runs.push(now)
    }
    const periods = runs.map((ms) => shown(ms).slice(0, every === 'monthly' ? 7 : 10))
    expect(new Set(periods).size).toBe(runs.length)
    expect(runs.length).toBe({ daily: 729, weekly: 104, monthly: 24 }[every])
    for (const ms of runs) expect(shown(ms).slice(11) >= '03:00' && shown(ms).slice(11) < '03:37').toBe(true)
  })
})

describe('upkeep', () => {
  let dir: string
  let opened: ReturnType<typeof openDb>
  let settings: Settings
  let changes: Changes
  let now = 0
  let did: string[]

  const clock = { nowMs: () => now, monotonicMs: () => now }
  const job = (id: number, state: Job['state'] = 'done'): Job => ({ id, state, error: null }) as unknown as Job
  const GROUP = { id: 1, name: 'G', createdAtMs: at('2026-01-05T12:00') }

  function start(over: Partial<UpkeepDeps> = {}) {
    return openUpkeep({
      settings,
      changes,
      clock,
      log: silentLog,
      groups: () => [GROUP, { ...GROUP, id: 2, name: 'Thin' }],
      scrub: (by) => {
        did.push('scrub')
        // As a check does at its end.
        changes.apply(by, () => ok({ value: 0, entries: [{ verb: 'library.scrub', subject: 'G' }] }))
        return ok(job(1))
      },
      emptyTrash: async (days) => {
        did.push(`empty ${days}`)
        return ok([1, 2])
      },
      reclaimableShare: async (id) => (id === 2 ? 0.4 : 0.1),
      compact: ({ name }) => {
        did.push(`compact ${name}`)
        return ok(job(2))
      },
      ended: async (id) => job(id),
      lookEveryMs: 0,
      ...over,
    })
  }

  async function lookAt(upkeep: { readonly look: () => Promise<void> }, text: string): Promise<string[]> {
    now = at(text)
    did = []
    await upkeep.look()
    return did
  }

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'wimcast-upkeep-'))
    opened = openDb(dir)
    changes = openChanges({ db: opened.db, clock })
    settings = openSettings({ db: opened.db, changes })
    must(settings.set('time-zone', ZONE, BY))
    must(settings.set('trash.keep-days', '30', BY))
  })
  afterEach(() => {
    opened[Symbol.dispose]()
    rmSync(dir, { recursive: true, force: true })
  })

  test('checks, empties and compacts in its time, by its settings, and not again after a restart', async () => {
    const upkeep = start()
    expect(await lookAt(upkeep, '2026-01-05T12:01')).toEqual([])
    expect(await lookAt(upkeep, '2026-01-06T03:00')).toEqual(['empty 30', 'compact Thin'])
    expect(await lookAt(upkeep, '2026-01-06T03:01')).toEqual([])
    expect(await lookAt(upkeep, '2026-01-11T03:00')).toEqual(['scrub', 'empty 30', 'compact Thin'])
    expect(changes.list({ verb: 'library.upkeep', limit: 1 })).toMatchObject([
      { who: 'appliance', after: { emptied: 2, compacted: ['Thin'] } },
    ])
    expect(await lookAt(start(), '2026-01-11T03:02')).toEqual([])
    must(settings.set('scrub.every', 'off', BY))
    must(settings.set('trash.keep-days', 'off', BY))
    must(settings.set('compact.at-percent', '50', BY))
    expect(await lookAt(upkeep, '2026-01-18T12:00')).toEqual([])
    must(settings.set('scrub.every', 'daily', BY))
    must(settings.set('scrub.at', '22:00', BY))
    // Daily, and the last was a week ago.
    expect(await lookAt(upkeep, '2026-01-18T12:01')).toEqual(['scrub'])
    expect(await lookAt(upkeep, '2026-01-18T21:59')).toEqual([])
    expect(await lookAt(upkeep, '2026-01-18T22:00')).toEqual(['scrub'])
  })

  test('does at the next start what it missed while it was off, also what was never done', async () => {
    expect(await lookAt(start(), '2026-02-20T09:00')).toEqual(['scrub', 'empty 30', 'compact Thin'])
    expect(await lookAt(start(), '2026-02-20T09:01')).toEqual([])
    expect(await lookAt(start(), '2026-02-23T09:00')).toEqual(['scrub', 'empty 30', 'compact Thin'])
  })

  test('does nothing without a group, and what is refused or fails is tried in the next period', async () => {
    expect(await lookAt(start({ groups: () => [] }), '2026-02-20T09:00')).toEqual([])
    let scrubs = 0
    const upkeep = start({
      scrub: () => {
        scrubs += 1
        return scrubs === 1 ? refuse('unavailable', 'on purpose', 'Wait.') : ok(job(7))
      },
      ended: async (id) => job(id, 'failed'),
      emptyTrash: async () => {
        throw new Error('on purpose')
      },
    })
    for (const minute of ['00', '01', '02']) await lookAt(upkeep, `2026-02-20T09:${minute}`)
    expect(scrubs).toBe(1)
    await lookAt(upkeep, '2026-02-23T09:00')
    expect(scrubs).toBe(2)
  })

  test('a group whose books cannot be made up keeps no other from its compaction', async () => {
    const upkeep = start({
      reclaimableShare: async (id) => {
        if (id === 1) throw new Error('on purpose')
        return 0.4
      },
    })
    expect(await lookAt(upkeep, '2026-01-06T03:00')).toEqual(['empty 30', 'compact Thin'])
  })

  test('checks when the check is over that somebody else had begun', async () => {
    let busy = true
    let scrubs = 0
    const upkeep = start({
      scrub: () => {
        if (busy) return refuse('in-use', 'a check runs', 'Wait.')
        scrubs += 1
        return ok(job(1))
      },
    })
    expect(await lookAt(upkeep, '2026-02-01T03:00')).toEqual(['empty 30', 'compact Thin'])
    expect([await lookAt(upkeep, '2026-02-01T03:01'), scrubs]).toEqual([[], 0])
    busy = false
    for (const minute of ['02', '03']) await lookAt(upkeep, `2026-02-01T03:${minute}`)
    expect(scrubs).toBe(1)
  })

  test('a clock that was years ahead leaves no years without upkeep, whether it works or fails', async () => {
    const all = ['scrub', 'empty 30', 'compact Thin']
    const upkeep = start()
    expect(await lookAt(upkeep, '2031-01-06T03:00')).toEqual(all)
    expect(await lookAt(upkeep, '2026-02-20T09:00')).toEqual(all)
    expect(await lookAt(upkeep, '2026-02-20T09:01')).toEqual([])
    expect(await lookAt(upkeep, '2026-02-21T03:00')).toEqual(['empty 30', 'compact Thin'])
    expect(await lookAt(upkeep, '2031-01-06T03:00')).toEqual(all)
    // After a restart too; and what fails is not tried each minute.
    let scrubs = 0
    const failing = start({
      scrub: () => {
        scrubs += 1
        return ok(job(7))
      },
      ended: async (id) => job(id, 'failed'),
    })
    for (const minute of ['00', '01', '02']) await lookAt(failing, `2026-03-20T09:${minute}`)
    expect(scrubs).toBe(1)
  })

  test('never two at once, and no more after its end', async () => {
    const gate = Promise.withResolvers<Job>()
    const upkeep = start({ ended: () => gate.promise })
    now = at('2026-02-20T09:00')
    did = []
    const first = upkeep.look()
    await upkeep.look()
    expect(did).toEqual(['scrub'])
    upkeep[Symbol.dispose]()
    gate.resolve(job(1))
    await first
    await upkeep.look()
    expect(did).toEqual(['scrub'])
  })
})
