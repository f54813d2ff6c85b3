/**
 * The API as tables: method, path, principal, body -> status, code, and what happened on the bus. A route that the tables
 * do not know fails the test, and so does one whose declared role is not the one that is enforced.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { FINGERPRINT, openTestApi, type TestApi, tinyWim, WHO, type Who, writeWim } from '../fixtures/api.ts'

let dataDir: string
let api: TestApi
let root: string

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'wimcast-api-'))
  root = join(dataDir, 'root')
  mkdirSync(root)
  api = await openTestApi(dataDir)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  rmSync(dataDir, { recursive: true, force: true })
})

const NO_UPLOAD = '0'.repeat(32)

/**
 * Every route with a call that changes nothing, and its answer to whoever may make it: what gets past the guard and is
 * then refused by what the route does. `open` ones answer anybody who comes over HTTPS.
 */
const ROUTES: Readonly<
  Record<
    string,
    {
      readonly role: 'open' | 'viewer' | 'operator' | 'admin'
      readonly path?: string
      readonly json?: unknown
      readonly status: number
    }
  >
> = {
  'GET /api/openapi.json': { role: 'open', status: 200 },
  'GET /images/:group/:file': { role: 'open', path: '/images/none/none.wim', status: 404 },
  'HEAD /images/:group/:file': { role: 'open', path: '/images/none/none.wim', status: 404 },
  'GET /api/version': { role: 'viewer', status: 200 },
  'GET /api/me': { role: 'viewer', status: 200 },
  'GET /api/groups': { role: 'viewer', status: 200 },
  'POST /api/groups': { role: 'operator', json: { name: 'a/b' }, status: 400 },
  'GET /api/groups/:name': { role: 'viewer', path: '/api/groups/none', status: 404 },
  'PATCH /api/groups/:name': { role: 'operator', path: '/api/groups/none', json: { description: 'd' }, status: 404 },
  'DELETE /api/groups/:name': { role: 'operator', path: '/api/groups/none', status: 404 },
  'GET /api/images': { role: 'viewer', status: 200 },
  'GET /api/images/:name': { role: 'viewer', path: '/api/images/none', status: 404 },
  'PATCH /api/images/:name': { role: 'operator', path: '/api/images/none', json: { public: true }, status: 404 },
  'DELETE /api/images/:name': { role: 'operator', path: '/api/images/none', status: 404 },
  'POST /api/images/:name/copies': {
    role: 'operator',
    path: '/api/images/none/copies',
    json: { newName: 'n', newFileName: 'f' },
    status: 404,
  },
  'GET /api/images/:name/content': { role: 'viewer', path: '/api/images/none/content', status: 404 },
  'GET /api/images/:name/unattend': { role: 'operator', path: '/api/images/none/unattend', status: 404 },
  'POST /api/images/:name/undo': { role: 'operator', path: '/api/images/none/undo', status: 404 },
  'GET /api/trash': { role: 'viewer', status: 200 },
  'POST /api/trash/:id/restore': { role: 'operator', path: '/api/trash/999/restore', json: {}, status: 404 },
  'POST /api/trash/empty': { role: 'admin', json: { ids: [999] }, status: 404 },
  'GET /api/audit': { role: 'admin', status: 200 },
  'GET /api/settings': { role: 'viewer', status: 200 },
  'PUT /api/settings/:key': { role: 'admin', path: '/api/settings/none', json: { value: '1' }, status: 404 },
  'POST /api/groups/:name/compactions': {
    role: 'operator',
    path: '/api/groups/none/compactions',
    json: {},
    status: 404,
  },
  'GET /api/groups/:name/sharing': { role: 'viewer', path: '/api/groups/none/sharing', status: 404 },
  'POST /api/images/:name/replacements': {
    role: 'operator',
    path: '/api/images/none/replacements',
    json: { path: '/nowhere' },
    status: 400,
  },
  'GET /api/library/health': { role: 'viewer', status: 200 },
  'POST /api/library/scrubs': { role: 'operator', json: { group: 'none' }, status: 404 },
  'POST /api/library/repairs': { role: 'operator', json: { group: 'none' }, status: 404 },
  'GET /api/backups': { role: 'admin', status: 200 },
  'POST /api/backups': { role: 'admin', path: '/api/backups?dryRun=maybe', status: 400 },
  'GET /api/backups/:name': { role: 'admin', path: '/api/backups/none', status: 404 },
  'DELETE /api/backups/:name': { role: 'admin', path: '/api/backups/none', status: 404 },
  'POST /api/uploads': { role: 'operator', status: 201 },
  'PUT /api/uploads/:id/:file': { role: 'operator', path: `/api/uploads/${NO_UPLOAD}/f`, status: 404 },
  'DELETE /api/uploads/:id': { role: 'operator', path: `/api/uploads/${NO_UPLOAD}`, status: 204 },
  'POST /api/imports': { role: 'operator', json: { path: '/nowhere' }, status: 400 },
  'POST /api/exports': { role: 'operator', json: { image: 'none', path: '/nowhere/x.wim' }, status: 400 },
  'GET /api/casts': { role: 'viewer', status: 200 },
  'POST /api/casts': { role: 'operator', json: { image: 'none' }, status: 404 },
  'GET /api/casts/:id': { role: 'viewer', path: '/api/casts/999', status: 404 },
  'POST /api/casts/:id/start': { role: 'operator', path: '/api/casts/999/start', status: 404 },
  'POST /api/casts/:id/stop': { role: 'operator', path: '/api/casts/999/stop', json: {}, status: 404 },
  'GET /api/casts/:id/manifest': { role: 'viewer', path: '/api/casts/999/manifest', status: 404 },
  'POST /api/casts/:id/join': { role: 'viewer', path: '/api/casts/999/join', json: { clientName: 'x' }, status: 404 },
  'POST /api/casts/:id/done': {
    role: 'viewer',
    path: '/api/casts/999/done',
    json: { clientId: 1, proof: '', outcome: 'received' },
    status: 404,
  },
  'GET /api/casts/:id/content': { role: 'viewer', path: '/api/casts/999/content', status: 404 },
  'GET /api/jobs': { role: 'viewer', status: 200 },
  'GET /api/jobs/:id': { role: 'viewer', path: '/api/jobs/999', status: 404 },
  'POST /api/jobs/:id/cancel': { role: 'operator', path: '/api/jobs/999/cancel', status: 404 },
  'GET /api/tokens': { role: 'admin', status: 200 },
  'POST /api/tokens': { role: 'admin', json: { name: '', role: 'viewer' }, status: 400 },
  'DELETE /api/tokens/:name': { role: 'admin', path: '/api/tokens/none', status: 404 },
  'GET /api/events': { role: 'viewer', path: '/api/events?job=999', status: 404 },
}

