/** Bearer tokens against a store in memory: what is accepted, what is refused, what is kept. */
import { describe, expect, test } from 'bun:test'
import {
  newToken,
  parseToken,
  parseTokenName,
  principalOf,
  type TokenRow,
  type TokenStore,
} from '../../src/access/tokens.ts'
import type { Clock } from '../../src/base/clock.ts'
import type { Role } from '../../src/base/principal.ts'
import { refuse } from '../../src/base/refusal.ts'
import { ok, type Result } from '../../src/base/result.ts'

const HTTPS = { door: 'https', address: '192.0.2.7' } as const
const HTTP = { door: 'http', address: '192.0.2.7' } as const

function memoryStore(): TokenStore & { readonly touched: string[] } {
  const rows = new Map<string, TokenRow>()
  const touched: string[] = []
  const live = (name: string) => [...rows.values()].find((row) => row.name === name && row.revokedAtMs === undefined)
  return {
    touched,
    insert(row) {
      if (live(row.name)) return refuse('exists', `there is a token "${row.name}"`, 'Revoke it first.')
      rows.set(row.id, row)
      return ok(undefined)
    },
    findById: (id) => rows.get(id),
    list: () => [...rows.values()],
    revoke(name, atMs) {
      const row = live(name)
      if (!row) return refuse('not-found', `there is no token "${name}"`, 'List them.')
      rows.set(row.id, { ...row, revokedAtMs: atMs })
      return ok(undefined)
    },
    touch(id, atMs, address) {
      const row = rows.get(id)
      if (row) rows.set(id, { ...row, usedAtMs: atMs, usedFrom: address })
      touched.push(`${id} ${atMs} ${address}`)
    },
  }
}

function testClock(): Clock & { nowMs: () => number; set: (ms: number) => void } {
  let now = 1_000_000
  return { nowMs: () => now, monotonicMs: () => now, set: (ms) => (now = ms) }
}

function must<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(result.error.message)
  return result.value
}

function given(role: Role = 'operator') {
  const store = memoryStore()
  const clock = testClock()
  const token = must(newToken({ name: 'backup', role }, clock))
  must(store.insert(token.row))
  return { store, clock, ...token }
}

describe('a new token', () => {
  test('has the documented form, and its secret is nowhere in the row', () => {
    const { row, text } = given()
    expect(text).toMatch(/^wimcast_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/)
    const { id, secret } = must(parseToken(text))
    expect(id).toBe(row.id)
    expect(JSON.stringify(row)).not.toContain(secret)
    expect(row.secretSha256).toBe(new Bun.CryptoHasher('sha256').update(secret).digest('hex'))
    expect(row).toMatchObject({ name: 'backup', role: 'operator', createdAtMs: 1_000_000 })
  })

  test('is another one each time', () => {
    const clock = testClock()
    const texts = Array.from({ length: 100 }, () => must(newToken({ name: 'n', role: 'viewer' }, clock)).text)
    expect(new Set(texts).size).toBe(100)
  })
})

describe('names', () => {
  test.each([
    ['a', 'a'],
    ['lab 3 / Hörsaal', 'lab 3 / Hörsaal'],
    ['e\u0301', '\u00e9'],
    ['😀'.repeat(64), '😀'.repeat(64)],
  ])('%j is kept as %j', (text, name) => {
    expect(parseTokenName(text)).toEqual(ok(name))
  })

  test.each([
    '',
    ' ',
    ' a',
    'a ',
    'x'.repeat(65),
    'a\nb',
    'a\0b',
    'a\x7fb',
    'a\u0085b',
    'a\u202eb',
    'a\u2028b',
    'a\ud800b',
  ])('%j is refused', (text) => {
    expect(parseTokenName(text)).toMatchObject({ ok: false, error: { code: 'bad-name' } })
    expect(newToken({ name: text, role: 'viewer' }, testClock())).toMatchObject({
      ok: false,
      error: { code: 'bad-name' },
    })
  })
})

