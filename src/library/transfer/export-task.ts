/**
 * What an export does in the child process: writes the view beside the target, or a copy of the target with the image
 * appended; reads it back; and gives it the target's name. Until that last step the target is as it was.
 */
import { closeSync, fsyncSync, openSync, realpathSync, rmSync, statSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { startWriteback } from '../../../ffi/libc/copy.ts'
import { isDiskFull } from '../../base/disk-full.ts'
import { Refused, refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { ChildReport, ChildTask } from '../../jobs/child.ts'
import { BadResource } from '../../wim/resource.ts'
import { openSource, type Source } from '../../wim/source.ts'
import { type CopyBytes, openCopy } from '../store/copy-bytes.ts'
import { startVerification } from '../store/verify.ts'
import { type Appendable, appendable, appendImage, checkIntegrity, verifyByLibwim } from './append.ts'
import {
  hasRoom,
  type IfExists,
  openTarget,
  publish,
  removeOldParts,
  type Target,
  unwritable,
} from './export-target.ts'

/** The view of the image, under the name that it shall have. */
export type ViewSource =
  /** Downloaded already, to a part beside the target. */
  | { readonly kind: 'file'; readonly path: string; readonly sizeBytes: number }
  /** Where its pieces lie; they can be opened by these paths as long as the parent holds the content open. */
  | {
      readonly kind: 'pieces'
      readonly sizeBytes: number
      readonly pieces: readonly ViewPiece[]
      /** A folder for temporary files, removed by the parent. */
      readonly dir: string
    }

export type ViewPiece =
  | { readonly at: number; readonly length: number; readonly path: string; readonly offset: number }
  | { readonly at: number; readonly length: number; readonly bytes: Uint8Array }

export type ExportPlan = {
  readonly target: string
  readonly ifExists: IfExists
  /** What the image is called in the exported file. */
  readonly imageName: string
  readonly viewBytes: number
  /** Of the tree, uncompressed: what a file without compression may grow by. */
  readonly contentBytes: number
  /** What must stay free on the disk besides. */
  readonly reserveBytes: number
}

export type ExportInput = Omit<ExportPlan, 'viewBytes'> & {
  readonly source: ViewSource
  /** Beside the target; made here, removed by the parent if this process is killed. */
  readonly part: string
  readonly skipVerify: boolean
  readonly dryRun: boolean
  readonly wimlibPath: string | undefined
}

export type ExportOutput = {
  readonly how: 'created' | 'overwritten' | 'appended'
  /** Of the file; in a dry run of an append what it may become at most. */
  readonly sizeBytes: number
  /** How many images it has now. */
  readonly images: number
  readonly verified: boolean
}

const COPY_BYTES = 32 << 20

export const exportTask: ChildTask<ExportInput, ExportOutput> = { name: 'export', run: runExport }

async function runExport(input: ExportInput, report: ChildReport): Promise<Result<ExportOutput>> {
  try {
    return await exportTo(input, report)
  } catch (error) {
    if (error instanceof BadResource)
      return refuse('corrupt', error.message, 'Check the file with wimlib-imagex verify.')
    if (isDiskFull(error))
      return refuse('no-space', `the disk of "${input.target}" filled up`, 'Make room there, or choose another disk.')
    const said = unwritable(input.target, error)
    if (said instanceof Refused) return { ok: false, error: said.refusal }
    throw error
  } finally {
    rmSync(input.part, { force: true })
  }
}

/** What would be done, by what is there now. Holds the lock of the target until disposed. */
export type Planned = Disposable & {
  readonly target: Target
  readonly output: ExportOutput
  /** The file that is appended to. */
  readonly old: Appendable | undefined
}

/** Refuses what an export would refuse before it writes. `hasView`: the view lies beside the target already. */
export function planExport(plan: ExportPlan, hasView: boolean): Result<Planned> {
  const opened = openTarget(plan.target, plan.ifExists)
  if (!opened.ok) return opened
  const target = opened.value
  const planned = planFor(plan, target, hasView)
  if (!planned.ok) {
    target[Symbol.dispose]()
    return planned
  }
  return ok({ ...planned.value, target, [Symbol.dispose]: () => target[Symbol.dispose]() })
}

function planFor(
  plan: ExportPlan,
  { there }: Target,
  hasView: boolean,
): Result<{ readonly output: ExportOutput; readonly old: Appendable | undefined }> {
  const folder = dirname(plan.target)
  const toWrite = hasView ? 0 : plan.viewBytes
  if (!there || plan.ifExists !== 'append') {
    const room = hasRoom(folder, toWrite, plan.reserveBytes)
    if (!room.ok) return room
    const how = there ? 'overwritten' : 'created'
    return ok({ output: { how, sizeBytes: plan.viewBytes, images: 1, verified: false }, old: undefined })
  }
  const old = appendable(plan.target, plan.imageName)
  if (!old.ok) return old
  const sizeBytes = there.stats.size + mayGrowBy(plan, old.value)
  const room = hasRoom(folder, sizeBytes + toWrite, plan.reserveBytes)
  if (!room.ok) return room
  return ok({ output: { how: 'appended', sizeBytes, images: old.value.images + 1, verified: false }, old: old.value })
}

/** XPRESS packs a quarter looser than LZX, and small chunks do. */
function mayGrowBy({ viewBytes, contentBytes }: ExportPlan, { compression, isRaw }: Appendable): number {
  if (isRaw || compression === 'lzms') return viewBytes
  return compression === 'none' ? Math.max(viewBytes, contentBytes) : Math.round(viewBytes * 1.5)
}

async function exportTo(input: ExportInput, report: ChildReport): Promise<Result<ExportOutput>> {
  report.step('look at the target')
  const { source } = input
  // The service's paths come resolved: what has become a link while the job waited may lead out of the export root.
  if (source.kind === 'pieces' && realpathSync(dirname(input.target)) !== dirname(input.target))
    return refuse('bad-path', `the folder of "${input.target}" has become a link`, 'Start this again.')
  const planned = planExport({ ...input, viewBytes: source.sizeBytes }, source.kind === 'file')
  if (!planned.ok) return planned
  using plan = planned.value
  const { target, output } = plan
  if (input.dryRun) return ok(output)
  removeOldParts(input.target, Date.now())

  const made = plan.old && target.there ? await appended(input, target.there, report) : whole(input, target, report)
  if (!made.ok) return made
  if (!input.skipVerify) {
    report.step('verify')
    const intact = await verify(made.value, output.images, input, report)
    if (!intact.ok) return intact
  }
  report.step('publish')
  const published = publish(made.value, target, input.ifExists)
  if (!published.ok) return published
  return ok({ ...output, sizeBytes: statSync(input.target).size, verified: !input.skipVerify })
}

/** The view as a file of its own, beside the target. */
function whole({ source, part }: ExportInput, { there }: Target, report: ChildReport): Result<string> {
  if (source.kind === 'file') return ok(source.path)
  report.step('write')
  // What replaces a file that not everybody may read is not to be read by everybody meanwhile.
  writeView(source, part, there ? there.stats.mode & 0o666 : 0o644, report)
  return ok(part)
}

async function appended(
  input: ExportInput,
  there: NonNullable<Target['there']>,
  report: ChildReport,
): Promise<Result<string>> {
  const { source, part, wimlibPath } = input
  let view: string
  if (source.kind === 'file') view = source.path
  else {
    view = join(source.dir, 'view.wim')
    const room = hasRoom(source.dir, source.sizeBytes, input.reserveBytes)
    if (!room.ok) return room
    report.step('write the image')
    writeView(source, view, 0o600, report)
  }
  report.step('copy the target')
  const out = openSync(part, 'wx', (there.stats.mode & 0o666) | 0o600)
  try {
    const total = there.stats.size
    copyRange(openCopy(), there.fd, 0, out, 0, total, (done) => report.progress(done, total))
  } finally {
    closeSync(out)
  }
  report.step('append')
  const done = appendImage({ view, file: part, wimlibPath }, report.progress)
  if (source.kind === 'pieces') rmSync(view, { force: true })
  return done.ok ? ok(part) : done
}

function writeView(
  view: Extract<ViewSource, { kind: 'pieces' }>,
  path: string,
  mode: number,
  report: ChildReport,
): void {
  const out = openSync(path, 'wx', mode)
  const fds = new Map<string, number>()
  const copyBytes = openCopy()
  try {
    // The header last: until then the file is no WIM.
    const [header, ...rest] = view.pieces
    for (const piece of header ? [...rest, header] : []) {
      if ('bytes' in piece) writeAll(out, piece.bytes, piece.at)
      else {
        const fd = fds.get(piece.path) ?? openSync(piece.path, 'r')
        fds.set(piece.path, fd)
        copyRange(copyBytes, fd, piece.offset, out, piece.at, piece.length, (done) =>
          report.progress(piece.at + done, view.sizeBytes),
        )
      }
    }
    fsyncSync(out)
  } finally {
    for (const fd of fds.values()) closeSync(fd)
    closeSync(out)
  }
}

function copyRange(
  copyBytes: CopyBytes,
  from: number,
  fromOffset: number,
  to: number,
  toOffset: number,
  length: number,
  onDone: (doneBytes: number) => void,
): void {
  for (let done = 0; done < length; ) {
    const got = copyBytes(from, fromOffset + done, to, toOffset + done, Math.min(COPY_BYTES, length - done))
    if (got === 0) throw new BadResource('a file ended while it was copied')
    startWriteback(to, toOffset + done, got)
    done += got
    onDone(done)
  }
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.byteLength; )
    done += writeSync(fd, bytes, done, bytes.byteLength - done, position + done)
}

/** Reads the finished file back: all of it, the images that were there before too. */
async function verify(
  file: string,
  images: number,
  { imageName, wimlibPath }: ExportInput,
  report: ChildReport,
): Promise<Result<void>> {
  const opened = openSource(file)
  if (!opened.ok) return opened
  using source = opened.value
  const { images: described } = source.document
  if (described.length !== images || described.at(-1)?.facts.name !== imageName)
    return refuse('corrupt', `the written file does not end with the image "${imageName}"`, 'Start this again.')
  if (source.notRaw !== undefined) return verifyByLibwim(file, wimlibPath, report.progress)
  const intact = await verifyOnAllCores(source, wimlibPath, report)
  return intact.ok ? checkIntegrity(file, wimlibPath) : intact
}

async function verifyOnAllCores(
  { table, parts }: Source,
  wimlibPath: string | undefined,
  report: ChildReport,
): Promise<Result<void>> {
  const entries = Int32Array.from({ length: table.count }, (_, i) => i)
  entries.sort((a, b) => (table.offset[a] ?? 0) - (table.offset[b] ?? 0))
  const verification = startVerification(table, entries, { fds: parts.map(({ fd }) => fd), wimlibPath })
  const { doneBytes, totalBytes } = verification
  const timer = setInterval(() => report.progress(doneBytes(), totalBytes), 500)
  try {
    const bad = await verification.bad
    if (bad.length === 0) return ok(undefined)
    return refuse(
      'corrupt',
      `${bad.length} contents of the written file do not match their SHA-1`,
      'Check the disks; of a file that was appended to, check it with wimlib-imagex verify: it may have been damaged before.',
      { bad: bad.length },
    )
  } finally {
    clearInterval(timer)
    await verification.stop()
  }
}