const POWER = { open: 0, viewer: 1, operator: 2, admin: 3 } as const
const POWER_OF: Readonly<Record<Who, number>> = {
  nobody: 0,
  http: -1,
  revoked: -1,
  viewer: 1,
  operator: 2,
  admin: 3,
  unix: 3,
}

function expectedStatus(name: string, who: Who): number {
  const route = ROUTES[name]
  if (!route) throw new Error(name)
  if (who === 'revoked') return 401
  // Plain HTTP knows public files, and nothing by another name.
  if (who === 'http') return 404
  if (POWER_OF[who] >= POWER[route.role]) return route.status
  return who === 'nobody' ? 401 : 403
}

describe('every route, every principal', () => {
  test('the table knows every route, and no other', () => {
    const there = api.app.routes
      .filter((route) => route.method !== 'ALL')
      .map((route) => `${route.method} ${route.path}`)
    expect(Object.keys(ROUTES).sort()).toEqual([...new Set(there)].sort())
  })

  test.each(Object.keys(ROUTES))('%s', async (name) => {
    const [method = '', template = ''] = name.split(' ')
    const { path = template, json } = ROUTES[name] ?? {}
    const got: Record<string, number> = {}
    for (const who of WHO) {
      const answer = await api.ask(method, path, { as: who, ...(json === undefined ? {} : { json }) })
      got[who] = answer.status
      expect(answer.events).toEqual([])
      if (answer.status === 401) expect(answer.headers.get('www-authenticate')).toBe('Bearer')
    }
    expect(got).toEqual(Object.fromEntries(WHO.map((who) => [who, expectedStatus(name, who)])))
  })

  test('the document says the role that is enforced', async () => {
    const { body } = await api.ask('GET', '/api/openapi.json')
    const { paths } = body as { paths: Record<string, Record<string, { 'x-wimcast-role'?: string }>> }
    const said: Record<string, string | undefined> = {}
    for (const [path, methods] of Object.entries(paths))
      for (const [method, operation] of Object.entries(methods))
        said[`${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`] = operation['x-wimcast-role']
    const enforced = Object.entries(ROUTES).filter(([, { role }]) => role !== 'open')
    expect(said).toEqual(Object.fromEntries(enforced.map(([name, { role }]) => [name, role])))
  })
})

test('what runs here', async () => {
  const { body } = await api.ask('GET', '/api/version')
  expect(body).toEqual({
    wimcast: expect.stringMatching(/^\d+\.\d+\.\d+/),
    bun: Bun.version,
    libwim: expect.stringMatching(/^1\.\d+\.\d+/),
    libwimOrigin: expect.stringMatching(/^(configured|embedded|system)$/),
    fingerprint: FINGERPRINT,
  })
})

