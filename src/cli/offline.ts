/** Commands that work on a data directory itself, and not by an appliance: none may run on it. */
import { existsSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { openChanges } from '../audit/changes.ts'
import { type RestoreReport, restoreBackup } from '../backup/restore.ts'
import { systemClock } from '../base/clock.ts'
import { stderrLog } from '../base/log.ts'
import { refuse } from '../base/refusal.ts'
import { type Config, KEYS, readConfig } from '../config.ts'
import { openDb } from '../db/open.ts'
import { DB_NAME } from '../db/restored.ts'
import { type RebuildReport, rebuildLibrary } from '../library/rebuild/rebuild.ts'
import { type Arguments, DRY_RUN, type Option } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { safe, when } from './print.ts'
import { selfCommand } from './serve.ts'

export type OfflineCommand = Omit<Command, 'run'> & {
  readonly run: (context: Context & { readonly config: Config }) => Promise<void>
}

const AT_KEYS = [KEYS.data, KEYS.wimlib] as const

const AT: Readonly<Record<string, Option>> = {
  ...Object.fromEntries(AT_KEYS.map(({ key, placeholder, doc }) => [key, { placeholder, doc }])),
  config: { placeholder: 'FILE', doc: 'the JSON file of wimcast serve, which names the data directory' },
}

/** As `serve` reads it: flags, then variables, then the file. */
export function configOf(args: Arguments): Config {
  for (const name of ['socket', 'server', 'fingerprint', 'token-file'])
    if (args.text(name) !== undefined)
      must(refuse('bad-request', `this works on a data directory, and takes no --${name}`, 'Name it with --data.'))
  const flags = Object.fromEntries(AT_KEYS.map(({ key }) => [key, args.text(key)]))
  return must(readConfig({ flags, environment: process.env, file: args.text('config') }))
}

/** What root makes here the service must be able to change: root goes on as the directory's owner. */
function becomeOwner(dataDir: string): void {
  const { uid, gid } = statSync(dataDir)
  if (process.getuid?.() !== 0 || uid === 0) return
  process.setgroups?.([gid])
  process.setgid?.(gid)
  process.setuid?.(uid)
}

function counted(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`
}

function describeRebuild(report: RebuildReport): string {
  const lines = [
    `${counted(report.groups.length, 'group')}, ${counted(report.segments.length, 'segment')}` +
      ` and ${counted(report.images.length, 'image')} added, ${counted(report.rehomed, 'content')} found in another segment`,
    ...report.images
      .filter(({ from }) => from === 'segment')
      .map(({ group, name, fileName }) => `unnamed, disabled: ${group}/${fileName} "${name}"`),
    ...report.lost.map(({ group, image }) => `lost: "${image}" of ${group}: its segment is not there`),
    ...report.incomplete.map(({ group, image, missing }) => `incomplete: "${image}" of ${group} lacks ${missing}`),
    ...report.missing.map(({ group, file }) => `missing: ${group}: ${file}`),
    ...report.unreadable.map(({ group, file, message }) => `unreadable: ${group}: ${file}: ${message}`),
  ]
  return lines.map(safe).join('\n')
}

function describeRestore(report: RestoreReport): string {
  const lines = [
    `${report.dryRun ? '' : 'restored '}the backup of ${when(report.madeAtMs)}: ` +
      `${counted(report.groups, 'group')}, ${counted(report.images, 'image')}`,
    ...(report.keptAs === undefined ? [] : [`the database that was there is kept as ${report.keptAs}`]),
    ...report.missing.map((name) => `missing: groups/${name}: copy it there, or run wimcast library rebuild`),
    ...report.unknown.map((name) => `unknown to the backup: groups/${name}: run wimcast library rebuild`),
  ]
  return lines.map(safe).join('\n')
}

export const OFFLINE_COMMANDS: readonly OfflineCommand[] = [
  {
    words: 'library rebuild',
    operands: [],
    doc: 'offline: make the database anew from the image folders, or bring a restored one up to them',
    options: { ...AT, ...DRY_RUN },
    run: async ({ args, config, out, signal }) => {
      const dataDir = config.data
      if (!existsSync(join(dataDir, 'groups')))
        must(refuse('not-found', `there are no image groups in "${dataDir}"`, 'Name the data directory with --data.'))
      becomeOwner(dataDir)
      const dryRun = args.flag('dry-run')
      const wasThere = existsSync(join(dataDir, DB_NAME))
      try {
        using opened = openDb(dataDir)
        const { db } = opened
        const report = await rebuildLibrary(
          {
            db,
            dataDir,
            changes: openChanges({ db, clock: systemClock }),
            clock: systemClock,
            log: stderrLog({ level: config.logLevel, journal: false }),
            self: selfCommand(),
            wimlibPath: config.wimlib,
            signal,
            progress: (file, done, total) => out.progress.show(`reading ${file} (${done + 1} of ${total})`, 0, 0),
          },
          { who: { kind: 'local', role: 'admin' }, dryRun },
        )
        out.progress.end()
        out.result(must(report), describeRebuild(must(report)))
      } finally {
        // A dry run leaves nothing, no empty database either.
        if (dryRun && !wasThere)
          for (const end of ['', '-wal', '-shm']) rmSync(join(dataDir, `${DB_NAME}${end}`), { force: true })
      }
    },
  },
  {
    words: 'backup restore',
    operands: ['FILE'],
    doc: 'offline: put the database and the keys of a backup into a data directory',
    options: { ...AT, replace: { doc: 'also where a database is: that one is kept beside it' }, ...DRY_RUN },
    run: async ({ args, config, out }) => {
      const report = must(
        restoreBackup({
          file: resolve(args.operands[0] ?? ''),
          dataDir: config.data,
          replace: args.flag('replace'),
          dryRun: args.flag('dry-run'),
          nowMs: systemClock.nowMs(),
        }),
      )
      out.result(report, describeRestore(report))
    },
  },
]
