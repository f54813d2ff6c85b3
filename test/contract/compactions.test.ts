/** The route of compactions by itself: what it takes, what it passes on, who may. */
import { expect, test } from 'bun:test'
import { OpenAPIHono } from '@hono/zod-openapi'
import { compactionRoutes } from '../../src/api/compactions.ts'
import { type Env, onError } from '../../src/api/door.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Principal } from '../../src/base/principal.ts'
import { ok } from '../../src/base/result.ts'
import type { Job } from '../../src/jobs/jobs.ts'

const asked: unknown[] = []
const row = { id: 7, kind: 'group.compact', title: 'compact G', state: 'queued', step: 'waiting', startedBy: 'local' }
const compact = (...all: unknown[]) => {
  asked.push(all)
  return ok({ ...row, doneBytes: 0, totalBytes: 0, createdAtMs: 1, endedAtMs: null, error: null, result: null } as Job)
}

function post(path: string, body: unknown, who: Principal = { kind: 'local', role: 'admin' }): Promise<Response> {
  const app = new OpenAPIHono<Env>()
  app.use(async function sign(c, next) {
    c.set('who', who)
    await next()
  })
  app.onError(onError(silentLog))
  app.route('/', compactionRoutes({ library: { groups: { compact } } }))
  const door = { limit: () => {} } as unknown as Env['Bindings']['door']
  const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }
  return Promise.resolve(app.request(path, init, { door }))
}

test('a compaction is asked for, for real or not', async () => {
  const real = await post('/groups/G/compactions', { atPercent: 5 })
  expect([real.status, await real.json(), real.headers.get('Wimcast-Dry-Run')]).toMatchObject([202, { id: 7 }, null])
  const dry = await post('/groups/G/compactions?dryRun=true', { all: true })
  expect([dry.status, dry.headers.get('Wimcast-Dry-Run')]).toEqual([202, 'true'])
  expect(asked).toMatchObject([
    ['G', { atPercent: 5 }, { dryRun: false }],
    ['G', { all: true }, { dryRun: true }],
  ])
})

test.each([[{ atPercent: 101 }], [{ atPercent: -1 }], [{ everything: true }], [[]]])('%j is refused', async (body) => {
  const before = asked.length
  const response = await post('/groups/G/compactions', body)
  expect([response.status, await response.json()]).toMatchObject([400, { code: 'bad-request' }])
  expect(asked.length).toBe(before)
})

test('a viewer may not', async () => {
  const viewer = { kind: 'token', name: 'v', role: 'viewer', machineGroups: [], address: '192.0.2.1' } as const
  expect((await post('/groups/G/compactions', {}, viewer)).status).toBe(403)
})
