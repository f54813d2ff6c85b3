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
import { HEADER_BYTES, HEADER_FLAG, NO_RESOURCE } from './header.ts'
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

/** Writes the segment to `out` (an empty file); the caller syncs, names and publishes it. Returns its size and its table. */
export function writeSegment(
  source: Source,
  plan: SegmentPlan,
  out: number,
  guid: Uint8Array,
  copy: CopyRange,
): { readonly sizeBytes: number; readonly table: BlobTable } {
  const { table } = source
  const all = [...plan.entries, ...plan.images.map((image) => image.metadata)]
  const written = emptyBlobTable(all.length)
  let at = HEADER_BYTES
  // Contents that lie side by side in the source are copied in one go.
  let run: { fd: number; from: number; to: number; length: number } | undefined
  const flush = (): void => {
    if (run) copy(run.fd, run.from, out, run.to, run.length)
    run = undefined
  }
  for (const [i, entry] of all.entries()) {
    const fd = source.parts[(table.part[entry] ?? 1) - 1]?.fd
    const length = table.sizeInWim[entry]
    const from = table.offset[entry]
    if (fd === undefined || length === undefined || from === undefined)
      throw new Error(`entry ${entry} has no place in the source`)
    if (run && run.fd === fd && run.from + run.length === from) run.length += length
    else {
      flush()
      run = { fd, from, to: at, length }
    }
    placeEntry(written, i, { from: table, entry, offset: at, refCount: 1 })
    at += length
  }
  flush()
  const frame = frameOf({
    table: written,
    elements: plan.images.map((image) => image.element),
    contentsEnd: at,
    rpFix: (source.header.flags & HEADER_FLAG.rpFix) !== 0,
    guid: () => guid,
    boot: { metadata: NO_RESOURCE, index: 0 },
  })
  writeFrame(out, frame)
  return { sizeBytes: frame.sizeBytes, table: written }
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
