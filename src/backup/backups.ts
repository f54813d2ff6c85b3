/** Backups of everything but the segments, made while the appliance runs, and kept in `<data>/backups/`. */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { By, Changes } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import type { Content } from '../base/content.ts'
import { isDiskFull, RESERVE_BYTES } from '../base/disk-full.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import { fileContent } from '../content/file.ts'
import { newestMigration } from '../db/open.ts'
import { DB_NAME, syncPath } from '../db/restored.ts'
import { runChild, type SelfCommand } from '../jobs/child.ts'
import type { Job, JobContext, Jobs } from '../jobs/jobs.ts'
import { type BackupInput, type BackupOutput, backupTask } from './backup-task.ts'
import { BACKUPS, nameAt, timeOf } from './format.ts'

export type Backup = { readonly name: string; readonly sizeBytes: number; readonly madeAtMs: number }

export type Backups = {
  /** A job whose result is a `Backup`; of a dry run, what it would take at most. */
  readonly create: (by: By) => Job
  /** Newest first. */
  readonly list: () => Backup[]
  readonly content: (name: string) => Promise<Result<Content>>
  readonly remove: (name: string, by: By) => Result<Backup>
}

export type BackupDeps = {
  readonly dataDir: string
  readonly jobs: Pick<Jobs, 'start'>
  readonly changes: Changes
  readonly clock: Clock
  readonly self: SelfCommand
  /** Of this wimcast. */
  readonly version: string
}

/** How often the growth of the copy is looked at. */
const PROGRESS_MS = 500

export function openBackups({ dataDir, jobs, changes, clock, self, version }: BackupDeps): Backups {
  const dir = join(dataDir, BACKUPS)

  function list(): Backup[] {
    const names = existsSync(dir) ? readdirSync(dir) : []
    return names
      .flatMap((name) => {
        const madeAtMs = timeOf(name)
        const file = statSync(join(dir, name), { throwIfNoEntry: false })
        return madeAtMs === undefined || !file?.isFile() ? [] : [{ name, sizeBytes: file.size, madeAtMs }]
      })
      .sort((a, b) => b.madeAtMs - a.madeAtMs || b.name.localeCompare(a.name))
  }

  function find(name: string): Result<Backup> {
    const found = list().find((backup) => backup.name === name)
    return found ? ok(found) : refuse('not-found', `there is no backup "${name}"`, 'List them: wimcast backup list.')
  }

  /** What the copy takes at most, when the disk has room for it. */
  function room(): Result<number> {
    const sizeOf = (name: string): number => statSync(join(dataDir, name), { throwIfNoEntry: false })?.size ?? 0
    const needed = sizeOf(DB_NAME) + sizeOf(`${DB_NAME}-wal`)
    const { bavail, bsize } = statfsSync(dataDir)
    const free = bavail * bsize
    if (free >= needed + RESERVE_BYTES) return ok(needed)
    return refuse(
      'no-space',
      `the backup needs about ${formatBytes(needed)}, ${formatBytes(free)} are free`,
      'Remove backups that are not needed: wimcast backup list.',
      { neededBytes: needed, freeBytes: free },
    )
  }

  async function run(by: By, context: JobContext): Promise<Result<Readonly<Record<string, unknown>>>> {
    const needed = room()
    if (!needed.ok) return needed
    if (by.dryRun) return ok({ dryRun: true, sizeBytes: needed.value })
    const part = join(context.dir, 'backup')
    // Names tell seconds.
    const madeAtMs = Math.floor(clock.nowMs() / 1000) * 1000
    const timer = setInterval(() => {
      const size = statSync(part, { throwIfNoEntry: false })?.size ?? 0
      context.progress(Math.min(size, needed.value), needed.value)
    }, PROGRESS_MS)
    const made = await runChild<BackupInput, BackupOutput>(
      backupTask,
      { dataDir, to: part, version, madeAtMs, schema: newestMigration() },
      { self, signal: context.signal, step: context.step, progress: context.progress },
    ).finally(() => clearInterval(timer))
    if (!made.ok) return made
    if (context.signal.aborted) return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
    return publish(part, { name: '', madeAtMs, sizeBytes: made.value.sizeBytes }, { ...by, jobId: context.id }, context)
  }

  /** First the name, then the line in the audit log: a stop between the two leaves a backup that is whole. */
  function publish(
    part: string,
    backup: Backup,
    by: By,
    context: JobContext,
  ): Result<Readonly<Record<string, unknown>>> {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    let n = 1
    while (existsSync(join(dir, nameAt(backup.madeAtMs, n)))) n += 1
    const made = { ...backup, name: nameAt(backup.madeAtMs, n) }
    const path = join(dir, made.name)
    renameSync(part, path)
    syncPath(dir)
    try {
      return changes.apply(by, () => {
        context.committed(made)
        const entry = { verb: 'backup.create', subject: made.name, after: { sizeBytes: made.sizeBytes } }
        return ok({ value: made, entries: [entry] })
      })
    } catch (error) {
      // Otherwise the commit may have come to the disk all the same.
      if (isDiskFull(error)) rmSync(path, { force: true })
      throw error
    }
  }

  return {
    list,
    create: (by) =>
      jobs.start({
        kind: 'backup.create',
        title: `back up everything but the images${by.dryRun ? ' (dry run)' : ''}`,
        who: by.who,
        lane: 'backup',
        run: (context) => run(by, context),
      }),
    content: async (name) => {
      const found = find(name)
      return found.ok ? fileContent(join(dir, name), { fileName: name }) : found
    },
    remove: (name, by) =>
      changes.apply(by, () => {
        const found = find(name)
        if (!found.ok) return found
        const { sizeBytes } = found.value
        return ok({
          value: found.value,
          entries: [{ verb: 'backup.remove', subject: name, before: { sizeBytes } }],
          afterwards: () => {
            rmSync(join(dir, name), { force: true })
            syncPath(dir)
          },
        })
      }),
  }
}
