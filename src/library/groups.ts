/** The verbs on image groups. */
import { mkdirSync } from 'node:fs'
import { and, count, eq, isNotNull, isNull, sql } from 'drizzle-orm'
import type { By, Changed, Changes } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import { foldCase } from '../base/fold.ts'
import { type Audience, mayActAs, maySee, nameOf, type Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { contents, imageGroups, installImages, transmissions, trash } from '../db/schema.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { bootDefaultOf, differences } from './images.ts'
import { parseAudience, parseDescription, parseGroupName } from './names.ts'
import { allSegmentsOf, architectureOf, findGroup, type Group, imagesOfGroup, listGroups } from './rows.ts'

export type GroupReport = Group & {
  /** Those that whoever asks may see. */
  readonly images: number
  /** What the segments take on disk. */
  readonly storedBytes: number
  /** What these images would take as files of their own: the sum of their views. */
  readonly apparentBytes: number
}

export type GroupChange = {
  readonly name?: string | undefined
  readonly description?: string | undefined
  readonly quotaBytes?: number | null | undefined
  readonly audience?: Audience | null | undefined
  /** Refused with `changed` when the group has changed since then. */
  readonly ifChangedAtMs?: number | undefined
}

export type Groups = {
  readonly create: (name: string, by: By, more?: Omit<GroupChange, 'name' | 'ifChangedAtMs'>) => Result<Group>
  readonly list: (who: Principal) => GroupReport[]
  readonly show: (name: string, who: Principal) => Result<GroupReport>
  /** Of a group in the trash too; of one that is gone nobody but an admin. */
  readonly maySee: (id: number, who: Principal) => boolean
  /** No image of it is limited to others, those in the trash counted. */
  readonly seesAllOf: (id: number, who: Principal) => boolean
  /** Of a group in the trash too. */
  readonly nameOf: (id: number) => string | undefined
  readonly set: (name: string, change: GroupChange, by: By) => Result<Group>
  /** Into the trash; a group that holds images only when that is said. */
  readonly remove: (name: string, options: { readonly withImages?: boolean | undefined }, by: By) => Result<Group>
}

export type GroupDeps = {
  readonly db: Db
  readonly changes: Changes
  readonly clock: Clock
  readonly jobs: Pick<Jobs, 'isBusy'>
  readonly lane: (groupId: number) => string
  readonly groupDir: (groupId: number) => string
  readonly changed: (groupId: number) => void
}

export function storedBytesOf(db: Db, groupId: number): number {
  return allSegmentsOf(db, groupId).reduce((sum, segment) => sum + segment.sizeBytes, 0)
}

function columnsOf(group: Group) {
  const { name, description, quotaBytes, audience } = group
  return { name, description, quotaBytes, audience }
}

function parseQuota(bytes: number): Result<number> {
  if (Number.isSafeInteger(bytes) && bytes >= 0) return ok(bytes)
  return refuse('bad-request', `"${bytes}" is no quota`, 'A quota is a number of bytes.')
}

function taken(name: string): Result<never> {
  return refuse('exists', `there is already an image group "${name}"`, 'Choose another name.')
}

export function openGroups({ db, changes, clock, jobs, lane, groupDir, changed }: GroupDeps): Groups {
  function report(group: Group, who: Principal): GroupReport {
    // By the database: this is asked for after each change, and a group may hold thousands.
    const held = db
      .select({
        audience: installImages.audience,
        images: count(),
        apparentBytes: sql<number>`coalesce(sum(${contents.viewBytes}), 0)`,
      })
      .from(installImages)
      .innerJoin(contents, eq(contents.id, installImages.contentId))
      .where(and(eq(installImages.groupId, group.id), isNull(installImages.trashId)))
      .groupBy(installImages.audience)
      .all()
      .filter(({ audience }) => maySee(who, audience))
    const sum = (of: (part: (typeof held)[number]) => number): number => held.reduce((all, part) => all + of(part), 0)
    return {
      ...group,
      images: sum(({ images }) => images),
      apparentBytes: sum(({ apparentBytes }) => apparentBytes),
      storedBytes: storedBytesOf(db, group.id),
    }
  }

  /** Whoever may not see a group of that name may still not take it. */
  function nameTaken(name: string, butNot?: number): boolean {
    return listGroups(db, { kind: 'appliance', role: 'admin' }).some(
      (group) => group.folded === foldCase(name) && group.id !== butNot,
    )
  }

  function createIn(text: string, more: Omit<GroupChange, 'name'>, by: By): Result<Changed<Group>> {
    const name = parseGroupName(text)
    if (!name.ok) return name
    if (nameTaken(name.value)) return taken(name.value)
    const description = parseDescription(more.description ?? '')
    if (!description.ok) return description
    const quota = more.quotaBytes == null ? ok(null) : parseQuota(more.quotaBytes)
    if (!quota.ok) return quota
    const audience = more.audience == null ? ok(null) : parseAudience(more.audience)
    if (!audience.ok) return audience
    const now = clock.nowMs()
    const group = db
      .insert(imageGroups)
      .values({
        name: name.value,
        folded: foldCase(name.value),
        description: description.value,
        quotaBytes: quota.value,
        audience: audience.value,
        createdAtMs: now,
        changedAtMs: now,
      })
      .returning()
      .get()
    // Before the commit: on a full disk there is no group then, rather than one without a folder.
    if (!by.dryRun) mkdirSync(groupDir(group.id), { recursive: true, mode: 0o750 })
    return ok({
      value: group,
      entries: [{ verb: 'group.new', subject: group.name, after: columnsOf(group) }],
      afterwards: () => changed(group.id),
    })
  }

  function setIn(text: string, change: GroupChange, by: By): Result<Changed<Group>> {
    const found = findGroup(db, text, by.who)
    if (!found.ok) return found
    const group = found.value
    if (change.ifChangedAtMs !== undefined && change.ifChangedAtMs !== group.changedAtMs)
      return refuse('changed', `"${group.name}" was changed meanwhile`, 'Look at it again, then change it.')
    const name = change.name === undefined ? ok(group.name) : parseGroupName(change.name)
    if (!name.ok) return name
    if (nameTaken(name.value, group.id)) return taken(name.value)
    const description = change.description === undefined ? ok(group.description) : parseDescription(change.description)
    if (!description.ok) return description
    const quota = change.quotaBytes == null ? ok(null) : parseQuota(change.quotaBytes)
    if (!quota.ok) return quota
    const audience = change.audience == null ? ok(null) : parseAudience(change.audience)
    if (!audience.ok) return audience
    const openToAll = imagesOfGroup(db, group.id).filter((image) => image.isPublic)
    if (audience.value !== null && openToAll.length > 0)
      return refuse(
        'bad-request',
        `${openToAll.length} images of "${group.name}" are public: plain HTTP and TFTP ask nobody who they are`,
        'Make them not public first: wimcast image set NAME --public off.',
        { images: openToAll.map((image) => image.name) },
      )
    const after = db
      .update(imageGroups)
      .set({
        name: name.value,
        folded: foldCase(name.value),
        description: description.value,
        quotaBytes: change.quotaBytes === undefined ? group.quotaBytes : quota.value,
        audience: change.audience === undefined ? group.audience : audience.value,
        changedAtMs: Math.max(clock.nowMs(), group.changedAtMs + 1),
      })
      .where(eq(imageGroups.id, group.id))
      .returning()
      .get()
    return ok({
      value: after,
      entries: [{ verb: 'group.set', subject: group.name, ...differences(columnsOf(group), columnsOf(after)) }],
      afterwards: () => changed(group.id),
    })
  }

  function removeIn(name: string, withImages: boolean, by: By): Result<Changed<Group>> {
    const found = findGroup(db, name, by.who)
    if (!found.ok) return found
    const group = found.value
    if (jobs.isBusy(lane(group.id)))
      return refuse('in-use', `a job of "${group.name}" runs or waits`, 'See wimcast job list.')
    const held = imagesOfGroup(db, group.id)
    if (held.length > 0 && !withImages)
      return refuse(
        'in-use',
        `the group "${group.name}" holds ${held.length} images`,
        'Remove them first, or all of it: wimcast group remove NAME --with-images.',
        { images: held.length },
      )
    const standard = bootDefaultOf(db, group.id)
    if (standard)
      return refuse(
        'boot-default',
        `${maySee(by.who, standard.audience) ? `"${standard.name}"` : 'an image'} of "${group.name}" is the default of ${architectureOf(standard) ?? 'its architecture'}`,
        'Make another image the default first, or this one no longer: wimcast image set NAME --boot-default off.',
      )
    const open = db
      .select({ id: transmissions.id })
      .from(transmissions)
      .innerJoin(contents, eq(contents.id, transmissions.contentId))
      .where(and(eq(contents.groupId, group.id), eq(transmissions.open, true), isNotNull(transmissions.contentId)))
      .get()
    if (open)
      return refuse(
        'in-use',
        `transmission ${open.id} sends from "${group.name}"`,
        `Stop it first: wimcast cast stop ${open.id}.`,
      )
    const { id } = db
      .insert(trash)
      .values({
        kind: 'group',
        groupId: group.id,
        title: group.name,
        removedAtMs: clock.nowMs(),
        removedBy: nameOf(by.who),
      })
      .returning({ id: trash.id })
      .get()
    db.update(imageGroups).set({ trashId: id }).where(eq(imageGroups.id, group.id)).run()
    return ok({
      value: group,
      entries: [
        {
          verb: 'group.remove',
          subject: group.name,
          before: { ...columnsOf(group), images: held.map((image) => image.name) },
        },
      ],
      afterwards: () => changed(group.id),
    })
  }

  return {
    create: (name, by, more = {}) => changes.apply(by, () => createIn(name, more, by)),
    list: (who) => listGroups(db, who).map((group) => report(group, who)),
    show: (name, who) => {
      const group = findGroup(db, name, who)
      return group.ok ? ok(report(group.value, who)) : group
    },
    maySee: (id, who) => {
      const group = db.select().from(imageGroups).where(eq(imageGroups.id, id)).get()
      return group ? maySee(who, group.audience) : mayActAs(who, 'admin')
    },
    nameOf: (id) => db.select().from(imageGroups).where(eq(imageGroups.id, id)).get()?.name,
    seesAllOf: (id, who) =>
      db
        .select({ audience: installImages.audience })
        .from(installImages)
        .where(and(eq(installImages.groupId, id), isNotNull(installImages.audience)))
        .all()
        .every(({ audience }) => maySee(who, audience)),
    set: (name, change, by) => changes.apply(by, () => setIn(name, change, by)),
    remove: (name, { withImages = false }, by) => changes.apply(by, () => removeIn(name, withImages, by)),
  }
}
