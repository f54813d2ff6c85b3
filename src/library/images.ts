/** The verbs on install images that take no time: list, show, set, copy, remove. */
import { and, eq, isNull, ne } from 'drizzle-orm'
import type { By, Changed, Changes, Entry, Facts } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import { foldCase } from '../base/fold.ts'
import { type Audience, nameOf, type Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { imageGroups, installImages, trash } from '../db/schema.ts'
import type { Alongside } from './alongside.ts'
import {
  parseArchitecture,
  parseAudience,
  parseComment,
  parseDescription,
  parseDisplayOrder,
  parseFileName,
  parseImageName,
  parseLanguage,
  parseVersion,
} from './names.ts'
import {
  type Architecture,
  architectureOf,
  fileNameFree,
  findImage,
  type ImageFilter,
  type InstallImage,
  imageById,
  imagesOfGroup,
  listImages,
  type Selector,
} from './rows.ts'
import { parseUnattend, setUnattend, unattendOf } from './unattend.ts'

export type CopyRequest = {
  readonly newName: string
  readonly newFileName: string
  readonly newDescription?: string | undefined
  /** Only for the refusal: images are copied within their group. */
  readonly toGroup?: string | undefined
  readonly alongside?: Alongside | undefined
}

/** What an operator says of an image; `null` takes back what was said. */
export type ImageProperties = {
  readonly version?: string | undefined
  readonly comment?: string | undefined
  readonly architecture?: string | null | undefined
  readonly language?: string | null | undefined
  readonly displayOrder?: number | null | undefined
  readonly unattend?: string | null | undefined
}

export type ImageChange = ImageProperties & {
  readonly name?: string | undefined
  readonly description?: string | undefined
  readonly fileName?: string | undefined
  readonly isPublic?: boolean | undefined
  readonly enabled?: boolean | undefined
  readonly bootDefault?: boolean | undefined
  readonly audience?: Audience | null | undefined
  /** An answer file that is there is kept unless this is said. */
  readonly overwriteUnattend?: boolean | undefined
  /** Refused with `changed` when the image has changed since then. */
  readonly ifChangedAtMs?: number | undefined
}

export type Copied = { readonly image: InstallImage; readonly transmission?: Facts | undefined }

export type Images = {
  readonly list: (filter: ImageFilter, who: Principal) => Result<InstallImage[]>
  readonly show: (selector: Selector, who: Principal) => Result<InstallImage>
  readonly set: (selector: Selector, change: ImageChange, by: By) => Result<InstallImage>
  readonly copy: (selector: Selector, copy: CopyRequest, by: By) => Result<Copied>
  /** Into the trash. */
  readonly remove: (selector: Selector, by: By) => Result<InstallImage>
  /** The answer file's text. */
  readonly unattend: (selector: Selector, who: Principal) => Result<string>
}

export type ImageDeps = {
  readonly db: Db
  readonly changes: Changes
  readonly clock: Clock
  /** After a commit that changed rows of the group. */
  readonly changed: (groupId: number) => void
}

type Columns = Pick<
  InstallImage,
  | 'name'
  | 'description'
  | 'fileName'
  | 'isPublic'
  | 'enabled'
  | 'version'
  | 'comment'
  | 'architecture'
  | 'language'
  | 'displayOrder'
  | 'bootDefault'
  | 'audience'
>

/** `G/install.wim`: what an image is called in the audit log. */
export function subjectOf(image: Pick<InstallImage, 'group' | 'fileName'>): string {
  return `${image.group}/${image.fileName}`
}

/** What the audit log keeps of an image. */
export function columnsOf(image: InstallImage): Columns & { readonly hasUnattend: boolean } {
  const { name, description, fileName, isPublic, enabled, version, comment } = image
  const { architecture, language, displayOrder, bootDefault, audience, hasUnattend } = image
  return {
    name,
    description,
    fileName,
    isPublic,
    enabled,
    version,
    comment,
    architecture,
    language,
    displayOrder,
    bootDefault,
    audience,
    hasUnattend,
  }
}

/** The keys whose values differ, in both. */
export function differences(before: Facts, after: Facts): { readonly before: Facts; readonly after: Facts } {
  const keys = Object.keys(after).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]))
  const pick = (from: Facts): Facts => Object.fromEntries(keys.map((key) => [key, from[key] ?? null]))
  return { before: pick(before), after: pick(after) }
}

