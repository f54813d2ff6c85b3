/**
 * docs/cli.md and docs/config.md, written from the tables that the program itself uses: the commands and the keys.
 * usage: docs.ts write | check
 */
import { join } from 'node:path'
import { GLOBAL, type Option } from '../../src/cli/args.ts'
import { OFFLINE_COMMANDS } from '../../src/cli/offline.ts'
import { COMMANDS, EXIT_CODES } from '../../src/cli/run.ts'
import { SERVE_COMMAND } from '../../src/cli/serve.ts'
import { environmentName, KEYS } from '../../src/config.ts'

const ROOT = join(import.meta.dir, '../..')

/** `|` parts the cells of a table. */
const cell = (text: string): string => text.replaceAll('|', '\\|')

function optionTable(options: Readonly<Record<string, Option>>): string {
  const rows = Object.entries(options).map(
    ([name, { placeholder, doc }]) =>
      `| \`--${name}${placeholder === undefined ? '' : ` ${cell(placeholder)}`}\` | ${cell(doc)} |`,
  )
  return `| option | |\n|---|---|\n${rows.join('\n')}\n`
}

function cli(): string {
  const sections = [SERVE_COMMAND, ...OFFLINE_COMMANDS, ...COMMANDS].map(({ words, operands, doc, options }) => {
    const own = Object.keys(options).length > 0 ? `\n${optionTable(options)}` : ''
    return `### wimcast ${[words, ...operands].join(' ')}\n\n${doc}\n${own}`
  })
  const codes = Object.entries(EXIT_CODES).map(([code, means]) => `| ${code} | ${means} |`)
  return `# Command line

\`serve\`, \`library rebuild\` and \`backup restore\` work on a data directory; each of them refuses one on which another
wimcast runs. Every other command asks a running appliance: the one on this machine by its socket, or another one with
\`--server\`, \`--fingerprint\` and \`--token-file\`. Results go to standard output, progress and refusals to standard error.
With \`--json\` standard output holds one JSON document whatever the outcome: the result, or
\`{"error": {"code", "message", "hint"}}\`. \`wimcast --version\` names the versions of wimcast, Bun and libwim, and which
libwim is in use.

## Everywhere

${optionTable(GLOBAL)}
## Exit codes

| code | means |
|---|---|
${codes.join('\n')}

## Commands

${sections.join('\n')}`
}

function fallbackText(value: unknown): string {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) return 'none'
  if (typeof value === 'string') return `\`${value}\``
  const { host, port } = value as { readonly host: string; readonly port: number }
  return `\`${host}:${port}\``
}

function config(): string {
  const rows = Object.values(KEYS).map(
    ({ key, placeholder, doc, fallback }) =>
      `| \`${key}\` | \`--${key} ${placeholder}\` | \`${environmentName(key)}\` | ${fallbackText(fallback)} | ${cell(doc)} |`,
  )
  return `# Configuration of wimcast serve

Each key is a flag, an environment variable, and a key of the JSON file that \`--config\` names. Flags win over variables,
those over the file, that over the defaults. Lists are parted by commas; in the file they are JSON lists of strings. A
listener may be \`off\`. Unknown keys are refused, and all mistakes are told at once.

| key | flag | variable | default | |
|---|---|---|---|---|
${rows.join('\n')}
`
}

/** By path from the root of the repository. */
export const DOCS: Readonly<Record<string, () => string>> = { 'docs/cli.md': cli, 'docs/config.md': config }

/** Those whose text is not of today. */
export async function staleDocs(): Promise<string[]> {
  const stale: string[] = []
  for (const [path, text] of Object.entries(DOCS)) {
    const file = Bun.file(join(ROOT, path))
    if (!(await file.exists()) || (await file.text()) !== text()) stale.push(path)
  }
  return stale
}

if (import.meta.main) {
  const [what] = process.argv.slice(2)
  if (what === 'write') for (const [path, text] of Object.entries(DOCS)) await Bun.write(join(ROOT, path), text())
  else if (what === 'check') {
    const stale = await staleDocs()
    for (const path of stale) console.error(`${path} is not of today: bun scripts/lib/docs.ts write`)
    process.exitCode = stale.length > 0 ? 1 : 0
  } else {
    console.error('usage: docs.ts write | check')
    process.exitCode = 2
  }
}
