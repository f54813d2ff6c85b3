/**
 * Importing and replacing: the job that lets the child process make a segment, and says what its contents become: new
 * images, or the next version of one that is there.
 */
import { basename, join } from 'node:path'
import { and, eq, isNull } from 'drizzle-orm'
import type { By, Changed, Entry, Facts } from '../../audit/changes.ts'
import { foldCase } from '../../base/fold.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import { installImages } from '../../db/schema.ts'
import { runChild, type SelfCommand } from '../../jobs/child.ts'
import type { Job, JobContext, Jobs } from '../../jobs/jobs.ts'
import type { Settings } from '../../settings/settings.ts'
import type { Alongside } from '../alongside.ts'
import { damagedOf } from '../health/damage.ts'
import { columnsOf, differences, type ImageProperties, parseProperties, subjectOf } from '../images.ts'
import { defaultFileName, parseDescription, parseFileName, parseImageName } from '../names.ts'
import {
  architectureOf,
  fileNameFree,
  findImage,
  type Group,
  type InstallImage,
  imageById,
  type Selector,
  segmentsOf,
  theGroup,
} from '../rows.ts'
import { withinQuota } from '../store/disk-space.ts'
import { groupNow, type PublishDeps, publish, quotaOf } from '../store/publish.ts'
import { swapContent } from '../trash.ts'
import { setUnattend } from '../unattend.ts'
import { type Names, otherArchitecture, type Purpose, type Selection } from './import-choice.ts'
import { type ImportInput, type ImportMade, type ImportOutput, type ImportPlan, importTask } from './import-task.ts'

export type ImportRequest = {
  /** A file that the service may read, already checked; removed afterwards when it was uploaded. */
  readonly path: string
  readonly sourceName: string
  /** May be left out while there is exactly one. */
  readonly group: string | undefined
  readonly select: Selection
  readonly skipVerify: boolean
  readonly name?: string | undefined
  readonly description?: string | undefined
  readonly fileName?: string | undefined
  /** Said of each of the images. */
  readonly properties?: ImageProperties | undefined
  /** For each of the images, in the transaction that makes it; what it tells is in the result as `transmissions`. */
  readonly alongside?: Alongside | undefined
  /** The one image of the file becomes the content of this one, which keeps its file name and all that was said of it. */
  readonly replace?: Selector | undefined
  /** Runs when the job has ended, whatever came of it: an upload's folder goes here. */
  readonly afterwards?: (() => Promise<void>) | undefined
}

export type Imports = {
  /** A dry run is a job too: it copies nothing, and its result says what it would have done. */
  readonly start: (request: ImportRequest, by: By) => Result<Job>
}

export type ImportDeps = PublishDeps & {
  readonly jobs: Jobs
  readonly settings: Settings
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
  readonly lane: (groupId: number) => string
}

type Properties = Extract<ReturnType<typeof parseProperties>, { ok: true }>['value']
type Wishes = Partial<Names>

/** What a request comes to, when its words were found sound. */
type Order = {
  readonly request: ImportRequest
  readonly groupId: number
  readonly wishes: Wishes
  readonly properties: Properties
  /** As it was when the job was started. */
  readonly replaces: InstallImage | undefined
}

function parsed<T>(text: string | undefined, parse: (text: string) => Result<T>): Result<T | undefined> {
  return text === undefined ? ok(undefined) : parse(text)
}

function parseWishes(request: ImportRequest): Result<Wishes> {
  const name = parsed(request.name, parseImageName)
  if (!name.ok) return name
  const description = parsed(request.description, parseDescription)
  if (!description.ok) return description
  const fileName = parsed(request.fileName, parseFileName)
  if (!fileName.ok) return fileName
  return ok({
    ...(name.value === undefined ? {} : { name: name.value }),
    ...(description.value === undefined ? {} : { description: description.value }),
    ...(fileName.value === undefined ? {} : { fileName: fileName.value }),
  })
}

/** Jobs are seen by all who see their group: an image that is limited to fewer is not named in them. */
const isLimited = (image: InstallImage): boolean => image.audience !== null
const labelOf = (image: InstallImage): string => (isLimited(image) ? 'the image' : `"${image.name}"`)

/** What the audit log keeps of a content that is replaced or replaces. */
function contentFacts(image: InstallImage): Facts {
  const { name, description, contentId, viewBytes, facts } = image
  const { version, architecture, editionId, totalBytes, fileCount } = facts
  const about = { version, architecture, editionId, totalBytes, fileCount }
  return { name, description, content: contentId, sizeBytes: viewBytes, ...about }
}

