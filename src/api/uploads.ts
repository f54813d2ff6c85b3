/**
 * Uploads. A file is streamed to `<data>/uploads/<id>/`, then an import names it; the job removes it when it
 * has ended. A dry run leaves it for the import after it. What was never imported goes at the next start, or after a day.
 */
import { randomBytes } from 'node:crypto'
import { createWriteStream, rmSync } from 'node:fs'
import { mkdir, readdir, realpath, rm, stat, statfs } from 'node:fs/promises'
import { basename, isAbsolute, join, sep } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { z } from '@hono/zod-openapi'
import type { Clock } from '../base/clock.ts'
import { diskFull, isDiskFull } from '../base/disk-full.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import type { Library } from '../library/library.ts'
import type { Settings } from '../settings/settings.ts'
import type { Transmissions } from '../transmissions/transmissions.ts'
import { json, router, secured, unwrap } from './door.ts'
import { type ImportSource, importRoutes, type WantedSource } from './imports.ts'
import { UploadSchema } from './schemas.ts'
import { repairRoutes } from './upkeep.ts'

const KEPT_MS = 24 * 3600_000
const LOOK_EVERY_BYTES = 16 << 20
const ID = /^[0-9a-f]{32}$/

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not pass
const NOT_IN_UPLOAD_NAMES = /[/\\\u0000-\u001f\u007f-\u009f]/

/** What a client may call a file of its upload: a plain name, used as a file name in the upload's own folder. */
function parseUploadName(text: string): Result<string> {
  const isPlain = text !== '' && text !== '.' && text !== '..' && !NOT_IN_UPLOAD_NAMES.test(text)
  if (isPlain && Buffer.byteLength(text) <= 200) return ok(text)
  return refuse(
    'bad-name',
    `${JSON.stringify(text.slice(0, 80))} is not a plain file name`,
    'Send the name without a folder, at most 200 bytes.',
  )
}

/** A path that the service may read itself: a regular file below an import root, all links resolved. */
export async function checkImportPath(path: string, roots: readonly string[]): Promise<Result<string>> {
  const hint =
    roots.length === 0
      ? 'No import roots are configured: upload the file, or set import-roots.'
      : `Import roots are: ${roots.join(', ')}.`
  // A relative path would mean what the folder is that the service happened to be started in.
  if (!isAbsolute(path)) return refuse('bad-path', `"${path}" is not an absolute path`, hint)
  const real = await realpath(path).catch(() => undefined)
  for (const root of roots) {
    const realRoot = await realpath(root).catch(() => undefined)
    if (
      real === undefined ||
      realRoot === undefined ||
      !real.startsWith(realRoot.endsWith(sep) ? realRoot : realRoot + sep)
    )
      continue
    const facts = await stat(real)
    if (facts.isFile()) return ok(real)
    return refuse('bad-path', `"${path}" is not a regular file`, hint)
  }
  return refuse('bad-path', `"${path}" is not a file below an import root`, hint)
}

export type UploadDeps = {
  readonly library: Pick<Library, 'images' | 'repairs'>
  readonly transmissions: Pick<Transmissions, 'plan'>
  readonly settings: Pick<Settings, 'get'>
  readonly dataDir: string
  readonly importRoots: readonly string[]
  readonly clock: Clock
}

/** At a start, before anything is written: uploads that nobody imported may have filled the disk. */
export function clearUploads(dataDir: string): void {
  rmSync(join(dataDir, 'uploads'), { recursive: true, force: true })
}

