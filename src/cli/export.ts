/**
 * `wimcast image export`. Below an export root of an appliance on this machine the service writes the file itself;
 * otherwise the image is downloaded beside the target, and finished here as the service would finish it.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import { runChild } from '../jobs/child.ts'
import { contentBytesOf } from '../library/transfer/export.ts'
import { IF_EXISTS, type IfExists, partBeside, unwritable } from '../library/transfer/export-target.ts'
import {
  type ExportInput,
  type ExportOutput,
  type ExportPlan,
  exportTask,
  planExport,
} from '../library/transfer/export-task.ts'
import { type ApplianceClient, refusalOf, take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf, type Option } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { follow } from './jobs.ts'
import { safe } from './print.ts'
import { selfCommand } from './serve.ts'

/** A download that breaks is taken up again so often, unless it has come further in between. */
const TRIES = 6
const FURTHER_BYTES = 16 << 20
/** Before the first; twice as long before each further one. */
const PAUSE_MS = 200

type Image = { readonly name: string; readonly facts: { readonly totalBytes: number; readonly hardLinkBytes: number } }

type Wanted = {
  readonly name: string
  readonly query: Readonly<Record<'group' | 'file' | 'newName' | 'newDescription', string | undefined>>
  readonly target: string
  readonly ifExists: IfExists
  readonly skipVerify: boolean
  readonly dryRun: boolean
}

type Exported = ExportOutput & { readonly file: string; readonly image: string; readonly dryRun?: boolean }

export function parseIfExists<const Rule extends IfExists>(
  text: string | undefined,
  rules: readonly Rule[],
): Result<Rule | 'fail'> {
  if (text === undefined) return ok('fail')
  const rule = rules.find((known) => known === text)
  return rule
    ? ok(rule)
    : refuse('bad-request', `--if-exists is "${text}"`, `It is ${rules.slice(0, -1).join(', ')} or ${rules.at(-1)}.`)
}

/** May `file` be written? Devices, pipes and folders are never replaced. */
export function mayWrite(file: string, ifExists: 'fail' | 'overwrite'): Result<void> {
  const there = statSync(file, { throwIfNoEntry: false })
  if (there && !there.isFile())
    return refuse('bad-path', `"${file}" is not a regular file`, 'Name a file to write, not a folder or a device.')
  if (there && ifExists === 'fail')
    return refuse('exists', `"${file}" is there already`, 'Choose another file, or --if-exists overwrite.')
  return ok(undefined)
}

function given<T extends Readonly<Record<string, string | undefined>>>(texts: T): { [K in keyof T]?: string } {
  return Object.fromEntries(Object.entries(texts).filter(([, text]) => text !== undefined)) as {
    [K in keyof T]?: string
  }
}

/** The service writes it; undefined when the path is not one that it may write to. */
async function exportThere(
  appliance: ApplianceClient,
  { name, query, target, ifExists, skipVerify }: Wanted,
  context: Context,
): Promise<Exported | undefined> {
  const response = await appliance.api.exports.$post({
    query: dryRunOf(context.args),
    json: { image: name, ...given(query), path: target, ifExists, skipVerify },
  })
  if (!response.ok) {
    const refusal = await refusalOf(response)
    if (refusal.code === 'bad-path') return undefined
    throw new Refused(refusal)
  }
  const started = await take(Promise.resolve(response))
  const job = await follow(appliance, started.id, context)
  return job.result as Exported | undefined
}

/** It is downloaded to a part beside the target; a child process does the rest: appends, reads back, renames. */
async function exportHere(
  appliance: ApplianceClient,
  image: Image,
  wanted: Wanted,
  { out, signal }: Context,
): Promise<Exported> {
  const { query, target, ifExists, skipVerify, dryRun } = wanted
  const url = `/api/images/${encodeURIComponent(wanted.name)}/content?${new URLSearchParams(given(query))}`
  const part = partBeside(target)
  const appendPart = partBeside(target)
  try {
    const head = await appliance.raw.fetch(url, { method: 'HEAD', signal })
    if (!head.ok) throw new Refused(await explained(appliance, url, head, signal))
    const plan: ExportPlan = {
      target,
      ifExists,
      imageName: query.newName?.trim() ?? image.name,
      viewBytes: Number(head.headers.get('content-length')),
      contentBytes: contentBytesOf({ facts: image.facts } as Parameters<typeof contentBytesOf>[0]),
      reserveBytes: 0,
    }
    {
      // Before twenty gigabytes are fetched: what is refused in the end is refused now.
      using planned = must(planExport(plan, false))
      if (dryRun) return { file: target, image: plan.imageName, ...planned.output, dryRun: true }
    }
    const sizeBytes = await download(
      appliance,
      url,
      part,
      (done, total) => out.progress.show(`downloading ${safe(image.name)}`, done, total),
      signal,
    )
    let step = ''
    const input: ExportInput = {
      ...plan,
      source: { kind: 'file', path: part, sizeBytes },
      part: appendPart,
      skipVerify,
      dryRun: false,
      wimlibPath: process.env['WIMCAST_WIMLIB'],
    }
    const done = await runChild<ExportInput, ExportOutput>(exportTask, input, {
      self: selfCommand(),
      signal,
      step: (name) => {
        step = name
        out.progress.show(`exporting ${safe(image.name)}: ${step}`, 0, 0)
      },
      progress: (doneBytes, totalBytes) =>
        out.progress.show(`exporting ${safe(image.name)}: ${step}`, doneBytes, totalBytes),
    })
    return { file: target, image: plan.imageName, ...must(done) }
  } catch (error) {
    throw unwritable(target, error)
  } finally {
    out.progress.end()
    for (const path of [part, appendPart]) rmSync(path, { force: true })
  }
}

