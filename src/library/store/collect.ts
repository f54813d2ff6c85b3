/**
 * Gives space back: contents that no image (in the trash or not), no earlier version of one and no transmission shows go,
 * and with them the segments that hold nothing anybody needs. (Segments that are needed in part stay whole, until a
 * compaction.) Rows go first, all in one transaction that also dooms the files; a crash before they are unlinked leaves
 * that to the next start. A segment that a transmission holds a lease on is retired instead, and goes when that lets go.
 */
import { setImmediate } from 'node:timers/promises'
import { and, eq, inArray, isNotNull, notInArray, type SQL } from 'drizzle-orm'
import type { Log } from '../../base/log.ts'
import { Fault } from '../../base/refusal.ts'
import type { Db } from '../../db/open.ts'
import { contents, doomedFiles, installImages, segmentLeases, segments, transmissions, trash } from '../../db/schema.ts'
import { SHA1_BYTES, type Sha1Index } from '../../wim/blob-table.ts'
import type { Needs } from '../../wim/needs.ts'
import { needsOf, segmentsOf } from '../rows.ts'
import { removeSegmentFile, unknownSegments } from './recover.ts'
import type { SegmentFiles } from './segment-files.ts'

export type CollectDeps = {
  readonly db: Db
  readonly files: SegmentFiles
  readonly groupDir: (groupId: number) => string
  readonly log: Log
}

type Segment = typeof segments.$inferSelect

/** Contents of the group by id, ascending: those that something shows, and the others. */
export function contentsOf(
  db: Db,
  groupId: number,
): { readonly live: readonly number[]; readonly dead: readonly number[] } {
  const shown = db.select({ id: installImages.contentId }).from(installImages)
  const kept = db.select({ id: trash.contentId }).from(trash).where(isNotNull(trash.contentId))
  const sent = db.select({ id: transmissions.contentId }).from(transmissions).where(isNotNull(transmissions.contentId))
  const ofGroup = eq(contents.groupId, groupId)
  const idsWhere = (which: SQL | undefined): number[] =>
    db
      .select({ id: contents.id })
      .from(contents)
      .where(which)
      .orderBy(contents.id)
      .all()
      .map(({ id }) => id)
  const dead = idsWhere(
    and(ofGroup, notInArray(contents.id, shown), notInArray(contents.id, kept), notInArray(contents.id, sent)),
  )
  const isDead = new Set(dead)
  return { live: idsWhere(ofGroup).filter((id) => !isDead.has(id)), dead }
}

/**
 * In a transaction: lets go of segments that no content calls its home any more. Returns those whose files are doomed
 * now; the others are leased, and retired.
 */
export function letGo(db: Db, old: readonly Segment[]): Segment[] {
  const ids = old.map(({ id }) => id)
  const leased = new Set(
    db
      .select({ id: segmentLeases.segmentId })
      .from(segmentLeases)
      .where(inArray(segmentLeases.segmentId, ids))
      .all()
      .map(({ id }) => id),
  )
  const gone = old.filter(({ id }) => !leased.has(id))
  for (const { id, fileName, groupId } of gone) {
    db.insert(doomedFiles).values({ fileName, groupId }).run()
    db.delete(segments).where(eq(segments.id, id)).run()
  }
  if (leased.size > 0)
    db.update(segments)
      .set({ retired: true })
      .where(inArray(segments.id, [...leased]))
      .run()
  return gone
}

/** Unlinks what is doomed. */
export async function unlinkSegments(deps: CollectDeps, gone: readonly Segment[]): Promise<void> {
  const { db, files, groupDir, log } = deps
  for (const { groupId, fileName, sizeBytes } of gone) {
    files.forget(`${groupDir(groupId)}/${fileName}`)
    await removeSegmentFile(db, groupDir(groupId), fileName)
    log.info('library.segment-removed', { group: groupId, file: fileName, bytes: sizeBytes })
  }
}

/** Segments that hold nothing of what the contents other than `dead` need. */
async function emptySegments(
  { db, files, groupDir }: CollectDeps,
  groupId: number,
  dead: ReadonlySet<number>,
): Promise<Segment[]> {
  if (dead.size === 0) return []
  const live = db
    .select({ id: contents.id, segmentId: contents.segmentId })
    .from(contents)
    .where(eq(contents.groupId, groupId))
    .all()
    .filter((content) => !dead.has(content.id))
  const homes = new Set(live.map((content) => content.segmentId))
  const empty = new Map<Segment, Sha1Index>()
  for (const segment of segmentsOf(db, groupId)) {
    if (homes.has(segment.id)) continue
    const loaded = await files.table(`${groupDir(groupId)}/${segment.fileName}`).catch((error: unknown) => {
      if (error instanceof Fault) return undefined
      throw error
    })
    // A file that is missing or cannot be read is for a check and a repair; the others give back what they can.
    if (loaded) empty.set(segment, loaded.index)
  }
  // Megabytes for each, one at a time: other work gets its turn in between. In the group's lane no content is added
  // meanwhile.
  for (const { id } of live) {
    if (empty.size === 0) break
    const needs = needsOf(db, id)
    await setImmediate()
    for (const [segment, index] of empty) {
      if (needsAny(needs, index)) empty.delete(segment)
      await setImmediate()
    }
  }
  return [...empty.keys()]
}

function needsAny({ count, sha1 }: Needs, index: Sha1Index): boolean {
  for (let i = 0; i < count; i += 1) if (index.find(sha1, i * SHA1_BYTES) >= 0) return true
  return false
}

/** Retired segments that no lease names any more. */
function releasedSegments(db: Db, groupId: number): Segment[] {
  const leased = db.select({ id: segmentLeases.segmentId }).from(segmentLeases)
  return db
    .select()
    .from(segments)
    .where(and(eq(segments.groupId, groupId), eq(segments.retired, true), notInArray(segments.id, leased)))
    .all()
}

/** Call it in the group's lane: an import that runs counts on the segments it has seen. Returns bytes given back. */
export async function collectGroup(deps: CollectDeps, groupId: number): Promise<number> {
  const { db, groupDir, log } = deps
  // After the restore of an older database: what nobody seems to need may be of images that came since.
  const [unknown] = unknownSegments(db, groupDir(groupId), groupId)
  if (unknown !== undefined) {
    log.warning('library.not-collected', { group: groupId, unknown, hint: 'wimcast library rebuild' })
    return 0
  }
  const { dead } = contentsOf(db, groupId)
  const empty = await emptySegments(deps, groupId, new Set(dead))
  const gone: Segment[] = []
  // Whoever took a dead content meanwhile holds it by its foreign key: then nothing of this happens, until next time.
  db.transaction((tx) => {
    if (dead.length > 0)
      tx.delete(contents)
        .where(inArray(contents.id, [...dead]))
        .run()
    gone.push(...letGo(tx, [...empty, ...releasedSegments(tx, groupId)]))
  })
  await unlinkSegments(deps, gone)
  return gone.reduce((sum, segment) => sum + segment.sizeBytes, 0)
}
