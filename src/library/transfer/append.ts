/**
 * One more image in a WIM that is there. libwim does it, on a copy: contents that the target has are not written again,
 * what is compressed as the target is gets copied, the rest is recompressed; a table of checksums is kept up to date.
 * Blocks: for a child process.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { WimError } from '../../../ffi/wimlib/error-codes.ts'
import { loadWimlib } from '../../../ffi/wimlib/load.ts'
import { Wim } from '../../../ffi/wimlib/wim.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import { type Compression, decodeHeader, HEADER_BYTES } from '../../wim/header.ts'
import { readExactly } from '../../wim/resource.ts'
import { openSource } from '../../wim/source.ts'

export type Appendable = { readonly images: number; readonly compression: Compression; readonly isRaw: boolean }

/** WIM_HDR_FLAG_READONLY. Source: wimlib include/wimlib/header.h. */
const READ_ONLY = 0x4

/**
 * Does the WIM take one more image of that name? Names are compared as they are, like DISM and libwim do. Looks at the
 * tables only.
 */
export function appendable(path: string, name: string): Result<Appendable> {
  const header = headerOf(path)
  if (!header.ok) return header
  // Before its other parts are looked for: whatever becomes of those, nothing is appended to a set.
  if (header.value.totalParts > 1)
    return refuse(
      'unsupported',
      `"${path}" is part ${header.value.part} of a split set of ${header.value.totalParts}`,
      'Join the set first (wimlib-imagex join), or export to another file.',
    )
  if (header.value.flags & READ_ONLY)
    return refuse(
      'unsupported',
      `"${path}" is marked as read-only`,
      'Export its images to a new file (wimlib-imagex export) and append to that one.',
    )
  const opened = openSource(path)
  if (!opened.ok) return opened
  using source = opened.value
  const names = source.document.images.map((image) => image.facts.name)
  const taken = names.indexOf(name)
  if (taken >= 0)
    return refuse(
      'exists',
      `"${path}" has an image of that name already, its image ${taken + 1}: "${name}"`,
      'Give the image another name in the file: --new-name.',
      { images: names },
    )
  return ok({
    images: names.length,
    compression: source.header.compression,
    isRaw: source.notRaw === undefined,
  })
}

function headerOf(path: string): ReturnType<typeof decodeHeader> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const bytes = new Uint8Array(Math.min(HEADER_BYTES, fstatSync(fd).size))
    readExactly(fd, bytes, 0)
    return decodeHeader(bytes)
  } finally {
    closeSync(fd)
  }
}

/** Appends the one image of `view` to `file`, in place. When it fails, `file` is to be thrown away. */
export function appendImage(
  { view, file, wimlibPath }: { readonly view: string; readonly file: string; readonly wimlibPath: string | undefined },
  onProgress: (doneBytes: number, totalBytes: number) => void,
): Result<void> {
  const wimlib = loadWimlib({ path: wimlibPath })
  try {
    using from = Wim.open(wimlib, view)
    using to = Wim.open(wimlib, file, {
      writeAccess: true,
      onProgress: (progress) => {
        if (progress.step === 'write') onProgress(progress.completedBytes, progress.totalBytes)
        return 'continue'
      },
    })
    from.exportImage(1, to)
    to.overwrite({ threads: 0, fsync: true })
    return ok(undefined)
  } catch (error) {
    if (error instanceof WimError) return explain(error)
    throw error
  }
}

/** Checks all of the file by libwim: trees, contents, and the checksums of an integrity table where there is one. */
export function verifyByLibwim(
  file: string,
  wimlibPath: string | undefined,
  onProgress: (doneBytes: number, totalBytes: number) => void,
): Result<void> {
  try {
    Wim.verify(loadWimlib({ path: wimlibPath }), file, {
      checkIntegrity: true,
      onProgress: (progress) => {
        if (progress.step === 'verify') onProgress(progress.completedBytes, progress.totalBytes)
        return 'continue'
      },
    })
    return ok(undefined)
  } catch (error) {
    if (error instanceof WimError) return explain(error)
    throw error
  }
}

/** Opens the file as any tool would, and checks its integrity table where it has one. */
export function checkIntegrity(file: string, wimlibPath: string | undefined): Result<void> {
  try {
    using _wim = Wim.open(loadWimlib({ path: wimlibPath }), file, { checkIntegrity: true })
    return ok(undefined)
  } catch (error) {
    if (error instanceof WimError) return explain(error)
    throw error
  }
}

function explain(error: WimError): Result<never> {
  switch (error.code) {
    case 'IMAGE_NAME_COLLISION':
      return refuse(
        'exists',
        'the file has an image of that name already',
        'Give the image another name in the file: --new-name.',
      )
    case 'WIM_IS_READONLY':
    case 'IS_SPLIT_WIM':
    case 'UNSUPPORTED':
    case 'UNKNOWN_VERSION':
    case 'UNSUPPORTED_FILE':
      return refuse('unsupported', `the file takes no further image: ${error.message}`, 'Export to another file.')
    case 'RESOURCE_NOT_FOUND':
      return refuse(
        'missing-blobs',
        'the file refers to contents that it does not hold: it is a delta',
        'Export to another file, or skip the check with --skip-verify.',
      )
    case 'WIM_IS_ENCRYPTED':
      return refuse('encrypted', 'the file is encrypted', 'Export to another file.')
    case 'ALREADY_LOCKED':
      return refuse('in-use', 'something else is writing to the file', 'Wait for its end, then start this again.')
    case 'WRITE':
      return refuse(
        'no-space',
        `libwim could not write: ${error.message}`,
        'Make room there, or choose another disk. The file is as it was.',
      )
    case 'OPEN':
    case 'READ':
      return refuse('unreadable', `libwim could not read: ${error.message}`, 'Check the file and its disk.')
    case 'NOMEM':
      return refuse(
        'unavailable',
        'the machine has too little memory to pack this file',
        'Solid files need up to 1 GiB. Export to a file that is not solid.',
      )
    default:
      return refuse(
        'corrupt',
        error.message,
        'Check the file with wimlib-imagex verify: it may have been damaged before. It is left as it was.',
      )
  }
}
