/**
 * What the appliance does by itself, by its settings: it checks the library, empties the trash of what is old, and
 * compacts the groups that are worth it. One thing after the other, as the principal `appliance`; what was missed while
 * it was off is done after a quiet minute.
 */
import type { By, Changes } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import { type Log, reasonOf } from '../base/log.ts'
import { APPLIANCE, nameOf } from '../base/principal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Job } from '../jobs/jobs.ts'
import type { Settings } from '../settings/settings.ts'
import { nextDueMs, type Rule } from './schedule.ts'

export type UpkeepGroup = { readonly id: number; readonly name: string; readonly createdAtMs: number }

export type UpkeepDeps = {
  readonly settings: Pick<Settings, 'get'>
  readonly changes: Changes
  readonly clock: Clock
  readonly log: Log
  /** Those in the trash too: what is there is kept, and so checked. */
  readonly groups: () => readonly UpkeepGroup[]
  /** Of all groups. */
  readonly scrub: (by: By) => Result<Job>
  readonly emptyTrash: (olderThanDays: number, by: By) => Promise<Result<readonly unknown[]>>
  /** Share of a group that nothing needs, 0 to 1. */
  readonly reclaimableShare: (groupId: number) => Promise<number>
  readonly compact: (group: UpkeepGroup, by: By) => Result<Job>
  readonly ended: (jobId: number) => Promise<Job>
  /** Looks by itself so often; 0: never. */
  readonly lookEveryMs?: number
}

export type Upkeep = Disposable & {
  /** Does what is due now, to its end. Resolves at once while an earlier look is at work. */
  readonly look: () => Promise<void>
}

const MINUTE_MS = 60_000
const BY: By = { who: APPLIANCE }
/** Its line in the audit log tells when the last one was. */
const TIDY = 'library.upkeep'

export function openUpkeep(deps: UpkeepDeps): Upkeep {
  const { settings, changes, clock, log } = deps
  /** What failed or was cancelled is tried again in the next period, not in the next minute. Newer than any line. */
  const tried = new Map<string, number>()
  let busy = false
  let closed = false

  function lastMs(verb: string): number | undefined {
    return tried.get(verb) ?? changes.list({ verb, who: nameOf(APPLIANCE), limit: 1 })[0]?.atMs
  }

  /** What has never been done is counted from when there was something to do it to. */
  function isDue(verb: string, every: Rule['every'], groups: readonly UpkeepGroup[]): boolean {
    const since = Math.min(...groups.map(({ createdAtMs }) => createdAtMs))
    const now = clock.nowMs()
    return (
      nextDueMs({ every, at: settings.get('scrub.at') }, lastMs(verb) ?? since, now, settings.get('time-zone')) <= now
    )
  }

  async function follow(what: string, started: Result<Job>): Promise<void> {
    if (!started.ok) {
      log.warning('upkeep.refused', { what, code: started.error.code, reason: started.error.message })
      return
    }
    const job = await deps.ended(started.value.id)
    if (job.state !== 'done')
      log.warning('upkeep.failed', { what, job: job.id, state: job.state, code: job.error?.code })
  }

  /** A group whose books cannot be made up keeps no other from its compaction. */
  async function shareOf({ id, name }: UpkeepGroup): Promise<number> {
    try {
      return await deps.reclaimableShare(id)
    } catch (error) {
      if (!closed) log.error('upkeep.fault', { group: name, reason: reasonOf(error) })
      return 0
    }
  }

  async function tidy(groups: readonly UpkeepGroup[]): Promise<void> {
    const keepDays = settings.get('trash.keep-days')
    let emptied = 0
    if (keepDays !== undefined) {
      const gone = await deps.emptyTrash(keepDays, BY)
      if (gone.ok) emptied = gone.value.length
      else log.warning('upkeep.refused', { what: 'trash', code: gone.error.code, reason: gone.error.message })
    }
    const percent = settings.get('compact.at-percent')
    const compacted: string[] = []
    if (percent !== undefined)
      for (const group of groups) {
        if (closed) return
        if ((await shareOf(group)) * 100 < percent) continue
        compacted.push(group.name)
        await follow(`compact ${group.name}`, deps.compact(group, BY))
      }
    if (closed) return
    changes.apply(BY, () =>
      ok({ value: undefined, entries: [{ verb: TIDY, subject: 'library', after: { emptied, compacted } }] }),
    )
  }

  /** Counts for the period in which it ends, whatever came of it; not at all when it says false. */
  async function once(verb: string, run: () => Promise<boolean>): Promise<void> {
    let counts = true
    try {
      counts = await run()
    } finally {
      if (counts) tried.set(verb, clock.nowMs())
    }
  }

  async function work(): Promise<void> {
    const groups = deps.groups()
    if (groups.length === 0) return
    const every = settings.get('scrub.every')
    if (every !== 'off' && isDue('library.scrub', every, groups))
      await once('library.scrub', async () => {
        const started = deps.scrub(BY)
        // Somebody checks something already: this one comes after it, not a month later.
        if (!started.ok && started.error.code === 'in-use') return false
        await follow('scrub', started)
        return true
      })
    if (closed || !isDue(TIDY, 'daily', groups)) return
    await once(TIDY, async () => {
      await tidy(deps.groups())
      return true
    })
  }

  async function look(): Promise<void> {
    if (busy || closed) return
    busy = true
    try {
      await work()
    } catch (error) {
      // Rooms below may have closed while this waited for a job.
      if (!closed) log.error('upkeep.fault', { reason: reasonOf(error) })
    } finally {
      busy = false
    }
  }

  const everyMs = deps.lookEveryMs ?? MINUTE_MS
  const timer = everyMs > 0 ? setInterval(look, everyMs) : undefined
  timer?.unref()
  return {
    look,
    [Symbol.dispose]: () => {
      closed = true
      clearInterval(timer)
    },
  }
}
