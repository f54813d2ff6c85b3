/**
 * The blob table: one 50-byte entry for each resource of a WIM file.
 *
 * ```
 *  +0   24  resource header: size in the file and flags, offset, uncompressed size
 *  +24   2  part of the split set that holds it, from 1
 *  +26   4  reference count
 *  +30  20  SHA-1 of the uncompressed content
 * ```
 * Metadata resources are entries too, flagged, in the order of the images. Entries between the two marks of a solid
 * resource are offset inside it; `solid` tells that a table has such and cannot be copied raw.
 * Source: wimlib src/blob_table.c.
 *
 * Columns instead of objects: a table of 100,000 entries is 5.6 MB here and would be 30 as objects.
 */
import { Short, Writer } from '../base/bytes.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { RESOURCE_FLAG, type ResourceHeader, writeResourceHeader } from './header.ts'

export const BLOB_ENTRY_BYTES = 50
export const SHA1_BYTES = 20

export type BlobTable = {
  readonly count: number
  readonly sizeInWim: Float64Array
  readonly offset: Float64Array
  readonly size: Float64Array
  readonly flags: Uint8Array
  readonly part: Uint16Array
  readonly refCount: Uint32Array
  /** `count` times 20 bytes. */
  readonly sha1: Uint8Array
}

export function emptyBlobTable(count: number): BlobTable {
  return {
    count,
    sizeInWim: new Float64Array(count),
    offset: new Float64Array(count),
    size: new Float64Array(count),
    flags: new Uint8Array(count),
    part: new Uint16Array(count),
    refCount: new Uint32Array(count),
    sha1: new Uint8Array(count * SHA1_BYTES),
  }
}

export function decodeBlobTable(bytes: Uint8Array): Result<BlobTable> {
  const hint = 'Download or export the file again.'
  if (bytes.byteLength % BLOB_ENTRY_BYTES !== 0)
    return refuse(
      'corrupt',
      `the blob table is ${bytes.byteLength} bytes long, not a multiple of ${BLOB_ENTRY_BYTES}`,
      hint,
    )
  const count = bytes.byteLength / BLOB_ENTRY_BYTES
  const table = emptyBlobTable(count)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let i = 0, at = 0; i < count; i += 1, at += BLOB_ENTRY_BYTES) {
    table.sizeInWim[i] = view.getUint32(at, true) + (view.getUint32(at + 4, true) & 0xff_ffff) * 0x1_0000_0000
    table.flags[i] = view.getUint8(at + 7)
    table.offset[i] = view.getUint32(at + 8, true) + view.getUint32(at + 12, true) * 0x1_0000_0000
    table.size[i] = view.getUint32(at + 16, true) + view.getUint32(at + 20, true) * 0x1_0000_0000
    table.part[i] = view.getUint16(at + 24, true)
    table.refCount[i] = view.getUint32(at + 26, true)
  }
  for (let i = 0; i < count; i += 1) {
    const at = i * BLOB_ENTRY_BYTES + 30
    table.sha1.set(bytes.subarray(at, at + SHA1_BYTES), i * SHA1_BYTES)
  }
  return ok(table)
}

export function encodeBlobTable(table: BlobTable): Uint8Array {
  const w = new Writer(table.count * BLOB_ENTRY_BYTES)
  for (let i = 0; i < table.count; i += 1) {
    writeResourceHeader(w, resourceAt(table, i))
    w.u16le(table.part[i] ?? 1)
      .u32le(table.refCount[i] ?? 0)
      .raw(sha1At(table, i))
  }
  return w.bytes
}

export function resourceAt(table: BlobTable, i: number): ResourceHeader {
  const sizeInWim = table.sizeInWim[i]
  const offset = table.offset[i]
  const size = table.size[i]
  const flags = table.flags[i]
  if (sizeInWim === undefined || offset === undefined || size === undefined || flags === undefined)
    throw new Short(`blob ${i} of ${table.count}`)
  return { sizeInWim, flags, offset, size }
}

/** A view into the table's column, not a copy. */
export function sha1At(table: BlobTable, i: number): Uint8Array {
  return table.sha1.subarray(i * SHA1_BYTES, (i + 1) * SHA1_BYTES)
}

