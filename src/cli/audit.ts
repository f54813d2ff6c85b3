import { take } from './appliance-client.ts'
import { parseWhole } from './args.ts'
import { type Command, must } from './command.ts'
import { safe, table, when } from './print.ts'

const isSaid = (value: unknown): boolean => value !== undefined && value !== null && value !== '' && value !== false

/** `name: "a" -> "b"` for each key of either; of what came or went, only what was said of it. */
function changeText(before: Record<string, unknown> = {}, after: Record<string, unknown> = {}): string {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => (key in before && key in after) || isSaid(before[key] ?? after[key]),
  )
  const text = (value: unknown): string => (value === undefined ? '' : JSON.stringify(value))
  return keys
    .map((key) => {
      if (!(key in before)) return `${key}: ${text(after[key])}`
      return key in after ? `${key}: ${text(before[key])} -> ${text(after[key])}` : `${key}: was ${text(before[key])}`
    })
    .join(', ')
}

export const auditCommands: readonly Command[] = [
  {
    words: 'audit list',
    operands: [],
    doc: 'who changed what, newest first',
    options: {
      verb: { placeholder: 'VERB', doc: 'such as image or image.copy' },
      who: { placeholder: 'WHO', doc: 'local, appliance, or token:NAME' },
      subject: { placeholder: 'TEXT', doc: 'part of what was changed' },
      before: { placeholder: 'ID', doc: 'lines older than this one' },
      limit: { placeholder: 'N', doc: 'so many (default 100, at most 1000)' },
    },
    run: async ({ appliance, args, out }) => {
      const limit = must(parseWhole('limit', args.text('limit')))
      const before = must(parseWhole('before', args.text('before')))
      const texts = Object.fromEntries(
        ['verb', 'who', 'subject'].flatMap((name) => {
          const text = args.text(name)
          return text === undefined ? [] : [[name, text]]
        }),
      )
      const lines = await take(
        appliance.api.audit.$get({
          query: {
            ...texts,
            ...(limit === undefined ? {} : { limit: String(limit) }),
            ...(before === undefined ? {} : { before: String(before) }),
          },
        }),
      )
      const rows = lines.map((line) => [
        String(line.id),
        when(line.atMs),
        safe(line.who),
        line.verb,
        safe(line.subject),
        safe(changeText(line.before, line.after)),
      ])
      out.result(
        lines,
        table(
          [
            { title: 'ID', right: true },
            { title: 'WHEN' },
            { title: 'WHO' },
            { title: 'VERB' },
            { title: 'WHAT' },
            { title: 'CHANGE' },
          ],
          rows,
        ),
      )
    },
  },
]
