/**
 * Bootstrap facts: what must be known before the database is open. One table; flags win over the environment, that over
 * the file, that over the defaults. Unknown keys are refused, and all mistakes are told at once.
 */
import { readFileSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { refuse } from './base/refusal.ts'
import { err, ok, type Result } from './base/result.ts'

export type Listen = { readonly host: string; readonly port: number } | 'off'

export type Config = {
  readonly data: string
  readonly http: Listen
  readonly https: Listen
  readonly tftp: Listen
  readonly socket: string | 'off'
  readonly importRoots: readonly string[]
  readonly exportRoots: readonly string[]
  readonly wimlib: string | undefined
  readonly tlsCertificate: string | undefined
  readonly tlsKey: string | undefined
  readonly hostNames: readonly string[]
  readonly logLevel: 'error' | 'warning' | 'info' | 'debug'
}

type Key<T> = {
  /** The flag without dashes, also the key of the file; the environment has it as WIMCAST_DATA. */
  readonly key: string
  readonly placeholder: string
  readonly doc: string
  readonly fallback: T
  /** Throws an Error whose message says what is wrong. */
  readonly parse: (value: Text) => T
}

/** Flags and variables are text; only the file can write a list as a list. */
type Text = string | readonly string[]

function one<T>(parse: (text: string) => T): (value: Text) => T {
  return (value) => {
    if (typeof value !== 'string') throw new Error('takes one value, not a list')
    return parse(value)
  }
}

/** `HOST:PORT`, `[::1]:PORT`, or `off`. */
export function parseListen(text: string): Listen {
  if (text === 'off') return 'off'
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (!match || port > 65_535) throw new Error(`"${text}" is not HOST:PORT or "off"`)
  return { host: match[1] ?? match[2] ?? '', port }
}

function path(text: string): string {
  if (text === '' || text.includes('\0')) throw new Error('a path is empty')
  return resolve(text)
}

function absolute(text: string): string {
  if (!isAbsolute(text)) throw new Error(`"${text}" is not an absolute path`)
  return resolve(text)
}

function oneOf<const T extends readonly string[]>(...allowed: T): (text: string) => T[number] {
  return (text) => {
    const found = allowed.find((value) => value === text)
    if (found === undefined) throw new Error(`"${text}" is none of ${allowed.join(', ')}`)
    return found
  }
}

/** Several values are parted by commas in text; a JSON list takes values that hold commas. */
function list<T>(each: (text: string) => T): (value: Text) => readonly T[] {
  return (value) => {
    const parts = typeof value === 'string' ? value.split(',').map((part) => part.trim()) : value
    return parts.filter((part) => part !== '').map(each)
  }
}

export const KEYS: { readonly [K in keyof Config]: Key<Config[K]> } = {
  data: {
    key: 'data',
    placeholder: 'DIR',
    doc: 'Where database, images and keys are kept.',
    fallback: '/var/lib/wimcast',
    parse: one(path),
  },
  http: {
    key: 'http',
    placeholder: 'HOST:PORT',
    doc: 'Plain HTTP: boot files and images marked public, nothing else.',
    fallback: { host: '0.0.0.0', port: 80 },
    parse: one(parseListen),
  },
  https: {
    key: 'https',
    placeholder: 'HOST:PORT',
    doc: 'The page and the API.',
    fallback: { host: '0.0.0.0', port: 443 },
    parse: one(parseListen),
  },
  tftp: {
    key: 'tftp',
    placeholder: 'HOST:PORT',
    doc: 'TFTP: the same files as plain HTTP.',
    fallback: { host: '0.0.0.0', port: 69 },
    parse: one(parseListen),
  },
  socket: {
    key: 'socket',
    placeholder: 'PATH',
    doc: 'The API for root and the group of the service on this machine.',
    fallback: '/run/wimcast/api.sock',
    parse: one((text) => (text === 'off' ? 'off' : path(text))),
  },
  importRoots: {
    key: 'import-roots',
    placeholder: 'DIR,DIR',
    doc: 'Folders below which the service itself may read files to import.',
    fallback: [],
    parse: list(absolute),
  },
  exportRoots: {
    key: 'export-roots',
    placeholder: 'DIR,DIR',
    doc: 'Folders below which the service itself may write exported images.',
    fallback: [],
    parse: list(absolute),
  },
  wimlib: {
    key: 'wimlib',
    placeholder: 'FILE',
    doc: 'A libwim to use instead of the embedded one.',
    fallback: undefined,
    parse: one(path),
  },
  tlsCertificate: {
    key: 'tls-certificate',
    placeholder: 'FILE',
    doc: 'A certificate of your own (PEM); without it one is made and kept.',
    fallback: undefined,
    parse: one(path),
  },
  tlsKey: {
    key: 'tls-key',
    placeholder: 'FILE',
    doc: 'The key of that certificate (PEM).',
    fallback: undefined,
    parse: one(path),
  },
  hostNames: {
    key: 'host-names',
    placeholder: 'NAME,NAME',
    doc: 'Further names and addresses for the made certificate.',
    fallback: [],
    parse: list((name) => name),
  },
  logLevel: {
    key: 'log-level',
    placeholder: 'LEVEL',
    doc: 'error, warning, info or debug.',
    fallback: 'info',
    parse: one(oneOf('error', 'warning', 'info', 'debug')),
  },
}

export type Given = Readonly<Record<string, string | undefined>>

export const environmentName = (key: string): string => `WIMCAST_${key.toUpperCase().replaceAll('-', '_')}`

function readFile(file: string, mistakes: string[]): Readonly<Record<string, Text>> {
  let value: unknown
  try {
    value = JSON.parse(readFileSync(file, 'utf8'))
  } catch (error) {
    mistakes.push(`${file}: ${error instanceof Error ? error.message : String(error)}`)
    return {}
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    mistakes.push(`${file}: not a JSON object`)
    return {}
  }
  const known = new Set(Object.values(KEYS).map(({ key }) => key))
  const given: Record<string, Text> = {}
  for (const [key, entry] of Object.entries(value)) {
    if (!known.has(key)) mistakes.push(`${file}: unknown key "${key}"`)
    else if (typeof entry === 'string') given[key] = entry
    else if (Array.isArray(entry) && entry.every((item) => typeof item === 'string')) given[key] = entry
    else mistakes.push(`${file}: "${key}" is neither a string nor a list of strings`)
  }
  return given
}

/** `flags` by key name; `file` is what --config names. All mistakes come back in one refusal. */
export function readConfig(options: {
  readonly flags: Given
  readonly environment: Given
  readonly file?: string | undefined
}): Result<Config> {
  const mistakes: string[] = []
  const file = options.file === undefined ? {} : readFile(options.file, mistakes)
  const config: Record<string, unknown> = {}
  for (const [name, entry] of Object.entries(KEYS)) {
    const { key, doc, fallback, parse } = entry as Key<unknown>
    const text = options.flags[key] ?? options.environment[environmentName(key)] ?? file[key]
    try {
      config[name] = text === undefined ? fallback : parse(text)
    } catch (error) {
      mistakes.push(`${key}: ${error instanceof Error ? error.message : String(error)} (${doc})`)
    }
  }
  const made = config as Config
  if ((made.tlsCertificate === undefined) !== (made.tlsKey === undefined))
    mistakes.push('tls-certificate and tls-key go together')
  if (mistakes.length === 0) return ok(made)
  const refusal = refuse(
    'bad-request',
    mistakes.join('\n'),
    'Correct the lines above; `wimcast serve --help` lists every key.',
    { mistakes },
  )
  return err(refusal.error)
}
