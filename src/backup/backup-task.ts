/**
 * What a backup does in the child process: a consistent copy of the database beside the appliance that writes to it,
 * made fit for another day, and the small files of the data directory in it.
 */
import { Database } from 'bun:sqlite'
import { closeSync, fsyncSync, lstatSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { diskFull, isDiskFull } from '../base/disk-full.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { DB_NAME } from '../db/restored.ts'
import type { ChildReport, ChildTask } from '../jobs/child.ts'
import { APPLICATION_ID, FORMAT, MAX_FILE_BYTES, MAX_FILES, NOT_KEPT } from './format.ts'

export type BackupInput = {
  readonly dataDir: string
  /** A file that is not there yet. */
  readonly to: string
  readonly version: string
  readonly madeAtMs: number
  readonly schema: number
}
export type BackupOutput = { readonly sizeBytes: number; readonly files: number }

export const backupTask: ChildTask<BackupInput, BackupOutput> = { name: 'backup', run: runBackup }

async function runBackup(input: BackupInput, report: ChildReport): Promise<Result<BackupOutput>> {
  try {
    return backUp(input, report)
  } catch (error) {
    if (isDiskFull(error)) return diskFull()
    throw error
  }
}

function backUp(input: BackupInput, report: ChildReport): Result<BackupOutput> {
  report.step('copy the database')
  // Made first, because it holds secrets: SQLite would make it by the umask.
  writeFileSync(input.to, '', { mode: 0o600, flag: 'wx' })
  {
    using live = new Database(join(input.dataDir, DB_NAME), { readonly: true, strict: true })
    live.run('PRAGMA busy_timeout = 5000')
    live.query('VACUUM INTO ?').run(input.to)
  }
  report.step('add the files')
  let files = 0
  {
    using copy = new Database(input.to, { readwrite: true, strict: true })
    copy.run('PRAGMA journal_mode = MEMORY')
    copy.run('PRAGMA synchronous = OFF')
    copy.transaction(() => {
      settle(copy, input.madeAtMs)
      files = addFiles(copy, input)
    })()
    copy.run(`PRAGMA application_id = ${APPLICATION_ID}`)
    report.step('check')
    const wrong = copy
      .query<{ integrity_check: string }, []>('PRAGMA integrity_check')
      .all()
      .map((row) => row.integrity_check)
      .filter((line) => line !== 'ok')
    if (wrong.length > 0)
      return refuse('corrupt', `the database is damaged: ${wrong[0]}`, 'Restore it from an earlier backup.')
  }
  const fd = openSync(input.to, 'r')
  fsyncSync(fd)
  closeSync(fd)
  return ok({ sizeBytes: statSync(input.to).size, files })
}

/**
 * What was going on is over by the day of a restore. A file that is doomed now may hold images by then, because an
 * import names its file here before it publishes it; and a transmission must not send under its old keys again.
 */
function settle(copy: Database, nowMs: number): void {
  copy.run('DELETE FROM doomed_files')
  copy.run("DELETE FROM jobs WHERE state IN ('queued', 'running')")
  copy.run('DELETE FROM segment_leases')
  copy
    .query(
      `UPDATE transmissions SET open = 0, content_id = NULL, home_segment_id = NULL, home_index = NULL, session = NULL,
        ended_at_ms = coalesce(ended_at_ms, ?), reason = coalesce(reason, 'restored from a backup')`,
    )
    .run(nowMs)
}

function addFiles(copy: Database, { dataDir, version, madeAtMs, schema }: BackupInput): number {
  copy.run('CREATE TABLE backup_facts (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)')
  copy.run('CREATE TABLE backup_files (name TEXT PRIMARY KEY NOT NULL, mode INTEGER NOT NULL, bytes BLOB NOT NULL)')
  const fact = copy.query('INSERT INTO backup_facts VALUES (?, ?)')
  for (const [key, value] of Object.entries({ format: FORMAT, wimcast: version, madeAtMs, schema }))
    fact.run(key, String(value))
  const file = copy.query('INSERT INTO backup_files VALUES (?, ?, ?)')
  const names = smallFiles(dataDir)
  for (const name of names) {
    const path = join(dataDir, name)
    file.run(name, lstatSync(path).mode & 0o777, readFileSync(path))
  }
  return names.length
}

/** Relative paths of regular files; links lead elsewhere, and what is large is none of ours. */
function smallFiles(dataDir: string): string[] {
  const names: string[] = []
  const walk = (below: string): void => {
    for (const entry of readdirSync(join(dataDir, below), { withFileTypes: true })) {
      const name = below === '' ? entry.name : `${below}/${entry.name}`
      if (NOT_KEPT.test(name)) continue
      if (entry.isDirectory()) walk(name)
      else if (entry.isFile() && lstatSync(join(dataDir, name)).size <= MAX_FILE_BYTES) names.push(name)
    }
  }
  walk('')
  return names.sort().slice(0, MAX_FILES)
}
