/**
 * What a rebuild reads of segments that no row knows, in the child process: whatever lies in the folder, it may be
 * broken or hostile. What an image needs goes into files, because it may be megabytes for each of a thousand images.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Decompressor } from '../../../ffi/wimlib/decompressor.ts'
import { loadWimlib } from '../../../ffi/wimlib/load.ts'
import { diskFull, isDiskFull } from '../../base/disk-full.ts'
import { reasonOf } from '../../base/log.ts'
import { Fault, type Refusal, refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { ChildReport, ChildTask } from '../../jobs/child.ts'
import { isMetadata, resourceAt, sha1At } from '../../wim/blob-table.ts'
import { HEADER_FLAG } from '../../wim/header.ts'
import { readTree } from '../../wim/metadata.ts'
import { encodeNeeds } from '../../wim/needs.ts'
import { ResourceReader } from '../../wim/resource.ts'
import { GROUP_FORMAT, openSource, type Source } from '../../wim/source.ts'
import type { ImageFacts } from '../../wim/xml.ts'

export type ReadInput = {
  readonly paths: readonly string[]
  /** Where the needs go. */
  readonly dir: string
  readonly wimlibPath: string | undefined
}

export type ReadImage = {
  readonly treeSha1: string
  /** What the tree takes in the file. */
  readonly treeBytes: number
  readonly facts: ImageFacts
  readonly element: string
  /** The file that holds its needs, packed. */
  readonly needsPath: string
}

export type ReadSegment = {
  readonly path: string
  readonly sizeBytes: number
  readonly blobBytes: number
  readonly rpFix: boolean
  /** In the order of their indexes, from 1. */
  readonly images: readonly ReadImage[]
}

export type Unreadable = { readonly path: string; readonly error: Refusal }
export type ReadOutput = { readonly segments: readonly ReadSegment[]; readonly unreadable: readonly Unreadable[] }

/** As imports bound it: a tree of a million files is some 200 MiB. */
const MAX_METADATA_BYTES = 1 << 30
/** In `dir`: the path of the file that is being read. */
export const CURRENT = 'current'
const HINT = 'It stays where it is. Restore it from a backup of the folder, or move it away.'

export const readSegmentsTask: ChildTask<ReadInput, ReadOutput> = { name: 'read-segments', run: readSegments }

async function readSegments(input: ReadInput, report: ChildReport): Promise<Result<ReadOutput>> {
  const segments: ReadSegment[] = []
  const unreadable: Unreadable[] = []
  for (const path of input.paths) {
    report.step(path)
    // If this one kills the process, the parent knows which it was: a message could be lost on the way.
    writeFileSync(join(input.dir, CURRENT), path)
    try {
      const read = readSegment(path, input)
      if (read.ok) segments.push(read.value)
      else unreadable.push({ path, error: read.error })
    } catch (error) {
      if (isDiskFull(error)) return diskFull()
      // Whatever a file does to its reader, the others are read all the same.
      const code = error instanceof Fault ? 'unreadable' : 'corrupt'
      unreadable.push({ path, error: refuse(code, reasonOf(error), HINT).error })
    }
  }
  return ok({ segments, unreadable })
}

function readSegment(path: string, input: ReadInput): Result<ReadSegment> {
  const opened = openSource(path)
  if (!opened.ok) return refuse(opened.error.code, opened.error.message, HINT)
  using source = opened.value
  if (source.parts.length !== 1 || source.notRaw !== undefined)
    return refuse('unsupported', 'the file is a WIM, but no segment of ours', 'Move it away, and import it.')
  return readImages(path, source, input)
}

function readImages(path: string, source: Source, { dir, wimlibPath }: ReadInput): Result<ReadSegment> {
  const [part] = source.parts
  if (!part) throw new Error('a source has no part')
  using decompressor = new Decompressor(loadWimlib({ path: wimlibPath }), 'LZX', GROUP_FORMAT.chunkSize)
  const reader = new ResourceReader({ fd: part.fd, chunkSize: GROUP_FORMAT.chunkSize, decompressor })
  const images: ReadImage[] = []
  for (const [i, entry] of source.metadata.entries()) {
    const bytes = reader.readAll(resourceAt(source.table, entry), MAX_METADATA_BYTES)
    const treeSha1 = Buffer.from(sha1At(source.table, entry)).toString('hex')
    if (new Bun.CryptoHasher('sha1').update(bytes).digest('hex') !== treeSha1)
      return refuse('corrupt', `the directory tree of image ${i + 1} does not match its SHA-1`, HINT)
    const tree = readTree(bytes)
    if (!tree.ok) return refuse(tree.error.code, tree.error.message, HINT)
    const described = source.document.images[i]
    if (!described) return refuse('bad-xml', `image ${i + 1} is not described`, HINT)
    const needsPath = join(dir, crypto.randomUUID())
    writeFileSync(needsPath, encodeNeeds(tree.value.needs))
    const treeBytes = source.table.sizeInWim[entry] ?? 0
    images.push({ treeSha1, treeBytes, facts: described.facts, element: described.element, needsPath })
  }
  let blobBytes = 0
  for (let i = 0; i < source.table.count; i += 1)
    if (!isMetadata(source.table, i)) blobBytes += source.table.sizeInWim[i] ?? 0
  const rpFix = (source.header.flags & HEADER_FLAG.rpFix) !== 0
  return ok({ path, sizeBytes: part.sizeBytes, blobBytes, rpFix, images })
}
