import { z } from '@hono/zod-openapi'
import type { Changes } from '../audit/changes.ts'
import { json, router, secured } from './door.ts'
import { AuditLineSchema, AuditQuerySchema } from './schemas.ts'
import { showAuditLine } from './show.ts'

export function auditRoutes({ changes }: { readonly changes: Changes }) {
  return router().openapi(
    secured('admin', {
      method: 'get',
      path: '/audit',
      summary: 'Who changed what',
      request: { query: AuditQuerySchema },
      responses: { 200: json(z.array(AuditLineSchema), 'Newest first.') },
    }),
    (c) => c.json(changes.list(c.req.valid('query')).map(showAuditLine), 200),
  )
}
