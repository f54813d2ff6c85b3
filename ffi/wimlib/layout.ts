/**
 * Offsets in libwim's structs, by the header's own names, on 64-bit Linux. test/interop/wimlib.test.ts holds them
 * against the header that the embedded library was built with. 1.13.6 and 1.14.4 agree.
 */
export const LAYOUT = {
  wimlib_progress_info_write_streams: {
    total_bytes: 0,
    total_streams: 8,
    completed_bytes: 16,
    completed_streams: 24,
    num_threads: 32,
    compression_type: 36,
    completed_compressed_bytes: 48,
  },
  wimlib_progress_info_scan: {
    cur_path: 8,
    num_dirs_scanned: 32,
    num_nondirs_scanned: 40,
    num_bytes_scanned: 48,
  },
  wimlib_progress_info_extract: { total_bytes: 40, completed_bytes: 48, current_file_count: 96, end_file_count: 104 },
  wimlib_progress_info_integrity: { total_bytes: 0, completed_bytes: 8 },
  wimlib_progress_info_verify_image: { total_images: 8, current_image: 12 },
  wimlib_progress_info_verify_streams: {
    total_streams: 8,
    total_bytes: 16,
    completed_streams: 24,
    completed_bytes: 32,
  },
  wimlib_wim_info: {
    guid: 0,
    image_count: 16,
    boot_index: 20,
    wim_version: 24,
    chunk_size: 28,
    part_number: 32,
    total_parts: 34,
    compression_type: 36,
    total_bytes: 40,
  },
  wimlib_dir_entry: {
    filename: 0,
    dos_name: 8,
    full_path: 16,
    depth: 24,
    attributes: 48,
    reparse_tag: 52,
    num_links: 56,
    num_named_streams: 60,
    hard_link_group_id: 64,
    creation_time: 72,
    last_write_time: 88,
    streams: 248,
  },
  wimlib_stream_entry: { stream_name: 0, resource: 8 },
  wimlib_resource_entry: { uncompressed_size: 0, compressed_size: 8, offset: 16, sha1_hash: 24 },
} as const

/** sizeof, of what we allocate or step over. */
export const SIZE = { wimlib_wim_info: 88, wimlib_stream_entry: 128 } as const

/** Bit-fields have no offsetof: those of wimlib_wim_info follow `total_bytes`, from the lowest bit on. */
export const WIM_INFO_FLAGS_OFFSET = 48
export const WIM_INFO_FLAGS = [
  'has_integrity_table',
  'opened_from_file',
  'is_readonly',
  'has_rpfix',
  'is_marked_readonly',
  'spanned',
  'write_in_progress',
  'metadata_only',
  'resource_only',
  'pipable',
] as const
