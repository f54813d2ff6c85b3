/** Groups and install images as rows, and the rule by which the admin's words select one. */
import { and, asc, eq, isNull, type SQL, sql } from 'drizzle-orm'
import { foldCase } from '../base/fold.ts'
import { maySee, type Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { contentNeeds, contents, imageGroups, installImages, segments, trash, unattendFiles } from '../db/schema.ts'
import { decodeNeeds, type Needs } from '../wim/needs.ts'
import type { ImageFacts } from '../wim/xml.ts'

export type Group = typeof imageGroups.$inferSelect
export type InstallImage = typeof installImages.$inferSelect & {
  readonly group: string
  readonly groupAudience: Group['audience']
  readonly facts: ImageFacts
  readonly viewBytes: number
  readonly hasUnattend: boolean
}

export type Architecture = NonNullable<ImageFacts['architecture']>

/**
 * How an image is named everywhere: its name and its group; its file name where the name is not unique; the group may be
 * left out while there is exactly one. Source: Copy-WdsInstallImage and its siblings.
 */
export type Selector = {
  readonly name: string
  readonly group?: string | undefined
  readonly file?: string | undefined
}

/** What is left out does not limit. Texts are compared without case. */
export type ImageFilter = {
  readonly group?: string | undefined
  readonly name?: string | undefined
  readonly file?: string | undefined
  readonly architecture?: string | undefined
  readonly language?: string | undefined
  readonly enabled?: boolean | undefined
  readonly public?: boolean | undefined
  /** Part of the name, the description, the version, the comment or the file name. */
  readonly search?: string | undefined
}

/** Where an image without an order of its own stands in menus: in the middle, as WDS has it. */
export const MIDDLE_ORDER = 50

export function architectureOf(image: Pick<InstallImage, 'architecture' | 'facts'>): Architecture | undefined {
  return image.architecture ?? image.facts.architecture
}

export function languageOf(image: Pick<InstallImage, 'language' | 'facts'>): string | undefined {
  return image.language ?? image.facts.defaultLanguage ?? image.facts.languages[0]
}

/** What somebody wrote, in a message: eight megabytes of it would help nobody. */
function short(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text
}

/** What is in the trash too. */
export function allGroups(db: Db): Group[] {
  return db.select().from(imageGroups).orderBy(asc(imageGroups.id)).all()
}

export function listGroups(db: Db, who: Principal): Group[] {
  const groups = db.select().from(imageGroups).where(isNull(imageGroups.trashId)).orderBy(asc(imageGroups.folded)).all()
  return groups.filter((group) => maySee(who, group.audience))
}

export function findGroup(db: Db, name: string, who: Principal): Result<Group> {
  const group = db
    .select()
    .from(imageGroups)
    .where(and(eq(imageGroups.folded, foldCase(name)), isNull(imageGroups.trashId)))
    .get()
  if (group && maySee(who, group.audience)) return ok(group)
  const names = listGroups(db, who).map((known) => known.name)
  return refuse(
    'not-found',
    `there is no image group "${short(name)}"`,
    names.length ? `There are: ${names.join(', ')}.` : 'Make one: wimcast group new NAME.',
    { groups: names },
  )
}

/** The named group, or the only one when none is named. */
export function theGroup(db: Db, name: string | undefined, who: Principal): Result<Group> {
  if (name !== undefined) return findGroup(db, name, who)
  const [only, ...more] = listGroups(db, who)
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

function selectImages(db: Db, where: SQL | undefined): InstallImage[] {
  const rows = db
    .select({
      image: installImages,
      group: imageGroups.name,
      groupAudience: imageGroups.audience,
      facts: contents.facts,
      viewBytes: contents.viewBytes,
      unattendId: unattendFiles.imageId,
    })
    .from(installImages)
    .innerJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
    .innerJoin(contents, eq(contents.id, installImages.contentId))
    .leftJoin(unattendFiles, eq(unattendFiles.imageId, installImages.id))
    .where(where)
    .orderBy(
      asc(imageGroups.folded),
      sql`coalesce(${installImages.displayOrder}, ${MIDDLE_ORDER})`,
      asc(installImages.foldedName),
      asc(installImages.foldedFile),
    )
    .all()
  return rows.map(({ image, facts, unattendId, ...more }) => ({
    ...image,
    ...more,
    facts: facts as unknown as ImageFacts,
    hasUnattend: unattendId !== null,
  }))
}

const HERE = and(isNull(installImages.trashId), isNull(imageGroups.trashId))

/** By group, order, name and file. An unknown group is refused, not empty. */
export function listImages(db: Db, filter: ImageFilter, who: Principal): Result<InstallImage[]> {
  const group = filter.group === undefined ? undefined : findGroup(db, filter.group, who)
  if (group && !group.ok) return group
  const rows = selectImages(
    db,
    and(
      HERE,
      group ? eq(installImages.groupId, group.value.id) : undefined,
      filter.name === undefined ? undefined : eq(installImages.foldedName, foldCase(filter.name)),
      filter.file === undefined ? undefined : fileIs(filter.file),
      filter.enabled === undefined ? undefined : eq(installImages.enabled, filter.enabled),
      filter.public === undefined ? undefined : eq(installImages.isPublic, filter.public),
    ),
  )
  const same = (a: string | undefined, b: string | undefined): boolean =>
    b === undefined || (a !== undefined && foldCase(a) === foldCase(b))
  const search = filter.search === undefined ? undefined : foldCase(filter.search)
  return ok(
    rows.filter(
      (image) =>
        maySee(who, image.groupAudience, image.audience) &&
        same(architectureOf(image), filter.architecture) &&
        same(languageOf(image), filter.language) &&
        (search === undefined ||
          [image.name, image.description, image.version, image.comment, image.fileName].some((text) =>
            foldCase(text).includes(search),
          )),
    ),
  )
}

/** The ending may be left out, as it may be where the file name is given. */
function fileIs(file: string): SQL {
  const folded = foldCase(file)
  return eq(installImages.foldedFile, folded.endsWith('.wim') ? folded : `${folded}.wim`)
}

export function imagesOfGroup(db: Db, groupId: number): InstallImage[] {
  return selectImages(db, and(HERE, eq(installImages.groupId, groupId)))
}

/** By row, in the trash or not. */
export function imageById(db: Db, id: number): InstallImage | undefined {
  return selectImages(db, eq(installImages.id, id))[0]
}

/** The images that items of the trash are, or are versions of. */
export function imagesOfTrash(db: Db): ReadonlyMap<number, InstallImage> {
  const images = selectImages(db, sql`${installImages.id} in (select ${trash.imageId} from ${trash})`)
  return new Map(images.map((image) => [image.id, image]))
}

export function findImage(db: Db, selector: Selector, who: Principal): Result<InstallImage> {
  const group = theGroup(db, selector.group, who)
  if (!group.ok) return group
  const matches = listImages(db, { ...selector, group: group.value.name }, who)
  if (!matches.ok) return matches
  const [only, ...more] = matches.value
  if (!only) {
    const near = imagesOfGroup(db, group.value.id)
      .filter((image) => maySee(who, image.audience))
      .slice(0, 20)
      .map((image) => image.name)
    return refuse(
      'not-found',
      `there is no image "${short(selector.name)}"${selector.file === undefined ? '' : ` with the file "${short(selector.file)}"`} in group "${group.value.name}"`,
      near.length ? `There are: ${near.join(', ')}.` : 'The group is empty.',
    )
  }
  if (more.length === 0) return ok(only)
  const files = matches.value.map((image) => image.fileName)
  return refuse(
    'ambiguous',
    `${files.length} images in group "${group.value.name}" are named "${short(selector.name)}"`,
    `Name one by its file with --file: ${files.join(', ')}.`,
    { files },
  )
}

/** By path, as transports ask: `images/<group>/<file name>`, case-blind as Windows clients are. */
export function findByFile(db: Db, group: string, file: string): InstallImage | undefined {
  return selectImages(
    db,
    and(HERE, eq(imageGroups.folded, foldCase(group)), eq(installImages.foldedFile, foldCase(file))),
  )[0]
}

/** The segments that images are read from and built on; oldest first. */
export function segmentsOf(db: Db, groupId: number): (typeof segments.$inferSelect)[] {
  return db
    .select()
    .from(segments)
    .where(and(eq(segments.groupId, groupId), eq(segments.retired, false)))
    .orderBy(asc(segments.id))
    .all()
}

/** Those too that stay for a transmission only. */
export function allSegmentsOf(db: Db, groupId: number): (typeof segments.$inferSelect)[] {
  return db.select().from(segments).where(eq(segments.groupId, groupId)).orderBy(asc(segments.id)).all()
}

/** Which file contents a content needs; megabytes for a large image. */
export function needsOf(db: Db, contentId: number): Needs {
  const row = db.select().from(contentNeeds).where(eq(contentNeeds.contentId, contentId)).get()
  return decodeNeeds(row?.packed ?? new Uint8Array(0))
}

export function keepNeeds(db: Db, contentId: number, packed: Uint8Array): void {
  db.insert(contentNeeds)
    .values({ contentId, packed: Buffer.from(packed) })
    .run()
}

/** File names are paths for clients that boot: one of each in a group, whatever the case. */
export function fileNameFree(
  db: Db,
  group: Pick<Group, 'id' | 'name'>,
  fileName: string,
  butNot?: number,
): Result<void> {
  const taken = db
    .select({ id: installImages.id })
    .from(installImages)
    .where(
      and(
        eq(installImages.groupId, group.id),
        eq(installImages.foldedFile, foldCase(fileName)),
        isNull(installImages.trashId),
      ),
    )
    .get()
  if (!taken || taken.id === butNot) return ok(undefined)
  return refuse(
    'exists',
    `group "${group.name}" already has a file "${fileName}"`,
    'Choose another file name, or remove that image first.',
  )
}
