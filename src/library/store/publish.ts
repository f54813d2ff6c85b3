/**
 * A segment that an import has made becomes part of its group: it gets its name, then one transaction writes its rows
 * and those of the images that show its contents. A crash between the two leaves a file that the next start removes.
 */
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { and, eq, isNull } from 'drizzle-orm'
import type { By, Changed, Changes, Facts } from '../../audit/changes.ts'
import type { Clock } from '../../base/clock.ts'
import { isDiskFull } from '../../base/disk-full.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { contents, doomedFiles, imageGroups, segments } from '../../db/schema.ts'
import type { JobContext } from '../../jobs/jobs.ts'
import { storedBytesOf } from '../groups.ts'
import { type Group, keepNeeds } from '../rows.ts'
import type { ImportMade } from '../transfer/import-task.ts'
import { diskFilledUp, type Quota, withinQuota } from './disk-space.ts'
import { removeSegmentFile } from './recover.ts'
import { syncFolder } from './sync-folder.ts'

export type PublishDeps = {
  readonly db: Db
  readonly changes: Changes
  readonly clock: Clock
  readonly groupDir: (groupId: number) => string
  /** The group has a segment more. */
  readonly onImported: (groupId: number) => void
}

export type Publication = {
  readonly groupId: number
  readonly made: ImportMade
  readonly verified: boolean
  readonly by: By
  readonly context: Pick<JobContext, 'committed'>
  /** Runs in the transaction, with the ids of the contents in the order of the images. Its value goes into the job's result. */
  readonly show: (contentIds: readonly number[], group: Group) => Result<Changed<Facts>>
}

/** The group as it is now, whatever it is called by now. */
export function groupNow(db: Db, groupId: number): Result<Group> {
  const group = db
    .select()
    .from(imageGroups)
    .where(and(eq(imageGroups.id, groupId), isNull(imageGroups.trashId)))
    .get()
  return group
    ? ok(group)
    : refuse('not-found', 'the image group was removed meanwhile', 'Restore it from the trash, or choose another one.')
}

export function quotaOf(db: Db, group: Group): Quota | undefined {
  const { id, name, quotaBytes } = group
  return quotaBytes === null ? undefined : { group: name, quotaBytes, storedBytes: storedBytesOf(db, id) }
}

export async function publish(deps: PublishDeps, publication: Publication): Promise<Result<Facts>> {
  const { db, groupDir } = deps
  const { groupId, made } = publication
  const fileName = `seg-${crypto.randomUUID()}.wim`
  let published = false
  let unknown = false
  try {
    db.insert(doomedFiles).values({ fileName, groupId }).run()
    await rename(made.segmentPath, join(groupDir(groupId), fileName))
    syncFolder(groupDir(groupId))
    const result = deps.changes.apply(publication.by, () => insert(deps, publication, fileName))
    published = result.ok
    return result
  } catch (error) {
    if (isDiskFull(error)) return diskFilledUp()
    // The commit may have come to the disk all the same: whether the file is doomed, the next start sees in the rows.
    unknown = true
    throw error
  } finally {
    if (!published && !unknown) await removeSegmentFile(db, groupDir(groupId), fileName)
  }
}

function insert(
  deps: PublishDeps,
  { groupId, made, verified, context, show }: Publication,
  fileName: string,
): Result<Changed<Facts>> {
  const { db } = deps
  const group = groupNow(db, groupId)
  if (!group.ok) return group
  // Another group's job, or a smaller quota, may have come meanwhile.
  const allowed = withinQuota(quotaOf(db, group.value), made.sizeBytes)
  if (!allowed.ok) return allowed
  const now = deps.clock.nowMs()
  const { sizeBytes, blobBytes, rpFix } = made
  const segment = db
    .insert(segments)
    .values({ groupId, fileName, sizeBytes, verified, blobBytes, createdAtMs: now })
    .returning({ id: segments.id })
    .get()
  const ids = made.images.map(({ treeSha1, needs, element, facts, bootable, viewBytes }, i) => {
    const { id } = db
      .insert(contents)
      .values({
        groupId,
        segmentId: segment.id,
        imageIndex: i + 1,
        treeSha1,
        element,
        facts,
        bootable,
        rpFix,
        viewBytes,
        createdAtMs: now,
      })
      .returning({ id: contents.id })
      .get()
    keepNeeds(db, id, needs)
    return id
  })
  const shown = show(ids, group.value)
  if (!shown.ok) return shown
  db.delete(doomedFiles).where(eq(doomedFiles.fileName, fileName)).run()
  const { blobs, newBlobs } = made
  const told = { ...shown.value.value, group: group.value.name, blobs, newBlobs, storedBytes: sizeBytes }
  context.committed(told)
  return ok({
    value: told,
    entries: shown.value.entries,
    afterwards: () => {
      deps.onImported(groupId)
      shown.value.afterwards?.()
    },
  })
}
