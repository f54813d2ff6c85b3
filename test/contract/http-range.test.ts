import { describe, expect, test } from 'bun:test'
import { attachment } from '../../src/http/disposition.ts'
import { type Plan, planOf, type RangeHeaders } from '../../src/http/range.ts'

const content = { sizeBytes: 1000, etag: 'e1' }
const none = { method: 'GET', range: undefined, ifRange: undefined, ifMatch: undefined, ifNoneMatch: undefined }
const whole: Plan = { status: 200 }
const part = (start: number, end: number): Plan => ({ status: 206, start, end })
const plan = (headers: Partial<RangeHeaders>, of = content) => planOf({ ...none, ...headers }, of)

describe('ranges (RFC 9110 §14)', () => {
  const table: readonly [string | undefined, Plan][] = [
    [undefined, whole],
    ['bytes=0-0', part(0, 1)],
    ['bytes=0-', part(0, 1000)],
    ['bytes=10-19', part(10, 20)],
    ['bytes=999-', part(999, 1000)],
    ['bytes=900-5000', part(900, 1000)],
    [`bytes=0-${'9'.repeat(400)}`, part(0, 1000)],
    ['bytes=-1', part(999, 1000)],
    ['bytes=-5000', part(0, 1000)],
    ['Bytes=5-6', part(5, 7)],
    ['bytes= 5-6 ', part(5, 7)],
    ['bytes=1000-', { status: 416 }],
    ['bytes=1000-1001', { status: 416 }],
    [`bytes=${'9'.repeat(400)}-`, { status: 416 }],
    ['bytes=-0', { status: 416 }],
    ['bytes=20-10', whole],
    ['bytes=-', whole],
    ['bytes=', whole],
    ['bytes=a-b', whole],
    ['bytes=0x1-2', whole],
    ['bytes=-1-2', whole],
    ['bytes=+1-2', whole],
    ['bytes=1 - 2', whole],
    ['bytes=0-1,5-6', whole],
    ['bytes=0-1,', whole],
    ['seconds=1-2', whole],
    ['0-10', whole],
  ]
  test.each(table)('%p', (range, expected) => {
    expect(plan({ range })).toEqual(expected)
  })

  test('an empty content has no part to name', () => {
    const empty = { sizeBytes: 0, etag: 'e1' }
    expect(plan({ range: 'bytes=0-' }, empty)).toEqual({ status: 416 })
    expect(plan({ range: 'bytes=-5' }, empty)).toEqual(whole)
    expect(plan({}, empty)).toEqual(whole)
  })

  test('HEAD has no ranges', () => {
    expect(plan({ method: 'HEAD', range: 'bytes=0-0' })).toEqual(whole)
  })
})

describe('preconditions (RFC 9110 §13)', () => {
  const range = 'bytes=0-9'
  const table: readonly [Partial<RangeHeaders>, Plan][] = [
    [{ range, ifRange: '"e1"' }, part(0, 10)],
    [{ range, ifRange: '"e2"' }, whole],
    [{ range, ifRange: 'W/"e1"' }, whole],
    [{ range, ifRange: 'e1' }, whole],
    [{ range, ifRange: 'Sat, 29 Oct 1994 19:43:31 GMT' }, whole],
    [{ range: 'bytes=2000-', ifRange: '"e2"' }, whole],
    [{ ifRange: '"e1"' }, whole],
    [{ ifNoneMatch: '"e1"' }, { status: 304 }],
    [{ ifNoneMatch: 'W/"e1"' }, { status: 304 }],
    [{ ifNoneMatch: '"a", "e1"' }, { status: 304 }],
    [{ ifNoneMatch: '*' }, { status: 304 }],
    [{ ifNoneMatch: '"a"' }, whole],
    [{ ifNoneMatch: '"e1"', range }, { status: 304 }],
    [{ ifMatch: '"e1"' }, whole],
    [{ ifMatch: '*' }, whole],
    [{ ifMatch: 'W/"e1"' }, { status: 412 }],
    [{ ifMatch: '"a"', ifNoneMatch: '"e1"' }, { status: 412 }],
    [{ ifMatch: '"a", "e1"', range }, part(0, 10)],
  ]
  test.each(table)('%p', (headers, expected) => {
    expect(plan(headers)).toEqual(expected)
  })
})

describe('Content-Disposition (RFC 6266)', () => {
  const table: readonly [string, string][] = [
    ['install.wim', 'attachment; filename="install.wim"'],
    ['a b.wim', 'attachment; filename="a b.wim"'],
    ['a"b\r\nX: y.wim', `attachment; filename="a_b__X: y.wim"; filename*=UTF-8''a%22b%0D%0AX%3A%20y.wim`],
    ['a\\..\\b/c', 'attachment; filename="a_.._b_c"'],
    ['Büro (1).wim', `attachment; filename="B_ro (1).wim"; filename*=UTF-8''B%C3%BCro%20%281%29.wim`],
    ['100%.wim', `attachment; filename="100_.wim"; filename*=UTF-8''100%25.wim`],
    ['\ud800.wim', `attachment; filename="_.wim"; filename*=UTF-8''%EF%BF%BD.wim`],
  ]
  test.each(table)('%p', (name, expected) => {
    expect(attachment(name)).toBe(expected)
  })
})
