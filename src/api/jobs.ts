import { z } from '@hono/zod-openapi'
import type { Changes } from '../audit/changes.ts'
import { nameOf, type Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Job, Jobs } from '../jobs/jobs.ts'
import type { Library } from '../library/library.ts'
import { byOf, DryRunSchema, idOf, json, router, secured, unwrap } from './door.ts'
import { JobSchema } from './schemas.ts'
import { showJob } from './show.ts'

const params = z.object({ id: z.string() })

const TOLD = 200
const LOOKED_AT = 1000

/**
 * A job of a group is hidden from whoever may not see the group. Of a group that holds images that are limited to others,
 * who did not start the job sees that it is there and how it goes, but no title and no result: they name images.
 */
export function jobsSeenBy({ jobs, library: { groups } }: Pick<JobDeps, 'jobs' | 'library'>) {
  function asSeen(job: Job, who: Principal): Job | undefined {
    const { groupId, error } = job
    if (groupId === null) return job
    if (!groups.maySee(groupId, who)) return undefined
    if (job.startedBy === nameOf(who) || groups.seesAllOf(groupId, who)) return job
    const message = job.state === 'cancelled' ? 'the job was cancelled' : 'the job failed'
    return {
      ...job,
      title: `${job.kind} in ${groups.nameOf(groupId) ?? 'a group'}`,
      error: error && { code: error.code, message, hint: 'Who started it is told why.' },
      result: null,
    }
  }
  return {
    // Looked at are more than are told: others' jobs must not crowd out those that somebody may see.
    list: (who: Principal): Job[] =>
      jobs
        .list(LOOKED_AT)
        .flatMap((job) => asSeen(job, who) ?? [])
        .slice(0, TOLD),
    show: (id: number, who: Principal): Result<Job> => {
      const job = jobs.show(id)
      const seen = job.ok ? asSeen(job.value, who) : undefined
      return seen ? ok(seen) : refuse('not-found', `there is no job ${id}`, 'List them: wimcast job list.')
    },
  }
}

type JobDeps = {
  readonly jobs: Jobs
  readonly library: { readonly groups: Pick<Library['groups'], 'maySee' | 'seesAllOf' | 'nameOf'> }
  readonly changes: Changes
}

export function jobRoutes(deps: JobDeps) {
  const { jobs, changes } = deps
  const seen = jobsSeenBy(deps)
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/jobs',
        summary: 'Jobs',
        responses: { 200: json(z.array(JobSchema), 'Newest first.') },
      }),
      (c) => c.json(seen.list(c.get('who')).map(showJob), 200),
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/jobs/{id}',
        summary: 'One job',
        request: { params },
        responses: { 200: json(JobSchema, 'The job.') },
      }),
      (c) => c.json(showJob(unwrap(seen.show(idOf(c.req.valid('param').id), c.get('who')))), 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/jobs/{id}/cancel',
        summary: 'Cancel a job',
        request: { params, query: DryRunSchema },
        responses: { 202: json(JobSchema, 'It will end soon.') },
      }),
      (c) => {
        const by = byOf(c)
        const { id } = unwrap(seen.show(idOf(c.req.valid('param').id), by.who))
        const cancelled = changes.apply(by, () => {
          const job = jobs.show(id)
          if (!job.ok) return job
          const { endedAtMs, state, title } = job.value
          // One that has ended is refused, in a dry run too.
          const result = by.dryRun && endedAtMs === null ? job : jobs.cancel(id)
          if (!result.ok) return result
          return ok({ value: id, entries: [{ verb: 'job.cancel', subject: `job ${id}`, before: { state, title } }] })
        })
        return c.json(showJob(unwrap(seen.show(unwrap(cancelled), by.who))), 202)
      },
    )
}
