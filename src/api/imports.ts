/** Imports and replacements: a file, uploaded or below an import root, becomes images or the next version of one. */
import { z } from '@hono/zod-openapi'
import type { By } from '../audit/changes.ts'
import type { Library } from '../library/library.ts'
import type { Transmissions } from '../transmissions/transmissions.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import { ImportSchema, ReplacementSchema, SelectorSchema, StartedImportSchema } from './schemas.ts'
import { showJob } from './show.ts'

export type WantedSource = Pick<z.infer<typeof ImportSchema>, 'path' | 'upload' | 'sourceName'>

/** A file that the service may read, and what to do with it at the end. */
export type ImportSource = {
  readonly path: string
  readonly sourceName: string
  readonly afterwards?: () => Promise<void>
}

export type ImportRouteDeps = {
  readonly library: Pick<Library, 'images'>
  readonly transmissions: Pick<Transmissions, 'plan'>
  readonly sourceOf: (wanted: WantedSource, dryRun: boolean) => Promise<ImportSource>
}

function selection(index: number | string | undefined) {
  if (index === undefined || index === 'all') return { kind: 'all' } as const
  const text = String(index)
  return /^\d+$/.test(text)
    ? ({ kind: 'index', index: Number(text) } as const)
    : ({ kind: 'name', name: text } as const)
}

export function importRoutes({ library, transmissions, sourceOf }: ImportRouteDeps) {
  /** Nobody will import from it any more when `begin` fails, but for a dry run: that must not keep 20 GB. */
  async function from<T>(wanted: WantedSource, { dryRun }: By, begin: (source: ImportSource) => T): Promise<T> {
    const source = await sourceOf(wanted, dryRun === true)
    try {
      return begin(source)
    } catch (error) {
      await source.afterwards?.()
      throw error
    }
  }

  return router()
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/imports',
        summary: 'Import images from an upload or an import root',
        request: { query: DryRunSchema, ...body(ImportSchema) },
        responses: { 202: json(StartedImportSchema, 'The job that does it; of a dry run too.') },
      }),
      async (c) => {
        const by = byOf(c)
        const { path, upload, sourceName, index, group, skipVerify, name, description, fileName, multicast, ...said } =
          c.req.valid('json')
        const started = await from({ path, upload, sourceName }, by, (source) => {
          const plan = multicast && unwrap(transmissions.plan(multicast))
          const job = library.images.startImport(
            {
              ...source,
              select: selection(index),
              skipVerify: skipVerify ?? false,
              group,
              name,
              description,
              fileName,
              properties: said,
              alongside: plan?.insert,
            },
            by,
          )
          return {
            ...showJob(unwrap(job)),
            ...(plan && plan.warnings.length > 0 ? { warnings: [...plan.warnings] } : {}),
          }
        })
        return c.json(started, 202)
      },
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/images/{name}/replacements',
        summary: 'Replace the content of an install image; all that was said of it stays',
        request: {
          params: z.object({ name: z.string() }),
          query: SelectorSchema.extend(DryRunSchema.shape),
          ...body(ReplacementSchema),
        },
        responses: { 202: json(StartedImportSchema, 'The job that does it; of a dry run too.') },
      }),
      async (c) => {
        const by = byOf(c)
        const { path, upload, sourceName, index, skipVerify, name, description } = c.req.valid('json')
        const { group, file } = c.req.valid('query')
        const replace = { ...c.req.valid('param'), group, file }
        const started = await from({ path, upload, sourceName }, by, (source) =>
          showJob(
            unwrap(
              library.images.startImport(
                {
                  ...source,
                  select: selection(index),
                  skipVerify: skipVerify ?? false,
                  group,
                  name,
                  description,
                  replace,
                },
                by,
              ),
            ),
          ),
        )
        return c.json(started, 202)
      },
    )
}
