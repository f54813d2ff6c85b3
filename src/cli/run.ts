/**
 * The command line: words -> command -> exit code.
 *
 * Exit codes are EXIT_CODES below. With --json standard output holds one JSON document, whatever the outcome:
 * the result, or `{"error": {code, message, hint}}`.
 */
import { reasonOf } from '../base/log.ts'
import { Fault, type Refusal, Refused, refuse } from '../base/refusal.ts'
import { VERSION, versions } from '../version.ts'
import { openAppliance } from './appliance-client.ts'
import { GLOBAL, type Option, parseWords } from './args.ts'
import { auditCommands } from './audit.ts'
import { backupCommands } from './backup.ts'
import { castCommands } from './casts.ts'
import { type Command, type Context, Misused, must } from './command.ts'
import { compactCommands } from './compact.ts'
import { groupCommands } from './groups.ts'
import { imageCommands } from './images.ts'
import { importCommands } from './import.ts'
import { jobCommands } from './jobs.ts'
import { libraryCommands } from './library.ts'
import { configOf, OFFLINE_COMMANDS, type OfflineCommand } from './offline.ts'
import { hanging, progressLine, safe } from './print.ts'
import { receiveCommand } from './receive.ts'
import { SERVE_COMMAND, serve } from './serve.ts'
import { settingCommands } from './settings.ts'
import { tokenCommands } from './tokens.ts'
import { trashCommands } from './trash.ts'

export const COMMANDS: readonly Command[] = [
  ...groupCommands,
  ...importCommands,
  ...imageCommands,
  ...trashCommands,
  ...libraryCommands,
  ...compactCommands,
  ...castCommands,
  receiveCommand,
  ...jobCommands,
  ...tokenCommands,
  ...settingCommands,
  ...auditCommands,
  ...backupCommands,
]

const EXIT = { done: 0, refused: 1, usage: 2, unreachable: 3, fault: 4, interrupted: 130 } as const

export const EXIT_CODES: Readonly<Record<(typeof EXIT)[keyof typeof EXIT], string>> = {
  0: 'done',
  1: 'refused: the code, a sentence and a hint are on standard error',
  2: 'the command line or the configuration itself is wrong',
  3: 'the appliance cannot be reached, or showed another certificate',
  4: 'a fault: of wimcast, or of the machine',
  130: 'interrupted',
}

function optionLines(options: Readonly<Record<string, Option>>): string {
  const rows = Object.entries(options).map(
    ([name, { placeholder, doc }]) =>
      [`  --${name}${placeholder === undefined ? '' : ` ${placeholder}`}`, doc] as const,
  )
  const width = Math.max(...rows.map(([left]) => left.length))
  return rows.map(([left, doc]) => `${left.padEnd(width)}  ${hanging(doc, width + 2)}`).join('\n')
}

function usageOf(command: Pick<Command, 'words' | 'operands' | 'doc' | 'options'>): string {
  const own = Object.keys(command.options).length > 0 ? `${optionLines(command.options)}\n\n` : ''
  return `wimcast ${[command.words, ...command.operands].join(' ')} [options]\n${command.doc}\n\n${own}everywhere:\n${optionLines(GLOBAL)}\n`
}

/** Commands of one noun together, by the order in which the nouns come. */
function byNoun<T extends { readonly words: string }>(commands: readonly T[]): T[] {
  return [...Map.groupBy(commands, ({ words }) => words.split(' ')[0]).values()].flat()
}

function overview(): string {
  const rows = byNoun([SERVE_COMMAND, ...COMMANDS, ...OFFLINE_COMMANDS]).map(
    ({ words, operands, doc }) => [`  ${[words, ...operands].join(' ')}`, doc] as const,
  )
  const width = Math.max(...rows.map(([left]) => left.length))
  return `wimcast ${VERSION}: Windows images, stored once, sent to many.\n\n${rows.map(([left, doc]) => `${left.padEnd(width)}  ${hanging(doc, width + 2)}`).join('\n')}\n\neverywhere:\n${optionLines(GLOBAL)}\n\nwimcast COMMAND --help says more.\n`
}

function report(refusal: Refusal, options: { readonly json: boolean; readonly usage?: boolean }): number {
  if (options.json) process.stdout.write(`${JSON.stringify({ error: refusal })}\n`)
  process.stderr.write(`wimcast: ${safe(refusal.message.replaceAll('\n', '; '))} [${refusal.code}]\n`)
  if (refusal.hint !== '') process.stderr.write(`         ${safe(refusal.hint)}\n`)
  if (options.usage) return EXIT.usage
  return refusal.code === 'unreachable' || refusal.code === 'wrong-certificate' ? EXIT.unreachable : EXIT.refused
}

function usageError(message: string, json: boolean, hint = 'See: wimcast --help.'): number {
  return report(refuse('bad-request', message, hint).error, { json, usage: true })
}

