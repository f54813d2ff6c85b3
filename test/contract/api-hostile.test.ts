/**
 * What nobody means well: every verb that changes something, with each field of its body, its path and its query gone
 * wrong, and two admins who ask for the same at once. Each is refused with a code, is no fault, and leaves the library as it
 * was; of two at once exactly one wins.
 */
import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isCode } from '../../src/base/refusal.ts'
import { type Answer, type Call, openTestApi, type TestApi, writeWim } from '../fixtures/api.ts'
import { HOSTILE, HUGE, VERBS } from '../fixtures/hostile.ts'

let dataDir: string
let api: TestApi
let rows: Database
let source: string

beforeAll(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'wimcast-hostile-'))
  mkdirSync(join(dataDir, 'root'))
  api = await openTestApi(dataDir)
  rows = new Database(join(dataDir, 'wimcast.db'), { readonly: true })
  source = writeWim(join(api.root, 'one.wim'), ['One'])
  writeWim(join(api.root, 'next.wim'), ['Next'], { text: 'newer' })
  await api.ask('POST', '/api/groups', { json: { name: 'G' } })
  const imported = await api.ask('POST', '/api/imports', { json: { path: source, group: 'G', fileName: 'one' } })
  expect((await api.ended(imported)).state).toBe('done')
  await copied('Gone', 'gone')
  await api.ask('DELETE', '/api/images/Gone?group=G')
})
afterAll(async () => {
  rows.close()
  await api[Symbol.asyncDispose]()
  rmSync(dataDir, { recursive: true, force: true })
})

async function copied(newName: string, newFileName: string): Promise<Answer> {
  return api.ask('POST', '/api/images/One/copies?group=G', { json: { newName, newFileName } })
}

