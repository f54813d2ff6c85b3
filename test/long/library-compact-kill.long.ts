/**
 * kill -9 in the middle of compactions: after each, the group is whole, nothing is left over, and the job tells the
 * truth. WIMCAST_KILLS moments from WIMCAST_SEED on.
 */
import { expect, test } from 'bun:test'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { allSegmentsOf } from '../../src/library/rows.ts'
import { must, saveContent } from '../fixtures/library.ts'
import { fromEnvironment, randomOf } from '../fixtures/seed.ts'
import { openStore } from '../fixtures/store.ts'
import { changesIn } from '../fixtures/watch.ts'
import { capture, HAS_STOCK, imagex, makeTree } from '../fixtures/wims.ts'

const KILLS = fromEnvironment('WIMCAST_KILLS', 3)
const SEED = fromEnvironment('WIMCAST_SEED', 1)
const CHILD = new URL('../fixtures/store-child.ts', import.meta.url).pathname
const T = 120_000

type Run = { readonly ended: Promise<string>; readonly started: Promise<void>; readonly kill: () => void }

function run(dataDir: string): Run {
  const child = Bun.spawn([process.execPath, CHILD, dataDir], { stdout: 'pipe', stderr: 'inherit' })
  const started = Promise.withResolvers<void>()
  const ended = (async () => {
    let said = ''
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      said += text
      started.resolve()
    }
    await child.exited
    return said
  })()
  return { ended, started: started.promise, kill: () => child.kill('SIGKILL') }
}

test.skipIf(!HAS_STOCK)(
  'a compaction that is killed leaves the old group or the new one',
  async () => {
    const random = randomOf(SEED)
    const work = mkdtempSync(join(tmpdir(), 'wimcast-compact-kill-'))
    const wims: string[] = []
    for (const edition of ['Pro', 'Home'])
      wims.push(
        await capture(
          makeTree(join(work, edition), { edition, smallFiles: 30 }),
          join(work, `${edition}.wim`),
          edition,
        ),
      )
    const outcomes: Record<string, number> = {}
    let tookMs = 400
    try {
      for (let i = 0; i <= KILLS; i += 1) {
        const dataDir = join(work, `data-${i}`)
        const first = await openStore(dataDir)
        const [pro, home] = wims.flatMap((path) => first.put(path))
        if (!home) throw new Error('missing')
        first.drop(pro)
        const before = first.diskBytes()
        await first.close()

        const child = run(dataDir)
        await child.started
        const startedMs = performance.now()
        // The first is not killed: it tells how long one takes. Publishing is short, and told by the folder's changes.
        if (i === 0) {
          expect(await child.ended).toBe('start\ndone\n')
          tookMs = performance.now() - startedMs
        } else if (random() < 0.5) await Bun.sleep(random() * tookMs)
        else await changesIn(join(dataDir, 'groups/1'), 1 + Math.floor(random() * 3), child.ended)
        child.kill()
        const said = await child.ended

        await using store = await openStore(dataDir)
        await store.collect()
        const job = store.jobs.list()[0]
        const state = job ? `${job.state}${job.error ? ` (${job.error.code})` : ''}` : 'not begun'
        outcomes[state] = (outcomes[state] ?? 0) + 1
        expect(['not begun', 'done', 'failed (interrupted)']).toContain(state)
        if (said.includes('done')) expect(state).toBe('done')
        // Either all of it happened or nothing: the rows, the files, the word of the job and the audit log agree.
        const rows = allSegmentsOf(store.db, store.groupId)
        expect(store.segmentNames().sort()).toEqual(rows.map((row) => row.fileName).sort())
        expect(store.diskBytes() < before).toBe(state === 'done')
        expect(store.changes.list({ verb: 'group.compact' }).length).toBe(state === 'done' ? 1 : 0)
        expect(store.snapshot()).toMatchObject({ doomed: [], work: [] })
        expect(readdirSync(store.groupDir).filter((name) => !name.endsWith('.wim'))).toEqual([])
        await imagex('verify', await saveContent(must(await store.views.of(home)), join(work, `${i}.wim`)))
        const again = await store.compact()
        expect(again.state).toBe('done')
        await imagex('verify', await saveContent(must(await store.views.of(home)), join(work, `${i}.wim`)))
      }
      if (process.env['WIMCAST_KILLS'] !== undefined)
        process.stderr.write(`kill: ${JSON.stringify({ seed: SEED, ...outcomes })}\n`)
    } finally {
      rmSync(work, { recursive: true, force: true })
    }
  },
  T * (1 + KILLS / 50),
)
