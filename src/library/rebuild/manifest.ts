/**
 * `groups/<id>/group.json`: what the rows say of a group, beside its segments. The database is the truth; this file is
 * there for the day on which the database is lost (see rebuild.ts). It holds answer files, and is kept from strangers.
 */
import { createHash } from 'node:crypto'
import { constants, existsSync } from 'node:fs'
import { open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { asc, eq } from 'drizzle-orm'
import { z } from 'zod'
import { type Log, reasonOf } from '../../base/log.ts'
import { ROLES } from '../../base/principal.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { contents, doomedFiles, imageGroups, installImages, segments, trash, unattendFiles } from '../../db/schema.ts'
import {
  ARCHITECTURES,
  parseComment,
  parseDescription,
  parseFileName,
  parseGroupName,
  parseImageName,
  parseVersion,
} from '../names.ts'

export const MANIFEST_NAME = 'group.json'
const FORMAT = 2

const whole = z.number().int().nonnegative()
/** Names obey the same rules as when they were given: a file can be edited by hand. */
const text = (parse: (given: string) => Result<string>) =>
  z.string().refine((given) => parse(given).ok, { message: 'is not a name that can be kept' })
const audience = z.object({ roles: z.array(z.enum(ROLES)), machineGroups: z.array(z.string()) }).nullable()

const ManifestSchema = z.object({
  wimcast: z.literal(FORMAT),
  group: z.object({
    id: whole,
    name: text(parseGroupName),
    description: text(parseDescription),
    quotaBytes: whole.nullable(),
    audience,
    trashId: whole.nullable(),
    createdAtMs: whole,
    changedAtMs: whole,
  }),
  /** Oldest first: the order decides how a view is laid out. */
  segments: z.array(
    z.object({
      file: z.string(),
      sizeBytes: whole,
      verified: z.boolean(),
      retired: z.boolean(),
      createdAtMs: whole,
    }),
  ),
  contents: z.array(
    z.object({
      id: whole,
      segment: z.string(),
      /** From 1. */
      index: whole,
      treeSha1: z.string(),
      bootable: z.boolean(),
      rpFix: z.boolean(),
      createdAtMs: whole,
    }),
  ),
  images: z.array(
    z.object({
      id: whole,
      /** The id of one of `contents`. */
      content: whole,
      name: text(parseImageName),
      description: text(parseDescription),
      fileName: text(parseFileName),
      isPublic: z.boolean(),
      enabled: z.boolean(),
      version: text(parseVersion),
      comment: text(parseComment),
      architecture: z.enum(ARCHITECTURES).nullable(),
      language: z.string().nullable(),
      displayOrder: whole.nullable(),
      bootDefault: z.boolean(),
      audience,
      trashId: whole.nullable(),
      createdAtMs: whole,
      changedAtMs: whole,
      unattend: z.object({ text: z.string(), addedAtMs: whole }).optional(),
    }),
  ),
  trash: z.array(
    z.object({
      id: whole,
      kind: z.enum(['image', 'group', 'version']),
      /** The id of one of `images`. */
      image: whole.nullable(),
      content: whole.nullable(),
      title: z.string(),
      removedAtMs: whole,
      removedBy: z.string(),
    }),
  ),
})

export type Manifest = z.infer<typeof ManifestSchema>

export function parseManifest(json: string): Result<Manifest> {
  const hint = 'It was written by another version of wimcast, or changed by hand.'
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    return refuse('corrupt', `${MANIFEST_NAME} is not JSON`, hint)
  }
  const parsed = ManifestSchema.safeParse(value)
  if (parsed.success) return ok(parsed.data)
  const first = parsed.error.issues[0]
  return refuse('corrupt', `${MANIFEST_NAME}: ${first?.path.join('.') ?? ''}: ${first?.message ?? ''}`, hint)
}

/** As the rows say now; undefined when there is no such group. */
export function manifestOf(db: Db, groupId: number): Manifest | undefined {
  const group = db.select().from(imageGroups).where(eq(imageGroups.id, groupId)).get()
  if (!group) return undefined
  const segmentRows = db.select().from(segments).where(eq(segments.groupId, groupId)).orderBy(asc(segments.id)).all()
  const fileOf = new Map(segmentRows.map((row) => [row.id, row.fileName]))
  // Never `select()` here: the needs of a content are megabytes.
  const contentRows = db
    .select({
      id: contents.id,
      segmentId: contents.segmentId,
      index: contents.imageIndex,
      treeSha1: contents.treeSha1,
      bootable: contents.bootable,
      rpFix: contents.rpFix,
      createdAtMs: contents.createdAtMs,
    })
    .from(contents)
    .where(eq(contents.groupId, groupId))
    .orderBy(asc(contents.id))
    .all()
  const answers = new Map(
    db
      .select({ imageId: unattendFiles.imageId, text: unattendFiles.text, addedAtMs: unattendFiles.addedAtMs })
      .from(unattendFiles)
      .innerJoin(installImages, eq(installImages.id, unattendFiles.imageId))
      .where(eq(installImages.groupId, groupId))
      .all()
      .map(({ imageId, ...answer }) => [imageId, answer]),
  )
  const images = db
    .select()
    .from(installImages)
    .where(eq(installImages.groupId, groupId))
    .orderBy(asc(installImages.id))
    .all()
  const { folded: _, ...said } = group
  return {
    wimcast: FORMAT,
    group: { ...said, audience: plainAudience(group.audience) },
    segments: segmentRows.map(({ fileName, sizeBytes, verified, retired, createdAtMs }) => ({
      file: fileName,
      sizeBytes,
      verified,
      retired,
      createdAtMs,
    })),
    contents: contentRows.map(({ segmentId, id, ...rest }) => ({ id, segment: fileOf.get(segmentId) ?? '', ...rest })),
    images: images.map(({ groupId: _group, contentId, foldedName: _name, foldedFile: _file, ...rest }) => {
      const unattend = answers.get(rest.id)
      return {
        ...rest,
        content: contentId,
        audience: plainAudience(rest.audience),
        ...(unattend ? { unattend } : {}),
      }
    }),
    trash: db
      .select()
      .from(trash)
      .where(eq(trash.groupId, groupId))
      .orderBy(asc(trash.id))
      .all()
      .map(({ groupId: _group, imageId, contentId, ...rest }) => ({ ...rest, image: imageId, content: contentId })),
  }
}

