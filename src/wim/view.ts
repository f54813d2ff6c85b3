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
  const found = segments.map(() => ({ entry: [] as number[], refCount: new Map<number, number>() }))
  let missing = 0
  for (let i = 0; i < needs.count; i += 1) {
    let home = -1
    let entry = -1
    for (const [s, segment] of segments.entries()) {
      entry = segment.index.find(needs.sha1, i * SHA1_BYTES)
      if (entry >= 0) {
        home = s
        break
      }
    }
    const at = found[home]
    if (!at) {
      missing += 1
      continue
    }
    at.entry.push(entry)
    at.refCount.set(entry, needs.refCount[i] ?? 1)
  }
  if (missing > 0)
    return refuse(
      'missing-blobs',
      `the group lacks ${missing} of ${needs.count} file contents`,
      'A segment file is missing or was changed: restore it from a backup, or import the image again.',
      { missing },
    )
  return ok(
    found.map(({ entry, refCount }, s) => {
      const { offset } = segments[s]?.table ?? emptyBlobTable(0)
      const sorted = Int32Array.from(entry).sort((a, b) => (offset[a] ?? 0) - (offset[b] ?? 0))
      return { entry: sorted, refCount: Uint32Array.from(sorted, (i) => refCount.get(i) ?? 1) }
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
