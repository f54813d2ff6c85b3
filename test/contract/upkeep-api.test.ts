/** Who may ask for checks, repairs and reports, in which words, and what the rooms below are asked then. */
import { beforeEach, describe, expect, test } from 'bun:test'
import { OpenAPIHono } from '@hono/zod-openapi'
import { type Env, onError } from '../../src/api/door.ts'
import { repairRoutes, upkeepRoutes } from '../../src/api/upkeep.ts'
import type { By } from '../../src/audit/changes.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Principal, Role } from '../../src/base/principal.ts'
import { refuse } from '../../src/base/refusal.ts'
import { ok } from '../../src/base/result.ts'
import type { Job } from '../../src/jobs/jobs.ts'
import type { RepairRequest } from '../../src/library/health/repair.ts'

const JOB = {
  id: 5,
  kind: 'library.scrub',
  title: 'check the library',
  groupId: null,
  state: 'queued',
  step: 'waiting',
  doneBytes: 0,
  totalBytes: 0,
  startedBy: 'local',
  createdAtMs: 1,
  endedAtMs: null,
  error: null,
  result: null,
} satisfies Job

type Asked = { readonly what: string; readonly request: unknown; readonly by: By | Principal }
let asked: Asked[]
let cleared: number
let isBusy: boolean

const busy = refuse('in-use', 'job 4 checks the library already', 'Wait.')

function appFor(role: Role | undefined) {
  const who: Principal =
    role === undefined
      ? { kind: 'anonymous', door: 'https', address: '' }
      : { kind: 'token', name: 't', role, machineGroups: [], address: '' }
  const app = new OpenAPIHono<Env>()
  app.use(async (c, next) => {
    c.set('who', who)
    await next()
  })
  app.onError(onError(silentLog))
  const library = {
    scrubs: {
      start: (request: unknown, by: By) => {
        asked.push({ what: 'scrub', request, by })
        return isBusy ? busy : ok(JOB)
      },
      health: async (by: Principal) => {
        asked.push({ what: 'health', request: undefined, by })
        return { groups: [{ group: 'G', segments: 1, damaged: 0, lacking: [] }], scrubJobId: 4 }
      },
    },
    sharing: {
      report: async (group: string, by: Principal) => {
        asked.push({ what: 'sharing', request: group, by })
        return refuse('not-found', `there is no image group "${group}"`, '')
      },
      reclaimableShare: async () => 0,
    },
    repairs: {
      start: ({ afterwards, ...request }: RepairRequest, by: By) => {
        asked.push({ what: 'repair', request, by })
        return isBusy ? busy : ok(JOB)
      },
    },
  }
  const sourceOf = async ({ path = '' }, dryRun: boolean) => ({
    path,
    sourceName: dryRun ? 'tried.wim' : 'file.wim',
    afterwards: async () => {
      cleared += 1
    },
  })
  return app.route('/', upkeepRoutes({ library })).route('/', repairRoutes({ library, sourceOf }))
}

async function ask(role: Role | undefined, method: string, path: string, json?: unknown) {
  const response = await appFor(role).fetch(
    new Request(`https://appliance${path}`, {
      method,
      ...(json === undefined ? {} : { body: JSON.stringify(json), headers: { 'Content-Type': 'application/json' } }),
    }),
    { door: { kind: 'https', address: '192.0.2.7', limit() {} } },
  )
  const body = (await response.json()) as Readonly<Record<string, unknown>>
  return { status: response.status, code: body['code'], body, dryRun: response.headers.get('wimcast-dry-run') }
}

beforeEach(() => {
  asked = []
  cleared = 0
  isBusy = false
})

describe('rights', () => {
  test.each<[string, string, unknown, Role]>([
    ['GET', '/library/health', undefined, 'viewer'],
    ['GET', '/groups/G/sharing', undefined, 'viewer'],
    ['POST', '/library/scrubs', {}, 'operator'],
    ['POST', '/library/repairs', {}, 'operator'],
  ])('%s %s', async (method, path, json, least) => {
    expect(await ask(undefined, method, path, json)).toMatchObject({ status: 401 })
    const viewer = await ask('viewer', method, path, json)
    expect(viewer.code === 'not-allowed').toBe(least === 'operator')
    expect((await ask('operator', method, path, json)).code).not.toBe('not-allowed')
    expect(asked.length).toBe(least === 'operator' ? 1 : 2)
  })
})

test('a check: of a group or of all, for real or not', async () => {
  expect(await ask('operator', 'POST', '/library/scrubs', { group: 'G' })).toMatchObject({
    status: 202,
    body: { id: 5, state: 'queued' },
    dryRun: null,
  })
  expect(await ask('operator', 'POST', '/library/scrubs?dryRun=true', {})).toMatchObject({
    status: 202,
    dryRun: 'true',
  })
  expect(asked).toMatchObject([
    { what: 'scrub', request: { group: 'G' }, by: { who: { name: 't' }, dryRun: false } },
    { what: 'scrub', request: {}, by: { dryRun: true } },
  ])
  isBusy = true
  expect(await ask('operator', 'POST', '/library/scrubs', {})).toMatchObject({ status: 409, code: 'in-use' })
  expect(await ask('operator', 'POST', '/library/scrubs', { groups: 'G' })).toMatchObject({ code: 'bad-request' })
})

test('a repair: with a file or without; a refused one clears its upload', async () => {
  await ask('operator', 'POST', '/library/repairs?dryRun=true', { group: 'G' })
  await ask('operator', 'POST', '/library/repairs', { path: '/srv/a.wim' })
  await ask('operator', 'POST', '/library/repairs?dryRun=true', { path: '/srv/a.wim' })
  expect(asked).toMatchObject([
    { request: { group: 'G', source: undefined }, by: { dryRun: true } },
    { request: { source: { path: '/srv/a.wim', sourceName: 'file.wim' } }, by: { dryRun: false } },
    { request: { source: { path: '/srv/a.wim', sourceName: 'tried.wim' } }, by: { dryRun: true } },
  ])
  expect(cleared).toBe(0)
  isBusy = true
  expect(await ask('operator', 'POST', '/library/repairs', { upload: 'x', sourceName: 'y' })).toMatchObject({
    status: 409,
  })
  expect(cleared).toBe(1)
})

test('health and sharing are told for whoever asks', async () => {
  expect(await ask('viewer', 'GET', '/library/health')).toMatchObject({ status: 200, body: { scrubJobId: 4 } })
  expect(await ask('viewer', 'GET', '/groups/No%20such/sharing')).toMatchObject({ status: 404 })
  expect(asked).toMatchObject([
    { what: 'health', by: { role: 'viewer' } },
    { what: 'sharing', request: 'No such', by: { role: 'viewer' } },
  ])
})
