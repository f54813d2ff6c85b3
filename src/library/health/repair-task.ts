/**
 * What a repair does in the child process: look for good copies of what a group lacks, and write them into one new
 * segment. Every copy is checked where it lies, before it is taken, and once more in the new segment.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { isDiskFull } from '../../base/disk-full.ts'
import { Fault, refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { ChildReport, ChildTask } from '../../jobs/child.ts'
import { type BlobTable, isMetadata, SHA1_BYTES, Sha1Index, sha1At } from '../../wim/blob-table.ts'
import { RESOURCE_FLAG } from '../../wim/header.ts'
import { BadResource } from '../../wim/resource.ts'
import { layOutSegment } from '../../wim/segment.ts'
import { concatTables, openSource } from '../../wim/source.ts'
import { diskFilledUp, hasSpace } from '../store/disk-space.ts'
import { readSegmentTable } from '../store/segment-table.ts'
import { startVerification } from '../store/verify.ts'
import { writeNew } from '../store/write-new.ts'
import { convert } from '../transfer/convert.ts'
import { intactTable, packSha1s, WHOLE_FILE } from './damage.ts'

export type RepairPlace = { readonly path: string; readonly damage: ReadonlySet<string> }

export type RepairInput = {
  /** File contents that are wanted: SHA-1s side by side. */
  readonly blobs: Uint8Array
  /** Trees that are wanted: SHA-1 in hex, and the IMAGE element. */
  readonly trees: readonly { readonly sha1: string; readonly element: string }[]
  /** Segments of this group and of others, the nearest first. */
  readonly places: readonly RepairPlace[]
  /** The segments of this group: a source that has to be converted is converted without what they hold. */
  readonly held: readonly RepairPlace[]
  /** A WIM of any form. */
  readonly sourcePath: string | undefined
  readonly rpFix: boolean
  readonly dir: string
  readonly wimlibPath: string | undefined
  /** Look, and write nothing. */
  readonly dryRun: boolean
}

export type RepairOutput = {
  /** Where copies were found: the file, how many contents (trees with them), and their bytes. */
  readonly found: readonly { readonly path: string; readonly contents: number; readonly bytes: number }[]
  /** What was found nowhere. */
  readonly lacking: number
  /** In the order of the new segment's images. */
  readonly trees: readonly string[]
  /** Absent when there is nothing to write. */
  readonly segment?: { readonly path: string; readonly sizeBytes: number; readonly blobBytes: number }
}

export const repairTask: ChildTask<RepairInput, RepairOutput> = { name: 'repair', run: runRepair }

async function runRepair(input: RepairInput, report: ChildReport): Promise<Result<RepairOutput>> {
  const opened: number[] = []
  try {
    return await repair(input, report, opened)
  } catch (error) {
    if (isDiskFull(error)) return diskFilledUp()
    if (error instanceof BadResource) return refuse('corrupt', error.message, 'Take another file.')
    throw error
  } finally {
    for (const fd of opened) closeSync(fd)
  }
}

/** What is wanted and not found yet, by SHA-1. */
class Wanted {
  readonly #blobs: Sha1Index
  readonly #trees: Sha1Index
  readonly #taken: { readonly blob: Uint8Array; readonly tree: Uint8Array }
  left: number

  constructor(input: Pick<RepairInput, 'blobs' | 'trees'>) {
    this.#blobs = new Sha1Index(input.blobs)
    this.#trees = new Sha1Index(packSha1s(input.trees.map(({ sha1 }) => sha1)))
    this.left = input.blobs.byteLength / SHA1_BYTES + input.trees.length
    this.#taken = {
      blob: new Uint8Array(input.blobs.byteLength / SHA1_BYTES),
      tree: new Uint8Array(input.trees.length),
    }
  }

  #find(table: BlobTable, entry: number): { readonly taken: Uint8Array; readonly i: number } | undefined {
    const isTree = isMetadata(table, entry)
    const i = (isTree ? this.#trees : this.#blobs).find(table.sha1, entry * SHA1_BYTES)
    return i < 0 ? undefined : { taken: isTree ? this.#taken.tree : this.#taken.blob, i }
  }

  has(table: BlobTable, entry: number): boolean {
    const found = this.#find(table, entry)
    return found !== undefined && found.taken[found.i] === 0
  }

  take(table: BlobTable, entry: number): void {
    const found = this.#find(table, entry)
    if (found?.taken[found.i] !== 0) return
    found.taken[found.i] = 1
    this.left -= 1
  }
}

type Found = {
  readonly path: string
  readonly fds: readonly number[]
  readonly table: BlobTable
  readonly entries: Int32Array
}

/** True when there was something. */
type Look = (path: string, table: BlobTable, fds: readonly number[]) => Promise<boolean>

async function repair(input: RepairInput, report: ChildReport, opened: number[]): Promise<Result<RepairOutput>> {
  const wanted = new Wanted(input)
  const found: Found[] = []
  const look: Look = async (path, table, fds) => {
    const entries = await goodEntries(table, fds, wanted, input.wimlibPath)
    if (entries.length > 0) found.push({ path, fds, table, entries })
    return entries.length > 0
  }

  report.step('look in the groups')
  for (const [i, { path, damage }] of input.places.entries()) {
    if (wanted.left === 0) break
    report.progress(i, input.places.length)
    const table = tableAt(path)
    if (!table) continue
    const fd = openSync(path, 'r')
    // A segment that is too short may still hold good copies: each is checked.
    const intact = damage.has(WHOLE_FILE) ? table : intactTable(table, damage)
    if (await look(path, intact, [fd])) opened.push(fd)
    else closeSync(fd)
  }
  if (wanted.left > 0 && input.sourcePath !== undefined) {
    report.step('look in the file')
    const looked = await lookInSource(input, input.sourcePath, report, opened, look)
    if (!looked.ok) return looked
  }
  return write(input, found, wanted.left, report)
}

