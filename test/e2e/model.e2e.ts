/**
 * Seeded sequences of everything that changes a library, with kill -9 in between, against the real appliance and beside a
 * simple model of it. WIMCAST_SEQUENCES of them from WIMCAST_SEED on; scripts/soak/model runs more.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Judged } from '../fixtures/model-judge.ts'
import { counts, type Plan, report, runSequence, shortestPrefix } from '../fixtures/model-run.ts'
import { makePool, type Pool } from '../fixtures/model-sources.ts'
import { fromEnvironment } from '../fixtures/seed.ts'

const SEQUENCES = fromEnvironment('WIMCAST_SEQUENCES', 50)
const SEED = fromEnvironment('WIMCAST_SEED', 1)
const LENGTH = fromEnvironment('WIMCAST_STEPS', 14)
/** Appliances beside each other: most of a sequence is waiting for the disk and for children. */
const LANES = 2
const VERBS =
  'group.new group.rename group.remove import copy set replace undo remove restore empty compact export scrub'.split(
    ' ',
  )

let pool: Pool
let dir: string
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-pool-'))
  pool = await makePool(dir)
}, 60_000)
afterAll(() => {
  if (process.env['WIMCAST_SEQUENCES'] !== undefined)
    process.stderr.write(`model: ${JSON.stringify({ seed: SEED, sequences: SEQUENCES, ...counts })}\n`)
  rmSync(dir, { recursive: true, force: true })
})

test(
  `${SEQUENCES} sequences of ${LENGTH} steps from seed ${SEED} on lead where the model leads`,
  async () => {
    const judged: Judged = new Map()
    const reports: string[] = []
    let next = SEED
    async function lane(): Promise<void> {
      while (next < SEED + SEQUENCES && reports.length === 0) {
        const plan: Plan = { seed: next, length: LENGTH, kills: 0.08, readEvery: 5 }
        next += 1
        const failed = await runSequence(pool, plan, judged)
        if (!failed) continue
        const least = await shortestPrefix(pool, plan, failed.steps)
        reports.push(
          `${report(plan, failed)}\nshortest prefix that fails: ${least ? report(plan, least) : 'none; it went well this time'}`,
        )
      }
    }
    await Promise.all(Array.from({ length: LANES }, lane))
    expect(reports.join('\n\n')).toBe('')
    // A maker that made nothing of a kind would hold anything.
    if (SEQUENCES >= 50)
      for (const verb of VERBS) expect(`${verb}: done ${(counts[`${verb}: done`] ?? 0) > 0}`).toBe(`${verb}: done true`)
  },
  60_000 + SEQUENCES * 10_000,
)