export function uploadRoutes({ library, transmissions, settings, dataDir, importRoots, clock }: UploadDeps) {
  const uploadsDir = join(dataDir, 'uploads')
  /** Files on their way, by upload: it can't be imported yet. */
  const sending = new Map<string, number>()
  /** What jobs read: nobody may add to it. One that `goes` was imported or dropped, and is removed after the last of them. */
  const inUse = new Map<string, { jobs: number; goes: boolean }>()

  const dirOf = (id: string): string => {
    if (!ID.test(id)) unwrap(refuse('not-found', 'there is no such upload', 'Begin one: POST /api/uploads.'))
    return join(uploadsDir, id)
  }

  async function prune(): Promise<void> {
    for (const id of await readdir(uploadsDir).catch(() => [])) {
      const dir = join(uploadsDir, id)
      const facts = await stat(dir).catch(() => undefined)
      if (facts && !sending.has(id) && !inUse.has(id) && clock.nowMs() - facts.mtimeMs > KEPT_MS)
        await rm(dir, { recursive: true, force: true })
    }
  }

  function refuseInUse(): never {
    return unwrap(refuse('in-use', 'a job reads the upload', 'Begin a new one: POST /api/uploads.'))
  }

  async function receive(dir: string, name: string, request: Request): Promise<void> {
    if (!(await stat(dir).catch(() => undefined)))
      unwrap(refuse('not-found', 'there is no such upload', 'Begin one: POST /api/uploads.'))
    const length = Number(request.headers.get('content-length') ?? 0)
    const reserveBytes = settings.get('space.reserve')
    const disk = await statfs(dir)
    const free = disk.bavail * disk.bsize
    if (free < length + reserveBytes)
      unwrap(
        refuse(
          'no-space',
          `the file is ${formatBytes(length)}; ${formatBytes(free)} are free, and ${formatBytes(reserveBytes)} stay so`,
          'Remove images that are not needed, or give the data directory a larger disk.',
        ),
      )
    const path = join(dir, name)
    /** A body of unknown length, and several at once, are found out on the way: the reserve is the database's. */
    async function* guarded(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
      let sinceLook = 0
      for await (const bytes of source) {
        sinceLook += bytes.byteLength
        if (sinceLook >= LOOK_EVERY_BYTES) {
          sinceLook = 0
          const now = await statfs(dir)
          if (now.bavail * now.bsize < reserveBytes) unwrap(diskFull())
        }
        yield bytes
      }
    }
    try {
      const from = request.body ? Readable.fromWeb(request.body as never) : Readable.from([])
      await pipeline(from, guarded, createWriteStream(path, { flags: 'wx', mode: 0o640, highWaterMark: 1 << 20 }), {
        signal: request.signal,
      })
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EEXIST') unwrap(refuse('exists', `the upload already has a file "${name}"`, 'Begin a new upload.'))
      await rm(path, { force: true })
      if (isDiskFull(error))
        unwrap(refuse('no-space', 'the data disk filled up during the upload', 'Remove images that are not needed.'))
      throw error
    }
  }

  return router()
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/uploads',
        summary: 'Begin an upload',
        responses: { 201: json(UploadSchema, 'Where to send its files.') },
      }),
      async (c) => {
        await prune()
        const id = randomBytes(16).toString('hex')
        await mkdir(join(uploadsDir, id), { recursive: true, mode: 0o750 })
        return c.json({ id }, 201)
      },
    )
    .openapi(
      secured(
        'operator',
        {
          method: 'put',
          path: '/uploads/{id}/{file}',
          summary: 'Send a file; all parts of a split set go into one upload',
          request: {
            params: z.object({ id: z.string(), file: z.string() }),
            body: { content: { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } } },
          },
          responses: { 204: { description: 'Stored.' } },
        },
        { long: true },
      ),
      async (c) => {
        const { id, file } = c.req.valid('param')
        const dir = dirOf(id)
        const name = unwrap(parseUploadName(file))
        if (inUse.has(id)) refuseInUse()
        sending.set(id, (sending.get(id) ?? 0) + 1)
        try {
          await receive(dir, name, c.req.raw)
        } finally {
          const others = (sending.get(id) ?? 1) - 1
          if (others > 0) sending.set(id, others)
          else sending.delete(id)
        }
        return c.body(null, 204)
      },
    )
    .openapi(
      secured('operator', {
        method: 'delete',
        path: '/uploads/{id}',
        summary: 'Drop an upload',
        request: { params: z.object({ id: z.string() }) },
        responses: { 204: { description: 'Gone, or gone when the dry runs that read it have ended.' } },
      }),
      async (c) => {
        const { id } = c.req.valid('param')
        const dir = dirOf(id)
        const use = inUse.get(id)
        if (use?.goes) refuseInUse()
        if (use) use.goes = true
        else await rm(dir, { recursive: true, force: true })
        return c.body(null, 204)
      },
    )
    .route('/', importRoutes({ library, transmissions, sourceOf }))
    .route('/', repairRoutes({ library, sourceOf }))

  /** From now on the upload is the job's: an import takes it with it, a dry run leaves it. */
  async function sourceOf(wanted: WantedSource, dryRun: boolean): Promise<ImportSource> {
    if (wanted.path !== undefined && wanted.upload === undefined) {
      const path = unwrap(await checkImportPath(wanted.path, importRoots))
      return { path, sourceName: basename(wanted.path) }
    }
    if (wanted.upload === undefined || wanted.sourceName === undefined || wanted.path !== undefined)
      return unwrap(
        refuse(
          'bad-request',
          'an import names either a path, or an upload and the file in it',
          'See /api/openapi.json.',
        ),
      )
    const dir = dirOf(wanted.upload)
    const path = join(dir, unwrap(parseUploadName(wanted.sourceName)))
    if (!(await stat(path).catch(() => undefined)))
      unwrap(refuse('not-found', `the upload has no file "${wanted.sourceName}"`, 'Send it first.'))
    const { upload } = wanted
    const use = inUse.get(upload) ?? { jobs: 0, goes: false }
    if (use.goes) refuseInUse()
    if (sending.has(upload))
      unwrap(refuse('in-use', 'a file of the upload is still being sent', 'Wait for the end of the PUT.'))
    use.jobs += 1
    use.goes = !dryRun
    inUse.set(upload, use)
    const afterwards = async (): Promise<void> => {
      use.jobs -= 1
      if (use.jobs > 0) return
      if (use.goes) await rm(dir, { recursive: true, force: true })
      inUse.delete(upload)
    }
    return { path, sourceName: wanted.sourceName, afterwards }
  }
}