describe('tokens', () => {
  test.each(['token', 'access_token', 'authorization'])('in the URL as %s: nobody', async (key) => {
    const answer = await api.ask('GET', `/api/groups?${key}=${api.token('admin')}`, { as: 'nobody' })
    expect([answer.status, answer.code]).toEqual([401, 'not-signed-in'])
  })

  test('over plain HTTP: refused, for public paths too', async () => {
    for (const path of ['/api/groups', '/images/none/none.wim']) {
      const answer = await api.ask('GET', path, {
        as: 'http',
        headers: { Authorization: `Bearer ${api.token('admin')}` },
      })
      expect([answer.status, answer.code]).toEqual([401, 'not-signed-in'])
      expect(answer.text).not.toContain(api.token('admin'))
    }
  })

  test('made, listed without its secret, used, revoked', async () => {
    const made = await api.ask('POST', '/api/tokens', { as: 'admin', json: { name: 'Größe 東京', role: 'viewer' } })
    expect(made.status).toBe(201)
    expect(made.headers.get('cache-control')).toBe('no-store')
    const { token } = made.body as { token: string }
    const use = { as: 'nobody', headers: { Authorization: `Bearer ${token}` } } as const
    expect((await api.ask('GET', '/api/me', use)).body).toEqual({ kind: 'token', name: 'Größe 東京', role: 'viewer' })
    expect((await api.ask('GET', '/api/tokens')).text).not.toContain(token.split('_')[2] ?? token)
    expect(
      (
        await api.ask('POST', '/api/tokens', {
          json: { name: 'größe 東京'.normalize('NFD').replace('g', 'G'), role: 'admin' },
        })
      ).code,
    ).toBe('exists')
    expect((await api.ask('DELETE', `/api/tokens/${encodeURIComponent('Größe 東京')}`)).status).toBe(204)
    expect((await api.ask('GET', '/api/me', use)).status).toBe(401)
    expect((await api.ask('DELETE', `/api/tokens/${encodeURIComponent('Größe 東京')}`)).code).toBe('not-found')
  })
})

describe('plain HTTP', () => {
  test.each([
    '/',
    '/page.js',
    '/api',
    '/api/openapi.json',
    '/images',
    '/images/../api/version',
    '/images/%2e%2e/api/version',
    '/images/..%2fapi%2fversion',
    '//images/a/b',
    '/IMAGES/a/b',
  ])('%s is not there', async (path) => {
    const answer = await api.ask('GET', path, { as: 'http' })
    expect([answer.status, answer.code]).toEqual([404, 'not-found'])
  })
})

/** A name as a client sends it in a path. */
const inPath = encodeURIComponent

describe('bad requests', () => {
  const cases: readonly (readonly [string, string, string, Parameters<TestApi['ask']>[2], number, string])[] = [
    [
      'not JSON',
      'POST',
      '/api/groups',
      { headers: { 'content-type': 'application/json' }, body: '{"name":' },
      400,
      'bad-request',
    ],
    ['no body', 'POST', '/api/groups', { headers: { 'content-type': 'application/json' } }, 400, 'bad-request'],
    ['JSON of another kind', 'POST', '/api/groups', { json: ['name'] }, 400, 'bad-request'],
    [
      'another content type',
      'POST',
      '/api/groups',
      { headers: { 'content-type': 'text/plain' }, body: '{"name":"typed"}' },
      400,
      'bad-request',
    ],
    ['no content type', 'PATCH', '/api/images/none', { body: '{"public":true}' }, 400, 'bad-request'],
    [
      'a form',
      'POST',
      '/api/casts/1/stop',
      { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'force=true' },
      400,
      'bad-request',
    ],
    ['an unknown key', 'POST', '/api/groups', { json: { name: 'typed', color: 'red' } }, 400, 'bad-request'],
    ['a key of another type', 'PATCH', '/api/images/none', { json: { public: 'on' } }, 400, 'bad-request'],
    ['a huge id', 'GET', '/api/jobs/99999999999999999999999', {}, 400, 'bad-request'],
    ['id 0', 'GET', '/api/jobs/0', {}, 400, 'bad-request'],
    ['a hexadecimal id', 'GET', '/api/jobs/0x1', {}, 400, 'bad-request'],
    ['an id with an exponent', 'GET', '/api/jobs/1e0', {}, 400, 'bad-request'],
    ['an id with a space', 'GET', '/api/casts/%201', {}, 400, 'bad-request'],
    ['a bad job of events', 'GET', '/api/events?job=x', {}, 400, 'bad-request'],
    ['a path that is no path', 'GET', '/api/groups/%E0%A4%A', {}, 404, 'not-found'],
    ['a name with a slash', 'GET', '/api/groups/a%2Fb', {}, 404, 'not-found'],
    ['a name with a zero byte', 'GET', '/api/groups/a%00b', {}, 404, 'not-found'],
    ['a name that climbs', 'GET', '/api/groups/..%2F..%2Fetc', {}, 404, 'not-found'],
    ['a group with a slash', 'POST', '/api/groups', { json: { name: 'a/b' } }, 400, 'bad-name'],
    ['a group that climbs', 'POST', '/api/groups', { json: { name: '..' } }, 400, 'bad-name'],
    ['a group with a zero byte', 'POST', '/api/groups', { json: { name: 'a\0' } }, 400, 'bad-name'],
    ['half a surrogate pair', 'POST', '/api/groups', { json: { name: 'a\ud800' } }, 400, 'bad-name'],
    [
      'a token that paths cannot name',
      'POST',
      '/api/tokens',
      { json: { name: '..', role: 'viewer' } },
      400,
      'bad-name',
    ],
    ['a group of 10 MB', 'POST', '/api/groups', { json: { name: 'x'.repeat(10 << 20) } }, 400, 'bad-request'],
    [
      '10 MB in pieces',
      'POST',
      '/api/groups',
      { headers: { 'content-type': 'application/json' }, body: new Blob(['x'.repeat(10 << 20)]).stream() },
      400,
      'bad-request',
    ],
    ['a group of 5 MB', 'POST', '/api/groups', { json: { name: 'x'.repeat(5 << 20) } }, 400, 'bad-name'],
    ['an upload by a name', 'PUT', '/api/uploads/..%2F..%2Fx/f', { body: 'x' }, 404, 'not-found'],
    [
      'a rate too low to end',
      'POST',
      '/api/casts',
      { json: { image: 'x', rateBitsPerSecond: 999_999 } },
      400,
      'bad-request',
    ],
    ['a negative rate', 'POST', '/api/casts', { json: { image: 'x', rateBitsPerSecond: -1 } }, 400, 'bad-request'],
    ['a method that is not there', 'PUT', '/api/groups', { json: {} }, 404, 'not-found'],
    ['a path that is not there', 'GET', '/api/nothing', {}, 404, 'not-found'],
  ]
  test.each(cases)('%s', async (_, method, path, call, status, code) => {
    const answer = await api.ask(method, path, call)
    expect([answer.status, answer.code]).toEqual([status, code])
    expect(answer.events).toEqual([])
    const { message, hint } = answer.body as { message: string; hint: string }
    expect(message.length).toBeGreaterThan(5)
    expect(message.length).toBeLessThan(400)
    expect(hint).not.toBe('')
  })

  test('none of them was a fault, and none left a group', async () => {
    expect(api.log.filter((line) => line.startsWith('api.fault'))).toEqual([])
    expect((await api.ask('GET', '/api/groups')).body).toEqual([])
  })
})

