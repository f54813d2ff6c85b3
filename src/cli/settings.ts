import { take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf } from './args.ts'
import type { Command } from './command.ts'
import { safe, table } from './print.ts'

export const settingCommands: readonly Command[] = [
  {
    words: 'settings list',
    operands: [],
    doc: 'list settings, with their defaults',
    options: {},
    run: async ({ appliance, out }) => {
      const settings = await take(appliance.api.settings.$get())
      const rows = settings.map(({ key, value, fallback, doc }) => [key, safe(value), fallback, doc])
      out.result(
        settings,
        table([{ title: 'KEY' }, { title: 'VALUE' }, { title: 'DEFAULT' }, { title: 'WHAT IT DOES' }], rows),
      )
    },
  },
  {
    words: 'settings set',
    operands: ['KEY', 'VALUE'],
    doc: 'change one; it takes effect at once (the value "default" takes it back)',
    options: DRY_RUN,
    run: async ({ appliance, args, out }) => {
      const [key = '', value = ''] = args.operands
      const set = await take(
        appliance.api.settings[':key'].$put({
          param: { key: encodeURIComponent(key) },
          query: dryRunOf(args),
          json: { value: value === 'default' ? null : value },
        }),
      )
      out.result(set, `${set.key} is ${safe(set.value)}`)
    },
  },
]
