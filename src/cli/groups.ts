import { formatBytes } from '../base/units.ts'
import { done, take } from './appliance-client.ts'
import type { Command } from './command.ts'
import { facts, safe, table, when } from './print.ts'

type Group = { name: string; images: number; storedBytes: number; apparentBytes: number; createdAtMs: number }

export function savedText(group: Pick<Group, 'storedBytes' | 'apparentBytes'>): string {
  const saved = Math.max(0, group.apparentBytes - group.storedBytes)
  return group.apparentBytes === 0
    ? '-'
    : `${formatBytes(saved)} (${Math.round((saved / group.apparentBytes) * 100)} %)`
}

function describe(group: Group): string {
  return facts([
    ['group', safe(group.name)],
    ['images', String(group.images)],
    ['stored', formatBytes(group.storedBytes)],
    ['as files of their own', formatBytes(group.apparentBytes)],
    ['saved by sharing', savedText(group)],
    ['made', when(group.createdAtMs)],
  ])
}

export const groupCommands: readonly Command[] = [
  {
    words: 'group new',
    operands: ['NAME'],
    doc: 'make an image group',
    options: {},
    run: async ({ appliance, args, out }) => {
      const group = await take(appliance.api.groups.$post({ json: { name: args.operands[0] ?? '' } }))
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
      const group = await take(
        appliance.api.groups[':name'].$get({ param: { name: encodeURIComponent(args.operands[0] ?? '') } }),
      )
      out.result(group, describe(group))
    },
  },
  {
    words: 'group remove',
    operands: ['NAME'],
    doc: 'remove an empty image group',
    options: {},
    run: async ({ appliance, args, out }) => {
      await done(appliance.api.groups[':name'].$delete({ param: { name: encodeURIComponent(args.operands[0] ?? '') } }))
      out.result({ removed: args.operands[0] }, `removed image group "${safe(args.operands[0] ?? '')}"`)
    },
  },
]
