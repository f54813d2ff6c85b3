/**
 * Reading resources that are not solid: raw bytes in the file to uncompressed content, chunk by chunk.
 *
 * A compressed resource begins with a table of chunk offsets, one for each chunk but the first, 4 bytes each (8 when the
 * content is 4 GiB or more), counted from the end of the table. A chunk as long in the file as in the content is stored
 * as it is. Source: wimlib src/resource.c, read_compressed_wim_resource.
 *
 * Everything here blocks: it runs in a child process or a worker, never on the appliance's main thread.
 */
import { readSync } from 'node:fs'
import { Fault } from '../base/refusal.ts'
import { RESOURCE_FLAG, type ResourceHeader } from './header.ts'

/** What `ffi/wimlib` offers: one chunk in, one chunk out; false when the data is broken. */
export type ChunkDecompressor = {
  readonly decompress: (input: Uint8Array, output: Uint8Array) => boolean
}

/** The structure of a resource is broken: its chunk table points outside, or a chunk does not decompress. */
export class BadResource extends Error {}

/** Largest run of compressed chunks read at once. */
const READ_BYTES = 4 << 20

/** Reads exactly `target.length` bytes at `position`. A short file is `BadResource`, a dying disk is a fault. */
export function readExactly(fd: number, target: Uint8Array, position: number): void {
  let done = 0
  while (done < target.byteLength) {
    let got: number
    try {
      got = readSync(fd, target, done, target.byteLength - done, position + done)
    } catch (error) {
      throw new Fault('a WIM file cannot be read', { hint: 'Check the disk: the read itself failed.', cause: error })
    }
    if (got === 0) throw new BadResource(`the file ends at ${position + done}, inside a resource`)
    done += got
  }
}

export class ResourceReader {
  readonly #fd: number
  readonly #chunkSize: number
  readonly #decompressor: ChunkDecompressor
  readonly #chunk: Uint8Array
  #raw = new Uint8Array(READ_BYTES)

  constructor(options: { readonly fd: number; readonly chunkSize: number; readonly decompressor: ChunkDecompressor }) {
    this.#fd = options.fd
    this.#chunkSize = options.chunkSize
    this.#decompressor = options.decompressor
    this.#chunk = new Uint8Array(options.chunkSize)
  }

  /** Calls `take` with each piece of the content in order; the piece is reused, so `take` must be done with it. */
  forEachChunk(resource: ResourceHeader, take: (chunk: Uint8Array) => void): void {
    if (resource.flags & RESOURCE_FLAG.solid) throw new BadResource('a solid resource has no chunks of its own')
    if (resource.flags & RESOURCE_FLAG.compressed) this.#compressed(resource, take)
    else this.#stored(resource, take)
  }

  /** The whole content at once: for metadata resources, which are walked as a tree. */
  readAll(resource: ResourceHeader, limitBytes: number): Uint8Array {
    if (resource.size > limitBytes)
      throw new BadResource(`a resource claims ${resource.size} bytes, more than ${limitBytes}`)
    // A content of n bytes cannot come from next to nothing: LZX and XPRESS spend at least two bytes on a chunk.
    if (resource.size / this.#chunkSize > resource.sizeInWim)
      throw new BadResource('a resource claims more than its bytes can hold')
    const all = new Uint8Array(resource.size)
    let at = 0
    this.forEachChunk(resource, (chunk) => {
      all.set(chunk, at)
      at += chunk.byteLength
    })
    return all
  }

  #stored(resource: ResourceHeader, take: (chunk: Uint8Array) => void): void {
    if (resource.size !== resource.sizeInWim) throw new BadResource('an uncompressed resource has two sizes')
    for (let at = 0; at < resource.size; at += READ_BYTES) {
      const part = this.#raw.subarray(0, Math.min(READ_BYTES, resource.size - at))
      readExactly(this.#fd, part, resource.offset + at)
      take(part)
    }
  }

  #compressed(resource: ResourceHeader, take: (chunk: Uint8Array) => void): void {
    const chunkSize = this.#chunkSize
    const chunks = Math.ceil(resource.size / chunkSize)
    const width = resource.size >= 0x1_0000_0000 ? 8 : 4
    const tableBytes = Math.max(0, chunks - 1) * width
    if (tableBytes > resource.sizeInWim) throw new BadResource('a chunk table is longer than its resource')
    const table = new Uint8Array(tableBytes)
    readExactly(this.#fd, table, resource.offset)
    const view = new DataView(table.buffer)
    const dataBytes = resource.sizeInWim - tableBytes
    const start = (i: number): number => {
      if (i === 0) return 0
      if (i === chunks) return dataBytes
      const at = (i - 1) * width
      return width === 4
        ? view.getUint32(at, true)
        : view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x1_0000_0000
    }
    for (let first = 0; first < chunks; ) {
      const from = start(first)
      let last = first + 1
      while (last < chunks && start(last + 1) - from <= READ_BYTES) last += 1
      const length = start(last) - from
      if (from < 0 || length <= 0 || from + length > dataBytes)
        throw new BadResource('a chunk table points outside its resource')
      // A chunk never grows by compression: one that claims to is broken, and must not make us allocate for it.
      if (length > READ_BYTES + chunkSize) throw new BadResource('a chunk is longer than its content')
      if (length > this.#raw.byteLength) this.#raw = new Uint8Array(length)
      readExactly(this.#fd, this.#raw.subarray(0, length), resource.offset + tableBytes + from)
      for (let i = first; i < last; i += 1) {
        const size = Math.min(chunkSize, resource.size - i * chunkSize)
        const begin = start(i) - from
        const end = start(i + 1) - from
        if (begin < 0 || end <= begin || end > length || end - begin > size)
          throw new BadResource('a chunk table is not in order')
        const raw = this.#raw.subarray(begin, end)
        if (end - begin === size) {
          take(raw)
          continue
        }
        const chunk = this.#chunk.subarray(0, size)
        if (!this.#decompressor.decompress(raw, chunk)) throw new BadResource(`chunk ${i} does not decompress`)
        take(chunk)
      }
      first = last
    }
  }
}
