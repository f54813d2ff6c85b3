/**
 * What checks found wrong, and what that means for whoever reads segments: a damaged copy is as good as none. Another
 * segment's good copy is taken instead; where there is none, the content is refused.
 */
import { eq } from 'drizzle-orm'
import { type Refusal, refuse } from '../../base/refusal.ts'
import type { Err } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { damages, segments } from '../../db/schema.ts'
import {
  type BlobTable,
  emptyBlobTable,
  isMetadata,
  metadataEntries,
  placeEntry,
  SHA1_BYTES,
  Sha1Index,
  sha1At,
} from '../../wim/blob-table.ts'
import type { Needs } from '../../wim/needs.ts'
import type { LoadedSegment } from '../../wim/segment.ts'

/** Stands for the file as a whole among the SHA-1s of a segment's damage: it is missing, short, or has no table. */
export const WHOLE_FILE = ''

/** What is wrong with one segment: SHA-1s as 40 hex digits, or WHOLE_FILE. */
export type Damage = ReadonlySet<string>

export const NO_DAMAGE: Damage = new Set()
const NOTHING: LoadedSegment = { table: emptyBlobTable(0), index: new Sha1Index(new Uint8Array(0)) }

/** By the segment's file name; segments without damage are left out. */
export function damagedOf(db: Db, groupId: number): Map<string, Set<string>> {
  const rows = db
    .select({ fileName: segments.fileName, sha1: damages.sha1 })
    .from(damages)
    .innerJoin(segments, eq(segments.id, damages.segmentId))
    .where(eq(segments.groupId, groupId))
    .all()
  const found = new Map<string, Set<string>>()
  for (const { fileName, sha1 } of rows) {
    const known = found.get(fileName)
    if (known) known.add(sha1)
    else found.set(fileName, new Set([sha1]))
  }
  return found
}

/** A check that ran beside some work has found what was not `known` when that was planned. */
export function hasNewDamage(
  db: Db,
  groupId: number,
  known: ReadonlyMap<string, Damage>,
  isOfInterest: (fileName: string) => boolean = () => true,
): boolean {
  return [...damagedOf(db, groupId)].some(
    ([fileName, damage]) => isOfInterest(fileName) && [...damage].some((sha1) => !known.get(fileName)?.has(sha1)),
  )
}

/** SHA-1s given as hex, side by side. */
export function packSha1s(hex: Iterable<string>): Uint8Array {
  return Uint8Array.from(Buffer.from([...hex].join(''), 'hex'))
}

function badIn(table: BlobTable, damage: Damage): (entry: number) => boolean {
  if (damage.has(WHOLE_FILE)) return () => true
  const bad = new Sha1Index(packSha1s(damage))
  return (entry) => bad.find(table.sha1, entry * SHA1_BYTES) >= 0
}

/** The table without its damaged entries: what an import may build on. */
export function intactTable(table: BlobTable, damage: Damage = NO_DAMAGE): BlobTable {
  if (damage.size === 0) return table
  const isBad = badIn(table, damage)
  const good: number[] = []
  for (let i = 0; i < table.count; i += 1) if (!isBad(i)) good.push(i)
  const intact = emptyBlobTable(good.length)
  for (const [row, entry] of good.entries())
    placeEntry(intact, row, {
      from: table,
      entry,
      offset: table.offset[entry] ?? 0,
      refCount: table.refCount[entry] ?? 0,
    })
  return intact
}

/** The same segment, in which lookups pass over what is damaged. Entries keep their numbers. */
export function withoutDamaged(segment: LoadedSegment, damage: Damage = NO_DAMAGE): LoadedSegment {
  if (damage.size === 0) return segment
  if (damage.has(WHOLE_FILE)) return NOTHING
  const { table } = segment
  const isBad = badIn(table, damage)
  return { table, index: new Sha1Index(table.sha1, (i) => !isMetadata(table, i) && !isBad(i)) }
}

/** A segment of which nothing can be read. */
export function emptySegment(): LoadedSegment {
  return NOTHING
}

/** Where a good copy of a content's tree lies: where its row says, or wherever else in the group. */
export function findTree(
  segments: readonly LoadedSegment[],
  damage: readonly Damage[],
  { home, imageIndex, treeSha1 }: { readonly home: number; readonly imageIndex: number; readonly treeSha1: string },
): { readonly segment: number; readonly metadata: number } | undefined {
  const isIt = (segment: number, entry: number | undefined): entry is number => {
    const table = segments[segment]?.table
    if (!table || entry === undefined || damage[segment]?.has(treeSha1)) return false
    return Buffer.from(sha1At(table, entry)).toString('hex') === treeSha1
  }
  const table = segments[home]?.table
  const metadata = table && metadataEntries(table)[imageIndex - 1]
  if (isIt(home, metadata)) return { segment: home, metadata }
  for (const [segment, other] of segments.entries()) {
    const found = metadataEntries(other.table).find((entry) => isIt(segment, entry))
    if (found !== undefined) return { segment, metadata: found }
  }
  return undefined
}

/** What of the needs no segment holds. */
export function lackingIn(
  needs: Needs,
  segments: readonly LoadedSegment[],
): { readonly count: number; readonly first: string | undefined } {
  let count = 0
  let first: string | undefined
  for (let i = 0; i < needs.count; i += 1) {
    const at = i * SHA1_BYTES
    if (segments.some(({ index }) => index.find(needs.sha1, at) >= 0)) continue
    count += 1
    first ??= Buffer.from(needs.sha1.subarray(at, at + SHA1_BYTES)).toString('hex')
  }
  return { count, first }
}

export function refuseDamaged(lacking: number, first: string): Err<Refusal> {
  return refuse(
    'damaged',
    `the image holds ${lacking} damaged ${lacking === 1 ? 'content' : 'contents'}, ${first}${lacking === 1 ? '' : ' and others'}`,
    'Repair it from a file that has them (wimcast library repair FILE), or import the image again.',
    { lacking, first },
  )
}
