/** flock(2): advisory locks, the ones that libwim takes on a file that it writes to. */
import { ERRNO, SystemError } from './errno.ts'
import { c, errno } from './symbols.ts'

/** LOCK_EX | LOCK_NB */
const EXCLUSIVE_NOW = 2 | 4

/** What says that this file system has no such locks; there is nothing to wait for then. */
const WITHOUT_LOCKS: ReadonlySet<number> = new Set([ERRNO.EINVAL, ERRNO.ENOSYS, ERRNO.EOPNOTSUPP])

/**
 * Locks the file that `fd` is open on, until that is closed. False when somebody else holds it. Throws SystemError.
 * Another descriptor of this process counts as somebody else.
 */
export function lockNow(fd: number): boolean {
  for (;;) {
    if (c.flock(fd, EXCLUSIVE_NOW) === 0) return true
    const code = errno()
    if (code === ERRNO.EAGAIN) return false
    if (WITHOUT_LOCKS.has(code)) return true
    if (code !== ERRNO.EINTR) throw new SystemError('flock', code)
  }
}
