import { describe, expect, test } from 'bun:test'
import { allocate, isMulticast, low23, overlaps } from '../../src/cast/address.ts'
import { Clients, ENDED_KEPT, PROBE_LIMIT_MS, SILENCE_LIMIT_MS } from '../../src/cast/clients.ts'
import { geometryOf, symbolsInBlock } from '../../src/cast/geometry.ts'
import type { Report } from '../../src/cast/packet.ts'
import { firstRate, nextRate, Pacer, percentile90, type RateState } from '../../src/cast/rate.ts'
import { Reporter } from '../../src/cast/reporter.ts'
import { allBlocks, emptyBlocks, Schedule } from '../../src/cast/schedule.ts'
import { SymbolSet } from '../../src/cast/wanted.ts'

/** A small generator with a seed, so that a failure can be run again (xorshift32). */
function randomFrom(seed: number): () => number {
  let state = seed | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

describe('a set of symbols', () => {
  test.each([1, 31, 32, 33, 127, 128, 129, 1000])('of %d agrees with a plain set', (count) => {
    const random = randomFrom(count)
    const set = new SymbolSet(count)
    const model = new Set<number>()
    for (let step = 0; step < 2000; step += 1) {
      const symbol = Math.floor(random() * count)
      const block = Math.floor(symbol / 128)
      const kind = random()
      const range = Array.from({ length: Math.min(128, count - block * 128) }, (_, index) => block * 128 + index)
      if (kind < 0.45) {
        set.add(symbol)
        model.add(symbol)
      } else if (kind < 0.9) {
        set.remove(symbol)
        model.delete(symbol)
      } else if (kind < 0.94) {
        set.addBlock(block)
        for (const each of range) model.add(each)
      } else if (kind < 0.97) {
        set.removeBlock(block)
        for (const each of range) model.delete(each)
      } else {
        const bitmap = Uint8Array.from({ length: 16 }, () => Math.floor(random() * 256))
        set.addBitmap(block, bitmap)
        for (const each of range) if (((bitmap[(each & 127) >> 3] ?? 0) >> (each & 7)) & 1) model.add(each)
      }
      expect(set.size).toBe(model.size)
      const from = Math.floor(random() * count)
      const next = [...model].filter((each) => each >= from).sort((a, b) => a - b)[0] ?? -1
      expect(set.next(from)).toBe(next)
      expect(set.inBlock(block)).toBe(range.filter((each) => model.has(each)).length)
    }
    const copy = new SymbolSet(count)
    for (let block = 0; block * 128 < count; block += 1) copy.addBitmap(block, set.bitmapOfMissing(block))
    for (let symbol = 0; symbol < count; symbol += 1) expect(copy.has(symbol)).toBe(!model.has(symbol))
  })

  test('over memory with bits beyond the end counts only what exists', () => {
    const set = new SymbolSet(130, new Uint8Array(32).fill(0xff).buffer)
    expect(set.size).toBe(130)
    expect(set.next(130)).toBe(-1)
  })
})

type Listener = { have: SymbolSet; reporter: Reporter; active: boolean }

/**
 * A sender and its receivers over a channel that loses data, beacons and reports, and delays reports. The time is the
 * number of batches. Fails when a symbol is sent that no receiver lacks.
 */
function simulate(options: {
  readonly sizeBytes: number
  readonly receivers: number
  readonly loss: number
  readonly seed: number
  readonly reportDelay: number
  /** Receivers that come when this share of the first pass has been sent. */
  readonly lateAt?: number
}): { sent: number; symbols: number; batches: number } {
  const geometry = geometryOf(options.sizeBytes)
  const random = randomFrom(options.seed)
  const arrives = () => random() >= options.loss
  const schedule = new Schedule(geometry)
  const out = new Uint32Array(44)
  const listeners: Listener[] = []
  const underway: { due: number; deliver: () => void }[] = []
  let sent = 0
  let batches = 0

  const join = () => {
    const have = new SymbolSet(geometry.symbolCount)
    const joined = allBlocks(geometry)
    const listener: Listener = { have, reporter: new Reporter(geometry, have, joined), active: true }
    listener.reporter.beacon(schedule.position)
    schedule.want(joined)
    listeners.push(listener)
  }
  const beacon = () => {
    for (const { reporter } of listeners) if (arrives()) reporter.beacon(schedule.position)
  }
  const report = () => {
    for (const { reporter } of listeners) {
      const missing = reporter.collect(70)
      if (missing.length === 0 || !arrives()) continue
      const { heard } = reporter
      const delay = Math.floor(random() * options.reportDelay)
      underway.push({ due: batches + delay, deliver: () => schedule.repair(heard, missing) })
    }
  }

  const first = options.lateAt === undefined ? options.receivers : 1
  for (let count = 0; count < first; count += 1) join()
  while (listeners.length < options.receivers || listeners.some(({ have }) => have.size < geometry.symbolCount)) {
    batches += 1
    if (batches > 1e6) throw new Error('does not end')
    const late = listeners.length < options.receivers
    if (late && sent >= (options.lateAt ?? 0) * geometry.symbolCount) join()
    for (const [index, item] of [...underway.entries()].toReversed()) {
      if (item.due > batches) continue
      underway.splice(index, 1)
      item.deliver()
    }
    const count = schedule.take(out, 44)
    for (const symbol of out.subarray(0, count)) {
      sent += 1
      if (listeners.every(({ have }) => have.has(symbol))) throw new Error(`symbol ${symbol} sent for nobody`)
      for (const { have, reporter } of listeners) {
        if (!arrives()) continue
        reporter.data(symbol >>> 7)
        have.add(symbol)
      }
    }
    if (count < 44) {
      schedule.turn()
      beacon()
    }
    if (batches % 10 === 0 || count < 44) report()
  }
  return { sent, symbols: geometry.symbolCount, batches }
}

describe('schedule and reports together', () => {
  test('without loss every symbol is sent once', () => {
    const { sent, symbols } = simulate({ sizeBytes: 5e6, receivers: 3, loss: 0, seed: 1, reportDelay: 3 })
    expect(sent).toBe(symbols)
  })

  test.each([
    [1, 0.01, 11],
    [3, 0.01, 12],
    [3, 0.05, 13],
    [3, 0.3, 14],
    [20, 0.05, 15],
    [8, 0.6, 16],
  ])('%d receivers at a loss of %d all end with everything', (receivers, loss, seed) => {
    const { sent, symbols } = simulate({ sizeBytes: 4e6, receivers, loss, seed, reportDelay: 20 })
    // A symbol goes out until the unluckiest receiver has it: the expected maximum of geometric variables.
    let expected = 0
    for (let times = 0; times < 200; times += 1) expected += 1 - (1 - loss ** times) ** receivers
    expect(sent / symbols).toBeLessThan(expected * 1.1)
    expect(sent).toBeGreaterThanOrEqual(symbols)
  })

  test.each([0.25, 0.5, 0.9])(
    'who joins at %d gets the rest first; no symbol goes twice to who was there',
    (lateAt) => {
      const { sent, symbols } = simulate({ sizeBytes: 5e6, receivers: 2, loss: 0, seed: 2, reportDelay: 3, lateAt })
      expect(sent).toBeLessThanOrEqual(Math.ceil(symbols * (1 + lateAt)) + 44)
    },
  )

  test('a last short block, and a content of one symbol', () => {
    for (const sizeBytes of [1, 1456, 1457, 1456 * 129 + 7]) {
      const { sent, symbols } = simulate({ sizeBytes, receivers: 2, loss: 0.5, seed: 3, reportDelay: 2 })
      expect(sent).toBeGreaterThanOrEqual(symbols)
    }
  })
})

describe('the schedule', () => {
  const geometry = geometryOf(1456 * 128 * 4)
  const out = new Uint32Array(1000)
  const all = new Uint8Array(16).fill(0xff)

  test('ignores what was asked before the block was sent again', () => {
    const schedule = new Schedule(geometry)
    schedule.want(allBlocks(geometry))
    schedule.take(out, 1000)
    schedule.repair({ pass: 1, block: 1 }, [{ block: 1, bitmap: all }])
    expect(schedule.wantedCount).toBe(0)
    schedule.repair({ pass: 1, block: 2 }, [{ block: 1, bitmap: all }])
    expect(schedule.wantedCount).toBe(128)
  })

  test('knows no block beyond the end', () => {
    const schedule = new Schedule(geometry)
    schedule.repair({ pass: 5, block: 0 }, [
      { block: 4, bitmap: all },
      { block: 0xffff_ffff, bitmap: all },
    ])
    expect(schedule.wantedCount).toBe(0)
  })

  test('forgets what only the client that went wanted', () => {
    const schedule = new Schedule(geometry)
    schedule.want(allBlocks(geometry))
    schedule.restrict(new Uint8Array([0b0010]))
    expect(schedule.take(out, 1000)).toBe(128)
    expect(out[0]).toBe(128)
  })
})

describe('clients', () => {
  const geometry = geometryOf(1456 * 128 * 4)
  const key = new Uint8Array(32)
  const says = (fields: Partial<Report>): Report => ({
    epoch: 1,
    clientId: 1,
    counter: 1,
    pass: 1,
    block: 0,
    lacking: 512,
    lossPpm: 0,
    drops: 0,
    refused: 0,
    missing: [],
    ...fields,
  })

  test('count from their first report on; a replay is ignored', () => {
    const clients = new Clients(geometry)
    clients.join(1, 'a', key, allBlocks(geometry), 0)
    expect([clients.live, clients.unserved, clients.needed]).toEqual([1, false, emptyBlocks(geometry)])
    expect(clients.heard(says({}), 1).kind).toBe('admitted')
    expect(clients.unserved).toBe(true)
    expect(clients.heard(says({}), 2).kind).toBe('ignored')
    expect(clients.heard(says({ counter: 2 }), 3).kind).toBe('heard')
    expect(clients.heard(says({ clientId: 2 }), 3).kind).toBe('ignored')
  })

  test('who is not heard is lost, and needs nothing any more; who speaks again counts again', () => {
    const clients = new Clients(geometry)
    clients.join(1, 'a', key, allBlocks(geometry), 0)
    clients.join(2, 'b', key, allBlocks(geometry), 0)
    clients.heard(says({}), 0)
    expect(clients.expire(PROBE_LIMIT_MS)).toBe(false)
    expect(clients.ready).toBe(1)
    clients.heard(says({ counter: 2 }), PROBE_LIMIT_MS)
    expect(clients.expire(PROBE_LIMIT_MS + 1)).toBe(true)
    expect(clients.status().map((client) => client.state)).toEqual(['receiving', 'lost'])
    expect(clients.expire(PROBE_LIMIT_MS + SILENCE_LIMIT_MS + 1)).toBe(true)
    expect([clients.live, clients.ready, clients.needed]).toEqual([0, 0, emptyBlocks(geometry)])
    expect(clients.heard(says({ counter: 3 }), 99_000).kind).toBe('heard')
    expect([clients.live, clients.ready]).toEqual([1, 1])
  })

  test('who is done stays done', () => {
    const clients = new Clients(geometry)
    clients.join(1, 'a', key, allBlocks(geometry), 0)
    clients.heard(says({}), 0)
    expect(clients.end(1, 'done')).toBe(true)
    expect(clients.end(1, 'left')).toBe(false)
    expect(clients.heard(says({ counter: 9 }), 1).kind).toBe('ignored')
    expect(clients.live).toBe(0)
  })

  test('who ended its probe without a report was not reached; who was reached stays so', () => {
    const clients = new Clients(geometry)
    for (const id of [1, 2, 3, 4]) clients.join(id, 'a', key, allBlocks(geometry), 0)
    expect(clients.reached).toEqual({ clients: 0, of: 0 })
    clients.heard(says({ clientId: 1 }), 0)
    clients.end(1, 'left')
    clients.end(2, 'left')
    expect(clients.reached).toEqual({ clients: 1, of: 2 })
    clients.expire(PROBE_LIMIT_MS + 1)
    expect(clients.reached).toEqual({ clients: 1, of: 4 })
    clients.heard(says({ clientId: 3 }), 0)
    expect(clients.reached).toEqual({ clients: 2, of: 4 })
  })

  test('of those that ended only the last are kept, and their count', () => {
    const clients = new Clients(geometry)
    clients.join(0, 'stays', key, allBlocks(geometry), 0)
    for (let id = 1; id <= ENDED_KEPT + 10; id += 1) {
      clients.join(id, 'a', key, allBlocks(geometry), 0)
      clients.end(id, 'done')
    }
    const kept = clients.status().map((client) => client.clientId)
    expect([kept.length, kept[0], kept[1], kept.at(-1)]).toEqual([ENDED_KEPT + 1, 0, 11, ENDED_KEPT + 10])
    expect(clients.reached).toEqual({ clients: 0, of: ENDED_KEPT + 10 })
  })

  test('a lost one that speaks again needs what it names', () => {
    const clients = new Clients(geometry)
    clients.join(1, 'a', key, allBlocks(geometry), 0)
    clients.heard(says({}), 0)
    clients.expire(SILENCE_LIMIT_MS + 1)
    clients.heard(says({ counter: 2, missing: [{ block: 2, bitmap: new Uint8Array(16).fill(1) }] }), 0)
    expect(clients.needed).toEqual(Uint8Array.of(0b0100))
  })

  test('a growing count of socket drops is an overflow', () => {
    const clients = new Clients(geometry)
    clients.join(1, 'a', key, allBlocks(geometry), 0)
    clients.heard(says({ drops: 5 }), 0)
    expect(clients.samples()).toEqual([{ loss: 0, overflowed: false }])
    clients.heard(says({ counter: 2, drops: 6 }), 0)
    clients.heard(says({ counter: 3, drops: 6 }), 0)
    expect(clients.samples()).toEqual([{ loss: 0, overflowed: true }])
    expect(clients.samples()).toEqual([])
  })
})

describe('the rate', () => {
  const limits = { floor: 8e6, ceiling: 10e9 }
  const run = (state: RateState, ticks: number, lossAt: (rate: number) => number) => {
    let now = state
    for (let tick = 0; tick < ticks; tick += 1) {
      const loss = lossAt(now.bitsPerSecond)
      const clients = [0, 1, 2].map(() => ({ loss, overflowed: false }))
      now = nextRate(now, clients, now.bitsPerSecond, limits)
    }
    return now.bitsPerSecond
  }

  test('a loss that is there at every speed does not slow it', () => {
    expect(run(firstRate(limits), 40, () => 0.05)).toBe(limits.ceiling)
    expect(run({ ...firstRate(limits), bitsPerSecond: 100e6, starting: false }, 80, () => 0.3)).toBe(limits.ceiling)
  })
  test('a link of 1 Gbit/s is found from above and below', () => {
    for (const [capacity, noise] of [
      [1e9, 0],
      [1e9, 0.05],
      [100e6, 0],
      [50e6, 0.01],
    ] as const) {
      // Reports say what was one tick ago.
      let before = 0
      const link = (rate: number) => {
        const loss = 1 - (1 - noise) * Math.min(1, capacity / rate)
        const said = before
        before = loss
        return said
      }
      const rate = run(firstRate(limits), 200, link)
      expect(rate).toBeGreaterThan(0.6 * capacity)
      expect(rate).toBeLessThan(1.25 * capacity)
    }
  })
  test('one bad client of three never slows the group, nor does one of ten', () => {
    for (const count of [2, 3, 10]) {
      const losses = Array.from({ length: count }, (_, index) => (index === 0 ? 0.9 : 0.01))
      expect(percentile90(losses)).toBe(0.01)
    }
    expect(percentile90([0.4])).toBe(0.4)
  })
  test('a loss that is not known yet neither slows it nor counts as none', () => {
    const state = { ...firstRate(limits), baseline: 0.05 }
    const next = nextRate(state, [{ loss: undefined, overflowed: false }], 400e6, limits)
    expect([next.bitsPerSecond, next.baseline]).toEqual([800e6, 0.05])
  })
  test('sockets that run over slow it, whatever the baseline', () => {
    const state = { ...firstRate(limits), bitsPerSecond: 1e9, baseline: 0.5, starting: false }
    const clients = [{ loss: 0.1, overflowed: true }]
    expect(nextRate(state, clients, 1e9, limits).bitsPerSecond).toBeLessThan(0.9e9)
  })
  test('never over the ceiling, never under the floor, and nothing heard changes nothing', () => {
    const ceiling = { floor: 8e6, ceiling: 100e6 }
    expect(firstRate(ceiling).bitsPerSecond).toBe(100e6)
    expect(run({ ...firstRate(limits), bitsPerSecond: 10e6, starting: false }, 50, () => 0.9)).toBeGreaterThanOrEqual(
      limits.floor,
    )
    const state = firstRate(limits)
    expect(nextRate(state, [], 1e9, limits)).toEqual(state)
  })
  test('the pace is kept over time, with bursts of a millisecond', () => {
    const pacer = new Pacer(80e6)
    let now = 0
    let bytes = 0
    while (now < 1e9) {
      const wait = pacer.waitNs(now)
      if (wait > 0) now += wait
      pacer.spent(64_768, now)
      bytes += 64_768
    }
    expect(bytes).toBeGreaterThan(9.8e6)
    expect(bytes).toBeLessThan(10.2e6)
  })
})

describe('addresses', () => {
  test('of the pool differ in port and in the low 23 bits', () => {
    const taken: { group: string; port: number }[] = []
    for (let count = 0; count < 200; count += 1) {
      const endpoint = allocate(taken, 123_456)
      if (!endpoint) throw new Error('pool is empty')
      const free = !taken.some((other) => overlaps(endpoint, other))
      if (!free || !/^239\.19[2-5]\./.test(endpoint.group) || low23(endpoint.group) < 0x100)
        throw new Error(endpoint.group)
      taken.push(endpoint)
    }
    expect(allocate(taken, 5)).toBeUndefined()
  })
  test('overlap in the Ethernet address counts', () => {
    expect(overlaps({ group: '239.192.1.1', port: 1 }, { group: '239.64.1.1', port: 2 })).toBe(true)
  })
  test.each(['224.0.0.1', '239.255.255.255'])('%s is a group', (group) => expect(isMulticast(group)).toBe(true))
  test.each(['10.0.0.1', '240.0.0.1', '239.1.1', '239.1.1.256', '239.1.1.x', ''])('%s is none', (group) => {
    expect(isMulticast(group)).toBe(false)
  })
})

test('a report names each damaged block once in a pass', () => {
  const geometry = geometryOf(1456 * 128 * 4)
  const have = new SymbolSet(geometry.symbolCount)
  const reporter = new Reporter(geometry, have, allBlocks(geometry))
  expect(reporter.collect(10)).toEqual([])
  reporter.beacon({ pass: 1, block: 0 })
  for (let block = 0; block < 4; block += 1) {
    reporter.data(block)
    for (let symbol = block === 2 ? 1 : 0; symbol < symbolsInBlock(geometry, block); symbol += 1)
      have.add(block * 128 + symbol)
  }
  expect(reporter.collect(10).map((entry) => entry.block)).toEqual([2])
  expect(reporter.collect(10)).toEqual([])
  reporter.beacon({ pass: 2, block: 0 })
  expect(reporter.collect(10)).toEqual([])
  reporter.beacon({ pass: 3, block: 0 })
  expect(reporter.collect(10)).toEqual([{ block: 2, bitmap: new Uint8Array(16).with(0, 1) }])
})

test('a leap in the data is believed only with a beacon', () => {
  const geometry = geometryOf(1456 * 128 * 100)
  const reporter = new Reporter(geometry, new SymbolSet(geometry.symbolCount), allBlocks(geometry))
  reporter.data(50)
  expect(reporter.pending).toBe(0)
  reporter.beacon({ pass: 1, block: 0 })
  reporter.data(90)
  expect(reporter.pending).toBe(0)
  reporter.data(10)
  expect(reporter.pending).toBe(10)
  reporter.beacon({ pass: 1, block: 90 })
  expect([reporter.pending, reporter.heard]).toEqual([90, { pass: 1, block: 90 }])
})
