/** `image import` with its options and `image replace`, as a person types them. */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeWim } from '../fixtures/api.ts'
import { type ServedAppliance, startAppliance } from '../fixtures/cli.ts'

let dir: string
let root: string
let appliance: ServedAppliance

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-cli-import-'))
  root = join(dir, 'root')
  mkdirSync(root)
  appliance = await startAppliance(dir, ['--import-roots', root])
  await good('group', 'new', 'G')
})
afterAll(async () => {
  await appliance[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
})

async function good(...args: string[]): Promise<string> {
  const ran = await appliance.run(...args)
  if (ran.code !== 0) throw new Error(`${args.join(' ')}: ${ran.code}: ${ran.stderr}`)
  return ran.stdout
}
const json = async <T = Record<string, unknown>>(...args: string[]): Promise<T> =>
  JSON.parse(await good(...args, '--json')) as T

test('import and replace, tried first; what the file was sent for is gone', async () => {
  const below = writeWim(join(root, 'two.wim'), ['A', 'B'])
  const beside = writeWim(join(dir, 'other.wim'), ['One', 'Two'], { text: 'other' })
  const unattend = join(dir, 'unattend.xml')
  writeFileSync(unattend, Buffer.from('\ufeff<unattend/>', 'utf16le'))
  const options = ['--version', 'V1', '--comment', 'said', '--architecture', 'x64', '--language', 'de-de']
  const all = ['image', 'import', below, ...options, '--display-order', '3', '--unattend', unattend]

  expect(await good(...all, '--dry-run')).toMatch(
    /^dry run, nothing was changed: image 1 as "A" \(two-1\.wim\), image 2 as "B" \(two-2\.wim\) in "G": 2 of 2 file contents would be new, [\d.]+ \w+ stored\n$/,
  )
  expect(await json('image', 'list')).toEqual([] as never)
  expect(await json(...all)).toMatchObject({ kind: 'image.import', state: 'done', result: { images: ['A', 'B'] } })
  const said = { version: 'V1', comment: 'said', architecture: 'x64', language: 'de-DE', displayOrder: 3 }
  const [a] = await json<unknown[]>('image', 'list')
  expect(a).toMatchObject({ name: 'A', ...said, hasUnattend: true })

  // Not below an import root: sent.
  const several = await appliance.run('image', 'replace', 'A', beside)
  expect([several.code, several.stderr]).toEqual([1, expect.stringContaining('[ambiguous]')])
  expect(several.stderr).toContain('1 "One", 2 "Two"')
  const replace = ['image', 'replace', 'a', beside, '--file', 'two-1', '--index', 'TWO']
  expect(await good(...replace, '--dry-run')).toStartWith(
    'dry run, nothing was changed: would replace the content of "a" in "G": 1 of 1 file contents would be new',
  )
  expect(await json('trash', 'list')).toEqual([] as never)
  // What was sent for a dry run goes with it, also when it fails or nothing is damaged.
  const uploads = (): string[] => readdirSync(join(dir, 'data', 'uploads'))
  expect(uploads()).toEqual([])
  const none = await appliance.run('image', 'replace', 'A', beside, '--index', 'Nine', '--dry-run')
  expect([none.code, none.stderr.includes('[not-found]')]).toEqual([1, true])
  await good('library', 'repair', beside, '--dry-run')
  expect(uploads()).toEqual([])
  expect(await good(...replace, '--description', 'second')).toMatch(
    /^replaced the content of "a" in "G": 1 of 1 file contents were new, .*\nwhat it was lies in the trash: wimcast image undo brings it back\n$/,
  )
  expect(await json('image', 'show', 'A')).toMatchObject({ ...said, description: 'second', facts: { name: 'Two' } })
  expect(uploads()).toEqual([])

  // Twenty gigabytes are not sent for what is not there.
  const nobody = await appliance.run('image', 'replace', 'Nobody', beside)
  expect([nobody.code, nobody.stderr.includes('[not-found]'), nobody.stderr.includes('sending')]).toEqual([
    1,
    true,
    false,
  ])
  const clash = await appliance.run('image', 'import', below, '--client-count', '3')
  expect([clash.code, clash.stderr.includes('--multicast')]).toEqual([2, true])
}, 30_000)