/** `undefined` stays, `null` goes, anything else is parsed. */
function changedTo<T, P>(wanted: T | null | undefined, now: P, parse: (value: T) => Result<P>): Result<P | null> {
  if (wanted === undefined) return ok(now)
  return wanted === null ? ok(null) : parse(wanted)
}

export type ParsedProperties = {
  readonly version: string
  readonly comment: string
  readonly architecture: Architecture | null
  readonly language: string | null
  readonly displayOrder: number | null
}

/** Said of an image that has `now`. The answer file is parsed too, and returned only when it is well-formed. */
export function parseProperties(
  wanted: ImageProperties,
  now: ParsedProperties = { version: '', comment: '', architecture: null, language: null, displayOrder: null },
): Result<ParsedProperties & { readonly unattend: string | null | undefined }> {
  const version = wanted.version === undefined ? ok(now.version) : parseVersion(wanted.version)
  if (!version.ok) return version
  const comment = wanted.comment === undefined ? ok(now.comment) : parseComment(wanted.comment)
  if (!comment.ok) return comment
  const architecture = changedTo(wanted.architecture, now.architecture, parseArchitecture)
  if (!architecture.ok) return architecture
  const language = changedTo(wanted.language, now.language, parseLanguage)
  if (!language.ok) return language
  const displayOrder = changedTo(wanted.displayOrder, now.displayOrder, parseDisplayOrder)
  if (!displayOrder.ok) return displayOrder
  const unattend = changedTo<string, string | undefined>(wanted.unattend, undefined, parseUnattend)
  if (!unattend.ok) return unattend
  return ok({
    version: version.value,
    comment: comment.value,
    architecture: architecture.value,
    language: language.value,
    displayOrder: displayOrder.value,
    unattend: unattend.value,
  })
}

/** What an image may not be at once. */
function checkTogether(image: InstallImage, after: Columns): Result<void> {
  if (after.isPublic && (after.audience !== null || image.groupAudience !== null))
    return refuse(
      'bad-request',
      `"${after.name}" cannot be public and limited to some: plain HTTP and TFTP ask nobody who they are`,
      'Make it not public, or lift the limit of the image and its group.',
    )
  if (!after.bootDefault) return ok(undefined)
  const architecture = after.architecture ?? image.facts.architecture
  if (architecture === undefined)
    return refuse(
      'bad-request',
      `"${after.name}" does not say for which architecture it is`,
      'Say it: wimcast image set NAME --architecture x64.',
    )
  if (!after.enabled)
    return refuse(
      'boot-default',
      `"${after.name}" is the default of ${architecture}`,
      'Make another image the default first, or this one no longer: wimcast image set NAME --boot-default off.',
      { architecture },
    )
  return ok(undefined)
}

