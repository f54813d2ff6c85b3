/**
 * Restoring a backup into a data directory on which no appliance runs. The file is judged before anything is touched;
 * then all of it is staged, and one rename makes it the data (src/db/restored.ts).
 */
import { Database } from 'bun:sqlite'
import {
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { isDiskFull } from '../base/disk-full.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import { holdDataDir, newestMigration } from '../db/open.ts'
import { DB_NAME, finishRestore, STAGED, syncPath } from '../db/restored.ts'
import { APPLICATION_ID, FORMAT, MAX_FILE_BYTES, MAX_FILES, NOT_KEPT } from './format.ts'

export type RestoreRequest = {
  readonly file: string
  readonly dataDir: string
  /** A database that is there is kept under another name. */
  readonly replace: boolean
  readonly dryRun: boolean
  readonly nowMs: number
}

export type RestoreReport = {
  readonly dryRun: boolean
  readonly madeAtMs: number
  /** The wimcast that made it. */
  readonly wimcast: string
  readonly groups: number
  readonly images: number
  readonly files: readonly string[]
  /** What the database that was there is called now. */
  readonly keptAs?: string
  /** `3/seg-….wim`: named by the backup, and not in the folder; and the other way round. */
  readonly missing: readonly string[]
  readonly unknown: readonly string[]
}

type Judged = {
  readonly madeAtMs: number
  readonly wimcast: string
  readonly files: readonly { readonly name: string; readonly mode: number }[]
  readonly segments: readonly string[]
  readonly groups: number
  readonly images: number
}

const MAGIC = 'SQLite format 3\0'

function bad(why: string, hint = 'Name a file that wimcast backup create made, whole.'): Result<never> {
  return refuse('bad-backup', why, hint)
}

/** Blocks; for the command line. */
export function restoreBackup(request: RestoreRequest): Result<RestoreReport> {
  const { file, dataDir, replace, dryRun } = request
  const judged = judge(file)
  if (!judged.ok) return judged
  if (!dryRun) mkdirSync(dataDir, { recursive: true, mode: 0o750 })
  // Without the folder nothing runs on it.
  using _held = existsSync(dataDir) ? holdDataDir(dataDir) : undefined
  if (!dryRun) finishRestore(dataDir)
  const there = existsSync(join(dataDir, DB_NAME)) || existsSync(join(dataDir, STAGED.ready))
  if (there && !replace)
    return refuse(
      'exists',
      `there is a database in "${dataDir}" already`,
      'Name another directory, or add --replace: the old database is then kept beside the new one.',
    )
  const stamp = new Date(request.nowMs).toISOString().replaceAll(/[-:]|\.\d+/g, '')
  const keptAs = there ? `${DB_NAME}.before-${stamp}` : undefined
  const { segments, files, ...facts } = judged.value
  const inFolder = segmentsIn(join(dataDir, 'groups'))
  const report: RestoreReport = {
    dryRun,
    ...facts,
    files: files.map(({ name }) => name),
    ...(keptAs === undefined ? {} : { keptAs }),
    missing: segments.filter((name) => !inFolder.includes(name)),
    unknown: inFolder.filter((name) => !segments.includes(name)),
  }
  if (dryRun) return ok(report)
  const staged = stage(request, `${DB_NAME}.before-${stamp}`, report)
  if (!staged.ok) return staged
  renameSync(join(dataDir, STAGED.writing), join(dataDir, STAGED.ready))
  syncPath(dataDir)
  finishRestore(dataDir)
  return ok(report)
}

/** Is it ours, is it whole, can this wimcast read it? */
function judge(file: string): Result<Judged> {
  const stat = statSync(file, { throwIfNoEntry: false })
  if (!stat) return refuse('not-found', `there is no file "${file}"`, 'Check the path.')
  if (!stat.isFile()) return refuse('bad-path', `"${file}" is not a regular file`, 'Name a backup.')
  try {
    if (!beginsWith(file, MAGIC)) return bad(`"${file}" is not a backup of wimcast`)
    using sqlite = new Database(file, { readonly: true, strict: true })
    sqlite.run('PRAGMA trusted_schema = OFF')
    return judgeOpen(sqlite, file)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (code.startsWith('SQLITE_') && !code.startsWith('SQLITE_IOERR'))
      return bad(`"${file}" is damaged or cut short: ${error instanceof Error ? error.message : ''}`)
    return refuse('unreadable', `"${file}" cannot be read: ${error instanceof Error ? error.message : ''}`, 'Check it.')
  }
}

function beginsWith(file: string, magic: string): boolean {
  const head = Buffer.alloc(magic.length)
  const fd = openSync(file, 'r')
  try {
    return readSync(fd, head, 0, head.length, 0) === head.length && head.toString('latin1') === magic
  } finally {
    closeSync(fd)
  }
}

function judgeOpen(sqlite: Database, file: string): Result<Judged> {
  const id = sqlite.query<{ application_id: number }, []>('PRAGMA application_id').get()?.application_id
  const objects = sqlite.query<{ type: string; name: string }, []>('SELECT type, name FROM sqlite_schema').all()
  const names = new Set(objects.map(({ name }) => name))
  const needed = [
    'backup_facts',
    'backup_files',
    '__drizzle_migrations',
    'segments',
    'image_groups',
    'install_images',
    'audit',
  ]
  if (id !== APPLICATION_ID || needed.some((name) => !names.has(name)))
    return bad(
      `"${file}" is a database, but no backup of wimcast`,
      'A plain copy of wimcast.db is none: make one with wimcast backup create.',
    )
  // None of ours has one, and they would run inside the appliance.
  if (objects.some(({ type }) => type === 'trigger' || type === 'view')) return bad(`"${file}" holds triggers or views`)
  const facts = new Map(
    sqlite
      .query<{ key: string; value: string }, []>('SELECT key, value FROM backup_facts')
      .all()
      .map(({ key, value }) => [key, String(value)]),
  )
  const schema = sqlite.query<{ at: number }, []>('SELECT max(created_at) AS at FROM __drizzle_migrations').get()?.at
  const format = Number(facts.get('format'))
  const madeAtMs = Number(facts.get('madeAtMs'))
  const wimcast = facts.get('wimcast') ?? ''
  if (format > FORMAT || Number(schema) > newestMigration())
    return bad(`"${file}" was made by a newer wimcast (${wimcast})`, 'Restore it with that version, or a later one.')
  if (format !== FORMAT || !Number.isSafeInteger(madeAtMs)) return bad(`"${file}" does not say what it is`)
  const wrong = sqlite.query<{ integrity_check: string }, []>('PRAGMA integrity_check').get()?.integrity_check
  if (wrong !== 'ok') return bad(`"${file}" is damaged: ${wrong}`)
  const files = sqlite
    .query<{ name: string; mode: number; length: number }, []>(
      'SELECT name, mode, length(bytes) AS length FROM backup_files ORDER BY name',
    )
    .all()
  const outside = files.find(({ name, mode, length }) => !mayKeep(name) || !isMode(mode) || length > MAX_FILE_BYTES)
  if (outside) return bad(`"${file}" holds a file that is none of a backup: ${JSON.stringify(outside.name)}`)
  if (files.length > MAX_FILES) return bad(`"${file}" holds ${files.length} files`)
  const count = (table: string): number =>
    sqlite.query<{ n: number }, []>(`SELECT count(*) AS n FROM ${table}`).get()?.n ?? 0
  const segments = sqlite
    .query<{ name: string }, []>(`SELECT group_id || '/' || file_name AS name FROM segments ORDER BY group_id, id`)
    .all()
  return ok({
    madeAtMs,
    wimcast,
    files: files.map(({ name, mode }) => ({ name, mode })),
    segments: segments.map(({ name }) => name),
    groups: count('image_groups'),
    images: count('install_images'),
  })
}

const isMode = (mode: number): boolean => Number.isInteger(mode) && mode >= 0 && mode <= 0o777

/** A path that leads to a small file of the data directory, and nowhere else. */
function mayKeep(name: unknown): boolean {
  if (typeof name !== 'string' || name.includes('\0') || name.length > 1000) return false
  const parts = name.split('/')
  return !parts.some((part) => part === '' || part === '.' || part === '..') && !NOT_KEPT.test(parts[0] ?? '')
}

function segmentsIn(groupsDir: string): string[] {
  if (!existsSync(groupsDir)) return []
  return readdirSync(groupsDir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap(({ name }) => readdirSync(join(groupsDir, name)).map((file) => `${name}/${file}`))
    .filter((name) => name.endsWith('.wim'))
    .sort()
}

/** All of it on disk, in a folder that counts for nothing yet. */
function stage({ file, dataDir, nowMs }: RestoreRequest, before: string, report: RestoreReport): Result<void> {
  const dir = join(dataDir, STAGED.writing)
  try {
    const { bavail, bsize } = statfsSync(dataDir)
    const needed = statSync(file).size
    if (bavail * bsize < needed)
      return refuse('no-space', `the restore needs ${formatBytes(needed)}`, 'Make room in the data directory.')
    mkdirSync(dir, { mode: 0o700 })
    const path = join(dir, DB_NAME)
    copyFileSync(file, path)
    {
      using db = new Database(path, { readwrite: true, strict: true })
      // What was a backup's shall not be found in the free pages of the database: keys are among it.
      db.run('PRAGMA secure_delete = ON')
      db.run('PRAGMA journal_mode = MEMORY')
      writeFiles(db, dir)
      db.transaction(() => {
        db.run('DROP TABLE backup_files')
        db.run('DROP TABLE backup_facts')
        db.query('INSERT INTO audit (at_ms, who, verb, subject, after) VALUES (?, ?, ?, ?, ?)').run(
          nowMs,
          'local',
          'backup.restore',
          new Date(report.madeAtMs).toISOString(),
          JSON.stringify({ wimcast: report.wimcast, images: report.images, keptAs: report.keptAs ?? null }),
        )
      })()
      db.run('PRAGMA application_id = 0')
    }
    writeWhole(join(dir, STAGED.before), Buffer.from(before), 0o600)
    syncWhole(path)
    const owner = statSync(dataDir)
    const isRoot = process.getuid?.() === 0
    if (isRoot) chownSync(dir, owner.uid, owner.gid)
    for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
      const staged = join(entry.parentPath, entry.name)
      // Root restores for the service, which must be able to read it.
      if (isRoot) chownSync(staged, owner.uid, owner.gid)
      if (entry.isDirectory()) syncPath(staged)
    }
    syncPath(dir)
    return ok(undefined)
  } catch (error) {
    rmSync(dir, { recursive: true, force: true })
    if (isDiskFull(error)) return refuse('no-space', 'the disk is full', 'Make room in the data directory.')
    throw error
  }
}

function writeFiles(db: Database, dir: string): void {
  const rows = db.query<{ name: string; mode: number; bytes: Uint8Array }, []>('SELECT * FROM backup_files').all()
  for (const { name, mode, bytes } of rows) {
    if (!mayKeep(name)) throw new Error(`the backup has changed since it was looked at: ${JSON.stringify(name)}`)
    const path = join(dir, STAGED.files, name)
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeWhole(path, Buffer.from(bytes), mode & 0o777)
  }
}

function writeWhole(path: string, bytes: Uint8Array, mode: number): void {
  const fd = openSync(path, 'wx', mode)
  try {
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function syncWhole(path: string): void {
  const fd = openSync(path, 'r+')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
