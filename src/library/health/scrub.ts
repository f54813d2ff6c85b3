/**
 * Checking the library: every segment is read, every resource in it compared with its SHA-1. What is wrong is kept in
 * rows, and goes from them when a later check finds it right again. Checks have a lane of their own, one at a time: they
 * take hours, and imports shall not wait for them.
 */
import { and, eq, inArray } from 'drizzle-orm'
import type { By, Changes } from '../../audit/changes.ts'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { APPLIANCE, maySee, type Principal } from '../../base/principal.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { damages, segments } from '../../db/schema.ts'
import { runChild, type SelfCommand } from '../../jobs/child.ts'
import type { Job, JobContext, Jobs } from '../../jobs/jobs.ts'
import { allGroups, allSegmentsOf, findGroup, type Group } from '../rows.ts'
import { type Damage, damagedOf, WHOLE_FILE } from './damage.ts'
import { imagesByContent } from './holders.ts'
import type { Ledger } from './ledger.ts'
import type { Ledgers } from './ledgers.ts'
import { type ScrubInput, type ScrubOutput, scrubTask } from './scrub-task.ts'

/** An image that cannot be had whole: so many of its contents lie nowhere in a good copy. */
export type LackingImage = {
  readonly group: string
  readonly name: string
  readonly fileName: string
  readonly inTrash: boolean
  readonly contents: number
}

export type ScrubResult = {
  readonly segments: number
  readonly bytes: number
  /** Damaged contents and files, those that `bad` has no room for with them. */
  readonly damaged: number
  /** `sha1` is '' for a file as a whole; `images` are those that need it, whether or not a good copy is left. */
  readonly bad: readonly {
    readonly group: string
    readonly file: string
    readonly sha1: string
    readonly images: readonly string[]
  }[]
  readonly lacking: readonly LackingImage[]
  /** Segments that could not be checked, and why. */
  readonly unchecked: readonly { readonly group: string; readonly file: string; readonly reason: string }[]
  readonly dryRun?: true
}

export type GroupHealth = {
  readonly group: string
  readonly segments: number
  /** When the segment was checked that was not checked for the longest time; absent when one never was. */
  readonly lastScrubAtMs?: number
  /** Damaged contents and files. */
  readonly damaged: number
  readonly lacking: readonly LackingImage[]
}

export type Health = { readonly groups: readonly GroupHealth[]; readonly scrubJobId?: number }

export type Scrubs = {
  /** One group, or all that `by.who` may see. */
  readonly start: (request: { readonly group?: string | undefined }, by: By) => Result<Job>
  readonly health: (who: Principal) => Promise<Health>
}

export type ScrubDeps = {
  readonly db: Db
  readonly jobs: Jobs
  readonly changes: Changes
  readonly clock: Clock
  readonly log: Log
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
  readonly groupDir: (groupId: number) => string
  readonly ledgers: Ledgers
  /** What is known to be damaged in these files has changed: tables and views of them are made anew. */
  readonly onDamage: (groupId: number, paths: readonly string[]) => void
}

const LANE = 'scrub'
/** A job's row names so many; the rows of the damage name all. */
const MAX_NAMED = 1000
/** SQLite binds 32,766 values in a statement at most. */
const ROWS_AT_ONCE = 5000

/** Every viewer may read the result of a job that is of no group in particular: it names what each of them may see. */
const ANY_VIEWER: Principal = { kind: 'token', name: '', role: 'viewer', machineGroups: [], address: '' }

export function readerOf(group: string | undefined, by: By): Principal {
  return group === undefined ? ANY_VIEWER : by.who
}

type Segment = { readonly group: Group; readonly row: typeof segments.$inferSelect; readonly path: string }

/** Images that lack something, as far as `who` may see them. */
export function lackingImages(db: Db, group: Group, ledger: Ledger, who: Principal): LackingImage[] {
  const images = imagesByContent(db, group.id, who)
  return ledger.contents.flatMap(({ id, lacking }) =>
    lacking === 0
      ? []
      : (images.get(id) ?? []).map(({ name, fileName, inTrash }) => ({
          group: group.name,
          name,
          fileName,
          inTrash,
          contents: lacking,
        })),
  )
}

