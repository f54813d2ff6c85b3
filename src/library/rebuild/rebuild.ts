/**
 * Brings the rows in line with what lies in `groups/`, without an appliance: after the database was lost, or when it
 * was restored from a backup that is older than the folder. Nothing in the folder is removed but what was doomed.
 */

import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { and, eq } from 'drizzle-orm'
import type { By, Changes } from '../../audit/changes.ts'
import type { Clock } from '../../base/clock.ts'
import type { Log } from '../../base/log.ts'
import { reasonOf } from '../../base/log.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import {
  contents,
  doomedFiles,
  imageGroups,
  installImages,
  segmentLeases,
  segments,
  transmissions,
} from '../../db/schema.ts'
import { runChild, type SelfCommand } from '../../jobs/child.ts'
import { metadataEntries, SHA1_BYTES, sha1At } from '../../wim/blob-table.ts'
import { needsOf } from '../rows.ts'
import { removeDoomed } from '../store/recover.ts'
import { readSegmentTable } from '../store/segment-table.ts'
import { MANIFEST_NAME, type Manifest, parseManifest } from './manifest.ts'
import { type Holdings, holdingsOf } from './rebuild-holdings.ts'
import { contentsOf, type Folder, type Lying, type MadeImage } from './rebuild-images.ts'
import { rebuildGroup } from './rebuild-rows.ts'
import {
  CURRENT,
  type ReadInput,
  type ReadOutput,
  type ReadSegment,
  readSegmentsTask,
  type Unreadable,
} from './rebuild-task.ts'

export type RebuildReport = {
  readonly dryRun: boolean
  /** Groups that had no row. */
  readonly groups: readonly string[]
  /** Segments that had none. */
  readonly segments: readonly FileOf[]
  readonly images: readonly MadeImage[]
  readonly versions: number
  /** Contents whose segment is gone, and whose tree was found in another one. */
  readonly rehomed: number
  /** Trees of segments that the group's manifest knows to be removed. */
  readonly unused: number
  /** Images that a manifest names, and whose content is nowhere. */
  readonly lost: readonly { readonly group: string; readonly image: string }[]
  /** Images that cannot be served whole: file contents, or all of their tree, lie nowhere. */
  readonly incomplete: readonly { readonly group: string; readonly image: string; readonly missing: number }[]
  /** Segments that the rows name and the folder lacks. */
  readonly missing: readonly FileOf[]
  readonly unreadable: readonly (FileOf & { readonly code: string; readonly message: string })[]
}

type FileOf = { readonly group: string; readonly file: string }

export type RebuildDeps = {
  readonly db: Db
  readonly dataDir: string
  readonly changes: Changes
  readonly clock: Clock
  readonly log: Log
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
  readonly signal: AbortSignal
  readonly progress: (file: string, done: number, total: number) => void
}

type Survey = Folder & {
  readonly name: string
  readonly missing: readonly (typeof segments.$inferSelect)[]
  readonly unreadable: readonly { readonly file: string; readonly code: string; readonly message: string }[]
  /** Manifests that were kept aside, and are of no more use after this. */
  readonly spent: readonly string[]
}

type Read = { readonly segments: ReadSegment[]; readonly unreadable: Unreadable[] }

/** A child that dies takes the answers of its batch along. */
const BATCH = 16

/** The data directory must be held (openDb). Reads first, then writes all rows in one transaction. */
export async function rebuildLibrary(deps: RebuildDeps, by: By): Promise<Result<RebuildReport>> {
  const { db, changes, clock, log } = deps
  const groupsDir = join(deps.dataDir, 'groups')
  if (!existsSync(groupsDir))
    return refuse('not-found', `there is no folder "${groupsDir}"`, 'Name the data directory with --data.')
  const doomed = new Set(
    db
      .select()
      .from(doomedFiles)
      .all()
      .map(({ groupId, fileName }) => `${groupId}/${fileName}`),
  )
  if (!by.dryRun) removeDoomed({ db, groupsDir, log })
  const work = join(deps.dataDir, 'work', `rebuild-${process.pid}`)
  mkdirSync(work, { recursive: true, mode: 0o750 })
  try {
    const ids = groupIds(db, groupsDir)
    const unknown = ids.flatMap((id) => unknownFiles(db, id, join(groupsDir, String(id)), doomed))
    const read = await readAll(unknown, { ...deps, work })
    if (!read.ok) return read
    const surveys = ids.map((id) => surveyOf(db, id, join(groupsDir, String(id)), read.value))
    const report = changes.apply(by, () => {
      const made = surveys.map((survey) => inTransaction(db, survey, clock.nowMs()))
      const value = total(made, by.dryRun === true)
      const { groups, segments: files, images, lost, missing, unreadable, incomplete, ...counts } = value
      const numbers = { groups, lost, segments: files.length, images: images.length, missing: missing.length }
      const after = { ...counts, ...numbers, unreadable: unreadable.length, incomplete: incomplete.length }
      return ok({ value, entries: [{ verb: 'library.rebuild', subject: 'groups', after }] })
    })
    if (report.ok && !by.dryRun)
      for (const { spent } of surveys) for (const path of spent) rmSync(path, { force: true })
    return report
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Of rows and of folders. A folder without segments and manifest is none of a group. */
function groupIds(db: Db, groupsDir: string): number[] {
  const ids = new Set(
    db
      .select({ id: imageGroups.id })
      .from(imageGroups)
      .all()
      .map(({ id }) => id),
  )
  for (const entry of readdirSync(groupsDir, { withFileTypes: true })) {
    if (!entry.isDirectory() || !/^[1-9]\d{0,8}$/.test(entry.name)) continue
    const names = readdirSync(join(groupsDir, entry.name))
    if (names.some((name) => name.endsWith('.wim') || name === MANIFEST_NAME)) ids.add(Number(entry.name))
  }
  return [...ids].sort((a, b) => a - b)
}

const namesIn = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir).sort() : [])

