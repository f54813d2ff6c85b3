/**
 * Segments: the immutable delta WIMs in which a group keeps its images. A segment holds the metadata resources that one
 * import brought, and those file contents that no other segment of the group holds, as they lay in the source.
 *
 * ```
 * [header 208][contents, copied run by run][metadata of image 1..n][blob table][XML]
 * ```
 * Stock tools read them: `wimlib-imagex apply seg.wim 1 DIR --ref='*.wim'`.
 * Writing blocks: for the child process that imports.
 */
import { writeSync } from 'node:fs'
import { type BlobTable, emptyBlobTable, indexBlobs, placeEntry, SHA1_BYTES, type Sha1Index } from './blob-table.ts'
import { type Frame, frameOf } from './frame.ts'
import { HEADER_BYTES, NO_RESOURCE } from './header.ts'
import type { Source } from './source.ts'

/** A segment as the library holds it: its table in memory, its bytes on disk. */
export type LoadedSegment = {
  readonly table: BlobTable
  readonly index: Sha1Index
}

export function loadedSegment(table: BlobTable): LoadedSegment {
  return { table, index: indexBlobs(table) }
}

export type SegmentImage = {
  /** Entry of its metadata in the source's table. */
  readonly metadata: number
  /** Its IMAGE element. */
  readonly element: string
}

export type SegmentPlan = {
  readonly images: readonly SegmentImage[]
  /** Entries of the source's table to copy, in the order they lie in the source. */
  readonly entries: Int32Array
  /** Compressed bytes of `entries` and of the metadata: what the segment will hold besides its tables. */
  readonly payloadBytes: number
  /** The same, uncompressed: what is to be checked. */
  readonly contentBytes: number
}

/**
 * The contents that the images need and `held` does not have. What the source lacks may lie in `lastResort`; `missing`
 * counts what is nowhere.
 */
export function planSegment(
  source: Source,
  images: readonly (SegmentImage & { readonly needs: { readonly count: number; readonly sha1: Uint8Array } })[],
  places: { readonly held: readonly Sha1Index[]; readonly lastResort: readonly Sha1Index[] },
): { readonly plan: SegmentPlan; readonly missing: number } {
  const wanted = new Set<number>()
  let missing = 0
  for (const { needs } of images)
    for (let i = 0; i < needs.count; i += 1) {
      if (places.held.some((index) => index.find(needs.sha1, i * SHA1_BYTES) >= 0)) continue
      const entry = source.index.find(needs.sha1, i * SHA1_BYTES)
      if (entry >= 0) wanted.add(entry)
      else if (!places.lastResort.some((index) => index.find(needs.sha1, i * SHA1_BYTES) >= 0)) missing += 1
    }
  const { part, offset, sizeInWim } = source.table
  const entries = Int32Array.from(wanted)
  entries.sort((a, b) => (part[a] ?? 0) - (part[b] ?? 0) || (offset[a] ?? 0) - (offset[b] ?? 0))
  const copied = [...entries, ...images.map(({ metadata }) => metadata)]
  const sum = (column: Float64Array): number => copied.reduce((total, entry) => total + (column[entry] ?? 0), 0)
  return {
    plan: {
      images: images.map(({ metadata, element }) => ({ metadata, element })),
      entries,
      payloadBytes: sum(sizeInWim),
      contentBytes: sum(source.table.size),
    },
    missing,
  }
}

/** Copies `length` bytes from one file to another by position; implemented with copy_file_range(2) in the caller. */
export type CopyRange = (fromFd: number, fromOffset: number, toFd: number, toOffset: number, length: number) => void

/** Upper bound of what a segment takes on disk. */
export function segmentBytes(plan: SegmentPlan): number {
  const xml = plan.images.reduce((sum, image) => sum + image.element.length * 2 + 64, 256)
  return HEADER_BYTES + plan.payloadBytes + (plan.entries.length + plan.images.length) * 50 + xml
}

type Run = {
  /** Which file it lies in now, from 1, as blob tables count parts. */
  readonly part: number
  readonly from: number
  readonly to: number
  readonly length: number
}

/** A segment as it will lie on disk, before a byte of it is written. */
export type SegmentLayout = {
  readonly table: BlobTable
  readonly frame: Frame
  /** Contents that lie side by side are copied in one go. */
  readonly runs: readonly Run[]
}

/** Lays out entries of `from`, a table over one file or several. Source of the GUID: the caller, anything unique. */
export function layOutSegment(
  from: BlobTable,
  plan: Pick<SegmentPlan, 'images' | 'entries'>,
  facts: { readonly rpFix: boolean; readonly guid: Uint8Array },
): SegmentLayout {
  const count = plan.entries.length + plan.images.length
  const table = emptyBlobTable(count)
  const runs: Run[] = []
  let at = HEADER_BYTES
  for (let i = 0; i < count; i += 1) {
    const entry = plan.entries[i] ?? plan.images[i - plan.entries.length]?.metadata ?? -1
    const { sizeInWim: length } = placeEntry(table, i, { from, entry, offset: at, refCount: 1 })
    const part = from.part[entry] ?? 1
    const offset = from.offset[entry] ?? 0
    const run = runs.at(-1)
    if (run && run.part === part && run.from + run.length === offset)
      runs[runs.length - 1] = { ...run, length: run.length + length }
    else if (length > 0) runs.push({ part, from: offset, to: at, length })
    at += length
  }
  const frame = frameOf({
    table,
    elements: plan.images.map((image) => image.element),
    contentsEnd: at,
    rpFix: facts.rpFix,
    guid: () => facts.guid,
    boot: { metadata: NO_RESOURCE, index: 0 },
  })
  return { table, frame, runs }
}

/** Copies what was laid out to `out` (an empty file) from the files of its parts; the caller syncs, names and publishes it. */
export function writeLayout(layout: SegmentLayout, fds: readonly number[], out: number, copy: CopyRange): void {
  for (const { part, from, to, length } of layout.runs) {
    const fd = fds[part - 1]
    if (fd === undefined) throw new Error(`part ${part} of ${fds.length} is not open`)
    copy(fd, from, out, to, length)
  }
  writeFrame(out, layout.frame)
}

/** The header last: until then the file is no WIM. */
export function writeFrame(fd: number, { header, table, xml }: Frame): void {
  writeAll(fd, table.bytes, table.at)
  writeAll(fd, xml.bytes, xml.at)
  writeAll(fd, header, 0)
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.byteLength; )
    done += writeSync(fd, bytes, done, bytes.byteLength - done, position + done)
}