export function openScrubs(deps: ScrubDeps): Scrubs {
  const { db, jobs, changes, clock, log, ledgers } = deps
  let lastJobId: number | undefined

  async function run(
    groups: readonly Group[],
    reader: Principal,
    by: By,
    context: JobContext,
  ): Promise<Result<ScrubResult>> {
    const all = groups.flatMap((group) =>
      allSegmentsOf(db, group.id).map(
        (row): Segment => ({
          group,
          row,
          path: `${deps.groupDir(group.id)}/${row.fileName}`,
        }),
      ),
    )
    // A check that is cut short each time (switched off overnight) comes round to all of it like this.
    all.sort((a, b) => checkedAtMs(a.row) - checkedAtMs(b.row))
    const totalBytes = all.reduce((sum, { row }) => sum + row.sizeBytes, 0)
    const found = new Map<number, Map<string, Damage>>()
    const unchecked: ScrubResult['unchecked'][number][] = []
    let doneBytes = 0
    let checked = 0
    for (const [i, segment] of all.entries()) {
      const { group, row, path } = segment
      context.step(`segment ${i + 1} of ${all.length}`)
      const output = await runChild<ScrubInput, ScrubOutput>(
        scrubTask,
        { path, sizeBytes: row.sizeBytes, wimlibPath: deps.wimlibPath },
        {
          self: deps.self,
          signal: context.signal,
          step: () => {},
          progress: (bytes) => context.progress(doneBytes + bytes, totalBytes),
        },
      )
      doneBytes += row.sizeBytes
      context.progress(doneBytes, totalBytes)
      // Compacted or collected meanwhile: no loss.
      if (!isThere(row.id)) continue
      if (!output.ok) {
        if (output.error.code === 'cancelled') return output
        if (maySee(reader, group.audience))
          unchecked.push({ group: group.name, file: row.fileName, reason: output.error.message })
        log.error('library.unchecked', { group: group.name, file: row.fileName, reason: output.error.message })
        continue
      }
      checked += 1
      const damage: Damage = new Set(output.value.kind === 'whole' ? [WHOLE_FILE] : output.value.bad)
      if (damage.size > 0) {
        found.set(group.id, (found.get(group.id) ?? new Map<string, Damage>()).set(row.fileName, damage))
        log.error('library.damaged', {
          group: group.name,
          file: row.fileName,
          ...(output.value.kind === 'whole'
            ? { why: output.value.why, reason: output.value.reason }
            : { contents: damage.size, first: output.value.bad[0] }),
        })
      }
      if (!by.dryRun) record(segment, damage)
    }
    context.step('look whom it touches')
    const bad: ScrubResult['bad'][number][] = []
    const lacking: LackingImage[] = []
    for (const group of groups) {
      // A dry run has written nothing: what it found stands in for the rows.
      const ledger = await ledgers.of(group.id, by.dryRun ? (found.get(group.id) ?? new Map()) : undefined)
      for (const { name, contents } of lackingImages(db, group, ledger, APPLIANCE))
        log.error('library.damaged', { group: group.name, image: name, contents })
      if (!maySee(reader, group.audience)) continue
      // As many as are told at all: a disk that gives back zeros leaves millions.
      bad.push(...namedDamage(group, found.get(group.id) ?? new Map(), ledger, reader).slice(0, MAX_NAMED))
      lacking.push(...lackingImages(db, group, ledger, reader))
    }
    const damaged = [...found.values()].reduce((sum, ofGroup) => sum + sizeOf(ofGroup), 0)
    const result: ScrubResult = {
      segments: checked,
      bytes: totalBytes,
      damaged,
      bad: bad.slice(0, MAX_NAMED),
      lacking: lacking.slice(0, MAX_NAMED),
      unchecked,
      ...(by.dryRun ? { dryRun: true as const } : {}),
    }
    return changes.apply({ ...by, jobId: context.id }, () => {
      if (!by.dryRun) context.committed(result)
      const after = { segments: checked, bytes: totalBytes, damaged, lacking: lacking.length }
      const [only, ...others] = groups
      const subject = only && others.length === 0 ? only.name : 'library'
      return ok({ value: result, entries: [{ verb: 'library.scrub', subject, after }] })
    })
  }

  function isThere(segmentId: number): boolean {
    return db.select({ id: segments.id }).from(segments).where(eq(segments.id, segmentId)).get() !== undefined
  }

  function record({ group, row, path }: Segment, damage: Damage): void {
    const before = damagedOf(db, group.id).get(row.fileName) ?? new Set()
    const now = clock.nowMs()
    const gone = [...before].filter((sha1) => !damage.has(sha1))
    const fresh = [...damage].filter((sha1) => !before.has(sha1))
    db.transaction((tx) => {
      for (let at = 0; at < gone.length; at += ROWS_AT_ONCE)
        tx.delete(damages)
          .where(and(eq(damages.segmentId, row.id), inArray(damages.sha1, gone.slice(at, at + ROWS_AT_ONCE))))
          .run()
      for (let at = 0; at < fresh.length; at += ROWS_AT_ONCE)
        tx.insert(damages)
          .values(fresh.slice(at, at + ROWS_AT_ONCE).map((sha1) => ({ segmentId: row.id, sha1, foundAtMs: now })))
          .run()
      // What is right now was right when it came, whoever skipped the check then.
      tx.update(segments)
        .set({ scrubbedAtMs: now, ...(damage.size === 0 ? { verified: true } : {}) })
        .where(eq(segments.id, row.id))
        .run()
    })
    if (gone.length + fresh.length > 0) deps.onDamage(group.id, [path])
  }

  function namedDamage(
    group: Group,
    found: ReadonlyMap<string, Damage>,
    ledger: Ledger,
    who: Principal,
  ): ScrubResult['bad'][number][] {
    if (found.size === 0) return []
    const images = imagesByContent(db, group.id, who)
    const namesOf = (contents: readonly number[]): string[] => [
      ...new Set(contents.flatMap((id) => (images.get(id) ?? []).map(({ name }) => name))),
    ]
    const fileOf = new Map(allSegmentsOf(db, group.id).map((row) => [row.id, row.fileName]))
    const touched = new Map(
      ledger.touched.map(({ segmentId, sha1, contents }) => [`${fileOf.get(segmentId)} ${sha1}`, contents]),
    )
    // What a file held that cannot be read, nobody can say: those that lack something now.
    const lacking = ledger.contents.flatMap((content) => (content.lacking > 0 ? [content.id] : []))
    return [...found].flatMap(([file, damage]) =>
      [...damage].map((sha1) => ({
        group: group.name,
        file,
        sha1,
        images: namesOf(sha1 === WHOLE_FILE ? lacking : (touched.get(`${file} ${sha1}`) ?? [])),
      })),
    )
  }

  async function healthOf(group: Group, who: Principal): Promise<GroupHealth> {
    const rows = allSegmentsOf(db, group.id)
    const oldest = Math.min(...rows.map(checkedAtMs))
    return {
      group: group.name,
      segments: rows.length,
      ...(oldest > 0 && Number.isFinite(oldest) ? { lastScrubAtMs: oldest } : {}),
      damaged: sizeOf(damagedOf(db, group.id)),
      lacking: lackingImages(db, group, await ledgers.of(group.id), who),
    }
  }

  function runningJob(): number | undefined {
    return jobs.isBusy(LANE) ? lastJobId : undefined
  }

  return {
    start: (request, by) => {
      const named = request.group === undefined ? undefined : findGroup(db, request.group, by.who)
      if (named && !named.ok) return named
      if (jobs.isBusy(LANE))
        return refuse('in-use', `job ${lastJobId} checks the library already`, 'Follow it: wimcast job list.')
      const job = jobs.start({
        kind: 'library.scrub',
        title: `check ${named ? `group ${named.value.name}` : 'the library'}${by.dryRun ? ' (dry run)' : ''}`,
        groupId: named?.value.id,
        who: by.who,
        lane: LANE,
        run: (context) =>
          run(
            named ? [named.value] : allGroups(db).filter((group) => maySee(by.who, group.audience)),
            readerOf(request.group, by),
            by,
            context,
          ),
      })
      lastJobId = job.id
      return ok(job)
    },
    health: async (who) => {
      const visible = allGroups(db).filter((group) => group.trashId === null && maySee(who, group.audience))
      const groups: GroupHealth[] = []
      for (const group of visible) groups.push(await healthOf(group, who))
      const scrubJobId = runningJob()
      return { groups, ...(scrubJobId === undefined ? {} : { scrubJobId }) }
    },
  }
}

/** A segment that was verified when it came was read back and checked then; 0: it never was. */
function checkedAtMs({ scrubbedAtMs, verified, createdAtMs }: typeof segments.$inferSelect): number {
  return scrubbedAtMs ?? (verified ? createdAtMs : 0)
}

function sizeOf(damage: ReadonlyMap<string, Damage>): number {
  return [...damage.values()].reduce((sum, { size }) => sum + size, 0)
}
