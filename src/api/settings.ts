import { z } from '@hono/zod-openapi'
import type { Settings } from '../settings/settings.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import { SetSettingSchema, SettingSchema } from './schemas.ts'

export function settingRoutes({ settings }: { readonly settings: Settings }) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/settings',
        summary: 'Settings, with their defaults',
        responses: { 200: json(z.array(SettingSchema), 'All of them.') },
      }),
      (c) => c.json(settings.list(), 200),
    )
    .openapi(
      secured('admin', {
        method: 'put',
        path: '/settings/{key}',
        summary: 'Change a setting; it takes effect at once',
        request: { params: z.object({ key: z.string() }), query: DryRunSchema, ...body(SetSettingSchema) },
        responses: { 200: json(SettingSchema, 'As it is now.') },
      }),
      (c) =>
        c.json(unwrap(settings.set(c.req.valid('param').key, c.req.valid('json').value ?? undefined, byOf(c))), 200),
    )
}
