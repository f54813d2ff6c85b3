/**
 * The manifest: what a content is, as hashes of its chunks. Its own SHA-256 is the root, which names the content:
 * another image, or another version of it, has another root, another stream tag and other keys.
 *
 *     0  4  "WCM1"
 *     4  8  size of the content, bytes
 *    12  2  symbol size, bytes
 *    14  2  symbols in a block
 *    16  2  blocks in a chunk
 *    18  2  0
 *    20  n  SHA-256 of each chunk, 32 bytes each
 */
import { hkdfSync } from 'node:crypto'
import { Reader, Short, Writer } from '../base/bytes.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { CHUNK_BLOCKS, type Geometry, geometryOf, MAX_SYMBOLS } from './geometry.ts'
import { BLOCK_SYMBOLS } from './packet.ts'

const MAGIC = Buffer.from('WCM1', 'latin1')
const FIXED_BYTES = 20
export const HASH_BYTES = 32

export type Manifest = {
  readonly geometry: Geometry
  /** All chunk hashes, one behind the other. */
  readonly hashes: Uint8Array
  readonly root: Uint8Array
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher('sha256').update(bytes).digest())
}

export function encodeManifest(geometry: Geometry, hashes: Uint8Array): Uint8Array {
  return new Writer(FIXED_BYTES + hashes.byteLength)
    .raw(MAGIC)
    .u64be(geometry.sizeBytes)
    .u16be(geometry.symbolBytes)
    .u16be(BLOCK_SYMBOLS)
    .u16be(CHUNK_BLOCKS)
    .u16be(0)
    .raw(hashes).bytes
}

const HINT = 'Update the client and the server to the same version of wimcast.'

/** Trust in the result is trust in the bytes: they come over HTTPS, or the root is compared with one that did. */
export function decodeManifest(bytes: Uint8Array): Result<Manifest> {
  try {
    const reader = new Reader(bytes)
    if (!MAGIC.equals(reader.bytes(4))) return refuse('corrupt', 'the manifest does not begin with "WCM1"', HINT)
    const sizeBytes = reader.u64be()
    const symbolBytes = reader.u16be()
    const blockSymbols = reader.u16be()
    const chunkBlocks = reader.u16be()
    reader.skip(2)
    if (blockSymbols !== BLOCK_SYMBOLS || chunkBlocks !== CHUNK_BLOCKS || symbolBytes < 64) {
      return refuse('unsupported', `the manifest cuts by ${symbolBytes} x ${blockSymbols} x ${chunkBlocks}`, HINT)
    }
    const geometry = geometryOf(sizeBytes, symbolBytes)
    if (geometry.symbolCount > MAX_SYMBOLS) return refuse('unsupported', `the content has ${sizeBytes} bytes`, HINT)
    const hashes = reader.bytes(geometry.chunkCount * HASH_BYTES)
    if (reader.left !== 0) return refuse('corrupt', `${reader.left} bytes follow the manifest`, HINT)
    return ok({ geometry, hashes, root: sha256(bytes) })
  } catch (error) {
    if (error instanceof Short) return refuse('corrupt', 'the manifest ends early', HINT)
    throw error
  }
}

export function hashOfChunk(manifest: Manifest, chunk: number): Uint8Array {
  return manifest.hashes.subarray(chunk * HASH_BYTES, (chunk + 1) * HASH_BYTES)
}

/** The number every packet of this content carries (RFC 5869): demultiplexing and a guard against a foreign stream. */
export function streamTag(root: Uint8Array): number {
  return new DataView(hkdfSync('sha256', root, new Uint8Array(0), 'wimcast stream tag', 4)).getUint32(0)
}