function tableAt(path: string): BlobTable | undefined {
  try {
    return readSegmentTable(path)
  } catch (error) {
    // Missing, or damaged: that is why we are here.
    if (error instanceof Fault) return undefined
    throw error
  }
}

async function lookInSource(
  input: RepairInput,
  sourcePath: string,
  report: ChildReport,
  opened: number[],
  look: Look,
): Promise<Result<void>> {
  const source = openSource(sourcePath)
  if (!source.ok) return source
  using file = source.value
  if (file.notRaw === undefined) {
    const fds = file.parts.map(({ path }) => openSync(path, 'r'))
    opened.push(...fds)
    await look(sourcePath, file.table, fds)
    return ok(undefined)
  }
  report.step('convert')
  const held = input.held.flatMap(({ path, damage }) => {
    const table = damage.has(WHOLE_FILE) ? undefined : tableAt(path)
    return table ? [{ path, table: intactTable(table, damage) }] : []
  })
  const converted = convert(
    {
      source: file,
      sourcePath,
      images: file.document.images.map((_, i) => i + 1),
      held: held.map(({ table }) => table),
      references: held.map(({ path }) => path),
      dir: input.dir,
      wimlibPath: input.wimlibPath,
    },
    report,
  )
  if (!converted.ok) return converted
  const copy = openSource(converted.value)
  if (!copy.ok) return copy
  using made = copy.value
  const fd = openSync(converted.value, 'r')
  opened.push(fd)
  await look(sourcePath, made.table, [fd])
  return ok(undefined)
}

/** The entries that are wanted and right, in the order they lie; they count as found from now on. */
async function goodEntries(
  table: BlobTable,
  fds: readonly number[],
  wanted: Wanted,
  wimlibPath: string | undefined,
): Promise<Int32Array> {
  const sizes = fds.map((fd) => fstatSync(fd).size)
  const isInside = (i: number): boolean =>
    (table.offset[i] ?? 0) + (table.sizeInWim[i] ?? 0) <= (sizes[(table.part[i] ?? 1) - 1] ?? 0) &&
    ((table.flags[i] ?? 0) & RESOURCE_FLAG.solid) === 0
  const all = Int32Array.from({ length: table.count }, (_, i) => i)
  const candidates = all
    .filter((i) => wanted.has(table, i) && isInside(i))
    .sort((a, b) => (table.part[a] ?? 0) - (table.part[b] ?? 0) || (table.offset[a] ?? 0) - (table.offset[b] ?? 0))
  if (candidates.length === 0) return candidates
  const verification = startVerification(table, candidates, { fds, wimlibPath, unreadableIsBad: true })
  try {
    const bad = new Set(await verification.bad)
    return candidates.filter((i) => {
      // The same content may lie in one file twice: the first is taken.
      if (bad.has(i) || !wanted.has(table, i)) return false
      wanted.take(table, i)
      return true
    })
  } finally {
    await verification.stop()
  }
}

async function write(
  input: RepairInput,
  found: readonly Found[],
  lacking: number,
  report: ChildReport,
): Promise<Result<RepairOutput>> {
  let firstPart = 0
  const tables = found.map(({ table, fds }) => {
    const part = table.part.map((number) => number + firstPart)
    firstPart += fds.length
    return { ...table, part }
  })
  const table = concatTables(tables)
  const entries: number[] = []
  const images: { metadata: number; element: string }[] = []
  const trees: string[] = []
  const elements = new Map(input.trees.map(({ sha1, element }) => [sha1, element]))
  let start = 0
  for (const one of found) {
    for (const entry of one.entries) {
      if (isMetadata(one.table, entry)) {
        const sha1 = Buffer.from(sha1At(one.table, entry)).toString('hex')
        images.push({ metadata: start + entry, element: elements.get(sha1) ?? '' })
        trees.push(sha1)
      } else entries.push(start + entry)
    }
    start += one.table.count
  }
  const output: RepairOutput = {
    found: found.map((one) => ({
      path: one.path,
      contents: one.entries.length,
      bytes: one.entries.reduce((sum, entry) => sum + (one.table.sizeInWim[entry] ?? 0), 0),
    })),
    lacking,
    trees,
  }
  if (input.dryRun || entries.length + images.length === 0) return ok(output)

  const layout = layOutSegment(
    table,
    { images, entries: Int32Array.from(entries) },
    { rpFix: input.rpFix, guid: randomBytes(16) },
  )
  const { sizeBytes } = layout.frame
  const enough = hasSpace(input.dir, sizeBytes)
  if (!enough.ok) return enough
  report.step('copy and verify')
  const path = join(input.dir, 'segment.wim')
  const fds = found.flatMap((one) => one.fds)
  const bad = await writeNew({ layout, fds, path, verify: true, wimlibPath: input.wimlibPath }, report)
  if (bad.length > 0)
    return refuse(
      'corrupt',
      `${bad.length} contents were right where they lay and are wrong in the new segment: ${bad.slice(0, 3).join(', ')}`,
      'The disk or the memory of this machine fails: see the kernel log. The library is unchanged.',
      { bad: bad.length },
    )
  const blobBytes = entries.reduce((sum, entry) => sum + (table.sizeInWim[entry] ?? 0), 0)
  return ok({ ...output, segment: { path, sizeBytes, blobBytes } })
}
