/**
 * Writes a new segment and reads it back: what was written is checked and not its source, which somebody may still be
 * writing to. The pages are warm, and the disk writes while the other threads check. Blocks: for a child process.
 */
import { closeSync, fsyncSync, openSync } from 'node:fs'
import { startWriteback } from '../../../ffi/libc/copy.ts'
import type { ChildReport } from '../../jobs/child.ts'
import { sha1At } from '../../wim/blob-table.ts'
import { BadResource } from '../../wim/resource.ts'
import { type SegmentLayout, writeLayout } from '../../wim/segment.ts'
import { openCopy } from './copy-bytes.ts'
import { startVerification, type Verification } from './verify.ts'

export type NewSegment = {
  readonly layout: SegmentLayout
  /** Of the parts that the layout names. */
  readonly fds: readonly number[]
  /** Must not be there yet. */
  readonly path: string
  readonly verify: boolean
  readonly wimlibPath: string | undefined
}

const COPY_BYTES = 32 << 20

/**
 * Returns the contents that do not match their SHA-1, 40 hex digits each; with any of those the file is of no use.
 * Throws BadResource when a source ends before its contents do.
 */
export async function writeNew(segment: NewSegment, report: Pick<ChildReport, 'progress'>): Promise<readonly string[]> {
  const { layout, fds, verify } = segment
  const { table } = layout
  const out = openSync(segment.path, 'wx+', 0o640)
  const copyBytes = openCopy()
  const payloadBytes = layout.runs.reduce((sum, run) => sum + run.length, 0)
  const totalBytes = payloadBytes + (verify ? table.size.reduce((sum, size) => sum + size, 0) : 0)
  let copied = 0
  let verification: Verification | undefined
  try {
    writeLayout(layout, fds, out, (from, fromOffset, to, toOffset, length) => {
      for (let done = 0; done < length; ) {
        const got = copyBytes(from, fromOffset + done, to, toOffset + done, Math.min(COPY_BYTES, length - done))
        if (got === 0) throw new BadResource('the file ends before its contents do')
        startWriteback(to, toOffset + done, got)
        done += got
        copied += got
        report.progress(copied, totalBytes)
      }
    })
    if (!verify) {
      fsyncSync(out)
      return []
    }
    const all = Int32Array.from({ length: table.count }, (_, i) => i)
    verification = startVerification(table, all, { fds: [out], wimlibPath: segment.wimlibPath })
    fsyncSync(out)
    const { doneBytes } = verification
    const timer = setInterval(() => report.progress(copied + doneBytes(), totalBytes), 500)
    const bad = await verification.bad.finally(() => clearInterval(timer))
    return bad.map((entry) => Buffer.from(sha1At(table, entry)).toString('hex'))
  } finally {
    await verification?.stop()
    closeSync(out)
  }
}
