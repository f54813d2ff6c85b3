/**
 * Recompression of a source that is not of the group's format, by libwim, into a temporary WIM that then is copied from
 * and verified like any source.
 *
 * Contents that the group holds already are not recompressed. libwim leaves out of an export what its target has, so
 * the target begins as a WIM of promises: a blob table that lists what the group holds, over a hole in the file where
 * those contents would lie. libwim appends what is new. Nobody reads the promised ones: they are in the group.
 */
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { WimError } from '../../../ffi/wimlib/error-codes.ts'
import { loadWimlib } from '../../../ffi/wimlib/load.ts'
import { Wim } from '../../../ffi/wimlib/wim.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { ChildReport } from '../../jobs/child.ts'
import { type BlobTable, emptyBlobTable, isMetadata, placeEntry } from '../../wim/blob-table.ts'
import { frameOf } from '../../wim/frame.ts'
import { HEADER_BYTES, NO_RESOURCE } from '../../wim/header.ts'
import { writeFrame } from '../../wim/segment.ts'
import type { Source } from '../../wim/source.ts'
import { FREE_SPACE, hasSpace } from '../store/disk-space.ts'

export type Conversion = {
  readonly source: Source
  readonly sourcePath: string
  /** Indexes of the images to take, from 1; they become 1, 2, … */
  readonly images: readonly number[]
  readonly held: readonly BlobTable[]
  /** Segments that may have what a delta lacks. */
  readonly references: readonly string[]
  readonly dir: string
  /** What the images hold uncompressed, as far as their file says; 0 where it does not. */
  readonly contentBytes?: number
  /** Stays free. */
  readonly reserveBytes?: number
  readonly wimlibPath: string | undefined
}

/** Refuses when the disk will not take it; an estimate. */
export function hasConversionSpace(
  conversion: Pick<Conversion, 'source' | 'dir' | 'contentBytes' | 'reserveBytes'>,
): Result<void> {
  const { source, contentBytes = 0 } = conversion
  // LZX packs about a third looser than solid LZMS.
  const packedBytes = Math.round(source.parts.reduce((sum, part) => sum + part.sizeBytes, 0) * 1.5)
  const bytes = contentBytes > 0 ? Math.min(packedBytes, contentBytes) : packedBytes
  return hasSpace(conversion.dir, bytes, conversion.reserveBytes)
}

/** Returns the path of the temporary WIM, in `dir`. */
export function convert(conversion: Conversion, report: ChildReport): Result<string> {
  const { source, dir } = conversion
  const enough = hasConversionSpace(conversion)
  if (!enough.ok) return enough
  /** Once libwim knows how much it will write: a file may say too little of itself. */
  let room: Result<void> | undefined
  const target = join(dir, 'converted.wim')
  writePromises(target, conversion.held)
  const wimlib = loadWimlib({ path: conversion.wimlibPath })
  try {
    using from = Wim.open(wimlib, conversion.sourcePath)
    from.referenceResourceFiles([...source.parts.slice(1).map((part) => part.path), ...conversion.references])
    using to = Wim.open(wimlib, target, {
      writeAccess: true,
      onProgress: (progress) => {
        if (progress.step !== 'write') return 'continue'
        room ??= hasConversionSpace({ ...conversion, contentBytes: progress.totalBytes })
        report.progress(progress.completedBytes, progress.totalBytes)
        return room.ok ? 'continue' : 'abort'
      },
    })
    // A unique name each: a file may hold two images of one name, which libwim would refuse to put side by side.
    for (const [i, index] of conversion.images.entries()) from.exportImage(index, to, { name: `image ${i + 1}` })
    to.overwrite({ threads: 0 })
    return ok(target)
  } catch (error) {
    if (room?.ok === false) return room
    if (error instanceof WimError) return explain(error)
    throw error
  }
}

/** A WIM without images whose table claims the contents of `held`; the file has a hole in their place. */
function writePromises(path: string, held: readonly BlobTable[]): void {
  const table = emptyBlobTable(held.reduce((sum, segment) => sum + segment.count, 0))
  let row = 0
  let at = HEADER_BYTES
  for (const segment of held)
    for (let i = 0; i < segment.count; i += 1) {
      if (isMetadata(segment, i)) continue
      at += placeEntry(table, row, { from: segment, entry: i, offset: at, refCount: 1 }).sizeInWim
      row += 1
    }
  const frame = frameOf({
    table: { ...table, count: row },
    elements: [],
    contentsEnd: at,
    rpFix: false,
    guid: () => crypto.getRandomValues(new Uint8Array(16)),
    boot: { metadata: NO_RESOURCE, index: 0 },
  })
  const fd = openSync(path, 'wx', 0o640)
  try {
    writeFrame(fd, frame)
  } finally {
    closeSync(fd)
  }
}

function explain(error: WimError): Result<never> {
  switch (error.code) {
    case 'RESOURCE_NOT_FOUND':
      return refuse(
        'missing-blobs',
        'the image refers to file contents that neither the file nor the group holds',
        'A delta WIM needs its base in the same group: import that first.',
      )
    case 'WIM_IS_ENCRYPTED':
      return refuse('encrypted', 'the file is encrypted', 'Decrypt it first.')
    case 'UNEXPECTED_END_OF_FILE':
      return refuse('truncated', 'the file ends before its contents do', 'Fetch or export the file again.')
    case 'WRITE':
      return refuse('no-space', `libwim could not write: ${error.message}`, FREE_SPACE)
    case 'OPEN':
    case 'READ':
      return refuse(
        'unreadable',
        `libwim could not read: ${error.message}`,
        'Check the file and its disk, and try again.',
      )
    case 'NOMEM':
      return refuse(
        'unavailable',
        'the machine has too little memory to unpack this file',
        'Solid files need up to 1 GiB. Export it as a plain .wim elsewhere.',
      )
    default:
      return refuse('corrupt', error.message, 'Download or export the file again.')
  }
}
