/**
 * Single chunks of WIM compression, in and out of caller's memory. One object serves any number of chunks, one at a
 * time: it owns libwim's scratch tables. Nothing is allocated per call.
 */
import { type Pointer, ptr } from 'bun:ffi'
import { Fault } from '../../src/base/refusal.ts'
import { check } from './error-codes.ts'
import type { Wimlib } from './load.ts'
import { outPointer } from './memory.ts'
import type { Symbols } from './symbols.ts'

/** `enum wimlib_compression_type`. A chunk is never of type NONE. */
export const COMPRESSION_TYPE = { NONE: 0, XPRESS: 1, LZX: 2, LZMS: 3 } as const
export type CompressionType = keyof typeof COMPRESSION_TYPE
export type ChunkCompression = Exclude<CompressionType, 'NONE'>

export class Decompressor implements Disposable {
  readonly #symbols: Symbols
  #handle: Pointer | undefined

  /** `maxBlockSize` is the chunk size that the data was compressed with, in bytes. */
  constructor(wimlib: Wimlib, type: ChunkCompression, maxBlockSize: number) {
    this.#symbols = wimlib.symbols
    const out = outPointer()
    const call = `wimlib_create_decompressor ${type} ${maxBlockSize}`
    check(
      this.#symbols,
      call,
      this.#symbols.wimlib_create_decompressor(COMPRESSION_TYPE[type], maxBlockSize, ptr(out.cell)),
    )
    this.#handle = out.read()
  }

  /** Fills `output`, whose length is the chunk's uncompressed size. False: the data is not valid. */
  decompress(input: Uint8Array, output: Uint8Array): boolean {
    if (this.#handle === undefined) throw closed()
    // ptr() has no address for an empty view, and no chunk is empty on either side.
    if (input.byteLength === 0 || output.byteLength === 0) return false
    return (
      this.#symbols.wimlib_decompress(ptr(input), input.byteLength, ptr(output), output.byteLength, this.#handle) === 0
    )
  }

  [Symbol.dispose](): void {
    if (this.#handle === undefined) return
    this.#symbols.wimlib_free_decompressor(this.#handle)
    this.#handle = undefined
  }
}

export class Compressor implements Disposable {
  readonly #symbols: Symbols
  #handle: Pointer | undefined

  /** `level`: 10 low, 50 medium (libwim's default, as is 0), 100 high. */
  constructor(wimlib: Wimlib, type: ChunkCompression, maxBlockSize: number, level = 0) {
    this.#symbols = wimlib.symbols
    const out = outPointer()
    const call = `wimlib_create_compressor ${type} ${maxBlockSize}`
    check(
      this.#symbols,
      call,
      this.#symbols.wimlib_create_compressor(COMPRESSION_TYPE[type], maxBlockSize, level, ptr(out.cell)),
    )
    this.#handle = out.read()
  }

  /** The compressed size in bytes, or 0 when it does not fit `output`: then a WIM keeps the chunk as it is. */
  compress(input: Uint8Array, output: Uint8Array): number {
    if (this.#handle === undefined) throw closed()
    if (input.byteLength === 0 || output.byteLength === 0) return 0
    return Number(
      this.#symbols.wimlib_compress(ptr(input), input.byteLength, ptr(output), output.byteLength, this.#handle),
    )
  }

  [Symbol.dispose](): void {
    if (this.#handle === undefined) return
    this.#symbols.wimlib_free_compressor(this.#handle)
    this.#handle = undefined
  }
}

function closed(): Fault {
  return new Fault('the codec is disposed', { hint: 'This is a bug: keep it open while it is in use.' })
}
