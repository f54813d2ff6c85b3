/** Reading files by position, through C: only what Bun's own fs cannot do. */
import { type Pointer, ptr } from 'bun:ffi'
import { block, putU64 } from './memory.ts'
import { c } from './symbols.ts'

/** preadv2(2): answer with what the page cache holds, or EAGAIN, and never sleep on the device. */
const RWF_NOWAIT = 8

/** One struct iovec { void *iov_base; size_t iov_len; }. Its address is kept, so it must not move: see `block`. */
const iovec = block(16)

/**
 * Copies `[from, to)` of `target` from the page cache. Returns the bytes copied, 0 at the end of the file, or -1: the
 * first byte is not in memory, or the file system knows no such reading (EOPNOTSUPP), or the read failed. A read that
 * may wait tells which.
 */
export function preadNow(fd: number, offset: number, target: Uint8Array, from: number, to: number): number {
  if (to <= from) return 0
  putU64(iovec.words, 0, ptr(target, from))
  putU64(iovec.words, 2, to - from)
  return Number(c.preadv2(fd, iovec.address as Pointer, 1, offset, RWF_NOWAIT))
}
