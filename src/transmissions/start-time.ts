/**
 * Times as operators write them. Pure. Three forms and nothing else: MM/DD/YYYY.hh:mm:ss (Copy-WdsInstallImage says so),
 * YYYY/MM/DD:hh:mm (its examples and wdsutil do so), and ISO 8601. What names no zone is in the appliance's.
 */
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'

export type StartTime = { readonly atMs: number; readonly past: boolean }

/** The longest that a form takes: a date, a time with nine decimals, an offset, the name of a zone. */
const MAX_CHARS = 100
const HINT = 'Write 2031-05-20T18:00, 2031-05-20T18:00Z, 05/20/2031.18:00:00 or 2031/05/20:18:00.'

const WDS = /^(?<month>\d{2})\/(?<day>\d{2})\/(?<year>\d{4})\.(?<hour>\d{2}):(?<minute>\d{2}):(?<second>\d{2})$/
const WDSUTIL = /^(?<year>\d{4})\/(?<month>\d{2})\/(?<day>\d{2}):(?<hour>\d{2}):(?<minute>\d{2})(?::(?<second>\d{2}))?$/
const ISO = new RegExp(
  '^(?<year>\\d{4})-(?<month>\\d{2})-(?<day>\\d{2})[Tt ](?<hour>\\d{2}):(?<minute>\\d{2})' +
    '(?::(?<second>\\d{2})(?:[.,]\\d{1,9})?)?' +
    // RFC 3339 §5.6, and the bracketed zone of RFC 9557.
    '(?<offset>[Zz]|[+-]\\d{2}(?::?\\d{2})?)?(?:\\[(?<zone>[A-Za-z][A-Za-z0-9_+/-]*)\\])?$',
)

function bad(text: string, why: string, hint = HINT): Result<never> {
  const shown = text.length > 40 ? `${text.slice(0, 40)}…` : text
  return refuse('bad-request', `${JSON.stringify(shown)} ${why}`, hint)
}

/** `18:00`; with the seconds where there are any. */
function shown(time: Temporal.ZonedDateTime): string {
  return time.toString({ smallestUnit: time.second === 0 ? 'minute' : 'second', timeZoneName: 'never' })
}

/** `timeZone`: an IANA name. Fractions of a second are dropped. */
export function parseStartTime(
  text: string,
  { timeZone, nowMs }: { readonly timeZone: string; readonly nowMs: number },
): Result<StartTime> {
  const written = text.length > MAX_CHARS ? '' : text.trim()
  const parts = (WDS.exec(written) ?? WDSUTIL.exec(written) ?? ISO.exec(written))?.groups
  if (!parts) return bad(text, 'is not a time')
  const of = (part: string): number => Number(parts[part] ?? 0)
  let local: Temporal.PlainDateTime
  try {
    local = Temporal.PlainDateTime.from(
      {
        year: of('year'),
        month: of('month'),
        day: of('day'),
        hour: of('hour'),
        minute: of('minute'),
        second: of('second'),
      },
      { overflow: 'reject' },
    )
  } catch {
    return bad(text, 'is a date or a time that does not exist', 'Check the day, the month and the hour (00 to 23).')
  }
  const { offset, zone } = parts
  if (offset !== undefined) {
    const at = byOffset(text, local, offset)
    if (!at.ok || zone === undefined) return withPast(at, nowMs)
    const inZone = offsetsOf(text, local, zone)
    if (!inZone.ok) return inZone
    if (inZone.value.includes(at.value)) return withPast(at, nowMs)
    return bad(text, `names an offset that ${zone} does not have then`, 'Leave out the offset, or the zone.')
  }
  return withPast(byZone(text, local, zone ?? timeZone), nowMs)
}

function withPast(at: Result<number>, nowMs: number): Result<StartTime> {
  return at.ok ? ok({ atMs: at.value, past: at.value < nowMs }) : at
}

function byOffset(text: string, local: Temporal.PlainDateTime, offset: string): Result<number> {
  const utc = local.toZonedDateTime('UTC').epochMilliseconds
  if (/^z$/i.test(offset)) return ok(utc)
  const [hours, minutes] = [Number(offset.slice(1, 3)), Number(offset.slice(3).replace(':', '') || 0)]
  if (hours > 23 || minutes > 59) return bad(text, 'has an offset that does not exist', 'Offsets are like +02:00.')
  const offsetMs = (hours * 60 + minutes) * 60_000 * (offset.startsWith('-') ? -1 : 1)
  return ok(utc - offsetMs)
}

type Zoned = { readonly earlier: Temporal.ZonedDateTime; readonly later: Temporal.ZonedDateTime }

/** The two readings of a local time: the same but where the clocks are set. */
function readings(text: string, local: Temporal.PlainDateTime, zone: string): Result<Zoned> {
  try {
    const earlier = local.toZonedDateTime(zone, { disambiguation: 'earlier' })
    return ok({ earlier, later: local.toZonedDateTime(zone, { disambiguation: 'later' }) })
  } catch {
    return bad(
      text,
      `names the time zone ${JSON.stringify(zone)}, which is unknown here`,
      'Names are like Europe/Berlin.',
    )
  }
}

function offsetsOf(text: string, local: Temporal.PlainDateTime, zone: string): Result<number[]> {
  const both = readings(text, local, zone)
  return both.ok ? ok([both.value.earlier.epochMilliseconds, both.value.later.epochMilliseconds]) : both
}

/** An hour that the clocks skip is refused; of one that comes twice it is the first. */
function byZone(text: string, local: Temporal.PlainDateTime, zone: string): Result<number> {
  const both = readings(text, local, zone)
  if (!both.ok) return both
  const { earlier, later } = both.value
  if (earlier.toPlainDateTime().equals(local)) return ok(earlier.epochMilliseconds)
  return bad(
    text,
    `does not exist in ${zone}: the clocks are set forward over it`,
    `The nearest times are ${shown(earlier)} and ${shown(later)}.`,
  )
}
