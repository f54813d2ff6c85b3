/**
 * Compaction: what is still needed of thin segments goes into one new segment, and the old ones give their space back.
 * The child process writes and verifies it; this job gives it its name and makes one transaction of the rows. Images are
 * served all the while: who reads an old segment keeps it, and a transmission keeps those that its view is made of.
 */
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { eq, inArray } from 'drizzle-orm'
import type { By, Changes } from '../../audit/changes.ts'
import type { Clock } from '../../base/clock.ts'
import { isDiskFull } from '../../base/disk-full.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import { contents, doomedFiles, imageGroups, segments } from '../../db/schema.ts'
import { runChild, type SelfCommand } from '../../jobs/child.ts'
import type { Job, JobContext, Jobs } from '../../jobs/jobs.ts'
import type { Settings } from '../../settings/settings.ts'
import { type Damage, damagedOf, hasNewDamage } from '../health/damage.ts'
import { allSegmentsOf, type Group } from '../rows.ts'
import { type CollectDeps, contentsOf, letGo, unlinkSegments } from './collect.ts'
import { type CompactInput, type CompactOutput, compactTask } from './compact-task.ts'
import { lookedInto } from './contents.ts'
import { diskFilledUp } from './disk-space.ts'
import { allKnown, removeSegmentFile } from './recover.ts'
import { syncFolder } from './sync-folder.ts'

export type CompactOptions = {
  /** Every segment that holds anything dead. */
  readonly all?: boolean | undefined
  /** Segments of which so many percent are dead; 1 unless said. */
  readonly atPercent?: number | undefined
}

export type Compaction = {
  /** The job's result: `{group, segments, rewrittenBytes, freedBytes, heldBytes}`, with `dryRun` of a dry run. */
  readonly start: (group: Pick<Group, 'id' | 'name'>, options: CompactOptions, by: By) => Result<Job>
}

export type CompactDeps = CollectDeps & {
  readonly dataDir: string
  readonly jobs: Jobs
  readonly changes: Changes
  readonly settings: Pick<Settings, 'get'>
  readonly clock: Clock
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
  readonly lane: (groupId: number) => string
  /** A collection, now: the job is in the group's lane. */
  readonly collectNow: (groupId: number) => Promise<number>
  /** The group has other segments: called in the turn of the commit, before anything is unlinked. */
  readonly onCompacted: (groupId: number) => void
}

const AT_PERCENT = 1

/**
 * How long the old segments stay open without a reader: whoever found an image by its old layout has told its client the
 * size and the etag of that, and is about to open it.
 */
const LINGER_MS = 60_000

type Facts = Readonly<Record<string, unknown>>
type Damages = ReadonlyMap<string, Damage>

