/**
 * Imports only point down, and C is spoken in ffi/ alone. Reads every import by its text: static, dynamic, types too.
 * A file that stands on no floor is an error, so that a new room must be given its place here.
 */
import { expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
import { Glob } from 'bun'

/** Lowest first. Rooms on one floor are strangers to each other; a room may use every floor below its own. */
const FLOORS: readonly (readonly string[])[] = [
  ['src/base'],
  ['src/config.ts', 'ffi/libc'],
  ['ffi/wimlib', 'src/wim'],
  ['src/content', 'src/db', 'src/version.ts'],
  ['src/audit'],
  ['src/jobs', 'src/settings'],
  ['src/library', 'src/access', 'src/client'],
  ['src/http', 'src/tftp', 'src/cast'],
  ['src/transmissions'],
  ['src/upkeep', 'src/backup'],
  ['src/api'],
  ['web'],
  ['src/appliance.ts'],
  ['src/cli'],
  ['src/main.ts'],
]

/** A package, and who may import it. */
const ONLY_IN: readonly { readonly specifier: string; readonly rooms: readonly string[]; readonly names?: RegExp }[] = [
  { specifier: 'bun:ffi', rooms: ['ffi/libc', 'ffi/wimlib'] },
  // The datagram loop fills iovecs in place: it needs addresses, and calls nothing.
  { specifier: 'bun:ffi', rooms: ['src/cast'], names: /^\s*((?:type\s+)?Pointer|ptr|read|toArrayBuffer|,|\s)+$/ },
]

type Import = { readonly from: string; readonly specifier: string; readonly names: string }

const inside = (path: string, room: string): boolean => path === room || path.startsWith(`${room}/`)
const floorOf = (path: string): number => FLOORS.findIndex((rooms) => rooms.some((room) => inside(path, room)))
const roomOf = (path: string): string | undefined => FLOORS.flat().find((room) => inside(path, room))

function importsOf(from: string, text: string): readonly Import[] {
  const statics = [...text.matchAll(/^(?:import|export)\s+(?:type\s+)?([^'";]*?)\s*(?:from\s+)?'([^']+)'/gm)]
  const dynamics = [...text.matchAll(/\bimport\(\s*'([^']+)'\s*\)/g)]
  return [
    ...statics.map(([, names = '', specifier = '']) => ({ from, specifier, names: names.replace(/[{}]/g, '') })),
    ...dynamics.map(([, specifier = '']) => ({ from, specifier, names: '*' })),
  ]
}

function wrongsOf(from: string, text: string): readonly string[] {
  if (floorOf(from) < 0) return [`${from} stands on no floor`]
  return importsOf(from, text).flatMap((one) => {
    if (!one.specifier.startsWith('.')) return mayImport(one) ? [] : [`${from} imports ${one.specifier}`]
    // Assets (SQL, HTML, JSON) and worker scripts are not modules of a floor.
    if (!/\.tsx?$/.test(one.specifier)) return []
    const to = normalize(join(dirname(from), one.specifier))
    if (floorOf(to) < 0) return [`${from} -> ${to}, which stands on no floor`]
    return roomOf(to) === roomOf(from) || floorOf(to) < floorOf(from) ? [] : [`${from} -> ${to}`]
  })
}

function mayImport(one: Import): boolean {
  const rules = ONLY_IN.filter((rule) => rule.specifier === one.specifier)
  if (rules.length === 0) return true
  return rules.some(
    (rule) => rule.rooms.some((room) => inside(one.from, room)) && (rule.names?.test(one.names) ?? true),
  )
}

test('imports only point down', async () => {
  const root = join(import.meta.dir, '../..')
  const wrong: string[] = []
  let files = 0
  for await (const file of new Glob('{src,ffi,web}/**/*.{ts,tsx}').scan(root)) {
    if (file.endsWith('.d.ts')) continue
    files += 1
    wrong.push(...wrongsOf(file, await Bun.file(join(root, file)).text()))
  }
  expect(wrong.sort()).toEqual([])
  expect(files).toBeGreaterThan(20)
})

test('workers are started in the one form that the executable knows too', async () => {
  const root = join(import.meta.dir, '../..')
  const names = [...new Glob('src/**/*-worker.ts').scanSync(root)].map((path) => basename(path))
  expect(new Set(names).size).toBe(names.length)
  const wrong: string[] = []
  for await (const file of new Glob('{src,ffi}/**/*.ts').scan(root)) {
    const text = await Bun.file(join(root, file)).text()
    const started = text.match(/\bnew Worker\(/g)?.length ?? 0
    const found = [...text.matchAll(/\bnew Worker\(\s*new URL\('\.\/([\w-]+-worker\.ts)', import\.meta\.url\)/g)]
    const there = found.filter(([, name = '']) => existsSync(join(root, dirname(file), name)))
    if (there.length !== started) wrong.push(`${file}: ${started} workers, ${there.length} in that form`)
  }
  expect(wrong).toEqual([])
})

test.each([
  ['src/base/a.ts', "import { b } from './b.ts'", []],
  ['src/api/a.ts', "import { b } from '../base/b.ts'", []],
  ['src/base/a.ts', "import { b } from '../api/b.ts'", ['src/base/a.ts -> src/api/b.ts']],
  ['src/http/a.ts', "import type { B } from '../tftp/b.ts'", ['src/http/a.ts -> src/tftp/b.ts']],
  ['src/http/a.ts', "import {\n  b,\n  c,\n} from '../cast/b.ts'", ['src/http/a.ts -> src/cast/b.ts']],
  ['src/db/a.ts', "export * from '../content/b.ts'", ['src/db/a.ts -> src/content/b.ts']],
  ['src/jobs/a.ts', "import '../library/b.ts'", ['src/jobs/a.ts -> src/library/b.ts']],
  ['src/jobs/a.ts', "await import('../library/b.ts')", ['src/jobs/a.ts -> src/library/b.ts']],
  ['src/shed/a.ts', '', ['src/shed/a.ts stands on no floor']],
  [
    'src/cli/a.ts',
    "import { x } from '../../scripts/x.ts'",
    ['src/cli/a.ts -> scripts/x.ts, which stands on no floor'],
  ],
  ['src/wim/a.ts', "import { ptr } from 'bun:ffi'", ['src/wim/a.ts imports bun:ffi']],
  ['src/cast/a.ts', "import { type Pointer, ptr } from 'bun:ffi'", []],
  ['src/cast/a.ts', "import { dlopen } from 'bun:ffi'", ['src/cast/a.ts imports bun:ffi']],
  ['ffi/libc/a.ts', "import { dlopen } from 'bun:ffi'", []],
])('%s: %j', (from, text, expected) => {
  expect(wrongsOf(from, text)).toEqual(expected)
})
