/** `struct wimlib_dir_entry`, copied out: libwim's memory is valid only during the callback. */
import { CString, type Pointer, read, toArrayBuffer } from 'bun:ffi'
import { LAYOUT, SIZE } from './layout.ts'

export type StreamEntry = {
  /** Undefined: the unnamed stream, a file's contents. */
  readonly name: string | undefined
  readonly sizeBytes: number
  /** Lower-case hex; all zeros for an empty stream. */
  readonly sha1: string
}

export type DirEntry = {
  /** Undefined: the root. */
  readonly name: string | undefined
  /** The 8.3 name, if it has one. */
  readonly dosName: string | undefined
  /** Absolute within the image, parted by `/`. */
  readonly path: string
  readonly depth: number
  /** FILE_ATTRIBUTE_* of [MS-FSCC] §2.6. */
  readonly attributes: number
  readonly reparseTag: number
  readonly links: number
  /** Entries that are one file share it; 0 for a file that has one name. */
  readonly hardLinkGroup: bigint
  readonly lastWriteTimeMs: number
  readonly streams: readonly StreamEntry[]
}

export function readDirEntry(entry: Pointer): DirEntry {
  const at = LAYOUT.wimlib_dir_entry
  const count = 1 + read.u32(entry, at.num_named_streams)
  return {
    name: text(read.ptr(entry, at.filename)),
    dosName: text(read.ptr(entry, at.dos_name)),
    path: text(read.ptr(entry, at.full_path)) ?? '/',
    depth: Number(read.u64(entry, at.depth)),
    attributes: read.u32(entry, at.attributes),
    reparseTag: read.u32(entry, at.reparse_tag),
    links: read.u32(entry, at.num_links),
    hardLinkGroup: read.u64(entry, at.hard_link_group_id),
    lastWriteTimeMs: Number(read.i64(entry, at.last_write_time)) * 1000,
    streams: Array.from({ length: count }, (_, n) => readStream(entry, at.streams + n * SIZE.wimlib_stream_entry)),
  }
}

function readStream(entry: Pointer, offset: number): StreamEntry {
  const resource = offset + LAYOUT.wimlib_stream_entry.resource
  const at = LAYOUT.wimlib_resource_entry
  return {
    name: text(read.ptr(entry, offset + LAYOUT.wimlib_stream_entry.stream_name)),
    sizeBytes: Number(read.u64(entry, resource + at.uncompressed_size)),
    sha1: Buffer.from(toArrayBuffer(entry, resource + at.sha1_hash, 20)).toString('hex'),
  }
}

function text(pointer: number): string | undefined {
  return pointer === 0 ? undefined : new CString(pointer as Pointer).toString()
}