describe('groups', () => {
  test('made, shown by any case, made again, removed', async () => {
    const name = 'Größe 東京 📦 100%41'
    const made = await api.ask('POST', '/api/groups', { as: 'operator', json: { name } })
    expect([made.status, made.events]).toEqual([201, [`library.changed ${name}`]])
    expect((await api.ask('GET', `/api/groups/${inPath(name)}`)).body).toMatchObject({ name, images: 0 })
    expect((await api.ask('POST', '/api/groups', { json: { name } })).code).toBe('exists')
    const gone = await api.ask('DELETE', `/api/groups/${inPath(name)}`)
    expect([gone.status, gone.events]).toEqual([204, [`library.changed ${name}`]])
  })

  test('two admins make the same at once: one of them', async () => {
    const both = await Promise.all([1, 2].map(() => api.ask('POST', '/api/groups', { json: { name: 'Twice' } })))
    expect(both.map((answer) => answer.status).sort()).toEqual([201, 409])
    expect((await api.ask('DELETE', '/api/groups/Twice')).status).toBe(204)
  })
})

async function uploaded(files: Readonly<Record<string, Uint8Array>>): Promise<string> {
  const { id } = (await api.ask('POST', '/api/uploads')).body as { id: string }
  for (const [name, bytes] of Object.entries(files))
    expect(
      (await api.ask('PUT', `/api/uploads/${id}/${inPath(name)}`, { as: 'operator', body: Uint8Array.from(bytes) }))
        .status,
    ).toBe(204)
  return id
}

const uploads = (): string[] => readdirSync(join(dataDir, 'uploads'))

