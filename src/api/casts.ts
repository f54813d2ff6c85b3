import { z } from '@hono/zod-openapi'
import { sendContent } from '../http/send.ts'
import type { Transmissions } from '../transmissions/transmissions.ts'
import { body, byOf, DryRunSchema, idOf, json, router, secured, unwrap } from './door.ts'
import { CastSchema, DoneSchema, JoinAnswerSchema, JoinSchema, NewCastSchema, StopSchema } from './schemas.ts'
import { showCast } from './show.ts'

const numbered = { params: z.object({ id: z.string() }) }
const octets = { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } }

export function castRoutes({ transmissions }: { readonly transmissions: Transmissions }) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/casts',
        summary: 'Transmissions',
        responses: { 200: json(z.array(CastSchema), 'Newest first.') },
      }),
      (c) => c.json(transmissions.list(c.get('who')).map(showCast), 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/casts',
        summary: 'New transmission: AutoCast or ScheduledCast',
        request: { query: DryRunSchema, ...body(NewCastSchema) },
        responses: { 201: json(CastSchema, 'Made; clients may join.') },
      }),
      async (c) => {
        const { image, group, file, interface: interfaceName, ...asked } = c.req.valid('json')
        const made = await transmissions.create(
          { image: { name: image, group, file }, interfaceName, ...asked },
          byOf(c),
        )
        return c.json(showCast(unwrap(made)), 201)
      },
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/casts/{id}',
        summary: 'One transmission',
        request: numbered,
        responses: { 200: json(CastSchema, 'As it is now.') },
      }),
      (c) => c.json(showCast(unwrap(transmissions.show(idOf(c.req.valid('param').id), c.get('who')))), 200),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/casts/{id}/start',
        summary: 'Start a ScheduledCast that waits; refused without a client',
        request: { ...numbered, query: DryRunSchema },
        responses: { 202: json(CastSchema, 'It sends to the clients that waited, and to whoever joins.') },
      }),
      (c) => c.json(showCast(unwrap(transmissions.start(idOf(c.req.valid('param').id), byOf(c)))), 202),
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/casts/{id}/stop',
        summary: 'No new clients; by force, or while it waits: all are cut off',
        request: { ...numbered, query: DryRunSchema, ...body(StopSchema) },
        responses: { 202: json(CastSchema, 'It ends when its clients have finished.') },
      }),
      (c) =>
        c.json(
          showCast(
            unwrap(
              transmissions.stop(idOf(c.req.valid('param').id), { force: c.req.valid('json').force ?? false }, byOf(c)),
            ),
          ),
          202,
        ),
    )
    .openapi(
      secured(
        'viewer',
        {
          method: 'get',
          path: '/casts/{id}/manifest',
          summary: 'Sizes and chunk hashes; waits until they are made',
          request: numbered,
          responses: { 200: { description: 'Binary, see docs/cast.md.', content: octets } },
        },
        { long: true },
      ),
      async (c) => {
        const manifest = unwrap(
          await transmissions.manifest(idOf(c.req.valid('param').id), c.get('who'), c.req.raw.signal),
        )
        return c.body(new Uint8Array(manifest), 200, { 'Content-Type': 'application/octet-stream' })
      },
    )
    .openapi(
      secured(
        'viewer',
        {
          method: 'post',
          path: '/casts/{id}/join',
          summary: 'Join: addresses and keys',
          request: { ...numbered, ...body(JoinSchema) },
          responses: { 200: json(JoinAnswerSchema, 'Admitted.') },
        },
        { long: true },
      ),
      async (c) => {
        const { clientName, needs } = c.req.valid('json')
        const answer = unwrap(
          await transmissions.join(
            idOf(c.req.valid('param').id),
            { clientName, ...(needs === undefined ? {} : { needs }) },
            c.get('who'),
            c.req.raw.signal,
          ),
        )
        c.header('Cache-Control', 'no-store')
        return c.json(answer, 200)
      },
    )
    .openapi(
      secured('viewer', {
        method: 'post',
        path: '/casts/{id}/done',
        summary: 'How a client ended',
        request: { ...numbered, ...body(DoneSchema) },
        responses: { 204: { description: 'Noted.' } },
      }),
      (c) => {
        const { clientId, proof, outcome, reason } = c.req.valid('json')
        unwrap(
          transmissions.done(
            idOf(c.req.valid('param').id),
            { clientId, proof, outcome, ...(reason === undefined ? {} : { reason }) },
            c.get('who'),
          ),
        )
        return c.body(null, 204)
      },
    )
    .openapi(
      secured(
        'viewer',
        {
          method: 'get',
          path: '/casts/{id}/content',
          summary: 'The bytes that are multicast; ranges for what was missed',
          request: numbered,
          responses: {
            200: { description: 'Whole.', content: octets },
            206: { description: 'A range.', content: octets },
          },
        },
        { long: true },
      ),
      async (c) => {
        const content = unwrap(await transmissions.content(idOf(c.req.valid('param').id), c.get('who')))
        return (await sendContent(c.req.raw, content)) as never
      },
    )
}
