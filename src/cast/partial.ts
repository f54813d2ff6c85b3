/**
 * A download in progress: `<out>.part`, and beside it `<out>.wimcast`, which says what of it is there. The second
 * is only a hint: after a power cut it may say more than the disk holds, so whoever resumes hashes every chunk.
 *
 *     0  4  "WCR1"
 *     4 32  root of the manifest
 *    36  n  the set of symbols, 16 bytes a block, as in a report
 *
 * The part is locked while it is open (flock(2)), and the second file is there before the first byte is: a part without
 * it is not ours and is left alone.
 */
import { constants } from 'node:fs'
import { type FileHandle, open, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ERRNO } from '../../ffi/libc/errno.ts'
import { c, errno } from '../../ffi/libc/symbols.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { blocksOfChunk, chunkLength, type Geometry } from './geometry.ts'
import { hashOfChunk, type Manifest, sha256 } from './manifest.ts'
import { BITMAP_BYTES, BLOCK_SYMBOLS } from './packet.ts'
import { bytesForSymbols } from './wanted.ts'

const MAGIC = Buffer.from('WCR1', 'latin1')
const ROOT_END = 36
/** LOCK_EX | LOCK_NB of flock(2). */
const LOCK_EXCLUSIVE_NOW = 2 | 4

export type Partial = AsyncDisposable & {
  readonly fd: number
  /** Shared with the receiving thread. */
  readonly memory: SharedArrayBuffer
  readonly resumed: boolean
  readonly holds: (chunk: number) => boolean
  /** True when the chunk's bytes are those of the manifest. Reads it once. */
  readonly verify: (chunk: number) => Promise<boolean>
  readonly write: (chunk: number, bytes: Uint8Array) => Promise<void>
  readonly forget: (chunk: number) => void
  /** Saves what is held, for a resume after a kill. That it fails costs the resume, not the download. */
  readonly save: () => Promise<void>
  /** All is there and verified: onto the disk, and into its name. A file of that name goes only when it may. */
  readonly finish: (ifExists: 'fail' | 'overwrite') => Promise<Result<void>>
}

type Paths = { readonly out: string; readonly part: string; readonly sidecar: string }

/** What an earlier run of ours left: the set of symbols, empty when there is none that fits. */
async function held(sidecar: string, manifest: Manifest): Promise<Result<Uint8Array | undefined>> {
  const bytes = await readFile(sidecar).catch(() => undefined)
  if (bytes === undefined || bytes.byteLength === 0) return ok(undefined)
  if (!bytes.subarray(0, 4).equals(MAGIC)) return foreign(sidecar)
  if (!bytes.subarray(4, ROOT_END).equals(manifest.root)) {
    const hint = `Remove ${sidecar} and the .part file beside it to begin anew.`
    return refuse('wrong-content', `${sidecar} belongs to another image`, hint)
  }
  const bitmap = bytes.subarray(ROOT_END)
  return ok(bitmap.byteLength === bytesForSymbols(manifest.geometry.symbolCount) ? bitmap : new Uint8Array(0))
}

function foreign(path: string) {
  return refuse('exists', `"${path}" is there already, and not from here`, 'Remove it, or name another file to make.')
}

/** Throws what the file system says: no such folder, no right to write there. */
export async function openPartial(out: string, manifest: Manifest): Promise<Result<Partial>> {
  const paths: Paths = { out, part: `${out}.part`, sidecar: `${out}.wimcast` }
  const handle = await open(paths.part, constants.O_RDWR | constants.O_CREAT, 0o666)
  let result: Result<Partial> | undefined
  try {
    if (!(await isOurs(handle, paths.part))) {
      result = refuse('in-use', `another receiver writes "${paths.part}"`, 'Wait for its end, or name another file.')
      return result
    }
    const sizeBefore = (await handle.stat()).size
    result = await openLocked(handle, manifest, paths)
    if (!result.ok && sizeBefore === 0) await rm(paths.part, { force: true })
    return result
  } finally {
    if (result?.ok !== true) await handle.close()
  }
}

/** Locks it. False too when who had it finished meanwhile: what is open then is a result, by another name. */
async function isOurs(handle: FileHandle, part: string): Promise<boolean> {
  // A file system that knows no locks gives none.
  if (c.flock(handle.fd, LOCK_EXCLUSIVE_NOW) !== 0 && errno() === ERRNO.EAGAIN) return false
  const named = await stat(part).catch(() => undefined)
  return named?.ino === (await handle.stat()).ino
}