function isOffline(command: Command | OfflineCommand): command is OfflineCommand {
  return OFFLINE_COMMANDS.some((known) => known === command)
}

async function runCommand(command: Command | OfflineCommand, argv: readonly string[], json: boolean): Promise<number> {
  const hint = `See: wimcast ${command.words} --help.`
  const args = parseWords(argv, command.options)
  if (!args.ok) return usageError(args.error.message, json, hint)
  const missing = command.operands[args.value.operands.length]
  // In brackets: may be left out.
  if (missing !== undefined && !missing.startsWith('['))
    return usageError(`${command.words} needs ${missing}`, json, hint)
  const extra = args.value.operands[command.operands.length]
  if (extra !== undefined) return usageError(`"${extra}" is one word too many`, json, hint)
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interrupted.abort())
  const progress = progressLine(process.stderr)
  try {
    const context: Context = {
      args: args.value,
      signal: interrupted.signal,
      out: {
        progress,
        result: (value, text) => {
          // Of several lines the columns stay in line.
          const tried = args.value.flag('dry-run')
            ? `dry run, nothing was changed:${text.includes('\n') ? '\n' : ' '}`
            : ''
          process.stdout.write(json ? `${JSON.stringify(value)}\n` : `${tried}${text}\n`)
        },
      },
    }
    if (isOffline(command)) {
      await command.run({ ...context, config: configOf(args.value) })
      return EXIT.done
    }
    using appliance = must(openAppliance(args.value))
    await command.run({ ...context, appliance })
    return EXIT.done
  } catch (error) {
    progress.end()
    if (interrupted.signal.aborted) {
      report(refuse('cancelled', 'interrupted', '').error, { json })
      return EXIT.interrupted
    }
    throw error
  }
}

/** The longest words that name a command: `image import` before `image`. Options may come before the words. */
function findCommand(
  argv: readonly string[],
): { command: Command | OfflineCommand; rest: readonly string[] } | undefined {
  const at: number[] = []
  for (let i = 0; i < argv.length && at.length < 2; i += 1) {
    const word = argv[i] ?? ''
    if (!word.startsWith('-')) at.push(i)
    else if (!word.includes('=') && GLOBAL[word.replace(/^--/, '')]?.placeholder !== undefined) i += 1
  }
  for (const length of [2, 1]) {
    const words = at.slice(0, length)
    const command = [...COMMANDS, ...OFFLINE_COMMANDS].find(
      (known) => known.words === words.map((i) => argv[i]).join(' '),
    )
    if (command && words.length === length) return { command, rest: argv.filter((_, i) => !words.includes(i)) }
  }
  return undefined
}

function noCommand(argv: readonly string[], json: boolean): number {
  const words = argv.filter((word) => !word.startsWith('-')).slice(0, 2)
  if (words.length === 0) return usageError(`"${argv[0] ?? ''}" names no command`, json)
  const near = [...COMMANDS, ...OFFLINE_COMMANDS].filter((known) => known.words.startsWith(`${words[0]} `))
  const hint = near.length === 0 ? undefined : `There are: ${near.map((known) => known.words).join(', ')}.`
  return usageError(`"${words.join(' ')}" is no command`, json, hint)
}

export async function runCli(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json')
  // Whoever reads has read enough (`| head`): what was asked for is done by the time that it is printed.
  process.stdout.on('error', (error: NodeJS.ErrnoException) =>
    process.exit(error.code === 'EPIPE' ? EXIT.done : EXIT.fault),
  )
  try {
    if (argv[0] === '--version') {
      const { wimcast, bun, libwim, libwimOrigin } = versions(process.env['WIMCAST_WIMLIB'])
      const shown = { wimcast, bun, libwim, libwimOrigin }
      process.stdout.write(
        json ? `${JSON.stringify(shown)}\n` : `wimcast ${wimcast}\nBun ${bun}\nlibwim ${libwim} (${libwimOrigin})\n`,
      )
      return EXIT.done
    }
    if (argv[0] === 'serve') {
      if (!argv.includes('--help')) return await serve(argv.slice(1))
      process.stdout.write(usageOf(SERVE_COMMAND))
      return EXIT.done
    }
    const found = findCommand(argv)
    if (found && argv.includes('--help')) process.stdout.write(usageOf(found.command))
    else if (found) return await runCommand(found.command, found.rest, json)
    else if (argv.length === 0 || argv.includes('--help')) process.stdout.write(overview())
    else return noCommand(argv, json)
    return EXIT.done
  } catch (error) {
    if (error instanceof Refused) return report(error.refusal, { json, usage: error instanceof Misused })
    report(refuse('unavailable', reasonOf(error), error instanceof Fault ? error.hint : '').error, { json })
    if (!(error instanceof Fault) && error instanceof Error && error.stack !== undefined)
      process.stderr.write(`${error.stack}\n`)
    return EXIT.fault
  }
}
