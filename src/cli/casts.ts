import { refuse } from '../base/refusal.ts'
import { formatBitsPerSecond, formatBytes, parseBitsPerSecond } from '../base/units.ts'
import { take } from './appliance-client.ts'
import { type Arguments, DRY_RUN, dryRunOf, parseId } from './args.ts'
import { type Command, must } from './command.ts'
import { STARTS, starts } from './multicast.ts'
import { facts, safe, table, when } from './print.ts'

type Cast = Awaited<ReturnType<typeof listAll>>[number]

async function listAll(appliance: Parameters<Command['run']>[0]['appliance']) {
  return take(appliance.api.casts.$get())
}

/** What it waits for, on one line; empty when it does not. */
function waits({ waitsFor }: Pick<Cast, 'waitsFor'>): string {
  if (!waitsFor) return ''
  const { ready, clientCount, startAtMs, manual } = waitsFor
  if (manual) return `a start by hand (${ready} ready)`
  if (startAtMs !== undefined && startAtMs <= Date.now()) return 'its first client'
  const clients = clientCount === undefined ? undefined : `${ready} of ${clientCount} clients`
  const time = startAtMs === undefined ? undefined : `${when(startAtMs)} UTC`
  return [clients, time].filter((part) => part !== undefined).join(' or ')
}

const CAST_PARAMETERS = {
  name: { placeholder: 'N', doc: 'what it is called (default: the name of the image)' },
  ...STARTS,
  interface: { placeholder: 'IF', doc: 'the network interface to send on' },
  rate: { placeholder: 'BITS/S', doc: 'a ceiling, such as 500M' },
} satisfies Command['options']

function castParameters(args: Arguments) {
  const rate = args.text('rate')
  const rateBitsPerSecond = rate === undefined ? undefined : must(parseBitsPerSecond(rate))
  const name = args.text('name')
  const interfaceName = args.text('interface')
  return {
    ...(name === undefined ? {} : { name }),
    ...starts(args),
    ...(interfaceName === undefined ? {} : { interface: interfaceName }),
    ...(rateBitsPerSecond === undefined ? {} : { rateBitsPerSecond }),
  }
}

function describe(cast: Cast): string {
  const { status } = cast
  const head = facts([
    ['transmission', `${cast.id} ${safe(cast.name)}`],
    ['kind', cast.kind === 'auto' ? 'AutoCast' : 'ScheduledCast'],
    ['waits for', waits(cast)],
    ['image', `${safe(cast.image)} (${safe(cast.group)})`],
    ['state', status ? status.state : 'ended'],
    ['reason', cast.reason && safe(cast.reason)],
    ['failure', status?.failure && `${status.failure.code}: ${safe(status.failure.message)}`],
    [
      'address',
      status && `${status.group}:${status.port}${status.interfaceName ? ` on ${safe(status.interfaceName)}` : ''}`,
    ],
    ['size', status && formatBytes(status.sizeBytes)],
    [
      'sent',
      status &&
        `${formatBytes(status.sentBytes)} in ${status.pass} passes, now ${formatBitsPerSecond(status.sentBitsPerSecond)}`,
    ],
    ['ceiling', cast.rateBitsPerSecond === undefined ? 'none' : formatBitsPerSecond(cast.rateBitsPerSecond)],
    ['heard by', status && status.heard.of > 0 ? `${status.heard.clients} of ${status.heard.of}` : undefined],
    ['started', when(cast.startedAtMs)],
    ['made', `${when(cast.createdAtMs)} by ${safe(cast.createdBy)}`],
    ['ended', when(cast.endedAtMs)],
  ])
  if (!status || status.clients.length === 0) return head
  const rows = status.clients.map((client) => [
    safe(client.name),
    client.state,
    `${status.sizeBytes > 0 ? Math.floor((1 - client.lackingBytes / status.sizeBytes) * 100) : 0} %`,
    `${(client.lossPpm / 10_000).toFixed(2)} %`,
    String(client.socketDrops),
  ])
  return `${head}\n\n${table([{ title: 'CLIENT' }, { title: 'STATE' }, { title: 'HAS', right: true }, { title: 'LOSS', right: true }, { title: 'DROPS', right: true }], rows)}`
}

