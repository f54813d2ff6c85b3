/**
 * Opens the database: one SQLite file, write-ahead log, `synchronous=FULL` (a commit that was answered survives a power
 * cut), foreign keys on. After an unclean stop the file is checked before anything is served from it.
 */
import { Database } from 'bun:sqlite'
import { chmodSync, chownSync, closeSync, constants, existsSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type BunSQLiteDatabase, drizzle } from 'drizzle-orm/bun-sqlite'
import { migrate } from 'drizzle-orm/bun-sqlite/migrator'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import { c } from '../../ffi/libc/symbols.ts'
import { Fault } from '../base/refusal.ts'
import { DB_NAME, finishRestore } from './restored.ts'
import * as schema from './schema.ts'

export type Db = BunSQLiteDatabase<typeof schema>

export type OpenDb = Disposable & {
  readonly db: Db
  /** The last stop was not clean: a crash, a kill, or a power cut. */
  readonly afterCrash: boolean
}

/** Compiled, the migrations lie at the root of the executable's own file system; from source, in this folder. */
const MIGRATIONS = Bun.isStandaloneExecutable ? '/$bunfs/root/migrations' : join(import.meta.dir, 'migrations')

function checkIntegrity(sqlite: Database, path: string): void {
  const rows = sqlite.query<{ integrity_check: string }, []>('PRAGMA integrity_check').all()
  const wrong = rows.map((row) => row.integrity_check).filter((line) => line !== 'ok')
  if (wrong.length > 0)
    throw new Fault(`the database is damaged: ${wrong.slice(0, 3).join('; ')}`, {
      hint: `Restore ${path} from a backup. The image data in groups/ is not touched by this.`,
    })
}

/** LOCK_EX | LOCK_NB of flock(2). */
const LOCK_EXCLUSIVE_NOW = 2 | 4

/** The marker says "running" while it exists, and its lock says that whoever runs is still alive. */
function lockMarker(marker: string): number {
  const fd = openSync(marker, constants.O_CREAT | constants.O_RDWR, 0o640)
  if (c.flock(fd, LOCK_EXCLUSIVE_NOW) === 0) return fd
  closeSync(fd)
  throw new Fault('another wimcast runs on this data directory', {
    hint: 'Stop it first, or name another directory with --data.',
  })
}

const fileOf = (dataDir: string): string => join(dataDir, DB_NAME)

/** The time of the newest migration that this program knows: a database with a newer one is of a newer wimcast. */
export function newestMigration(): number {
  return Math.max(...readMigrationFiles({ migrationsFolder: MIGRATIONS }).map(({ folderMillis }) => folderMillis))
}

/** Keeps every other wimcast off the data directory, without opening a database. */
export function holdDataDir(dataDir: string): Disposable {
  const marker = join(dataDir, 'running')
  const wasThere = existsSync(marker)
  const lock = lockMarker(marker)
  const { uid, gid } = statSync(dataDir)
  // Root works here for the service, which must be able to take the marker over after a crash.
  if (process.getuid?.() === 0) chownSync(marker, uid, gid)
  return {
    [Symbol.dispose]: () => {
      // One that a crash left says so to the next start.
      if (!wasThere) rmSync(marker, { force: true })
      closeSync(lock)
    },
  }
}

/** For a job's child beside the appliance that has the database open: reads what is committed, and writes nothing. */
export function openDbBeside(dataDir: string): Disposable & { readonly db: Db } {
  const sqlite = new Database(fileOf(dataDir), { readonly: true, strict: true })
  sqlite.run('PRAGMA busy_timeout = 5000')
  return { db: drizzle(sqlite, { schema }), [Symbol.dispose]: () => sqlite.close() }
}

export function openDb(dataDir: string): OpenDb {
  mkdirSync(dataDir, { recursive: true, mode: 0o750 })
  const path = fileOf(dataDir)
  const marker = join(dataDir, 'running')
  const afterCrash = existsSync(marker)
  const lock = lockMarker(marker)
  finishRestore(dataDir)
  const sqlite = new Database(path, { create: true, strict: true })
  // It holds answer files, and with them passwords; SQLite gives its log the same mode.
  chmodSync(path, 0o640)
  sqlite.run('PRAGMA journal_mode = WAL')
  sqlite.run('PRAGMA synchronous = FULL')
  sqlite.run('PRAGMA foreign_keys = ON')
  sqlite.run('PRAGMA busy_timeout = 5000')
  if (afterCrash) checkIntegrity(sqlite, path)
  const db = drizzle(sqlite, { schema })
  migrate(db, { migrationsFolder: MIGRATIONS })
  return {
    db,
    afterCrash,
    [Symbol.dispose]: () => {
      try {
        sqlite.run('PRAGMA wal_checkpoint(TRUNCATE)')
      } catch {
        // A full disk: the log stays beside the database, and the next start reads it. Nothing is lost by it.
      } finally {
        sqlite.close()
        rmSync(marker, { force: true })
        closeSync(lock)
      }
    },
  }
}
