/**
 * libwim, one line per call, in the words of its header (wimlib.h 1.14). `wimlib_tchar` is `char` in UTF-8 here.
 * Only what wimcast calls. Everything else about these calls (order, traps) is in wim.ts and decompressor.ts.
 */
import { type dlopen, FFIType } from 'bun:ffi'

const { i32, u32, ptr, cstring, u64_fast: size_t } = FFIType

export const SYMBOLS = {
  // general
  wimlib_global_init: { args: [i32], returns: i32 },
  wimlib_get_version: { args: [], returns: u32 },
  wimlib_get_version_string: { args: [], returns: cstring },
  wimlib_get_error_string: { args: [i32], returns: cstring },
  // opening and creating
  wimlib_open_wim_with_progress: { args: [cstring, i32, ptr, ptr, ptr], returns: i32 },
  wimlib_create_new_wim: { args: [i32, ptr], returns: i32 },
  wimlib_free: { args: [ptr], returns: FFIType.void },
  wimlib_register_progress_function: { args: [ptr, ptr, ptr], returns: FFIType.void },
  wimlib_reference_resource_files: { args: [ptr, ptr, u32, i32, i32], returns: i32 },
  // what is in it
  wimlib_get_wim_info: { args: [ptr, ptr], returns: i32 },
  wimlib_get_xml_data: { args: [ptr, ptr, ptr], returns: i32 },
  wimlib_get_image_property: { args: [ptr, i32, cstring], returns: cstring },
  wimlib_set_image_property: { args: [ptr, i32, cstring, cstring], returns: i32 },
  wimlib_iterate_dir_tree: { args: [ptr, i32, cstring, i32, ptr, ptr], returns: i32 },
  wimlib_verify_wim: { args: [ptr, i32], returns: i32 },
  // images
  wimlib_add_image: { args: [ptr, cstring, cstring, cstring, i32], returns: i32 },
  wimlib_export_image: { args: [ptr, i32, ptr, cstring, cstring, i32], returns: i32 },
  wimlib_delete_image: { args: [ptr, i32], returns: i32 },
  wimlib_extract_image: { args: [ptr, i32, cstring, i32], returns: i32 },
  wimlib_extract_paths: { args: [ptr, i32, cstring, ptr, size_t, i32], returns: i32 },
  // writing
  wimlib_set_output_compression_type: { args: [ptr, i32], returns: i32 },
  wimlib_set_output_chunk_size: { args: [ptr, u32], returns: i32 },
  wimlib_set_output_pack_compression_type: { args: [ptr, i32], returns: i32 },
  wimlib_set_output_pack_chunk_size: { args: [ptr, u32], returns: i32 },
  wimlib_write: { args: [ptr, cstring, i32, i32, u32], returns: i32 },
  wimlib_overwrite: { args: [ptr, i32, u32], returns: i32 },
  wimlib_split: { args: [ptr, cstring, size_t, i32], returns: i32 },
  // single chunks
  wimlib_create_compressor: { args: [i32, size_t, u32, ptr], returns: i32 },
  wimlib_compress: { args: [ptr, size_t, ptr, size_t, ptr], returns: size_t },
  wimlib_free_compressor: { args: [ptr], returns: FFIType.void },
  wimlib_create_decompressor: { args: [i32, size_t, ptr], returns: i32 },
  wimlib_decompress: { args: [ptr, size_t, ptr, size_t, ptr], returns: i32 },
  wimlib_free_decompressor: { args: [ptr], returns: FFIType.void },
} as const

export type Symbols = ReturnType<typeof dlopen<typeof SYMBOLS>>['symbols']
