/** copy_file_range(2): bytes from file to file inside the kernel; a reflink where the file system shares extents. */

import { ptr } from 'bun:ffi'
import { check, ERRNO, SystemError } from './errno.ts'
import { c, errno } from './symbols.ts'

const positions = new BigInt64Array(2)

/**
 * Copies up to `length` bytes by position, without moving either file's own offset. Returns the bytes copied, 0 at the
 * end of the source. Throws SystemError; ENOSPC and EDQUOT are the caller's to explain.
 */
export function copyFileRange(
  fromFd: number,
  fromOffset: number,
  toFd: number,
  toOffset: number,
  length: number,
): number {
  positions[0] = BigInt(fromOffset)
  positions[1] = BigInt(toOffset)
  for (;;) {
    const copied = Number(c.copy_file_range(fromFd, ptr(positions), toFd, ptr(positions, 8), length, 0))
    if (copied >= 0) return copied
    const code = errno()
    if (code !== ERRNO.EINTR) throw new SystemError('copy_file_range', code)
  }
}

const SYNC_FILE_RANGE_WRITE = 2

/** Starts writing dirty pages of the range to disk and does not wait (sync_file_range(2)): the later fsync is short. */
export function startWriteback(fd: number, offset: number, length: number): void {
  check('sync_file_range', c.sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE))
}
