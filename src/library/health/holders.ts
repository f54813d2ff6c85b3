/** Who needs a content: install images, the trash, and open transmissions. */
import { and, count, eq, isNotNull, sql } from 'drizzle-orm'
import { maySee, type Principal } from '../../base/principal.ts'
import type { Db } from '../../db/open.ts'
import { contents, imageGroups, installImages, transmissions, trash } from '../../db/schema.ts'

export type Holders = {
  readonly contentId: number
  readonly holders: number
  /** Of them, images that are not in the trash. */
  readonly shown: number
}

export type HoldingImage = {
  readonly id: number
  readonly name: string
  readonly fileName: string
  readonly viewBytes: number
  /** The image is in the trash, or this is an earlier version of it that is. */
  readonly inTrash: boolean
}

/** Contents of the group that an image, the trash or a transmission holds. */
export function holdersOf(db: Db, groupId: number): Holders[] {
  const found = new Map<number, { holders: number; shown: number }>()
  const add = (contentId: number | null, n: number, isShown: boolean): void => {
    if (contentId === null || n === 0) return
    const known = found.get(contentId) ?? { holders: 0, shown: 0 }
    known.holders += n
    if (isShown) known.shown += n
    found.set(contentId, known)
  }
  const ofGroup = eq(contents.groupId, groupId)
  const isShown = sql<number>`${installImages.trashId} is null and ${imageGroups.trashId} is null`
  const images = db
    .select({ id: installImages.contentId, n: count(), isShown })
    .from(installImages)
    .innerJoin(contents, eq(contents.id, installImages.contentId))
    .innerJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
    .where(ofGroup)
    .groupBy(installImages.contentId, isShown)
    .all()
  for (const row of images) add(row.id, row.n, Number(row.isShown) === 1)
  const versions = db
    .select({ id: trash.contentId, n: count() })
    .from(trash)
    .innerJoin(contents, eq(contents.id, trash.contentId))
    .where(and(isNotNull(trash.contentId), ofGroup))
    .groupBy(trash.contentId)
    .all()
  for (const row of versions) add(row.id, row.n, false)
  const casts = db
    .select({ id: transmissions.contentId, n: count() })
    .from(transmissions)
    .innerJoin(contents, eq(contents.id, transmissions.contentId))
    .where(and(isNotNull(transmissions.contentId), ofGroup))
    .groupBy(transmissions.contentId)
    .all()
  for (const row of casts) add(row.id, row.n, false)
  return [...found].map(([contentId, held]) => ({ contentId, ...held })).sort((a, b) => a.contentId - b.contentId)
}

/** By content: the images that show it or showed it before, as far as `who` may see them. */
export function imagesByContent(db: Db, groupId: number, who: Principal): Map<number, HoldingImage[]> {
  const found = new Map<number, HoldingImage[]>()
  const add = (contentId: number | null, image: HoldingImage): void => {
    if (contentId === null) return
    found.set(contentId, [...(found.get(contentId) ?? []), image])
  }
  const columns = {
    image: installImages,
    groupAudience: imageGroups.audience,
    groupTrashId: imageGroups.trashId,
    viewBytes: contents.viewBytes,
  }
  const shown = db
    .select(columns)
    .from(installImages)
    .innerJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
    .innerJoin(contents, eq(contents.id, installImages.contentId))
    .where(eq(installImages.groupId, groupId))
    .orderBy(installImages.foldedName, installImages.foldedFile)
    .all()
  for (const { image, groupAudience, groupTrashId, viewBytes } of shown)
    if (maySee(who, groupAudience, image.audience))
      add(image.contentId, {
        id: image.id,
        name: image.name,
        fileName: image.fileName,
        viewBytes,
        inTrash: image.trashId !== null || groupTrashId !== null,
      })
  const versions = db
    .select({ ...columns, contentId: trash.contentId })
    .from(trash)
    .innerJoin(installImages, eq(installImages.id, trash.imageId))
    .innerJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
    .innerJoin(contents, eq(contents.id, trash.contentId))
    .where(and(eq(trash.groupId, groupId), isNotNull(trash.contentId)))
    .all()
  for (const { image, groupAudience, viewBytes, contentId } of versions)
    if (maySee(who, groupAudience, image.audience))
      add(contentId, { id: image.id, name: image.name, fileName: image.fileName, viewBytes, inTrash: true })
  return found
}
