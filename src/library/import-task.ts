/**
 * What an import does in the child process: look, verify, convert where the source is of another format, and copy what
 * the group lacks into one new segment. The parent publishes the segment and writes the rows.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { startWriteback } from '../../ffi/libc/copy.ts'
import { Decompressor } from '../../ffi/wimlib/decompressor.ts'
import { loadWimlib } from '../../ffi/wimlib/load.ts'
import { isDiskFull } from '../base/disk-full.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { ChildReport, ChildTask } from '../jobs/child.ts'
import {
  BLOB_ENTRY_BYTES,
  type BlobTable,
  indexBlobs,
  resourceAt,
  SHA1_BYTES,
  type Sha1Index,
  sha1At,
} from '../wim/blob-table.ts'
import { HEADER_BYTES, HEADER_FLAG } from '../wim/header.ts'
import { readTree } from '../wim/metadata.ts'
import { encodeNeeds, type Needs, unionNeeds } from '../wim/needs.ts'
import { BadResource, ResourceReader } from '../wim/resource.ts'
import { planSegment, type SegmentPlan, segmentBytes, writeSegment } from '../wim/segment.ts'
import { GROUP_FORMAT, openSource, type Source } from '../wim/source.ts'
import type { ImageFacts } from '../wim/xml.ts'
import { convert } from './convert.ts'
import { openCopy } from './copy-bytes.ts'
import { diskFilledUp, hasSpace } from './disk-space.ts'
import { readSegmentTable } from './segment-table.ts'
import { startVerification, type Verification } from './verify.ts'

export type ImportInput = {
  readonly path: string
  /** An index from 1, an image's name, or every image of the file. */
  readonly select:
    | { readonly kind: 'all' }
    | { readonly kind: 'index'; readonly index: number }
    | { readonly kind: 'name'; readonly name: string }
  readonly skipVerify: boolean
  /** The segments that the group has now. */
  readonly heldSegments: readonly { readonly path: string; readonly verified: boolean }[]
  /** A folder on the data disk; the segment and everything temporary goes here. */
  readonly dir: string
  readonly wimlibPath: string | undefined
}

export type ImportedImage = {
  readonly sourceIndex: number
  readonly facts: ImageFacts
  readonly element: string
  readonly needs: Uint8Array
  readonly bootable: boolean
  /** What the image takes as a file of its own, give or take the length of its names. */
  readonly viewBytes: number
}

export type ImportOutput = {
  readonly segmentPath: string
  readonly sizeBytes: number
  readonly blobBytes: number
  readonly rpFix: boolean
  readonly images: readonly ImportedImage[]
  /** Contents that the images have together, and how many of them were new to the group. */
  readonly blobs: number
  readonly newBlobs: number
}

/** A tree of a million files is some 200 MiB; more than this is hostile. */
const MAX_METADATA_BYTES = 1 << 30
const COPY_BYTES = 32 << 20

export const importTask: ChildTask<ImportInput, ImportOutput> = { name: 'import', run: runImport }

type Chosen = {
  readonly sourceIndex: number
  readonly facts: ImageFacts
  readonly element: string
  readonly bootable: boolean
}

async function runImport(input: ImportInput, report: ChildReport): Promise<Result<ImportOutput>> {
  try {
    return await importInto(input, report)
  } catch (error) {
    if (isDiskFull(error)) return diskFilledUp()
    if (error instanceof BadResource) return refuse('corrupt', error.message, 'Download or export the file again.')
    throw error
  }
}

async function importInto(input: ImportInput, report: ChildReport): Promise<Result<ImportOutput>> {
  report.step('read the tables')
  const opened = openSource(input.path)
  if (!opened.ok) return opened
  using source = opened.value
  const chosen = choose(source, input.select)
  if (!chosen.ok) return chosen
  const around = {
    input,
    report,
    rpFix: (source.header.flags & HEADER_FLAG.rpFix) !== 0,
    held: tablesOf(input.heldSegments.filter(({ verified }) => verified || input.skipVerify)),
    unchecked: tablesOf(input.heldSegments.filter(({ verified }) => !verified && !input.skipVerify)),
  }
  const indexes = chosen.value.map((image) => image.sourceIndex)
  // `await`, or the source would be closed while it is being read.
  if (source.notRaw === undefined) return await copyIn(source, chosen.value, indexes, around)

  report.step('convert')
  const { dir, wimlibPath, path: sourcePath } = input
  const references = input.heldSegments.filter(({ verified }) => !verified).map((segment) => segment.path)
  const converted = convert(
    { source, sourcePath, images: indexes, held: around.held, references, dir, wimlibPath },
    report,
  )
  if (!converted.ok) return converted
  const reopened = openSource(converted.value)
  if (!reopened.ok) return reopened
  using copy = reopened.value
  return await copyIn(
    copy,
    chosen.value,
    indexes.map((_, i) => i + 1),
    around,
  )
}

