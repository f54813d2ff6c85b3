/**
 * A restore is staged in one folder, and that folder's name is the commit: from the rename to `restore/` on, the
 * restored database and files are the data, and whoever opens the directory next moves them to their places. A stop in
 * between leaves all of the old or all of the new.
 */
import {
  chownSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

export const DB_NAME = 'wimcast.db'

/** What a folder with a restore in it holds: the database, the other files below `files/`, and `before`. */
export const STAGED = {
  /** While it is being written; of no worth. */
  writing: 'restore.new',
  /** Whole. */
  ready: 'restore',
  files: 'files',
  /** Text: what the replaced database is called. */
  before: 'before',
} as const

export function syncPath(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Moves a staged restore to its places, or goes on with that. The data directory must be held. */
export function finishRestore(dataDir: string): void {
  rmSync(join(dataDir, STAGED.writing), { recursive: true, force: true })
  const staged = join(dataDir, STAGED.ready)
  if (!existsSync(staged)) return
  const owner = statSync(dataDir)
  const files = join(staged, STAGED.files)
  const names = existsSync(files) ? readdirSync(files, { recursive: true, withFileTypes: true }) : []
  for (const entry of names) {
    if (!entry.isFile()) continue
    const from = join(entry.parentPath, entry.name)
    const to = join(dataDir, from.slice(files.length + 1))
    // Root restores for the service, which must be able to go in.
    const made = mkdirSync(dirname(to), { recursive: true, mode: 0o700 })
    if (made !== undefined && process.getuid?.() === 0) chownSync(dirname(to), owner.uid, owner.gid)
    renameSync(from, to)
    syncPath(dirname(to))
  }
  const path = join(dataDir, DB_NAME)
  const db = join(staged, DB_NAME)
  if (existsSync(db)) {
    // The old one with its log; a log that stayed behind would be read into the new one.
    const before = join(dataDir, readFileSync(join(staged, STAGED.before), 'utf8'))
    if (existsSync(path)) renameSync(path, before)
    if (existsSync(`${path}-wal`)) renameSync(`${path}-wal`, `${before}-wal`)
    rmSync(`${path}-shm`, { force: true })
    syncPath(dataDir)
    renameSync(db, path)
    syncPath(dataDir)
  }
  rmSync(staged, { recursive: true, force: true })
  syncPath(dataDir)
}
