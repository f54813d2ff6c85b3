/**
 * The file that an export writes to: what is there, whether it may be written, whether it takes one more image, and how
 * a finished file gets its name. Nothing here changes the target before that last step.
 */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { SystemError } from '../../../ffi/libc/errno.ts'
import { lockNow } from '../../../ffi/libc/lock.ts'
import { isDiskFull } from '../../base/disk-full.ts'
import { Refused, refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import { formatBytes } from '../../base/units.ts'
import { syncFolder } from '../store/sync-folder.ts'

export const IF_EXISTS = ['fail', 'overwrite', 'append'] as const
export type IfExists = (typeof IF_EXISTS)[number]

/** The file that is there, locked as libwim locks what it writes to, until disposed. */
export type Target = Disposable & {
  readonly path: string
  /** Undefined: there is no file of that name. */
  readonly there: { readonly fd: number; readonly stats: Stats } | undefined
}

/** Parts that a killed export left: older than this, nobody writes to them any more. */
const PART_KEPT_MS = 24 * 3600_000
const PART = /^\.wimcast-[0-9a-f-]{36}\.part$/

/** A name beside `target` for a file on its way; hidden, and no tool takes it for a WIM. */
export function partBeside(target: string): string {
  return join(dirname(target), `.wimcast-${crypto.randomUUID()}.part`)
}

/** What exports that were killed have left beside `target`. */
export function removeOldParts(target: string, nowMs: number): void {
  const folder = dirname(target)
  try {
    for (const name of readdirSync(folder)) {
      if (!PART.test(name)) continue
      const path = join(folder, name)
      const stats = lstatSync(path, { throwIfNoEntry: false })
      if (stats?.isFile() && nowMs - stats.mtimeMs > PART_KEPT_MS) rmSync(path, { force: true })
    }
  } catch {
    // A folder may be written to and not read, or the part be somebody else's: it stays.
  }
}

const notRegular = (path: string): Result<never> =>
  refuse('bad-path', `"${path}" is not a regular file`, 'Name a file to write, not a folder, a link or a device.')

const busy = (path: string): Result<never> =>
  refuse('in-use', `something else is writing to "${path}"`, 'Wait for its end, then start this again.')

/** NAME_MAX of Linux: limits.h(0p). */
const MAX_NAME_BYTES = 255

/** A path that leads through a file, is too long, or turns in circles leads to nothing. */
function look(at: () => Stats | undefined): Stats | undefined {
  try {
    return at()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (['ENAMETOOLONG', 'ENOTDIR', 'ELOOP', 'EACCES'].includes(code)) return undefined
    throw error
  }
}

/** May `path` be made, replaced or appended to? Takes the lock of a file that is there. */
export function openTarget(path: string, ifExists: IfExists): Result<Target> {
  const folder = dirname(path)
  if (!look(() => statSync(folder, { throwIfNoEntry: false }))?.isDirectory())
    return refuse('bad-path', `there is no folder "${folder}"`, 'Make it, or name another place.')
  if (Buffer.byteLength(basename(path)) > MAX_NAME_BYTES)
    return refuse('bad-path', `the file name is longer than ${MAX_NAME_BYTES} bytes`, 'Choose a shorter one.')
  const found = look(() => lstatSync(path, { throwIfNoEntry: false }))
  if (!found) return ok({ path, there: undefined, [Symbol.dispose]() {} })
  if (!found.isFile()) return notRegular(path)
  if (ifExists === 'fail')
    return refuse(
      'exists',
      `"${path}" is there already`,
      'Choose another file, or --if-exists overwrite, or --if-exists append.',
    )
  let fd: number
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return busy(path)
    return refuse('bad-path', `"${path}" may not be written to`, 'Check its permissions and its file system.')
  }
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile()) return notRegular(path)
    // Whoever had the lock before may have put another file in its place: the lock is on what has the name now.
    if (!lockNow(fd) || !isStill(path, stats)) return busy(path)
    const close = fd
    fd = -1
    return ok({ path, there: { fd: close, stats }, [Symbol.dispose]: () => closeSync(close) })
  } finally {
    if (fd >= 0) closeSync(fd)
  }
}

function isStill(path: string, was: Stats): boolean {
  const now = lstatSync(path, { throwIfNoEntry: false })
  return now?.ino === was.ino && now.dev === was.dev && now.size === was.size && now.mtimeMs === was.mtimeMs
}

/** Room for `bytes` more on the disk of `folder`, and `reserveBytes` besides. */
export function hasRoom(folder: string, bytes: number, reserveBytes: number): Result<void> {
  const disk = statfsSync(folder)
  const freeBytes = disk.bavail * disk.bsize
  if (freeBytes >= bytes + reserveBytes) return ok(undefined)
  return refuse(
    'no-space',
    `the export needs about ${formatBytes(bytes)} in "${folder}", ${formatBytes(freeBytes)} are free`,
    'Make room there, or choose another disk.',
    { neededBytes: bytes, freeBytes },
  )
}

/**
 * Gives the finished file `made`, which lies beside the target, the target's name, by one step: whoever looks sees the
 * old file or the new one. Of a file that it replaces, owner and mode are kept as far as rights go.
 */
export function publish(made: string, target: Target, ifExists: IfExists): Result<void> {
  const { path, there } = target
  if (there) {
    if (!isStill(path, there.stats)) return busy(path)
    keepRights(made, there.stats)
    renameSync(made, path)
  } else {
    const fresh = linkFresh(made, path)
    if (!fresh) {
      if (ifExists !== 'overwrite')
        return refuse('exists', `"${path}" was made by somebody else meanwhile`, 'Look at it, then start this again.')
      if (!lstatSync(path, { throwIfNoEntry: false })?.isFile()) return notRegular(path)
      renameSync(made, path)
    }
  }
  try {
    syncFolder(dirname(path))
  } catch {
    // The file has its name; not every network share syncs folders, and a folder may be written to and not read.
  }
  return ok(undefined)
}

/** File systems without hard links: FAT and many network shares. */
const WITHOUT_LINKS = new Set(['EPERM', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'ENOTSUP'])

/** Never replaces what is there: false then. */
function linkFresh(made: string, path: string): boolean {
  try {
    linkSync(made, path)
    rmSync(made)
    return true
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (code === 'EEXIST') return false
    if (!WITHOUT_LINKS.has(code)) throw error
  }
  try {
    // The name is claimed by an empty file, and that one is replaced.
    closeSync(openSync(path, 'wx', 0o644))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
  renameSync(made, path)
  return true
}

function keepRights(made: string, was: Stats): void {
  try {
    chownSync(made, was.uid, was.gid)
  } catch {
    // Only root may give files away; then it is ours, as if it were new.
  }
  chmodSync(made, was.mode & 0o777)
}

/** What the file system said no to, as a refusal: somebody named the file. Anything else comes back as it is. */
export function unwritable(file: string, error: unknown): unknown {
  if (error instanceof Refused || !(error instanceof Error)) return error
  if (!('syscall' in error) && !(error instanceof SystemError)) return error
  const code = 'code' in error ? error.code : undefined
  const hint = isDiskFull(error)
    ? 'Make room there, or choose another disk.'
    : code === 'EFBIG'
      ? 'Its file system takes no file of that size (FAT: 4 GiB): choose another disk.'
      : 'Check that the folder is there, and that you may write into it.'
  return new Refused({
    code: isDiskFull(error) || code === 'EFBIG' ? 'no-space' : 'bad-path',
    message: `"${file}" cannot be written: ${error.message}`,
    hint,
  })
}
