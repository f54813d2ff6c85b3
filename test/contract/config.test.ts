/** Configuration: what is accepted, what is refused with all mistakes at once, and who wins. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { KEYS, parseListen, readConfig } from '../../src/config.ts'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-config-'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function file(content: unknown): string {
  const path = join(dir, `${crypto.randomUUID()}.json`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

type From = { flags?: Record<string, string>; environment?: Record<string, string>; file?: string }
const read = ({ flags = {}, environment = {}, file }: From) => readConfig({ flags, environment, file })

function good(from: From) {
  const config = read(from)
  if (!config.ok) throw new Error(config.error.message)
  return config.value
}

function mistakes(from: From): readonly string[] {
  const config = read(from)
  if (config.ok) return []
  expect(config.error.code).toBe('bad-request')
  expect(config.error.hint).not.toBe('')
  return config.error.message.split('\n')
}

describe('listeners', () => {
  test.each([
    ['0.0.0.0:80', { host: '0.0.0.0', port: 80 }],
    ['[::1]:0', { host: '::1', port: 0 }],
    ['[::]:65535', { host: '::', port: 65_535 }],
    ['boot.example:8443', { host: 'boot.example', port: 8443 }],
    ['off', 'off'],
  ] as const)('%s', (text, expected) => {
    expect(parseListen(text)).toEqual(expected)
  })
  test.each([
    '',
    '80',
    ':80',
    '::1:80',
    '[::1]',
    'host:',
    'host:65536',
    'host:-1',
    'host:8o',
    'OFF',
    '[host]:80',
    'a:b:80',
    'host:80 ',
  ])('%j is refused', (text) => {
    expect(() => parseListen(text)).toThrow(/is not HOST:PORT or "off"/)
  })
})

test('without anything: the documented defaults', () => {
  const defaults = Object.fromEntries(Object.entries(KEYS).map(([name, { fallback }]) => [name, fallback]))
  expect(good({})).toEqual(defaults as ReturnType<typeof good>)
})

test('flags win over variables, those over the file, that over the defaults', () => {
  const path = file({ data: '/from-file', http: '127.0.0.1:1', 'log-level': 'debug' })
  const environment = { WIMCAST_DATA: '/from-environment', WIMCAST_HTTP: '127.0.0.1:2', DATA: '/no' }
  const config = good({ file: path, environment, flags: { data: '/from-flag' } })
  expect(config.data).toBe('/from-flag')
  expect(config.http).toEqual({ host: '127.0.0.1', port: 2 })
  expect(config.logLevel).toBe('debug')
  expect(config.https).toEqual(KEYS.https.fallback)
})

test('a lower source is not looked at, right or wrong', () => {
  expect(good({ flags: { http: 'off' }, environment: { WIMCAST_HTTP: 'nonsense' } }).http).toBe('off')
})

test('every key can be given in all three ways', () => {
  const text: Record<string, string> = {
    data: '/d',
    http: 'off',
    https: '[::1]:1',
    tftp: '127.0.0.1:69',
    socket: '/s',
    'import-roots': '/a,/b',
    'export-roots': '/e',
    wimlib: '/w.so',
    'tls-certificate': '/c.pem',
    'tls-key': '/k.pem',
    'host-names': 'a.example,b.example',
    'log-level': 'error',
  }
  expect(Object.keys(text).sort()).toEqual(
    Object.values(KEYS)
      .map(({ key }) => key)
      .sort(),
  )
  const environment = Object.fromEntries(
    Object.entries(text).map(([key, value]) => [`WIMCAST_${key.toUpperCase().replaceAll('-', '_')}`, value]),
  )
  const [byFlag, byVariable, byFile] = [good({ flags: text }), good({ environment }), good({ file: file(text) })]
  expect(byVariable).toEqual(byFlag)
  expect(byFile).toEqual(byFlag)
  expect(byFlag.importRoots).toEqual(['/a', '/b'])
})

test('a list in the file keeps commas; a list where one value belongs is a mistake', () => {
  expect(good({ file: file({ 'import-roots': ['/a,b', '/c'] }) }).importRoots).toEqual(['/a,b', '/c'])
  expect(mistakes({ file: file({ data: ['/a', '/b'] }) })).toEqual([expect.stringContaining('data: takes one value')])
})

test('the socket may be off, and is a whole path otherwise', () => {
  expect(good({ flags: { socket: 'off' } }).socket).toBe('off')
  expect(good({ flags: { socket: 'off/api.sock' } }).socket).toBe(join(process.cwd(), 'off/api.sock'))
})

test('all mistakes at once, wherever they are', () => {
  const path = file({ 'log-level': 'loud', colour: 'red', data: 5, http: '127.0.0.1:80' })
  const found = mistakes({
    file: path,
    environment: { WIMCAST_HTTPS: 'nowhere', WIMCAST_TLS_KEY: '/k.pem' },
    flags: { 'import-roots': 'relative/folder', socket: '' },
  })
  const expected = [
    'unknown key "colour"',
    '"data" is neither',
    'https: ',
    'socket: ',
    'import-roots: ',
    'log-level: ',
    'tls-certificate and tls-key',
  ]
  for (const words of expected) expect(found.filter((line) => line.includes(words)).length).toBe(1)
  expect(found.length).toBe(expected.length)
})

test.each([
  ['not there', undefined, 'ENOENT'],
  ['not JSON', '{"data":', 'JSON'],
  ['no object', '["data"]', 'not a JSON object'],
  ['null', 'null', 'not a JSON object'],
  ['a key of the prototype', '{"constructor": "x", "__proto__": "y"}', 'unknown key'],
] as const)('a file that is %s', (_, content, words) => {
  const found = mistakes({ file: content === undefined ? join(dir, 'none.json') : file(content) })
  expect(found.length).toBeGreaterThan(0)
  for (const line of found) expect(line).toContain(words)
})

test.each([
  [{ 'tls-certificate': '/c.pem' }, 'go together'],
  [{ data: '' }, 'a path is empty'],
  [{ data: 'a\0b' }, 'a path is empty'],
  [{ 'import-roots': '/a,b' }, 'not an absolute path'],
  [{ 'log-level': 'Info' }, 'none of'],
] as const)('%j is refused', (flags, words) => {
  const found = mistakes({ flags })
  expect(found.length).toBe(1)
  expect(found[0]).toContain(words)
})
