/**
 * The metadata resource of an image: security descriptors, then the tree of directory entries.
 *
 * ```
 * security data   +0 u32 total length, +4 u32 count, +8 u64 size of each descriptor, then the descriptors
 * dentry, 8-aligned; the children of a directory follow each other and end with a length of 0
 *   +0x00  8  length of this entry without its streams; 0 ends a directory
 *   +0x08  4  attributes                 +0x0c 4 security id
 *   +0x10  8  offset of the children, 0 = none
 *   +0x18 16  unused                     +0x28 3 x 8 times
 *   +0x40 20  SHA-1 of the unnamed data stream, zeros when empty
 *   +0x54  4  unknown                    +0x58 8 hard link group, or reparse tag
 *   +0x60  2  number of extra streams    +0x62 2 short name bytes    +0x64 2 name bytes
 *   +0x66     name UTF-16LE + NUL, short name UTF-16LE + NUL, then tagged items up to the length
 * stream, 8-aligned, after its dentry
 *   +0x00  8  length    +0x10 20 SHA-1    +0x24 2 name bytes    +0x26 name
 * ```
 * Source: wimlib src/dentry.c, src/inode.c, src/security.c. Stricter than wimlib in three things, because what comes in
 * here is served to machines that trust it: a tree whose entries are shared or cyclic, a name that is `.`, `..` or holds
 * a separator or NUL, and two equal names in one directory are refused (wimlib skips such entries with a warning).
 *
 * No byte belongs to two entries, so time and memory grow with the size of the resource whatever it claims.
 */
import { Reader, Short } from '../base/bytes.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { type Needs, NeedsBuilder } from './needs.ts'

export type Tree = {
  readonly needs: Needs
  readonly fileCount: number
  readonly directoryCount: number
}

const DENTRY_BYTES = 0x66
const STREAM_BYTES = 0x26
const ATTRIBUTE_DIRECTORY = 0x10

/** A path ends at 32,767 UTF-16 units (Windows' own limit), so no tree is deeper than half of that. */
const MAX_DEPTH = 16_384
/** How much of a path a message quotes. */
const MAX_QUOTED_CHARS = 200

class BadTree extends Error {}

/** A directory on the way down; its path is only made for a message. */
type Directory = { readonly name: string; readonly parent: Directory | undefined; readonly depth: number }

function pathOf(directory: Directory | undefined): string {
  let path = ''
  for (let at = directory; at?.parent && path.length < MAX_QUOTED_CHARS; at = at.parent) path = `/${at.name}${path}`
  return path.length > MAX_QUOTED_CHARS ? `…${path.slice(-MAX_QUOTED_CHARS)}` : path || '/'
}

function align8(at: number): number {
  return Math.ceil(at / 8) * 8
}

function isZero(hash: Uint8Array): boolean {
  return hash.every((byte) => byte === 0)
}

function readName(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf16le')
}

function checkName(name: string, directory: Directory | undefined): void {
  if (name === '.' || name === '..') throw new BadTree(`an entry in "${pathOf(directory)}" is named "${name}"`)
  if (/[/\\\0]/.test(name))
    throw new BadTree(
      `the name ${JSON.stringify(name.slice(0, MAX_QUOTED_CHARS))} in "${pathOf(directory)}" holds a separator or NUL`,
    )
}

/** Walks the whole tree once. `bytes` is the uncompressed metadata resource. */
export function readTree(bytes: Uint8Array): Result<Tree> {
  const hint = 'The image is damaged or was made to harm. Export it again from its source.'
  try {
    return ok(walk(bytes))
  } catch (error) {
    if (error instanceof BadTree)
      return refuse('bad-metadata', `the directory tree is not valid: ${error.message}`, hint)
    if (error instanceof Short)
      return refuse('bad-metadata', `the directory tree ends too early: ${error.message}`, hint)
    throw error
  }
}

