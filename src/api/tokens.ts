import { z } from '@hono/zod-openapi'
import { newToken, type TokenStore } from '../access/tokens.ts'
import type { Changes } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import { ok } from '../base/result.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import { MadeTokenSchema, NewTokenSchema, TokenSchema } from './schemas.ts'
import { showToken } from './show.ts'

type TokenDeps = { readonly tokens: TokenStore; readonly changes: Changes; readonly clock: Clock }

export function tokenRoutes({ tokens, changes, clock }: TokenDeps) {
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
        request: { query: DryRunSchema, ...body(NewTokenSchema) },
        responses: { 201: json(MadeTokenSchema, 'With its text, shown once.') },
      }),
      (c) => {
        const made = unwrap(newToken(c.req.valid('json'), clock))
        const { name, role, machineGroups } = made.row
        unwrap(
          changes.apply(byOf(c), () => {
            const inserted = tokens.insert(made.row)
            if (!inserted.ok) return inserted
            return ok({
              value: undefined,
              entries: [{ verb: 'token.new', subject: name, after: { role, machineGroups } }],
            })
          }),
        )
        c.header('Cache-Control', 'no-store')
        return c.json({ ...showToken(made.row), token: made.text }, 201)
      },
    )
    .openapi(
      secured('admin', {
        method: 'delete',
        path: '/tokens/{name}',
        summary: 'Revoke a token',
        request: { params: z.object({ name: z.string() }), query: DryRunSchema },
        responses: { 204: { description: 'Revoked: requests with it are refused from now on.' } },
      }),
      (c) => {
        const { name } = c.req.valid('param')
        unwrap(
          changes.apply(byOf(c), () => {
            const revoked = tokens.revoke(name, clock.nowMs())
            return revoked.ok ? ok({ value: undefined, entries: [{ verb: 'token.revoke', subject: name }] }) : revoked
          }),
        )
        return c.body(null, 204)
      },
    )
}
