/** The books of each group, kept until the group changes, and made off the main thread. */
import { eq, inArray } from 'drizzle-orm'
import type { Db } from '../../db/open.ts'
import { contents, segments as table } from '../../db/schema.ts'
import { allSegmentsOf } from '../rows.ts'
import { damagedOf } from './damage.ts'
import { type Holders, holdersOf } from './holders.ts'
import type { Ledger } from './ledger.ts'

export type LedgerOrder = {
  /** The database is read there rather than sent: what an image needs is some 2 MiB. */
  readonly dataDir: string
  readonly groupId: number
  readonly held: readonly Holders[]
  readonly segments: readonly {
    readonly id: number
    readonly path: string
    readonly retired: boolean
    readonly damage: readonly string[]
  }[]
}

export type LedgerAnswer =
  | { readonly kind: 'done'; readonly ledger: Ledger }
  | { readonly kind: 'fault'; readonly message: string }

export type Ledgers = {
  /** `damage` in place of what the rows say, by file name: for a check that writes nothing. */
  readonly of: (groupId: number, damage?: ReadonlyMap<string, ReadonlySet<string>>) => Promise<Ledger>
}

/** Of a whole group they are small; whoever asks for all groups in turn must find them. */
const MAX_CACHED = 256

export function openLedgers(deps: {
  readonly db: Db
  readonly dataDir: string
  readonly groupDir: (groupId: number) => string
}): Ledgers {
  const { db, groupDir } = deps
  const kept = new Map<number, { readonly key: string; readonly ledger: Promise<Ledger> }>()

  function areThere(ids: readonly number[]): boolean {
    const rows = db
      .select({ id: table.id })
      .from(table)
      .where(inArray(table.id, [...ids]))
      .all()
    return rows.length === ids.length
  }

  async function settled(order: LedgerOrder, again: () => Promise<Ledger>): Promise<Ledger> {
    const ledger = await make(order)
    // A compaction or a collection took a segment away between its row and its file: what it held lies elsewhere.
    return areThere(ledger.unreadable) ? ledger : again()
  }

  const ledgers: Ledgers = {
    of: (groupId, given) => {
      const damage = given ?? damagedOf(db, groupId)
      const held = holdersOf(db, groupId)
      const segments = allSegmentsOf(db, groupId).map(({ id, fileName, retired }) => ({
        id,
        path: `${groupDir(groupId)}/${fileName}`,
        retired,
        damage: [...(damage.get(fileName) ?? [])].sort(),
      }))
      const homes = db
        .select({ id: contents.id, segmentId: contents.segmentId, imageIndex: contents.imageIndex })
        .from(contents)
        .where(eq(contents.groupId, groupId))
        .all()
      const key = Bun.hash(JSON.stringify([held, segments, homes])).toString(36)
      const known = kept.get(groupId)
      if (known?.key === key) return known.ledger
      const order = { dataDir: deps.dataDir, groupId, held, segments }
      const ledger = settled(order, () => ledgers.of(groupId, given))
      kept.delete(groupId)
      kept.set(groupId, { key, ledger })
      const drop = (): void => {
        if (kept.get(groupId)?.ledger === ledger) kept.delete(groupId)
      }
      // What failed, or met a file that cannot be read just now, is looked at again.
      ledger.then(({ unreadable }) => unreadable.length > 0 && drop(), drop)
      for (const oldest of kept.keys()) {
        if (kept.size <= MAX_CACHED) break
        kept.delete(oldest)
      }
      return ledger
    },
  }
  return ledgers
}

async function make(order: LedgerOrder): Promise<Ledger> {
  const worker = new Worker(new URL('./ledger-worker.ts', import.meta.url).href)
  try {
    const answer = await new Promise<LedgerAnswer>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<LedgerAnswer>) => resolve(data)
      worker.onerror = (event) => reject(new Error(`the thread that makes up the books ended: ${event.message}`))
      worker.postMessage(order)
    })
    if (answer.kind === 'fault') throw new Error(answer.message)
    return answer.ledger
  } finally {
    worker.terminate()
  }
}
