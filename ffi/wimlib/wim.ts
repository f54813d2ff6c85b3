/**
 * A WIM file through libwim. Every call here blocks its thread, some for minutes: run them in a child process, where
 * a crash on a hostile file ends the child alone. A handle belongs to one thread and one call at a time.
 *
 * Trap: after `wimlib_verify_wim()` on a handle, the second export from it writes a WIM without file data and returns
 * 0 (1.13.6 and 1.14.4). So `verify` takes a path, not a handle: it opens one of its own and closes it.
 */
import { JSCallback, type Pointer, ptr, toArrayBuffer } from 'bun:ffi'
import { Fault } from '../../src/base/refusal.ts'
import { c } from '../libc/symbols.ts'
import { COMPRESSION_TYPE, type CompressionType } from './decompressor.ts'
import { type DirEntry, readDirEntry } from './dir-entry.ts'
import { check } from './error-codes.ts'
import { ADD_FLAG, EXPORT_FLAG, EXTRACT_FLAG, type Flags, flagsOf, OPEN_FLAG, REF_FLAG, WRITE_FLAG } from './flags.ts'
import { LAYOUT, SIZE, WIM_INFO_FLAGS, WIM_INFO_FLAGS_OFFSET } from './layout.ts'
import type { Wimlib } from './load.ts'
import { cstring, cstrings, outPointer } from './memory.ts'
import { decodeProgress, type Progress } from './progress.ts'
import type { Symbols } from './symbols.ts'

/**
 * Runs on the calling thread, in the midst of the call that it reports on. `'abort'` ends that call with the WimError
 * ABORTED_BY_PROGRESS; a file it was writing stays behind, unfinished, for the caller to unlink.
 */
export type OnProgress = (progress: Progress) => 'continue' | 'abort'

/** Counted from 1, as everywhere in WIM; or every image of the file. */
export type ImageIndex = number | 'all'

export type OpenOptions = Flags<typeof OPEN_FLAG> & { readonly onProgress?: OnProgress | undefined }

export type WriteOptions = Flags<typeof WRITE_FLAG> & {
  readonly image?: ImageIndex | undefined
  /** Compressor threads; 0, the default, takes one per processor. */
  readonly threads?: number | undefined
}

export type ExportOptions = Flags<typeof EXPORT_FLAG> & {
  /** Undefined keeps the source's. */
  readonly name?: string | undefined
  readonly description?: string | undefined
}

export type WimInfo = {
  readonly guid: Uint8Array
  readonly imageCount: number
  /** 0: none. */
  readonly bootIndex: number
  readonly wimVersion: number
  /** Bytes; of non-solid resources. */
  readonly chunkSize: number
  readonly partNumber: number
  readonly totalParts: number
  readonly compressionType: CompressionType | undefined
  /** Size of the file without its XML data and integrity table. */
  readonly totalBytes: number
  readonly flags: ReadonlySet<(typeof WIM_INFO_FLAGS)[number]>
}

const ALL_IMAGES = -1
const PROGRESS_STATUS_CONTINUE = 0
const PROGRESS_STATUS_ABORT = 1

export class Wim implements Disposable {
  readonly #symbols: Symbols
  readonly #watch: Watch | undefined
  #handle: Pointer | undefined

  private constructor(symbols: Symbols, handle: Pointer, watch: Watch | undefined) {
    this.#symbols = symbols
    this.#handle = handle
    this.#watch = watch
  }

  /** Of a split set, give the first part, then `referenceResourceFiles` the others. */
  static open(wimlib: Wimlib, path: string, options: OpenOptions = {}): Wim {
    const { symbols } = wimlib
    const out = outPointer()
    const watch = options.onProgress && watchProgress(options.onProgress)
    const flags = flagsOf(OPEN_FLAG, options)
    try {
      const number = symbols.wimlib_open_wim_with_progress(
        cstring(path),
        flags,
        ptr(out.cell),
        watch?.pointer ?? null,
        null,
      )
      watch?.rethrow()
      check(symbols, `open ${path}`, number)
    } catch (error) {
      watch?.close()
      throw error
    }
    return new Wim(symbols, out.read(), watch)
  }