describe('uploads and imports', () => {
  beforeAll(async () => {
    await api.ask('POST', '/api/groups', { json: { name: 'G' } })
    for (const id of uploads()) await api.ask('DELETE', `/api/uploads/${id}`)
  })

  test.each(['', '.', '..', 'a/b', 'a\\b', 'a\0', 'a\n', 'a\u009b', 'x'.repeat(201)])(
    'a file may not be called %j',
    async (name) => {
      const id = await uploaded({})
      const answer = await api.ask('PUT', `/api/uploads/${id}/${inPath(name)}`, { body: 'x' })
      expect([400, 404]).toContain(answer.status)
      expect(readdirSync(join(dataDir, 'uploads', id))).toEqual([])
      await api.ask('DELETE', `/api/uploads/${id}`)
    },
  )

  test('an upload becomes an image, and goes', async () => {
    const upload = await uploaded({ 'Größe 1.wim': tinyWim(['One']) })
    const started = await api.ask('POST', '/api/imports', {
      as: 'operator',
      json: { upload, sourceName: 'Größe 1.wim', group: 'g', description: 'said' },
    })
    expect(started.status).toBe(202)
    // The import owns it now.
    for (const [method, path, call] of [
      ['POST', '/api/imports', { json: { upload, sourceName: 'Größe 1.wim', group: 'none' } }],
      ['PUT', `/api/uploads/${upload}/more`, { body: 'x' }],
      ['DELETE', `/api/uploads/${upload}`, {}],
    ] as const)
      expect((await api.ask(method, path, call)).code).toBe('in-use')
    expect(await api.ended(started)).toMatchObject({ state: 'done', startedBy: 'token:operator', error: null })
    expect(uploads()).toEqual([])
    expect((await api.ask('GET', '/api/images/One')).body).toMatchObject({
      name: 'One',
      fileName: 'Größe 1.wim',
      description: 'said',
      public: false,
    })
  })

  test('a dry run leaves its upload for the import after it, unless it is dropped meanwhile', async () => {
    const wanted = { sourceName: 'tried.wim', group: 'G' }
    const file = { 'tried.wim': tinyWim(['Tried']) }
    const upload = await uploaded(file)
    const ask = (path: string, more = {}) =>
      api.ask('POST', path, { as: 'operator', json: { ...wanted, upload, ...more } })
    const first = await ask('/api/imports?dryRun=true')
    expect((await api.ask('PUT', `/api/uploads/${upload}/more`, { body: 'x' })).code).toBe('in-use')
    // Two may read it at a time.
    const second = await ask('/api/library/repairs?dryRun=true')
    for (const started of [first, second])
      expect(await api.ended(started)).toMatchObject({ state: 'done', result: { dryRun: true } })
    expect((await ask('/api/imports?dryRun=true', { group: 'none' })).code).toBe('not-found')
    expect((await ask('/api/library/repairs?dryRun=true', { group: 'none' })).code).toBe('not-found')
    expect((await ask('/api/images/Nobody/replacements?dryRun=true', { group: undefined })).code).toBe('not-found')
    expect(uploads()).toEqual([upload])

    // Also while a dry run still reads it; then it is nobody else's.
    const again = await ask('/api/imports?dryRun=true')
    const imported = await ask('/api/imports')
    expect((await ask('/api/imports?dryRun=true')).code).toBe('in-use')
    expect(await api.ended(again)).toMatchObject({ state: 'done' })
    expect(await api.ended(imported)).toMatchObject({ state: 'done', result: { images: ['Tried'] } })
    expect(uploads()).toEqual([])

    const other = await uploaded(file)
    const tried = await ask('/api/imports?dryRun=true', { upload: other, fileName: 'other.wim', name: 'Other' })
    expect((await api.ask('DELETE', `/api/uploads/${other}`, { as: 'operator' })).status).toBe(204)
    expect(await api.ended(tried)).toMatchObject({ state: 'done' })
    expect(uploads()).toEqual([])
  })

  test('a second file of the same name is refused, the first stays', async () => {
    const upload = await uploaded({ a: tinyWim(['A']) })
    expect((await api.ask('PUT', `/api/uploads/${upload}/a`, { body: 'x' })).code).toBe('exists')
    expect(await Bun.file(join(dataDir, 'uploads', upload, 'a')).bytes()).toEqual(Uint8Array.from(tinyWim(['A'])))
    expect((await api.ask('POST', '/api/imports', { json: { upload, sourceName: 'b' } })).code).toBe('not-found')
    expect((await api.ask('POST', '/api/imports', { json: { upload, sourceName: '../a' } })).code).toBe('bad-name')
    expect((await api.ask('POST', '/api/imports', { json: { upload } })).code).toBe('bad-request')
    expect((await api.ask('POST', '/api/imports', { json: { upload, sourceName: 'a', path: '/x' } })).code).toBe(
      'bad-request',
    )
    // Refused by the library, not by its form: nobody will import from it again, so it goes.
    expect((await api.ask('POST', '/api/imports', { json: { upload, sourceName: 'a', group: 'none' } })).code).toBe(
      'not-found',
    )
    expect(uploads()).toEqual([])
  })

  test('a client that goes in the middle leaves no file', async () => {
    const upload = await uploaded({})
    const gone = new AbortController()
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(1000))
      },
      pull() {
        gone.abort()
        return new Promise(() => {})
      },
    })
    await api.ask('PUT', `/api/uploads/${upload}/half`, { body, signal: gone.signal })
    expect(readdirSync(join(dataDir, 'uploads', upload))).toEqual([])
    await api.ask('DELETE', `/api/uploads/${upload}`)
  })

  test('below an import root the service reads the file itself', async () => {
    mkdirSync(join(root, 'deep'))
    const path = writeWim(join(root, 'deep', 'two.wim'), ['Two'])
    symlinkSync(path, join(root, 'link.wim'))
    const started = await api.ask('POST', '/api/imports', { json: { path: join(root, 'link.wim'), group: 'G' } })
    expect((await api.ended(started)).state).toBe('done')
    expect((await api.ask('GET', '/api/images/Two')).body).toMatchObject({ fileName: 'link.wim' })
    expect(uploads()).toEqual([])
  })

  test('what is not a file below an import root is not read', async () => {
    const outside = writeWim(join(dataDir, 'outside.wim'), ['Outside'])
    symlinkSync(outside, join(root, 'out.wim'))
    symlinkSync(dataDir, join(root, 'out'))
    mkdirSync(`${root}-beside`)
    writeWim(join(`${root}-beside`, 'x.wim'), ['Beside'])
    Bun.spawnSync(['mkfifo', join(root, 'pipe')])
    writeFileSync(join(root, 'unlinked'), '')
    rmSync(join(root, 'unlinked'))
    const paths = [
      outside,
      'out.wim',
      'out/outside.wim',
      '../outside.wim',
      'pipe',
      'deep',
      '.',
      'unlinked',
      '\0',
      'deep/two.wim/',
      '/dev/zero',
      '/proc/self/mem',
      `${root}-beside/x.wim`,
    ]
    for (const path of paths) {
      const answer = await api.ask('POST', '/api/imports', {
        json: { path: path.startsWith('/') ? path : `${root}/${path}`, group: 'G' },
      })
      expect([path, answer.status, answer.code]).toEqual([path, 400, 'bad-path'])
      expect(answer.events).toEqual([])
    }
    expect(
      (
        await api.ask('POST', '/api/imports', {
          json: { path: relative(process.cwd(), join(root, 'deep', 'two.wim')), group: 'G' },
        })
      ).code,
    ).toBe('bad-path')
  })

  test('two admins import the same file name at once: the second fails, the first is whole', async () => {
    const path = writeWim(join(root, 'same.wim'), ['Same'])
    const both = await Promise.all([1, 2].map(() => api.ask('POST', '/api/imports', { json: { path, group: 'G' } })))
    const jobs = await Promise.all(both.map((answer) => api.ended(answer)))
    expect(jobs.map((job) => job.state).sort()).toEqual(['done', 'failed'])
    expect(jobs.find((job) => job.state === 'failed')?.error?.code).toBe('exists')
    expect((await api.ask('GET', '/api/images/Same')).status).toBe(200)
  })

  test.each([
    [0, 400],
    ['0', 202],
    ['', 202],
    [1.5, 400],
    ['7', 202],
    ['99999999999999999999', 202],
    ['nobody', 202],
  ])('index %j: %i, and no image', async (index, status) => {
    const before = (await api.ask('GET', '/api/images')).text
    const answer = await api.ask('POST', '/api/imports', {
      json: { path: join(root, 'same.wim'), group: 'G', index, fileName: 'other' },
    })
    expect(answer.status).toBe(status)
    if (status === 202) {
      const job = await api.ended(answer)
      expect([job.state, job.error?.code]).toEqual(['failed', 'not-found'])
    }
    expect((await api.ask('GET', '/api/images')).text).toBe(before)
  })
})

