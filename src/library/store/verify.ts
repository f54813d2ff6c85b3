/**
 * Checks contents against their SHA-1, on all cores. Runs in a child process (its workers are threads of that child):
 * a file that crashes the decompressor ends a job, not the appliance.
 */
import { availableParallelism } from 'node:os'
import { type BlobTable, SHA1_BYTES, sha1At } from '../../wim/blob-table.ts'

export type VerifyOrder = {
  readonly wimlibPath: string | undefined
  /** One for each part of a split set. */
  readonly fds: readonly number[]
  readonly sizeInWim: Float64Array
  readonly offset: Float64Array
  readonly size: Float64Array
  readonly flags: Uint8Array
  readonly part: Uint16Array
  readonly sha1: Uint8Array
  readonly unreadableIsBad: boolean
  /** Int32: the next entry that nobody has taken. */
  readonly next: SharedArrayBuffer
  /** BigInt64: uncompressed bytes checked so far. */
  readonly doneBytes: SharedArrayBuffer
}

export type VerifyAnswer =
  | { readonly kind: 'done'; readonly bad: readonly number[] }
  | { readonly kind: 'fault'; readonly message: string }

export type Verification = {
  /** Entries of the table (not positions in `entries`) whose content is wrong: all of them. */
  readonly bad: Promise<readonly number[]>
  readonly doneBytes: () => number
  readonly totalBytes: number
  /** Takes no further entry and waits for those under way: only then may the files be closed. Never rejects. */
  readonly stop: () => Promise<void>
}

/** Starts checking `entries` of `table`; they should be in the order they lie in the files. */
export function startVerification(
  table: BlobTable,
  entries: Int32Array,
  options: {
    readonly fds: readonly number[]
    readonly wimlibPath?: string | undefined
    /** A content that the disk does not give back is a bad one; otherwise a fault that ends the run. */
    readonly unreadableIsBad?: boolean
  },
): Verification {
  const next = new SharedArrayBuffer(4)
  const doneBytes = new SharedArrayBuffer(8)
  const pick = <T extends Float64Array | Uint8Array | Uint16Array>(column: T, empty: T): T => {
    for (const [i, entry] of entries.entries()) empty[i] = column[entry] ?? 0
    return empty
  }
  const sha1 = new Uint8Array(entries.length * SHA1_BYTES)
  for (const [i, entry] of entries.entries()) sha1.set(sha1At(table, entry), i * SHA1_BYTES)
  const order: VerifyOrder = {
    wimlibPath: options.wimlibPath,
    fds: options.fds,
    sizeInWim: pick(table.sizeInWim, new Float64Array(entries.length)),
    offset: pick(table.offset, new Float64Array(entries.length)),
    size: pick(table.size, new Float64Array(entries.length)),
    flags: pick(table.flags, new Uint8Array(entries.length)),
    part: pick(table.part, new Uint16Array(entries.length)),
    sha1,
    unreadableIsBad: options.unreadableIsBad ?? false,
    next,
    doneBytes,
  }
  const threads = Math.max(1, Math.min(availableParallelism(), 8, Math.ceil(entries.length / 16)))
  const answers = Array.from({ length: threads }, () => runWorker(order))
  const bad = Promise.all(answers).then((all) => all.flat().flatMap((i) => entries[i] ?? []))
  // Whoever waits for it sees a fault; a caller that has failed by then does not wait, and the process must not end for it.
  bad.catch(() => {})
  return {
    bad,
    stop: async () => {
      Atomics.store(new Int32Array(next), 0, entries.length)
      await Promise.allSettled(answers)
    },
    doneBytes: () => Number(Atomics.load(new BigInt64Array(doneBytes), 0)),
    totalBytes: order.size.reduce((sum, size) => sum + size, 0),
  }
}

async function runWorker(order: VerifyOrder): Promise<readonly number[]> {
  const worker = new Worker(new URL('./verify-worker.ts', import.meta.url).href)
  try {
    const answer = await new Promise<VerifyAnswer>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<VerifyAnswer>) => resolve(data)
      worker.onerror = (event) => reject(new Error(`the verifying thread ended: ${event.message}`))
      worker.postMessage(order)
    })
    if (answer.kind === 'fault') throw new Error(answer.message)
    return answer.bad
  } finally {
    worker.terminate()
  }
}
