/**
 * What a compaction does in the child process: find out what of the group's segments is needed, and write that part of
 * the thin ones into one new segment, verified. The parent publishes it and writes the rows.
 */

import { randomBytes } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { inArray } from 'drizzle-orm'
import { SystemError } from '../../../ffi/libc/errno.ts'
import { isDiskFull } from '../../base/disk-full.ts'
import { Fault, refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import { openDbBeside } from '../../db/open.ts'
import { contents } from '../../db/schema.ts'
import type { ChildReport, ChildTask } from '../../jobs/child.ts'
import { type CompactionPlan, planCompaction, type StoredContent } from '../../wim/compaction.ts'
import { BadResource } from '../../wim/resource.ts'
import { layOutSegment, type SegmentLayout } from '../../wim/segment.ts'
import { needsOf } from '../rows.ts'
import { diskFilledUp, hasSpace } from './disk-space.ts'
import { readSegmentTable } from './segment-table.ts'
import { writeNew } from './write-new.ts'

export type CompactInput = {
  /** The database is read here rather than sent: what the images need is some 2 MiB for each. */
  readonly dataDir: string
  /** Those that views are made of, in the order in which views look into them. */
  readonly segments: readonly { readonly id: number; readonly path: string; readonly damaged: readonly string[] }[]
  /** The contents that are kept. */
  readonly contentIds: readonly number[]
  /** 0 to 1: a segment is written anew when so much of it is dead, and something is. */
  readonly minDeadShare: number
  /** Free space that stays. */
  readonly reserveBytes: number
  /** A folder on the data disk for the new segment; without one nothing is written. */
  readonly dir: string | undefined
  readonly wimlibPath: string | undefined
}

export type CompactOutput = {
  /** Ids of the segments that the new one replaces. */
  readonly replaced: readonly number[]
  /** Absent in a dry run, and when nothing of those is needed. */
  readonly segmentPath?: string
  /** Of the new segment; 0 when there is none. */
  readonly sizeBytes: number
  readonly blobBytes: number
  /** Contents by id, whose trees the new segment holds, from image index 1 on. */
  readonly rehomed: readonly number[]
}

export const compactTask: ChildTask<CompactInput, CompactOutput> = { name: 'compact', run: runCompact }

async function runCompact(input: CompactInput, report: ChildReport): Promise<Result<CompactOutput>> {
  try {
    return await compact(input, report)
  } catch (error) {
    if (isDiskFull(error)) return diskFilledUp()
    // A segment that is missing or has no tables: what it holds is not known, so nothing can be said to be dead.
    if (error instanceof Fault) return refuse('unreadable', error.message, REPAIR)
    if (error instanceof BadResource || (error instanceof SystemError && error.code === 'EIO'))
      return refuse('unreadable', `a segment cannot be copied: ${error.message}`, SCRUB)
    throw error
  }
}

const REPAIR = 'Repair the group first: wimcast library repair. Nothing was changed.'
const SCRUB = 'wimcast library scrub tells which images need it. Nothing was changed.'

async function compact(input: CompactInput, report: ChildReport): Promise<Result<CompactOutput>> {
  report.step('look for what is needed')
  const stored = readContents(input)
  const planned = planCompaction(
    input.segments.map(({ id, path, damaged }) => ({ id, damaged, table: readSegmentTable(path) })),
    stored,
    { minDeadShare: input.minDeadShare },
  )
  if (!planned.ok) return planned
  const { replaced, plan, rehomed, table } = planned.value
  if (plan.entries.length + plan.images.length === 0) return ok({ replaced, sizeBytes: 0, blobBytes: 0, rehomed })
  // The flag of a file is for all its images; a view has that of its own.
  const moved = stored.filter(({ id }) => rehomed.includes(id))
  const rpFix = moved.length > 0 && moved.every((content) => content.rpFix)
  const layout = layOutSegment(table, plan, { rpFix, guid: randomBytes(16) })
  const blobBytes = plan.entries.reduce((sum, entry) => sum + (table.sizeInWim[entry] ?? 0), 0)
  const output = { replaced, sizeBytes: layout.frame.sizeBytes, blobBytes, rehomed }
  if (input.dir === undefined) return ok(output)

  const enough = hasSpace(input.dir, layout.frame.sizeBytes, input.reserveBytes)
  if (!enough.ok) return enough
  report.step('copy and verify')
  const segmentPath = join(input.dir, 'segment.wim')
  const bad = await write(input, planned.value, layout, segmentPath, report)
  if (bad.length === 0) return ok({ ...output, segmentPath })
  return refuse(
    'corrupt',
    `${bad.length} contents of the group do not match their SHA-1: ${bad.slice(0, 3).join(', ')}`,
    SCRUB,
    { bad: bad.length, sha1: bad.slice(0, 20) },
  )
}

function readContents({ dataDir, contentIds }: CompactInput): (StoredContent & { readonly rpFix: boolean })[] {
  using beside = openDbBeside(dataDir)
  const { id, segmentId, imageIndex, element, rpFix } = contents
  return beside.db
    .select({ id, segmentId, imageIndex, element, rpFix })
    .from(contents)
    .where(inArray(contents.id, [...contentIds]))
    .orderBy(contents.id)
    .all()
    .map((row) => ({ ...row, needs: needsOf(beside.db, row.id) }))
}

async function write(
  input: CompactInput,
  { replaced }: CompactionPlan,
  layout: SegmentLayout,
  path: string,
  report: ChildReport,
): Promise<readonly string[]> {
  const opened: number[] = []
  try {
    const fds = input.segments.map((segment) => {
      if (!replaced.includes(segment.id)) return -1
      const fd = openSync(segment.path, 'r')
      opened.push(fd)
      return fd
    })
    return await writeNew({ layout, fds, path, verify: true, wimlibPath: input.wimlibPath }, report)
  } finally {
    for (const fd of opened) closeSync(fd)
  }
}
