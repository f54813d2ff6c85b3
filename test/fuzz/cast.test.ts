/** Random and damaged bytes against everything of the cast that reads bytes of strangers: it refuses, it never throws. */
import { expect, test } from 'bun:test'
import { geometryOf } from '../../src/cast/geometry.ts'
import { decodeManifest, encodeManifest, HASH_BYTES } from '../../src/cast/manifest.ts'
import {
  decodeBeacon,
  decodeHeader,
  decodeReport,
  encodeBeacon,
  encodeReport,
  reporterOf,
  seal,
} from '../../src/cast/packet.ts'
import { Schedule } from '../../src/cast/schedule.ts'

const ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 3000)
const KEY = new Uint8Array(32).fill(1)

function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

const geometry = geometryOf(1e6)
const seeds: Uint8Array[] = [
  encodeBeacon(
    {
      sessionId: 1n,
      epoch: 1,
      sequence: 1,
      pass: 1,
      block: 1,
      rateKbit: 1,
      backoffMs: 5,
      state: 'held',
      ready: 1,
      wanted: 2,
    },
    1,
    KEY,
  ),
  encodeReport(
    {
      epoch: 1,
      clientId: 1,
      counter: 1,
      pass: 1,
      block: 1,
      lacking: 1,
      lossPpm: 1,
      drops: 1,
      refused: 1,
      missing: [{ block: 1, bitmap: new Uint8Array(16) }],
    },
    1,
    KEY,
  ),
  encodeManifest(geometry, new Uint8Array(geometry.chunkCount * HASH_BYTES)),
]

function damaged(random: () => number): Uint8Array {
  const seed = seeds[Math.floor(random() * seeds.length)] ?? new Uint8Array()
  const bytes =
    random() < 0.2
      ? new Uint8Array(Math.floor(random() * 1500))
      : seed.slice(0, random() < 0.7 ? undefined : Math.floor(random() * seed.length))
  for (let count = Math.floor(random() * 8); count >= 0 && bytes.length > 0; count -= 1) {
    bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
  }
  return bytes
}

test('damaged packets and manifests are refused, not thrown at', () => {
  const random = randomFrom(42)
  const known = new Set(seeds.map((seed) => Buffer.from(seed).toString('hex')))
  for (let round = 0; round < ROUNDS; round += 1) {
    const bytes = damaged(random)
    decodeHeader(bytes)
    reporterOf(bytes)
    decodeManifest(bytes)
    const believed = decodeBeacon(bytes, KEY) ?? decodeReport(bytes, KEY)
    if (believed) expect(known.has(Buffer.from(bytes).toString('hex'))).toBe(true)
  }
})

test('reports of an insider with nonsense in them leave the schedule whole', () => {
  const random = randomFrom(7)
  const schedule = new Schedule(geometry)
  const out = new Uint32Array(44)
  for (let round = 0; round < ROUNDS; round += 1) {
    const packet = damaged(random)
    if (packet.byteLength < 32) continue
    const report = decodeReport(seal(KEY, packet), KEY)
    if (report) schedule.repair(report, report.missing)
    const count = schedule.take(out, 44)
    for (const symbol of out.subarray(0, count)) expect(symbol).toBeLessThan(geometry.symbolCount)
    if (count < 44) schedule.turn()
    expect(schedule.wantedCount).toBeLessThanOrEqual(geometry.symbolCount)
  }
})
