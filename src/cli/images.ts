import { closeSync, fsyncSync, linkSync, openSync, readSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { isDiskFull } from '../base/disk-full.ts'
import { Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import { decodeHeader, HEADER_BYTES } from '../wim/header.ts'
import { partName } from '../wim/source.ts'
import { type ApplianceClient, done, refusalOf, take } from './appliance-client.ts'
import { type Option, parseOnOff } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { follow } from './jobs.ts'
import { facts, safe, table, when } from './print.ts'

const SELECT: Readonly<Record<string, Option>> = {
  group: { placeholder: 'G', doc: 'its group; may be left out while there is exactly one' },
  file: { placeholder: 'F', doc: 'its file name, where the image name is not unique' },
}

type Selected = {
  readonly param: { readonly name: string }
  readonly query: { readonly group?: string; readonly file?: string }
}

function selected(args: Context['args']): Selected {
  const group = args.text('group')
  const file = args.text('file')
  return {
    param: { name: encodeURIComponent(args.operands[0] ?? '') },
    query: { ...(group === undefined ? {} : { group }), ...(file === undefined ? {} : { file }) },
  }
}

type Image = Awaited<ReturnType<typeof showOne>>

async function showOne(appliance: ApplianceClient, which: Selected) {
  return take(appliance.api.images[':name'].$get(which))
}

function describe(image: Image): string {
  const { facts: said } = image
  return facts([
    ['image', safe(image.name)],
    ['description', safe(image.description)],
    ['group', safe(image.group)],
    ['file', safe(image.fileName)],
    [
      'size',
      `${formatBytes(image.sizeBytes)} as a file, ${formatBytes(said.totalBytes)} on disk, ${formatBytes(said.hardLinkBytes)} of it hard links`,
    ],
    ['architecture', said.architecture],
    ['edition', said.editionId && safe(said.editionId)],
    ['version', said.version && safe(said.version)],
    [
      'languages',
      said.languages
        .map((language) => (language === said.defaultLanguage ? `${safe(language)} (default)` : safe(language)))
        .join(', '),
    ],
    ['contents', `${said.fileCount} files, ${said.directoryCount} directories`],
    ['public', image.public ? 'yes: served over plain HTTP and TFTP' : 'no'],
    ['served at', `/${safe(image.path)}`],
    ['imported', when(image.createdAtMs)],
  ])
}

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

async function upload(appliance: ApplianceClient, path: string, { out, signal }: Context): Promise<string> {
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
    await appliance.raw.fetch(`/api/uploads/${id}`, { method: 'DELETE' }).catch(() => {})
    throw error
  } finally {
    out.progress.end()
  }
}

async function startImport(context: Context & { readonly appliance: ApplianceClient }, path: string) {
  const { appliance, args } = context
  const text = (name: string) => args.text(name)
  const wanted = {
    ...(text('group') === undefined ? {} : { group: text('group') }),
    ...(text('index') === undefined ? {} : { index: text('index') }),
    ...(text('name') === undefined ? {} : { name: text('name') }),
    ...(text('description') === undefined ? {} : { description: text('description') }),
    ...(text('file-name') === undefined ? {} : { fileName: text('file-name') }),
    ...(args.flag('skip-verify') ? { skipVerify: true } : {}),
  }
  if (appliance.local) {
    // Below an import root the service reads the file itself: nothing is sent, nothing is stored twice.
    const response = await appliance.api.imports.$post({ json: { ...wanted, path } })
    if (response.ok) return take(Promise.resolve(response))
    const refusal = await refusalOf(response)
    if (refusal.code !== 'bad-path') throw new Refused(refusal)
  }
  // Twenty gigabytes are not sent for a group that is not there.
  const group = text('group')
  if (group !== undefined)
    await take(appliance.api.groups[':name'].$get({ param: { name: encodeURIComponent(group) } }))
  else {
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
  const id = await upload(appliance, path, context)
  return take(appliance.api.imports.$post({ json: { ...wanted, upload: id, sourceName: basename(path) } }))
}

const IF_EXISTS = ['fail', 'overwrite'] as const
type IfExists = (typeof IF_EXISTS)[number]

export function parseIfExists(text = 'fail'): Result<IfExists> {
  const rule = IF_EXISTS.find((known) => known === text)
  return rule ? ok(rule) : refuse('bad-request', `--if-exists is "${text}"`, 'It is fail or overwrite.')
}

/** May `file` be written? Devices, pipes and folders are never replaced. */
export function mayWrite(file: string, ifExists: IfExists): Result<void> {
  const there = statSync(file, { throwIfNoEntry: false })
  if (there && !there.isFile())
    return refuse('bad-path', `"${file}" is not a regular file`, 'Name a file to write, not a folder or a device.')
  if (there && ifExists === 'fail')
    return refuse('exists', `"${file}" is there already`, 'Choose another file, or --if-exists overwrite.')
  return ok(undefined)
}

/** What the file system said no to, as a refusal: the operator named the file. */
export function unwritable(file: string, error: unknown): unknown {
  if (error instanceof Refused || !(error instanceof Error) || !('syscall' in error)) return error
  const full = isDiskFull(error)
  const hint = full
    ? 'Make room there, or choose another disk.'
    : 'Check that the folder is there, and that you may write into it.'
  return new Refused({
    code: full ? 'no-space' : 'bad-path',
    message: `"${file}" cannot be written: ${error.message}`,
    hint,
  })
}

async function exportTo(
  appliance: ApplianceClient,
  image: Image,
  file: string,
  ifExists: IfExists,
  { out, signal }: Context,
): Promise<void> {
  try {
    must(mayWrite(file, ifExists))
    await download(appliance, image, file, ifExists, { out, signal })
  } catch (error) {
    throw unwritable(file, error)
  }
}

/** To a part beside the file first: an interrupted export leaves neither a part nor half a file. */
async function download(
  appliance: ApplianceClient,
  image: Image,
  file: string,
  ifExists: IfExists,
  { out, signal }: Pick<Context, 'out' | 'signal'>,
): Promise<void> {
  const part = `${file}.${process.pid}.part`
  const response = await appliance.raw.fetch(`/${image.path.split('/').map(encodeURIComponent).join('/')}`, { signal })
  if (!response.ok || !response.body) throw new Refused(await refusalOf(response))
  const totalBytes = Number(response.headers.get('content-length'))
  const fd = openSync(part, 'wx', 0o644)
  try {
    let doneBytes = 0
    for await (const chunk of response.body) {
      for (let at = 0; at < chunk.byteLength; ) at += writeSync(fd, chunk, at)
      doneBytes += chunk.byteLength
      out.progress.show(`exporting ${safe(image.name)}`, doneBytes, totalBytes)
    }
    if (doneBytes !== totalBytes)
      throw new Refused({
        code: 'unreachable',
        message: `the download ended after ${doneBytes} of ${totalBytes} bytes`,
        hint: 'Try again; if it happens again, see the log of the appliance.',
      })
    fsyncSync(fd)
    // Again: the download took its time. A link never replaces what somebody made meanwhile.
    must(mayWrite(file, ifExists))
    if (ifExists === 'fail') {
      linkSync(part, file)
      rmSync(part)
    } else renameSync(part, file)
  } catch (error) {
    rmSync(part, { force: true })
    throw error
  } finally {
    closeSync(fd)
    out.progress.end()
  }
}

export const imageCommands: readonly Command[] = [
  {
    words: 'image import',
    operands: ['FILE'],
    doc: 'import a .wim, .esd or split .swm (its first part)',
    options: {
      group: { placeholder: 'G', doc: 'into this group; may be left out while there is exactly one' },
      index: { placeholder: 'N|NAME|all', doc: 'which image of the file (default all)' },
      'skip-verify': { doc: 'do not check the contents against their SHA-1' },
      name: { placeholder: 'N', doc: 'another name' },
      description: { placeholder: 'D', doc: 'another description' },
      'file-name': { placeholder: 'F', doc: 'the file name it is served under' },
    },
    run: async (context) => {
      const path = resolve(context.args.operands[0] ?? '')
      const started = await startImport(context, path)
      const job = await follow(context.appliance, started.id, context)
      const result = job.result ?? {}
      context.out.result(
        job,
        `imported ${safe(JSON.stringify(result['images']))} into "${safe(String(result['group']))}": ${String(result['newBlobs'])} of ${String(result['blobs'])} file contents were new, ${formatBytes(Number(result['storedBytes']))} stored`,
      )
    },
  },
  {
    words: 'image list',
    operands: [],
    doc: 'list install images',
    options: { group: { placeholder: 'G', doc: 'of this group only' } },
    run: async ({ appliance, args, out }) => {
      const group = args.text('group')
      const images = await take(appliance.api.images.$get({ query: group === undefined ? {} : { group } }))
      const rows = images.map((image) => [
        safe(image.group),
        safe(image.name),
        safe(image.fileName),
        image.facts.architecture ?? '',
        safe(image.facts.version ?? ''),
        formatBytes(image.sizeBytes),
        image.public ? 'yes' : 'no',
      ])
      out.result(
        images,
        table(
          [
            { title: 'GROUP' },
            { title: 'IMAGE' },
            { title: 'FILE' },
            { title: 'ARCH' },
            { title: 'VERSION' },
            { title: 'SIZE', right: true },
            { title: 'PUBLIC' },
          ],
          rows,
        ),
      )
    },
  },
  {
    words: 'image show',
    operands: ['NAME'],
    doc: 'show one',
    options: SELECT,
    run: async ({ appliance, args, out }) => {
      const image = await showOne(appliance, selected(args))
      out.result(image, describe(image))
    },
  },
  {
    words: 'image remove',
    operands: ['NAME'],
    doc: 'remove one; space that nothing else uses is given back',
    options: SELECT,
    run: async ({ appliance, args, out }) => {
      await done(appliance.api.images[':name'].$delete(selected(args)))
      out.result({ removed: args.operands[0] }, `removed image "${safe(args.operands[0] ?? '')}"`)
    },
  },
  {
    words: 'image set',
    operands: ['NAME'],
    doc: 'change name, description, or whether it is public',
    options: {
      ...SELECT,
      name: { placeholder: 'N', doc: 'a new name' },
      description: { placeholder: 'D', doc: 'a new description' },
      public: { placeholder: 'on|off', doc: 'served over plain HTTP and TFTP' },
    },
    run: async ({ appliance, args, out }) => {
      const isPublic = must(parseOnOff('public', args.text('public')))
      const name = args.text('name')
      const description = args.text('description')
      const json = {
        ...(name === undefined ? {} : { name }),
        ...(description === undefined ? {} : { description }),
        ...(isPublic === undefined ? {} : { public: isPublic }),
      }
      if (Object.keys(json).length === 0)
        must(refuse('bad-request', 'nothing to change is named', 'Give --name, --description or --public.'))
      const image = await take(appliance.api.images[':name'].$patch({ ...selected(args), json }))
      out.result(image, describe(image))
    },
  },
  {
    words: 'image copy',
    operands: ['NAME'],
    doc: 'copy within the group; takes no space',
    options: {
      ...SELECT,
      'new-name': { placeholder: 'N', doc: 'the name of the copy' },
      'new-file-name': { placeholder: 'F', doc: 'its file name' },
      'new-description': { placeholder: 'D', doc: 'its description' },
    },
    run: async ({ appliance, args, out }) => {
      const newName = args.text('new-name')
      const newFileName = args.text('new-file-name')
      const newDescription = args.text('new-description')
      if (newName === undefined || newFileName === undefined)
        must(
          refuse(
            'bad-request',
            'a copy needs --new-name and --new-file-name',
            'Both must differ from what the group has.',
          ),
        )
      const json = {
        newName: newName ?? '',
        newFileName: newFileName ?? '',
        ...(newDescription === undefined ? {} : { newDescription }),
      }
      const copy = await take(appliance.api.images[':name'].copies.$post({ ...selected(args), json }))
      out.result(copy, `copied to "${safe(copy.name)}" (${safe(copy.fileName)}), 0 bytes stored`)
    },
  },
  {
    words: 'image export',
    operands: ['NAME'],
    doc: 'write one to a file of its own',
    options: {
      ...SELECT,
      to: { placeholder: 'FILE', doc: 'the file to write' },
      'if-exists': { placeholder: 'fail|overwrite', doc: 'when FILE is there (default fail)' },
    },
    run: async (context) => {
      const { appliance, args, out } = context
      const to = args.text('to')
      const ifExists = must(parseIfExists(args.text('if-exists')))
      if (to === undefined) must(refuse('bad-request', '--to is missing', 'Name the file to write.'))
      const file = resolve(to ?? '')
      const image = await showOne(appliance, selected(args))
      await exportTo(appliance, image, file, ifExists, context)
      out.result(
        { file, image: image.name, sizeBytes: statSync(file).size },
        `exported "${safe(image.name)}" to ${safe(file)}`,
      )
    },
  },
]