/** An answer to HEAD says no more than its status: the refusal comes with the first byte. */
async function explained(
  appliance: ApplianceClient,
  url: string,
  head: Response,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<typeof refusalOf>>> {
  const response = await appliance.raw.fetch(url, { headers: { Range: 'bytes=0-0' }, signal })
  return refusalOf(response.ok ? head : response)
}

/** Resolves with the size, when all of it is on the disk. A connection that breaks is made again, for the rest. */
async function download(
  appliance: ApplianceClient,
  url: string,
  part: string,
  onProgress: (doneBytes: number, totalBytes: number) => void,
  signal: AbortSignal,
): Promise<number> {
  const fd = openSync(part, 'wx', 0o644)
  try {
    let etag: string | null = null
    let at = 0
    let total = 0
    let tries = 0
    let lastBreak = 0
    for (;;) {
      try {
        const headers: Record<string, string> = etag === null ? {} : { Range: `bytes=${at}-`, 'If-Range': etag }
        const response = await appliance.raw.fetch(url, { signal, headers })
        if (!response.ok || !response.body) throw new Refused(await refusalOf(response))
        if (response.status !== 206) {
          // The first time, or the image has changed since: it is another file now.
          at = 0
          ftruncateSync(fd, 0)
          total = Number(response.headers.get('content-length'))
        }
        etag = response.headers.get('etag')
        for await (const chunk of response.body) {
          for (let from = 0; from < chunk.byteLength; )
            from += writeSync(fd, chunk, from, chunk.byteLength - from, at + from)
          at += chunk.byteLength
          onProgress(at, total)
        }
        if (at === total) break
        must(shortBy(at, total))
      } catch (error) {
        if (!(error instanceof Refused) || error.refusal.code !== 'unreachable' || etag === null) throw error
        if (at - lastBreak >= FURTHER_BYTES) tries = 0
        tries += 1
        lastBreak = at
        if (tries > TRIES) throw error
        await setTimeout(PAUSE_MS * 2 ** (tries - 1), undefined, { signal })
      }
    }
    fsyncSync(fd)
    return total
  } finally {
    closeSync(fd)
  }
}

const shortBy = (at: number, total: number): Result<never> =>
  refuse(
    'unreachable',
    `the download ended after ${at} of ${total} bytes`,
    'Try again; if it happens again, see the log of the appliance.',
  )

const HOW = { created: 'exported', overwritten: 'exported', appended: 'appended' } as const

function describe({ file, image, how, sizeBytes, images, verified, dryRun }: Exported): string {
  const to = `"${safe(image)}" to ${safe(file)}`
  if (dryRun) {
    const there = { created: 'makes', overwritten: 'replaces', appended: 'appends to' }[how]
    const size = how === 'appended' ? `at most ${formatBytes(sizeBytes)} then` : formatBytes(sizeBytes)
    return `${there} ${safe(file)}: "${safe(image)}", image ${images} of ${images}, ${size}`
  }
  const place = how === 'appended' ? `, as its image ${images}` : how === 'overwritten' ? ', which was replaced' : ''
  return `${HOW[how]} ${to}${place} (${formatBytes(sizeBytes)}, ${verified ? 'verified' : 'not verified'})`
}

export const EXPORT_OPTIONS: Readonly<Record<string, Option>> = {
  group: { placeholder: 'G', doc: 'its group; may be left out while there is exactly one' },
  file: { placeholder: 'F', doc: 'its file name, where the image name is not unique' },
  to: { placeholder: 'FILE', doc: 'the file to write' },
  'if-exists': { placeholder: IF_EXISTS.join('|'), doc: 'when FILE is there (default fail)' },
  'new-name': { placeholder: 'N', doc: 'what the file calls the image' },
  'new-description': { placeholder: 'D', doc: 'its description there' },
  'skip-verify': { doc: 'do not read the written file back' },
  ...DRY_RUN,
}

export const exportCommand: Command = {
  words: 'image export',
  operands: ['NAME'],
  doc: 'write one to a file, or append it to a .wim or .esd',
  options: EXPORT_OPTIONS,
  run: async (context) => {
    const { appliance, args, out } = context
    const to = args.text('to')
    const ifExists = must(parseIfExists(args.text('if-exists'), IF_EXISTS))
    if (to === undefined || to === '') return must(refuse('bad-request', '--to is missing', 'Name the file to write.'))
    const [name = ''] = args.operands
    const group = args.text('group')
    const file = args.text('file')
    const wanted: Wanted = {
      name,
      query: { group, file, newName: args.text('new-name'), newDescription: args.text('new-description') },
      target: resolve(to),
      ifExists,
      skipVerify: args.flag('skip-verify'),
      dryRun: args.flag('dry-run'),
    }
    const image = await take(
      appliance.api.images[':name'].$get({ param: { name: encodeURIComponent(name) }, query: given({ group, file }) }),
    )
    const done =
      (appliance.local ? await exportThere(appliance, wanted, context) : undefined) ??
      (await exportHere(appliance, image, wanted, context))
    out.result(done, describe(done))
  },
}
