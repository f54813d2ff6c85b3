/**
 * The content as a worker gets it: runs of open files and runs of bytes, in order. Read by `preadv`-style calls for
 * hashing, or mapped, so that a packet's payload is an address. Files stay open in the main thread as long as the worker
 * runs; the descriptors are the process's, a thread has no own.
 */
import { readSync } from 'node:fs'
import { type Block, block, type Mapping, mapForReading } from '../../ffi/libc/memory.ts'
import { Fault } from '../base/refusal.ts'

export type SourcePiece = { readonly at: number; readonly length: number } & (
  | { readonly fd: number; readonly offset: number }
  | { readonly bytes: Uint8Array }
)

/** A file that gives fewer bytes than it should: truncated, or on a disk that fails. */
export class Unreadable extends Fault {
  constructor(at: number, cause?: unknown) {
    super(`the content cannot be read at byte ${at}`, { hint: 'Run `wimcast library scrub`; check the disk.', cause })
  }
}

/** Fills `into` with the content from `from`. Bounded reads, so a bad sector is an error here and not a SIGBUS. */
export function readContent(pieces: readonly SourcePiece[], from: number, into: Uint8Array): void {
  let at = from
  let filled = 0
  for (const piece of pieces.slice(pieceAt(pieces, from))) {
    if (filled === into.byteLength) break
    const skip = at - piece.at
    const length = Math.min(piece.length - skip, into.byteLength - filled)
    if ('bytes' in piece) into.set(piece.bytes.subarray(skip, skip + length), filled)
    else readExactly(piece.fd, piece.offset + skip, into.subarray(filled, filled + length), at)
    at += length
    filled += length
  }
}

function readExactly(fd: number, offset: number, into: Uint8Array, at: number): void {
  let done = 0
  while (done < into.byteLength) {
    let count: number
    try {
      count = readSync(fd, into, done, into.byteLength - done, offset + done)
    } catch (error) {
      throw new Unreadable(at + done, error)
    }
    if (count === 0) throw new Unreadable(at + done)
    done += count
  }
}

/** The index of the piece that holds this byte. */
function pieceAt(pieces: readonly { readonly at: number }[], at: number): number {
  let low = 0
  let high = pieces.length - 1
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if ((pieces[middle]?.at ?? 0) <= at) low = middle
    else high = middle - 1
  }
  return low
}

/** Pieces shorter than this are copied into memory, so that no symbol needs more than a few dozen iovecs. */
const SHORT_BYTES = 128

/** Joins neighbours that touch in their file, and short runs into longer ones of our own memory. */
export function tidy(pieces: readonly SourcePiece[]): SourcePiece[] {
  const tidied: SourcePiece[] = []
  for (const piece of pieces) {
    if (piece.length === 0) continue
    const last = tidied.at(-1)
    if (last && 'fd' in last && 'fd' in piece && last.fd === piece.fd && last.offset + last.length === piece.offset) {
      tidied[tidied.length - 1] = { ...last, length: last.length + piece.length }
      continue
    }
    tidied.push(piece)
  }
  const out: SourcePiece[] = []
  let run: SourcePiece[] = []
  const flush = () => {
    const first = run[0]
    if (!first) return
    const bytes = new Uint8Array(run.reduce((sum, piece) => sum + piece.length, 0))
    readContent(run, first.at, bytes)
    out.push({ at: first.at, length: bytes.byteLength, bytes })
    run = []
  }
  for (const piece of tidied) {
    if (piece.length < SHORT_BYTES || 'bytes' in piece) {
      run.push(piece)
      continue
    }
    flush()
    out.push(piece)
  }
  flush()
  return out
}

/** Where the bytes of a content lie in memory. The addresses are for iovecs; see ffi/libc/memory.ts for why. */
export class MappedSource implements Disposable {
  readonly #starts: Float64Array
  readonly #addresses: Float64Array
  readonly #sizeBytes: number
  readonly #mappings: Mapping[] = []
  /** Holds the memory of runs that are bytes. */
  readonly #blocks: Block[] = []
  #piece = 0

  constructor(pieces: readonly SourcePiece[]) {
    const tidied = tidy(pieces)
    const maps = this.#map(tidied)
    this.#starts = Float64Array.from(tidied, (piece) => piece.at)
    this.#addresses = Float64Array.from(tidied, (piece) => {
      if ('fd' in piece) {
        const map = maps.get(piece.fd)
        return map ? map.address + (piece.offset - map.from) : 0
      }
      const copy = block(piece.length)
      copy.bytes.set(piece.bytes)
      this.#blocks.push(copy)
      return copy.address
    })
    const last = tidied.at(-1)
    this.#sizeBytes = last ? last.at + last.length : 0
  }

  /** One mapping for each file, from its first byte of ours to its last. */
  #map(tidied: readonly SourcePiece[]): Map<number, { readonly from: number; readonly address: number }> {
    const spans = new Map<number, { from: number; to: number }>()
    for (const piece of tidied) {
      if (!('fd' in piece)) continue
      const span = spans.get(piece.fd)
      const to = piece.offset + piece.length
      if (!span) spans.set(piece.fd, { from: piece.offset, to })
      else spans.set(piece.fd, { from: Math.min(span.from, piece.offset), to: Math.max(span.to, to) })
    }
    const maps = new Map<number, { from: number; address: number }>()
    try {
      for (const [fd, { from, to }] of spans) {
        const mapping = mapForReading(fd, from, to - from)
        this.#mappings.push(mapping)
        maps.set(fd, { from, address: mapping.address })
      }
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
    return maps
  }

  /** Moves to the run that holds byte `at`. Walking forwards is cheap, jumping costs a search. */
  seek(at: number): void {
    const start = this.#starts[this.#piece] ?? 0
    if (at >= start && at < this.#end(this.#piece)) return
    if (at >= start && at < this.#end(this.#piece + 1)) {
      this.#piece += 1
      return
    }
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#starts[middle] ?? 0) <= at) low = middle
      else high = middle - 1
    }
    this.#piece = low
  }

  #end(piece: number): number {
    return this.#starts[piece + 1] ?? this.#sizeBytes
  }

  /** Of the run that `seek` moved to: the address of byte `at`, and how many bytes follow it there. */
  addressOf(at: number): number {
    return (this.#addresses[this.#piece] ?? 0) + (at - (this.#starts[this.#piece] ?? 0))
  }

  leftAt(at: number): number {
    return this.#end(this.#piece) - at
  }

  [Symbol.dispose](): void {
    for (const mapping of this.#mappings) mapping[Symbol.dispose]()
  }
}
