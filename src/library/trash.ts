/**
 * The trash: what was removed (images, groups with their images) or replaced (the earlier version of an image). Restoring
 * brings it back; emptying lets go of it, and gives its space back.
 */
import { rm } from 'node:fs/promises'
import { and, asc, count, eq, isNotNull, type SQL } from 'drizzle-orm'
import type { By, Changed, Changes, Entry } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import { foldCase } from '../base/fold.ts'
import { APPLIANCE, maySee, nameOf, type Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { contents, doomedFiles, imageGroups, installImages, segments, transmissions, trash } from '../db/schema.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { subjectOf } from './images.ts'
import { parseFileName, parseGroupName } from './names.ts'
import {
  allGroups,
  allSegmentsOf,
  architectureOf,
  fileNameFree,
  findImage,
  type Group,
  imageById,
  imagesOfTrash,
  listGroups,
  type Selector,
} from './rows.ts'
import { allKnown, doomedFolder } from './store/recover.ts'

export type TrashItem = {
  readonly id: number
  readonly kind: 'image' | 'group' | 'version'
  /** The name it had. */
  readonly title: string
  readonly group: string
  /** Of an image, and of the image that a version is of. */
  readonly fileName?: string
  readonly removedAtMs: number
  readonly removedBy: string
}

export type RestoreRequest = {
  /** Another name for a group, another file name for an image, where the old one is taken by now. */
  readonly name?: string | undefined
  readonly fileName?: string | undefined
}

export type EmptyRequest = {
  /** These items; all when left out. */
  readonly ids?: readonly number[] | undefined
  readonly olderThanDays?: number | undefined
}

export type Trash = {
  /** Oldest first. */
  readonly list: (who: Principal) => TrashItem[]
  readonly restore: (id: number, request: RestoreRequest, by: By) => Result<TrashItem>
  /** Puts an image back to the version before; what it is now becomes the version in the trash. */
  readonly undo: (selector: Selector, by: By) => Result<TrashItem>
  /** For good. What a transmission still sends stays, and is not in the answer. */
  readonly empty: (request: EmptyRequest, by: By) => Promise<Result<TrashItem[]>>
}

export type TrashDeps = {
  readonly db: Db
  readonly changes: Changes
  readonly clock: Clock
  readonly jobs: Pick<Jobs, 'inLane' | 'isBusy'>
  readonly lane: (groupId: number) => string
  readonly groupDir: (groupId: number) => string
  readonly changed: (groupId: number) => void
  /** The group has let go of contents. */
  readonly collectLater: (groupId: number) => void
  /** A group is about to go, with these segment files. */
  readonly forgetGroup: (groupId: number, paths: readonly string[]) => Promise<void>
}

type Row = typeof trash.$inferSelect
type Item = { readonly row: Row; readonly shown: TrashItem }

const DAY_MS = 86_400_000

/** Keeps what an image has as a version in the trash, and gives it `contentId`. Inside a transaction. */
export function swapContent(
  db: Db,
  image: { readonly id: number; readonly groupId: number; readonly name: string; readonly contentId: number },
  contentId: number,
  how: { readonly who: Principal; readonly nowMs: number },
): void {
  db.insert(trash)
    .values({
      kind: 'version',
      groupId: image.groupId,
      imageId: image.id,
      contentId: image.contentId,
      title: image.name,
      removedAtMs: how.nowMs,
      removedBy: nameOf(how.who),
    })
    .run()
  db.update(installImages).set({ contentId, changedAtMs: how.nowMs }).where(eq(installImages.id, image.id)).run()
}

export function openTrash(deps: TrashDeps): Trash {
  const { db, changes, clock, jobs, lane, groupDir, changed } = deps

  function groupsById(): ReadonlyMap<number, Group> {
    return new Map(allGroups(db).map((group) => [group.id, group]))
  }

  /** Items with what they are called, as far as `who` may see them. */
  function items(who: Principal, where?: SQL): Item[] {
    const groups = groupsById()
    const images = imagesOfTrash(db)
    const rows = db.select().from(trash).where(where).orderBy(asc(trash.id)).all()
    return rows.flatMap((row) => {
      const image = row.imageId === null ? undefined : images.get(row.imageId)
      const group = groups.get(row.groupId)
      if (!maySee(who, group?.audience ?? null, image?.audience ?? null)) return []
      const { id, kind, title, removedAtMs, removedBy } = row
      const shown = { id, kind, title, group: group?.name ?? '', removedAtMs, removedBy }
      return [{ row, shown: { ...shown, ...(image ? { fileName: image.fileName } : {}) } }]
    })
  }

  function find(id: number, who: Principal): Result<Item> {
    const [item] = items(who, eq(trash.id, id))
    return item
      ? ok(item)
      : refuse('not-found', `nothing in the trash has the id ${id}`, 'List it: wimcast trash list.')
  }

  function restoreIn(id: number, request: RestoreRequest, by: By): Result<Changed<TrashItem>> {
    const found = find(id, by.who)
    if (!found.ok) return found
    const { row, shown } = found.value
    if (
      (request.name !== undefined && row.kind !== 'group') ||
      (request.fileName !== undefined && row.kind !== 'image')
    )
      return refuse(
        'bad-request',
        `"${row.title}" in the trash is ${row.kind === 'image' ? 'an image' : `a ${row.kind}`}: it does not take that name`,
        'Give a group another name with --name, an image another file name with --file-name.',
      )
    const done =
      row.kind === 'group'
        ? restoreGroup(row, request)
        : row.kind === 'image'
          ? restoreImage(row, request)
          : restoreVersion(row, by)
    if (!done.ok) return done
    db.delete(trash).where(eq(trash.id, row.id)).run()
    // What it is called now.
    const group = groupsById().get(row.groupId)?.name ?? shown.group
    const image = row.imageId === null ? undefined : imageById(db, row.imageId)
    const named = image ? { title: image.name, fileName: image.fileName } : { title: group }
    return ok({
      value: { ...shown, ...named, group },
      entries: [done.value],
      afterwards: () => changed(row.groupId),
    })
  }

  function restoreGroup(row: Row, request: RestoreRequest): Result<Entry> {
    const group = groupsById().get(row.groupId)
    if (!group) return refuse('not-found', `the group "${row.title}" is gone`, 'There is nothing left to restore.')
    const name = request.name === undefined ? ok(group.name) : parseGroupName(request.name)
    if (!name.ok) return name
    if (listGroups(db, APPLIANCE).some((other) => other.folded === foldCase(name.value)))
      return refuse(
        'exists',
        `there is an image group "${name.value}" by now`,
        `Restore it under another name: wimcast trash restore ${row.id} --name NAME.`,
      )
    db.update(imageGroups)
      .set({
        trashId: null,
        name: name.value,
        folded: foldCase(name.value),
        changedAtMs: Math.max(clock.nowMs(), group.changedAtMs + 1),
      })
      .where(eq(imageGroups.id, group.id))
      .run()
    return ok({ verb: 'trash.restore', subject: name.value, after: { group: name.value } })
  }

  function restoreImage(row: Row, request: RestoreRequest): Result<Entry> {
    const image = row.imageId === null ? undefined : imageById(db, row.imageId)
    if (!image) return refuse('not-found', `the image "${row.title}" is gone`, 'There is nothing left to restore.')
    const group = groupsById().get(image.groupId)
    if (group?.trashId != null)
      return refuse(
        'in-use',
        `its group "${image.group}" is in the trash itself`,
        `Restore the group first: wimcast trash restore ${group.trashId}.`,
      )
    const fileName = request.fileName === undefined ? ok(image.fileName) : parseFileName(request.fileName)
    if (!fileName.ok) return fileName
    if (!fileNameFree(db, { id: image.groupId, name: image.group }, fileName.value).ok)
      return refuse(
        'exists',
        `group "${image.group}" has a file "${fileName.value}" by now`,
        `Restore it under another one: wimcast trash restore ${row.id} --file-name NAME.`,
      )
    // The group may have been limited meanwhile: nothing in it is for everybody then.
    const isPublic = image.isPublic && image.groupAudience === null
    db.update(installImages)
      .set({
        trashId: null,
        fileName: fileName.value,
        foldedFile: foldCase(fileName.value),
        isPublic,
        changedAtMs: Math.max(clock.nowMs(), image.changedAtMs + 1),
      })
      .where(eq(installImages.id, image.id))
      .run()
    return ok({
      verb: 'trash.restore',
      subject: subjectOf({ ...image, fileName: fileName.value }),
      after: {
        name: image.name,
        fileName: fileName.value,
        ...(isPublic === image.isPublic ? {} : { isPublic }),
      },
    })
  }

  function restoreVersion(row: Row, by: By): Result<Entry> {
    const image = row.imageId === null ? undefined : imageById(db, row.imageId)
    if (!image || row.contentId === null)
      return refuse('not-found', `the image "${row.title}" is gone`, 'There is nothing left to restore.')
    const inTrash = image.trashId ?? groupsById().get(image.groupId)?.trashId
    if (inTrash != null)
      return refuse(
        'in-use',
        `"${image.name}" is in the trash itself`,
        `Restore it first: wimcast trash restore ${inTrash}.`,
      )
    const before = { contentId: image.contentId, architecture: architectureOf(image) }
    swapContent(db, image, row.contentId, { who: by.who, nowMs: Math.max(clock.nowMs(), image.changedAtMs + 1) })
    const after = imageById(db, image.id)
    if (image.bootDefault && after && architectureOf(after) !== before.architecture)
      return refuse(
        'boot-default',
        `"${image.name}" is the default of ${before.architecture ?? 'its architecture'}, and that version is of another one`,
        'Make another image the default first.',
      )
    return ok({
      verb: 'image.undo',
      subject: subjectOf(image),
      before: { content: before.contentId },
      after: { content: row.contentId },
    })
  }

  /** All of a group: its rows, and the files as doomed ones. Inside a transaction. */
  function dropGroup(groupId: number): void {
    const files = [...allSegmentsOf(db, groupId).map(({ fileName }) => fileName), doomedFolder(groupId)]
    for (const fileName of files) db.insert(doomedFiles).values({ fileName, groupId }).onConflictDoNothing().run()
    db.delete(trash).where(eq(trash.groupId, groupId)).run()
    db.delete(installImages).where(eq(installImages.groupId, groupId)).run()
    db.delete(contents).where(eq(contents.groupId, groupId)).run()
    db.delete(segments).where(eq(segments.groupId, groupId)).run()
    db.delete(imageGroups).where(eq(imageGroups.id, groupId)).run()
  }

  /** A transmission, or the hour after it, still needs contents of the group. */
  function isSent(groupId: number): boolean {
    return (
      db
        .select({ id: transmissions.id })
        .from(transmissions)
        .innerJoin(contents, eq(contents.id, transmissions.contentId))
        .where(and(eq(contents.groupId, groupId), isNotNull(transmissions.contentId)))
        .get() !== undefined
    )
  }

  /** Earlier versions of an image that lie in the trash. */
  function versionsOf(imageId: number | null): number {
    const held = and(eq(trash.kind, 'version'), eq(trash.imageId, imageId ?? -1))
    return db.select({ n: count() }).from(trash).where(held).get()?.n ?? 0
  }

  /** A row of the trash and what it keeps. Inside a transaction. */
  function dropRow({ row, shown }: Item): Entry {
    const versions = row.kind === 'image' ? versionsOf(row.imageId) : 0
    if (row.kind === 'group') dropGroup(row.groupId)
    // Its versions in the trash go by their foreign key.
    else if (row.kind === 'image' && row.imageId !== null)
      db.delete(installImages).where(eq(installImages.id, row.imageId)).run()
    else db.delete(trash).where(eq(trash.id, row.id)).run()
    const subject = row.kind === 'group' ? shown.title : `${shown.group}/${shown.fileName ?? shown.title}`
    const before = { kind: row.kind, name: row.title, ...(versions > 0 ? { versions } : {}) }
    return { verb: 'trash.empty', subject, before }
  }

  function isThere({ row }: Item): boolean {
    return db.select({ id: trash.id }).from(trash).where(eq(trash.id, row.id)).get() !== undefined
  }

  /** Images and versions: one transaction, however many. */
  function dropImages(wanted: readonly Item[], by: By): Result<TrashItem[]> {
    if (wanted.length === 0) return ok([])
    const groupIds = new Set(wanted.map(({ row }) => row.groupId))
    return changes.apply(by, () => {
      // A version goes with its image, if both are wanted.
      const entries = wanted.filter(isThere).map(dropRow)
      return ok({
        value: wanted.map(({ shown }) => shown),
        entries,
        afterwards: () => {
          for (const id of groupIds) {
            changed(id)
            deps.collectLater(id)
          }
        },
      })
    })
  }

  function mayDrop({ row: { groupId, title } }: Item): Result<void> {
    if (!isSent(groupId)) return allKnown(db, groupDir(groupId), { id: groupId, name: title })
    return refuse(
      'in-use',
      `a transmission still needs the group "${title}"`,
      'Stop it; its clients may fetch the rest for up to an hour after that: wimcast cast list.',
    )
  }

  async function dropWholeGroup(item: Item, by: By): Promise<Result<TrashItem[]>> {
    const { groupId } = item.row
    // In its lane: a compaction may be writing into the folder.
    return jobs.inLane(lane(groupId), async () => {
      if (!isThere(item)) return ok([])
      const free = mayDrop(item)
      if (!free.ok) return free
      const paths = allSegmentsOf(db, groupId).map(({ fileName }) => `${groupDir(groupId)}/${fileName}`)
      const dropped = changes.apply(by, () => ok({ value: [item.shown], entries: [dropRow(item)] }))
      if (!dropped.ok || by.dryRun) return dropped
      await deps.forgetGroup(groupId, paths)
      await rm(groupDir(groupId), { recursive: true, force: true })
      db.delete(doomedFiles).where(eq(doomedFiles.groupId, groupId)).run()
      return dropped
    })
  }

  return {
    list: (who) => items(who).map(({ shown }) => shown),
    restore: (id, request, by) => changes.apply(by, () => restoreIn(id, request, by)),
    undo: (selector, by) =>
      changes.apply(by, () => {
        const image = findImage(db, selector, by.who)
        if (!image.ok) return image
        const version = items(by.who, and(eq(trash.kind, 'version'), eq(trash.imageId, image.value.id))).at(-1)
        if (!version)
          return refuse(
            'not-found',
            `"${image.value.name}" has no earlier version`,
            'A version is kept when an image is replaced, until the trash is emptied.',
          )
        return restoreIn(version.row.id, {}, by)
      }),
    empty: async ({ ids, olderThanDays }, by) => {
      for (const id of ids ?? []) {
        const found = find(id, by.who)
        if (!found.ok) return found
      }
      const before = olderThanDays === undefined ? Number.POSITIVE_INFINITY : clock.nowMs() - olderThanDays * DAY_MS
      const wanted = items(by.who).filter(
        ({ row }) => (ids === undefined || ids.includes(row.id)) && row.removedAtMs <= before,
      )
      const wholeGroups = wanted.filter(({ row }) => row.kind === 'group')
      // Of those that were named all go, or none.
      const kept = ids === undefined ? undefined : wholeGroups.map(mayDrop).find((free) => !free.ok)
      if (kept && !kept.ok) return kept
      const images = dropImages(
        wanted.filter(({ row }) => row.kind !== 'group'),
        by,
      )
      if (!images.ok) return images
      const gone = [...images.value]
      for (const item of wholeGroups) {
        const dropped = await dropWholeGroup(item, by)
        if (dropped.ok) gone.push(...dropped.value)
        // Of one that was named the reason is told; of all, the others go all the same.
        else if (ids !== undefined) return dropped
      }
      return ok(gone)
    },
  }
}
