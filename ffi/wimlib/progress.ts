/** `enum wimlib_progress_msg` with the struct that comes along, as a union: only messages that tell how far it is. */
import { type Pointer, read } from 'bun:ffi'
import { LAYOUT } from './layout.ts'

export type Progress =
  | { readonly step: 'scan'; readonly directories: number; readonly files: number; readonly bytes: number }
  | {
      readonly step: 'write' | 'extract' | 'verify' | 'integrity'
      readonly completedBytes: number
      readonly totalBytes: number
    }
  | {
      readonly step: 'extract-structure' | 'extract-metadata'
      readonly completedFiles: number
      readonly totalFiles: number
    }
  | { readonly step: 'verify-metadata'; readonly image: number; readonly totalImages: number }

export const MSG = {
  EXTRACT_FILE_STRUCTURE: 3,
  EXTRACT_STREAMS: 4,
  EXTRACT_METADATA: 6,
  SCAN_DENTRY: 10,
  SCAN_END: 11,
  WRITE_STREAMS: 12,
  VERIFY_INTEGRITY: 16,
  CALC_INTEGRITY: 17,
  BEGIN_VERIFY_IMAGE: 27,
  VERIFY_STREAMS: 29,
} as const

/** Undefined for messages that carry no measure. `info` is valid only during the callback. */
export function decodeProgress(message: number, info: Pointer): Progress | undefined {
  const u64 = (offset: number) => Number(read.u64(info, offset))
  switch (message) {
    case MSG.WRITE_STREAMS: {
      const at = LAYOUT.wimlib_progress_info_write_streams
      return { step: 'write', completedBytes: u64(at.completed_bytes), totalBytes: u64(at.total_bytes) }
    }
    case MSG.VERIFY_STREAMS: {
      const at = LAYOUT.wimlib_progress_info_verify_streams
      return { step: 'verify', completedBytes: u64(at.completed_bytes), totalBytes: u64(at.total_bytes) }
    }
    case MSG.BEGIN_VERIFY_IMAGE: {
      const at = LAYOUT.wimlib_progress_info_verify_image
      const image = read.u32(info, at.current_image)
      return { step: 'verify-metadata', image, totalImages: read.u32(info, at.total_images) }
    }
    case MSG.VERIFY_INTEGRITY:
    case MSG.CALC_INTEGRITY: {
      const at = LAYOUT.wimlib_progress_info_integrity
      return { step: 'integrity', completedBytes: u64(at.completed_bytes), totalBytes: u64(at.total_bytes) }
    }
    case MSG.SCAN_DENTRY:
    case MSG.SCAN_END: {
      const at = LAYOUT.wimlib_progress_info_scan
      const directories = u64(at.num_dirs_scanned)
      return { step: 'scan', directories, files: u64(at.num_nondirs_scanned), bytes: u64(at.num_bytes_scanned) }
    }
    case MSG.EXTRACT_STREAMS: {
      const at = LAYOUT.wimlib_progress_info_extract
      return { step: 'extract', completedBytes: u64(at.completed_bytes), totalBytes: u64(at.total_bytes) }
    }
    case MSG.EXTRACT_FILE_STRUCTURE:
    case MSG.EXTRACT_METADATA: {
      const at = LAYOUT.wimlib_progress_info_extract
      const step = message === MSG.EXTRACT_METADATA ? 'extract-metadata' : 'extract-structure'
      return { step, completedFiles: u64(at.current_file_count), totalFiles: u64(at.end_file_count) }
    }
    default:
      return undefined
  }
}
