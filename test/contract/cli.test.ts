/** The command table itself: its documents are of today, and it takes every line of the contract. */
import { describe, expect, test } from 'bun:test'
import { staleDocs } from '../../scripts/lib/docs.ts'
import { GLOBAL, parseId, parseOnOff, parseWords } from '../../src/cli/args.ts'
import { OFFLINE_COMMANDS } from '../../src/cli/offline.ts'
import { COMMANDS } from '../../src/cli/run.ts'
import { SERVE_COMMAND } from '../../src/cli/serve.ts'
import { KEYS } from '../../src/config.ts'

test('docs/cli.md and docs/config.md are of today', async () => {
  expect(await staleDocs()).toEqual([])
})

/** The lines that scripts may rely on: words, operands, and the options of each. */
const CONTRACT: Readonly<Record<string, readonly string[]>> = {
  'token new': ['name', 'role'],
  'token list': [],
  'token revoke NAME': [],
  'group new NAME': [],
  'group list': [],
  'group show NAME': [],
  'group remove NAME': [],
  'image import FILE': ['group', 'index', 'skip-verify', 'name', 'description', 'file-name'],
  'image list': ['group'],
  'image show NAME': ['group'],
  'image remove NAME': ['group'],
  'image set NAME': ['group', 'name', 'description', 'public'],
  'image copy NAME': ['group', 'file', 'new-name', 'new-file-name', 'new-description'],
  'image export NAME': ['group', 'to', 'if-exists'],
  'cast new': ['image', 'group', 'interface', 'rate'],
  'cast list': [],
  'cast show ID': [],
  'cast stop ID': [],
  receive: ['cast', 'out', 'interface'],
  'job list': [],
  'job show ID': [],
  'job cancel ID': [],
}

test.each(Object.entries(CONTRACT))('wimcast %s', (line, options) => {
  const command = COMMANDS.find(({ words, operands }) => [words, ...operands].join(' ') === line)
  expect(command?.doc).toBeString()
  for (const name of options) expect(Object.keys(command?.options ?? {})).toContain(name)
})

test('serve takes every key, and a file of them', () => {
  const keys = Object.values(KEYS).map(({ key }) => key)
  expect(Object.keys(SERVE_COMMAND.options).sort()).toEqual(['config', ...keys].sort())
})

test('every command that a message names is there, with the options that it names', async () => {
  const commands = [...COMMANDS, ...OFFLINE_COMMANDS]
  const nouns = new Set(commands.flatMap(({ words }) => (words.includes(' ') ? [words.split(' ')[0]] : [])))
  const wrong: string[] = []
  let named = 0
  for await (const path of new Bun.Glob('src/**/*.ts').scan()) {
    const text = await Bun.file(path).text()
    for (const [, noun = '', verb = '', rest = ''] of text.matchAll(/wimcast ([a-z]+) ([a-z]+)([^'`\n,;:).]*)/g)) {
      if (!nouns.has(noun)) continue
      named += 1
      const command = commands.find(({ words }) => words === `${noun} ${verb}`)
      const options = [...rest.matchAll(/--([a-z-]+)/g)].map(([, option = '']) => option)
      const known = { ...GLOBAL, ...command?.options }
      if (!command || options.some((option) => !(option in known)))
        wrong.push(`${path}: wimcast ${noun} ${verb}${rest}`)
    }
  }
  expect(wrong).toEqual([])
  expect(named).toBeGreaterThan(40)
})

describe('words', () => {
  const options = { name: { placeholder: 'N', doc: '' }, force: { doc: '' } }
  test.each([
    [['a', '--name', 'x', 'b'], ['a', 'b'], 'x', false],
    [['--name=--odd', '--force'], [], '--odd', true],
    [['--', '--name', 'x'], ['--name', 'x'], undefined, false],
    [['--name', ''], [], '', false],
  ] as const)('%j', (argv, operands, name, force) => {
    const args = parseWords(argv, options)
    if (!args.ok) throw new Error(args.error.message)
    expect([args.value.operands, args.value.text('name'), args.value.flag('force')]).toEqual([
      [...operands],
      name,
      force,
    ])
  })
  test.each(['--nam x', '--name', '--force=yes', '--constructor', '-n x', '--name --force'])('%s is wrong', (line) => {
    const args = parseWords(line.split(' '), options)
    expect(args.ok ? 'ok' : args.error.code).toBe('bad-request')
  })
})

test.each(['0', '-1', '1.0', '1e2', '0x1', ' 1', '1 ', '', '9999999999999999', undefined])('%p is no id', (text) => {
  expect(parseId('job', text).ok).toBe(false)
})

test.each([
  ['on', true],
  ['off', false],
  [undefined, undefined],
  ['yes', 'bad-request'],
  ['', 'bad-request'],
] as const)('on or off: %p is %p', (text, expected) => {
  const parsed = parseOnOff('public', text)
  expect<unknown>(parsed.ok ? parsed.value : parsed.error.code).toBe(expected)
})
