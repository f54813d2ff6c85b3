/** argv -> command -> exit code. */
import { CHILD_COMMAND, serveChild } from './jobs/child.ts'

const argv = process.argv.slice(2)

// Loaded when needed: a job's child starts in half the time without API, page and command line.
if (argv[0] === CHILD_COMMAND) {
  const { importTask } = await import('./library/import-task.ts')
  process.exitCode = await serveChild([importTask])
} else {
  const { runCli } = await import('./cli/run.ts')
  process.exitCode = await runCli(argv)
}
