/**
 * One line per outcome: a name and facts. `tftp.sent mac=… bytes=… tookMs=…`. The journal adds time and unit,
 * so lines carry neither; the level is a syslog prefix that journald understands (sd-daemon(3)).
 */
export type Facts = Readonly<Record<string, string | number | boolean | undefined>>
export type Level = 'error' | 'warning' | 'info' | 'debug'

export type Log = {
  readonly error: (name: string, facts?: Facts) => void
  readonly warning: (name: string, facts?: Facts) => void
  readonly info: (name: string, facts?: Facts) => void
  readonly debug: (name: string, facts?: Facts) => void
}

const PREFIX = { error: '<3>', warning: '<4>', info: '<6>', debug: '<7>' } as const
const RANK: readonly Level[] = ['error', 'warning', 'info', 'debug']

/** Values with spaces, quotes or control characters are JSON strings: a client's name can't forge a second line. */
function value(fact: string | number | boolean): string {
  const text = String(fact)
  return /^[\w.:/@+,%-]+$/.test(text) ? text : JSON.stringify(text)
}

export function formatLine(name: string, facts: Facts = {}): string {
  const parts = [name]
  for (const [key, fact] of Object.entries(facts)) if (fact !== undefined) parts.push(`${key}=${value(fact)}`)
  return parts.join(' ')
}

/** Writes to stderr; prefixes only when stderr is the journal (JOURNAL_STREAM is set by systemd). */
export function stderrLog(options: { readonly level: Level; readonly journal: boolean }): Log {
  const at = (level: Level) => (name: string, facts?: Facts) => {
    if (RANK.indexOf(level) > RANK.indexOf(options.level)) return
    process.stderr.write(`${options.journal ? PREFIX[level] : ''}${formatLine(name, facts)}\n`)
  }
  return { error: at('error'), warning: at('warning'), info: at('info'), debug: at('debug') }
}

export const silentLog: Log = { error() {}, warning() {}, info() {}, debug() {} }

/** The words of an error for a log line: message and the chain of causes, no stack. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `: ${reasonOf(error.cause)}`
  return `${error.message}${cause}`
}
