import { z } from '@hono/zod-openapi'
import type { Library } from '../library/library.ts'
import { body, json, router, secured, unwrap } from './door.ts'
import { GroupSchema, NewGroupSchema } from './schemas.ts'
import { showGroup } from './show.ts'

const name = z.object({ name: z.string() })

export function groupRoutes({ library }: { readonly library: Library }) {
  const reported = (group: string) => showGroup(unwrap(library.groups.show(group)))
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/groups',
        summary: 'Image groups',
        responses: { 200: json(z.array(GroupSchema), 'All groups, by name.') },
      }),
      (c) => c.json(library.groups.list().map(showGroup), 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/groups',
        summary: 'New image group',
        request: body(NewGroupSchema),
        responses: { 201: json(GroupSchema, 'Made.') },
      }),
      (c) => c.json(reported(unwrap(library.groups.create(c.req.valid('json').name)).name), 201),
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/groups/{name}',
        summary: 'One image group',
        request: { params: name },
        responses: { 200: json(GroupSchema, 'The group.') },
      }),
      (c) => c.json(reported(c.req.valid('param').name), 200),
    )
    .openapi(
      secured('operator', {
        method: 'delete',
        path: '/groups/{name}',
        summary: 'Remove an empty image group',
        request: { params: name },
        responses: { 204: { description: 'Removed.' } },
      }),
      async (c) => {
        unwrap(await library.groups.remove(c.req.valid('param').name))
        return c.body(null, 204)
      },
    )
}
