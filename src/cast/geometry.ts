/**
 * How a content is cut: symbols of equal size (one packet each; the last may be short), blocks of 128 symbols, chunks
 * of 8 blocks (the unit of the hashes). A symbol's index in the content says its block, its place and its byte offset,
 * so nothing on the wire or on disk has an order.
 */
import { BLOCK_SYMBOLS } from './packet.ts'

/** Clear lane, frames of 1500 bytes: 1500 - 20 (IPv4) - 8 (UDP) - 16 (our header). */
export const DEFAULT_SYMBOL_BYTES = 1456
export const CHUNK_BLOCKS = 8

export type Geometry = {
  readonly sizeBytes: number
  readonly symbolBytes: number
  readonly symbolCount: number
  readonly blockCount: number
  readonly chunkBytes: number
  readonly chunkCount: number
}

/** Symbol indices are 32 bits in the hot arrays: 5.6 TiB at 1456 bytes a symbol. */
export const MAX_SYMBOLS = 0xffff_ff00

export function geometryOf(sizeBytes: number, symbolBytes: number = DEFAULT_SYMBOL_BYTES): Geometry {
  const chunkBytes = symbolBytes * BLOCK_SYMBOLS * CHUNK_BLOCKS
  const symbolCount = Math.ceil(sizeBytes / symbolBytes)
  return {
    sizeBytes,
    symbolBytes,
    symbolCount,
    blockCount: Math.ceil(symbolCount / BLOCK_SYMBOLS),
    chunkBytes,
    chunkCount: Math.ceil(sizeBytes / chunkBytes),
  }
}

export function symbolLength(geometry: Geometry, index: number): number {
  return Math.min(geometry.symbolBytes, geometry.sizeBytes - index * geometry.symbolBytes)
}

export function symbolsInBlock(geometry: Geometry, block: number): number {
  return Math.min(BLOCK_SYMBOLS, geometry.symbolCount - block * BLOCK_SYMBOLS)
}

export function chunkLength(geometry: Geometry, chunk: number): number {
  return Math.min(geometry.chunkBytes, geometry.sizeBytes - chunk * geometry.chunkBytes)
}

export function blocksOfChunk(geometry: Geometry, chunk: number): { readonly from: number; readonly to: number } {
  const from = chunk * CHUNK_BLOCKS
  return { from, to: Math.min(geometry.blockCount, from + CHUNK_BLOCKS) }
}
