/**
 * The stretch of an open content that one transfer is at, in memory: a window can be sent again without the disk, and
 * the next chunk is there before it is asked for. Warm pages are copied at once; cold ones are read off the main
 * thread. Memory per transfer: SLOTS * CHUNK_BYTES at most.
 */
import type { OpenContent } from '../base/content.ts'

/** How contents are read: `src/content/read.ts`, or a double that tests faults. */
export type ContentReader = {
  /** Bytes copied from memory, maybe fewer than asked; -1 when that would wait for a disk. */
  readonly readNow: (open: OpenContent, at: number, target: Uint8Array) => number
  /** Rejects when the content can't be read; `target` is not written any more once it has settled. */
  readonly readFully: (open: OpenContent, at: number, target: Uint8Array, signal?: AbortSignal) => Promise<void>
}

const CHUNK_BYTES = 64 * 1024
const SLOTS = 4

/** A window of this size touches at most three chunks; the fourth slot is the one read ahead. */
export const MAX_WINDOW_BYTES = 96 * 1024

type Slot = {
  readonly index: number
  readonly bytes: Buffer
  /** Settles when the chunk is in memory or can't be; undefined when it is. */
  loading: Promise<void> | undefined
}

/** Owns `open`, and disposes of it when no read is under way any more. */
export class Readahead implements AsyncDisposable {
  readonly #open: OpenContent
  readonly #reader: ContentReader
  readonly #slots: (Slot | undefined)[] = new Array(SLOTS).fill(undefined)
  readonly #abort = new AbortController()

  constructor(open: OpenContent, reader: ContentReader) {
    this.#open = open
    this.#reader = reader
  }

  /**
   * Copies `length` bytes from `at` on, which must be there, into `target` at `targetAt`. Returns a promise instead when
   * they are not in memory yet: ask again when it resolves. It rejects when they can't be read. `at` may go back by one
   * window.
   */
  take(at: number, length: number, target: Uint8Array, targetAt: number): Promise<void> | undefined {
    const end = at + length
    for (let index = Math.floor(at / CHUNK_BYTES); index * CHUNK_BYTES < end; index += 1) {
      const { bytes, loading } = this.#chunk(index)
      if (loading) return loading
      const start = index * CHUNK_BYTES
      const from = Math.max(at, start)
      // Buffer's copy, because `set` wants a view of the part, and views by the million are what memory would go to.
      bytes.copy(target, targetAt + from - at, from - start, Math.min(end - start, CHUNK_BYTES))
    }
    const next = Math.ceil(end / CHUNK_BYTES)
    if (next * CHUNK_BYTES < this.#open.sizeBytes) this.#chunk(next)
    return undefined
  }

  #chunk(index: number): Slot {
    const before = this.#slots[index % SLOTS]
    if (before?.index === index) return before
    // A transfer moves on only past chunks that it has sent, so what is overwritten is never under way.
    if (before?.loading) throw new Error(`chunk ${before.index} is still being read while ${index} is wanted`)
    const at = index * CHUNK_BYTES
    const bytes = before?.bytes ?? Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, this.#open.sizeBytes))
    const slot: Slot = { index, bytes, loading: undefined }
    this.#slots[index % SLOTS] = slot
    const wanted = bytes.subarray(0, Math.min(CHUNK_BYTES, this.#open.sizeBytes - at))
    const now = Math.max(0, this.#reader.readNow(this.#open, at, wanted))
    if (now < wanted.byteLength) {
      slot.loading = this.#reader.readFully(this.#open, at + now, wanted.subarray(now), this.#abort.signal).then(() => {
        slot.loading = undefined
      })
      // A failed read-ahead matters only to who comes to that chunk, and `take` hands it the promise then.
      slot.loading.catch(() => {})
    }
    return slot
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort()
    await Promise.allSettled(this.#slots.map((slot) => slot?.loading))
    this.#open[Symbol.dispose]()
  }
}