export function openImages({ db, changes, clock, changed }: ImageDeps): Images {
  /** One default for each architecture in the whole library: the others step back. Returns them. */
  function stepBack(image: InstallImage): InstallImage[] {
    const others = db
      .select({ id: installImages.id })
      .from(installImages)
      .innerJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
      .where(
        and(
          eq(installImages.bootDefault, true),
          ne(installImages.id, image.id),
          isNull(installImages.trashId),
          isNull(imageGroups.trashId),
        ),
      )
      .all()
      .flatMap(({ id }) => imageById(db, id) ?? [])
      .filter((other) => architectureOf(other) === architectureOf(image))
    for (const other of others)
      db.update(installImages)
        .set({ bootDefault: false, changedAtMs: Math.max(clock.nowMs(), other.changedAtMs + 1) })
        .where(eq(installImages.id, other.id))
        .run()
    return others
  }

  function setIn(selector: Selector, change: ImageChange, by: By): Result<Changed<InstallImage>> {
    const found = findImage(db, selector, by.who)
    if (!found.ok) return found
    const image = found.value
    if (change.ifChangedAtMs !== undefined && change.ifChangedAtMs !== image.changedAtMs)
      return refuse('changed', `"${image.name}" was changed meanwhile`, 'Look at it again, then change it.')
    const name = change.name === undefined ? ok(image.name) : parseImageName(change.name)
    if (!name.ok) return name
    const description = change.description === undefined ? ok(image.description) : parseDescription(change.description)
    if (!description.ok) return description
    const fileName = change.fileName === undefined ? ok(image.fileName) : parseFileName(change.fileName)
    if (!fileName.ok) return fileName
    const free = fileNameFree(db, { id: image.groupId, name: image.group }, fileName.value, image.id)
    if (!free.ok) return free
    const properties = parseProperties(change, image)
    if (!properties.ok) return properties
    const audience = changedTo(change.audience, image.audience, parseAudience)
    if (!audience.ok) return audience
    const { unattend, ...said } = properties.value
    const after: Columns = {
      ...said,
      name: name.value,
      description: description.value,
      fileName: fileName.value,
      isPublic: change.isPublic ?? image.isPublic,
      enabled: change.enabled ?? image.enabled,
      bootDefault: change.bootDefault ?? image.bootDefault,
      audience: audience.value,
    }
    const sound = checkTogether(image, after)
    if (!sound.ok) return sound
    if (unattend !== undefined && image.hasUnattend && !change.overwriteUnattend)
      return refuse('exists', `"${image.name}" has an answer file`, 'It is kept unless you say --overwrite-unattend.')
    const now = clock.nowMs()
    db.update(installImages)
      .set({
        ...after,
        foldedName: foldCase(after.name),
        foldedFile: foldCase(after.fileName),
        // A clock that stands still or runs back must not hide a change from who compares.
        changedAtMs: Math.max(now, image.changedAtMs + 1),
      })
      .where(eq(installImages.id, image.id))
      .run()
    if (unattend !== undefined) setUnattend(db, image.id, unattend ?? undefined, now)
    const changedImage = imageById(db, image.id)
    if (!changedImage) throw new Error(`image ${image.id} went away inside a transaction`)
    const { before: was, after: is } = differences(columnsOf(image), columnsOf(changedImage))
    // That it is another one, and nothing of what is in it.
    const replaced = image.hasUnattend && changedImage.hasUnattend && unattend !== undefined
    const others = after.bootDefault ? stepBack(changedImage) : []
    const entries: Entry[] = [
      {
        verb: 'image.set',
        subject: subjectOf(image),
        before: was,
        after: { ...is, ...(replaced ? { unattend: 'replaced' } : {}) },
      },
      ...others.map((other) => ({
        verb: 'image.set',
        subject: subjectOf(other),
        before: { bootDefault: true },
        after: { bootDefault: false },
      })),
    ]
    const groupIds = new Set([image, ...others].map(({ groupId }) => groupId))
    return ok({ value: changedImage, entries, afterwards: () => groupIds.forEach(changed) })
  }

  function copyIn(selector: Selector, copy: CopyRequest, by: By): Result<Changed<Copied>> {
    const found = findImage(db, selector, by.who)
    if (!found.ok) return found
    const source = found.value
    if (copy.toGroup !== undefined && foldCase(copy.toGroup) !== foldCase(source.group))
      return refuse(
        'bad-request',
        `"${source.name}" can be copied within "${source.group}" only`,
        'Between groups: wimcast image export NAME --to FILE, then wimcast image import FILE --group OTHER.',
      )
    const name = parseImageName(copy.newName)
    if (!name.ok) return name
    const fileName = parseFileName(copy.newFileName)
    if (!fileName.ok) return fileName
    const description =
      copy.newDescription === undefined ? ok(source.description) : parseDescription(copy.newDescription)
    if (!description.ok) return description
    const { groupId, contentId, group } = source
    const free = fileNameFree(db, { id: groupId, name: group }, fileName.value)
    if (!free.ok) return free
    const now = clock.nowMs()
    const { version, comment, architecture, language, displayOrder, enabled, audience } = source
    const { id } = db
      .insert(installImages)
      .values({
        groupId,
        contentId,
        name: name.value,
        foldedName: foldCase(name.value),
        description: description.value,
        fileName: fileName.value,
        foldedFile: foldCase(fileName.value),
        version,
        comment,
        architecture,
        language,
        displayOrder,
        enabled,
        // Who may not see the one may not see the other. Public and the default it becomes by word only.
        audience,
        createdAtMs: now,
        changedAtMs: now,
      })
      .returning({ id: installImages.id })
      .get()
    const unattend = unattendOf(db, source.id)
    if (unattend !== undefined) setUnattend(db, id, unattend, now)
    const image = imageById(db, id)
    if (!image) throw new Error(`image ${id} went away inside a transaction`)
    const beside = copy.alongside?.(image, by)
    if (beside && !beside.ok) return beside
    return ok({
      value: { image, ...(beside ? { transmission: beside.value.value } : {}) },
      entries: [
        { verb: 'image.copy', subject: subjectOf(source), after: { ...columnsOf(image) } },
        ...(beside?.value.entries ?? []),
      ],
      afterwards: () => {
        changed(groupId)
        beside?.value.afterwards?.()
      },
    })
  }

  function removeIn(selector: Selector, by: By): Result<Changed<InstallImage>> {
    const found = findImage(db, selector, by.who)
    if (!found.ok) return found
    const image = found.value
    const architecture = architectureOf(image)
    if (image.bootDefault)
      return refuse(
        'boot-default',
        `"${image.name}" is the default of ${architecture ?? 'its architecture'}`,
        'Make another image the default first, or this one no longer: wimcast image set NAME --boot-default off.',
        { architecture },
      )
    const { id } = db
      .insert(trash)
      .values({
        kind: 'image',
        groupId: image.groupId,
        imageId: image.id,
        title: image.name,
        removedAtMs: clock.nowMs(),
        removedBy: nameOf(by.who),
      })
      .returning({ id: trash.id })
      .get()
    db.update(installImages).set({ trashId: id }).where(eq(installImages.id, image.id)).run()
    return ok({
      value: image,
      entries: [{ verb: 'image.remove', subject: subjectOf(image), before: { ...columnsOf(image) } }],
      afterwards: () => changed(image.groupId),
    })
  }

  return {
    list: (filter, who) => listImages(db, filter, who),
    show: (selector, who) => findImage(db, selector, who),
    set: (selector, change, by) => changes.apply(by, () => setIn(selector, change, by)),
    copy: (selector, copy, by) => changes.apply(by, () => copyIn(selector, copy, by)),
    remove: (selector, by) => changes.apply(by, () => removeIn(selector, by)),
    unattend: (selector, who) => {
      const found = findImage(db, selector, who)
      if (!found.ok) return found
      const text = unattendOf(db, found.value.id)
      return text === undefined
        ? refuse(
            'not-found',
            `"${found.value.name}" has no answer file`,
            'Give it one: wimcast image set NAME --unattend FILE.',
          )
        : ok(text)
    },
  }
}

/** The default of an architecture that a group holds: why the group cannot go. */
export function bootDefaultOf(db: Db, groupId: number): InstallImage | undefined {
  return imagesOfGroup(db, groupId).find((image) => image.bootDefault)
}
