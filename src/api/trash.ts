import { z } from '@hono/zod-openapi'
import type { Library } from '../library/library.ts'
import { body, byOf, DryRunSchema, idOf, json, router, secured, unwrap } from './door.ts'
import { EmptyTrashSchema, RestoreSchema, TrashItemSchema } from './schemas.ts'

export function trashRoutes({ library: { trash } }: { readonly library: Pick<Library, 'trash'> }) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/trash',
        summary: 'What was removed or replaced',
        responses: { 200: json(z.array(TrashItemSchema), 'Oldest first.') },
      }),
      (c) => c.json(trash.list(c.get('who')), 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/trash/{id}/restore',
        summary: 'Bring it back',
        request: { params: z.object({ id: z.string() }), query: DryRunSchema, ...body(RestoreSchema) },
        responses: { 200: json(TrashItemSchema, 'Restored.') },
      }),
      (c) => c.json(unwrap(trash.restore(idOf(c.req.valid('param').id), c.req.valid('json'), byOf(c))), 200),
    )
    .openapi(
      secured('admin', {
        method: 'post',
        path: '/trash/empty',
        summary: 'Let go for good, and give the space back',
        request: { query: DryRunSchema, ...body(EmptyTrashSchema) },
        responses: { 200: json(z.array(TrashItemSchema), 'What went.') },
      }),
      async (c) => c.json(unwrap(await trash.empty(c.req.valid('json'), byOf(c))), 200),
    )
}
