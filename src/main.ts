/** argv -> command -> exit code. */
import { CHILD_COMMAND, serveChild } from './jobs/child.ts'

const argv = process.argv.slice(2)

// Loaded when needed: a job's child starts in half the time without API, page and command line.
if (argv[0] === CHILD_COMMAND) {
  const { backupTask } = await import('./backup/backup-task.ts')
  const { compactTask } = await import('./library/store/compact-task.ts')
  const { exportTask } = await import('./library/transfer/export-task.ts')
  const { importTask } = await import('./library/transfer/import-task.ts')
  const { readSegmentsTask } = await import('./library/rebuild/rebuild-task.ts')
  const { repairTask } = await import('./library/health/repair-task.ts')
  const { scrubTask } = await import('./library/health/scrub-task.ts')
  process.exitCode = await serveChild([
    importTask,
    exportTask,
    compactTask,
    scrubTask,
    repairTask,
    readSegmentsTask,
    backupTask,
  ])
} else {
  const { runCli } = await import('./cli/run.ts')
  process.exitCode = await runCli(argv)
}
