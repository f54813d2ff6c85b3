/** `wimcast image import` and `image replace`: the file is read by the service where it may, and sent otherwise. */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import { decodeHeader, HEADER_BYTES } from '../wim/header.ts'
import { partName } from '../wim/source.ts'
import { type ApplianceClient, refusalOf, take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf, type Option } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { PROPERTIES, properties } from './images.ts'
import { follow, type Job } from './jobs.ts'
import { castText, MULTICAST, multicast } from './multicast.ts'
import { safe } from './print.ts'
import { SELECT, selected, showOne } from './select.ts'

type Connected = Context & { readonly appliance: ApplianceClient }

/** All parts of a split set, by the header of the first; one file otherwise. */
function partsOf(path: string): Result<readonly string[]> {
  let fd: number
  try {
    // Before it is opened: that would wait on a pipe for its writer.
    if (!statSync(path).isFile())
      return refuse('bad-path', `"${path}" is not a regular file`, 'Name a .wim, .esd or .swm file.')
    fd = openSync(path, 'r')
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    return refuse(
      missing ? 'not-found' : 'bad-path',
      missing ? `there is no file "${path}"` : `"${path}" cannot be read`,
      'Check the path and its permissions.',
    )
  }
  try {
    const head = new Uint8Array(HEADER_BYTES)
    const length = readSync(fd, head, 0, HEADER_BYTES, 0)
    // Whatever it is, the service judges it; here only the number of parts matters.
    const header = decodeHeader(head.subarray(0, length))
    const total = header.ok && header.value.part === 1 ? header.value.totalParts : 1
    const parts = Array.from({ length: total }, (_, i) => partName(path, i + 1))
    const missing = parts.filter((part) => !statSync(part, { throwIfNoEntry: false })?.isFile())
    if (missing.length === 0) return ok(parts)
    return refuse(
      'missing-part',
      `${missing.length} of ${total} parts are missing: ${missing
        .slice(0, 5)
        .map((part) => basename(part))
        .join(', ')}`,
      'Put all parts of the set into one folder.',
    )
  } finally {
    closeSync(fd)
  }
}

async function upload({ appliance, out, signal }: Connected, path: string): Promise<string> {
  const parts = must(partsOf(path))
  const { id } = await take(appliance.api.uploads.$post())
  try {
    for (const part of parts) {
      out.progress.show(`sending ${basename(part)}`, 0, 0)
      const target = `/api/uploads/${id}/${encodeURIComponent(basename(part))}`
      const response = await appliance.raw.fetch(target, {
        method: 'PUT',
        body: Bun.file(part),
        headers: { 'Content-Type': 'application/octet-stream' },
        signal,
      })
      if (!response.ok) throw new Refused(await refusalOf(response))
    }
    return id
  } catch (error) {
    await drop(appliance, id)
    throw error
  } finally {
    out.progress.end()
  }
}

async function drop({ raw }: ApplianceClient, id: string): Promise<void> {
  await raw.fetch(`/api/uploads/${id}`, { method: 'DELETE' }).catch(() => {})
}

type Source = { readonly path: string } | { readonly upload: string; readonly sourceName: string }

/**
 * Starts a job with a file, and follows it. Below an import root the service reads the file itself: nothing is sent,
 * nothing is stored twice. Otherwise it is sent, after `check`: twenty gigabytes are not sent for a group that is not
 * there.
 */
export async function withSource<T extends { readonly id: number }>(
  context: Connected,
  path: string,
  { start, check }: { readonly start: (source: Source) => Promise<T>; readonly check: () => Promise<void> },
): Promise<{ readonly started: T; readonly job: Job }> {
  const { appliance } = context
  const below = appliance.local ? await startBelow(() => start({ path })) : undefined
  if (below) return { started: below, job: await follow(appliance, below.id, context) }
  await check()
  const id = await upload(context, path)
  try {
    const started = await start({ upload: id, sourceName: basename(path) })
    return { started, job: await follow(appliance, started.id, context) }
  } finally {
    // A dry run leaves it. What is imported is gone by now, or refuses to go.
    await drop(appliance, id)
  }
}

/** Undefined when the service may not read the file there. */
async function startBelow<T>(start: () => Promise<T>): Promise<T | undefined> {
  try {
    return await start()
  } catch (error) {
    if (!(error instanceof Refused) || error.refusal.code !== 'bad-path') throw error
    return undefined
  }
}

async function checkGroup({ appliance, args }: Connected): Promise<void> {
  const group = args.text('group')
  if (group !== undefined) {
    await take(appliance.api.groups[':name'].$get({ param: { name: encodeURIComponent(group) } }))
    return
  }
  const { length } = await take(appliance.api.groups.$get())
  if (length !== 1)
    must(
      refuse(
        length === 0 ? 'not-found' : 'ambiguous',
        length === 0 ? 'there is no image group yet' : `there are ${length} image groups`,
        length === 0 ? 'Make one: wimcast group new NAME.' : 'Name one with --group.',
      ),
    )
}

