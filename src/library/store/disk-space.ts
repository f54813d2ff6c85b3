/** The data disk and the quota of a group: whether something fits, and what is said when it does not. */
import { statfsSync } from 'node:fs'
import { RESERVE_BYTES } from '../../base/disk-full.ts'
import { type Refusal, refuse } from '../../base/refusal.ts'
import { type Err, ok, type Result } from '../../base/result.ts'
import { formatBytes } from '../../base/units.ts'

export const FREE_SPACE =
  'Remove images that are not needed, or give the data directory a larger disk. The library is unchanged.'

/** An estimate before the work: the disk of `dir` has room for `bytes` more, and `reserveBytes` stay free. */
export function hasSpace(dir: string, bytes: number, reserveBytes = RESERVE_BYTES): Result<void> {
  const disk = statfsSync(dir)
  const free = disk.bavail * disk.bsize
  if (free >= bytes + reserveBytes) return ok(undefined)
  return refuse(
    'no-space',
    `this needs about ${formatBytes(bytes)}; ${formatBytes(free)} are free, and ${formatBytes(reserveBytes)} stay so`,
    FREE_SPACE,
    { neededBytes: bytes, freeBytes: free, reserveBytes },
  )
}

/** What the segments of a group may take, and what they take now. */
export type Quota = { readonly group: string; readonly quotaBytes: number; readonly storedBytes: number }

export function withinQuota(quota: Quota | undefined, neededBytes: number): Result<void> {
  if (quota === undefined || quota.storedBytes + neededBytes <= quota.quotaBytes) return ok(undefined)
  const { group, quotaBytes, storedBytes } = quota
  return refuse(
    'over-quota',
    `"${group}" may take ${formatBytes(quotaBytes)} and takes ${formatBytes(storedBytes)}; this needs ${formatBytes(neededBytes)} more`,
    'Empty the trash, compact the group, or raise its quota: wimcast group set NAME --quota SIZE.',
    { quotaBytes, storedBytes, neededBytes },
  )
}

export function diskFilledUp(): Err<Refusal> {
  return refuse('no-space', 'the data disk filled up meanwhile', FREE_SPACE)
}
