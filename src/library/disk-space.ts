/** The data disk: whether an import fits, and what is said when it did not. */
import { statfsSync } from 'node:fs'
import { RESERVE_BYTES } from '../base/disk-full.ts'
import { type Refusal, refuse } from '../base/refusal.ts'
import { type Err, ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'

export const FREE_SPACE =
  'Remove images that are not needed, or give the data directory a larger disk. The library is unchanged.'

/** An estimate before the work: the disk of `dir` has room for `bytes` more. */
export function hasSpace(dir: string, bytes: number): Result<void> {
  const disk = statfsSync(dir)
  const free = disk.bavail * disk.bsize
  if (free >= bytes + RESERVE_BYTES) return ok(undefined)
  return refuse('no-space', `the import needs about ${formatBytes(bytes)}, ${formatBytes(free)} are free`, FREE_SPACE, {
    neededBytes: bytes,
    freeBytes: free,
  })
}

export function diskFilledUp(): Err<Refusal> {
  return refuse('no-space', 'the data disk filled up during the import', FREE_SPACE)
}