/** All rows but those of jobs, which may tell of a failure; and what lies in the folders. */
function snapshot(): string {
  const tables = rows
    .query<{ name: string }, []>("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    .all()
    .filter(({ name }) => name !== 'jobs')
  // The manifest is written when it is quiet for a moment.
  const files = readdirSync(join(dataDir, 'groups'), { recursive: true, encoding: 'utf8' }).filter(
    (name) => !name.includes('group.json'),
  )
  return JSON.stringify([
    tables.map(({ name }) => [name, rows.query(`SELECT * FROM "${name}"`).values()]),
    files.sort(),
  ])
}

/** Refused by a code, without a fault; the job of an answer is looked at too. */
async function refused(method: string, path: string, call: Call, what: string): Promise<void> {
  const before = snapshot()
  const lines = api.log.length
  const answer = await api.ask(method, path, call)
  let { code } = answer
  if (answer.status === 202) code = (await api.ended(answer)).error?.code
  const said = `${what}: ${answer.status} ${code}`
  expect(`${said}${code !== undefined && isCode(code) ? '' : ' is no refusal'}`).toBe(said)
  expect(`${said}${answer.status < 500 ? '' : ' is a fault'}`).toBe(said)
  if (snapshot() !== before) throw new Error(`${said}: the library has changed`)
  expect(api.log.slice(lines).filter((line) => line.includes('fault'))).toEqual([])
}

/** Of both the API and the fixture's folder. */
function request(call: string): [method: string, path: string] {
  const [method = '', path = ''] = call.split(' ')
  return [method, `/api${path}`]
}
const rooted = (value: unknown): unknown =>
  typeof value === 'string' && value.startsWith('ROOT') ? api.root + value.slice('ROOT'.length) : value
const bodyOf = (json: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(json).map(([key, value]) => [key, rooted(value)]))
const shortly = (value: unknown): string => (JSON.stringify(value) ?? 'undefined').slice(0, 60)

describe.each(VERBS)('$call', ({ call, json, fields }) => {
  const [method, path] = request(call)

  test.each(Object.entries(fields))('its field %s', async (field, kind) => {
    for (const value of HOSTILE[kind])
      await refused(method, path, { json: { ...bodyOf(json), [field]: rooted(value) } }, `${field}: ${shortly(value)}`)
  })

  test('its body', async () => {
    const type = { 'Content-Type': 'application/json' }
    const whole = JSON.stringify(bodyOf(json))
    const bodies: Readonly<Record<string, NonNullable<Call['body']>>> = {
      empty: '',
      null: 'null',
      'an array': '[]',
      'a text': '"x"',
      'half of it': '{',
      twice: `${whole}${whole}`,
      deep: '['.repeat(200_000),
      'deep and whole': `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`,
      'no UTF-8': new Uint8Array([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
      'too large': `{"x":"${HUGE}"}`,
    }
    for (const [what, body] of Object.entries(bodies)) await refused(method, path, { body, headers: type }, what)
    await refused(method, path, { json: { ...bodyOf(json), unknown: 1 } }, 'an unknown key')
    await refused(
      method,
      path,
      { body: `{"__proto__":{"a":1},"constructor":1,${whole.slice(1)}`, headers: type },
      'keys of objects',
    )
    await refused(method, path, { body: whole, headers: { 'Content-Type': 'text/plain' } }, 'another type')
    await refused(
      method,
      `${path}${path.includes('?') ? '&' : '?'}dryRun=maybe`,
      { json: bodyOf(json) },
      'dryRun=maybe',
    )
  })
})

test('names in paths and queries', async () => {
  const names = [
    '%00',
    '%ff',
    '%2e%2e',
    '..%2f..',
    '%ed%a0%80',
    'a%2fb',
    '%',
    '%zz',
    'x'.repeat(9000),
    encodeURIComponent("' OR 1=1 --"),
  ]
  const json = { newName: 'New', newFileName: 'new' }
  for (const name of names) {
    await refused('PATCH', `/api/groups/${name}`, { json: {} }, `group ${name}`)
    await refused('DELETE', `/api/groups/${name}?withImages=true`, {}, `group ${name}`)
    await refused('POST', `/api/groups/${name}/compactions`, { json: {} }, `group ${name}`)
    await refused('DELETE', `/api/images/${name}?group=G`, {}, `image ${name}`)
    await refused('POST', `/api/images/${name}/undo?group=G`, {}, `image ${name}`)
    await refused('POST', `/api/images/${name}/copies?group=G`, { json }, `image ${name}`)
    await refused('DELETE', `/api/images/One?group=${name}`, {}, `group ${name}`)
    await refused('DELETE', `/api/images/One?group=G&file=${name}`, {}, `file ${name}`)
    await refused('PUT', `/api/uploads/${'0'.repeat(32)}/${name}`, { body: 'x' }, `upload ${name}`)
    await refused('PUT', `/api/settings/${name}`, { json: { value: '1' } }, `setting ${name}`)
  }
  await refused('DELETE', '/api/groups/G?withImages=1', {}, 'withImages=1')
  await refused('DELETE', '/api/groups/G', {}, 'a group with images')
  for (const id of ['0', '-1', '0x1', '1e0', '1.0', ' 1', '%31%00', '9'.repeat(30), 'x', '999999'])
    await refused('POST', `/api/trash/${id}/restore`, { json: {} }, `trash ${id}`)
})

describe('two at once', () => {
  /** Both ask, nobody waits for the other; the answers by who won and who lost. */
  async function both(
    method: string,
    path: string,
    json?: unknown,
  ): Promise<{ won: number; codes: (string | undefined)[] }> {
    const call = json === undefined ? {} : { json }
    const lines = api.log.length
    const answers = await Promise.all([api.ask(method, path, call), api.ask(method, path, call)])
    const codes: (string | undefined)[] = []
    let won = 0
    for (const answer of answers) {
      const { code } = answer.status === 202 ? { code: (await api.ended(answer)).error?.code } : answer
      if (code === undefined) won += 1
      else codes.push(code)
    }
    expect(api.log.slice(lines).filter((line) => line.includes('fault'))).toEqual([])
    return { won, codes }
  }
  const images = async (): Promise<string[]> =>
    ((await api.ask('GET', '/api/images?group=G')).body as { readonly fileName: string }[]).map(
      ({ fileName }) => fileName,
    )
  const audits = async (verb: string): Promise<number> =>
    ((await api.ask('GET', `/api/audit?verb=${verb}&limit=1000`)).body as unknown[]).length
  const trash = async (): Promise<{ readonly id: number; readonly title: string }[]> =>
    (await api.ask('GET', '/api/trash')).body as { readonly id: number; readonly title: string }[]

  test('the same copy', async () => {
    const before = await audits('image.copy')
    const result = await both('POST', '/api/images/One/copies?group=G', { newName: 'Twin', newFileName: 'twin' })
    expect(result).toEqual({ won: 1, codes: ['exists'] })
    expect((await images()).filter((file) => file === 'twin.wim')).toHaveLength(1)
    expect(await audits('image.copy')).toBe(before + 1)
  })

  test('the same change of what somebody looked at', async () => {
    const { changedAtMs } = (await api.ask('GET', '/api/images/Twin?group=G')).body as { readonly changedAtMs: number }
    const change = { comment: 'mine', ifChangedAtMs: changedAtMs }
    expect(await both('PATCH', '/api/images/Twin?group=G', change)).toEqual({ won: 1, codes: ['changed'] })
  })

  test('the same removal, and the same restoring', async () => {
    expect(await both('DELETE', '/api/images/Twin?group=G')).toEqual({ won: 1, codes: ['not-found'] })
    const { id } = (await trash()).find(({ title }) => title === 'Twin') ?? { id: 0 }
    expect(await both('POST', `/api/trash/${id}/restore`, {})).toEqual({ won: 1, codes: ['not-found'] })
    expect((await images()).filter((file) => file === 'twin.wim')).toHaveLength(1)
  })

  test('the same replacement', async () => {
    const next = join(api.root, 'next.wim')
    const result = await both('POST', '/api/images/Twin/replacements?group=G', { path: next })
    expect(result).toEqual({ won: 1, codes: ['changed'] })
    expect((await trash()).filter(({ title }) => title === 'Twin')).toHaveLength(1)
  })

  test('the same step back', async () => {
    // Whoever is second steps back from that: an earlier version is there again.
    expect(await both('POST', '/api/images/Twin/undo?group=G')).toEqual({ won: 2, codes: [] })
    expect((await trash()).filter(({ title }) => title === 'Twin')).toHaveLength(1)
  })

  test('the same emptying', async () => {
    const { id } = (await trash()).find(({ title }) => title === 'Twin') ?? { id: 0 }
    const before = await audits('trash.empty')
    const { won, codes } = await both('POST', '/api/trash/empty', { ids: [id] })
    expect([won, ...codes]).toEqual([1, 'not-found'])
    expect(await audits('trash.empty')).toBe(before + 1)
  })

  test('the same import', async () => {
    const json = { path: source, group: 'G', fileName: 'raced' }
    expect(await both('POST', '/api/imports', json)).toEqual({ won: 1, codes: ['exists'] })
    expect((await images()).filter((file) => file === 'raced.wim')).toHaveLength(1)
  })

  test('the same export to a file that is not there', async () => {
    const json = { image: 'Twin', group: 'G', path: join(api.root, 'out.wim') }
    expect(await both('POST', '/api/exports', json)).toEqual({ won: 1, codes: ['exists'] })
  })

  test('the same group, its renaming and its removal', async () => {
    expect(await both('POST', '/api/groups', { name: 'Raced' })).toEqual({ won: 1, codes: ['exists'] })
    expect(await both('PATCH', '/api/groups/Raced', { name: 'Other' })).toEqual({ won: 1, codes: ['not-found'] })
    expect(await both('DELETE', '/api/groups/Other')).toEqual({ won: 1, codes: ['not-found'] })
    const { id } = (await trash()).find(({ title }) => title === 'Other') ?? { id: 0 }
    expect(await both('POST', `/api/trash/${id}/restore`, {})).toEqual({ won: 1, codes: ['not-found'] })
  })

  test('the same name for two images', async () => {
    const answers = await Promise.all(
      ['One', 'Twin'].map((name) => api.ask('PATCH', `/api/images/${name}?group=G`, { json: { fileName: 'only' } })),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
  })
})
