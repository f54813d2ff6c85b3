/**
 * Random bytes and damaged packets into everything that reads what a client sends. Runs are repeatable: FUZZ_SEED
 * (default 1) and FUZZ_COUNT (default 100000) come from the environment, and a failure prints the packet.
 */
import { expect, test } from 'bun:test'
import { negotiate } from '../../src/tftp/options.ts'
import { decode, encode, MAX_REQUEST_BYTES, type Packet } from '../../src/tftp/packet.ts'
import { shelfPath } from '../../src/tftp/path.ts'
import { begin, type Event, lastBlock, step } from '../../src/tftp/transfer.ts'

const SEED = Number(Bun.env['FUZZ_SEED'] ?? 1)
const COUNT = Number(Bun.env['FUZZ_COUNT'] ?? 100_000)
const TIME_MS = 30_000 + COUNT

/** mulberry32 */
function random(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

const SEEDS: Packet[] = [
  {
    op: 'rrq',
    file: Buffer.from('\\Boot\\x64\\größe.wim'),
    mode: 'octet',
    options: new Map([
      ['tsize', '0'],
      ['blksize', '1456'],
      ['windowsize', '4'],
      ['msftwindow', '31416'],
      ['timeout', '3'],
    ]),
  },
  { op: 'wrq', file: Buffer.from('x'), mode: 'netascii', options: new Map() },
  { op: 'data', block: 65_535, bytes: Buffer.from('data') },
  { op: 'ack', block: 1 },
  { op: 'error', code: 8, message: 'User aborted the transfer' },
  { op: 'oack', options: new Map([['tsize', '850528']]) },
]

function damaged(below: (n: number) => number): Uint8Array {
  if (below(4) === 0) {
    const bytes = new Uint8Array(below(64))
    for (let at = 0; at < bytes.byteLength; at += 1) bytes[at] = below(3) === 0 ? 0 : below(256)
    if (bytes.byteLength > 1) {
      bytes[0] = 0
      bytes[1] = below(8)
    }
    return bytes
  }
  const seed = SEEDS[below(SEEDS.length)] as Packet
  let bytes = [...encode(seed)]
  for (let changes = 1 + below(4); changes > 0; changes -= 1) {
    const at = below(bytes.length + 1)
    switch (below(5)) {
      case 0:
        bytes[at] = below(256)
        break
      case 1:
        bytes.splice(at, 0, below(2) === 0 ? 0 : below(256))
        break
      case 2:
        bytes.splice(at, 1 + below(4))
        break
      case 3:
        bytes = bytes.slice(0, at)
        break
      case 4:
        bytes.splice(at, 0, ...bytes.slice(at, at + below(bytes.length + 1)))
        break
    }
  }
  return Uint8Array.from(bytes, (byte) => byte ?? 0)
}

const LIMITS = { mtu: 1500, ipv6: false, maxWindowsize: 64, maxWindowBytes: 98_304, timeoutMs: 1000 }

test(
  'packets: each is refused, or means the same when encoded again; names and options keep their promises',
  () => {
    const below = random(SEED)
    const seen = { refused: 0, accepted: 0 }
    for (let count = 0; count < COUNT; count += 1) {
      const bytes = damaged(below)
      const hex = Buffer.from(bytes).toString('hex')
      const packet = decode(bytes)
      if (!packet.ok) {
        seen.refused += 1
        continue
      }
      seen.accepted += 1
      const again = decode(encode(packet.value))
      if (!again.ok || !Bun.deepEquals(flat(again.value), flat(packet.value))) throw new Error(`round trip of ${hex}`)
      if (packet.value.op !== 'rrq' && packet.value.op !== 'wrq') continue
      if (bytes.byteLength > MAX_REQUEST_BYTES) throw new Error(`size of ${hex}`)
      const path = shelfPath(packet.value.file)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
      if (path.ok && /^$|^\/|\/$|\\|\/\/|(^|\/)\.{1,2}(\/|$)|[\u0000-\u001f\u007f]/.test(path.value)) {
        throw new Error(`path of ${hex}: ${path.value}`)
      }
      const terms = negotiate(packet.value.options, 850_528, LIMITS)
      const good =
        terms.blksize >= 8 &&
        terms.blksize <= 1468 &&
        terms.windowsize >= 1 &&
        terms.windowsize <= 64 &&
        terms.timeoutMs >= 1000 &&
        terms.timeoutMs <= 255_000 &&
        [...terms.agreed].every(([name, value]) =>
          packet.value.op === 'rrq' || packet.value.op === 'wrq'
            ? packet.value.options.has(name) && /^\d+$/.test(value)
            : false,
        )
      if (!good) throw new Error(`terms of ${hex}: ${JSON.stringify(terms)}`)
    }
    // Both sides must be reached, or the damage is not of the right kind.
    expect(seen.refused).toBeGreaterThan(COUNT / 20)
    expect(seen.accepted).toBeGreaterThan(COUNT / 20)
  },
  TIME_MS,
)

test(
  'transfers: whatever comes in whatever order, blocks asked for lie in the file and in the window, and each ends',
  () => {
    const below = random(SEED + 1)
    const ends = new Set<string>()
    for (let count = 0; count < COUNT / 100; count += 1) {
      const windowsize = 1 + below(8)
      const terms = {
        sizeBytes: below(3) === 0 ? below(200) * 512 : 512 * 65_530 + below(20_000),
        blksize: 512,
        windowsize,
        timeoutMs: 1000,
        backOff: below(2) === 0,
        agreed: new Map(below(2) === 0 ? [['windowsize', String(windowsize)]] : []),
      }
      let [state, actions] = begin(terms)
      // Begin near the roll-over, as if the blocks before had gone well.
      if (terms.sizeBytes > 512 * 65_000) {
        state = { ...state, phase: 'sending', acked: 65_520, left: 65_521, windowEnd: 65_521 }
        actions = []
      }
      for (let events = 0; events < 400 && state.phase !== 'over'; events += 1) {
        const before = state
        const event: Event = pick(below, state.acked, state.windowEnd)
        ;[state, actions] = step(state, event)
        for (const action of actions) {
          if (action.kind === 'end') ends.add(action.outcome.kind)
          if (action.kind !== 'blocks') continue
          const { first, last } = action
          if (first !== state.acked + 1 || last < first || last > lastBlock(terms) || last - first >= windowsize) {
            throw new Error(`blocks ${first}-${last} after ${JSON.stringify([before, event])}`)
          }
        }
        if (state.acked < before.acked || state.acked > state.left) {
          throw new Error(`acked ${state.acked} after ${JSON.stringify([before, event])}`)
        }
      }
      // Silence ends every transfer that events have not.
      for (let tries = 0; tries < 10 && state.phase !== 'over'; tries += 1) {
        state = step(state, { kind: 'left', last: state.windowEnd })[0]
        state = step(state, { kind: 'timeout' })[0]
      }
      expect(state.phase).toBe('over')
    }
    expect([...ends].sort()).toEqual(['failed', 'probed', 'sent'])
  },
  TIME_MS,
)

function pick(below: (n: number) => number, acked: number, windowEnd: number): Event {
  switch (below(12)) {
    case 0:
      return { kind: 'timeout' }
    case 1:
      return { kind: 'ack', block: below(65_536) }
    case 2:
      return { kind: 'ack', block: (acked + below(20) - 5) & 0xffff }
    case 3:
      return below(12) === 0 ? { kind: 'error', code: 8, message: '' } : { kind: 'ack', block: 0 }
    case 4:
    case 5:
    case 6:
    case 7:
      return { kind: 'left', last: Math.max(acked, windowEnd - (below(3) === 0 ? below(4) : 0)) }
    default:
      return { kind: 'ack', block: windowEnd & 0xffff }
  }
}

function flat(packet: Packet): unknown {
  return Object.entries(packet).map(([key, value]) => {
    if (value instanceof Map) return [key, [...value]]
    return [key, value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value]
  })
}
