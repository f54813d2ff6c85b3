/**
 * Settings: what an operator changes while the appliance runs. They lie in the database and take effect at once; what must
 * be known before the database is open is src/config.ts. One table: key, doc, default, parser; docs come from it.
 */
import { eq } from 'drizzle-orm'
import type { By, Changes } from '../audit/changes.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { parseBytes } from '../base/units.ts'
import type { Db } from '../db/open.ts'
import { settings as table } from '../db/schema.ts'

type Setting<T> = {
  readonly doc: string
  /** As an operator would write it. */
  readonly fallback: string
  /** Throws an Error whose message says what is wrong. */
  readonly parse: (text: string) => T
}

function oneOf<const T extends readonly string[]>(...allowed: T): (text: string) => T[number] {
  return (text) => {
    const found = allowed.find((value) => value === text)
    if (found === undefined) throw new Error(`it is one of ${allowed.join(', ')}`)
    return found
  }
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
    if (!(value >= least && value <= most)) throw new Error(`it is a whole number from ${least} to ${most}`)
    return value
  }
}

function orOff<T>(parse: (text: string) => T): (text: string) => T | undefined {
  return (text) => (text === 'off' ? undefined : parse(text))
}

/** Hours and minutes on the appliance's clock. */
function timeOfDay(text: string): { readonly hour: number; readonly minute: number } {
  const [, hour, minute] = /^([01]\d|2[0-3]):([0-5]\d)$/.exec(text) ?? []
  if (hour === undefined || minute === undefined) throw new Error('it is a time of day such as 03:00')
  return { hour: Number(hour), minute: Number(minute) }
}

/** An IANA name, or `system`: the zone of the machine. */
function timeZone(text: string): string {
  if (text === 'system') return Intl.DateTimeFormat().resolvedOptions().timeZone
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone
  } catch {
    throw new Error('it is the name of a time zone such as Europe/Berlin, or system')
  }
}

function bytes(text: string): number {
  const parsed = parseBytes(text)
  if (!parsed.ok) throw new Error(parsed.error.message)
  return parsed.value
}

function setting<T>(doc: string, fallback: string, parse: (text: string) => T): Setting<T> {
  return { doc, fallback, parse }
}

export const SETTINGS = {
  'time-zone': setting('The zone of times that are given without one, and of schedules.', 'system', timeZone),
  'scrub.every': setting(
    'How often every content of the library is read and checked: off, daily, weekly or monthly.',
    'weekly',
    oneOf('off', 'daily', 'weekly', 'monthly'),
  ),
  'scrub.at': setting('When upkeep begins: the check, the compaction, the emptying of the trash.', '03:00', timeOfDay),
  'compact.at-percent': setting(
    'A group is compacted by schedule when so many percent of it are no longer needed; off: never by itself.',
    '20',
    orOff(whole(1, 99)),
  ),
  'trash.keep-days': setting(
    'How long the trash keeps what was removed or replaced, in days; off: until somebody empties it.',
    'off',
    orOff(whole(0, 3650)),
  ),
  'space.reserve': setting('Free space on the data disk that imports leave alone.', '64 MiB', bytes),
} as const satisfies Readonly<Record<string, Setting<unknown>>>

export type SettingKey = keyof typeof SETTINGS
export type SettingValue<K extends SettingKey> = ReturnType<(typeof SETTINGS)[K]['parse']>

export type SettingRow = {
  readonly key: SettingKey
  readonly value: string
  readonly fallback: string
  readonly doc: string
}

export type Settings = {
  readonly get: <K extends SettingKey>(key: K) => SettingValue<K>
  readonly list: () => SettingRow[]
  /** `undefined`: back to the default. */
  readonly set: (key: string, value: string | undefined, by: By) => Result<SettingRow>
}

const isKey = (text: string): text is SettingKey => Object.hasOwn(SETTINGS, text)

export function openSettings({ db, changes }: { readonly db: Db; readonly changes: Changes }): Settings {
  const textOf = (key: SettingKey): string =>
    db.select().from(table).where(eq(table.key, key)).get()?.value ?? SETTINGS[key].fallback
  const row = (key: SettingKey): SettingRow => ({
    key,
    value: textOf(key),
    fallback: SETTINGS[key].fallback,
    doc: SETTINGS[key].doc,
  })
  return {
    get: <K extends SettingKey>(key: K) => {
      try {
        return SETTINGS[key].parse(textOf(key)) as SettingValue<K>
      } catch {
        // Written by another version, or a zone that this machine does not know: the default serves.
        return SETTINGS[key].parse(SETTINGS[key].fallback) as SettingValue<K>
      }
    },
    list: () => Object.keys(SETTINGS).filter(isKey).map(row),
    set: (key, value, by) => {
      if (!isKey(key))
        return refuse('not-found', `there is no setting "${key}"`, `There are: ${Object.keys(SETTINGS).join(', ')}.`)
      const text = value?.trim()
      if (text !== undefined)
        try {
          SETTINGS[key].parse(text)
        } catch (error) {
          const why = error instanceof Error ? error.message : String(error)
          return refuse('bad-request', `"${text.slice(0, 80)}" is no value of ${key}: ${why}`, SETTINGS[key].doc)
        }
      return changes.apply(by, () => {
        const before = textOf(key)
        if (text === undefined) db.delete(table).where(eq(table.key, key)).run()
        else
          db.insert(table)
            .values({ key, value: text })
            .onConflictDoUpdate({ target: table.key, set: { value: text } })
            .run()
        const after = row(key)
        return ok({
          value: after,
          entries: [{ verb: 'settings.set', subject: key, before: { value: before }, after: { value: after.value } }],
        })
      })
    },
  }
}
