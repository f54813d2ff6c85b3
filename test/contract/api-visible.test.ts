/**
 * Who may not see a group or an image learns nothing of it by any answer: everything that is read, every refusal of what
 * is tried, and the event stream are searched for their names.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Answer, openTestApi, type TestApi, writeWim } from '../fixtures/api.ts'

/** In every name that is limited, and in nothing else. */
const TAINT = /secret/i
const ADMINS = { roles: ['admin'], machineGroups: [] }
const UNATTEND = '<unattend xmlns="urn:schemas-microsoft-com:unattend"><pw>hunter2</pw></unattend>'

let dataDir: string
let api: TestApi

async function did(method: string, path: string, json?: unknown): Promise<Answer> {
  const answer = await api.ask(method, path, { json })
  expect(`${path}: ${answer.status < 300 ? '' : answer.text}`).toBe(`${path}: `)
  if (answer.status === 202 && !path.includes('/casts')) expect((await api.ended(answer)).error).toBeNull()
  return answer
}

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'wimcast-visible-'))
  mkdirSync(join(dataDir, 'root'))
  api = await openTestApi(dataDir)
  const plain = writeWim(join(api.root, 'plain.wim'), ['Plain'])
  const secret = writeWim(join(api.root, 'secret.wim'), ['Secret'], { text: 'other' })
  await did('POST', '/api/groups', { name: 'Open' })
  await did('POST', '/api/groups', { name: 'Secret Group', audience: ADMINS })
  await did('POST', '/api/imports', { group: 'Open', path: plain })
  await did('POST', '/api/imports', { group: 'Open', path: secret, architecture: 'x64', unattend: UNATTEND })
  await did('POST', '/api/imports', { group: 'Secret Group', path: plain, name: 'Inside secret' })
  await did('POST', '/api/library/repairs', { group: 'Secret Group' })
  // Before it is limited too: what was done then is told to nobody afterwards.
  await did('POST', '/api/exports', { group: 'Open', image: 'Secret', path: join(api.root, 'out-secret.wim') })
  await did('PATCH', '/api/images/Secret?group=Open', { audience: ADMINS })
  await did('POST', '/api/exports', {
    group: 'Secret Group',
    image: 'Inside secret',
    path: join(api.root, 'out2-secret.wim'),
  })
  await did('POST', '/api/images/Secret/replacements?group=Open', { path: plain })
  await did('POST', '/api/images/Secret/copies?group=Open', { newName: 'Secret 2', newFileName: 'secret2' })
  await did('DELETE', '/api/images/Secret%202?group=Open')
  await did('POST', '/api/library/scrubs', { group: 'Open' })
  await did('POST', '/api/library/repairs', { group: 'Open' })
  await did('POST', '/api/casts', { image: 'Secret', group: 'Open', name: 'Secret cast', manualStart: true })
  await did('POST', '/api/casts', { image: 'Inside secret', group: 'Secret Group', manualStart: true })
  await did('PATCH', '/api/images/Secret?group=Open', { bootDefault: true })
  await did('POST', '/api/casts/1/stop', { force: true })
}, 30_000)
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  rmSync(dataDir, { recursive: true, force: true })
})

const READS = [
  '/groups',
  '/images',
  '/images?search=sec',
  '/jobs',
  '/casts',
  '/trash',
  '/library/health',
  '/settings',
  '/groups/Open',
  '/groups/Open/sharing',
  ...Array.from({ length: 14 }, (_, i) => `/jobs/${i + 1}`),
  ...[1, 2, 3].flatMap((id) => [`/casts/${id}`, `/casts/${id}/manifest`, `/casts/${id}/content`]),
]

