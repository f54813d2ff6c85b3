/**
 * Exports: an image as a file of its own, under a name and a description that may be others than those that the library
 * shows. As a content for downloads, and as a job that writes the file where the service may write.
 */
import { rm } from 'node:fs/promises'
import { basename } from 'node:path'
import type { By, Changes } from '../../audit/changes.ts'
import type { Content, Piece } from '../../base/content.ts'
import { RESERVE_BYTES } from '../../base/disk-full.ts'
import { mayActAs, type Principal } from '../../base/principal.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import { runChild, type SelfCommand } from '../../jobs/child.ts'
import type { Job, JobContext, Jobs } from '../../jobs/jobs.ts'
import { parseDescription, parseImageName } from '../names.ts'
import type { InstallImage, Selector } from '../rows.ts'
import type { ContentRequest } from '../store/contents.ts'
import { type IfExists, partBeside } from './export-target.ts'
import { type ExportInput, type ExportOutput, exportTask, type ViewPiece } from './export-task.ts'

/** What the exported file calls the image; left out, it is called as in the library. */
export type ExportNames = { readonly newName?: string | undefined; readonly newDescription?: string | undefined }

export type ExportRequest = ExportNames & {
  readonly selector: Selector
  /** The file to write: a name in a folder that the service may write to, already checked. */
  readonly path: string
  readonly ifExists: IfExists
  readonly skipVerify: boolean
}

export type Exports = {
  readonly start: (request: ExportRequest, by: By) => Result<Job>
  /** The file as a download. */
  readonly content: (selector: Selector, names: ExportNames, who: Principal) => Promise<Result<Content>>
}

export type ExportDeps = {
  readonly jobs: Jobs
  readonly changes: Changes
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
  readonly show: (selector: Selector, who: Principal) => Result<InstallImage>
  readonly content: (request: ContentRequest) => Promise<Result<Content>>
}

/** One after the other, beside imports: an export only reads the library, and its views keep their segments open. */
const LANE = 'export'

/** Contents are compressed: in files without compression they take this much. Hard links are stored once. */
export function contentBytesOf({ facts }: Pick<InstallImage, 'facts'>): number {
  return Math.max(0, facts.totalBytes - facts.hardLinkBytes)
}

/** The child opens what we hold open, by the links of proc_pid_fd(5): the file itself may have lost its name. */
function pieceFor({ at, length, source }: Piece): ViewPiece {
  if ('bytes' in source) return { at, length, bytes: source.bytes }
  return { at, length, path: `/proc/${process.pid}/fd/${source.fd}`, offset: source.offset }
}

export function openExports(deps: ExportDeps): Exports {
  function find(
    selector: Selector,
    { newName, newDescription }: ExportNames,
    who: Principal,
  ): Result<{ readonly image: InstallImage; readonly shown: ContentRequest }> {
    const image = deps.show(selector, who)
    if (!image.ok) return image
    if (!image.value.enabled && !mayActAs(who, 'operator'))
      return refuse(
        'disabled',
        `"${image.value.name}" is disabled: it is not offered to clients`,
        'An operator can enable it: wimcast image enable NAME.',
      )
    const name = newName === undefined ? ok(image.value.name) : parseImageName(newName)
    if (!name.ok) return name
    const description = newDescription === undefined ? ok(image.value.description) : parseDescription(newDescription)
    if (!description.ok) return description
    const { contentId, fileName } = image.value
    return ok({
      image: image.value,
      shown: { contentId, fileName, name: name.value, description: description.value },
    })
  }

  async function run(
    { path, ifExists, skipVerify }: ExportRequest,
    { image, shown }: { readonly image: InstallImage; readonly shown: ContentRequest },
    by: By,
    context: JobContext,
  ): Promise<Result<Readonly<Record<string, unknown>>>> {
    context.step('open the image')
    const content = await deps.content(shown)
    if (!content.ok) return content
    const opened = await content.value.open()
    if (!opened.ok) return opened
    using view = opened.value
    const input: ExportInput = {
      source: {
        kind: 'pieces',
        sizeBytes: view.sizeBytes,
        pieces: view.pieces.map(pieceFor),
        dir: context.dir,
      },
      target: path,
      part: partBeside(path),
      ifExists,
      imageName: shown.name,
      contentBytes: contentBytesOf(image),
      reserveBytes: RESERVE_BYTES,
      skipVerify,
      dryRun: by.dryRun === true,
      wimlibPath: deps.wimlibPath,
    }
    const { signal, step, progress } = context
    const done = await runChild<ExportInput, ExportOutput>(exportTask, input, {
      self: deps.self,
      signal,
      step,
      progress,
    }).finally(() => rm(input.part, { force: true }).catch(() => {}))
    if (!done.ok) return done
    const result = {
      file: path,
      image: shown.name,
      ...done.value,
      ...(by.dryRun ? { dryRun: true } : {}),
    }
    const { how, sizeBytes } = done.value
    return deps.changes.apply({ ...by, jobId: context.id }, () => {
      if (!by.dryRun) context.committed(result)
      const after = { path, how, as: shown.name, sizeBytes }
      return ok({
        value: result,
        entries: [{ verb: 'image.export', subject: `${image.group}/${image.fileName}`, after }],
      })
    })
  }

  return {
    start: (request, by) => {
      const found = find(request.selector, request, by.who)
      if (!found.ok) return found
      return ok(
        deps.jobs.start({
          kind: 'image.export',
          title: `export ${found.value.image.name} to ${basename(request.path)}${by.dryRun ? ' (dry run)' : ''}`,
          groupId: found.value.image.groupId,
          who: by.who,
          lane: LANE,
          run: (context) => run(request, found.value, by, context),
        }),
      )
    },
    content: async (selector, names, who) => {
      const found = find(selector, names, who)
      return found.ok ? deps.content(found.value.shown) : found
    },
  }
}
