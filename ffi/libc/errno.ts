/** errno(3) values of Linux that the code names, and the error a failed call throws. */
import { errno } from './symbols.ts'

export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  ENOSYS: 38,
  EMSGSIZE: 90,
  ENOPROTOOPT: 92,
  EOPNOTSUPP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  EDQUOT: 122,
} as const

const NAMES = new Map<number, string>(Object.entries(ERRNO).map(([name, code]) => [code, name]))

export class SystemError extends Error {
  override readonly name = 'SystemError'
  readonly errno: number
  /** `ENOSPC`, or `errno 71` for one without a name here. */
  readonly code: string
  constructor(call: string, number: number) {
    const code = NAMES.get(number) ?? `errno ${number}`
    super(`${call}: ${code}`)
    this.errno = number
    this.code = code
  }
}

/** Passes a non-negative result through; throws `SystemError` with errno otherwise. */
export function check(call: string, result: number | bigint): number {
  const value = Number(result)
  if (value < 0) throw new SystemError(call, errno())
  return value
}
