/**
 * Copies bytes from file to file by position: inside the kernel where it can, through a buffer where the two lie on
 * file systems that do not copy between each other (EXDEV since Linux 5.19: a source on NFS or a USB disk, data on ext4).
 * Blocks: for the child process that imports.
 */
import { readSync, writeSync } from 'node:fs'
import { copyFileRange } from '../../../ffi/libc/copy.ts'
import { SystemError } from '../../../ffi/libc/errno.ts'

/** Copies up to `length` bytes and returns how many; 0 at the end of the source. */
export type CopyBytes = (fromFd: number, fromOffset: number, toFd: number, toOffset: number, length: number) => number

const BUFFER_BYTES = 1 << 20
/** copy_file_range(2), ERRORS: what the pair of files cannot do, as opposed to what went wrong. */
const NOT_HERE = new Set(['EXDEV', 'EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'EPERM'])

export function openCopy(inKernel: CopyBytes = copyFileRange): CopyBytes {
  let buffer: Uint8Array | undefined
  return (fromFd, fromOffset, toFd, toOffset, length) => {
    if (!buffer) {
      try {
        return inKernel(fromFd, fromOffset, toFd, toOffset, length)
      } catch (error) {
        if (!(error instanceof SystemError) || !NOT_HERE.has(error.code)) throw error
        buffer = new Uint8Array(BUFFER_BYTES)
      }
    }
    const got = readSync(fromFd, buffer, 0, Math.min(length, BUFFER_BYTES), fromOffset)
    for (let done = 0; done < got; ) done += writeSync(toFd, buffer, done, got - done, toOffset + done)
    return got
  }
}
