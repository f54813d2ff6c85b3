/**
 * Leases: the segments that a transmission's view is laid out of. The group may be compacted while clients hold half of
 * the file, and the appliance may start anew: the view must be the same bytes, or it has another root.
 */
import { asc, eq, inArray } from 'drizzle-orm'
import type { Db } from '../db/open.ts'
import { segmentLeases, segments, transmissions } from '../db/schema.ts'
import type { Recipe } from '../library/store/contents.ts'

export type Lease = {
  readonly contentId: number
  /** Written when the view was first made. */
  readonly recipe: Recipe | undefined
}

/** Undefined when the transmission has let go. */
export function leaseOf(db: Db, id: number): Lease | undefined {
  const { contentId, homeSegmentId, homeIndex } = transmissions
  const row = db
    .select({ contentId, homeSegmentId, homeIndex })
    .from(transmissions)
    .where(eq(transmissions.id, id))
    .get()
  if (!row || row.contentId === null) return undefined
  if (row.homeSegmentId === null || row.homeIndex === null) return { contentId: row.contentId, recipe: undefined }
  const segmentIds = db
    .select({ id: segmentLeases.segmentId })
    .from(segmentLeases)
    .where(eq(segmentLeases.transmissionId, id))
    .orderBy(asc(segmentLeases.position))
    .all()
    .map((lease) => lease.id)
  return {
    contentId: row.contentId,
    recipe: { homeSegmentId: row.homeSegmentId, homeIndex: row.homeIndex, segmentIds },
  }
}

/** Nothing happens when it has leases, or has let go, or a segment has gone since the view was made: look again. */
export function takeLeases(db: Db, id: number, { homeSegmentId, homeIndex, segmentIds }: Recipe): void {
  db.transaction(() => {
    const lease = leaseOf(db, id)
    if (!lease || lease.recipe) return
    const there = db
      .select({ id: segments.id })
      .from(segments)
      .where(inArray(segments.id, [...segmentIds]))
      .all()
    if (there.length < segmentIds.length) return
    db.update(transmissions).set({ homeSegmentId, homeIndex }).where(eq(transmissions.id, id)).run()
    for (const [position, segmentId] of segmentIds.entries())
      db.insert(segmentLeases).values({ transmissionId: id, segmentId, position }).run()
  })
}

/** Lets go of the content, of the segments and of the session with its keys. */
export function dropLeases(db: Db, id: number): void {
  db.transaction(() => {
    db.delete(segmentLeases).where(eq(segmentLeases.transmissionId, id)).run()
    db.update(transmissions)
      .set({ contentId: null, session: null, homeSegmentId: null, homeIndex: null })
      .where(eq(transmissions.id, id))
      .run()
  })
}
