/** C's out parameters and string arrays, in memory of ours. */
import { type Pointer, ptr } from 'bun:ffi'
import { Fault } from '../../src/base/refusal.ts'

/** A `const char *`. C would silently take a text up to its first NUL for the whole. */
export function cstring(text: string): string {
  if (!text.includes('\0')) return text
  throw new Fault(`${JSON.stringify(text)} has a NUL`, { hint: 'No path and no name may have one.' })
}

/** For a parameter `T **`: pass `cell`, then `read()` the pointer that the call left there. */
export function outPointer(): { readonly cell: BigUint64Array; readonly read: () => Pointer } {
  const cell = new BigUint64Array(1)
  return { cell, read: () => Number(cell[0]) as Pointer }
}

/**
 * `const char *const *`: the pointers and, behind them, the text they point to. One block, so that whoever holds it
 * during the call holds all of it.
 */
export function cstrings(texts: readonly string[]): Uint8Array {
  const encoded = texts.map((text) => Buffer.from(`${cstring(text)}\0`))
  const headBytes = encoded.length * 8
  const block = new Uint8Array(encoded.reduce((sum, bytes) => sum + bytes.byteLength, headBytes))
  const view = new DataView(block.buffer)
  const base = ptr(block)
  let at = headBytes
  for (const [n, bytes] of encoded.entries()) {
    view.setBigUint64(n * 8, BigInt(base + at), true)
    block.set(bytes, at)
    at += bytes.byteLength
  }
  return block
}
