/**
 * Views: a stand-alone WIM that exists only as a list of extents over segments.
 *
 * ```
 * [made header][contents, run by run out of the segments][metadata of image 1..n][made blob table][made XML]
 * ```
 * Deterministic: the same images out of the same segments give the same bytes, so a view has a size, an etag, and block
 * hashes. Pure: it reads no file; who serves it opens the segments.
 */
import { createHash } from 'node:crypto'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { type BlobTable, emptyBlobTable, placeEntry, SHA1_BYTES } from './blob-table.ts'
import { frameOf } from './frame.ts'
import { HEADER_BYTES, NO_RESOURCE, type ResourceHeader } from './header.ts'
import { type Needs, unionNeeds } from './needs.ts'
import type { LoadedSegment } from './segment.ts'

export type ViewImage = {
  /** Which segment holds its metadata (index into `segments`), and which entry of its table that is. */
  readonly segment: number
  readonly metadata: number
  readonly element: string
  readonly needs: Needs
  /** This image is the one that boots (a boot image's WinPE). */
  readonly bootable: boolean
}

export type Extent =
  | { readonly at: number; readonly length: number; readonly segment: number; readonly offset: number }
  | { readonly at: number; readonly length: number; readonly bytes: Uint8Array }

export type View = {
  readonly sizeBytes: number
  readonly etag: string
  /** Sorted by `at`, without gaps. */
  readonly extents: readonly Extent[]
}

/** Takes extents in order; what lies side by side in one segment becomes one. */
class Layout {
  readonly extents: Extent[] = []
  at = HEADER_BYTES

  add(segment: number, offset: number, length: number): void {
    const last = this.extents.at(-1)
    if (last && 'segment' in last && last.segment === segment && last.offset + last.length === offset)
      this.extents[this.extents.length - 1] = { ...last, length: last.length + length }
    else if (length > 0) this.extents.push({ at: this.at, length, segment, offset })
    this.at += length
  }

  addBytes(bytes: Uint8Array): void {
    this.extents.push({ at: this.at, length: bytes.byteLength, bytes })
    this.at += bytes.byteLength
  }
}

/** For each segment, which of its entries hold what is needed, in the order they lie, with their reference counts. */
function place(
  needs: Needs,
  segments: readonly LoadedSegment[],
): Result<{ entry: Int32Array; refCount: Uint32Array }[]> {
  // Columns by need: a hundred thousand of them are placed while others wait for the thread.
  const homeOf = new Int32Array(needs.count).fill(-1)
  const entryOf = new Int32Array(needs.count)
  const counts = new Uint32Array(segments.length)
  let missing = 0
  for (let i = 0; i < needs.count; i += 1) {
    let home = 0
    let entry = -1
    for (const [s, { index }] of segments.entries()) {
      entry = index.find(needs.sha1, i * SHA1_BYTES)
      home = s
      if (entry >= 0) break
    }
    if (entry < 0) {
      missing += 1
      continue
    }
    homeOf[i] = home
    entryOf[i] = entry
    counts[home] = (counts[home] ?? 0) + 1
  }
  if (missing > 0)
    return refuse(
      'missing-blobs',
      `the group lacks ${missing} of ${needs.count} file contents`,
      'A segment file is missing or was changed: restore it from a backup, or import the image again.',
      { missing },
    )
  return ok(
    segments.map(({ table: { offset } }, s) => {
      const order = new Int32Array(counts[s] ?? 0)
      let at = 0
      for (let i = 0; i < needs.count; i += 1)
        if (homeOf[i] === s) {
          order[at] = i
          at += 1
        }
      order.sort((a, b) => (offset[entryOf[a] ?? 0] ?? 0) - (offset[entryOf[b] ?? 0] ?? 0))
      const entry = order.map((i) => entryOf[i] ?? 0)
      return { entry, refCount: Uint32Array.from(order, (i) => needs.refCount[i] ?? 1) }
    }),
  )
}

export function buildView(
  images: readonly ViewImage[],
  segments: readonly LoadedSegment[],
  options: { readonly rpFix: boolean },
): Result<View> {
  const needs = unionNeeds(images.map((image) => image.needs))
  const placed = place(needs, segments)
  if (!placed.ok) return placed
  const layout = new Layout()
  const table = emptyBlobTable(needs.count + images.length)
  let row = 0
  const put = (from: BlobTable, segment: number, entry: number, refCount: number): ResourceHeader => {
    const resource = placeEntry(table, row, { from, entry, offset: layout.at, refCount })
    layout.add(segment, from.offset[entry] ?? 0, resource.sizeInWim)
    row += 1
    return resource
  }
  for (const [s, { entry, refCount }] of placed.value.entries()) {
    const from = segments[s]?.table
    if (from) for (const [k, i] of entry.entries()) put(from, s, i, refCount[k] ?? 1)
  }
  let bootMetadata: ResourceHeader = NO_RESOURCE
  let bootIndex = 0
  for (const [i, image] of images.entries()) {
    const from = segments[image.segment]?.table
    if (!from) throw new Error(`image ${i + 1} lies in segment ${image.segment} of ${segments.length}`)
    const resource = put(from, image.segment, image.metadata, 1)
    if (image.bootable && bootIndex === 0) {
      bootMetadata = resource
      bootIndex = i + 1
    }
  }
  const { header, ...frame } = frameOf({
    table,
    elements: images.map((image) => image.element),
    contentsEnd: layout.at,
    rpFix: options.rpFix,
    // The GUID tells parts of a split set apart from strangers; here it only has to be the same for the same content.
    guid: (tableBytes) => createHash('sha256').update('wimcast view').update(tableBytes).digest().subarray(0, 16),
    boot: { metadata: bootMetadata, index: bootIndex },
  })
  layout.addBytes(frame.table.bytes)
  layout.addBytes(frame.xml.bytes)
  // The table names every content by SHA-1 and place, so header, table and XML identify each byte of the view.
  const etag = createHash('sha256')
    .update(header)
    .update(frame.table.bytes)
    .update(frame.xml.bytes)
    .digest('hex')
    .slice(0, 32)
  return ok({
    sizeBytes: layout.at,
    etag,
    extents: [{ at: 0, length: HEADER_BYTES, bytes: header }, ...layout.extents],
  })
}
