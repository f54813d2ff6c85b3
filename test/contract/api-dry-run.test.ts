/**
 * Every route that changes something, in one life of a library: first as a dry run, which answers what the change will
 * answer, says so in a header and leaves everything as it was; then for real, with one truthful line in the audit log.
 */
import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Answer, openTestApi, type TestApi, writeWim } from '../fixtures/api.ts'

let dataDir: string
let api: TestApi
let rows: Database

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'wimcast-dry-'))
  mkdirSync(join(dataDir, 'root'))
  api = await openTestApi(dataDir)
  rows = new Database(join(dataDir, 'wimcast.db'), { readonly: true })
  writeWim(join(api.root, 'one.wim'), ['One'])
  writeWim(join(api.root, 'next.wim'), ['Next'], { text: 'newer' })
})
afterAll(async () => {
  rows.close()
  await api[Symbol.asyncDispose]()
  rmSync(dataDir, { recursive: true, force: true })
})

/** All rows but those of jobs: a dry run of long work is a job too. And what lies in the folders. */
function snapshot(): string {
  const tables = rows
    .query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .all()
    .filter(({ name }) => name !== 'jobs')
  const files = ['groups', 'backups', 'root'].flatMap((folder) => {
    try {
      return readdirSync(join(dataDir, folder), { recursive: true, encoding: 'utf8' })
    } catch {
      return []
    }
  })
  return JSON.stringify([
    tables.map(({ name }) => [name, rows.query(`SELECT * FROM "${name}"`).values()]),
    // The manifest is written when it is quiet for a moment.
    files.filter((name) => !name.includes('group.json')).sort(),
  ])
}

type Line = { readonly verb: string; readonly subject: string; readonly who: string; readonly jobId?: number }

async function audited(): Promise<Line[]> {
  return (await api.ask('GET', '/api/audit?limit=1000')).body as Line[]
}

/** The fields of an answer, and of a job's answer nothing: its rows differ. */
function shapeOf({ status, body }: Answer): unknown {
  return [status, status === 202 || typeof body !== 'object' || body === null ? '' : Object.keys(body).sort()]
}

const ROOT = (name: string): string => join(api.root, name)

/** Method, path, body -> verb and subject in the audit log. In this order each finds what it needs. */
const LIFE: readonly (readonly [string, string, () => unknown, string, string | RegExp])[] = [
  ['POST', '/groups', () => ({ name: 'G' }), 'group.new', 'G'],
  ['PATCH', '/groups/G', () => ({ description: 'd' }), 'group.set', 'G'],
  ['POST', '/imports', () => ({ path: ROOT('one.wim'), fileName: 'one' }), 'image.import', 'G/one.wim'],
  ['PATCH', '/images/One', () => ({ comment: 'c' }), 'image.set', 'G/one.wim'],
  ['POST', '/images/One/replacements', () => ({ path: ROOT('next.wim') }), 'image.replace', 'G/one.wim'],
  ['POST', '/images/One/undo', () => undefined, 'image.undo', 'G/one.wim'],
  ['POST', '/images/One/copies', () => ({ newName: 'Two', newFileName: 'two' }), 'image.copy', 'G/one.wim'],
  ['POST', '/exports', () => ({ image: 'One', path: ROOT('out.wim') }), 'image.export', 'G/one.wim'],
  ['POST', '/casts', () => ({ image: 'One', manualStart: true }), 'cast.new', '1 One'],
  ['POST', '/casts/1/stop', () => ({}), 'cast.stop', '1 One'],
  ['DELETE', '/images/Two', () => undefined, 'image.remove', 'G/two.wim'],
  ['POST', '/trash/3/restore', () => ({ fileName: 'back' }), 'trash.restore', 'G/back.wim'],
  ['POST', '/library/scrubs', () => ({ group: 'G' }), 'library.scrub', 'G'],
  ['PUT', '/settings/scrub.at', () => ({ value: '04:00' }), 'settings.set', 'scrub.at'],
  ['POST', '/tokens', () => ({ name: 't', role: 'viewer' }), 'token.new', 't'],
  ['DELETE', '/tokens/t', () => undefined, 'token.revoke', 't'],
  ['POST', '/backups', () => undefined, 'backup.create', /^wimcast-/],
  ['DELETE', '/groups/G?withImages=true', () => undefined, 'group.remove', 'G'],
  ['POST', '/trash/empty', () => ({ ids: [2] }), 'trash.empty', 'G/one.wim'],
]

