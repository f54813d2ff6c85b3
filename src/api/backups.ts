import { z } from '@hono/zod-openapi'
import type { Backups } from '../backup/backups.ts'
import { sendContent } from '../http/send.ts'
import { byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import { JobSchema } from './schemas.ts'
import { showJob } from './show.ts'

const BackupSchema = z
  .object({
    name: z.string(),
    sizeBytes: z.number().int().nonnegative(),
    madeAtMs: z.number().int().describe('Milliseconds since the epoch.'),
  })
  .openapi('Backup', { description: 'Database, settings, tokens and keys: everything but the image data.' })

const named = z.object({ name: z.string() })

/** For admins alone: a backup holds the key of the appliance, and answer files. */
export function backupRoutes({ backups }: { readonly backups: Backups }) {
  return router()
    .openapi(
      secured('admin', {
        method: 'get',
        path: '/backups',
        summary: 'Backups that the appliance keeps',
        responses: { 200: json(z.array(BackupSchema), 'Newest first.') },
      }),
      (c) => c.json(backups.list(), 200),
    )
    .openapi(
      secured('admin', {
        method: 'post',
        path: '/backups',
        summary: 'Back up everything but the image data',
        request: { query: DryRunSchema },
        responses: { 202: json(JobSchema, 'The job; its result is the backup.') },
      }),
      (c) => c.json(showJob(backups.create(byOf(c))), 202),
    )
    .openapi(
      secured(
        'admin',
        {
          method: 'get',
          path: '/backups/{name}',
          summary: 'Download a backup',
          request: { params: named },
          responses: {
            200: {
              description: 'The file; ranges are served.',
              content: { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } },
            },
          },
        },
        { long: true },
      ),
      async (c) => sendContent(c.req.raw, unwrap(await backups.content(c.req.valid('param').name))),
    )
    .openapi(
      secured('admin', {
        method: 'delete',
        path: '/backups/{name}',
        summary: 'Remove a backup',
        request: { params: named, query: DryRunSchema },
        responses: { 204: { description: 'Removed.' } },
      }),
      (c) => {
        unwrap(backups.remove(c.req.valid('param').name, byOf(c)))
        return c.body(null, 204)
      },
    )
}
