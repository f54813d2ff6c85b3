/** What a check of one segment does in the child process: the file as a whole, its tables, then every resource in it. */
import { closeSync, fstatSync, openSync } from 'node:fs'
import { reasonOf } from '../../base/log.ts'
import { Fault } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { ChildReport, ChildTask } from '../../jobs/child.ts'
import { type BlobTable, decodeBlobTable, sha1At } from '../../wim/blob-table.ts'
import { decodeHeader, HEADER_BYTES, RESOURCE_FLAG } from '../../wim/header.ts'
import { BadResource, readExactly } from '../../wim/resource.ts'
import { GROUP_FORMAT } from '../../wim/source.ts'
import { startVerification } from '../store/verify.ts'

export type ScrubInput = {
  readonly path: string
  /** As the row says. */
  readonly sizeBytes: number
  readonly wimlibPath: string | undefined
}

export type ScrubOutput =
  /** The file as a whole: nothing in it can be found. */
  | { readonly kind: 'whole'; readonly why: 'missing' | 'size' | 'unreadable' | 'tables'; readonly reason: string }
  /** SHA-1s of what does not match, 40 hex digits each. */
  | { readonly kind: 'contents'; readonly bad: readonly string[] }

export const scrubTask: ChildTask<ScrubInput, ScrubOutput> = { name: 'scrub', run: runScrub }

const PROGRESS_MS = 200
/** The chunk table of a content of half a terabyte. A garbled entry that claims more must not make us allocate for it. */
const MAX_CHUNK_TABLE_BYTES = 128 << 20

async function runScrub(input: ScrubInput, report: ChildReport): Promise<Result<ScrubOutput>> {
  let fd: number
  try {
    fd = openSync(input.path, 'r')
  } catch (error) {
    const isGone = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    return ok({ kind: 'whole', why: isGone ? 'missing' : 'unreadable', reason: reasonOf(error) })
  }
  try {
    const { size } = fstatSync(fd)
    if (size !== input.sizeBytes)
      return ok({ kind: 'whole', why: 'size', reason: `${size} bytes, ${input.sizeBytes} were written` })
    let table: BlobTable
    try {
      table = readTable(fd, size)
    } catch (error) {
      if (error instanceof BadResource) return ok({ kind: 'whole', why: 'tables', reason: error.message })
      if (error instanceof Fault) return ok({ kind: 'whole', why: 'unreadable', reason: reasonOf(error) })
      throw error
    }
    return ok({ kind: 'contents', bad: await badContents(fd, size, table, input, report) })
  } finally {
    closeSync(fd)
  }
}

function readTable(fd: number, fileBytes: number): BlobTable {
  const head = new Uint8Array(HEADER_BYTES)
  readExactly(fd, head, 0)
  const header = decodeHeader(head)
  if (!header.ok) throw new BadResource(header.error.message)
  const { compression, chunkSize, blobTable } = header.value
  if (compression !== GROUP_FORMAT.compression || chunkSize !== GROUP_FORMAT.chunkSize)
    throw new BadResource('the header is not that of a segment')
  if (blobTable.offset + blobTable.sizeInWim > fileBytes) throw new BadResource('the blob table lies beyond the file')
  const bytes = new Uint8Array(blobTable.sizeInWim)
  readExactly(fd, bytes, blobTable.offset)
  const table = decodeBlobTable(bytes)
  if (!table.ok) throw new BadResource(table.error.message)
  return table.value
}

/** False for entries that no reader should try: they point outside, or claim what the file cannot hold. */
function isPlausible(table: BlobTable, i: number, fileBytes: number): boolean {
  const sizeInWim = table.sizeInWim[i] ?? 0
  const size = table.size[i] ?? 0
  const flags = table.flags[i] ?? 0
  if ((table.offset[i] ?? 0) + sizeInWim > fileBytes || flags & RESOURCE_FLAG.solid) return false
  if ((flags & RESOURCE_FLAG.compressed) === 0) return size === sizeInWim
  return Number.isSafeInteger(size) && Math.ceil(size / GROUP_FORMAT.chunkSize) * 8 <= MAX_CHUNK_TABLE_BYTES
}

async function badContents(
  fd: number,
  fileBytes: number,
  table: BlobTable,
  input: ScrubInput,
  report: ChildReport,
): Promise<string[]> {
  const all = Int32Array.from({ length: table.count }, (_, i) => i)
  const entries = all
    .filter((i) => isPlausible(table, i, fileBytes))
    .sort((a, b) => (table.offset[a] ?? 0) - (table.offset[b] ?? 0))
  const bad = all.filter((i) => !isPlausible(table, i, fileBytes))
  const verification = startVerification(table, entries, {
    fds: [fd],
    wimlibPath: input.wimlibPath,
    unreadableIsBad: true,
  })
  // The whole run is counted in bytes of files, the work on one in bytes of contents.
  const tell = (): void =>
    report.progress(
      Math.floor((fileBytes * verification.doneBytes()) / Math.max(1, verification.totalBytes)),
      fileBytes,
    )
  const timer = setInterval(tell, PROGRESS_MS)
  try {
    const found = await verification.bad
    return [...new Set([...bad, ...found].map((i) => Buffer.from(sha1At(table, i)).toString('hex')))]
  } finally {
    clearInterval(timer)
    await verification.stop()
  }
}