export function openImports(deps: ImportDeps): Imports {
  const { db, jobs, settings, clock, groupDir } = deps

  async function run(order: Order, context: JobContext, dryRun: boolean, by: By): Promise<Result<Facts>> {
    const { request, groupId } = order
    const group = groupNow(db, groupId)
    if (!group.ok) return group
    const target = order.replaces && stillThere(order.replaces, by)
    if (target && !target.ok) return target
    const damaged = damagedOf(db, groupId)
    const output = await runChild<ImportInput, ImportOutput>(
      importTask,
      {
        path: request.path,
        select: request.select,
        purpose: purposeOf(order, group.value, target?.value),
        skipVerify: request.skipVerify,
        dryRun,
        heldSegments: segmentsOf(db, groupId).map(({ fileName, verified }) => ({
          path: join(groupDir(groupId), fileName),
          verified,
          damaged: [...(damaged.get(fileName) ?? [])],
        })),
        quota: quotaOf(db, group.value),
        reserveBytes: settings.get('space.reserve'),
        dir: context.dir,
        wimlibPath: deps.wimlibPath,
      },
      { self: deps.self, signal: context.signal, step: context.step, progress: context.progress },
    )
    if (!output.ok) return output
    if (context.signal.aborted) return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
    if (output.value.kind === 'plan') return ok(planned(output.value, group.value, target?.value))
    context.step('publish')
    const made = output.value
    return publish(deps, {
      groupId,
      made,
      verified: !request.skipVerify,
      by,
      context,
      show: (contentIds, now) =>
        order.replaces
          ? replaceContent(order, order.replaces, made, contentIds, by)
          : insertImages(order, made, contentIds, now, by),
    })
  }

  function purposeOf({ request, wishes }: Order, group: Group, target: InstallImage | undefined): Purpose {
    if (target)
      return {
        kind: 'replacement',
        of: labelOf(target),
        architecture: target.bootDefault && target.architecture === null ? architectureOf(target) : undefined,
      }
    const takenFiles = db
      .select({ folded: installImages.foldedFile })
      .from(installImages)
      .where(and(eq(installImages.groupId, group.id), isNull(installImages.trashId)))
      .all()
      .map(({ folded }) => folded)
    return { kind: 'new', wishes, sourceName: request.sourceName, group: group.name, takenFiles }
  }

  function planned(plan: ImportPlan, group: Group, target: InstallImage | undefined): Facts {
    const { blobs, newBlobs, storedBytes, converts, estimated } = plan
    return {
      dryRun: true,
      images: plan.images.map(({ sourceIndex, names }) => ({
        ...(target && !isLimited(target) ? { name: target.name, fileName: target.fileName } : {}),
        ...(names ? { name: names.name, fileName: names.fileName } : {}),
        index: sourceIndex,
      })),
      group: group.name,
      blobs,
      newBlobs,
      storedBytes,
      converts,
      ...(estimated ? { estimated } : {}),
    }
  }

  /** The image that is to be replaced, with the content that it had when that was asked for. */
  function stillThere(image: InstallImage, by: By): Result<InstallImage> {
    const found = imageById(db, image.id)
    if (!found || found.trashId !== null)
      return refuse('not-found', `${labelOf(image)} was removed meanwhile`, 'Restore it first: wimcast trash list.')
    if (found.contentId !== image.contentId)
      return refuse(
        'changed',
        `the content of ${labelOf(found)} was changed meanwhile`,
        'Look at it again: wimcast image show NAME; then replace it if that is still right.',
      )
    return findImage(db, { name: found.name, group: found.group, file: found.fileName }, by.who)
  }

  /** In the transaction. */
  function insertImages(
    { properties, request }: Order,
    made: ImportMade,
    contentIds: readonly number[],
    group: Group,
    by: By,
  ): Result<Changed<Facts>> {
    const now = clock.nowMs()
    const { unattend, ...said } = properties
    const entries: Entry[] = []
    const names: string[] = []
    const besides: Changed<Facts>[] = []
    for (const [i, contentId] of contentIds.entries()) {
      const called = made.images[i]?.names
      if (!called) throw new Error('an image came without names')
      const free = fileNameFree(db, group, called.fileName)
      if (!free.ok) return free
      const { id } = db
        .insert(installImages)
        .values({
          groupId: group.id,
          contentId,
          ...called,
          foldedName: foldCase(called.name),
          foldedFile: foldCase(called.fileName),
          ...said,
          createdAtMs: now,
          changedAtMs: now,
        })
        .returning({ id: installImages.id })
        .get()
      if (unattend != null) setUnattend(db, id, unattend, now)
      const image = imageById(db, id)
      if (!image) throw new Error(`image ${id} went away inside a transaction`)
      names.push(image.name)
      entries.push({
        verb: 'image.import',
        subject: subjectOf(image),
        after: { ...columnsOf(image), sizeBytes: image.viewBytes },
      })
      const beside = request.alongside?.(image, by)
      if (beside && !beside.ok) return beside
      if (beside) {
        entries.push(...beside.value.entries)
        besides.push(beside.value)
      }
    }
    return ok({
      value: { images: names, ...(request.alongside ? { transmissions: besides.map(({ value }) => value) } : {}) },
      entries,
      afterwards: () => {
        for (const beside of besides) beside.afterwards?.()
      },
    })
  }

  /** In the transaction. What is said of the image stays; what it was becomes a version in the trash. */
  function replaceContent(
    { wishes }: Order,
    target: InstallImage,
    made: ImportMade,
    [contentId]: readonly number[],
    by: By,
  ): Result<Changed<Facts>> {
    const still = stillThere(target, by)
    if (!still.ok) return still
    const before = still.value
    if (contentId === undefined || made.images.length !== 1) throw new Error('a replacement is exactly one image')
    const nowMs = Math.max(clock.nowMs(), before.changedAtMs + 1)
    swapContent(db, before, contentId, { who: by.who, nowMs })
    const { name = before.name, description = before.description } = wishes
    db.update(installImages)
      .set({ name, foldedName: foldCase(name), description })
      .where(eq(installImages.id, before.id))
      .run()
    const after = imageById(db, before.id)
    if (!after) throw new Error(`image ${before.id} went away inside a transaction`)
    if (before.bootDefault && architectureOf(after) !== architectureOf(before))
      return otherArchitecture(labelOf(before), architectureOf(before), architectureOf(after))
    const changed = differences(contentFacts(before), contentFacts(after))
    return ok({
      value: isLimited(after) ? {} : { image: after.name, fileName: after.fileName },
      entries: [{ verb: 'image.replace', subject: subjectOf(before), ...changed }],
    })
  }

  function orderOf(request: ImportRequest, by: By): Result<Order> {
    const wishes = parseWishes(request)
    if (!wishes.ok) return wishes
    const properties = parseProperties(request.properties ?? {})
    if (!properties.ok) return properties
    const common = { request, wishes: wishes.value, properties: properties.value }
    if (request.replace) {
      const image = findImage(db, request.replace, by.who)
      return image.ok ? ok({ ...common, groupId: image.value.groupId, replaces: image.value }) : image
    }
    const group = theGroup(db, request.group, by.who)
    if (!group.ok) return group
    // Of one image the file name is known before the file is read; of several the child knows.
    if (request.fileName !== undefined || request.select.kind !== 'all') {
      const fileName = parseFileName(request.fileName ?? defaultFileName(request.sourceName, undefined))
      if (!fileName.ok) return fileName
      const free = fileNameFree(db, group.value, fileName.value)
      if (!free.ok) return free
    }
    return ok({ ...common, groupId: group.value.id, replaces: undefined })
  }

  return {
    start: (request, by) => {
      const order = orderOf(request, by)
      if (!order.ok) return order
      const { groupId, replaces } = order.value
      const group = groupNow(db, groupId)
      if (!group.ok) return group
      const full = withinQuota(quotaOf(db, group.value), 0)
      if (!full.ok) return full
      const source = basename(request.sourceName).slice(0, 200)
      const what = replaces
        ? `replace ${isLimited(replaces) ? `an image of ${group.value.name}` : subjectOf(replaces)} by ${source}`
        : `import ${source} into ${group.value.name}`
      const dryRun = by.dryRun === true
      return ok(
        jobs.start({
          kind: replaces ? 'image.replace' : 'image.import',
          title: dryRun ? `${what} (dry run)` : what,
          groupId,
          who: by.who,
          lane: deps.lane(groupId),
          run: (context) => run(order.value, context, dryRun, { who: by.who, jobId: context.id }),
          afterwards: request.afterwards,
        }),
      )
    },
  }
}
