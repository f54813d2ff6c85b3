/**
 * The library: image groups, their install images, and the verbs on them. Segments lie in `<data>/groups/<id>/`, each
 * with a small JSON manifest of what it was imported as; the database is the truth.
 */
import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { count, eq } from 'drizzle-orm'
import type { Clock } from '../base/clock.ts'
import type { Content, Shelf } from '../base/content.ts'
import type { Bus } from '../base/events.ts'
import type { Log } from '../base/log.ts'
import { mayActAs } from '../base/principal.ts'
import { Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { imageGroups, installImages } from '../db/schema.ts'
import type { SelfCommand } from '../jobs/child.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { collectGroup } from './collect.ts'
import { type ContentRequest, openContents } from './contents.ts'
import { type Imports, openImports } from './imports.ts'
import { parseDescription, parseFileName, parseGroupName, parseImageName } from './names.ts'
import { recover } from './recover.ts'
import {
  fileNameFree,
  findByFile,
  findGroup,
  findImage,
  type Group,
  type InstallImage,
  listGroups,
  listImages,
  type Selector,
  segmentsOf,
} from './rows.ts'
import { openSegmentFiles } from './segment-files.ts'
import { syncFolder } from './sync-folder.ts'

export type GroupReport = Group & {
  readonly images: number
  /** What the segments take on disk. */
  readonly storedBytes: number
  /** What the images would take as files of their own: the sum of their views. */
  readonly apparentBytes: number
}

export type CopyRequest = {
  readonly newName: string
  readonly newFileName: string
  readonly newDescription?: string | undefined
}
export type ImageChange = {
  readonly name?: string | undefined
  readonly description?: string | undefined
  readonly isPublic?: boolean | undefined
}

export type Library = {
  readonly groups: {
    readonly create: (name: string) => Result<Group>
    readonly list: () => GroupReport[]
    readonly show: (name: string) => Result<GroupReport>
    readonly remove: (name: string) => Promise<Result<Group>>
  }
  readonly images: {
    readonly list: (group?: string) => Result<InstallImage[]>
    readonly show: (selector: Selector) => Result<InstallImage>
    readonly set: (selector: Selector, change: ImageChange) => Result<InstallImage>
    readonly copy: (selector: Selector, copy: CopyRequest) => Result<InstallImage>
    readonly remove: (selector: Selector) => Result<InstallImage>
    readonly startImport: Imports['start']
    readonly content: (image: ContentRequest) => Promise<Result<Content>>
  }
  /** `images/<group>/<file name>`. Anonymous principals find what is public and nothing else. */
  readonly shelf: Shelf
  /** Runs the collection for a group, e.g. after a transmission has let go of its content. */
  readonly collect: (groupId: number) => Promise<number>
}

export type LibraryDeps = {
  readonly db: Db
  readonly dataDir: string
  readonly jobs: Jobs
  readonly bus: Bus
  readonly log: Log
  readonly clock: Clock
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
}

export async function openLibrary(deps: LibraryDeps): Promise<Library> {
  const { db, jobs, bus, log, clock } = deps
  const groupsDir = join(deps.dataDir, 'groups')
  const groupDir = (groupId: number): string => join(groupsDir, String(groupId))
  const lane = (groupId: number): string => `group:${groupId}`
  const files = openSegmentFiles()
  const views = openContents({ db, files, groupDir, log })
  const collectDeps = { db, files, groupDir, log }

  mkdirSync(groupsDir, { recursive: true, mode: 0o750 })
  recover({ db, groupsDir, log })
  for (const group of listGroups(db)) collectLater(group.id)
  const imports = openImports({
    db,
    jobs,
    clock,
    self: deps.self,
    wimlibPath: deps.wimlibPath,
    groupDir,
    lane,
    onImported: (group) => {
      views.forgetGroup(group.id)
      changed(group.name)
    },
  })

  /** In the group's lane. */
  async function collect(groupId: number): Promise<number> {
    const freed = await collectGroup(collectDeps, groupId)
    if (freed > 0) {
      views.forgetGroup(groupId)
      const group = listGroups(db).find(({ id }) => id === groupId)
      if (group) changed(group.name)
    }
    return freed
  }

  function collectLater(groupId: number): void {
    jobs
      .inLane(lane(groupId), () => collect(groupId))
      .then(
        () => {},
        (error: unknown) =>
          log.error('library.collect', {
            group: groupId,
            reason: error instanceof Error ? error.message : String(error),
          }),
      )
  }

  function changed(group: string): void {
    bus.publish({ kind: 'library.changed', group })
  }

  function report(group: Group): GroupReport {
    const inGroup = listImages(db, group.id)
    const apparentBytes = inGroup.reduce((sum, image) => sum + image.viewBytes, 0)
    const storedBytes = segmentsOf(db, group.id).reduce((sum, segment) => sum + segment.sizeBytes, 0)
    return { ...group, images: inGroup.length, storedBytes, apparentBytes }
  }

  const images: Library['images'] = {
    list: (group) => {
      if (group === undefined) return ok(listImages(db))
      const found = findGroup(db, group)
      return found.ok ? ok(listImages(db, found.value.id)) : found
    },
    show: (selector) => findImage(db, selector),
    set: (selector, change) => {
      const found = findImage(db, selector)
      if (!found.ok) return found
      const name = change.name === undefined ? ok(found.value.name) : parseImageName(change.name)
      if (!name.ok) return name
      const description =
        change.description === undefined ? ok(found.value.description) : parseDescription(change.description)
      if (!description.ok) return description
      db.update(installImages)
        .set({
          name: name.value,
          description: description.value,
          isPublic: change.isPublic ?? found.value.isPublic,
          changedAtMs: clock.nowMs(),
        })
        .where(eq(installImages.id, found.value.id))
        .run()
      changed(found.value.group)
      return findImage(db, { name: name.value, group: found.value.group, file: found.value.fileName })
    },
    copy: (selector, copy) => {
      const found = findImage(db, selector)
      if (!found.ok) return found
      const name = parseImageName(copy.newName)
      if (!name.ok) return name
      const fileName = parseFileName(copy.newFileName)
      if (!fileName.ok) return fileName
      const description =
        copy.newDescription === undefined ? ok(found.value.description) : parseDescription(copy.newDescription)
      if (!description.ok) return description
      const { groupId, contentId, group } = found.value
      const free = fileNameFree(db, { id: groupId, name: group }, fileName.value)
      if (!free.ok) return free
      const now = clock.nowMs()
      db.insert(installImages)
        .values({
          groupId,
          contentId,
          name: name.value,
          description: description.value,
          fileName: fileName.value,
          createdAtMs: now,
          changedAtMs: now,
        })
        .run()
      changed(group)
      return findImage(db, { name: name.value, group, file: fileName.value })
    },
    remove: (selector) => {
      const found = findImage(db, selector)
      if (!found.ok) return found
      db.delete(installImages).where(eq(installImages.id, found.value.id)).run()
      collectLater(found.value.groupId)
      changed(found.value.group)
      return found
    },
    startImport: imports.start,
    content: (image) => views.of(image),
  }

  return {
    groups: {
      create: (text) => {
        const name = parseGroupName(text)
        if (!name.ok) return name
        if (findGroup(db, name.value).ok)
          return refuse('exists', `there is already an image group "${name.value}"`, 'Choose another name.')
        const group = db.insert(imageGroups).values({ name: name.value, createdAtMs: clock.nowMs() }).returning().get()
        mkdirSync(groupDir(group.id), { recursive: true, mode: 0o750 })
        syncFolder(groupsDir)
        changed(group.name)
        return ok(group)
      },
      list: () => listGroups(db).map(report),
      show: (name) => {
        const group = findGroup(db, name)
        return group.ok ? ok(report(group.value)) : group
      },
      remove: async (name) => {
        const group = findGroup(db, name)
        if (!group.ok) return group
        if (jobs.isBusy(lane(group.value.id)))
          return refuse('in-use', `an import into "${group.value.name}" runs or waits`, 'See wimcast job list.')
        return jobs.inLane(lane(group.value.id), async () => {
          const inGroup =
            db.select({ n: count() }).from(installImages).where(eq(installImages.groupId, group.value.id)).get()?.n ?? 0
          if (inGroup > 0)
            return refuse(
              'in-use',
              `the group "${group.value.name}" holds ${inGroup} images`,
              'Remove its images first.',
            )
          await collectGroup(collectDeps, group.value.id)
          if (segmentsOf(db, group.value.id).length > 0)
            return refuse(
              'in-use',
              `a transmission still needs the group "${group.value.name}"`,
              'Stop it; its clients may fetch the rest for up to an hour after that: wimcast cast list.',
            )
          db.delete(imageGroups).where(eq(imageGroups.id, group.value.id)).run()
          await rm(groupDir(group.value.id), { recursive: true, force: true })
          changed(group.value.name)
          return group
        })
      },
    },
    images,
    shelf: {
      find: async (path, who) => {
        const [room, group, file, ...more] = path.split('/')
        if (room?.toLowerCase() !== 'images' || group === undefined || file === undefined || more.length > 0)
          return undefined
        const image = findByFile(db, group, file)
        if (!image) return undefined
        if (!image.isPublic && !mayActAs(who, 'viewer')) return undefined
        const content = await views.of(image)
        if (content.ok) return content.value
        throw new Refused(content.error)
      },
    },
    collect: (groupId) => jobs.inLane(lane(groupId), () => collect(groupId)),
  }
}