describe.each(['viewer', 'operator'] as const)('a %s', (as) => {
  test('reads nothing of what is limited', async () => {
    const told: string[] = []
    for (const path of READS) {
      const { text } = await api.ask('GET', `/api${path}`, { as })
      if (TAINT.test(text)) told.push(`${path}: ${text}`)
    }
    expect(told).toEqual([])
  })

  test('finds as many images in a group as it is told of', async () => {
    const groups = (await api.ask('GET', '/api/groups', { as })).body as { name: string; images: number }[]
    expect(groups.map(({ name, images }) => [name, images])).toEqual([['Open', 1]])
    const seen = (await api.ask('GET', '/api/groups', { as: 'admin' })).body as { name: string; images: number }[]
    expect(seen.map(({ images }) => images)).toEqual([2, 1])
  })

  test('hears nothing of it', async () => {
    const response = await api.fetch('GET', '/api/events', { as, signal: AbortSignal.timeout(5000) })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    let text = ''
    // What is, then what becomes: the own job is the last that comes.
    while (!text.includes('event: library')) text += new TextDecoder().decode((await reader.read()).value)
    await did('PATCH', '/api/groups/Secret%20Group', { description: 'secret' })
    const last = await did('POST', '/api/library/repairs', { group: 'Open' })
    const { id } = last.body as { id: number }
    while (!(text.includes(`"id":${id}`) && text.includes('"state":"done"')))
      text += new TextDecoder().decode((await reader.read()).value)
    await reader.cancel()
    expect(text).not.toMatch(TAINT)
  })

  test.each([
    ['GET', '/groups/SECRET%20GROUP', undefined, 'not-found'],
    ['GET', '/images/nix?group=Open', undefined, 'not-found'],
    ['GET', '/images/SECRET?group=Open', undefined, 'not-found'],
    ['GET', '/images/Plain?group=Open&file=secret', undefined, 'not-found'],
    ['GET', '/images/x', undefined, 'not-found'],
    ['GET', '/images/SECRET/content?group=Open', undefined, 'not-found'],
  ])('%s %s tells only what was asked', async (method, path, json, code) => {
    const answer = await api.ask(method, `/api${path}`, { as, json })
    expect(answer.code).toBe(code)
    // The names as they are, not as they were asked for.
    expect(answer.text).not.toMatch(/Secret/)
  })

  test('does not get its file, whatever the case', async () => {
    for (const path of ['/images/Open/secret.wim', '/images/OPEN/SECRET.WIM', '/images/secret%20group/plain.wim']) {
      const answer = await api.ask('GET', path, { as, headers: { 'If-None-Match': '*' } })
      expect([path, answer.status, answer.headers.get('etag')]).toEqual([path, 404, null])
    }
  })
})

test('an operator is not told which hidden image keeps a group', async () => {
  const answer = await api.ask('DELETE', '/api/groups/Open?withImages=true', { as: 'operator' })
  expect(answer.code).toBe('boot-default')
  expect(answer.text).not.toMatch(TAINT)
})

test('who started a job sees what it did', async () => {
  const exported = { group: 'Open', image: 'Plain', path: join(api.root, 'mine.wim') }
  const answer = await api.ask('POST', '/api/exports', { as: 'operator', json: exported })
  await api.ended(answer)
  const { id } = answer.body as { id: number }
  const mine = (await api.ask('GET', `/api/jobs/${id}`, { as: 'operator' })).body
  expect(mine).toMatchObject({ title: 'export Plain to mine.wim', result: { image: 'Plain' } })
  // To others it is a job of a group that holds more than they may know of.
  const theirs = (await api.ask('GET', `/api/jobs/${id}`, { as: 'viewer' })).body
  expect(theirs).toMatchObject({ kind: 'image.export', state: 'done', title: 'image.export in Open' })
  expect(theirs).not.toHaveProperty('result')
})

test('answer files are in no row but their own, in no log and in no job', async () => {
  for (const path of ['/jobs', '/audit?limit=1000', '/images', '/trash'])
    expect((await api.ask('GET', `/api${path}`)).text).not.toContain('hunter2')
  expect(api.log.join('\n')).not.toContain('hunter2')
  expect((await api.ask('GET', '/api/images/Secret/unattend?group=Open', { as: 'viewer' })).code).toBe('not-allowed')
})
