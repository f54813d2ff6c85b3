import { Refused } from '../base/refusal.ts'
import { formatBytes } from '../base/units.ts'
import { type ApplianceClient, refusalOf, take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf, parseId } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { facts, safe, table, when } from './print.ts'

export type Job = {
  id: number
  kind: string
  title: string
  state: string
  step: string
  doneBytes: number
  totalBytes: number
  startedBy: string
  createdAtMs: number
  endedAtMs?: number | undefined
  error?: { code: string; message: string; hint: string } | undefined
  result?: Record<string, unknown> | undefined
}

/** Follows a job by the event stream until it has ended; an interrupt cancels the job, as the admin meant. */
export async function follow(
  appliance: ApplianceClient,
  id: number,
  { out, signal }: Pick<Context, 'out' | 'signal'>,
): Promise<Job> {
  const cancel = (): void => {
    appliance.api.jobs[':id'].cancel.$post({ param: { id: String(id) }, query: {} }).catch(() => {})
  }
  signal.addEventListener('abort', cancel, { once: true })
  if (signal.aborted) cancel()
  try {
    const response = await appliance.raw.fetch(`/api/events?job=${id}`)
    if (!response.ok || !response.body) throw new Refused(await refusalOf(response))
    let job: Job | undefined
    for await (const data of eventData(response.body)) {
      job = JSON.parse(data) as Job
      if (job.endedAtMs === undefined) out.progress.show(`${job.title}: ${job.step}`, job.doneBytes, job.totalBytes)
    }
    out.progress.end()
    if (job?.endedAtMs === undefined) job = await take(appliance.api.jobs[':id'].$get({ param: { id: String(id) } }))
    if (job.error) throw new Refused(job.error as Refused['refusal'])
    return job
  } finally {
    signal.removeEventListener('abort', cancel)
  }
}

/** The data of each server-sent event (WHATWG HTML §9.2.6), one line each as our server writes them. */
async function* eventData(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = ''
  const decoder = new TextDecoder()
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.startsWith('data:')) yield line.slice(5).trim()
  }
}

function describe(job: Job): string {
  return facts([
    ['job', String(job.id)],
    ['what', safe(job.title)],
    ['state', job.state],
    ['step', job.endedAtMs === undefined ? job.step : undefined],
    ['progress', job.totalBytes > 0 ? `${formatBytes(job.doneBytes)} of ${formatBytes(job.totalBytes)}` : undefined],
    ['started by', safe(job.startedBy)],
    ['started', when(job.createdAtMs)],
    ['ended', when(job.endedAtMs)],
    ['result', job.result && safe(JSON.stringify(job.result))],
    ['error', job.error && `${job.error.code}: ${safe(job.error.message)}`],
    ['hint', job.error && safe(job.error.hint)],
  ])
}

export const jobCommands: readonly Command[] = [
  {
    words: 'job list',
    operands: [],
    doc: 'list jobs, newest first',
    options: {},
    run: async ({ appliance, out }) => {
      const jobs = await take(appliance.api.jobs.$get())
      const rows = jobs.map((job) => [
        String(job.id),
        job.state,
        safe(job.title),
        job.endedAtMs === undefined ? job.step : (job.error?.code ?? ''),
        when(job.createdAtMs),
        safe(job.startedBy),
      ])
      out.result(
        jobs,
        table(
          [
            { title: 'ID', right: true },
            { title: 'STATE' },
            { title: 'WHAT' },
            { title: 'STEP' },
            { title: 'STARTED' },
            { title: 'BY' },
          ],
          rows,
        ),
      )
    },
  },
  {
    words: 'job show',
    operands: ['ID'],
    doc: 'show one',
    options: {},
    run: async ({ appliance, args, out }) => {
      const job = await take(
        appliance.api.jobs[':id'].$get({ param: { id: String(must(parseId('job', args.operands[0]))) } }),
      )
      out.result(job, describe(job))
    },
  },
  {
    words: 'job cancel',
    operands: ['ID'],
    doc: 'cancel one',
    options: DRY_RUN,
    run: async ({ appliance, args, out }) => {
      const job = await take(
        appliance.api.jobs[':id'].cancel.$post({
          param: { id: String(must(parseId('job', args.operands[0]))) },
          query: dryRunOf(args),
        }),
      )
      out.result(job, `cancelling job ${job.id}`)
    },
  },
]
