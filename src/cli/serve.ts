/** `wimcast serve`: the appliance in the foreground, until SIGTERM or SIGINT. */
import { once } from 'node:events'
import { openAppliance } from '../appliance.ts'
import { stderrLog } from '../base/log.ts'
import { refuse } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'
import { KEYS, readConfig } from '../config.ts'
import type { SelfCommand } from '../jobs/child.ts'
import { type Arguments, type Option, parseWords } from './args.ts'
import { type Command, must } from './command.ts'

const SERVE_OPTIONS: Readonly<Record<string, Option>> = {
  config: { placeholder: 'FILE', doc: 'a JSON file with these keys; flags and WIMCAST_… variables win over it' },
  ...Object.fromEntries(Object.values(KEYS).map(({ key, placeholder, doc }) => [key, { placeholder, doc }])),
}

/** For the lists of commands; it has no appliance to ask, so it is no `Command` that runs like the others. */
export const SERVE_COMMAND: Pick<Command, 'words' | 'operands' | 'doc' | 'options'> = {
  words: 'serve',
  operands: [],
  doc: 'run the appliance in the foreground; prints one line that begins "ready" when every port answers',
  options: SERVE_OPTIONS,
}

/** From source the program is Bun and a script; compiled it is itself. */
export function selfCommand(): SelfCommand {
  return Bun.isStandaloneExecutable ? [process.execPath] : [process.execPath, Bun.main]
}

/** The appliance itself has no use for the ways to reach one; taking them in silence would be a guess. */
const NOT_FOR_SERVE = ['server', 'fingerprint', 'token-file'] as const

function parseServe(argv: readonly string[]): Result<Arguments> {
  const args = parseWords(argv, SERVE_OPTIONS)
  if (!args.ok) return args
  const extra =
    args.value.operands[0] ??
    NOT_FOR_SERVE.map((name) => (args.value.text(name) === undefined ? undefined : `--${name}`)).find(Boolean)
  return extra === undefined
    ? args
    : refuse('bad-request', `serve does not take "${extra}"`, 'See: wimcast serve --help.')
}

export async function serve(argv: readonly string[]): Promise<number> {
  const args = must(parseServe(argv))
  const flags = Object.fromEntries(Object.values(KEYS).map(({ key }) => [key, args.text(key)]))
  const config = must(readConfig({ flags, environment: process.env, file: args.text('config') }))
  const log = stderrLog({ level: config.logLevel, journal: process.env['JOURNAL_STREAM'] !== undefined })

  const stop = new AbortController()
  const stopped = once(stop.signal, 'abort')
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort())
  {
    await using appliance = await openAppliance(config, { log, self: selfCommand() })
    const { doors, fingerprint } = appliance
    if (args.flag('json')) process.stdout.write(`${JSON.stringify({ ready: { ...doors, fingerprint } })}\n`)
    else
      process.stdout.write(
        `ready https=${doors.https} http=${doors.http} tftp=${doors.tftp} socket=${doors.socket} fingerprint=${fingerprint}\n`,
      )
    if (!stop.signal.aborted) await stopped
    log.info('stopping')
  }
  return 0
}
