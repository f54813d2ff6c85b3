/**
 * Importing: the job that lets the child process make a segment, gives the segment its name, and writes the rows.
 */
import { rename, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { eq } from 'drizzle-orm'
import type { Clock } from '../base/clock.ts'
import { isDiskFull } from '../base/disk-full.ts'
import type { Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { contents, doomedFiles, installImages, segments } from '../db/schema.ts'
import { runChild, type SelfCommand } from '../jobs/child.ts'
import type { Job, JobContext, Jobs } from '../jobs/jobs.ts'
import { diskFilledUp } from './disk-space.ts'
import { type ImportInput, type ImportOutput, importTask } from './import-task.ts'
import { defaultFileName, parseDescription, parseFileName, parseImageName } from './names.ts'
import { removeSegmentFile } from './recover.ts'
import { fileNameFree, findGroup, type Group, segmentsOf, theGroup } from './rows.ts'
import { syncFolder } from './sync-folder.ts'

export type ImportRequest = {
  /** A file that the service may read, already checked; removed afterwards when it was uploaded. */
  readonly path: string
  readonly sourceName: string
  /** May be left out while there is exactly one. */
  readonly group: string | undefined
  readonly select: ImportInput['select']
  readonly skipVerify: boolean
  readonly name?: string | undefined
  readonly description?: string | undefined
  readonly fileName?: string | undefined
  /** Runs when the job has ended, whatever came of it: an upload's folder goes here. */
  readonly afterwards?: (() => Promise<void>) | undefined
}

export type Imports = {
  readonly start: (request: ImportRequest, who: Principal) => Result<Job>
}

export type ImportDeps = {
  readonly db: Db
  readonly jobs: Jobs
  readonly clock: Clock
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
  readonly groupDir: (groupId: number) => string
  readonly lane: (groupId: number) => string
  /** The group has a segment more. */
  readonly onImported: (group: Group) => void
}

/** What the row of an imported image will say. */
type Named = { readonly name: string; readonly description: string; readonly fileName: string }

/** What the rows of an import will be called, known once the file was read; the transaction checks that it is free. */
function nameImported(request: ImportRequest, output: ImportOutput): Result<Named[]> {
  const named = []
  for (const image of output.images) {
    const name = parseImageName(
      request.name ?? (image.facts.name || image.facts.displayName || `Image ${image.sourceIndex}`),
    )
    if (!name.ok) return name
    const description = parseDescription(request.description ?? image.facts.description)
    if (!description.ok) return description
    const fileName = parseFileName(
      request.fileName ?? defaultFileName(request.sourceName, output.images.length > 1 ? image.sourceIndex : undefined),
    )
    if (!fileName.ok) return fileName
    named.push({ name: name.value, description: description.value, fileName: fileName.value })
  }
  if (named.length > 1 && (request.name !== undefined || request.fileName !== undefined))
    return refuse(
      'bad-request',
      `the file holds ${named.length} images; one name cannot serve them all`,
      'Pick one with --index, or leave --name and --file-name out.',
    )
  return ok(named)
}

export function openImports(deps: ImportDeps): Imports {
  const { db, jobs, clock, groupDir } = deps

  async function runImport(
    request: ImportRequest,
    group: Group,
    context: JobContext,
  ): Promise<Result<Readonly<Record<string, unknown>>>> {
    const still = findGroup(db, group.name)
    if (!still.ok) return still
    if (still.value.id !== group.id)
      return refuse(
        'not-found',
        `the group "${group.name}" was removed while the import waited`,
        'Start it again to import into the new one.',
      )
    const dir = groupDir(group.id)
    const output = await runChild<ImportInput, ImportOutput>(
      importTask,
      {
        path: request.path,
        select: request.select,
        skipVerify: request.skipVerify,
        heldSegments: segmentsOf(db, group.id).map(({ fileName, verified }) => ({
          path: join(dir, fileName),
          verified,
        })),
        dir: context.dir,
        wimlibPath: deps.wimlibPath,
      },
      { self: deps.self, signal: context.signal, step: context.step, progress: context.progress },
    )
    if (!output.ok) return output
    if (context.signal.aborted) return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
    const named = nameImported(request, output.value)
    if (!named.ok) return named
    context.step('publish')
    return publish(group, output.value, named.value, !request.skipVerify, context)
  }

  /** The segment gets its name, then the rows one transaction. A crash between the two leaves a file without rows. */
  async function publish(
    group: Group,
    output: ImportOutput,
    named: Named[],
    verified: boolean,
    context: JobContext,
  ): Promise<Result<Readonly<Record<string, unknown>>>> {
    const made = {
      images: named.map((image) => image.name),
      group: group.name,
      blobs: output.blobs,
      newBlobs: output.newBlobs,
      storedBytes: output.sizeBytes,
    }
    const fileName = `seg-${crypto.randomUUID()}.wim`
    let published = false
    let unknown = false
    try {
      const result = await publishAs(fileName, group, output, named, verified, () => context.committed(made))
      published = result.ok
      if (!result.ok) return result
    } catch (error) {
      if (isDiskFull(error)) return diskFilledUp()
      // The commit may have come to the disk all the same: whether the file is doomed, the next start sees in the rows.
      unknown = true
      throw error
    } finally {
      if (!published && !unknown) await removeSegmentFile(db, groupDir(group.id), fileName)
    }
    deps.onImported(group)
    return ok(made)
  }

  async function publishAs(
    fileName: string,
    group: Group,
    output: ImportOutput,
    named: Named[],
    verified: boolean,
    committed: () => void,
  ): Promise<Result<number[]>> {
    const dir = groupDir(group.id)
    const path = join(dir, fileName)
    const manifest = {
      wimcast: 1,
      group: group.name,
      rpFix: output.rpFix,
      images: output.images.map((image, i) => ({ ...named[i], bootable: image.bootable })),
    }
    db.insert(doomedFiles).values({ fileName, groupId: group.id }).run()
    await writeFile(`${path}.json`, `${JSON.stringify(manifest, undefined, 2)}\n`, { flush: true, mode: 0o640 })
    await rename(output.segmentPath, path)
    syncFolder(dir)
    const now = clock.nowMs()
    return db.transaction((tx): Result<number[]> => {
      for (const image of named) {
        const free = fileNameFree(db, group, image.fileName)
        if (!free.ok) return free
      }
      const segment = tx
        .insert(segments)
        .values({
          groupId: group.id,
          fileName,
          sizeBytes: output.sizeBytes,
          verified,
          blobBytes: output.blobBytes,
          createdAtMs: now,
        })
        .returning()
        .get()
      const ids = output.images.map((image, i) => {
        const { facts, element, bootable } = image
        const content = tx
          .insert(contents)
          .values({
            groupId: group.id,
            segmentId: segment.id,
            imageIndex: i + 1,
            needs: Buffer.from(image.needs),
            element,
            facts,
            bootable,
            rpFix: output.rpFix,
            viewBytes: image.viewBytes,
            createdAtMs: now,
          })
          .returning({ id: contents.id })
          .get()
        const names = named[i] ?? { name: '', description: '', fileName: '' }
        return tx
          .insert(installImages)
          .values({ groupId: group.id, contentId: content.id, ...names, createdAtMs: now, changedAtMs: now })
          .returning({ id: installImages.id })
          .get().id
      })
      tx.delete(doomedFiles).where(eq(doomedFiles.fileName, fileName)).run()
      committed()
      return ok(ids)
    })
  }

  return {
    start: (request, who) => {
      const group = theGroup(db, request.group)
      if (!group.ok) return group
      for (const parsed of [
        request.name === undefined ? undefined : parseImageName(request.name),
        request.description === undefined ? undefined : parseDescription(request.description),
        request.fileName === undefined ? undefined : parseFileName(request.fileName),
      ])
        if (parsed && !parsed.ok) return parsed
      // Of one image the name is known before the file is read; of all, the transaction finds out.
      if (request.fileName !== undefined || request.select.kind !== 'all') {
        const fileName = parseFileName(request.fileName ?? defaultFileName(request.sourceName, undefined))
        if (!fileName.ok) return fileName
        const free = fileNameFree(db, group.value, fileName.value)
        if (!free.ok) return free
      }
      return ok(
        jobs.start({
          kind: 'image.import',
          title: `import ${basename(request.sourceName)} into ${group.value.name}`,
          who,
          lane: deps.lane(group.value.id),
          run: (context) => runImport(request, group.value, context),
          afterwards: request.afterwards,
        }),
      )
    },
  }
}
