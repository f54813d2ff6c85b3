/**
 * A backup is one SQLite file: a copy of the database, with two tables more.
 *
 * ```
 * backup_facts  key, value           format, wimcast (its version), madeAtMs, schema (the newest migration)
 * backup_files  name, mode, bytes    the small files of the data directory, e.g. tls/key.pem
 * ```
 * Its application_id tells it from any other SQLite file, a plain copy of the database among them.
 */
export const FORMAT = 1
/** "WIMB" in ASCII. */
export const APPLICATION_ID = 0x57_49_4d_42

export const BACKUPS = 'backups'
export const NAME = /^wimcast-(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)(?:-\d{1,3})?\.backup$/

/** By the clock of the world (UTC): `wimcast-20260131-235959.backup`. */
export function nameAt(ms: number, n: number): string {
  const [day = '', time = ''] = new Date(ms).toISOString().split('T')
  const digits = (text: string): string => text.replaceAll(/\D/g, '')
  return `wimcast-${digits(day)}-${digits(time).slice(0, 6)}${n > 1 ? `-${n}` : ''}.backup`
}

/** undefined: no name of a backup. */
export function timeOf(name: string): number | undefined {
  const [, year, month, day, hour, minute, second] = NAME.exec(name)?.map(Number) ?? []
  if (year === undefined || month === undefined) return undefined
  return Date.UTC(year, month - 1, day, hour, minute, second)
}

/** Beside the database: images, what is temporary, what is made anew, and the backups themselves. */
export const NOT_KEPT = /^(wimcast\.db.*|running|groups|work|uploads|backups|restore|restore\.new)$/
/** A larger one is none of ours. */
export const MAX_FILE_BYTES = 16 << 20
/** Far more than there are. */
export const MAX_FILES = 1000
