import { z } from '@hono/zod-openapi'
import type { By } from '../audit/changes.ts'
import type { Result } from '../base/result.ts'
import type { Job } from '../jobs/jobs.ts'
import type { CompactOptions } from '../library/store/compact.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import { JobSchema } from './schemas.ts'
import { showJob } from './show.ts'

export const NewCompactionSchema = z
  .object({
    all: z.boolean().optional().openapi({ description: 'Every segment that holds anything dead is written anew.' }),
    atPercent: z
      .number()
      .min(0)
      .max(100)
      .optional()
      .openapi({ description: 'Segments of which so many percent are dead are written anew; 1 unless given.' }),
  })
  .strict()
  .openapi('NewCompaction')

export type CompactGroup = (group: string, options: CompactOptions, by: By) => Result<Job>

export function compactionRoutes({
  library,
}: {
  readonly library: { readonly groups: { readonly compact: CompactGroup } }
}) {
  return router().openapi(
    secured('operator', {
      method: 'post',
      path: '/groups/{name}/compactions',
      summary: 'Give back the space of what is no longer needed',
      request: { params: z.object({ name: z.string() }), query: DryRunSchema, ...body(NewCompactionSchema) },
      responses: {
        202: json(JobSchema, 'The job; its result says what was given back, or would be.'),
      },
    }),
    (c) =>
      c.json(showJob(unwrap(library.groups.compact(c.req.valid('param').name, c.req.valid('json'), byOf(c)))), 202),
  )
}
