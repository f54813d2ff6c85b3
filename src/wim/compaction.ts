/**
 * What of a group's segments is still needed, and which of them are worth writing anew without the rest. Pure, but a
 * matter of seconds for a large group: for a child process.
 */
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { type BlobTable, isMetadata, metadataEntries, SHA1_BYTES, Sha1Index } from './blob-table.ts'
import type { Needs } from './needs.ts'
import type { SegmentImage, SegmentPlan } from './segment.ts'
import { concatTables } from './source.ts'

export type StoredSegment = {
  readonly id: number
  /** Its `part` column is not used. */
  readonly table: BlobTable
  /** Contents of it that are known to be broken, 40 hex digits each; '' stands for all. */
  readonly damaged?: readonly string[]
}

export type StoredContent = {
  readonly id: number
  readonly segmentId: number
  /** From 1. */
  readonly imageIndex: number
  readonly element: string
  readonly needs: Needs
}

/** What of a segment is needed, in bytes as they lie there; header, tables and XML are not counted. */
export type SegmentUse = { readonly id: number; readonly liveBytes: number; readonly deadBytes: number }

export type CompactionPlan = {
  /** One table over all segments, `part` being the place of the segment in the list, from 1. */
  readonly table: BlobTable
  readonly use: readonly SegmentUse[]
  /** The segments that the new one replaces. */
  readonly replaced: readonly number[]
  /** What the new one holds: nothing at all when nothing of those is needed. */
  readonly plan: SegmentPlan
  /** The contents behind `plan.images`, in that order. */
  readonly rehomed: readonly number[]
}

/**
 * `segments` in the order of preference: of a content that lies in several, the first copy that is not known to be broken
 * is kept. A segment is replaced when `minDeadShare` (0 to 1) of it is dead and something is. What the contents need and
 * nobody has is nobody's loss here.
 */
export function planCompaction(
  segments: readonly StoredSegment[],
  contents: readonly StoredContent[],
  { minDeadShare }: { readonly minDeadShare: number },
): Result<CompactionPlan> {
  for (const [s, { table }] of segments.entries()) table.part.fill(s + 1)
  const table = concatTables(segments.map((segment) => segment.table))
  const starts: number[] = []
  let start = 0
  for (const segment of segments) {
    starts.push(start)
    start += segment.table.count
  }
  const live = new Uint8Array(table.count)
  markContents(live, table, brokenOf(segments, starts, table), contents)
  const trees: { readonly contentId: number; readonly image: SegmentImage; readonly segment: number }[] = []
  for (const content of contents) {
    const segment = segments.findIndex(({ id }) => id === content.segmentId)
    const home = segments[segment]
    const local = home && metadataEntries(home.table)[content.imageIndex - 1]
    if (local === undefined)
      return refuse('corrupt', `content ${content.id} has no tree in its segment`, 'See wimcast library scrub.')
    const metadata = (starts[segment] ?? 0) + local
    live[metadata] = 1
    trees.push({ contentId: content.id, image: { metadata, element: content.element }, segment })
  }

  const use = segments.map(({ id, table: { count, sizeInWim } }, s): SegmentUse => {
    let liveBytes = 0
    let deadBytes = 0
    for (let i = 0; i < count; i += 1)
      if (live[(starts[s] ?? 0) + i] === 1) liveBytes += sizeInWim[i] ?? 0
      else deadBytes += sizeInWim[i] ?? 0
    return { id, liveBytes, deadBytes }
  })
  const isReplaced = use.map(
    ({ liveBytes, deadBytes }) =>
      liveBytes === 0 || (deadBytes > 0 && deadBytes >= minDeadShare * (liveBytes + deadBytes)),
  )
  const kept: number[] = []
  for (let i = 0; i < table.count; i += 1)
    if (live[i] === 1 && isReplaced[(table.part[i] ?? 0) - 1] && !isMetadata(table, i)) kept.push(i)
  const entries = Int32Array.from(kept)
  entries.sort((a, b) => (table.part[a] ?? 0) - (table.part[b] ?? 0) || (table.offset[a] ?? 0) - (table.offset[b] ?? 0))
  const moved = trees.filter(({ segment }) => isReplaced[segment])
  moved.sort((a, b) => a.image.metadata - b.image.metadata)
  const copied = [...entries, ...moved.map(({ image }) => image.metadata)]
  const sum = (column: Float64Array): number => copied.reduce((total, entry) => total + (column[entry] ?? 0), 0)
  return ok({
    table,
    use,
    replaced: use.filter((_, s) => isReplaced[s]).map(({ id }) => id),
    plan: {
      images: moved.map(({ image }) => image),
      entries,
      payloadBytes: sum(table.sizeInWim),
      contentBytes: sum(table.size),
    },
    rehomed: moved.map(({ contentId }) => contentId),
  })
}

/** Marks of each needed content the copy that stays. */
function markContents(
  live: Uint8Array,
  table: BlobTable,
  broken: Uint8Array | undefined,
  contents: readonly StoredContent[],
): void {
  // The first of equal ones is found, and the tables lie in the order of preference.
  const sound = new Sha1Index(table.sha1, (i) => !isMetadata(table, i) && broken?.[i] !== 1)
  const lastResort = broken && new Sha1Index(table.sha1, (i) => !isMetadata(table, i) && broken[i] === 1)
  for (const { needs } of contents)
    for (let i = 0; i < needs.count; i += 1) {
      let entry = sound.find(needs.sha1, i * SHA1_BYTES)
      if (entry < 0 && lastResort) entry = lastResort.find(needs.sha1, i * SHA1_BYTES)
      if (entry >= 0) live[entry] = 1
    }
}

function brokenOf(
  segments: readonly StoredSegment[],
  starts: readonly number[],
  table: BlobTable,
): Uint8Array | undefined {
  if (!segments.some(({ damaged = [] }) => damaged.length > 0)) return undefined
  const broken = new Uint8Array(table.count)
  for (const [s, { table: own, damaged = [] }] of segments.entries()) {
    const start = starts[s] ?? 0
    if (damaged.includes('')) broken.fill(1, start, start + own.count)
    if (damaged.length === 0) continue
    const named = new Set(damaged)
    for (let i = 0; i < own.count; i += 1)
      if (named.has(Buffer.from(own.sha1.subarray(i * SHA1_BYTES, (i + 1) * SHA1_BYTES)).toString('hex')))
        broken[start + i] = 1
  }
  return broken
}