describe('images', () => {
  test('names of any kind are found by their path', async () => {
    const names = ['a/b', 'a%2Fb', '100 %', '50%41', '?x=1#y', '東京 📦', 'semi;colon&amp', '"quoted"', '+plus +']
    for (const [i, name] of names.entries()) {
      const copy = await api.ask('POST', '/api/images/One/copies', {
        json: { newName: name, newFileName: `copy ${i}` },
      })
      expect([copy.status, copy.events]).toEqual([201, ['library.changed G']])
      expect((await api.ask('GET', `/api/images/${inPath(name)}`)).body).toMatchObject({
        name,
        fileName: `copy ${i}.wim`,
      })
    }
    for (const name of names) {
      const removed = await api.ask('DELETE', `/api/images/${inPath(name)}?group=G`)
      expect([removed.status, removed.events]).toEqual([204, ['library.changed G']])
    }
  })

  test('two admins copy to the same file name at once: one of them', async () => {
    const both = await Promise.all(
      ['c', 'C'].map((newFileName) =>
        api.ask('POST', '/api/images/One/copies', { json: { newName: 'C', newFileName } }),
      ),
    )
    expect(both.map((answer) => answer.status).sort()).toEqual([201, 409])
    expect((await api.ask('DELETE', '/api/images/C')).status).toBe(204)
  })

  const CHANGES: readonly (readonly [string, unknown, number, string | undefined])[] = [
    ['a description of 10 MB', { description: 'x'.repeat(10 << 20) }, 400, 'bad-request'],
    ['one too long', { description: 'x'.repeat(4097) }, 400, 'bad-name'],
    ['one with a zero byte', { description: 'a\0b' }, 400, 'bad-name'],
    ['one with half a surrogate pair', { description: '\udc00' }, 400, 'bad-name'],
    ['no name', { name: '  ' }, 400, 'bad-name'],
    ['a name of two lines', { name: 'a\nb' }, 400, 'bad-name'],
    ['a name that paths cannot carry', { name: '..' }, 400, 'bad-name'],
    ['null', { name: null }, 400, 'bad-request'],
  ]
  test.each(CHANGES)('refuses %s, and changes nothing', async (_, json, status, code) => {
    const before = (await api.ask('GET', '/api/images/One')).text
    const answer = await api.ask('PATCH', '/api/images/One', { json })
    expect([answer.status, answer.code, answer.events]).toEqual([status, code, []])
    expect((await api.ask('GET', '/api/images/One')).text).toBe(before)
  })

  test('a name that is not unique wants a file, a second group a group', async () => {
    await api.ask('POST', '/api/images/One/copies', { json: { newName: 'One', newFileName: 'second' } })
    const two = await api.ask('GET', '/api/images/One')
    expect([two.status, two.code]).toEqual([409, 'ambiguous'])
    expect((two.body as { facts: unknown }).facts).toEqual({ files: ['Größe 1.wim', 'second.wim'] })
    expect((await api.ask('DELETE', '/api/images/one?file=SECOND')).status).toBe(204)
    await api.ask('POST', '/api/groups', { json: { name: 'H' } })
    expect((await api.ask('GET', '/api/images/One')).code).toBe('ambiguous')
    expect((await api.ask('GET', '/api/images/One?group=G')).status).toBe(200)
    expect((await api.ask('GET', '/api/images?group=H')).body).toEqual([])
    expect((await api.ask('DELETE', '/api/groups/H')).status).toBe(204)
    expect((await api.ask('DELETE', '/api/groups/G')).code).toBe('in-use')
  })

  test('a download wants a token, until the image is public', async () => {
    const path = `/images/G/${inPath('Größe 1.wim')}`
    expect((await api.ask('GET', path, { as: 'viewer' })).status).toBe(200)
    for (const as of ['nobody', 'http'] as const) expect((await api.ask('GET', path, { as })).status).toBe(404)
    const made = await api.ask('PATCH', '/api/images/One', { as: 'operator', json: { public: true } })
    expect([made.status, made.events]).toEqual([200, ['library.changed G']])
    for (const as of ['nobody', 'http'] as const) {
      expect((await api.ask('GET', path, { as })).status).toBe(200)
      // Which names there are is nobody's business: POST and folders say the same as what is not there.
      expect((await api.ask('GET', '/images/G/', { as })).status).toBe(404)
      expect((await api.ask('POST', path, { as })).status).toBe(404)
    }
    expect((await api.ask('GET', path, { as: 'revoked' })).status).toBe(401)
    await api.ask('PATCH', '/api/images/One', { json: { public: false } })
    for (const as of ['nobody', 'http'] as const) expect((await api.ask('HEAD', path, { as })).status).toBe(404)
  })
})