function segmentRows(db: Db, groupId: number) {
  return db.select().from(segments).where(eq(segments.groupId, groupId)).orderBy(segments.id).all()
}

/** Paths of segments that no row names, and none dooms. */
function unknownFiles(db: Db, groupId: number, dir: string, doomed: ReadonlySet<string>): string[] {
  const known = new Set(segmentRows(db, groupId).map(({ fileName }) => fileName))
  return namesIn(dir)
    .filter((name) => name.endsWith('.wim') && !known.has(name) && !doomed.has(`${groupId}/${name}`))
    .map((name) => join(dir, name))
}

function surveyOf(db: Db, groupId: number, dir: string, read: Read): Survey {
  const names = namesIn(dir)
  const unreadable: Survey['unreadable'][number][] = []
  const { manifests, spent } = readManifests(dir, names, unreadable)
  const rows = segmentRows(db, groupId)
  for (const { path, error } of read.unreadable)
    if (dirname(path) === dir) unreadable.push({ file: basename(path), code: error.code, message: error.message })
  const lying: Lying[] = []
  const take = (file: string, rowId: number | undefined, segment: ReadSegment | undefined): void => {
    try {
      const path = join(dir, file)
      const changedAtMs = Math.round(lstatSync(path).mtimeMs)
      lying.push({ file, rowId, read: segment, table: readSegmentTable(path), changedAtMs })
    } catch (error) {
      unreadable.push({ file, code: 'unreadable', message: reasonOf(error) })
    }
  }
  // Those that serve a transmission only come last: a tree is taken from one that stays.
  for (const row of rows.filter(({ fileName }) => names.includes(fileName)).sort((a, b) => +a.retired - +b.retired))
    take(row.fileName, row.id, undefined)
  for (const segment of read.segments)
    if (dirname(segment.path) === dir) take(basename(segment.path), undefined, segment)
  const group = db.select().from(imageGroups).where(eq(imageGroups.id, groupId)).get()
  return {
    groupId,
    name: group?.name ?? manifests[0]?.group.name ?? String(groupId),
    lying,
    manifests,
    holdings: holdingsOf(lying.map(({ table }) => table)),
    missing: rows.filter(({ fileName }) => !names.includes(fileName)),
    unreadable,
    spent,
  }
}

/** group.json, then what was kept of older ones, newest first. */
function readManifests(
  dir: string,
  names: readonly string[],
  unreadable: Survey['unreadable'][number][],
): { readonly manifests: Manifest[]; readonly spent: string[] } {
  const ageOf = (name: string): number => (name === MANIFEST_NAME ? 0 : -lstatSync(join(dir, name)).mtimeMs)
  const wanted = names.filter((name) => name === MANIFEST_NAME || name.startsWith(`${MANIFEST_NAME}.before`))
  wanted.sort((a, b) => Number(b === MANIFEST_NAME) - Number(a === MANIFEST_NAME) || ageOf(a) - ageOf(b))
  const manifests: Manifest[] = []
  const spent: string[] = []
  for (const name of wanted) {
    const parsed = readManifest(join(dir, name))
    if (!parsed.ok) {
      unreadable.push({ file: name, code: parsed.error.code, message: parsed.error.message })
      continue
    }
    manifests.push(parsed.value)
    if (name !== MANIFEST_NAME) spent.push(join(dir, name))
  }
  return { manifests, spent }
}

function readManifest(path: string): Result<Manifest> {
  try {
    return parseManifest(readFileSync(path, 'utf8'))
  } catch (error) {
    return refuse('unreadable', reasonOf(error), 'Check the disk, and the rights of the file.')
  }
}