function tablesOf(segments: ImportInput['heldSegments']): readonly BlobTable[] {
  return segments.map(({ path }) => readSegmentTable(path))
}

function choose(source: Source, select: ImportInput['select']): Result<readonly Chosen[]> {
  const all = source.document.images.map((image, i) => ({
    ...image,
    sourceIndex: i + 1,
    bootable: source.header.bootIndex === i + 1,
  }))
  const listed = all.map((image) => `${image.sourceIndex} "${image.facts.name}"`).join(', ')
  const hint = `The file holds: ${listed.slice(0, 500) || 'no image'}.`
  if (all.length === 0)
    return refuse('not-found', 'the file holds no image', 'It may be one part of a set, or a resource-only WIM.')
  switch (select.kind) {
    case 'all':
      return ok(all)
    case 'index': {
      const found = all[select.index - 1]
      return found ? ok([found]) : refuse('not-found', `the file has no image ${select.index}`, hint)
    }
    case 'name': {
      const found = all.filter((image) => image.facts.name.toLowerCase() === select.name.toLowerCase())
      const [only] = found
      if (!only) return refuse('not-found', `the file has no image named "${select.name}"`, hint)
      if (found.length > 1)
        return refuse(
          'ambiguous',
          `${found.length} images of the file are named "${select.name}"`,
          `Name it by index. ${hint}`,
        )
      return ok([only])
    }
  }
}

type Surroundings = {
  readonly input: ImportInput
  readonly report: ChildReport
  readonly rpFix: boolean
  /** The tables of the group's segments that the import may build on. */
  readonly held: readonly BlobTable[]
  /** Those that were never verified: a verified import takes from them only what its source lacks. */
  readonly unchecked: readonly BlobTable[]
}

/** The raw way: trees are read, what the group lacks is copied as it lies, and verified while it is being copied. */
async function copyIn(
  source: Source,
  images: readonly Chosen[],
  indexes: readonly number[],
  around: Surroundings,
): Promise<Result<ImportOutput>> {
  const { input, report } = around
  report.step('read the trees')
  const trees = readTrees(source, indexes, input.wimlibPath)
  if (!trees.ok) return trees
  const held = around.held.map((table) => ({ table, index: indexBlobs(table) }))
  const unchecked = around.unchecked.map((table) => ({ table, index: indexBlobs(table) }))
  const places = [...held, { table: source.table, index: source.index }, ...unchecked]
  const wanted = images.map((image, i) => ({
    metadata: source.metadata[(indexes[i] ?? 0) - 1] ?? -1,
    element: image.element,
    needs: trees.value[i] ?? { count: 0, sha1: new Uint8Array(0), refCount: new Uint32Array(0) },
  }))
  const { plan, missing } = planSegment(source, wanted, {
    held: held.map(({ index }) => index),
    lastResort: unchecked.map(({ index }) => index),
  })
  if (missing > 0)
    return refuse(
      'missing-blobs',
      `${missing} file contents are neither in the file nor in the group`,
      'A delta WIM needs its base in the same group: import that first.',
      { missing },
    )
  const enough = hasSpace(input.dir, segmentBytes(plan))
  if (!enough.ok) return enough

  report.step(input.skipVerify ? 'copy' : 'copy and verify')
  const segmentPath = join(input.dir, 'segment.wim')
  const written = await writeNew(source, plan, segmentPath, around)
  if (!written.ok) return written
  let blobBytes = 0
  for (const entry of plan.entries) blobBytes += source.table.sizeInWim[entry] ?? 0
  return ok({
    segmentPath,
    sizeBytes: written.value,
    blobBytes,
    rpFix: around.rpFix,
    images: images.map((image, i) => ({
      sourceIndex: image.sourceIndex,
      facts: image.facts,
      element: image.element,
      needs: encodeNeeds(wanted[i]?.needs ?? { count: 0, sha1: new Uint8Array(0), refCount: new Uint32Array(0) }),
      bootable: image.bootable,
      viewBytes: wanted[i] ? viewBytes(wanted[i], places, source) : 0,
    })),
    blobs: unionNeeds(wanted.map(({ needs }) => needs)).count,
    newBlobs: plan.entries.length,
  })
}

