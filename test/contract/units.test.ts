/** Sizes and rates as people write them. */
import { expect, test } from 'bun:test'
import { formatBitsPerSecond, formatBytes, parseBitsPerSecond } from '../../src/base/units.ts'

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.00 KiB'],
  [10 * 1024, '10.0 KiB'],
  [1024 ** 2 - 1, '1024 KiB'],
  [1.5 * 1024 ** 3, '1.50 GiB'],
  [Number.MAX_SAFE_INTEGER, '8.00 PiB'],
])('%d bytes: %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})

test.each([
  ['100M', 1e8],
  ['1.5G', 1.5e9],
  ['250000', 250_000],
  ['64k', 64_000],
  ['10 mbit/s', 1e7],
  ['1 Gbps', 1e9],
  [' 5 ', 5],
])('%j is %d bit/s', (text, rate) => {
  expect(parseBitsPerSecond(text)).toEqual({ ok: true, value: rate })
})

test.each(['', '0', '-1', '1e6', 'M', '1T', '1,5G', '100MB/s', 'fast', 'NaN', 'Infinity'])('%j is no rate', (text) => {
  const parsed = parseBitsPerSecond(text)
  expect(parsed.ok ? undefined : parsed.error.code).toBe('bad-request')
})

test.each([
  [0, '0 kbit/s'],
  [999_000, '999 kbit/s'],
  [1e6, '1.0 Mbit/s'],
  [2.345e9, '2.35 Gbit/s'],
])('%d bit/s: %s', (rate, text) => {
  expect(formatBitsPerSecond(rate)).toBe(text)
})
