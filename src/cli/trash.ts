import { take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf, parseId, parseWhole } from './args.ts'
import { type Command, must } from './command.ts'
import { safe, table, when } from './print.ts'

export const trashCommands: readonly Command[] = [
  {
    words: 'trash list',
    operands: [],
    doc: 'list what was removed or replaced',
    options: {},
    run: async ({ appliance, out }) => {
      const items = await take(appliance.api.trash.$get())
      const rows = items.map((item) => [
        String(item.id),
        item.kind,
        safe(item.title),
        safe(item.kind === 'group' ? '' : item.group),
        safe(item.fileName ?? ''),
        when(item.removedAtMs),
        safe(item.removedBy),
      ])
      out.result(
        items,
        table(
          [
            { title: 'ID', right: true },
            { title: 'KIND' },
            { title: 'NAME' },
            { title: 'GROUP' },
            { title: 'FILE' },
            { title: 'REMOVED' },
            { title: 'BY' },
          ],
          rows,
        ),
      )
    },
  },
  {
    words: 'trash restore',
    operands: ['ID'],
    doc: 'bring an image or a group back, or put an image back to an earlier version',
    options: {
      name: { placeholder: 'N', doc: 'another name for a group, where its own is taken by now' },
      'file-name': { placeholder: 'F', doc: 'another file name for an image' },
      ...DRY_RUN,
    },
    run: async ({ appliance, args, out }) => {
      const id = String(must(parseId('trash', args.operands[0])))
      const name = args.text('name')
      const fileName = args.text('file-name')
      const json = { ...(name === undefined ? {} : { name }), ...(fileName === undefined ? {} : { fileName }) }
      const item = await take(appliance.api.trash[':id'].restore.$post({ param: { id }, query: dryRunOf(args), json }))
      out.result(item, `restored ${item.kind} "${safe(item.title)}"`)
    },
  },
  {
    words: 'trash empty',
    operands: [],
    doc: 'let go of it for good; compaction gives back what segments still hold',
    options: {
      id: { placeholder: 'ID,ID', doc: 'these only' },
      'older-than-days': { placeholder: 'N', doc: 'what has been there for so long' },
      ...DRY_RUN,
    },
    run: async ({ appliance, args, out }) => {
      const ids = args
        .text('id')
        ?.split(',')
        .map((id) => must(parseId('trash', id.trim())))
      const olderThanDays = must(parseWhole('older-than-days', args.text('older-than-days')))
      const gone = await take(
        appliance.api.trash.empty.$post({
          query: dryRunOf(args),
          json: { ...(ids ? { ids } : {}), ...(olderThanDays === undefined ? {} : { olderThanDays }) },
        }),
      )
      const [count, goes] = [gone.length, args.flag('dry-run') ? 'would go' : 'went']
      const lines = gone.map(
        (item) => `  ${item.kind} "${safe(item.title)}"${item.kind === 'group' ? '' : ` of ${safe(item.group)}`}`,
      )
      out.result(gone, [`${count} ${count === 1 ? 'thing' : 'things'} ${goes} for good`, ...lines].join('\n'))
    },
  },
]
