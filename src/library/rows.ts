/** Groups and install images as rows, and the rule by which the admin's words select one. */
import { and, asc, eq, sql } from 'drizzle-orm'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { contents, imageGroups, installImages, segments } from '../db/schema.ts'
import type { ImageFacts } from '../wim/xml.ts'

export type Group = typeof imageGroups.$inferSelect
export type InstallImage = typeof installImages.$inferSelect & {
  readonly group: string
  readonly facts: ImageFacts
  readonly viewBytes: number
}

/**
 * How an image is named everywhere: its name and its group; its file name where the name is not unique; the group may be
 * left out while there is exactly one. Source: Copy-WdsInstallImage and its siblings.
 */
export type Selector = {
  readonly name: string
  readonly group?: string | undefined
  readonly file?: string | undefined
}

const sameText = (column: Parameters<typeof eq>[0], text: string) => sql`${column} = ${text} collate nocase`

export function listGroups(db: Db): Group[] {
  return db.select().from(imageGroups).orderBy(asc(imageGroups.name)).all()
}

export function findGroup(db: Db, name: string): Result<Group> {
  const group = db.select().from(imageGroups).where(sameText(imageGroups.name, name)).get()
  if (group) return ok(group)
  const names = listGroups(db).map((known) => known.name)
  return refuse(
    'not-found',
    `there is no image group "${name}"`,
    names.length ? `There are: ${names.join(', ')}.` : 'Make one: wimcast group new NAME.',
    { groups: names },
  )
}

/** The named group, or the only one when none is named. */
export function theGroup(db: Db, name: string | undefined): Result<Group> {
  if (name !== undefined) return findGroup(db, name)
  const [only, ...more] = listGroups(db)
  if (!only) return refuse('not-found', 'there is no image group yet', 'Make one: wimcast group new NAME.')
  if (more.length > 0) {
    const names = [only, ...more].map((group) => group.name)
    return refuse(
      'ambiguous',
      `there are ${names.length} image groups`,
      `Name one with --group: ${names.join(', ')}.`,
      { groups: names },
    )
  }
  return ok(only)
}

export function listImages(db: Db, groupId?: number): InstallImage[] {
  const rows = db
    .select({ image: installImages, group: imageGroups.name, facts: contents.facts, viewBytes: contents.viewBytes })
    .from(installImages)
    .innerJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
    .innerJoin(contents, eq(contents.id, installImages.contentId))
    .where(groupId === undefined ? undefined : eq(installImages.groupId, groupId))
    .orderBy(asc(imageGroups.name), asc(installImages.name), asc(installImages.fileName))
    .all()
  return rows.map(({ image, facts, ...more }) => ({ ...image, ...more, facts: facts as unknown as ImageFacts }))
}

export function findImage(db: Db, selector: Selector): Result<InstallImage> {
  const group = theGroup(db, selector.group)
  if (!group.ok) return group
  const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase()
  const inGroup = listImages(db, group.value.id)
  const matches = inGroup.filter(
    (image) =>
      same(image.name, selector.name) &&
      (selector.file === undefined ||
        same(image.fileName, selector.file) ||
        same(image.fileName, `${selector.file}.wim`)),
  )
  const [only, ...more] = matches
  if (!only) {
    const near = inGroup.slice(0, 20).map((image) => image.name)
    return refuse(
      'not-found',
      `there is no image "${selector.name}" in group "${group.value.name}"`,
      near.length ? `There are: ${near.join(', ')}.` : 'The group is empty.',
    )
  }
  if (more.length === 0) return ok(only)
  const files = matches.map((image) => image.fileName)
  return refuse(
    'ambiguous',
    `${matches.length} images in group "${group.value.name}" are named "${selector.name}"`,
    `Name one by its file with --file: ${files.join(', ')}.`,
    { files },
  )
}

/** By path, as transports ask: `images/<group>/<file name>`, case-blind as Windows clients are. */
export function findByFile(db: Db, group: string, file: string): InstallImage | undefined {
  const row = db
    .select({ image: installImages, group: imageGroups.name, facts: contents.facts, viewBytes: contents.viewBytes })
    .from(installImages)
    .innerJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
    .innerJoin(contents, eq(contents.id, installImages.contentId))
    .where(and(sameText(imageGroups.name, group), sameText(installImages.fileName, file)))
    .get()
  return row && { ...row.image, group: row.group, viewBytes: row.viewBytes, facts: row.facts as unknown as ImageFacts }
}

export function segmentsOf(db: Db, groupId: number): (typeof segments.$inferSelect)[] {
  return db.select().from(segments).where(eq(segments.groupId, groupId)).orderBy(asc(segments.id)).all()
}

/** File names are paths for clients that boot: one of each in a group, whatever the case. */
export function fileNameFree(db: Db, group: Pick<Group, 'id' | 'name'>, fileName: string): Result<void> {
  const folded = fileName.toLowerCase()
  const taken = listImages(db, group.id).some((image) => image.fileName.toLowerCase() === folded)
  if (!taken) return ok(undefined)
  return refuse(
    'exists',
    `group "${group.name}" already has a file "${fileName}"`,
    'Choose another file name, or remove that image first.',
  )
}
