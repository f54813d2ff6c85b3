/** The multicast set of parameters, as copy, import and `cast new` take it: words of Copy-WdsInstallImage. */
import { refuse } from '../base/refusal.ts'
import { type Option, parseWhole } from './args.ts'
import { type Context, must } from './command.ts'
import { safe } from './print.ts'

/** When a transmission begins; none of them: at once (AutoCast). */
export const STARTS: Readonly<Record<string, Option>> = {
  'manual-start': { doc: 'ScheduledCast: it waits for wimcast cast start' },
  'client-count': { placeholder: 'N', doc: 'ScheduledCast: it waits for so many clients' },
  'start-time': {
    placeholder: 'T',
    doc: 'ScheduledCast: it waits for MM/DD/YYYY.hh:mm:ss, YYYY/MM/DD:hh:mm or an ISO 8601 time; with a client count, for whichever comes first',
  },
}

export const MULTICAST: Readonly<Record<string, Option>> = {
  multicast: { doc: 'make a transmission of it as well (AutoCast)' },
  'transmission-name': { placeholder: 'N', doc: "the transmission's name; the image's when left out" },
  ...STARTS,
}

export function starts(args: Context['args']) {
  const clientCount = must(parseWhole('client-count', args.text('client-count')))
  const startTime = args.text('start-time')
  return {
    ...(args.flag('manual-start') ? { manualStart: true } : {}),
    ...(clientCount === undefined ? {} : { clientCount }),
    ...(startTime === undefined ? {} : { startTime }),
  }
}

/** `{ multicast: … }` for the API, or nothing when no transmission is asked for. */
export function multicast(args: Context['args']) {
  const name = args.text('transmission-name')
  const wanted = { ...starts(args), ...(name === undefined ? {} : { name }) }
  if (args.flag('multicast')) return { multicast: wanted }
  if (Object.keys(wanted).length > 0)
    must(refuse('bad-request', 'a transmission is described, but --multicast is missing', 'Add --multicast.'))
  return {}
}

/** What the answer says of the transmission that was made alongside. */
export function castText(made: {
  readonly transmission?: Readonly<Record<string, unknown>> | undefined
  readonly warnings?: readonly string[] | undefined
}): string {
  const { transmission, warnings = [] } = made
  const cast = transmission ? `\nmade transmission "${safe(String(transmission['name'] ?? ''))}"` : ''
  return cast + warnings.map((warning) => `\nwarning: ${safe(warning)}`).join('')
}