function walk(bytes: Uint8Array): Tree {
  const securityBytes = new Reader(bytes).u32le()
  // wimlib: a total length of 0 means 8, the two fields themselves.
  const root = align8(Math.max(8, securityBytes))
  const needs = new NeedsBuilder()
  /** For each 8 bytes whether an entry has taken them. */
  const taken = new Uint8Array(Math.ceil(bytes.byteLength / 8))
  let fileCount = 0
  let directoryCount = 0

  // A work list instead of recursion: a tree may be 10,000 deep.
  const pending: { at: number; directory: Directory }[] = []
  const enter = (at: number, directory: Directory): void => {
    if (at === 0) return
    if (at % 8 !== 0) throw new BadTree(`the children of "${pathOf(directory)}" begin at ${at}, which is not aligned`)
    if (directory.depth > MAX_DEPTH) throw new BadTree(`it is more than ${MAX_DEPTH} directories deep`)
    pending.push({ at, directory })
  }
  const take = (from: number, to: number, directory: Directory | undefined): void => {
    for (let slot = from / 8; slot < to / 8; slot += 1) {
      if (taken[slot] === 1)
        throw new BadTree(
          `the entries of "${pathOf(directory)}" are another directory's too (a cycle or a shared branch)`,
        )
      taken[slot] = 1
    }
  }

  const readEntry = (at: number, directory: Directory | undefined): { next: number; name: string } | undefined => {
    const r = new Reader(bytes, at)
    const length = r.u64le()
    if (length <= 8) return undefined
    if (length < DENTRY_BYTES || at + length > bytes.byteLength)
      throw new BadTree(`an entry in "${pathOf(directory)}" at ${at} claims ${length} bytes`)
    const attributes = r.u32le()
    r.skip(4)
    const children = r.u64le()
    r.skip(40)
    const hash = r.bytes(20)
    r.skip(12)
    const extraStreams = r.u16le()
    const shortNameBytes = r.u16le()
    const nameBytes = r.u16le()
    if (nameBytes % 2 !== 0 || shortNameBytes % 2 !== 0)
      throw new BadTree(`a name in "${pathOf(directory)}" has half a character`)
    const namesEnd = DENTRY_BYTES + (nameBytes ? nameBytes + 2 : 0) + (shortNameBytes ? shortNameBytes + 2 : 0)
    if (namesEnd > length) throw new BadTree(`a name in "${pathOf(directory)}" is longer than its entry`)
    const name = readName(r.bytes(nameBytes))
    checkName(name, directory)
    if (nameBytes) r.skip(2)
    if (shortNameBytes) checkName(readName(r.bytes(shortNameBytes)), directory)

    if (!isZero(hash)) needs.add(hash)
    let next = at + align8(length)
    for (let i = 0; i < extraStreams; i += 1) {
      const s = new Reader(bytes, next)
      const streamLength = s.u64le()
      if (streamLength < STREAM_BYTES) throw new BadTree(`a stream of "${name}" claims ${streamLength} bytes`)
      s.skip(8)
      const streamHash = s.bytes(20)
      const streamNameBytes = s.u16le()
      s.skip(streamNameBytes)
      if (STREAM_BYTES + streamNameBytes > streamLength)
        throw new BadTree(`a stream name of "${name}" is longer than its entry`)
      if (!isZero(streamHash)) needs.add(streamHash)
      next += align8(streamLength)
    }
    take(at, Math.min(next, bytes.byteLength), directory)
    if (attributes & ATTRIBUTE_DIRECTORY) {
      directoryCount += 1
      enter(children, { name, parent: directory, depth: directory ? directory.depth + 1 : 0 })
    } else {
      fileCount += 1
    }
    return { next, name }
  }

  const rootEntry = readEntry(root, undefined)
  // An image that was made empty has no root at all.
  if (rootEntry !== undefined && rootEntry.name !== '') throw new BadTree('the root directory has a name')

  for (let work = pending.pop(); work !== undefined; work = pending.pop()) {
    const names = new Set<string>()
    for (let at = work.at; ; ) {
      const entry = readEntry(at, work.directory)
      if (entry === undefined) break
      if (entry.name === '') throw new BadTree(`an entry in "${pathOf(work.directory)}" has no name`)
      // Names that differ in case only are allowed: NTFS keeps both, and Windows images of Linux subsystems have them.
      if (names.has(entry.name)) throw new BadTree(`the name "${entry.name}" is twice in "${pathOf(work.directory)}"`)
      names.add(entry.name)
      at = entry.next
    }
  }
  return { needs: needs.finish(), fileCount, directoryCount }
}
