/**
 * A WIM file as it comes in: header, blob table, XML document, and the parts of a split set, opened and bounds-checked.
 * Reads tables only, no file content. Blocks: for the child process that imports.
 */
import { closeSync, constants, fstatSync, openSync } from 'node:fs'
import { basename, dirname, extname, join } from 'node:path'
import { Fault, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import {
  type BlobTable,
  decodeBlobTable,
  emptyBlobTable,
  hasSolid,
  indexBlobs,
  metadataEntries,
  SHA1_BYTES,
  type Sha1Index,
} from './blob-table.ts'
import { decodeHeader, HEADER_BYTES, RESOURCE_FLAG, type ResourceHeader, type WimHeader } from './header.ts'
import { BadResource, readExactly } from './resource.ts'
import { decodeXml, MAX_XML_BYTES, type WimDocument } from './xml.ts'

export type Part = {
  readonly path: string
  readonly fd: number
  readonly sizeBytes: number
  readonly header: WimHeader
}

export type Source = Disposable & {
  /** In the order of the part numbers; one for a file that is not split. */
  readonly parts: readonly Part[]
  readonly header: WimHeader
  readonly document: WimDocument
  /** The tables of all parts, one after the other; `part` says whose an entry is. */
  readonly table: BlobTable
  readonly index: Sha1Index
  /** Entry in `table` of the metadata of image i+1. */
  readonly metadata: readonly number[]
  /** Why the resources cannot be copied as they are into a segment; undefined when they can. */
  readonly notRaw: 'pipable' | 'solid' | 'compression' | 'chunk-size' | undefined
}

/** What every segment of every group is: the most widely readable form, and one in which blobs can be served as they lie. */
export const GROUP_FORMAT = { compression: 'lzx', chunkSize: 32_768 } as const

/** 256 MiB of table: five million blobs. Larger ones are hostile. */
const MAX_TABLE_BYTES = 256 << 20

/** A header may claim 65,535 parts; a message names so many. */
const MAX_NAMED_PARTS = 10

const DAMAGED = 'The file is damaged or its download was cut short: fetch or export it again.'

function readResource(part: Part, resource: ResourceHeader, what: string, limitBytes: number): Result<Uint8Array> {
  if (resource.flags & (RESOURCE_FLAG.compressed | RESOURCE_FLAG.solid))
    return refuse(
      'unsupported',
      `the ${what} of "${basename(part.path)}" is compressed`,
      'Export the image again with wimlib-imagex.',
    )
  if (resource.offset + resource.sizeInWim > part.sizeBytes)
    return refuse('truncated', `"${basename(part.path)}" ends before its ${what}`, DAMAGED, {
      sizeBytes: part.sizeBytes,
    })
  if (resource.sizeInWim > limitBytes)
    return refuse('corrupt', `the ${what} claims ${resource.sizeInWim} bytes`, DAMAGED)
  const bytes = new Uint8Array(resource.sizeInWim)
  readExactly(part.fd, bytes, resource.offset)
  return ok(bytes)
}

function openPart(path: string): Result<Part> {
  let fd: number
  try {
    // Neither links nor pipes: a part lies beside its first one, and an import root must not lead out of itself.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      return refuse('not-found', `there is no file "${basename(path)}"`, 'Check the path.')
    if ((error as NodeJS.ErrnoException).code === 'ELOOP') return notRegular(path)
    throw new Fault(`"${basename(path)}" cannot be opened`, { hint: 'Check its permissions.', cause: error })
  }
  const facts = fstatSync(fd)
  if (!facts.isFile()) {
    closeSync(fd)
    return notRegular(path)
  }
  const sizeBytes = facts.size
  const bytes = new Uint8Array(Math.min(HEADER_BYTES, sizeBytes))
  readExactly(fd, bytes, 0)
  let header = decodeHeader(bytes)
  if (header.ok && header.value.pipable && sizeBytes >= 2 * HEADER_BYTES) {
    // A pipable file is written in one pass: only its second header, at the end, knows where the tables are.
    readExactly(fd, bytes, sizeBytes - HEADER_BYTES)
    header = decodeHeader(bytes)
    if (!header.ok) header = refuse('truncated', `"${basename(path)}" has no second header at its end`, DAMAGED)
  }
  if (!header.ok) {
    closeSync(fd)
    return header
  }
  return ok({ path, fd, sizeBytes, header: header.value })
}

function notRegular(path: string): Result<never> {
  return refuse('bad-path', `"${basename(path)}" is not a regular file`, 'Name the file itself, not a link to it.')
}

/** `install.swm` -> `install2.swm`, as DISM and wimlib name the parts of a split set. */
export function partName(first: string, part: number): string {
  const extension = extname(first)
  return part === 1 ? first : join(dirname(first), `${basename(first, extension)}${part}${extension}`)
}

function openParts(path: string, opened: Part[]): Result<void> {
  const first = openPart(path)
  if (!first.ok) return first
  opened.push(first.value)
  const { totalParts, part, guid } = first.value.header
  if (totalParts === 1) return ok(undefined)
  if (part !== 1)
    return refuse(
      'not-first-part',
      `"${basename(path)}" is part ${part} of ${totalParts}`,
      'Name the first part; the others are found beside it.',
    )
  const missing: string[] = []
  for (let number = 2; number <= totalParts; number += 1) {
    const partPath = partName(path, number)
    const next = openPart(partPath)
    if (!next.ok) {
      if (next.error.code !== 'not-found') return next
      missing.push(basename(partPath))
      continue
    }
    opened.push(next.value)
    if (
      !Buffer.from(next.value.header.guid).equals(guid) ||
      next.value.header.part !== number ||
      next.value.header.totalParts !== totalParts
    )
      return refuse(
        'wrong-part',
        `"${basename(partPath)}" is not part ${number} of this set`,
        'Put all parts of one split into one folder.',
      )
  }
  if (missing.length > 0)
    return refuse(
      'missing-part',
      `${missing.length} of ${totalParts} parts are missing: ${missing.slice(0, MAX_NAMED_PARTS).join(', ')}${missing.length > MAX_NAMED_PARTS ? ' …' : ''}`,
      'Put all parts of the set into one folder.',
      { missing: missing.slice(0, MAX_NAMED_PARTS) },
    )
  return ok(undefined)
}

/** One table over several files: the entries of each, one after the other; `part` stays as it is. */
export function concatTables(tables: readonly BlobTable[]): BlobTable {
  const [only] = tables
  if (tables.length === 1 && only) return only
  const all = emptyBlobTable(tables.reduce((sum, table) => sum + table.count, 0))
  let at = 0
  for (const table of tables) {
    all.sizeInWim.set(table.sizeInWim, at)
    all.offset.set(table.offset, at)
    all.size.set(table.size, at)
    all.flags.set(table.flags, at)
    all.part.set(table.part, at)
    all.refCount.set(table.refCount, at)
    all.sha1.set(table.sha1, at * SHA1_BYTES)
    at += table.count
  }
  return all
}

function readTables(parts: readonly Part[]): Result<BlobTable> {
  const tables: BlobTable[] = []
  for (const part of parts) {
    const bytes = readResource(part, part.header.blobTable, 'blob table', MAX_TABLE_BYTES)
    if (!bytes.ok) return bytes
    const table = decodeBlobTable(bytes.value)
    if (!table.ok) return table
    // Whatever part number an entry claims, it is in the part whose table lists it.
    table.value.part.fill(part.header.part)
    // Offsets inside a solid resource are checked by libwim, which converts such files.
    if (!hasSolid(table.value))
      for (let i = 0; i < table.value.count; i += 1)
        if ((table.value.offset[i] ?? 0) + (table.value.sizeInWim[i] ?? 0) > part.sizeBytes)
          return refuse('truncated', `"${basename(part.path)}" ends before its contents do`, DAMAGED, {
            sizeBytes: part.sizeBytes,
          })
    tables.push(table.value)
  }
  return ok(concatTables(tables))
}

/** Opens a WIM file by its path (a split set by its first part). Refuses what is damaged, foreign or encrypted. */
export function openSource(path: string): Result<Source> {
  const parts: Part[] = []
  const close = (): void => {
    for (const part of parts) closeSync(part.fd)
  }
  try {
    const source = readSource(path, parts)
    if (!source.ok) {
      close()
      return source
    }
    return ok({ ...source.value, [Symbol.dispose]: close })
  } catch (error) {
    close()
    if (error instanceof BadResource) return refuse('truncated', error.message, DAMAGED)
    throw error
  }
}

function readSource(path: string, parts: Part[]): Result<Omit<Source, typeof Symbol.dispose>> {
  const opened = openParts(path, parts)
  if (!opened.ok) return opened
  const [first] = parts
  if (!first) throw new Error('no part was opened')
  const { header } = first
  const xml = readResource(first, header.xml, 'XML document', MAX_XML_BYTES)
  if (!xml.ok) return xml
  const document = decodeXml(xml.value, header.imageCount)
  if (!document.ok) return document
  if (document.value.encrypted)
    return refuse(
      'encrypted',
      `"${basename(path)}" is an encrypted ESD`,
      'Decrypt it first; media made by the Media Creation Tool are not encrypted.',
    )
  const table = readTables(parts)
  if (!table.ok) return table
  const metadata = metadataEntries(table.value)
  if (metadata.length !== header.imageCount)
    return refuse('corrupt', `the file has ${header.imageCount} images but ${metadata.length} directory trees`, DAMAGED)
  const notRaw = header.pipable
    ? 'pipable'
    : hasSolid(table.value)
      ? 'solid'
      : header.compression !== GROUP_FORMAT.compression
        ? 'compression'
        : header.chunkSize !== GROUP_FORMAT.chunkSize
          ? 'chunk-size'
          : undefined
  return ok({
    parts,
    header,
    document: document.value,
    table: table.value,
    index: indexBlobs(table.value),
    metadata,
    notRaw,
  })
}