  /** A WIM without images, in memory until `write`. */
  static create(
    wimlib: Wimlib,
    type: CompressionType,
    options: { readonly onProgress?: OnProgress | undefined } = {},
  ): Wim {
    const { symbols } = wimlib
    const out = outPointer()
    check(symbols, `create ${type}`, symbols.wimlib_create_new_wim(COMPRESSION_TYPE[type], ptr(out.cell)))
    const watch = options.onProgress && watchProgress(options.onProgress)
    if (watch) symbols.wimlib_register_progress_function(out.read(), watch.pointer, null)
    return new Wim(symbols, out.read(), watch)
  }

  /**
   * Reads every image's metadata and every blob, and checks their SHA-1. Throws `WimError` at the first that is wrong.
   * `resources`: the other parts of a split set, as glob(3) patterns.
   */
  static verify(
    wimlib: Wimlib,
    path: string,
    options: OpenOptions & { readonly resources?: readonly string[] | undefined } = {},
  ): void {
    using wim = Wim.open(wimlib, path, options)
    wim.referenceResourceFiles(options.resources ?? [], { globEnable: true, globErrOnNomatch: true })
    wim.#check(`verify ${path}`, wim.#symbols.wimlib_verify_wim(wim.#open, 0))
  }

  get #open(): Pointer {
    if (this.#handle === undefined) throw new Fault('the WIM is disposed', { hint: 'This is a bug.' })
    return this.#handle
  }

  /** A callback must not throw through C: what it threw comes out here, before libwim's own "aborted". */
  #check(call: string, number: number): void {
    this.#watch?.rethrow()
    check(this.#symbols, call, number)
  }

