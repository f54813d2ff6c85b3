/// <reference lib="webworker" />
/** Worker: reads what a group's images need and what its segments hold, and makes up the books. */

import { and, eq } from 'drizzle-orm'
import { openDbBeside } from '../../db/open.ts'
import { contents } from '../../db/schema.ts'
import { loadedSegment } from '../../wim/segment.ts'
import { needsOf } from '../rows.ts'
import { readSegmentTable } from '../store/segment-table.ts'
import { WHOLE_FILE } from './damage.ts'
import { computeLedger, type LedgerContent, type LedgerSegment } from './ledger.ts'
import type { LedgerAnswer, LedgerOrder } from './ledgers.ts'

declare const self: Worker

self.onmessage = ({ data }: MessageEvent<LedgerOrder>): void => {
  self.postMessage(answer(data))
}

function answer(order: LedgerOrder): LedgerAnswer {
  try {
    const segments = order.segments.map(({ id, path, retired, damage }): LedgerSegment => {
      const bad = new Set(damage)
      return { id, retired, damage: bad, loaded: bad.has(WHOLE_FILE) ? undefined : load(path) }
    })
    return { kind: 'done', ledger: computeLedger(segments, readContents(order)) }
  } catch (error) {
    return { kind: 'fault', message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

function readContents({ dataDir, groupId, held }: LedgerOrder): LedgerContent[] {
  using beside = openDbBeside(dataDir)
  const { id, treeSha1, segmentId, imageIndex } = contents
  return held.flatMap(({ contentId, holders, shown }) => {
    const row = beside.db
      .select({ id, treeSha1, segmentId, imageIndex })
      .from(contents)
      .where(and(eq(id, contentId), eq(contents.groupId, groupId)))
      .get()
    return row ? [{ ...row, needs: needsOf(beside.db, row.id), holders, shown }] : []
  })
}

function load(path: string): LedgerSegment['loaded'] {
  try {
    return loadedSegment(readSegmentTable(path))
  } catch {
    return undefined
  }
}