function plainAudience(stored: typeof imageGroups.$inferSelect.audience): Manifest['group']['audience'] {
  return stored === null ? null : { roles: [...stored.roles], machineGroups: [...stored.machineGroups] }
}

export type Manifests = AsyncDisposable & {
  /** Rows of the group were committed: its file follows soon. */
  readonly changed: (groupId: number) => void
  /** The group's folder is about to go: resolves when nobody writes into it any more. */
  readonly forget: (groupId: number) => Promise<void>
}

export type ManifestDeps = {
  readonly db: Db
  readonly groupDir: (groupId: number) => string
  readonly log: Log
  /** How long changes are gathered, and when a write that failed is tried again. */
  readonly gatherMs?: number
  readonly retryMs?: number
}

/** Begins by writing those that differ from the rows. */
export function openManifests({ db, groupDir, log, gatherMs = 200, retryMs = 30_000 }: ManifestDeps): Manifests {
  const waiting = new Map<number, ReturnType<typeof setTimeout>>()
  /** One writer for each group: the last of a chain. */
  const writing = new Map<number, Promise<void>>()
  /** What lies in the file, by hash; absent: not known yet. */
  const written = new Map<number, string>()
  let closed = false

  function later(groupId: number, ms: number): void {
    if (closed || waiting.has(groupId)) return
    const timer = setTimeout(() => start(groupId), ms)
    timer.unref()
    waiting.set(groupId, timer)
  }

  function start(groupId: number): void {
    clearTimeout(waiting.get(groupId))
    waiting.delete(groupId)
    const mine = (writing.get(groupId) ?? Promise.resolve())
      .then(() => write(groupId))
      .catch((error: unknown) => {
        // The group's folder went with the group; anything else is told, and tried again.
        if (!existsSync(groupDir(groupId))) return
        log.error('library.manifest', { group: groupId, reason: reasonOf(error) })
        later(groupId, retryMs)
      })
      .finally(() => {
        if (writing.get(groupId) === mine) writing.delete(groupId)
      })
    writing.set(groupId, mine)
  }

  async function write(groupId: number): Promise<void> {
    const manifest = manifestOf(db, groupId)
    if (!manifest) {
      written.delete(groupId)
      return
    }
    const json = `${JSON.stringify(manifest, undefined, 1)}\n`
    const hash = createHash('sha256').update(json).digest('hex')
    if (written.get(groupId) === hash) return
    const dir = groupDir(groupId)
    const path = join(dir, MANIFEST_NAME)
    if (!written.has(groupId)) {
      const old = await readFile(path, 'utf8').catch(() => undefined)
      if (old === json) {
        written.set(groupId, hash)
        return
      }
      if (old !== undefined) await keepUnknown(dir, path, old, manifest)
    }
    await replaceFile(dir, path, json)
    written.set(groupId, hash)
  }

  /** A database that was restored from a backup knows less than the file: what it lacks is kept for a rebuild. */
  async function keepUnknown(dir: string, path: string, old: string, now: Manifest): Promise<void> {
    const parsed = parseManifest(old)
    // Doomed files are on their way out, and nobody's loss.
    const doomed = db.select().from(doomedFiles).all()
    const known = new Set([...now.segments.map(({ file }) => file), ...doomed.map(({ fileName }) => fileName)])
    if (parsed.ok && parsed.value.segments.every(({ file }) => known.has(file) || !existsSync(join(dir, file)))) return
    let kept = `${path}.before`
    for (let n = 2; existsSync(kept); n += 1) kept = `${path}.before-${n}`
    await rename(path, kept)
    log.warning('library.manifest-kept', { group: now.group.name, file: kept, hint: 'wimcast library rebuild' })
  }

  for (const { id } of db.select({ id: imageGroups.id }).from(imageGroups).all()) later(id, 0)

  return {
    changed: (groupId) => later(groupId, gatherMs),
    forget: async (groupId) => {
      clearTimeout(waiting.get(groupId))
      waiting.delete(groupId)
      await writing.get(groupId)
      written.delete(groupId)
    },
    [Symbol.asyncDispose]: async () => {
      closed = true
      for (const groupId of [...waiting.keys()]) start(groupId)
      await Promise.all(writing.values())
    },
  }
}

/** The old file or the new one, whatever happens in between. */
async function replaceFile(dir: string, path: string, text: string): Promise<void> {
  const temporary = `${path}.new`
  try {
    await rm(temporary, { force: true })
    {
      await using file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o640)
      await file.writeFile(text)
      await file.sync()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
  await using folder = await open(dir, constants.O_RDONLY)
  await folder.sync()
}
