/**
 * Long calls into libwim run in a child process of the same executable: a crash in C ends a job, not the appliance;
 * cancel is a signal; what the child opened and mapped goes with it.
 *
 * The parent starts `wimcast job-child` and sends one request; the child answers with steps, progress and one result.
 */
import { writeFileSync } from 'node:fs'
import { c } from '../../ffi/libc/symbols.ts'
import { reasonOf } from '../base/log.ts'
import { Fault, refuse } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'

export type ChildReport = {
  readonly step: (name: string) => void
  readonly progress: (doneBytes: number, totalBytes: number) => void
}

/** Input and output pass between the processes by structured clone: plain data and typed arrays. */
export type ChildTask<Input, Output> = {
  readonly name: string
  readonly run: (input: Input, report: ChildReport) => Promise<Result<Output>>
}

type Request = { readonly task: string; readonly input: unknown }
type Answer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'step'; readonly name: string }
  | { readonly kind: 'progress'; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly kind: 'result'; readonly result: Result<unknown> }
  | { readonly kind: 'fault'; readonly message: string; readonly hint: string | undefined }

/** The command line that starts this program again, e.g. `['/usr/bin/wimcast']`. */
export type SelfCommand = readonly string[]

export const CHILD_COMMAND = 'job-child'

const PR_SET_PDEATHSIG = 1
const SIGKILL = 9

/** The child's side: waits for the one request, runs it, answers, ends. */
export async function serveChild(tasks: readonly ChildTask<never, unknown>[]): Promise<number> {
  // A parent that is killed can't tell its children: the kernel does (prctl(2)).
  c.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
  // A hostile file that eats the memory shall cost this process, not the appliance (proc_pid_oom_score_adj(5)).
  writeFileSync('/proc/self/oom_score_adj', '1000')
  const send = (answer: Answer): void => {
    process.send?.(answer)
  }
  if (!process.send) {
    process.stderr.write('wimcast job-child is started by the appliance itself, not by hand\n')
    return 2
  }
  // A terminal's Ctrl-C and a unit's stop reach the whole group: the parent decides what becomes of the job.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})
  const orphaned = (): never => process.exit(1)
  process.once('disconnect', orphaned)
  // The channel keeps the event loop alive: without this the child would never end.
  const hangUp = (): void => {
    process.off('disconnect', orphaned)
    process.disconnect?.()
  }
  const request = await new Promise<Request>((resolve) => {
    process.once('message', (message) => resolve(message as Request))
    send({ kind: 'ready' })
  })
  const task = tasks.find((known) => known.name === request.task)
  if (!task) {
    send({ kind: 'fault', message: `no task is named "${request.task}"`, hint: undefined })
    hangUp()
    return 1
  }
  try {
    const result = await task.run(request.input as never, {
      step: (name) => send({ kind: 'step', name }),
      progress: (doneBytes, totalBytes) => send({ kind: 'progress', doneBytes, totalBytes }),
    })
    await new Promise<void>((resolve) =>
      process.send?.({ kind: 'result', result } satisfies Answer, undefined, undefined, () => resolve()),
    )
    return 0
  } catch (error) {
    if (error instanceof Fault) send({ kind: 'fault', message: reasonOf(error), hint: error.hint })
    else
      send({
        kind: 'fault',
        message: error instanceof Error ? (error.stack ?? error.message) : String(error),
        hint: undefined,
      })
    return 1
  } finally {
    hangUp()
  }
}

export type ChildOptions = ChildReport & { readonly self: SelfCommand; readonly signal: AbortSignal }

/** The parent's side. A child that dies without an answer is the refusal `child-died`; an aborted signal kills it. */
export async function runChild<Input, Output>(
  task: Pick<ChildTask<Input, Output>, 'name'>,
  input: Input,
  options: ChildOptions,
): Promise<Result<Output>> {
  if (options.signal.aborted) return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
  let result: Result<Output> | undefined
  let fault: Extract<Answer, { kind: 'fault' }> | undefined
  const child = Bun.spawn([...options.self, CHILD_COMMAND], {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'inherit',
    serialization: 'advanced',
    ipc: (answer: Answer, process) => {
      switch (answer.kind) {
        case 'ready':
          process.send({ task: task.name, input } satisfies Request)
          return
        case 'step':
          options.step(answer.name)
          return
        case 'progress':
          options.progress(answer.doneBytes, answer.totalBytes)
          return
        case 'result':
          result = answer.result as Result<Output>
          return
        case 'fault':
          fault = answer
          return
      }
    },
  })
  const kill = (): void => child.kill('SIGKILL')
  options.signal.addEventListener('abort', kill, { once: true })
  try {
    await child.exited
  } finally {
    options.signal.removeEventListener('abort', kill)
  }
  if (result) return result
  if (options.signal.aborted) return refuse('cancelled', 'the job was cancelled', 'Start it again when you want it.')
  if (fault?.hint !== undefined) throw new Fault(fault.message, { hint: fault.hint })
  if (fault !== undefined) throw new Error(`the worker process met a fault: ${fault.message}`)
  return refuse(
    'child-died',
    `the worker process ended without an answer (${child.signalCode ?? `exit code ${child.exitCode}`})`,
    'The file may be damaged in a way that libwim does not survive. Check it with wimlib-imagex verify; see the log.',
  )
}
