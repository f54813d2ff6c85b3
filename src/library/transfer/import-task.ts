/**
 * What an import does in the child process: look, verify, convert where the source is of another format, and copy what
 * the group lacks into one new segment. The parent publishes the segment and writes the rows.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { Decompressor } from '../../../ffi/wimlib/decompressor.ts'
import { loadWimlib } from '../../../ffi/wimlib/load.ts'
import { isDiskFull } from '../../base/disk-full.ts'
import { refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { ChildReport, ChildTask } from '../../jobs/child.ts'
import {
  BLOB_ENTRY_BYTES,
  type BlobTable,
  indexBlobs,
  isMetadata,
  resourceAt,
  SHA1_BYTES,
  type Sha1Index,
  sha1At,
} from '../../wim/blob-table.ts'
import { HEADER_BYTES, HEADER_FLAG, RESOURCE_FLAG } from '../../wim/header.ts'
import { readTree } from '../../wim/metadata.ts'
import { encodeNeeds, type Needs, unionNeeds } from '../../wim/needs.ts'
import { BadResource, ResourceReader } from '../../wim/resource.ts'
import { layOutSegment, planSegment } from '../../wim/segment.ts'
import { GROUP_FORMAT, openSource, type Source } from '../../wim/source.ts'
import type { ImageFacts } from '../../wim/xml.ts'
import { intactTable, WHOLE_FILE } from '../health/damage.ts'
import { diskFilledUp, hasSpace, type Quota, withinQuota } from '../store/disk-space.ts'
import { readSegmentTable } from '../store/segment-table.ts'
import { writeNew } from '../store/write-new.ts'
import { convert, hasConversionSpace } from './convert.ts'
import { type Chosen, choose, type Names, type Purpose, type Selection } from './import-choice.ts'

export type ImportInput = {
  readonly path: string
  readonly select: Selection
  readonly purpose: Purpose
  readonly skipVerify: boolean
  /** Only tell what it would take. */
  readonly dryRun: boolean
  /** The segments that the group has now; `damaged` as damage.ts has it. */
  readonly heldSegments: readonly {
    readonly path: string
    readonly verified: boolean
    readonly damaged: readonly string[]
  }[]
  readonly quota: Quota | undefined
  readonly reserveBytes: number
  /** A folder on the data disk; the segment and everything temporary goes here. */
  readonly dir: string
  readonly wimlibPath: string | undefined
}

export type ImportedImage = {
  readonly sourceIndex: number
  readonly names: Names | undefined
  readonly facts: ImageFacts
  readonly element: string
  readonly needs: Uint8Array
  /** Of its metadata resource, 40 hex digits. */
  readonly treeSha1: string
  readonly bootable: boolean
  /** What the image takes as a file of its own, give or take the length of its names. */
  readonly viewBytes: number
}

export type ImportMade = {
  readonly kind: 'made'
  readonly segmentPath: string
  readonly sizeBytes: number
  readonly blobBytes: number
  readonly rpFix: boolean
  readonly images: readonly ImportedImage[]
  /** Contents that the images have together, and how many of them were new to the group. */
  readonly blobs: number
  readonly newBlobs: number
}

/** What a dry run finds out. */
export type ImportPlan = {
  readonly kind: 'plan'
  readonly images: readonly { readonly sourceIndex: number; readonly names: Names | undefined }[]
  readonly blobs: number
  readonly newBlobs: number
  readonly storedBytes: number
  /** The source is of another form than segments are. */
  readonly converts: boolean
  /** The numbers are upper bounds: what the chosen images need shows only when the file is converted. */
  readonly estimated: boolean
}

export type ImportOutput = ImportMade | ImportPlan

/** A tree of a million files is some 200 MiB; more than this is hostile. */
const MAX_METADATA_BYTES = 1 << 30

export const importTask: ChildTask<ImportInput, ImportOutput> = { name: 'import', run: runImport }

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
  const chosen = choose(source, input.select, input.purpose)
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

  // How much it will be shows only when it is converted; a group that is full is found out before.
  const full = withinQuota(input.quota, HEADER_BYTES)
  if (!full.ok) return full
  const { dir, wimlibPath, reserveBytes, path: sourcePath } = input
  const contentBytes = chosen.value.reduce((sum, image) => sum + image.facts.totalBytes, 0)
  const references = input.heldSegments
    .filter(({ verified, damaged }) => !verified && damaged.length === 0)
    .map((segment) => segment.path)
  const conversion = {
    source,
    sourcePath,
    images: indexes,
    held: around.held,
    references,
    dir,
    contentBytes,
    reserveBytes,
    wimlibPath,
  }
  if (input.dryRun) {
    const enough = hasConversionSpace(conversion)
    return enough.ok ? ok(estimate(source, chosen.value, around.held)) : enough
  }
  report.step('convert')
  const converted = convert(conversion, report)
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