test.each(LIFE)(
  '%s %s',
  async (method, path, json, verb, subject) => {
    const before = snapshot()
    const lines = (await audited()).length
    const url = `/api${path}`
    const dry = await api.ask(method, `${url}${path.includes('?') ? '&' : '?'}dryRun=true`, { json: json() })
    expect(dry.text.slice(0, dry.status < 300 ? 0 : 300)).toBe('')
    if (dry.status === 202 && !path.startsWith('/casts')) {
      const job = await api.ended(dry)
      expect([job.error, job.result?.['dryRun']]).toEqual([null, true])
    }
    expect(dry.headers.get('wimcast-dry-run')).toBe('true')
    expect(snapshot()).toBe(before)
    expect(dry.events.filter((event) => !event.startsWith('job.changed'))).toEqual([])

    // A transmission that stops changes rows until it has ended.
    const over = new AbortController()
    const ended = new Promise<void>((resolve) => {
      const look = async (): Promise<void> => {
        const cast = (await api.ask('GET', '/api/casts/1')).body as { readonly endedAtMs?: number }
        if (cast.endedAtMs !== undefined) resolve()
      }
      api.bus.subscribe((event) => void (event.kind === 'cast.changed' && look()), { signal: over.signal })
    })
    const real = await api.ask(method, url, { json: json() })
    if (verb === 'cast.stop') await ended
    over.abort()
    expect(real.text.slice(0, real.status < 300 ? 0 : 300)).toBe('')
    const job = real.status === 202 && !path.startsWith('/casts') ? await api.ended(real) : undefined
    expect([job?.error ?? null, real.headers.get('wimcast-dry-run')]).toEqual([null, null])
    expect(snapshot()).not.toBe(before)
    expect(shapeOf(dry)).toEqual(shapeOf(real))
    const now = await audited()
    const made = now.slice(0, now.length - lines)
    expect(made).toMatchObject([{ verb, who: 'local', ...(job ? { jobId: job.id } : {}) }])
    if (typeof subject === 'string') expect(made[0]?.subject).toBe(subject)
    else expect(made[0]?.subject).toMatch(subject)
  },
  20_000,
)

test('what is refused leaves no line, dry or not', async () => {
  const lines = (await audited()).length
  for (const query of ['', '?dryRun=true'])
    for (const [method, path, json] of [
      ['POST', '/groups', { name: 'a/b' }],
      ['PATCH', '/images/none', { comment: 'c' }],
      ['POST', '/casts/1/start', undefined],
      ['POST', '/casts/1/stop', {}],
      ['POST', '/jobs/1/cancel', undefined],
      ['POST', '/trash/999/restore', {}],
      ['DELETE', '/backups/none', undefined],
    ] as const) {
      const answer = await api.ask(method, `/api${path}${query}`, { json })
      expect([path, query, answer.status >= 400]).toEqual([path, query, true])
    }
  expect((await audited()).length).toBe(lines)
})

test('every route that changes something takes dryRun', async () => {
  // They bring bytes, or tell how a client is: nobody would try that out.
  const without = new Set([
    'post /api/uploads',
    'put /api/uploads/{id}/{file}',
    'delete /api/uploads/{id}',
    'post /api/casts/{id}/join',
    'post /api/casts/{id}/done',
  ])
  const { paths } = (await api.ask('GET', '/api/openapi.json')).body as {
    paths: Record<string, Record<string, { parameters?: { name: string }[] }>>
  }
  const lacking = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { parameters = [] }]) => {
      const route = `${method} ${path}`
      return method === 'get' || parameters.some(({ name }) => name === 'dryRun') || without.has(route) ? [] : [route]
    }),
  )
  expect(lacking).toEqual([])
})