/** In children; the file that kills one is told as unreadable, and the others of its batch are read again. */
async function readAll(paths: readonly string[], deps: RebuildDeps & { readonly work: string }): Promise<Result<Read>> {
  const all: Read = { segments: [], unreadable: [] }
  let left = [...paths]
  while (left.length > 0) {
    const batch = left.slice(0, BATCH)
    const current = join(deps.work, CURRENT)
    rmSync(current, { force: true })
    const step = (path: string): void =>
      deps.progress(basename(path), paths.length - left.length + batch.indexOf(path), paths.length)
    const input = { paths: batch, dir: deps.work, wimlibPath: deps.wimlibPath }
    const { self, signal } = deps
    const output = await runChild<ReadInput, ReadOutput>(readSegmentsTask, input, { self, signal, step, progress() {} })
    if (output.ok) {
      all.segments.push(...output.value.segments)
      all.unreadable.push(...output.value.unreadable)
      left = left.slice(BATCH)
      continue
    }
    if (output.error.code !== 'child-died' || !existsSync(current)) return output
    const culprit = readFileSync(current, 'utf8')
    all.unreadable.push({ path: culprit, error: output.error })
    left = left.filter((path) => path !== culprit)
  }
  return ok(all)
}

type GroupReport = ReturnType<typeof inTransaction>

function inTransaction(db: Db, survey: Survey, nowMs: number) {
  const outcome = rebuildGroup(db, survey, nowMs)
  bringBackRetired(db, survey)
  const gone = survey.missing.filter((row) => isMissed(db, row))
  return {
    ...outcome,
    missing: gone.map(({ fileName }) => fileName),
    unreadable: survey.unreadable,
    incomplete: incompleteImages(db, survey),
  }
}

/** A segment that was replaced is needed again when what replaced it is not there. */
function bringBackRetired(db: Db, { groupId, lying }: Survey): void {
  const rows = db
    .select()
    .from(segments)
    .where(and(eq(segments.groupId, groupId), eq(segments.retired, true)))
    .all()
  if (rows.length === 0) return
  const retired = new Set(rows.map(({ fileName }) => fileName))
  const homes = new Set(rows.map(({ id }) => id))
  const enough = holdingsOf(lying.filter(({ file }) => !retired.has(file)).map(({ table }) => table))
  const needed = contentsOf(db, groupId).some(
    (content) => homes.has(content.segmentId) || missingOf(db, content.id, enough) > 0,
  )
  const there = new Set(lying.map(({ file }) => file))
  if (!needed) return
  for (const { id, fileName } of rows)
    if (there.has(fileName)) db.update(segments).set({ retired: false }).where(eq(segments.id, id)).run()
}

/** How many of the content's file contents lie nowhere. One row at a time: they are megabytes each. */
function missingOf(db: Db, contentId: number, holdings: Holdings): number {
  const needs = needsOf(db, contentId)
  let missing = 0
  for (let i = 0; i < needs.count; i += 1) if (holdings.sizeOf(needs.sha1, i * SHA1_BYTES) === undefined) missing += 1
  return missing
}

function incompleteImages(db: Db, { groupId, lying, holdings }: Survey): { image: string; missing: number }[] {
  const trees = new Set(
    lying.flatMap(({ table }) =>
      metadataEntries(table).map((entry) => Buffer.from(sha1At(table, entry)).toString('hex')),
    ),
  )
  return contentsOf(db, groupId).flatMap(({ id, treeSha1 }) => {
    const missing = missingOf(db, id, holdings) + (trees.has(treeSha1) ? 0 : 1)
    if (missing === 0) return []
    const named = db
      .select({ name: installImages.name })
      .from(installImages)
      .where(eq(installImages.contentId, id))
      .all()
    return named.map(({ name }) => ({ image: name, missing }))
  })
}

/**
 * A segment whose file is gone. Its row goes too unless a content has its tree there, which is told; for a transmission
 * it stays as a retired one, because nothing else may be read from it.
 */
function isMissed(db: Db, { id }: typeof segments.$inferSelect): boolean {
  if (db.select({ id: contents.id }).from(contents).where(eq(contents.segmentId, id)).get()) return true
  const leased =
    db.select().from(segmentLeases).where(eq(segmentLeases.segmentId, id)).get() ??
    db.select({ id: transmissions.id }).from(transmissions).where(eq(transmissions.homeSegmentId, id)).get()
  if (leased) db.update(segments).set({ retired: true }).where(eq(segments.id, id)).run()
  else db.delete(segments).where(eq(segments.id, id)).run()
  return false
}

function total(groups: readonly GroupReport[], dryRun: boolean): RebuildReport {
  const sum = (of: (group: GroupReport) => number): number => groups.reduce((all, group) => all + of(group), 0)
  const inGroup = <T extends object>(of: (group: GroupReport) => readonly T[]) =>
    groups.flatMap((group) => of(group).map((one) => ({ group: group.name, ...one })))
  return {
    dryRun,
    groups: groups.filter(({ made }) => made).map(({ name }) => name),
    segments: inGroup((group) => group.segments.map((file) => ({ file }))),
    images: groups.flatMap(({ images }) => images),
    versions: sum(({ versions }) => versions),
    rehomed: sum(({ rehomed }) => rehomed),
    unused: sum(({ unused }) => unused),
    lost: inGroup((group) => group.lost.map((image) => ({ image }))),
    incomplete: inGroup((group) => group.incomplete),
    missing: inGroup((group) => group.missing.map((file) => ({ file }))),
    unreadable: inGroup((group) => group.unreadable),
  }
}
