/**
 * Reading of an open content by position. Two ways: `readNow` takes what the page cache holds and never sleeps, so it
 * may run on the main thread; `readFully` waits for the device in Bun's thread pool. Neither maps files: a mapped page
 * that cannot be read ends the process (SIGBUS), a system call says EIO.
 */
import { read, readlinkSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { preadNow } from '../../ffi/libc/files.ts'
import type { OpenContent, Piece } from '../base/content.ts'
import { Fault } from '../base/refusal.ts'

/** A file under a content gives less than the content promised. It fails whoever reads that part, nobody else. */
export class ContentFault extends Fault {
  readonly problem: 'unreadable' | 'truncated'
  readonly file: string
  /** Where in the file. */
  readonly offset: number
  constructor(problem: 'unreadable' | 'truncated', fd: number, offset: number, cause?: unknown) {
    const file = fileOf(fd)
    super(`${file} is ${problem} at byte ${offset}`, {
      hint:
        problem === 'truncated'
          ? 'Something outside the appliance shortened the file: restore it from a backup.'
          : 'The disk under the file fails: see the kernel log, then restore the file from a backup.',
      cause,
    })
    this.problem = problem
    this.file = file
    this.offset = offset
  }
}

/** The name behind a descriptor, for people: proc_pid_fd(5); ends in ` (deleted)` when it has none any more. */
function fileOf(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return `descriptor ${fd}`
  }
}

/** The index of the piece that holds byte `at` of the content; `pieces` are sorted and touch each other. */
export function pieceIndexAt(pieces: readonly Piece[], at: number): number {
  let low = 0
  let high = pieces.length - 1
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if ((pieces[middle]?.at ?? Number.POSITIVE_INFINITY) <= at) low = middle
    else high = middle - 1
  }
  return low
}

/**
 * Fills `target` with the bytes from `at` on, as far as memory holds them. Returns how many were copied, which may be
 * fewer than asked; 0 at the end of the content; -1 when the first byte cannot be had without waiting (or at all:
 * `readFully` tells).
 */
export function readNow(open: OpenContent, at: number, target: Uint8Array): number {
  const { pieces } = open
  const wanted = Math.min(target.byteLength, open.sizeBytes - at)
  let done = 0
  for (let index = pieceIndexAt(pieces, at); done < wanted; index += 1) {
    const piece = pieces[index]
    if (!piece) break
    const skip = at + done - piece.at
    const length = Math.min(piece.length - skip, wanted - done)
    if (length <= 0) continue
    if ('bytes' in piece.source) {
      target.set(piece.source.bytes.subarray(skip, skip + length), done)
      done += length
      continue
    }
    const got = preadNow(piece.source.fd, piece.source.offset + skip, target, done, done + length)
    if (got > 0) done += got
    if (got < length) break
  }
  return done > 0 || wanted <= 0 ? done : -1
}

/**
 * How many reads may wait for a device at once. Bun's pool has one thread per core and everything asynchronous on files
 * shares it: with all of them asleep on one slow disk even a `stat` elsewhere waits. One thread stays free for the rest.
 */
const COLD_READS = Math.max(1, availableParallelism() - 1)
let coldReads = 0
const coldQueue: (() => void)[] = []

async function inColdTurn<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  if (coldReads >= COLD_READS) await new Promise<void>((resolve) => coldQueue.push(resolve))
  else coldReads += 1
  try {
    signal?.throwIfAborted()
    return await work()
  } finally {
    // The place passes straight to the next in line, so that nobody overtakes.
    const next = coldQueue.shift()
    if (next) next()
    else coldReads -= 1
  }
}

/** One pread(2) off the main thread: the bytes read, at least one. */
function preadWaiting(fd: number, offset: number, target: Uint8Array, from: number, length: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, target, from, length, offset, (error, got) => {
      if (error) reject(new ContentFault('unreadable', fd, offset, error))
      else if (got <= 0) reject(new ContentFault('truncated', fd, offset))
      else resolve(got)
    })
  })
}

/**
 * Fills `target` wholly with the bytes from `at` on; cold parts are read in the thread pool. Rejects with
 * `ContentFault` when a file cannot be read or is too short, with the signal's reason when aborted (a read under way
 * is waited for: `target` is not written after the promise has settled), with RangeError beyond the content.
 */
export async function readFully(
  open: OpenContent,
  at: number,
  target: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  if (at < 0 || at + target.byteLength > open.sizeBytes) {
    throw new RangeError(`[${at}, ${at + target.byteLength}) of a content of ${open.sizeBytes} bytes`)
  }
  for (let done = 0; done < target.byteLength; ) {
    signal?.throwIfAborted()
    const now = readNow(open, at + done, target.subarray(done))
    if (now > 0) {
      done += now
      continue
    }
    const piece = open.pieces[pieceIndexAt(open.pieces, at + done)]
    if (!piece || 'bytes' in piece.source) throw new RangeError(`no piece holds byte ${at + done}`)
    const skip = at + done - piece.at
    const length = Math.min(piece.length - skip, target.byteLength - done)
    const { fd, offset } = piece.source
    const from = done
    done += await inColdTurn(signal, () => preadWaiting(fd, offset + skip, target, from, length))
  }
}