/** Row `row` of a table of ours: the resource of `from`, lying at `offset` in a file that has one part. */
export function placeEntry(
  table: BlobTable,
  row: number,
  { from, entry, offset, refCount }: { from: BlobTable; entry: number; offset: number; refCount: number },
): ResourceHeader {
  const resource = { ...resourceAt(from, entry), offset }
  table.sizeInWim[row] = resource.sizeInWim
  table.offset[row] = offset
  table.size[row] = resource.size
  table.flags[row] = resource.flags
  table.part[row] = 1
  table.refCount[row] = refCount
  table.sha1.set(sha1At(from, entry), row * SHA1_BYTES)
  return resource
}

export function isMetadata(table: BlobTable, i: number): boolean {
  return ((table.flags[i] ?? 0) & RESOURCE_FLAG.metadata) !== 0
}

/** True when any resource is solid: such a table cannot be copied raw. */
export function hasSolid(table: BlobTable): boolean {
  return table.flags.some((flags) => (flags & RESOURCE_FLAG.solid) !== 0)
}

/**
 * Indexes of the metadata resources, in the order of the images. Those without references are left out.
 * Quirk(microsoft-waik-2.1): its WinPE files keep the trees of deleted images, with a reference count of 0; the format
 * knows one tree for each image; we ignore them, as wimlib does (src/blob_table.c).
 */
export function metadataEntries(table: BlobTable): number[] {
  const entries: number[] = []
  for (let i = 0; i < table.count; i += 1) if (isMetadata(table, i) && table.refCount[i] !== 0) entries.push(i)
  return entries
}

/** Whoever makes a file chooses what its table claims; the seed keeps the slots from being chosen too. */
const SEED = crypto.getRandomValues(new Uint32Array(2))

function slotOf(first: number, second: number): number {
  const mixed = Math.imul(first ^ (SEED[0] ?? 0), 0x9e37_79b1) ^ Math.imul(second ^ (SEED[1] ?? 0), 0x85eb_ca6b)
  return (mixed ^ (mixed >>> 15)) >>> 0
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  )
}

/**
 * Finds entries by SHA-1: open addressing over a mix of the hash's first and last words.
 * Metadata entries are left out unless asked for: an image's tree is no file content.
 */
export class Sha1Index {
  readonly #slots: Int32Array
  readonly #mask: number
  readonly #sha1: Uint8Array

  constructor(sha1: Uint8Array, include: (i: number) => boolean = () => true) {
    const count = sha1.byteLength / SHA1_BYTES
    let size = 16
    while (size < count * 2) size *= 2
    this.#slots = new Int32Array(size).fill(-1)
    this.#mask = size - 1
    this.#sha1 = sha1
    for (let i = 0; i < count; i += 1) {
      if (!include(i)) continue
      let slot = this.#slot(sha1, i * SHA1_BYTES)
      while (this.#slots[slot] !== -1) slot = (slot + 1) & this.#mask
      this.#slots[slot] = i
    }
  }

  /** The entry whose SHA-1 is the 20 bytes of `other` at `at`, or -1. The first of equal ones. */
  find(other: Uint8Array, at = 0): number {
    for (let slot = this.#slot(other, at); ; slot = (slot + 1) & this.#mask) {
      const i = this.#slots[slot] ?? -1
      if (i === -1 || this.#same(i, other, at)) return i
    }
  }

  #slot(sha1: Uint8Array, at: number): number {
    return slotOf(wordAt(sha1, at), wordAt(sha1, at + 16)) & this.#mask
  }

  #same(i: number, other: Uint8Array, at: number): boolean {
    const mine = i * SHA1_BYTES
    for (let k = 0; k < SHA1_BYTES; k += 1) if (this.#sha1[mine + k] !== other[at + k]) return false
    return true
  }
}

/** An index over the file contents of a table, its metadata left out. */
export function indexBlobs(table: BlobTable): Sha1Index {
  return new Sha1Index(table.sha1, (i) => !isMetadata(table, i))
}
