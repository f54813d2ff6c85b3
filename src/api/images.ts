import { z } from '@hono/zod-openapi'
import type { Library } from '../library/library.ts'
import { body, json, router, secured, unwrap } from './door.ts'
import { CopySchema, ImageChangeSchema, ImageSchema, SelectorSchema } from './schemas.ts'
import { showImage } from './show.ts'

const named = { params: z.object({ name: z.string() }), query: SelectorSchema }

export function imageRoutes({ library }: { readonly library: Library }) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/images',
        summary: 'Install images',
        request: { query: z.object({ group: z.string().optional() }) },
        responses: { 200: json(z.array(ImageSchema), 'By group and name.') },
      }),
      (c) => c.json(unwrap(library.images.list(c.req.valid('query').group)).map(showImage), 200),
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/images/{name}',
        summary: 'One install image',
        request: named,
        responses: { 200: json(ImageSchema, 'The image.') },
      }),
      (c) => c.json(showImage(unwrap(library.images.show({ ...c.req.valid('param'), ...c.req.valid('query') }))), 200),
    )
    .openapi(
      secured('operator', {
        method: 'patch',
        path: '/images/{name}',
        summary: 'Change name, description, or whether it is public',
        request: { ...named, ...body(ImageChangeSchema) },
        responses: { 200: json(ImageSchema, 'As it is now.') },
      }),
      (c) => {
        const { public: isPublic, ...names } = c.req.valid('json')
        return c.json(
          showImage(
            unwrap(library.images.set({ ...c.req.valid('param'), ...c.req.valid('query') }, { ...names, isPublic })),
          ),
          200,
        )
      },
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/images/{name}/copies',
        summary: 'Copy within the group; takes no space',
        request: { ...named, ...body(CopySchema) },
        responses: { 201: json(ImageSchema, 'The copy.') },
      }),
      (c) =>
        c.json(
          showImage(
            unwrap(library.images.copy({ ...c.req.valid('param'), ...c.req.valid('query') }, c.req.valid('json'))),
          ),
          201,
        ),
    )
    .openapi(
      secured('operator', {
        method: 'delete',
        path: '/images/{name}',
        summary: 'Remove an install image',
        request: named,
        responses: { 204: { description: 'Removed.' } },
      }),
      (c) => {
        unwrap(library.images.remove({ ...c.req.valid('param'), ...c.req.valid('query') }))
        return c.body(null, 204)
      },
    )
}
