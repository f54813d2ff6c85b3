import { z } from '@hono/zod-openapi'
import type { Jobs } from '../jobs/jobs.ts'
import { idOf, json, router, secured, unwrap } from './door.ts'
import { JobSchema } from './schemas.ts'
import { showJob } from './show.ts'

const numbered = { params: z.object({ id: z.string() }) }

export function jobRoutes({ jobs }: { readonly jobs: Jobs }) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/jobs',
        summary: 'Jobs',
        responses: { 200: json(z.array(JobSchema), 'Newest first.') },
      }),
      (c) => c.json(jobs.list().map(showJob), 200),
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/jobs/{id}',
        summary: 'One job',
        request: numbered,
        responses: { 200: json(JobSchema, 'The job.') },
      }),
      (c) => c.json(showJob(unwrap(jobs.show(idOf(c.req.valid('param').id)))), 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/jobs/{id}/cancel',
        summary: 'Cancel a job',
        request: numbered,
        responses: { 202: json(JobSchema, 'It will end soon.') },
      }),
      (c) => c.json(showJob(unwrap(jobs.cancel(idOf(c.req.valid('param').id)))), 202),
    )
}
