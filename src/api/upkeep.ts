/** How the library is: checks, repairs, and what sharing saves. */
import { z } from '@hono/zod-openapi'
import type { Repairs } from '../library/health/repair.ts'
import type { Scrubs } from '../library/health/scrub.ts'
import type { Sharing } from '../library/health/sharing.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import type { ImportSource, WantedSource } from './imports.ts'
import { HealthSchema, JobSchema, RepairSchema, ScrubSchema, SharingSchema } from './schemas.ts'
import { showJob } from './show.ts'

type HealthJson = z.infer<typeof HealthSchema>
type SharingJson = z.infer<typeof SharingSchema>

export type UpkeepDeps = { readonly library: { readonly scrubs: Scrubs; readonly sharing: Sharing } }

export function upkeepRoutes({ library: { scrubs, sharing } }: UpkeepDeps) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/library/health',
        summary: 'When the library was checked, and what is damaged',
        responses: { 200: json(HealthSchema, 'By group.') },
      }),
      async (c) => c.json((await scrubs.health(c.get('who'))) as HealthJson, 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/library/scrubs',
        summary: 'Read and check every content of the library, or of a group',
        request: { query: DryRunSchema, ...body(ScrubSchema) },
        responses: { 202: json(JobSchema, 'The job that does it; of a dry run too, which notes nothing.') },
      }),
      (c) => c.json(showJob(unwrap(scrubs.start(c.req.valid('json'), byOf(c)))), 202),
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/groups/{name}/sharing',
        summary: 'What sharing saves, by image',
        request: { params: z.object({ name: z.string() }) },
        responses: { 200: json(SharingSchema, 'The report.') },
      }),
      async (c) => c.json(unwrap(await sharing.report(c.req.valid('param').name, c.get('who'))) as SharingJson, 200),
    )
}

export type RepairRouteDeps = {
  readonly library: { readonly repairs: Repairs }
  readonly sourceOf: (wanted: WantedSource, dryRun: boolean) => Promise<ImportSource>
}

/** Mounted where uploads are known: a repair may take one, as an import does. */
export function repairRoutes({ library: { repairs }, sourceOf }: RepairRouteDeps) {
  return router().openapi(
    secured('operator', {
      method: 'post',
      path: '/library/repairs',
      summary: 'Bring good copies of damaged contents back, from other segments, other groups, or a file',
      request: { query: DryRunSchema, ...body(RepairSchema) },
      responses: {
        202: json(JobSchema, 'The job that does it; of a dry run too, which says what would be found where.'),
      },
    }),
    async (c) => {
      const by = byOf(c)
      const { group, ...wanted } = c.req.valid('json')
      const isNamed = wanted.path !== undefined || wanted.upload !== undefined || wanted.sourceName !== undefined
      const source = isNamed ? await sourceOf(wanted, by.dryRun === true) : undefined
      const started = repairs.start({ group, source, afterwards: source?.afterwards }, by)
      // Nobody will repair from it any more, but for a dry run: that must not keep 20 GB.
      if (!started.ok) await source?.afterwards?.()
      return c.json(showJob(unwrap(started)), 202)
    },
  )
}
