import { z } from '@hono/zod-openapi'
import type { Library } from '../library/library.ts'
import type { Transmissions } from '../transmissions/transmissions.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import {
  CopiedSchema,
  CopySchema,
  ImageChangeSchema,
  ImageFilterSchema,
  ImageSchema,
  SelectorSchema,
  TrashItemSchema,
} from './schemas.ts'
import { showImage } from './show.ts'

const params = z.object({ name: z.string() })
const named = { params, query: SelectorSchema }
const changing = { params, query: SelectorSchema.extend(DryRunSchema.shape) }

const flag = (text: 'true' | 'false' | undefined): boolean | undefined =>
  text === undefined ? undefined : text === 'true'

export function imageRoutes(deps: { readonly library: Library; readonly transmissions: Transmissions }) {
  const { images, trash } = deps.library
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/images',
        summary: 'Install images',
        request: { query: ImageFilterSchema },
        responses: { 200: json(z.array(ImageSchema), 'By group, display order, name and file name.') },
      }),
      (c) => {
        const { enabled, public: isPublic, ...texts } = c.req.valid('query')
        const filter = { ...texts, enabled: flag(enabled), public: flag(isPublic) }
        return c.json(unwrap(images.list(filter, c.get('who'))).map(showImage), 200)
      },
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/images/{name}',
        summary: 'One install image',
        request: named,
        responses: { 200: json(ImageSchema, 'The image.') },
      }),
      (c) => {
        const selector = { ...c.req.valid('param'), ...c.req.valid('query') }
        return c.json(showImage(unwrap(images.show(selector, c.get('who')))), 200)
      },
    )
    .openapi(
      secured('operator', {
        method: 'patch',
        path: '/images/{name}',
        summary: 'Change what is said of it, enable, disable, limit',
        request: { ...changing, ...body(ImageChangeSchema) },
        responses: { 200: json(ImageSchema, 'As it is now.') },
      }),
      (c) => {
        const { public: isPublic, ...change } = c.req.valid('json')
        const selector = { ...c.req.valid('param'), ...c.req.valid('query') }
        return c.json(showImage(unwrap(images.set(selector, { ...change, isPublic }, byOf(c)))), 200)
      },
    )
    .openapi(
      secured('operator', {
        method: 'get',
        path: '/images/{name}/unattend',
        summary: 'Its answer file',
        request: named,
        responses: {
          200: {
            description: 'The text. It may hold passwords.',
            content: { 'application/xml': { schema: z.string() } },
          },
        },
      }),
      (c) => {
        const selector = { ...c.req.valid('param'), ...c.req.valid('query') }
        const text = unwrap(images.unattend(selector, c.get('who')))
        return c.body(text, 200, { 'Content-Type': 'application/xml', 'Cache-Control': 'no-store' })
      },
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/images/{name}/copies',
        summary: 'Copy within the group; takes no space',
        request: { ...changing, ...body(CopySchema) },
        responses: { 201: json(CopiedSchema, 'The copy, and its transmission if one was asked for.') },
      }),
      (c) => {
        const by = byOf(c)
        const { multicast, ...copy } = c.req.valid('json')
        const planned = multicast && unwrap(deps.transmissions.plan(multicast))
        const selector = { ...c.req.valid('param'), ...c.req.valid('query') }
        const made = unwrap(images.copy(selector, { ...copy, alongside: planned?.insert }, by))
        const { transmission } = made
        return c.json(
          {
            ...showImage(made.image),
            ...(transmission ? { transmission } : {}),
            ...(planned && planned.warnings.length > 0 ? { warnings: [...planned.warnings] } : {}),
          },
          201,
        )
      },
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/images/{name}/undo',
        summary: 'Back to the version before it was replaced',
        request: changing,
        responses: { 200: json(TrashItemSchema, 'The version that it is now; what it was lies in the trash.') },
      }),
      (c) => {
        const selector = { ...c.req.valid('param'), ...c.req.valid('query') }
        return c.json(unwrap(trash.undo(selector, byOf(c))), 200)
      },
    )
    .openapi(
      secured('operator', {
        method: 'delete',
        path: '/images/{name}',
        summary: 'Put an install image into the trash',
        request: changing,
        responses: { 204: { description: 'In the trash.' } },
      }),
      (c) => {
        unwrap(images.remove({ ...c.req.valid('param'), ...c.req.valid('query') }, byOf(c)))
        return c.body(null, 204)
      },
    )
}
