import { z } from '@hono/zod-openapi'
import { newToken, type TokenStore } from '../access/tokens.ts'
import type { Clock } from '../base/clock.ts'
import { body, json, router, secured, unwrap } from './door.ts'
import { MadeTokenSchema, NewTokenSchema, TokenSchema } from './schemas.ts'
import { showToken } from './show.ts'

export function tokenRoutes({ tokens, clock }: { readonly tokens: TokenStore; readonly clock: Clock }) {
  return router()
    .openapi(
      secured('admin', {
        method: 'get',
        path: '/tokens',
        summary: 'Tokens',
        responses: { 200: json(z.array(TokenSchema), 'Revoked ones too.') },
      }),
      (c) => c.json(tokens.list().map(showToken), 200),
    )
    .openapi(
      secured('admin', {
        method: 'post',
        path: '/tokens',
        summary: 'New token',
        request: body(NewTokenSchema),
        responses: { 201: json(MadeTokenSchema, 'With its text, shown once.') },
      }),
      (c) => {
        const made = unwrap(newToken(c.req.valid('json'), clock))
        unwrap(tokens.insert(made.row))
        c.header('Cache-Control', 'no-store')
        return c.json({ ...showToken(made.row), token: made.text }, 201)
      },
    )
    .openapi(
      secured('admin', {
        method: 'delete',
        path: '/tokens/{name}',
        summary: 'Revoke a token',
        request: { params: z.object({ name: z.string() }) },
        responses: { 204: { description: 'Revoked: requests with it are refused from now on.' } },
      }),
      (c) => {
        unwrap(tokens.revoke(c.req.valid('param').name, clock.nowMs()))
        return c.body(null, 204)
      },
    )
}