export const castCommands: readonly Command[] = [
  {
    words: 'cast new',
    operands: [],
    doc: 'make a transmission: clients may join at any time (AutoCast), or it waits first (ScheduledCast)',
    options: {
      image: { placeholder: 'NAME', doc: 'what to send' },
      group: { placeholder: 'G', doc: 'its group; may be left out while there is exactly one' },
      file: { placeholder: 'F', doc: 'its file name, where the image name is not unique' },
      ...CAST_PARAMETERS,
      ...DRY_RUN,
    },
    run: async ({ appliance, args, out }) => {
      const image = args.text('image')
      if (image === undefined) must(refuse('bad-request', '--image is missing', 'Name the image to send.'))
      const group = args.text('group')
      const file = args.text('file')
      const cast = await take(
        appliance.api.casts.$post({
          query: dryRunOf(args),
          json: {
            image: image ?? '',
            ...(group === undefined ? {} : { group }),
            ...(file === undefined ? {} : { file }),
            ...castParameters(args),
          },
        }),
      )
      const where = cast.status && !args.flag('dry-run') ? ` at ${cast.status.group}:${cast.status.port}` : ''
      const waiting = cast.waitsFor ? `; it waits for ${waits(cast)}` : ''
      const made = `made transmission ${cast.id} of "${safe(cast.image)}"${where}${waiting}`
      out.result(cast, [made, ...(cast.warnings ?? []).map((warning) => `warning: ${warning}`)].join('\n'))
    },
  },
  {
    words: 'cast list',
    operands: [],
    doc: 'list transmissions, newest first',
    options: {},
    run: async ({ appliance, out }) => {
      const casts = await listAll(appliance)
      const rows = casts.map((cast) => [
        String(cast.id),
        safe(cast.name),
        cast.status ? cast.status.state : 'ended',
        cast.status ? `${cast.status.group}:${cast.status.port}` : '',
        String(cast.status?.clients.length ?? 0),
        cast.status ? formatBitsPerSecond(cast.status.sentBitsPerSecond) : '',
        waits(cast),
        safe(cast.reason ?? ''),
      ])
      out.result(
        casts,
        table(
          [
            { title: 'ID', right: true },
            { title: 'NAME' },
            { title: 'STATE' },
            { title: 'ADDRESS' },
            { title: 'CLIENTS', right: true },
            { title: 'RATE', right: true },
            { title: 'WAITS FOR' },
            { title: 'REASON' },
          ],
          rows,
        ),
      )
    },
  },
  {
    words: 'cast show',
    operands: ['ID'],
    doc: 'show one with its clients',
    options: {},
    run: async ({ appliance, args, out }) => {
      const cast = await take(
        appliance.api.casts[':id'].$get({ param: { id: String(must(parseId('cast', args.operands[0]))) } }),
      )
      out.result(cast, describe(cast))
    },
  },
  {
    words: 'cast start',
    operands: ['ID'],
    doc: 'start a ScheduledCast that waits; refused while no client is there',
    options: { ...DRY_RUN },
    run: async ({ appliance, args, out }) => {
      const id = must(parseId('cast', args.operands[0]))
      const cast = await take(
        appliance.api.casts[':id'].start.$post({ param: { id: String(id) }, query: dryRunOf(args) }),
      )
      out.result(cast, `started transmission ${cast.id}`)
    },
  },
  {
    words: 'cast stop',
    operands: ['ID'],
    doc: 'no new clients, those present finish; with --force, or while it waits, all are cut off',
    options: { force: { doc: 'cut everybody off' }, ...DRY_RUN },
    run: async ({ appliance, args, out }) => {
      const id = must(parseId('cast', args.operands[0]))
      const cast = await take(
        appliance.api.casts[':id'].stop.$post({
          param: { id: String(id) },
          query: dryRunOf(args),
          json: { force: args.flag('force') },
        }),
      )
      out.result(cast, `stopping transmission ${cast.id}`)
    },
  },
]