  /** Other parts of a split set, or the files a delta builds on. With `globEnable` the paths are glob(3) patterns. */
  referenceResourceFiles(
    paths: readonly string[],
    options: Flags<typeof REF_FLAG> & { readonly open?: Flags<typeof OPEN_FLAG> | undefined } = {},
  ): void {
    if (paths.length === 0) return
    const number = this.#symbols.wimlib_reference_resource_files(
      this.#open,
      cstrings(paths),
      paths.length,
      flagsOf(REF_FLAG, options),
      flagsOf(OPEN_FLAG, options.open ?? {}),
    )
    this.#check(`reference ${paths.join(', ')}`, number)
  }

  info(): WimInfo {
    const at = LAYOUT.wimlib_wim_info
    const bytes = new Uint8Array(SIZE.wimlib_wim_info)
    this.#check('info', this.#symbols.wimlib_get_wim_info(this.#open, bytes))
    const view = new DataView(bytes.buffer)
    const type = view.getInt32(at.compression_type, true)
    const bits = view.getUint32(WIM_INFO_FLAGS_OFFSET, true)
    return {
      guid: bytes.slice(at.guid, at.guid + 16),
      imageCount: view.getUint32(at.image_count, true),
      bootIndex: view.getUint32(at.boot_index, true),
      wimVersion: view.getUint32(at.wim_version, true),
      chunkSize: view.getUint32(at.chunk_size, true),
      partNumber: view.getUint16(at.part_number, true),
      totalParts: view.getUint16(at.total_parts, true),
      compressionType: (Object.keys(COMPRESSION_TYPE) as CompressionType[]).find(
        (key) => COMPRESSION_TYPE[key] === type,
      ),
      totalBytes: Number(view.getBigUint64(at.total_bytes, true)),
      flags: new Set(WIM_INFO_FLAGS.filter((_, bit) => (bits >>> bit) & 1)),
    }
  }

  /** The XML document of the file as it is on disk, decoded from UTF-16LE, without the byte order mark. */
  xml(): string {
    const buffer = outPointer()
    const size = new BigUint64Array(1)
    this.#check('xml', this.#symbols.wimlib_get_xml_data(this.#open, buffer.cell, size))
    const pointer = buffer.read()
    try {
      return new TextDecoder('utf-16le').decode(toArrayBuffer(pointer, 0, Number(size[0])))
    } finally {
      c.free(pointer)
    }
  }

  /** A path in the XML below IMAGE: `NAME`, `WINDOWS/VERSION/BUILD`, `WINDOWS/LANGUAGES/LANGUAGE[2]`. */
  getProperty(image: number, name: string): string | undefined {
    return this.#symbols.wimlib_get_image_property(this.#open, image, cstring(name)) ?? undefined
  }

  /** Undefined removes the element. */
  setProperty(image: number, name: string, value: string | undefined): void {
    const text = value === undefined ? null : cstring(value)
    const number = this.#symbols.wimlib_set_image_property(this.#open, image, cstring(name), text)
    this.#check(`set property ${name}`, number)
  }

  /** The entry at `path` and all below it; `/` is the root. `visit` returning `'stop'` ends the walk. */
  iterate(image: number, path: string, visit: (entry: DirEntry) => 'continue' | 'stop'): void {
    const RECURSIVE = 0x1
    const STOPPED = -1
    let thrown: { readonly error: unknown } | undefined
    const callback = new JSCallback(
      (entry: Pointer) => {
        try {
          return visit(readDirEntry(entry)) === 'stop' ? STOPPED : 0
        } catch (error) {
          thrown = { error }
          return STOPPED
        }
      },
      { args: ['ptr', 'ptr'], returns: 'i32' },
    )
    try {
      const number = this.#symbols.wimlib_iterate_dir_tree(
        this.#open,
        image,
        cstring(path),
        RECURSIVE,
        callback.ptr,
        null,
      )
      if (thrown) throw thrown.error
      if (number !== STOPPED) this.#check(`iterate ${path}`, number)
    } finally {
      callback.close()
    }
  }

  /** Appends images to `target`, in memory; libwim keeps this file open until `target` is disposed too. */
  exportImage(image: ImageIndex, target: Wim, options: ExportOptions = {}): void {
    const number = this.#symbols.wimlib_export_image(
      this.#open,
      indexOf(image),
      target.#open,
      options.name === undefined ? null : cstring(options.name),
      options.description === undefined ? null : cstring(options.description),
      flagsOf(EXPORT_FLAG, options),
    )
    this.#check(`export image ${image}`, number)
  }

  deleteImage(image: ImageIndex): void {
    this.#check(`delete image ${image}`, this.#symbols.wimlib_delete_image(this.#open, indexOf(image)))
  }

  /** Captures a folder as a new image. File contents are read at `write`. */
  addImage(
    source: string,
    name: string,
    options: Flags<typeof ADD_FLAG> & { readonly configFile?: string | undefined } = {},
  ): void {
    // Without VERBOSE the scan's counts stay 0.
    const flags = flagsOf(ADD_FLAG, { ...options, verbose: this.#watch !== undefined })
    const config = options.configFile === undefined ? null : cstring(options.configFile)
    const number = this.#symbols.wimlib_add_image(this.#open, cstring(source), cstring(name), config, flags)
    this.#check(`capture ${source}`, number)
  }

  extractImage(image: ImageIndex, target: string, options: Flags<typeof EXTRACT_FLAG> = {}): void {
    const flags = flagsOf(EXTRACT_FLAG, options)
    const number = this.#symbols.wimlib_extract_image(this.#open, indexOf(image), cstring(target), flags)
    this.#check(`extract image ${image} to ${target}`, number)
  }

  /** `paths` are absolute within the image, either slash, any case. */
  extractPaths(
    image: number,
    target: string,
    paths: readonly string[],
    options: Flags<typeof EXTRACT_FLAG> = {},
  ): void {
    if (paths.length === 0) return
    const flags = flagsOf(EXTRACT_FLAG, options)
    const list = cstrings(paths)
    const where = cstring(target)
    const number = this.#symbols.wimlib_extract_paths(this.#open, image, where, list, paths.length, flags)
    this.#check(`extract ${paths.length} paths to ${target}`, number)
  }

  /** What `write` compresses with; the pack type and size are those of solid resources. Sizes are bytes. */
  setOutput(options: {
    readonly type?: CompressionType | undefined
    readonly chunkSize?: number | undefined
    readonly packType?: CompressionType | undefined
    readonly packChunkSize?: number | undefined
  }): void {
    const { type, chunkSize, packType, packChunkSize } = options
    const s = this.#symbols
    const wim = this.#open
    if (type !== undefined) {
      this.#check(`compress as ${type}`, s.wimlib_set_output_compression_type(wim, COMPRESSION_TYPE[type]))
    }
    if (chunkSize !== undefined) {
      this.#check(`chunks of ${chunkSize}`, s.wimlib_set_output_chunk_size(wim, chunkSize))
    }
    if (packType !== undefined) {
      this.#check(`pack as ${packType}`, s.wimlib_set_output_pack_compression_type(wim, COMPRESSION_TYPE[packType]))
    }
    if (packChunkSize !== undefined) {
      this.#check(`pack chunks of ${packChunkSize}`, s.wimlib_set_output_pack_chunk_size(wim, packChunkSize))
    }
  }

  /** Writes a new file; data that is compressed alike already is copied, unless `recompress`. */
  write(path: string, options: WriteOptions = {}): void {
    const flags = flagsOf(WRITE_FLAG, options)
    const image = indexOf(options.image ?? 'all')
    this.#check(
      `write ${path}`,
      this.#symbols.wimlib_write(this.#open, cstring(path), image, flags, options.threads ?? 0),
    )
  }

  /** Commits changes to the file it was opened from (with `writeAccess`). */
  overwrite(options: Flags<typeof WRITE_FLAG> & { readonly threads?: number | undefined } = {}): void {
    const flags = flagsOf(WRITE_FLAG, options)
    this.#check('overwrite', this.#symbols.wimlib_overwrite(this.#open, flags, options.threads ?? 0))
  }

  /** `name.swm`, `name2.swm` …, each at most `partSizeBytes` unless one blob alone is larger. */
  split(path: string, partSizeBytes: number, options: Flags<typeof WRITE_FLAG> = {}): void {
    const flags = flagsOf(WRITE_FLAG, options)
    this.#check(`split ${path}`, this.#symbols.wimlib_split(this.#open, cstring(path), partSizeBytes, flags))
  }

  [Symbol.dispose](): void {
    if (this.#handle === undefined) return
    // Another handle may keep the struct alive after an export: it must not call back into a closed function.
    this.#symbols.wimlib_register_progress_function(this.#handle, null, null)
    this.#symbols.wimlib_free(this.#handle)
    this.#watch?.close()
    this.#handle = undefined
  }
}

function indexOf(image: ImageIndex): number {
  return image === 'all' ? ALL_IMAGES : image
}

type Watch = { readonly pointer: Pointer; readonly rethrow: () => void; readonly close: () => void }

/** A JavaScript exception cannot unwind C frames: it is kept, the call is aborted, and `rethrow` brings it out. */
function watchProgress(onProgress: OnProgress): Watch {
  let thrown: { readonly error: unknown } | undefined
  const callback = new JSCallback(
    (message: number, info: Pointer) => {
      try {
        const progress = decodeProgress(message, info)
        if (progress === undefined) return PROGRESS_STATUS_CONTINUE
        return onProgress(progress) === 'abort' ? PROGRESS_STATUS_ABORT : PROGRESS_STATUS_CONTINUE
      } catch (error) {
        thrown = { error }
        return PROGRESS_STATUS_ABORT
      }
    },
    { args: ['i32', 'ptr', 'ptr'], returns: 'i32' },
  )
  if (callback.ptr === null) throw new Fault('no callback into C', { hint: 'The process is out of memory.' })
  return {
    pointer: callback.ptr,
    rethrow: () => {
      if (thrown === undefined) return
      const { error } = thrown
      thrown = undefined
      throw error
    },
    close: () => callback.close(),
  }
}