const FROM_FILE: Readonly<Record<string, Option>> = {
  'skip-verify': { doc: 'do not check the contents against their SHA-1' },
  name: { placeholder: 'N', doc: 'another name' },
  description: { placeholder: 'D', doc: 'another description' },
}

/** What import and replace both take. */
function fromFile(args: Context['args']) {
  const index = args.text('index')
  const name = args.text('name')
  const description = args.text('description')
  return {
    ...(index === undefined ? {} : { index }),
    ...(name === undefined ? {} : { name }),
    ...(description === undefined ? {} : { description }),
    ...(args.flag('skip-verify') ? { skipVerify: true } : {}),
  }
}

/** `3 of 40 file contents were new, 1.2 MiB stored` */
function cost(result: Readonly<Record<string, unknown>>, verb: string): string {
  const most = result['estimated'] === true ? 'at most ' : ''
  return `${most}${String(result['newBlobs'])} of ${String(result['blobs'])} file contents ${verb} new, ${most}${formatBytes(Number(result['storedBytes']))} stored`
}

/** run.ts says in front of it that it was a dry run. */
function plannedText(result: Readonly<Record<string, unknown>>): string {
  const images = Array.isArray(result['images']) ? (result['images'] as readonly unknown[]) : []
  const named = images.map((image) => {
    const { index, name, fileName } = image as Readonly<Record<string, unknown>>
    return `image ${String(index)} as "${safe(String(name))}" (${safe(String(fileName))})`
  })
  const converts = result['converts'] === true ? '; the file is converted first' : ''
  return `${named.join(', ')} in "${safe(String(result['group']))}": ${cost(result, 'would be')}${converts}`
}

function importedText(job: Job, warnings: readonly string[] | undefined, isCast: boolean): string {
  const result = job.result ?? {}
  const warned = castText({ warnings })
  if (result['dryRun'] === true) return `${plannedText(result)}${isCast ? ', and a transmission of each' : ''}${warned}`
  const made = Array.isArray(result['transmissions']) ? (result['transmissions'] as readonly unknown[]) : []
  const casts = made.map((transmission) =>
    castText({ transmission: transmission as Readonly<Record<string, unknown>> }),
  )
  return `imported ${safe(JSON.stringify(result['images']))} into "${safe(String(result['group']))}": ${cost(result, 'were')}${casts.join('')}${warned}`
}

export const importCommands: readonly Command[] = [
  {
    words: 'image import',
    operands: ['FILE'],
    doc: 'import a .wim, .esd or split .swm (its first part)',
    options: {
      group: { placeholder: 'G', doc: 'into this group; may be left out while there is exactly one' },
      index: { placeholder: 'N|NAME|all', doc: 'which image of the file (default all)' },
      ...FROM_FILE,
      'file-name': { placeholder: 'F', doc: 'the file name it is served under' },
      ...PROPERTIES,
      ...MULTICAST,
      ...DRY_RUN,
    },
    run: async (context) => {
      const { args, appliance } = context
      const path = resolve(args.operands[0] ?? '')
      const group = args.text('group')
      const fileName = args.text('file-name')
      const wanted = {
        ...(group === undefined ? {} : { group }),
        ...fromFile(args),
        ...(fileName === undefined ? {} : { fileName }),
        ...properties(args),
        ...multicast(args),
      }
      const { started, job } = await withSource(context, path, {
        check: () => checkGroup(context),
        start: (source) => take(appliance.api.imports.$post({ query: dryRunOf(args), json: { ...wanted, ...source } })),
      })
      context.out.result(job, importedText(job, started.warnings, args.flag('multicast')))
    },
  },
  {
    words: 'image replace',
    operands: ['NAME', 'FILE'],
    doc: 'replace the content of one; what it was lies in the trash',
    options: {
      ...SELECT,
      index: { placeholder: 'N|NAME', doc: 'which image of the file; may be left out while there is exactly one' },
      ...FROM_FILE,
      ...DRY_RUN,
    },
    run: async (context) => {
      const { args, appliance } = context
      const path = resolve(args.operands[1] ?? '')
      const { param, query } = selected(args)
      const json = fromFile(args)
      const { job } = await withSource(context, path, {
        check: async () => {
          await showOne(appliance, { param, query })
        },
        start: (source) =>
          take(
            appliance.api.images[':name'].replacements.$post({
              param,
              query: { ...query, ...dryRunOf(args) },
              json: { ...json, ...source },
            }),
          ),
      })
      const result = job.result ?? {}
      const which = `the content of "${safe(args.operands[0] ?? '')}" in "${safe(String(result['group']))}"`
      const text =
        result['dryRun'] === true
          ? `would replace ${which}: ${cost(result, 'would be')}`
          : `replaced ${which}: ${cost(result, 'were')}\nwhat it was lies in the trash: wimcast image undo brings it back`
      context.out.result(job, text)
    },
  },
]