describe('transmissions', () => {
  test('made, joined, fetched by range, stopped; then over', async () => {
    const image = await api.ask('GET', `/images/G/${inPath('Größe 1.wim')}`)
    const made = await api.ask('POST', '/api/casts', {
      as: 'operator',
      json: { image: 'One', interface: 'lo', rateBitsPerSecond: 1e6 },
    })
    expect([made.status, made.code]).toEqual([201, undefined])
    const { id, createdBy } = made.body as { id: number; createdBy: string }
    expect(createdBy).toBe('token:operator')
    expect(made.events).toContain(`cast.changed ${id}`)
    const at = `/api/casts/${id}`
    const manifest = await api.fetch('GET', `${at}/manifest`, { as: 'viewer' })
    expect([manifest.status, manifest.headers.get('content-type')]).toEqual([200, 'application/octet-stream'])
    expect((await manifest.bytes()).length).toBeGreaterThan(32)
    expect((await api.ask('GET', `${at}/content`, { as: 'viewer', headers: { Range: 'bytes=0-7' } })).text).toBe(
      'MSWIM\0\0\0',
    )
    expect(Number((await api.ask('HEAD', `${at}/content`)).headers.get('content-length'))).toBe(
      Number(image.headers.get('content-length')),
    )
    expect((await api.ask('POST', `${at}/join`, { json: { clientName: '' } })).code).toBe('bad-request')
    expect((await api.ask('POST', `${at}/join`, { json: { clientName: 'x', needs: 'AAAA' } })).code).toBe('bad-request')
    const joined = await api.ask('POST', `${at}/join`, { as: 'viewer', json: { clientName: 'PC \u001b[31m' } })
    expect([joined.status, joined.headers.get('cache-control')]).toEqual([200, 'no-store'])
    const { clientId, reportKey } = joined.body as { clientId: number; reportKey: string }
    const done = (json: object) =>
      api.ask('POST', `${at}/done`, {
        as: 'viewer',
        json: { clientId, proof: reportKey, outcome: 'received', ...json },
      })
    expect((await done({ outcome: 'happy' })).code).toBe('bad-request')
    expect((await done({ proof: 'AAAA' })).code).toBe('not-allowed')
    expect((await done({ clientId: clientId ^ 1 })).code).toBe('not-allowed')
    expect((await done({})).status).toBe(204)
    expect((await api.ask('GET', '/api/casts')).body).toMatchObject([{ id, image: 'One', group: 'G' }])
    // The secret of the session is for those who join, not for those who look.
    expect((await api.ask('GET', at)).text).not.toMatch(/secret|sessionKey|sessionId/)

    const over = Promise.withResolvers<void>()
    const until = new AbortController()
    api.bus.subscribe(
      (event) => {
        if (event.kind !== 'cast.changed') return
        api.ask('GET', at).then((answer) => {
          if ((answer.body as { endedAtMs?: number }).endedAtMs !== undefined) over.resolve()
        }, over.reject)
      },
      { signal: until.signal },
    )
    expect((await api.ask('POST', `${at}/stop`, { as: 'operator', json: { force: true } })).status).toBe(202)
    await over.promise
    until.abort()
    expect((await api.ask('POST', `${at}/stop`, { json: {} })).code).toBe('cast-over')
    expect((await api.ask('POST', `${at}/join`, { json: { clientName: 'late' } })).code).toBe('cast-over')
    expect((await api.ask('GET', `${at}/content`)).code).toBe('cast-over')
    expect((await api.ask('GET', `${at}/manifest`)).code).toBe('cast-over')
    expect((await api.ask('GET', at)).body).toMatchObject({ id, reason: 'stopped' })
  })

  test('an interface that is not there is refused, and told', async () => {
    const answer = await api.ask('POST', '/api/casts', { json: { image: 'One', interface: 'nosuch0' } })
    expect([answer.status, answer.code]).toEqual([400, 'bad-request'])
  })
})

