import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import { take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf } from './args.ts'
import { type Command, must } from './command.ts'
import { follow } from './jobs.ts'
import { safe } from './print.ts'

type Outcome = {
  readonly dryRun?: boolean
  readonly group: string
  readonly segments: number
  readonly rewrittenBytes: number
  readonly freedBytes: number
  readonly heldBytes?: number
}

function parsePercent(text: string | undefined): Result<number | undefined> {
  if (text === undefined) return ok(undefined)
  const percent = /^\d{1,3}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN
  if (percent <= 100) return ok(percent)
  return refuse('bad-request', `--at-percent is "${text}"`, 'It is a number from 0 to 100.')
}

function sentence({ dryRun, group, segments, rewrittenBytes, freedBytes, heldBytes = 0 }: Outcome): string {
  const name = `"${safe(group)}"`
  if (segments === 0 && freedBytes === 0) return `nothing to give back in ${name}`
  const wrote = `${segments} ${segments === 1 ? 'segment' : 'segments'} written anew, ${formatBytes(rewrittenBytes)}`
  if (dryRun) return `${name} would give back ${formatBytes(freedBytes)} (${wrote})`
  const held = heldBytes > 0 ? `; ${formatBytes(heldBytes)} more when transmissions have ended` : ''
  return `${name}: ${formatBytes(Math.max(0, freedBytes))} given back (${wrote})${held}`
}

export const compactCommands: readonly Command[] = [
  {
    words: 'group compact',
    operands: ['NAME'],
    doc: 'give back the space of what is no longer needed',
    options: {
      all: { doc: 'write every segment anew that holds anything dead' },
      'at-percent': { placeholder: 'N', doc: 'write those anew of which so many percent are dead (default 1)' },
      ...DRY_RUN,
    },
    run: async ({ appliance, args, out, signal }) => {
      const atPercent = must(parsePercent(args.text('at-percent')))
      const json = { ...(args.flag('all') ? { all: true } : {}), ...(atPercent === undefined ? {} : { atPercent }) }
      const param = { name: encodeURIComponent(args.operands[0] ?? '') }
      const { id } = await take(appliance.api.groups[':name'].compactions.$post({ param, query: dryRunOf(args), json }))
      const job = await follow(appliance, id, { out, signal })
      out.result(job, sentence(job.result as Outcome))
    },
  },
]
