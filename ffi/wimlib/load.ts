/**
 * Finds libwim and loads it: a configured path, else the copy that `ffi/wimlib/native/build` made, else the system's.
 * A configured path that does not load is a fault, not a reason to try the next: the operator asked for that one.
 */
import { dlopen } from 'bun:ffi'
import { existsSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { Fault } from '../../src/base/refusal.ts'
import { check as checkCall } from '../libc/errno.ts'
import { c } from '../libc/symbols.ts'
import { check } from './error-codes.ts'
import { SYMBOLS, type Symbols } from './symbols.ts'

export type Origin = 'configured' | 'embedded' | 'system'

export type Wimlib = {
  readonly symbols: Symbols
  /** `1.14.4` */
  readonly version: string
  readonly origin: Origin
}

/** Strings are UTF-8 whatever the locale says; names are matched as Windows does. */
const WIMLIB_INIT_FLAG_ASSUME_UTF8 = 0x1
const WIMLIB_INIT_FLAG_DEFAULT_CASE_INSENSITIVE = 0x20

/** The oldest whose structs and codes were checked to be those of layout.ts: Debian 12's. */
const OLDEST_TESTED = '1.13.6'

const TARGET = `linux-${process.arch}`

/**
 * In the executable an embedded file lies in the root of its own file system, whichever module or worker asks; in a
 * checkout the build's output lies in the cache.
 */
const EMBEDDED = Bun.isStandaloneExecutable
  ? '/$bunfs/root/libwim.so'
  : join(import.meta.dir, '../../.cache/native', TARGET, 'libwim.so')

const SYSTEM = 'libwim.so.15'

/** Per thread, as everything in JavaScript: libwim itself is shared and knows threads. */
const loaded = new Map<string, Wimlib>()

export function loadWimlib(options: { readonly path?: string | undefined } = {}): Wimlib {
  const key = options.path ?? ''
  const known = loaded.get(key)
  if (known !== undefined) return known
  const wimlib = load(options.path)
  loaded.set(key, wimlib)
  return wimlib
}

function load(path: string | undefined): Wimlib {
  if (path !== undefined) {
    return open('configured', path, `"${path}" does not load as libwim`, 'Correct the path of libwim, or leave it out.')
  }
  if (existsSync(EMBEDDED)) {
    using file = memoryFile(readFileSync(EMBEDDED))
    return open('embedded', file.path, 'the embedded libwim does not load', 'Install libwim15 and configure its path.')
  }
  return open('system', SYSTEM, `no libwim: ${SYSTEM} does not load`, 'Install libwim15, or run scripts/build.')
}

function open(origin: Origin, path: string, message: string, hint: string): Wimlib {
  let symbols: Symbols
  try {
    symbols = dlopen(path, SYMBOLS).symbols
  } catch (cause) {
    throw new Fault(message, { hint, cause })
  }
  const version = versionOf(symbols)
  if (Bun.semver.order(version, OLDEST_TESTED) < 0) {
    throw new Fault(`libwim ${version} is too old`, { hint: `wimcast needs ${OLDEST_TESTED} or newer.` })
  }
  const flags = WIMLIB_INIT_FLAG_ASSUME_UTF8 | WIMLIB_INIT_FLAG_DEFAULT_CASE_INSENSITIVE
  check(symbols, 'wimlib_global_init', symbols.wimlib_global_init(flags))
  return { symbols, version, origin }
}

/** wimlib_get_version(): 12 bits major, 10 minor, 10 patch. The string form may carry a packager's suffix. */
function versionOf(symbols: Symbols): string {
  const version = symbols.wimlib_get_version()
  return `${version >>> 20}.${(version >>> 10) & 0x3ff}.${version & 0x3ff}`
}

/**
 * A file without a folder (memfd_create(2)): loads where /tmp is missing, full or noexec, and leaves nothing behind.
 * The loader keeps the mapping, so the descriptor can go once dlopen is done.
 */
function memoryFile(bytes: Uint8Array): Disposable & { readonly path: string } {
  const MFD_CLOEXEC = 1
  const fd = checkCall('memfd_create', c.memfd_create('libwim.so', MFD_CLOEXEC))
  for (let at = 0; at < bytes.byteLength; ) at += writeSync(fd, bytes, at)
  return { path: `/proc/self/fd/${fd}`, [Symbol.dispose]: () => void c.close(fd) }
}
