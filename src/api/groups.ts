import { z } from '@hono/zod-openapi'
import type { Library } from '../library/library.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import { GroupChangeSchema, GroupSchema, NewGroupSchema } from './schemas.ts'
import { showGroup } from './show.ts'

const name = z.object({ name: z.string() })

export function groupRoutes({ library: { groups } }: { readonly library: Pick<Library, 'groups'> }) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/groups',
        summary: 'Image groups',
        responses: { 200: json(z.array(GroupSchema), 'All groups, by name.') },
      }),
      (c) => c.json(groups.list(c.get('who')).map(showGroup), 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/groups',
        summary: 'New image group',
        request: { query: DryRunSchema, ...body(NewGroupSchema) },
        responses: { 201: json(GroupSchema, 'Made.') },
      }),
      (c) => {
        const { name, ...more } = c.req.valid('json')
        const group = unwrap(groups.create(name, byOf(c), more))
        return c.json(showGroup({ ...group, images: 0, storedBytes: 0, apparentBytes: 0 }), 201)
      },
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/groups/{name}',
        summary: 'One image group',
        request: { params: name },
        responses: { 200: json(GroupSchema, 'The group.') },
      }),
      (c) => c.json(showGroup(unwrap(groups.show(c.req.valid('param').name, c.get('who')))), 200),
    )
    .openapi(
      secured('operator', {
        method: 'patch',
        path: '/groups/{name}',
        summary: 'Rename, describe, limit',
        request: { params: name, query: DryRunSchema, ...body(GroupChangeSchema) },
        responses: { 200: json(GroupSchema, 'As it is now.') },
      }),
      (c) => {
        const before = unwrap(groups.show(c.req.valid('param').name, c.get('who')))
        const group = unwrap(groups.set(before.name, c.req.valid('json'), byOf(c)))
        return c.json(showGroup({ ...before, ...group }), 200)
      },
    )
    .openapi(
      secured('operator', {
        method: 'delete',
        path: '/groups/{name}',
        summary: 'Put an image group into the trash',
        request: {
          params: name,
          query: DryRunSchema.extend({
            withImages: z
              .enum(['true', 'false'])
              .optional()
              .openapi({ description: 'true: with every image in it; otherwise it must be empty.' }),
          }),
        },
        responses: { 204: { description: 'In the trash.' } },
      }),
      (c) => {
        const withImages = c.req.valid('query').withImages === 'true'
        unwrap(groups.remove(c.req.valid('param').name, { withImages }, byOf(c)))
        return c.body(null, 204)
      },
    )
}
