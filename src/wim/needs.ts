/**
 * What an image needs: the SHA-1s of its file contents, each with how often the tree names it.
 * Kept packed, sorted by SHA-1: 20 bytes of hash, 4 bytes of reference count (little-endian), again and again.
 */
import { SHA1_BYTES } from './blob-table.ts'

export type Needs = {
  readonly count: number
  /** `count` times 20 bytes, ascending. */
  readonly sha1: Uint8Array
  readonly refCount: Uint32Array
}

const ENTRY_BYTES = SHA1_BYTES + 4

/** Gathers hashes while a tree is walked; grows by doubling, and counts a hash that comes again. */
export class NeedsBuilder {
  readonly #at = new Map<string, number>()
  #refCount = new Uint32Array(1024)

  add(sha1: Uint8Array, times = 1): void {
    const key = Buffer.from(sha1.buffer, sha1.byteOffset, SHA1_BYTES).toString('latin1')
    let i = this.#at.get(key)
    if (i === undefined) {
      i = this.#at.size
      this.#at.set(key, i)
      if (i >= this.#refCount.length) {
        const grown = new Uint32Array(this.#refCount.length * 2)
        grown.set(this.#refCount)
        this.#refCount = grown
      }
    }
    this.#refCount[i] = (this.#refCount[i] ?? 0) + times
  }

  finish(): Needs {
    const keys = [...this.#at.keys()].sort()
    const sha1 = new Uint8Array(keys.length * SHA1_BYTES)
    const refCount = new Uint32Array(keys.length)
    for (const [i, key] of keys.entries()) {
      sha1.set(Buffer.from(key, 'latin1'), i * SHA1_BYTES)
      refCount[i] = this.#refCount[this.#at.get(key) ?? 0] ?? 0
    }
    return { count: keys.length, sha1, refCount }
  }
}

export function encodeNeeds(needs: Needs): Uint8Array {
  const bytes = new Uint8Array(needs.count * ENTRY_BYTES)
  const view = new DataView(bytes.buffer)
  for (let i = 0; i < needs.count; i += 1) {
    bytes.set(needs.sha1.subarray(i * SHA1_BYTES, (i + 1) * SHA1_BYTES), i * ENTRY_BYTES)
    view.setUint32(i * ENTRY_BYTES + SHA1_BYTES, needs.refCount[i] ?? 0, true)
  }
  return bytes
}

export function decodeNeeds(bytes: Uint8Array): Needs {
  const count = Math.floor(bytes.byteLength / ENTRY_BYTES)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const sha1 = new Uint8Array(count * SHA1_BYTES)
  const refCount = new Uint32Array(count)
  for (let i = 0; i < count; i += 1) {
    sha1.set(bytes.subarray(i * ENTRY_BYTES, i * ENTRY_BYTES + SHA1_BYTES), i * SHA1_BYTES)
    refCount[i] = view.getUint32(i * ENTRY_BYTES + SHA1_BYTES, true)
  }
  return { count, sha1, refCount }
}

/** Union of several images' needs; counts add up, as in the blob table of a WIM that holds them all. */
export function unionNeeds(all: readonly Needs[]): Needs {
  const [only] = all
  if (all.length === 1 && only) return only
  const builder = new NeedsBuilder()
  for (const needs of all)
    for (let i = 0; i < needs.count; i += 1)
      builder.add(needs.sha1.subarray(i * SHA1_BYTES, (i + 1) * SHA1_BYTES), needs.refCount[i])
  return builder.finish()
}