async function openLocked(handle: FileHandle, manifest: Manifest, paths: Paths): Promise<Result<Partial>> {
  const { geometry } = manifest
  const { part, sidecar } = paths
  const before = await handle.stat()
  const earlier = await held(sidecar, manifest)
  if (!earlier.ok) return earlier
  if (earlier.value === undefined && before.size > 0) return foreign(part)
  const free = await statfs(dirname(part))
  const freeBytes = free.bavail * free.bsize
  // A part has holes; an allocated block counts 512 bytes (stat(2)).
  const neededBytes = geometry.sizeBytes - before.blocks * 512
  if (freeBytes < neededBytes) {
    const message = `${dirname(part)} has ${freeBytes} bytes free, ${neededBytes} are needed`
    return refuse('no-space', message, 'Free some space, or choose another place.')
  }
  const memory = new SharedArrayBuffer(bytesForSymbols(geometry.symbolCount))
  const resumed = before.size > 0 && earlier.value !== undefined && earlier.value.byteLength > 0
  if (resumed && earlier.value) new Uint8Array(memory).set(earlier.value)
  await saveHeld(paths, manifest, memory)
  await handle.truncate(geometry.sizeBytes)
  return ok(partialOver(handle, memory, resumed, manifest, paths))
}

async function saveHeld({ sidecar }: Paths, manifest: Manifest, memory: SharedArrayBuffer): Promise<void> {
  const temporary = `${sidecar}.new`
  try {
    await writeFile(temporary, Buffer.concat([MAGIC, manifest.root, new Uint8Array(memory)]))
    await rename(temporary, sidecar)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
}

function partialOver(
  handle: FileHandle,
  memory: SharedArrayBuffer,
  resumed: boolean,
  manifest: Manifest,
  paths: Paths,
): Partial {
  const { geometry } = manifest
  const buffer = new Uint8Array(geometry.chunkBytes)
  const bits = new Uint8Array(memory)
  return {
    fd: handle.fd,
    memory,
    resumed,
    holds(chunk) {
      const { from, to } = symbolsOfChunk(geometry, chunk)
      for (let symbol = from; symbol < to; symbol += 1) {
        if (((bits[symbol >>> 3] ?? 0) & (1 << (symbol & 7))) === 0) return false
      }
      return true
    },
    async verify(chunk) {
      const bytes = buffer.subarray(0, chunkLength(geometry, chunk))
      let done = 0
      while (done < bytes.byteLength) {
        const position = chunk * geometry.chunkBytes + done
        const { bytesRead } = await handle.read(bytes, done, bytes.byteLength - done, position)
        if (bytesRead === 0) return false
        done += bytesRead
      }
      return Buffer.from(sha256(bytes)).equals(hashOfChunk(manifest, chunk))
    },
    async write(chunk, bytes) {
      let done = 0
      while (done < bytes.byteLength) {
        const position = chunk * geometry.chunkBytes + done
        const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position)
        done += bytesWritten
      }
      // A chunk begins with a whole byte of the set; the last chunk may end within one.
      const { from, to } = symbolsOfChunk(geometry, chunk)
      bits.fill(0xff, from >>> 3, to >>> 3)
      if ((to & 7) !== 0) bits[to >>> 3] = (1 << (to & 7)) - 1
    },
    forget(chunk) {
      const { from, to } = blocksOfChunk(geometry, chunk)
      bits.fill(0, from * BITMAP_BYTES, to * BITMAP_BYTES)
    },
    async save() {
      await saveHeld(paths, manifest, memory).catch(() => {})
    },
    async finish(ifExists) {
      await handle.sync()
      if (ifExists === 'fail' && (await stat(paths.out).catch(() => undefined))) {
        const hint = `What was received is whole, in ${paths.part}: rename it, or receive again with another name.`
        return refuse('exists', `"${paths.out}" was made by somebody else meanwhile`, hint)
      }
      await rename(paths.part, paths.out)
      await rm(paths.sidecar, { force: true })
      const directory = await open(dirname(paths.out), 'r')
      try {
        await directory.sync()
      } finally {
        await directory.close()
      }
      return ok(undefined)
    },
    async [Symbol.asyncDispose]() {
      await handle.close()
    },
  }
}

function symbolsOfChunk(geometry: Geometry, chunk: number): { readonly from: number; readonly to: number } {
  const { from, to } = blocksOfChunk(geometry, chunk)
  return { from: from * BLOCK_SYMBOLS, to: Math.min(geometry.symbolCount, to * BLOCK_SYMBOLS) }
}
