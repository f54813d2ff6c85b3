/// <reference lib="webworker" />
/**
 * Worker: reads contents of a WIM, decompresses them and compares their SHA-1. Several run side by side and take
 * entries from one shared counter, in the order they lie in the file, so that the disk is read forwards.
 */
import { Decompressor } from '../../../ffi/wimlib/decompressor.ts'
import { loadWimlib } from '../../../ffi/wimlib/load.ts'
import { Fault } from '../../base/refusal.ts'
import { BadResource, ResourceReader } from '../../wim/resource.ts'
import { GROUP_FORMAT } from '../../wim/source.ts'
import type { VerifyAnswer, VerifyOrder } from './verify.ts'

declare const self: Worker

/** Entries claimed at a time: small enough that no worker is left with all of the end. */
const CLAIM = 16

self.onmessage = ({ data }: MessageEvent<VerifyOrder>): void => {
  self.postMessage(verify(data))
}

function verify(order: VerifyOrder): VerifyAnswer {
  const next = new Int32Array(order.next)
  const doneBytes = new BigInt64Array(order.doneBytes)
  const bad: number[] = []
  try {
    using decompressor = new Decompressor(loadWimlib({ path: order.wimlibPath }), 'LZX', GROUP_FORMAT.chunkSize)
    const readers = order.fds.map((fd) => new ResourceReader({ fd, chunkSize: GROUP_FORMAT.chunkSize, decompressor }))
    const count = order.size.length
    for (;;) {
      const first = Atomics.add(next, 0, CLAIM)
      if (first >= count) break
      for (let i = first; i < Math.min(count, first + CLAIM); i += 1) {
        if (!isIntact(order, readers, i)) bad.push(i)
        Atomics.add(doneBytes, 0, BigInt(order.size[i] ?? 0))
      }
    }
    return { kind: 'done', bad }
  } catch (error) {
    return { kind: 'fault', message: error instanceof Error ? (error.stack ?? error.message) : String(error) }
  }
}

function isIntact(order: VerifyOrder, readers: readonly ResourceReader[], i: number): boolean {
  const reader = readers[(order.part[i] ?? 1) - 1]
  if (!reader) return false
  const hasher = new Bun.CryptoHasher('sha1')
  try {
    reader.forEachChunk(
      {
        sizeInWim: order.sizeInWim[i] ?? 0,
        flags: order.flags[i] ?? 0,
        offset: order.offset[i] ?? 0,
        size: order.size[i] ?? 0,
      },
      (chunk) => {
        hasher.update(chunk)
      },
    )
  } catch (error) {
    if (error instanceof BadResource || (order.unreadableIsBad && error instanceof Fault)) return false
    throw error
  }
  return hasher.digest().equals(order.sha1.subarray(i * 20, i * 20 + 20))
}
