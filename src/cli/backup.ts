import { closeSync, fsyncSync, linkSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { Refused, refuse } from '../base/refusal.ts'
import { formatBytes } from '../base/units.ts'
import { unwritable } from '../library/transfer/export-target.ts'
import { type ApplianceClient, done, refusalOf, take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { mayWrite, parseIfExists } from './export.ts'
import { follow } from './jobs.ts'
import { safe, table, when } from './print.ts'

const IF_EXISTS = ['fail', 'overwrite'] as const
type IfExists = (typeof IF_EXISTS)[number]

/** To a part beside the file first: an interrupted download leaves neither a part nor half a file. */
async function download(
  appliance: ApplianceClient,
  name: string,
  file: string,
  ifExists: IfExists,
  { out, signal }: Context,
): Promise<void> {
  const part = `${file}.${process.pid}.part`
  const response = await appliance.raw.fetch(`/api/backups/${encodeURIComponent(name)}`, { signal })
  if (!response.ok || !response.body) throw new Refused(await refusalOf(response))
  const totalBytes = Number(response.headers.get('content-length'))
  try {
    // It holds the key of the appliance.
    const fd = openSync(part, 'wx', 0o600)
    try {
      let doneBytes = 0
      for await (const chunk of response.body) {
        for (let at = 0; at < chunk.byteLength; ) at += writeSync(fd, chunk, at)
        doneBytes += chunk.byteLength
        out.progress.show(`fetching ${name}`, doneBytes, totalBytes)
      }
      const hint = 'Try again; if it happens again, see the log of the appliance.'
      if (doneBytes !== totalBytes)
        must(refuse('unreachable', `the download ended after ${doneBytes} of ${totalBytes} bytes`, hint))
      fsyncSync(fd)
      // Again: somebody may have made it meanwhile, and a link never replaces it.
      must(mayWrite(file, ifExists))
      if (ifExists === 'fail') linkSync(part, file)
      else renameSync(part, file)
    } finally {
      closeSync(fd)
      rmSync(part, { force: true })
      out.progress.end()
    }
  } catch (error) {
    throw unwritable(file, error)
  }
}

type Made = { readonly name: string; readonly sizeBytes: number; readonly madeAtMs: number }

const TO = {
  to: { placeholder: 'FILE', doc: 'the file to write' },
  'if-exists': { placeholder: IF_EXISTS.join('|'), doc: 'when FILE is there (default fail)' },
} as const

export const backupCommands: readonly Command[] = [
  {
    words: 'backup create',
    operands: [],
    doc: 'back up everything but the image data: database, settings, tokens, keys',
    options: { ...TO, to: { ...TO.to, doc: 'fetch it to this file' }, ...DRY_RUN },
    run: async (context) => {
      const { appliance, args, out } = context
      const to = args.text('to')
      const file = to === undefined ? undefined : resolve(to)
      const ifExists = must(parseIfExists(args.text('if-exists'), IF_EXISTS))
      if (file !== undefined) must(mayWrite(file, ifExists))
      const { id } = await take(appliance.api.backups.$post({ query: dryRunOf(args) }))
      const job = await follow(appliance, id, context)
      if (args.flag('dry-run')) {
        out.result(job, `a backup takes at most ${formatBytes(Number(job.result?.['sizeBytes']))}`)
        return
      }
      const made = job.result as Made
      if (file !== undefined) await download(appliance, made.name, file, ifExists, context)
      const result = { name: made.name, sizeBytes: made.sizeBytes, madeAtMs: made.madeAtMs }
      out.result(
        file === undefined ? result : { ...result, file },
        `made ${made.name} (${formatBytes(made.sizeBytes)})${file === undefined ? '' : `, fetched to ${safe(file)}`}`,
      )
    },
  },
  {
    words: 'backup list',
    operands: [],
    doc: 'list the backups that the appliance keeps',
    options: {},
    run: async ({ appliance, out }) => {
      const backups = await take(appliance.api.backups.$get())
      const rows = backups.map(({ name, sizeBytes, madeAtMs }) => [safe(name), formatBytes(sizeBytes), when(madeAtMs)])
      out.result(backups, table([{ title: 'NAME' }, { title: 'SIZE', right: true }, { title: 'MADE' }], rows))
    },
  },
  {
    words: 'backup get',
    operands: ['NAME'],
    doc: 'fetch one',
    options: TO,
    run: async (context) => {
      const { appliance, args, out } = context
      const [name = ''] = args.operands
      const to = args.text('to')
      const ifExists = must(parseIfExists(args.text('if-exists'), IF_EXISTS))
      if (to === undefined || to === '')
        return must(refuse('bad-request', '--to is missing', 'Name the file to write.'))
      const file = resolve(to)
      must(mayWrite(file, ifExists))
      await download(appliance, name, file, ifExists, context)
      out.result({ name, file }, `fetched ${safe(basename(name))} to ${safe(file)}`)
    },
  },
  {
    words: 'backup remove',
    operands: ['NAME'],
    doc: 'remove one',
    options: DRY_RUN,
    run: async ({ appliance, args, out }) => {
      const [name = ''] = args.operands
      const param = { name: encodeURIComponent(name) }
      await done(appliance.api.backups[':name'].$delete({ param, query: dryRunOf(args) }))
      out.result({ removed: name }, `removed ${safe(name)}`)
    },
  },
]