/** What is damaged is as good as absent: the import brings it anew. */
function tablesOf(segments: ImportInput['heldSegments']): readonly BlobTable[] {
  return segments
    .filter(({ damaged }) => !damaged.includes(WHOLE_FILE))
    .map(({ path, damaged }) => intactTable(readSegmentTable(path), new Set(damaged)))
}

/** Sizes as they are uncompressed: recompression never makes more of them. */
function estimate(source: Source, images: readonly Chosen[], held: readonly BlobTable[]): ImportPlan {
  const { table, index } = source
  const indexes = held.map(indexBlobs)
  let [blobs, newBlobs] = [0, 0]
  let storedBytes = HEADER_BYTES + images.reduce((sum, image) => sum + image.element.length * 2 + 64, 256)
  for (const { sourceIndex } of images) storedBytes += contentBytesAt(table, source.metadata[sourceIndex - 1] ?? -1)
  for (let i = 0; i < table.count; i += 1) {
    if (isMetadata(table, i) || isSolidMark(table, i) || index.find(table.sha1, i * SHA1_BYTES) !== i) continue
    blobs += 1
    if (indexes.some((known) => known.find(table.sha1, i * SHA1_BYTES) >= 0)) continue
    newBlobs += 1
    storedBytes += contentBytesAt(table, i) + BLOB_ENTRY_BYTES
  }
  return { kind: 'plan', images, blobs, newBlobs, storedBytes, converts: true, estimated: true }
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
  const layout = layOutSegment(source.table, plan, { rpFix: around.rpFix, guid: randomBytes(16) })
  const { sizeBytes } = layout.frame
  const allowed = withinQuota(input.quota, sizeBytes)
  if (!allowed.ok) return allowed
  const enough = hasSpace(input.dir, sizeBytes, input.reserveBytes)
  if (!enough.ok) return enough
  const blobs = unionNeeds(wanted.map(({ needs }) => needs)).count
  const newBlobs = plan.entries.length
  if (input.dryRun)
    return ok({ kind: 'plan', images, blobs, newBlobs, storedBytes: sizeBytes, converts: false, estimated: false })

  report.step(input.skipVerify ? 'copy' : 'copy and verify')
  const segmentPath = join(input.dir, 'segment.wim')
  const fds = source.parts.map((part) => part.fd)
  const { wimlibPath } = input
  const bad = await writeNew({ layout, fds, path: segmentPath, verify: !input.skipVerify, wimlibPath }, report)
  if (bad.length > 0) return corrupt(bad)
  let blobBytes = 0
  for (const entry of plan.entries) blobBytes += source.table.sizeInWim[entry] ?? 0
  return ok({
    kind: 'made',
    segmentPath,
    sizeBytes,
    blobBytes,
    rpFix: around.rpFix,
    images: images.map((image, i) => ({
      sourceIndex: image.sourceIndex,
      names: image.names,
      facts: image.facts,
      element: image.element,
      needs: encodeNeeds(wanted[i]?.needs ?? { count: 0, sha1: new Uint8Array(0), refCount: new Uint32Array(0) }),
      treeSha1: Buffer.from(sha1At(source.table, wanted[i]?.metadata ?? -1)).toString('hex'),
      bootable: image.bootable,
      viewBytes: wanted[i] ? viewBytes(wanted[i], places, source) : 0,
    })),
    blobs,
    newBlobs,
  })
}

/** The mark that stands for a solid resource as a whole says this for its size. Source: wimlib src/resource.h. */
const SOLID_MARK_BYTES = 2 ** 32

function isSolidMark(table: BlobTable, i: number): boolean {
  return ((table.flags[i] ?? 0) & RESOURCE_FLAG.solid) !== 0 && table.size[i] === SOLID_MARK_BYTES
}

/** Uncompressed. A content inside a solid resource has its size where others have what they take in the file. */
function contentBytesAt(table: BlobTable, i: number): number {
  const isSolid = ((table.flags[i] ?? 0) & RESOURCE_FLAG.solid) !== 0
  return (isSolid ? table.sizeInWim[i] : table.size[i]) ?? 0
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

function corrupt(bad: readonly string[]): Result<never> {
  return refuse(
    'corrupt',
    `${bad.length} file contents do not match their SHA-1: ${bad.slice(0, 3).join(', ')}`,
    'Download or export the file again.',
    { bad: bad.length },
  )
}
