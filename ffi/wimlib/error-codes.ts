/** `enum wimlib_error_code`, all of it, and the error a failed call throws. */
import type { Symbols } from './symbols.ts'

export const WIMLIB_ERR = {
  SUCCESS: 0,
  ALREADY_LOCKED: 1,
  DECOMPRESSION: 2,
  FUSE: 6,
  GLOB_HAD_NO_MATCHES: 8,
  IMAGE_COUNT: 10,
  IMAGE_NAME_COLLISION: 11,
  INSUFFICIENT_PRIVILEGES: 12,
  INTEGRITY: 13,
  INVALID_CAPTURE_CONFIG: 14,
  INVALID_CHUNK_SIZE: 15,
  INVALID_COMPRESSION_TYPE: 16,
  INVALID_HEADER: 17,
  INVALID_IMAGE: 18,
  INVALID_INTEGRITY_TABLE: 19,
  INVALID_LOOKUP_TABLE_ENTRY: 20,
  INVALID_METADATA_RESOURCE: 21,
  INVALID_OVERLAY: 23,
  INVALID_PARAM: 24,
  INVALID_PART_NUMBER: 25,
  INVALID_PIPABLE_WIM: 26,
  INVALID_REPARSE_DATA: 27,
  INVALID_RESOURCE_HASH: 28,
  INVALID_UTF16_STRING: 30,
  INVALID_UTF8_STRING: 31,
  IS_DIRECTORY: 32,
  IS_SPLIT_WIM: 33,
  LINK: 35,
  METADATA_NOT_FOUND: 36,
  MKDIR: 37,
  MQUEUE: 38,
  NOMEM: 39,
  NOTDIR: 40,
  NOTEMPTY: 41,
  NOT_A_REGULAR_FILE: 42,
  NOT_A_WIM_FILE: 43,
  NOT_PIPABLE: 44,
  NO_FILENAME: 45,
  NTFS_3G: 46,
  OPEN: 47,
  OPENDIR: 48,
  PATH_DOES_NOT_EXIST: 49,
  READ: 50,
  READLINK: 51,
  RENAME: 52,
  REPARSE_POINT_FIXUP_FAILED: 54,
  RESOURCE_NOT_FOUND: 55,
  RESOURCE_ORDER: 56,
  SET_ATTRIBUTES: 57,
  SET_REPARSE_DATA: 58,
  SET_SECURITY: 59,
  SET_SHORT_NAME: 60,
  SET_TIMESTAMPS: 61,
  SPLIT_INVALID: 62,
  STAT: 63,
  UNEXPECTED_END_OF_FILE: 65,
  UNICODE_STRING_NOT_REPRESENTABLE: 66,
  UNKNOWN_VERSION: 67,
  UNSUPPORTED: 68,
  UNSUPPORTED_FILE: 69,
  WIM_IS_READONLY: 71,
  WRITE: 72,
  XML: 73,
  WIM_IS_ENCRYPTED: 74,
  WIMBOOT: 75,
  ABORTED_BY_PROGRESS: 76,
  UNKNOWN_PROGRESS_STATUS: 77,
  MKNOD: 78,
  MOUNTED_IMAGE_IS_BUSY: 79,
  NOT_A_MOUNTPOINT: 80,
  NOT_PERMITTED_TO_UNMOUNT: 81,
  FVE_LOCKED_VOLUME: 82,
  UNABLE_TO_READ_CAPTURE_CONFIG: 83,
  WIM_IS_INCOMPLETE: 84,
  COMPACTION_NOT_POSSIBLE: 85,
  IMAGE_HAS_MULTIPLE_REFERENCES: 86,
  DUPLICATE_EXPORTED_IMAGE: 87,
  CONCURRENT_MODIFICATION_DETECTED: 88,
  SNAPSHOT_FAILURE: 89,
  INVALID_XATTR: 90,
  SET_XATTR: 91,
} as const

export type WimErrorCode = keyof typeof WIMLIB_ERR

const NAMES = new Map<number, WimErrorCode>(
  Object.entries(WIMLIB_ERR).map(([name, number]) => [number, name as WimErrorCode]),
)

export class WimError extends Error {
  override readonly name = 'WimError'
  /** The name in the header without its prefix: `NOT_A_WIM_FILE`. Undefined for a code newer than this table. */
  readonly code: WimErrorCode | undefined
  readonly number: number
  constructor(call: string, number: number, text: string) {
    const code = NAMES.get(number)
    super(`${call}: ${text} (${code ?? `wimlib error ${number}`})`)
    this.code = code
    this.number = number
  }
}

/** Throws `WimError` unless `number` is WIMLIB_ERR_SUCCESS. */
export function check(symbols: Symbols, call: string, number: number): void {
  if (number === WIMLIB_ERR.SUCCESS) return
  throw new WimError(call, number, symbols.wimlib_get_error_string(number) ?? 'unknown error')
}