/** The events of a stream as `event data` until `enough` of them, or its end. */
async function* eventsOf(response: Response): AsyncGenerator<{ readonly event: string; readonly data: unknown }> {
  let rest = ''
  if (!response.body) return
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const field = (name: string): string => new RegExp(`^${name}: ?(.*)$`, 'm').exec(block)?.[1] ?? ''
      if (field('event') !== '') yield { event: field('event'), data: JSON.parse(field('data')) }
    }
  }
}

describe('events', () => {
  test('whoever connects sees what is, then what changes; who leaves is forgotten', async () => {
    const gone = new AbortController()
    const response = await api.fetch('GET', '/api/events', { as: 'viewer', signal: gone.signal })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
    expect(api.listeners()).toBe(1)
    const events = eventsOf(response)
    const first: string[] = []
    let last: unknown
    for await (const { event, data } of events) {
      first.push(event)
      last = data
      if (event === 'cast') break
    }
    expect(first[0]).toBe('library')
    expect(new Set(first)).toEqual(new Set(['library', 'job', 'cast']))
    expect(last).toMatchObject({ image: 'One' })
    gone.abort()
    expect(api.listeners()).toBe(0)
  })

  test("a job's stream has that job alone, and ends with it", async () => {
    const path = writeWim(join(root, 'streamed.wim'), ['Streamed'])
    const started = await api.ask('POST', '/api/imports', { json: { path, group: 'G' } })
    const { id } = started.body as { id: number }
    const seen: { readonly id: number; readonly state: string }[] = []
    for await (const { event, data } of eventsOf(await api.fetch('GET', `/api/events?job=${id}`))) {
      expect(event).toBe('job')
      seen.push(data as (typeof seen)[number])
    }
    expect(seen.every((job) => job.id === id)).toBe(true)
    expect(seen.at(-1)?.state).toBe('done')
    const after = []
    for await (const { data } of eventsOf(await api.fetch('GET', `/api/events?job=${id}`))) after.push(data)
    expect(after).toMatchObject([{ id, state: 'done' }])
    expect(api.listeners()).toBe(0)
  })

  test('HEAD leaves no listener behind', async () => {
    expect((await api.ask('HEAD', '/api/events', { as: 'viewer' })).status).toBe(200)
    expect(api.listeners()).toBe(0)
  })

  test('a revoked token gets no more events', async () => {
    const { token } = (await api.ask('POST', '/api/tokens', { json: { name: 'watcher', role: 'viewer' } })).body as {
      token: string
    }
    const response = await api.fetch('GET', '/api/events', {
      as: 'nobody',
      headers: { Authorization: `Bearer ${token}` },
    })
    const events = eventsOf(response)
    await events.next()
    await api.ask('DELETE', '/api/tokens/watcher')
    await api.ask('POST', '/api/groups', { json: { name: 'Unseen' } })
    const rest: string[] = []
    for await (const { data } of events) rest.push(JSON.stringify(data))
    expect(rest.filter((data) => data.includes('Unseen'))).toEqual([])
    expect(api.listeners()).toBe(0)
    await api.ask('DELETE', '/api/groups/Unseen')
  })

  // The last: it closes this API's streams for good.
  test('the streams end when the appliance closes', async () => {
    const response = await api.fetch('GET', '/api/events')
    const events = eventsOf(response)
    await events.next()
    api.closing.abort()
    for await (const _ of events);
    expect(api.listeners()).toBe(0)
  })
})