export function openCompaction(deps: CompactDeps): Compaction {
  const { db, files, jobs, changes, clock, groupDir } = deps

  function inputOf(groupId: number, options: CompactOptions, damaged: Damages, dir: string | undefined): CompactInput {
    const { live, dead } = contentsOf(db, groupId)
    return {
      dataDir: deps.dataDir,
      segments: lookedInto(db, groupId).map(({ id, fileName }) => ({
        id,
        path: join(groupDir(groupId), fileName),
        damaged: [...(damaged.get(fileName) ?? [])],
      })),
      // What died since the collection has its row until the next one, and a row needs a home.
      contentIds: dir === undefined ? live : [...live, ...dead],
      reserveBytes: deps.settings.get('space.reserve'),
      minDeadShare: options.all ? 0 : (options.atPercent ?? AT_PERCENT) / 100,
      dir,
      wimlibPath: deps.wimlibPath,
    }
  }

  function storedBytes(groupId: number): number {
    return allSegmentsOf(db, groupId).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  }

  async function run(groupId: number, options: CompactOptions, by: By, context: JobContext): Promise<Result<Facts>> {
    const group = db.select().from(imageGroups).where(eq(imageGroups.id, groupId)).get()
    if (!group) return refuse('not-found', 'the group was removed while the job waited', 'See wimcast group list.')
    const known = allKnown(db, groupDir(groupId), group)
    if (!known.ok) return known
    const beforeBytes = storedBytes(groupId)
    // What nobody shows goes first, so that the rows of all contents that are left can find a new home.
    if (!by.dryRun) await deps.collectNow(groupId)
    const { signal, step, progress } = context
    const damaged = damagedOf(db, groupId)
    const found = await runChild<CompactInput, CompactOutput>(
      compactTask,
      inputOf(groupId, options, damaged, by.dryRun ? undefined : context.dir),
      { self: deps.self, signal, step, progress },
    )
    if (!found.ok) return found
    const { replaced, sizeBytes } = found.value
    if (by.dryRun) {
      const old = allSegmentsOf(db, groupId).filter(({ id }) => replaced.includes(id))
      const freedBytes = old.reduce((sum, segment) => sum + segment.sizeBytes, 0) - sizeBytes
      return ok({ dryRun: true, group: group.name, segments: old.length, rewrittenBytes: sizeBytes, freedBytes })
    }
    if (signal.aborted) return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
    if (replaced.length === 0) {
      const freedBytes = beforeBytes - storedBytes(groupId)
      return ok({ group: group.name, segments: 0, rewrittenBytes: 0, freedBytes, heldBytes: 0 })
    }
    step('publish')
    return publish(group, found.value, { beforeBytes, damaged }, by, context)
  }

  /** The new segment gets its name, then the rows one transaction. A crash between the two leaves a doomed file. */
  async function publish(
    group: Group,
    output: CompactOutput,
    before: { readonly beforeBytes: number; readonly damaged: Damages },
    by: By,
    context: JobContext,
  ): Promise<Result<Facts>> {
    const dir = groupDir(group.id)
    const fileName = `seg-${crypto.randomUUID()}.wim`
    let published = false
    let unknown = false
    let letReadersGo = (): void => {}
    try {
      if (output.segmentPath !== undefined) {
        db.insert(doomedFiles).values({ fileName, groupId: group.id }).run()
        await rename(output.segmentPath, join(dir, fileName))
        syncFolder(dir)
      }
      letReadersGo = await linger(group.id, output.replaced)
      const done = commit(group, output, { fileName, ...before }, { ...by, jobId: context.id }, context)
      published = done.ok
      if (!done.ok) return done
      await unlinkSegments(deps, done.value.gone)
      return ok(done.value.facts)
    } catch (error) {
      if (published) throw error
      if (isDiskFull(error)) return diskFilledUp()
      // The commit may have come to the disk all the same: whether the file is doomed, the next start sees in the rows.
      unknown = true
      throw error
    } finally {
      if (published) setTimeout(letReadersGo, LINGER_MS).unref()
      else letReadersGo()
      if (!published && !unknown) await removeSegmentFile(db, dir, fileName)
    }
  }

  /** Holds the segments open; call what it returns to let go. One that cannot be opened has no readers to come. */
  async function linger(groupId: number, segmentIds: readonly number[]): Promise<() => void> {
    const rows = allSegmentsOf(db, groupId).filter(({ id }) => segmentIds.includes(id))
    const held: string[] = []
    for (const { fileName } of rows) {
      const path = `${groupDir(groupId)}/${fileName}`
      await files.acquire(path).then(
        () => held.push(path),
        () => {},
      )
    }
    return () => {
      for (const path of held.splice(0)) files.release(path)
    }
  }

  function commit(
    group: Group,
    output: CompactOutput,
    made: { readonly fileName: string; readonly beforeBytes: number; readonly damaged: Damages },
    by: By,
    context: JobContext,
  ): Result<{ readonly facts: Facts; readonly gone: readonly (typeof segments.$inferSelect)[] }> {
    const rows = allSegmentsOf(db, group.id)
    const stays = new Set(rows.flatMap(({ id, fileName }) => (output.replaced.includes(id) ? [] : [fileName])))
    return changes.apply(by, () => {
      // What was left out for a second copy elsewhere must not go when that copy turns out to be bad.
      if (hasNewDamage(db, group.id, made.damaged, (name) => stays.has(name)))
        return refuse(
          'changed',
          'a check has found damage in the group meanwhile',
          'Start it again. Nothing was changed.',
        )
      if (output.segmentPath !== undefined) {
        const segment = db
          .insert(segments)
          .values({
            groupId: group.id,
            fileName: made.fileName,
            sizeBytes: output.sizeBytes,
            verified: true,
            blobBytes: output.blobBytes,
            createdAtMs: clock.nowMs(),
          })
          .returning({ id: segments.id })
          .get()
        for (const [i, id] of output.rehomed.entries())
          db.update(contents)
            .set({ segmentId: segment.id, imageIndex: i + 1 })
            .where(eq(contents.id, id))
            .run()
        db.delete(doomedFiles).where(eq(doomedFiles.fileName, made.fileName)).run()
      }
      const old = db
        .select()
        .from(segments)
        .where(inArray(segments.id, [...output.replaced]))
        .all()
      const gone = letGo(db, old)
      const goneIds = new Set(gone.map(({ id }) => id))
      const heldBytes = old.filter(({ id }) => !goneIds.has(id)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
      const afterBytes = storedBytes(group.id)
      const facts = {
        group: group.name,
        segments: old.length,
        rewrittenBytes: output.sizeBytes,
        freedBytes: made.beforeBytes - afterBytes,
        heldBytes,
      }
      context.committed(facts)
      return ok({
        value: { facts, gone },
        entries: [
          {
            verb: 'group.compact',
            subject: group.name,
            before: { storedBytes: made.beforeBytes },
            after: { storedBytes: afterBytes, heldBytes },
          },
        ],
        afterwards: () => deps.onCompacted(group.id),
      })
    })
  }

  return {
    start: (group, options, by) => {
      const { atPercent } = options
      if (atPercent !== undefined && !(atPercent >= 0 && atPercent <= 100))
        return refuse('bad-request', `"${atPercent}" is no share in percent`, 'Name a number from 0 to 100.')
      return ok(
        jobs.start({
          kind: 'group.compact',
          title: `compact ${group.name}${by.dryRun ? ' (dry run)' : ''}`,
          groupId: group.id,
          who: by.who,
          lane: deps.lane(group.id),
          run: (context) => run(group.id, options, by, context),
        }),
      )
    },
  }
}
