/**
 * A transmission through everything that happens to its image meanwhile: the real appliance, a real receiver. The image
 * is replaced, the trash emptied, the group compacted, the appliance killed and started again: the receiver that joined
 * before and the one that joins after get the same bytes, while new downloads get the new image.
 * Needs root, iproute2, nftables, wimlib-imagex. `bun test ./test/e2e/cast-compact.e2e.ts`
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Transmission } from '../../src/transmissions/shown.ts'
import { type Appliance, startAppliance, succeed, WIMCAST } from '../fixtures/appliance.ts'
import { capture, makeTree } from '../fixtures/wims.ts'
import { type Lab, openLab, until } from './cast/lab.ts'

setDefaultTimeout(120_000)

let lab: Lab
let appliance: Appliance
let overHttps: readonly string[]

const start = (): Promise<Appliance> =>
  startAppliance({
    dataDir: join(lab.dir, 'data'),
    runDir: join(lab.dir, 'run'),
    https: `${lab.senderAddress}:8443`,
    within: ['ip', 'netns', 'exec', lab.sender],
  })

beforeAll(async () => {
  lab = await openLab(2)
  appliance = await start()
  overHttps = await appliance.overHttps()
  await appliance.cli('group', 'new', 'G')
  for (const edition of ['Pro', 'Home', 'Education']) {
    const wim = await capture(makeTree(join(lab.dir, edition), { edition }), join(lab.dir, `${edition}.wim`), edition)
    if (edition !== 'Education') await appliance.cli('image', 'import', wim)
  }
})
afterAll(async () => {
  await appliance?.[Symbol.asyncDispose]()
  await lab?.[Symbol.asyncDispose]()
})

const segments = (): string[] => readdirSync(join(lab.dir, 'data/groups/1')).filter((name) => name.endsWith('.wim'))

async function digestOfCast(cast: Transmission): Promise<string> {
  const response = await appliance.fetch(`/api/casts/${cast.id}/content`)
  expect(response.status).toBe(200)
  const bytes = await response.bytes()
  return `${response.headers.get('etag')} ${new Bun.CryptoHasher('sha256').update(bytes).digest('hex')}`
}

test('keeps its bytes, its clients and its segments', async () => {
  // Pro came first: its segment holds what Home shares with it, and Home is what is sent.
  const cast = await appliance.json<Transmission>(
    ...['cast', 'new', '--image', 'Home', '--interface', 'eth0', '--client-count', '2'],
  )
  const before = await digestOfCast(cast)
  const old = segments()
  const words = ['receive', ...overHttps, '--cast', String(cast.id), '--interface', 'eth0', '--json']
  const first = lab.start(
    lab.receivers[0] ?? '',
    [...WIMCAST, ...words, '--out', join(lab.dir, 'first.wim')],
    join(lab.dir, 'first.log'),
  )
  await until('the first receiver waits', 20_000, async () =>
    (await readFile(join(lab.dir, 'first.log'), 'utf8')).includes('waiting for the transmission') ? true : undefined,
  )

  await appliance.cli('image', 'replace', 'Home', join(lab.dir, 'Education.wim'))
  await appliance.cli('image', 'remove', 'Pro')
  await appliance.cli('trash', 'empty')
  await appliance.cli('group', 'compact', 'G', '--all')
  const compacted = segments()
  expect(old.filter((name) => !compacted.includes(name))).toEqual([])
  expect(await digestOfCast(cast)).toBe(before)

  await appliance.kill()
  appliance = await start()
  expect(segments().sort()).toEqual(compacted.sort())
  expect(await digestOfCast(cast)).toBe(before)

  const second = lab.start(
    lab.receivers[1] ?? '',
    [...WIMCAST, ...words, '--out', join(lab.dir, 'second.wim')],
    join(lab.dir, 'second.log'),
  )
  await Promise.all([first.exited, second.exited])
  for (const name of ['first', 'second']) {
    const said = await readFile(join(lab.dir, `${name}.log`), 'utf8')
    expect(said).toContain('"multicastBytes"')
    const digest = await succeed('sha256sum', join(lab.dir, `${name}.wim`))
    expect(before).toEndWith(digest.split(' ')[0] ?? '')
    await succeed('wimlib-imagex', 'verify', join(lab.dir, `${name}.wim`))
  }

  await appliance.cli('image', 'export', 'Home', '--to', join(lab.dir, 'home.wim'))
  await succeed('wimlib-imagex', 'verify', join(lab.dir, 'home.wim'))
})
