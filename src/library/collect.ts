/**
 * Gives space back: contents that no image and no open transmission shows go, and with them the segments that hold
 * nothing anybody needs. (Segments that are needed in part stay whole.) Rows go first, all in one transaction that also
 * dooms the files; a crash before they are unlinked leaves that to the next start.
 */
import { and, eq, inArray, notInArray, sql } from 'drizzle-orm'
import type { Log } from '../base/log.ts'
import type { Db } from '../db/open.ts'
import { contents, doomedFiles, installImages, segments, transmissions } from '../db/schema.ts'
import { isMetadata, sha1At } from '../wim/blob-table.ts'
import { decodeNeeds, indexNeeds } from '../wim/needs.ts'
import { removeSegmentFile } from './recover.ts'
import { segmentsOf } from './rows.ts'
import type { SegmentFiles } from './segment-files.ts'

export type CollectDeps = {
  readonly db: Db
  readonly files: SegmentFiles
  readonly groupDir: (groupId: number) => string
  readonly log: Log
}

function deadContents(db: Db, groupId: number): ReadonlySet<number> {
  const shown = db.select({ id: installImages.contentId }).from(installImages)
  const leased = db
    .select({ id: transmissions.contentId })
    .from(transmissions)
    .where(sql`${transmissions.contentId} is not null`)
  const dead = db
    .select({ id: contents.id })
    .from(contents)
    .where(and(eq(contents.groupId, groupId), notInArray(contents.id, shown), notInArray(contents.id, leased)))
    .all()
  return new Set(dead.map((content) => content.id))
}

/** Call it in the group's lane: an import that runs counts on the segments it has seen. Returns bytes given back. */
export async function collectGroup(deps: CollectDeps, groupId: number): Promise<number> {
  const { db, files, groupDir, log } = deps
  const dead = deadContents(db, groupId)
  if (dead.size === 0) return 0
  const all = db
    .select({ id: contents.id, segmentId: contents.segmentId, needs: contents.needs })
    .from(contents)
    .where(eq(contents.groupId, groupId))
    .all()
  const live = all.filter((content) => !dead.has(content.id))
  const homes = new Set(live.map((content) => content.segmentId))
  const indexes = live.map((content) => indexNeeds(decodeNeeds(content.needs)))
  const empty: (typeof segments.$inferSelect)[] = []
  for (const segment of segmentsOf(db, groupId)) {
    if (homes.has(segment.id)) continue
    const path = `${groupDir(groupId)}/${segment.fileName}`
    const { table } = await files.table(path)
    let needed = false
    for (let i = 0; i < table.count && !needed; i += 1) {
      const sha1 = sha1At(table, i)
      needed = !isMetadata(table, i) && indexes.some((index) => index.find(sha1) >= 0)
    }
    if (!needed) empty.push(segment)
  }
  // Whoever took a dead content meanwhile holds it by its foreign key: then nothing of this happens, until next time.
  db.transaction((tx) => {
    tx.delete(contents)
      .where(inArray(contents.id, [...dead]))
      .run()
    for (const { fileName } of empty) tx.insert(doomedFiles).values({ fileName, groupId }).run()
    if (empty.length > 0)
      tx.delete(segments)
        .where(
          inArray(
            segments.id,
            empty.map((segment) => segment.id),
          ),
        )
        .run()
  })
  let freed = 0
  for (const segment of empty) {
    const path = `${groupDir(groupId)}/${segment.fileName}`
    files.forget(path)
    await removeSegmentFile(db, groupDir(groupId), segment.fileName)
    freed += segment.sizeBytes
    log.info('library.segment-removed', { group: groupId, file: segment.fileName, bytes: segment.sizeBytes })
  }
  return freed
}
