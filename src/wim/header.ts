/**
 * The WIM header: the first 208 bytes of every WIM file, little-endian throughout.
 *
 * ```
 *  +0x00  8  magic "MSWIM\0\0\0"; "WLPWM\0\0\0" for wimlib's pipable form
 *  +0x08  4  header size, 208
 *  +0x0c  4  version: 0x10d00; 0xe00 when solid resources may occur
 *  +0x10  4  flags, see HEADER_FLAG
 *  +0x14  4  chunk size of compressed resources that are not solid
 *  +0x18 16  GUID, the same in all parts of a split set
 *  +0x28  2  part number, from 1          +0x2a  2  total parts
 *  +0x2c  4  image count
 *  +0x30 24  where the blob table is      (resource header)
 *  +0x48 24  where the XML document is    (resource header)
 *  +0x60 24  where the metadata of the bootable image is, zeros without one
 *  +0x78  4  index of the bootable image, 0 = none
 *  +0x7c 24  where the integrity table is, zeros without one
 *  +0x94 60  unused
 * ```
 * A resource header is 24 bytes: size in the file (56 bits) and flags (8 bits), offset, uncompressed size.
 * Source: wimlib include/wimlib/header.h and resource.h; [MS-WIM] (the WIM white paper of 2007) agrees up to solid resources.
 */
import { Reader, Writer } from '../base/bytes.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'

export const HEADER_BYTES = 208
export const VERSION = { default: 0x10d00, solid: 0xe00 } as const

export const HEADER_FLAG = {
  compressed: 0x0000_0002,
  spanned: 0x0000_0008,
  resourceOnly: 0x0000_0010,
  metadataOnly: 0x0000_0020,
  writeInProgress: 0x0000_0040,
  rpFix: 0x0000_0080,
  xpress: 0x0002_0000,
  lzx: 0x0004_0000,
  lzms: 0x0008_0000,
  xpress2: 0x0020_0000,
} as const

export const RESOURCE_FLAG = { free: 0x01, metadata: 0x02, compressed: 0x04, spanned: 0x08, solid: 0x10 } as const

export type ResourceHeader = {
  readonly sizeInWim: number
  readonly flags: number
  readonly offset: number
  readonly size: number
}

export type Compression = 'none' | 'xpress' | 'lzx' | 'lzms'

export type WimHeader = {
  readonly pipable: boolean
  readonly version: number
  readonly flags: number
  readonly compression: Compression
  readonly chunkSize: number
  readonly guid: Uint8Array
  readonly part: number
  readonly totalParts: number
  readonly imageCount: number
  readonly blobTable: ResourceHeader
  readonly xml: ResourceHeader
  readonly bootMetadata: ResourceHeader
  readonly bootIndex: number
}

export const NO_RESOURCE: ResourceHeader = { sizeInWim: 0, flags: 0, offset: 0, size: 0 }

/** No real file has more; a fuzzed one must not make us allocate for 2^32 images. wimlib sets the same limit. */
const MAX_IMAGES = 65_535

const MAGIC = 'MSWIM\0\0\0'
const PIPABLE_MAGIC = 'WLPWM\0\0\0'

/** Source: wimlib src/resource.c, get_wim_reshdr: the flags are the top byte of the first 64 bits. */
export function readResourceHeader(r: Reader): ResourceHeader {
  const low = r.u32le()
  const middle = r.u16le()
  const high = r.u8()
  const flags = r.u8()
  // 56 bits do not fit a double exactly; no file reaches 2^53, and what claims to is caught by the bounds checks.
  const sizeInWim = low + middle * 0x1_0000_0000 + high * 0x1_0000_0000_0000
  return { sizeInWim, flags, offset: r.u64le(), size: r.u64le() }
}

export function writeResourceHeader(w: Writer, resource: ResourceHeader): void {
  const high = Math.floor(resource.sizeInWim / 0x1_0000_0000)
  w.u32le(resource.sizeInWim >>> 0)
  w.u32le(((resource.flags << 24) | (high & 0xff_ffff)) >>> 0)
  w.u64le(resource.offset).u64le(resource.size)
}

