/** Command lines: a table of commands, parsed strictly. An unknown option is a mistake, not a guess. */
import { parseArgs } from 'node:util'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'

export type Option = { readonly placeholder?: string; readonly doc: string }

/** `values` by option name without dashes; a flag without placeholder is true when given. */
export type Arguments = {
  readonly operands: readonly string[]
  readonly text: (name: string) => string | undefined
  readonly flag: (name: string) => boolean
}

/** Every command takes these. */
export const GLOBAL: Readonly<Record<string, Option>> = {
  socket: {
    placeholder: 'PATH',
    doc: 'the appliance on this machine (default /run/wimcast/api.sock, or WIMCAST_SOCKET)',
  },
  server: { placeholder: 'URL', doc: 'an appliance elsewhere, https://HOST:PORT' },
  fingerprint: { placeholder: 'SHA256', doc: 'of its certificate; the ready line and the page show it' },
  'token-file': { placeholder: 'FILE', doc: 'a file that holds the token' },
  json: { doc: 'print JSON' },
  help: { doc: 'print this' },
}

export function parseWords(argv: readonly string[], options: Readonly<Record<string, Option>>): Result<Arguments> {
  const all = { ...GLOBAL, ...options }
  try {
    const { values, positionals } = parseArgs({
      args: [...argv],
      allowPositionals: true,
      strict: true,
      options: Object.fromEntries(
        Object.entries(all).map(([name, { placeholder }]) => [
          name,
          { type: placeholder === undefined ? ('boolean' as const) : ('string' as const) },
        ]),
      ),
    })
    return ok({
      operands: positionals,
      text: (name) => {
        const value = values[name]
        return typeof value === 'string' ? value : undefined
      },
      flag: (name) => values[name] === true,
    })
  } catch (error) {
    return refuse('bad-request', error instanceof Error ? error.message : String(error), 'See: wimcast --help.')
  }
}

/** `on` or `off`, as settings are written. */
export function parseOnOff(name: string, text: string | undefined): Result<boolean | undefined> {
  if (text === undefined) return ok(undefined)
  if (text === 'on') return ok(true)
  if (text === 'off') return ok(false)
  return refuse('bad-request', `--${name} is "${text}"`, `Write --${name} on, or --${name} off.`)
}

/** Whole numbers only: `3x` and `1e2` are mistakes. */
export function parseId(what: string, text: string | undefined): Result<number> {
  if (text !== undefined && /^[1-9]\d{0,14}$/.test(text)) return ok(Number(text))
  return refuse(
    'bad-request',
    `${text === undefined ? `no ${what} is named` : `"${text}" is not the id of a ${what}`}`,
    `List them: wimcast ${what} list.`,
  )
}
