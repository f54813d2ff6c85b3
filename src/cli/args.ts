/** Command lines: a table of commands, parsed strictly. An unknown option is a mistake, not a guess. */
import { parseArgs } from 'node:util'
import { type Audience, ROLES, type Role } from '../base/principal.ts'
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

/** Every command that changes something takes it: run.ts says in front of the result that nothing was changed. */
export const DRY_RUN: Readonly<Record<string, Option>> = {
  'dry-run': { doc: 'say what would happen, refuse what would be refused, and change nothing' },
}

/** For the query of a route that changes something. */
export function dryRunOf(args: Arguments): { readonly dryRun?: 'true' } {
  return args.flag('dry-run') ? { dryRun: 'true' } : {}
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
    // Node adds advice about operands that begin with a dash.
    const [said = ''] = (error instanceof Error ? error.message : String(error)).split('. To specify')
    return refuse('bad-request', said, 'See: wimcast --help.')
  }
}

/** `on` or `off`, as settings are written. */
export function parseOnOff(name: string, text: string | undefined): Result<boolean | undefined> {
  if (text === undefined) return ok(undefined)
  if (text === 'on') return ok(true)
  if (text === 'off') return ok(false)
  return refuse('bad-request', `--${name} is "${text}"`, `Write --${name} on, or --${name} off.`)
}

export function parseWhole(name: string, text: string | undefined): Result<number | undefined> {
  if (text === undefined) return ok(undefined)
  if (/^\d{1,15}$/.test(text)) return ok(Number(text))
  return refuse('bad-request', `--${name} is "${text}"`, 'Write a whole number.')
}

/** `everybody`, or roles and machine groups: `operator,machine:Lab 1`. `null` lifts the limit. */
export function parseVisibleTo(text: string | undefined): Result<Audience | null | undefined> {
  if (text === undefined) return ok(undefined)
  if (text === 'everybody') return ok(null)
  const roles: Role[] = []
  const machineGroups: string[] = []
  for (const part of text.split(',').map((each) => each.trim())) {
    const role = ROLES.find((known) => known === part)
    if (role) roles.push(role)
    else if (part.startsWith('machine:')) machineGroups.push(part.slice('machine:'.length))
    else
      return refuse(
        'bad-request',
        `"${part}" is neither a role nor machine:GROUP`,
        `Write everybody, or some of ${ROLES.join(', ')}, machine:GROUP, parted by commas.`,
      )
  }
  return ok({ roles, machineGroups })
}

export function audienceText(
  audience: { readonly roles: readonly string[]; readonly machineGroups: readonly string[] } | undefined,
): string {
  if (!audience) return 'everybody'
  return [...audience.roles, ...audience.machineGroups.map((group) => `machine:${group}`)].join(', ')
}

/** Whole numbers only: `3x` and `1e2` are mistakes. */
export function parseId(what: string, text: string | undefined): Result<number> {
  if (text !== undefined && /^[1-9]\d{0,14}$/.test(text)) return ok(Number(text))
  return refuse(
    'bad-request',
    text === undefined ? 'no id is given' : `"${text}" is not an id`,
    `Ids are whole numbers: wimcast ${what} list shows them.`,
  )
}