/** Header, contents, tree, table and XML of an image that stands alone. */
function viewBytes(
  image: { readonly metadata: number; readonly element: string; readonly needs: Needs },
  places: readonly { readonly table: BlobTable; readonly index: Sha1Index }[],
  source: Source,
): number {
  let bytes =
    HEADER_BYTES +
    (source.table.sizeInWim[image.metadata] ?? 0) +
    (image.needs.count + 1) * BLOB_ENTRY_BYTES +
    image.element.length * 2 +
    128
  for (let i = 0; i < image.needs.count; i += 1)
    for (const { table, index } of places) {
      const entry = index.find(image.needs.sha1, i * SHA1_BYTES)
      if (entry < 0) continue
      bytes += table.sizeInWim[entry] ?? 0
      break
    }
  return bytes
}

/** The trees of the chosen images; each metadata resource is checked against its SHA-1, verified import or not. */
function readTrees(source: Source, indexes: readonly number[], wimlibPath: string | undefined): Result<Needs[]> {
  const trees: Needs[] = []
  using decompressor = new Decompressor(loadWimlib({ path: wimlibPath }), 'LZX', GROUP_FORMAT.chunkSize)
  for (const index of indexes) {
    const entry = source.metadata[index - 1]
    const part = source.parts[(source.table.part[entry ?? -1] ?? 1) - 1]
    if (entry === undefined || !part)
      return refuse('corrupt', `image ${index} has no directory tree`, 'Download or export the file again.')
    const bytes = new ResourceReader({ fd: part.fd, chunkSize: GROUP_FORMAT.chunkSize, decompressor }).readAll(
      resourceAt(source.table, entry),
      MAX_METADATA_BYTES,
    )
    if (!new Bun.CryptoHasher('sha1').update(bytes).digest().equals(sha1At(source.table, entry)))
      return refuse(
        'corrupt',
        `the directory tree of image ${index} does not match its SHA-1`,
        'Download or export the file again.',
      )
    const tree = readTree(bytes)
    if (!tree.ok) return tree
    trees.push(tree.value.needs)
  }
  return ok(trees)
}

/**
 * Copies, then reads back what was copied: the segment is checked and not the source, which somebody may still be
 * writing to. The pages are warm, and the disk writes while the other threads check. Returns the size in bytes.
 */
async function writeNew(
  source: Source,
  plan: SegmentPlan,
  path: string,
  { input, report }: Surroundings,
): Promise<Result<number>> {
  const out = openSync(path, 'wx+', 0o640)
  const copyBytes = openCopy()
  const checkedBytes = input.skipVerify ? 0 : plan.contentBytes
  const totalBytes = plan.payloadBytes + checkedBytes
  let copied = 0
  let verification: Verification | undefined
  try {
    const { sizeBytes, table } = writeSegment(
      source,
      plan,
      out,
      randomBytes(16),
      (from, fromOffset, to, toOffset, length) => {
        for (let done = 0; done < length; ) {
          const got = copyBytes(from, fromOffset + done, to, toOffset + done, Math.min(COPY_BYTES, length - done))
          if (got === 0) throw new BadResource('the file ends before its contents do')
          startWriteback(to, toOffset + done, got)
          done += got
          copied += got
          report.progress(copied, totalBytes)
        }
      },
    )
    if (input.skipVerify) {
      fsyncSync(out)
      return ok(sizeBytes)
    }
    const all = Int32Array.from({ length: table.count }, (_, i) => i)
    verification = startVerification(table, all, { fds: [out], wimlibPath: input.wimlibPath })
    fsyncSync(out)
    const { doneBytes } = verification
    const timer = setInterval(() => report.progress(copied + doneBytes(), totalBytes), 500)
    const bad = await verification.bad.finally(() => clearInterval(timer))
    return bad.length === 0 ? ok(sizeBytes) : corrupt(table, bad)
  } finally {
    await verification?.stop()
    closeSync(out)
  }
}

function corrupt(table: BlobTable, bad: readonly number[]): Result<never> {
  const names = bad.slice(0, 3).map((entry) => Buffer.from(sha1At(table, entry)).toString('hex'))
  return refuse(
    'corrupt',
    `${bad.length}${bad.length >= 100 ? ' or more' : ''} file contents do not match their SHA-1: ${names.join(', ')}`,
    'Download or export the file again.',
    { bad: bad.length },
  )
}