describe('machine groups', () => {
  const grouped = (...machineGroups: string[]) => newToken({ name: 'n', role: 'viewer', machineGroups }, testClock())
  test('are kept as audiences name them', () => {
    expect(must(grouped(' Lab 1 ', 'Lab 1', 'Bu\u0308ro')).row.machineGroups).toEqual(['Lab 1', 'Büro'])
  })
  test.each(['', ' ', 'a\0', 'a\nb', '\u202eb', '\ud800'])('%j is none', (text) => {
    expect(grouped('ok', text)).toMatchObject({ ok: false, error: { code: 'bad-name' } })
  })
})

describe('who asks', () => {
  test('without a header: anonymous, at the door it came by', () => {
    const { store, clock } = given()
    expect(principalOf(undefined, store, clock, HTTPS)).toEqual(ok({ kind: 'anonymous', ...HTTPS }))
    expect(principalOf(undefined, store, clock, HTTP)).toEqual(ok({ kind: 'anonymous', ...HTTP }))
  })

  test.each(['Bearer ', 'bearer ', 'BEARER   '])('"%s<token>" is the token', (scheme) => {
    const { store, clock, text } = given('admin')
    const who = principalOf(`${scheme}${text}`, store, clock, HTTPS)
    expect(who).toEqual(ok({ kind: 'token', name: 'backup', role: 'admin', machineGroups: [], address: '192.0.2.7' }))
  })

  test.each<[string, (text: string) => string]>([
    ['empty', () => ''],
    ['without scheme', (text) => text],
    ['another scheme', (text) => `Basic ${btoa(`token:${text}`)}`],
    ['no token', () => 'Bearer '],
    ['two tokens', (text) => `Bearer ${text}, Bearer ${text}`],
    ['short', (text) => `Bearer ${text.slice(0, -1)}`],
    ['long', (text) => `Bearer ${text}A`],
    ['other prefix', (text) => `Bearer ${text.replace('wimcast', 'wincast')}`],
    ['upper-case id', (text) => `Bearer ${text.replace(/_[0-9a-f]{16}_/, '_ABCDEFABCDEFABCD_')}`],
    ['unknown id', (text) => `Bearer ${text.replace(/_[0-9a-f]{16}_/, '_0000000000000000_')}`],
    ['wrong secret', (text) => `Bearer ${text.slice(0, -43)}${'A'.repeat(43)}`],
    ['last bit of the secret', (text) => `Bearer ${text.slice(0, -1)}${text.endsWith('A') ? 'B' : 'A'}`],
  ])('%s: refused, not anonymous, and not marked as used', (_, header) => {
    const { store, clock, text } = given()
    const who = principalOf(header(text), store, clock, HTTPS)
    expect(who).toMatchObject({ ok: false, error: { code: 'not-signed-in' } })
    expect(store.touched).toEqual([])
    // What is refused is logged and sent back: the secret must not be in it.
    expect(JSON.stringify(who)).not.toContain(text.slice(-43, -1))
  })

  test('revoked: refused, and the name is free again', () => {
    const { store, clock, text } = given()
    expect(store.insert(must(newToken({ name: 'backup', role: 'viewer' }, clock)).row)).toMatchObject({
      error: { code: 'exists' },
    })
    must(store.revoke('backup', clock.nowMs()))
    expect(principalOf(`Bearer ${text}`, store, clock, HTTPS)).toMatchObject({
      ok: false,
      error: { code: 'not-signed-in' },
    })
    expect(store.insert(must(newToken({ name: 'backup', role: 'viewer' }, clock)).row).ok).toBe(true)
    expect(principalOf(`Bearer ${text}`, store, clock, HTTPS).ok).toBe(false)
  })

  test('a good token over plain HTTP: refused', () => {
    const { store, clock, text } = given()
    expect(principalOf(`Bearer ${text}`, store, clock, HTTP)).toMatchObject({
      ok: false,
      error: { code: 'not-signed-in' },
    })
  })

  test('use is marked once a minute', () => {
    const { store, clock, text, row } = given()
    for (const ms of [1_000_000, 1_000_001, 1_059_999, 1_060_000, 1_060_001, 900_000]) {
      clock.set(ms)
      must(principalOf(`Bearer ${text}`, store, clock, HTTPS))
    }
    expect(store.touched).toEqual([1_000_000, 1_060_000, 900_000].map((ms) => `${row.id} ${ms} 192.0.2.7`))
  })
})
