import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes, parseBytes } from '../base/units.ts'
import { type ApplianceClient, done, take } from './appliance-client.ts'
import { audienceText, DRY_RUN, dryRunOf, type Option } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { facts, safe, table, when } from './print.ts'
import { visibleTo } from './select.ts'

type Group = Awaited<ReturnType<typeof showOne>>

async function showOne(appliance: ApplianceClient, name: string) {
  return take(appliance.api.groups[':name'].$get({ param: { name: encodeURIComponent(name) } }))
}

const PROPERTIES: Readonly<Record<string, Option>> = {
  description: { placeholder: 'D', doc: 'what it is for' },
  quota: { placeholder: 'SIZE|off', doc: 'what its segments may take on disk, such as 200 GiB' },
  'visible-to': { placeholder: 'WHO', doc: 'everybody, or roles and machine groups: operator,machine:Lab 1' },
  ...DRY_RUN,
}

function parseQuota(text: string | undefined): Result<number | null | undefined> {
  if (text === undefined) return ok(undefined)
  return text === 'off' ? ok(null) : parseBytes(text)
}

function properties(args: Context['args']) {
  const description = args.text('description')
  const quotaBytes = must(parseQuota(args.text('quota')))
  return {
    ...(description === undefined ? {} : { description }),
    ...(quotaBytes === undefined ? {} : { quotaBytes }),
    ...visibleTo(args),
  }
}

export function savedText(group: Pick<Group, 'storedBytes' | 'apparentBytes'>): string {
  const saved = Math.max(0, group.apparentBytes - group.storedBytes)
  return group.apparentBytes === 0
    ? '-'
    : `${formatBytes(saved)} (${Math.round((saved / group.apparentBytes) * 100)} %)`
}

function describe(group: Group): string {
  return facts([
    ['group', safe(group.name)],
    ['description', safe(group.description)],
    ['images', String(group.images)],
    ['stored', formatBytes(group.storedBytes)],
    ['as files of their own', formatBytes(group.apparentBytes)],
    ['saved by sharing', savedText(group)],
    ['quota', group.quotaBytes === undefined ? 'none' : formatBytes(group.quotaBytes)],
    ['visible to', safe(audienceText(group.audience))],
    ['made', when(group.createdAtMs)],
  ])
}

export const groupCommands: readonly Command[] = [
  {
    words: 'group new',
    operands: ['NAME'],
    doc: 'make an image group',
    options: PROPERTIES,
    run: async ({ appliance, args, out }) => {
      const json = { name: args.operands[0] ?? '', ...properties(args) }
      const group = await take(appliance.api.groups.$post({ query: dryRunOf(args), json }))
      out.result(group, `made image group "${safe(group.name)}"`)
    },
  },
  {
    words: 'group list',
    operands: [],
    doc: 'list image groups',
    options: {},
    run: async ({ appliance, out }) => {
      const groups = await take(appliance.api.groups.$get())
      const rows = groups.map((group) => [
        safe(group.name),
        String(group.images),
        formatBytes(group.storedBytes),
        formatBytes(group.apparentBytes),
        savedText(group),
      ])
      out.result(
        groups,
        table(
          [
            { title: 'GROUP' },
            { title: 'IMAGES', right: true },
            { title: 'STORED', right: true },
            { title: 'AS FILES', right: true },
            { title: 'SAVED', right: true },
          ],
          rows,
        ),
      )
    },
  },
  {
    words: 'group show',
    operands: ['NAME'],
    doc: 'show one, with what sharing saves',
    options: {},
    run: async ({ appliance, args, out }) => {
      const group = await showOne(appliance, args.operands[0] ?? '')
      out.result(group, describe(group))
    },
  },
  {
    words: 'group set',
    operands: ['NAME'],
    doc: 'rename it, describe it, limit what it takes or who sees it',
    options: { name: { placeholder: 'N', doc: 'a new name' }, ...PROPERTIES },
    run: async ({ appliance, args, out }) => {
      const name = args.text('name')
      const json = { ...(name === undefined ? {} : { name }), ...properties(args) }
      if (Object.keys(json).length === 0)
        must(
          refuse('bad-request', 'nothing to change is named', 'Give --name, --description, --quota or --visible-to.'),
        )
      const param = { name: encodeURIComponent(args.operands[0] ?? '') }
      const group = await take(appliance.api.groups[':name'].$patch({ param, query: dryRunOf(args), json }))
      out.result(group, describe(group))
    },
  },
  {
    words: 'group remove',
    operands: ['NAME'],
    doc: 'put an image group into the trash',
    options: { 'with-images': { doc: 'also when it holds images: they go with it' }, ...DRY_RUN },
    run: async ({ appliance, args, out }) => {
      const name = args.operands[0] ?? ''
      const query = { ...dryRunOf(args), ...(args.flag('with-images') ? { withImages: 'true' as const } : {}) }
      await done(appliance.api.groups[':name'].$delete({ param: { name: encodeURIComponent(name) }, query }))
      out.result({ removed: name }, `image group "${safe(name)}" is in the trash`)
    },
  },
]
