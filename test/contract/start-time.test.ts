/** Start times in every form, around the turns of the clock, and what is no time; and the rule of the start. */
import { describe, expect, test } from 'bun:test'
import { looksAgainInMs, startsNow } from '../../src/transmissions/start-rule.ts'
import { parseStartTime } from '../../src/transmissions/start-time.ts'

const NOW = Date.parse('2030-01-01T00:00:00Z')
const parse = (text: string, timeZone = 'Europe/Berlin') => parseStartTime(text, { timeZone, nowMs: NOW })

describe('times that are taken', () => {
  const taken: readonly (readonly [string, string, string?])[] = [
    ['05/20/2031.18:00:07', '2031-05-20T16:00:07Z'],
    ['12/01/2031.00:00:00', '2031-11-30T23:00:00Z'],
    ['2031/12/01:11:00', '2031-12-01T10:00:00Z'],
    ['2031/12/01:11:00:59', '2031-12-01T10:00:59Z'],
    ['2031-05-20T18:00', '2031-05-20T16:00:00Z'],
    ['2031-05-20 18:00:01', '2031-05-20T16:00:01Z'],
    ['2031-05-20t18:00:01.999999999z', '2031-05-20T18:00:01Z'],
    ['2031-05-20T18:00Z', '2031-05-20T18:00:00Z'],
    ['2031-05-20T18:00+02:00', '2031-05-20T16:00:00Z'],
    ['2031-05-20T18:00-0930', '2031-05-21T03:30:00Z'],
    ['2031-05-20T18:00+05', '2031-05-20T13:00:00Z'],
    ['2031-05-20T18:00[America/New_York]', '2031-05-20T22:00:00Z'],
    ['2031-05-20T18:00+02:00[Europe/Berlin]', '2031-05-20T16:00:00Z'],
    ['  2031-05-20T18:00\n', '2031-05-20T16:00:00Z'],
    ['2032-02-29T00:00', '2032-02-28T23:00:00Z'],
    ['2031-05-20T18:00', '2031-05-20T12:30:00Z', 'Asia/Kolkata'],
    // The clocks go back: two o'clock comes twice, and the first one counts.
    ['2031-10-26T02:30', '2031-10-26T00:30:00Z'],
    ['2031-10-26T02:30+01:00[Europe/Berlin]', '2031-10-26T01:30:00Z'],
    ['2031-10-26T03:00', '2031-10-26T02:00:00Z'],
    // The clocks go forward at two: three is the first time after it.
    ['2031-03-30T01:59:59', '2031-03-30T00:59:59Z'],
    ['2031-03-30T03:00', '2031-03-30T01:00:00Z'],
  ]
  test.each(taken.map(([text, iso, zone]) => ({ text, iso, zone })))('$text is $iso', ({ text, iso, zone }) => {
    expect(parse(text, zone)).toEqual({ ok: true, value: { atMs: Date.parse(iso), past: false } })
  })

  test('a time that has passed is said to have', () => {
    expect(parse('2014/12/01:11:00')).toMatchObject({ ok: true, value: { past: true } })
    expect(parse('2030-01-01T00:00:00Z')).toMatchObject({ ok: true, value: { past: false } })
    expect(parse('2029-12-31T23:59:59Z')).toMatchObject({ ok: true, value: { past: true } })
  })
})

describe('what is refused', () => {
  const refused: readonly (readonly [string, string])[] = [
    ['nothing', ''],
    ['a word', 'tomorrow'],
    ['a day alone', '2031-05-20'],
    ['a time alone', '18:00'],
    ['seconds since the epoch', '1900000000'],
    ['one digit', '5/20/2031.18:00:00'],
    ['no seconds in the first form', '05/20/2031.18:00'],
    ['the day first', '20/05/2031.18:00:00'],
    ['a 30th of February', '2031-02-30T10:00'],
    ['a 29th of February in another year', '02/29/2031.10:00:00'],
    ['month 13', '2031/13/01:10:00'],
    ['month 0', '2031/00/01:10:00'],
    ['24 o’clock', '2031-05-20T24:00'],
    ['minute 60', '2031-05-20T10:60'],
    ['a leap second', '2031-05-20T23:59:60'],
    ['an offset of 24 hours', '2031-05-20T10:00+24:00'],
    ['an offset of 60 minutes', '2031-05-20T10:00+01:60'],
    ['a zone that is none', '2031-05-20T10:00[Europe/Nowhere]'],
    ['an offset that the zone has not', '2031-05-20T18:00+05:00[Europe/Berlin]'],
    ['a sixth digit of the year', '+012031-05-20T10:00'],
    ['AM', '2031-05-20T10:00 AM'],
    ['a NUL', '2031-05-20T10:00\0'],
    ['a NUL within', '2031-05-20\x0010:00'],
    ['digits of another script', '٢٠٣١-٠٥-٢٠T١٠:٠٠'],
    ['wide digits', '２０３１-05-20T10:00'],
    ['a line more', '2031-05-20T10:00\n2031-05-20T10:00'],
    ['10 MB of digits', '2'.repeat(10_000_000)],
    ['10 MB of spaces before a time', `${' '.repeat(10_000_000)}2031-05-20T10:00`],
    ['10 MB of decimals', `2031-05-20T10:00:00.${'1'.repeat(10_000_000)}`],
  ]
  test.each(refused)('%s', (_, text) => {
    const result = parse(text)
    if (result.ok) throw new Error(`taken as ${new Date(result.value.atMs).toISOString()}`)
    expect(result.error.code).toBe('bad-request')
    expect(result.error.message.length + result.error.hint.length).toBeLessThan(400)
  })

  test('an hour that the clocks skip, with the nearest times', () => {
    const result = parse('2031-03-30T02:30')
    expect(result).toMatchObject({ ok: false, error: { code: 'bad-request' } })
    if (!result.ok) {
      expect(result.error.hint).toContain('2031-03-30T01:30+01:00')
      expect(result.error.hint).toContain('2031-03-30T03:30+02:00')
    }
  })
})

describe('the start', () => {
  const rows: readonly (readonly [
    string,
    number | undefined,
    number | undefined,
    number,
    number,
    string | undefined,
  ])[] = [
    ['nobody, and nothing asked for', undefined, undefined, 0, 100, undefined],
    ['by hand: never by itself', undefined, undefined, 50, 100, undefined],
    ['too few', 3, undefined, 2, 100, undefined],
    ['enough', 3, undefined, 3, 100, 'clients'],
    ['more than enough', 3, undefined, 9, 100, 'clients'],
    ['too early', undefined, 101, 5, 100, undefined],
    ['in time', undefined, 100, 1, 100, 'time'],
    ['in time, with nobody there', undefined, 100, 0, 100, undefined],
    ['long past, with the first client', undefined, 1, 1, 100, 'time'],
    ['both: the number first', 2, 101, 2, 100, 'clients'],
    ['both: the time first', 2, 100, 1, 100, 'time'],
    ['both: neither yet', 2, 101, 1, 100, undefined],
    ['both: the time, and nobody', 2, 100, 0, 100, undefined],
  ]
  test.each(rows)('%s', (_, clientCount, startAtMs, ready, nowMs, reason) => {
    expect(startsNow({ clientCount, startAtMs }, { ready, nowMs })).toBe(reason as never)
  })

  test('the clock is looked at when the time comes, and each minute before', () => {
    const look = (startAtMs: number | undefined) => looksAgainInMs({ clientCount: 5, startAtMs }, 1000)
    expect([look(undefined), look(1000), look(1250), look(1000 + 3_600_000)]).toEqual([
      undefined,
      undefined,
      250,
      60_000,
    ])
  })
})
