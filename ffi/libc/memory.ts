/**
 * Memory that the kernel reads and writes by address: blocks of ours, and files mapped for reading.
 *
 * JavaScript never reads a mapped page: a page that cannot be filled raises SIGBUS there and ends the process, while a
 * system call that meets it returns EFAULT. So a `Mapping` is an address to put into an iovec and nothing more.
 */
import { ptr } from 'bun:ffi'
import { check } from './errno.ts'
import { c } from './symbols.ts'

const PROT_READ = 1
const MAP_SHARED = 1

/** mmap(2) wants offsets on page borders; 64 KiB is a border for every page size of x86-64 and arm64. */
const ALIGN = 65_536

/**
 * A block whose address holds as long as the object is referenced. The buffer is made first and viewed afterwards:
 * a small typed array made directly moves its bytes when somebody later asks for its `.buffer`.
 */
export type Block = {
  readonly address: number
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Machine order; the block's length is rounded up to 8. */
  readonly words: Uint32Array
}

export function block(sizeBytes: number): Block {
  const buffer = new ArrayBuffer(Math.max(8, Math.ceil(sizeBytes / 8) * 8))
  const bytes = new Uint8Array(buffer)
  return { address: ptr(bytes), bytes, view: new DataView(buffer), words: new Uint32Array(buffer) }
}

/** Writes a pointer, or any count below 2^53, as the 64-bit field that begins at `words[at]` (little-endian machines). */
export function putU64(words: Uint32Array, at: number, value: number): void {
  words[at] = value >>> 0
  words[at + 1] = Math.floor(value / 0x1_0000_0000)
}

export type Mapping = Disposable & {
  /** Where the byte at `offset` of the file lies. */
  readonly address: number
}

/** Maps `length` bytes of the file from `offset`, which needs no alignment. The descriptor may be closed afterwards. */
export function mapForReading(fd: number, offset: number, length: number): Mapping {
  const start = Math.floor(offset / ALIGN) * ALIGN
  const mapped = offset - start + length
  const base = check('mmap', c.mmap(null, mapped, PROT_READ, MAP_SHARED, fd, start))
  return {
    address: base + (offset - start),
    [Symbol.dispose]() {
      check('munmap', c.munmap(base, mapped))
    },
  }
}