function compressionOf(flags: number): Compression {
  if ((flags & HEADER_FLAG.compressed) === 0) return 'none'
  if (flags & HEADER_FLAG.lzx) return 'lzx'
  if (flags & (HEADER_FLAG.xpress | HEADER_FLAG.xpress2)) return 'xpress'
  if (flags & HEADER_FLAG.lzms) return 'lzms'
  return 'none'
}

export function decodeHeader(bytes: Uint8Array): Result<WimHeader> {
  const name = 'The file may be an ISO, an archive or a broken download; wimcast imports .wim, .esd and .swm files.'
  if (bytes.byteLength < HEADER_BYTES) return refuse('not-a-wim', 'the file is shorter than a WIM header', name)
  const r = new Reader(bytes)
  const magic = Buffer.from(r.bytes(8)).toString('latin1')
  if (magic !== MAGIC && magic !== PIPABLE_MAGIC)
    return refuse('not-a-wim', 'the file does not begin with a WIM header', name)
  const headerSize = r.u32le()
  const version = r.u32le()
  if (headerSize !== HEADER_BYTES || (version !== VERSION.default && version !== VERSION.solid))
    return refuse(
      'unsupported',
      `WIM version 0x${version.toString(16)} with a header of ${headerSize} bytes`,
      'Export it anew with wimlib-imagex or DISM.',
    )
  const flags = r.u32le()
  const chunkSize = r.u32le()
  const guid = r.bytes(16).slice()
  const part = r.u16le()
  const totalParts = r.u16le()
  const imageCount = r.u32le()
  try {
    const blobTable = readResourceHeader(r)
    const xml = readResourceHeader(r)
    const bootMetadata = readResourceHeader(r)
    const bootIndex = r.u32le()
    if (imageCount > MAX_IMAGES)
      return refuse('corrupt', `the header claims ${imageCount} images`, 'Download or export the file again.')
    if (part < 1 || part > totalParts)
      return refuse('corrupt', `the header claims part ${part} of ${totalParts}`, 'Download or export the file again.')
    if (flags & HEADER_FLAG.writeInProgress)
      return refuse(
        'corrupt',
        'the file was left in the middle of a write',
        'Run wimlib-imagex optimize on it, or export it again.',
      )
    return ok({
      pipable: magic === PIPABLE_MAGIC,
      version,
      flags,
      compression: compressionOf(flags),
      chunkSize,
      guid,
      part,
      totalParts,
      imageCount,
      blobTable,
      xml,
      bootMetadata,
      bootIndex: bootIndex <= imageCount ? bootIndex : 0,
    })
  } catch {
    return refuse('corrupt', 'the header points beyond any file', 'Download or export the file again.')
  }
}

/** Encodes the header of a file of ours: never pipable, never split, never solid, no integrity table. */
export function encodeHeader(header: {
  readonly flags: number
  readonly chunkSize: number
  readonly guid: Uint8Array
  readonly imageCount: number
  readonly blobTable: ResourceHeader
  readonly xml: ResourceHeader
  readonly bootMetadata: ResourceHeader
  readonly bootIndex: number
}): Uint8Array {
  const w = new Writer(HEADER_BYTES)
  w.raw(Buffer.from(MAGIC, 'latin1')).u32le(HEADER_BYTES).u32le(VERSION.default)
  w.u32le(header.flags).u32le(header.chunkSize).raw(header.guid.subarray(0, 16))
  w.u16le(1).u16le(1).u32le(header.imageCount)
  writeResourceHeader(w, header.blobTable)
  writeResourceHeader(w, header.xml)
  writeResourceHeader(w, header.bootMetadata)
  w.u32le(header.bootIndex)
  writeResourceHeader(w, NO_RESOURCE)
  return w.bytes
}
