/**
 * Repair: what a group lacks is looked for in its own segments, in those of other groups, and in a file that somebody
 * names; the good copies go into one new segment. Damaged copies stay in their segments until a compaction drops them.
 * It works in the lane of the group: an import or a compaction beside it would count on other segments.
 */
import { rename } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { and, eq, inArray } from 'drizzle-orm'
import type { By, Changes } from '../../audit/changes.ts'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { maySee, type Principal } from '../../base/principal.ts'
import { type Refusal, refuse } from '../../base/refusal.ts'
import { type Err, ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { contents, doomedFiles, segments, transmissions } from '../../db/schema.ts'
import { runChild, type SelfCommand } from '../../jobs/child.ts'
import type { Job, JobContext, Jobs } from '../../jobs/jobs.ts'
import { allGroups, allSegmentsOf, findGroup, type Group } from '../rows.ts'
import { letGo } from '../store/collect.ts'
import { removeSegmentFile } from '../store/recover.ts'
import { syncFolder } from '../store/sync-folder.ts'
import { type Damage, damagedOf, hasNewDamage, NO_DAMAGE, WHOLE_FILE } from './damage.ts'
import type { Ledger } from './ledger.ts'
import type { Ledgers } from './ledgers.ts'
import { type RepairInput, type RepairOutput, type RepairPlace, repairTask } from './repair-task.ts'
import { type LackingImage, lackingImages, readerOf } from './scrub.ts'

export type RepairRequest = {
  /** All that the principal may see, when left out. */
  readonly group?: string | undefined
  /** A file that the service may read, already checked; and what people call it. */
  readonly source?: { readonly path: string; readonly sourceName: string } | undefined
  /** Runs when the job has ended, whatever came of it: an upload's folder goes here. */
  readonly afterwards?: (() => Promise<void>) | undefined
}

export type GroupRepair = {
  readonly group: string
  /** Contents of which a good copy was found outside of where images are read from, and their bytes as stored. */
  readonly repaired: number
  readonly bytes: number
  readonly from: readonly { readonly where: string; readonly contents: number; readonly bytes: number }[]
  /** Unreadable segment files that nothing needs any more, and that were let go. */
  readonly dropped: number
  /** What is found nowhere: contents, and the images that lack them. Of a dry run, the images that lack something now. */
  readonly lackingContents: number
  readonly lacking: readonly LackingImage[]
}

export type RepairResult = { readonly groups: readonly GroupRepair[]; readonly dryRun?: true }

export type Repairs = {
  readonly start: (request: RepairRequest, by: By) => Result<Job>
}

export type RepairDeps = {
  readonly db: Db
  readonly jobs: Jobs
  readonly changes: Changes
  readonly clock: Clock
  readonly log: Log
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
  readonly groupDir: (groupId: number) => string
  readonly lane: (groupId: number) => string
  readonly ledgers: Ledgers
  /** The group has other segments than before; of those files, tables are dropped. */
  readonly onRepaired: (groupId: number, paths: readonly string[]) => void
}

const LANE = 'repair'

function cancelled(): Err<Refusal> {
  return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
}

export function openRepairs(deps: RepairDeps): Repairs {
  const { db, jobs, changes, clock, log, ledgers, groupDir } = deps

  async function run(
    groups: readonly Group[],
    request: RepairRequest,
    by: By,
    context: JobContext,
  ): Promise<Result<RepairResult>> {
    const done: GroupRepair[] = []
    const reader = readerOf(request.group, by)
    for (const group of groups) {
      context.step('wait')
      const repaired = await inLane(group, context, () => repairGroup(group, request, reader, by, context))
      if (!repaired.ok) return repaired
      if (repaired.value && maySee(reader, group.audience)) done.push(repaired.value)
    }
    return ok({ groups: done, ...(by.dryRun ? { dryRun: true as const } : {}) })
  }

  /** The lane may be busy for hours: a cancel does not wait for it. */
  function inLane<T>(group: Group, { signal }: JobContext, work: () => Promise<Result<T>>): Promise<Result<T>> {
    const stop = Promise.withResolvers<Result<T>>()
    const abort = (): void => stop.resolve(cancelled())
    signal.addEventListener('abort', abort, { once: true })
    let begun = false
    const turn = jobs.inLane(deps.lane(group.id), async () => {
      if (signal.aborted) return cancelled()
      begun = true
      signal.removeEventListener('abort', abort)
      return work()
    })
    if (signal.aborted && !begun) abort()
    return Promise.race([turn, stop.promise]).finally(() => signal.removeEventListener('abort', abort))
  }

  async function repairGroup(
    group: Group,
    request: RepairRequest,
    reader: Principal,
    by: By,
    context: JobContext,
  ): Promise<Result<GroupRepair | undefined>> {
    // Removed while this waited.
    if (!allGroups(db).some(({ id }) => id === group.id)) return ok(undefined)
    const damage = damagedOf(db, group.id)
    const before = await ledgers.of(group.id, damage)
    const lacks = before.lackingBlobs.length > 0 || before.lackingTrees.length > 0
    if (!lacks && damage.size === 0) return ok(undefined)
    const input = inputOf(group, before, request, by, context)
    const output: Result<RepairOutput> = lacks
      ? await runChild<RepairInput, RepairOutput>(repairTask, input, {
          self: deps.self,
          signal: context.signal,
          step: context.step,
          progress: context.progress,
        })
      : ok({ found: [], lacking: 0, trees: [] })
    if (!output.ok) return output
    if (context.signal.aborted) return cancelled()
    context.step('publish')
    const dropped = await publish(group, { ledger: before, damage }, output.value, by, context)
    if (!dropped.ok) return dropped
    const { found, lacking } = output.value
    if (!lacks && dropped.value === 0) return ok(undefined)
    return ok({
      group: group.name,
      repaired: found.reduce((sum, each) => sum + each.contents, 0),
      bytes: found.reduce((sum, each) => sum + each.bytes, 0),
      from: found.map(({ path, ...rest }) => ({ where: whereIs(path, request, reader), ...rest })),
      dropped: dropped.value,
      lackingContents: lacking,
      lacking: lacking === 0 ? [] : lackingImages(db, group, await ledgers.of(group.id), reader),
    })
  }

  function inputOf(group: Group, ledger: Ledger, { source }: RepairRequest, by: By, context: JobContext): RepairInput {
    const placesOf = (groupId: number): RepairPlace[] => {
      const damage = damagedOf(db, groupId)
      return allSegmentsOf(db, groupId).map(({ fileName }) => ({
        path: join(groupDir(groupId), fileName),
        damage: damage.get(fileName) ?? NO_DAMAGE,
      }))
    }
    const trees = ledger.lackingTrees.length
      ? db
          .select({ sha1: contents.treeSha1, element: contents.element, rpFix: contents.rpFix })
          .from(contents)
          .where(and(eq(contents.groupId, group.id), inArray(contents.treeSha1, [...ledger.lackingTrees])))
          .all()
      : []
    const own = placesOf(group.id)
    return {
      blobs: ledger.lackingBlobs,
      trees: [...new Map(trees.map(({ sha1, element }) => [sha1, { sha1, element }])).values()],
      places: [...own, ...allGroups(db).flatMap(({ id }) => (id === group.id ? [] : placesOf(id)))],
      held: own,
      sourcePath: source?.path,
      rpFix: trees.length > 0 && trees.every(({ rpFix }) => rpFix),
      dir: context.dir,
      wimlibPath: deps.wimlibPath,
      dryRun: by.dryRun ?? false,
    }
  }

  /** In people's words, and no group that the reader may not see. */
  function whereIs(path: string, { source }: RepairRequest, reader: Principal): string {
    if (path === source?.path) return source.sourceName
    const group = allGroups(db).find(({ id }) => path.startsWith(`${groupDir(id)}/`))
    return group && maySee(reader, group.audience) ? `${group.name}/${basename(path)}` : 'another group'
  }

  /** The new segment gets its name, then the rows one transaction, as an import's does. Returns how many files were let go. */
  async function publish(
    group: Group,
    before: { readonly ledger: Ledger; readonly damage: ReadonlyMap<string, Damage> },
    output: RepairOutput,
    by: By,
    context: JobContext,
  ): Promise<Result<number>> {
    const dir = groupDir(group.id)
    const { segment } = output
    const fileName = `seg-${crypto.randomUUID()}.wim`
    if (segment) {
      db.insert(doomedFiles).values({ fileName, groupId: group.id }).run()
      try {
        await rename(segment.path, join(dir, fileName))
        syncFolder(dir)
      } catch (error) {
        await removeSegmentFile(db, dir, fileName)
        throw error
      }
    }
    const dropped: string[] = []
    // A commit that throws may have come to the disk all the same: whether the file is doomed, the next start sees.
    const written = changes.apply({ ...by, jobId: context.id }, () => {
      const now = clock.nowMs()
      // A dry run has written no file; its row is taken back with everything else.
      const { sizeBytes, blobBytes } = segment ?? { sizeBytes: 0, blobBytes: 0 }
      if (output.found.length > 0) {
        const row = db
          .insert(segments)
          .values({
            groupId: group.id,
            fileName,
            sizeBytes,
            blobBytes,
            verified: true,
            createdAtMs: now,
            scrubbedAtMs: now,
          })
          .returning({ id: segments.id })
          .get()
        for (const [i, sha1] of output.trees.entries())
          db.update(contents)
            .set({ segmentId: row.id, imageIndex: i + 1 })
            .where(and(eq(contents.groupId, group.id), eq(contents.treeSha1, sha1)))
            .run()
        db.delete(doomedFiles).where(eq(doomedFiles.fileName, fileName)).run()
      }
      for (const { id, tree } of before.ledger.contents)
        if (tree) db.update(contents).set(tree).where(eq(contents.id, id)).run()
      if (output.lacking === 0) dropped.push(...dropUnreadable(group.id, before.damage))
      const repaired = output.found.reduce((sum, each) => sum + each.contents, 0)
      const after = { repaired, lacking: output.lacking, dropped: dropped.length }
      const entry = { verb: 'library.repair', subject: group.name, after }
      return ok({ value: dropped.length, entries: repaired + dropped.length > 0 ? [entry] : [] })
    })
    if (!written.ok || by.dryRun) return written
    deps.onRepaired(
      group.id,
      dropped.map((name) => join(dir, name)),
    )
    for (const name of dropped) {
      await removeSegmentFile(db, dir, name)
      log.warning('library.segment-dropped', { group: group.name, file: name })
    }
    return written
  }

  /**
   * Segments of which nothing can be read, when all that is needed lies elsewhere: as far as `damage` tells, so nothing
   * goes when a check beside this has found more. Returns the files that are doomed now.
   */
  function dropUnreadable(groupId: number, damage: ReadonlyMap<string, Damage>): string[] {
    if (hasNewDamage(db, groupId, damage)) return []
    const unreadable = allSegmentsOf(db, groupId).filter(
      ({ id, fileName, retired }) => !retired && damage.get(fileName)?.has(WHOLE_FILE) && !isHome(id),
    )
    return unreadable.length === 0 ? [] : letGo(db, unreadable).map(({ fileName }) => fileName)
  }

  function isHome(segmentId: number): boolean {
    const ofContent = db.select({ id: contents.id }).from(contents).where(eq(contents.segmentId, segmentId)).get()
    const ofCast = db
      .select({ id: transmissions.id })
      .from(transmissions)
      .where(eq(transmissions.homeSegmentId, segmentId))
      .get()
    return ofContent !== undefined || ofCast !== undefined
  }

  return {
    start: (request, by) => {
      const named = request.group === undefined ? undefined : findGroup(db, request.group, by.who)
      if (named && !named.ok) return named
      const what = named ? `group ${named.value.name}` : 'the library'
      return ok(
        jobs.start({
          kind: 'library.repair',
          title: `repair ${what}${request.source ? ` from ${request.source.sourceName}` : ''}${by.dryRun ? ' (dry run)' : ''}`,
          groupId: named?.value.id,
          who: by.who,
          lane: LANE,
          run: (context) =>
            run(
              named ? [named.value] : allGroups(db).filter((group) => maySee(by.who, group.audience)),
              request,
              by,
              context,
            ),
          afterwards: request.afterwards,
        }),
      )
    },
  }
}
