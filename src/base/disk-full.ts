/** How a disk shows that it is full, wherever that comes up: an upload, an import, a row. */
import { type Refusal, refuse } from './refusal.ts'
import type { Err } from './result.ts'

/** What must stay free on the data disk for database and logs. */
export const RESERVE_BYTES = 64 << 20

/** Of system calls (errno(3): no space, over quota), and of SQLite (result code SQLITE_FULL). */
const FULL = new Set(['ENOSPC', 'EDQUOT', 'SQLITE_FULL'])

/** True when a system call or the database met a full disk or a quota, whatever wrapped the error on its way. */
export function isDiskFull(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? error.code : undefined
  return (typeof code === 'string' && FULL.has(code)) || isDiskFull(error.cause)
}

export function diskFull(): Err<Refusal> {
  return refuse(
    'no-space',
    'the data disk is full',
    'Remove images that are not needed, or give the data directory a larger disk.',
  )
}
