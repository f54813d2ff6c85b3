import { describe, expect, test } from 'bun:test'
import { type Limits, negotiate, unfragmentedBlksize } from '../../src/tftp/options.ts'

const LIMITS: Limits = { mtu: 1500, ipv6: false, maxWindowsize: 64, maxWindowBytes: 98304, timeoutMs: 1000 }
const JUMBO: Limits = { ...LIMITS, mtu: 65536 }

function answer(asked: Record<string, string>, limits = LIMITS, sizeBytes = 850_528): Record<string, string> {
  return Object.fromEntries(negotiate(new Map(Object.entries(asked)), sizeBytes, limits).agreed)
}

describe('the answer', () => {
  const cases: [string, Record<string, string>, Record<string, string>, Limits?][] = [
    ['is nothing when nothing is asked', {}, {}],
    ['names the size of the file', { tsize: '0' }, { tsize: '850528' }],
    ['takes any number for tsize', { tsize: '4096' }, { tsize: '850528' }],
    ['leaves out a tsize that is no number', { tsize: '' }, {}],
    ['takes a blksize that fits', { blksize: '1456' }, { blksize: '1456' }],
    ['caps blksize to one Ethernet frame', { blksize: '8192' }, { blksize: '1468' }],
    [
      'caps blksize less where IP headers are longer',
      { blksize: '8192' },
      { blksize: '1448' },
      { ...LIMITS, ipv6: true },
    ],
    ['caps a blksize beyond the RFC', { blksize: '99999' }, { blksize: '65464' }, JUMBO],
    ['takes the smallest blksize', { blksize: '8' }, { blksize: '8' }],
    ['leaves out blksize 7', { blksize: '7' }, {}],
    ['leaves out blksize 0', { blksize: '0' }, {}],
    ['leaves out a negative blksize', { blksize: '-1' }, {}],
    ['leaves out a blksize in words', { blksize: 'abc' }, {}],
    ['leaves out a blksize in hex', { blksize: '0x200' }, {}],
    ['leaves out a blksize with a fraction', { blksize: '512.5' }, {}],
    ['leaves out a blksize with blanks', { blksize: ' 512' }, {}],
    ['leaves out a blksize of 30 digits', { blksize: '9'.repeat(30) }, {}],
    ['takes a timeout', { timeout: '10' }, { timeout: '10' }],
    ['leaves out a timeout that would hold a dead transfer too long', { timeout: '11' }, {}],
    ['leaves out timeout 0', { timeout: '0' }, {}],
    ['leaves out timeout 256', { timeout: '256' }, {}],
    ['takes a windowsize', { windowsize: '4' }, { windowsize: '4' }],
    ['caps windowsize', { windowsize: '65535' }, { windowsize: '64' }],
    ['leaves out windowsize 0', { windowsize: '0' }, {}],
    ['leaves out windowsize 65536', { windowsize: '65536' }, {}],
    ['does not know msftwindow', { msftwindow: '31416' }, {}],
    ['keeps a window in memory', { windowsize: '64', blksize: '8192' }, { windowsize: '12', blksize: '8192' }, JUMBO],
    [
      'has one block of the largest size',
      { blksize: '65464', windowsize: '64' },
      { blksize: '65464', windowsize: '1' },
      JUMBO,
    ],
    [
      'is what EDK2 and Windows expect',
      { tsize: '0', blksize: '1456', windowsize: '4', msftwindow: '31416' },
      { tsize: '850528', blksize: '1456', windowsize: '4' },
    ],
  ]
  test.each(cases.map(([name, ...rest]) => [name, rest] as const))('%s', (_, [asked, expected, limits]) => {
    expect(answer(asked, limits)).toEqual(expected)
  })

  test('keeps the order of the question', () => {
    expect(Object.keys(answer({ windowsize: '4', timeout: '2', tsize: '0', blksize: '1024' }))).toEqual([
      'windowsize',
      'timeout',
      'tsize',
      'blksize',
    ])
  })

  test('names sizes beyond 4 GiB whole', () => {
    expect(answer({ tsize: '0' }, LIMITS, 5_000_000_000)).toEqual({ tsize: '5000000000' })
  })
})

describe('the terms', () => {
  const terms = (asked: Record<string, string>) => negotiate(new Map(Object.entries(asked)), 1000, LIMITS)

  test('are those of RFC 1350 when nothing is asked', () => {
    expect(terms({})).toMatchObject({ blksize: 512, windowsize: 1, timeoutMs: 1000, backOff: true })
  })
  test('hold the timeout that the client named, without back-off', () => {
    expect(terms({ timeout: '3' })).toMatchObject({ timeoutMs: 3000, backOff: false })
  })
  test('are not changed by options left out', () => {
    expect(terms({ blksize: '7', windowsize: '0', timeout: '0' })).toMatchObject({
      blksize: 512,
      windowsize: 1,
      timeoutMs: 1000,
    })
  })
})

test('blocks that travel whole', () => {
  expect(unfragmentedBlksize(1500, false)).toBe(1468)
  expect(unfragmentedBlksize(1500, true)).toBe(1448)
  expect(unfragmentedBlksize(9000, false)).toBe(8968)
  expect(unfragmentedBlksize(65536, false)).toBe(65464)
  expect(unfragmentedBlksize(100, false)).toBe(512)
})
