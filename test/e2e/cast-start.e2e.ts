/**
 * When a transmission begins: the real appliance and real receivers on a network of namespaces. Two clients that are
 * waited for, a start by hand, a time, and an appliance that is killed while somebody waits. Every file is compared.
 * Needs root, iproute2, nftables. `bun test ./test/e2e/cast-start.e2e.ts`
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ReceiveSummary } from '../../src/cast/receive.ts'
import type { Transmission } from '../../src/transmissions/shown.ts'
import { writeWim } from '../fixtures/api.ts'
import { type Appliance, startAppliance, WIMCAST } from '../fixtures/appliance.ts'
import { type Lab, openLab, until } from './cast/lab.ts'

setDefaultTimeout(120_000)

let lab: Lab
let appliance: Appliance
let overHttps: readonly string[]
/** What every receiver must have in the end. */
let image: string

function start(): Promise<Appliance> {
  return startAppliance({
    dataDir: join(lab.dir, 'data'),
    runDir: join(lab.dir, 'run'),
    https: `${lab.senderAddress}:8443`,
    within: ['ip', 'netns', 'exec', lab.sender],
  })
}

beforeAll(async () => {
  lab = await openLab(2)
  appliance = await start()
  overHttps = await appliance.overHttps()
  const text = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))).toString('hex')
  const names = Array.from({ length: 40 }, (_, index) => `One ${index}`)
  const wim = writeWim(join(lab.dir, 'image.wim'), names, { text })
  await appliance.cli('group', 'new', 'G')
  await appliance.cli('image', 'import', wim, '--group', 'G', '--index', '1', '--name', 'One')
  image = join(lab.dir, 'expected.wim')
  await appliance.cli('image', 'export', 'One', '--to', image)
})
afterAll(async () => {
  await appliance?.[Symbol.asyncDispose]()
  await lab?.[Symbol.asyncDispose]()
})

async function newCast(...words: readonly string[]): Promise<Transmission> {
  return appliance.json<Transmission>('cast', 'new', '--image', 'One', '--interface', 'eth0', ...words)
}

const show = (cast: Transmission) => appliance.json<Transmission>('cast', 'show', String(cast.id))

let receivers = 0
function startReceiver(cast: Transmission, index: 0 | 1) {
  receivers += 1
  const out = join(lab.dir, `out-${receivers}`)
  const log = `${out}.log`
  const words = ['receive', ...overHttps, '--cast', String(cast.id), '--out', out, '--interface', 'eth0', '--json']
  const child = lab.start(lab.receivers[index] ?? '', [...WIMCAST, ...words], log)
  return {
    says: (text: string) =>
      until(text, 20_000, async () => ((await readFile(log, 'utf8')).includes(text) ? true : undefined)),
    /** Waits for the end: every byte by multicast, and the right ones. */
    received: async (): Promise<void> => {
      await child.exited
      const said = await readFile(log, 'utf8')
      const line = said.split('\n').find((each) => each.startsWith('{'))
      if (child.exitCode !== 0 || line === undefined) throw new Error(said)
      const summary = JSON.parse(line) as ReceiveSummary
      expect(summary).toMatchObject({ multicastBytes: summary.sizeBytes, rangeBytes: 0 })
      expect(summary.fallback).toBeUndefined()
      expect(await Bun.spawn(['cmp', image, out]).exited).toBe(0)
    },
  }
}

const waiting = (clients: string) => `waiting for the transmission to start (${clients})`

/** The name is free for the next one. */
async function stop(cast: Transmission): Promise<void> {
  await appliance.cli('cast', 'stop', String(cast.id))
}

test('two clients: the first waits for the second, and both receive at once', async () => {
  const cast = await newCast('--client-count', '2')
  expect(cast).toMatchObject({ kind: 'scheduled', waitsFor: { clientCount: 2, manual: false } })
  const first = startReceiver(cast, 0)
  await first.says(waiting('1 of 2 clients'))
  expect(await show(cast)).toMatchObject({ waitsFor: { ready: 1 }, status: { state: 'waiting', sentBytes: 0 } })
  const second = startReceiver(cast, 1)
  await Promise.all([first.received(), second.received()])
  const after = await show(cast)
  expect(after.waitsFor).toBeUndefined()
  expect(after.startedAtMs).toBeGreaterThan(cast.createdAtMs)
  // Once for both, and what the headers take.
  expect(after.status?.sentBytes).toBeLessThan((after.status?.sizeBytes ?? 0) * 1.1)
  // Late: as in an AutoCast.
  await startReceiver(cast, 0).received()
  await stop(cast)
})

test('by hand: refused while nobody is there, and then it begins', async () => {
  const cast = await newCast('--manual-start')
  const refused = await appliance.run('cast', 'start', String(cast.id))
  expect(refused.code).not.toBe(0)
  expect(refused.error).toContain('no client waits')
  const receiver = startReceiver(cast, 0)
  await receiver.says(waiting('1 client'))
  await appliance.cli('cast', 'start', String(cast.id), '--dry-run')
  expect((await show(cast)).waitsFor).toMatchObject({ manual: true, ready: 1 })
  await appliance.cli('cast', 'start', String(cast.id))
  await receiver.received()
  const again = await appliance.run('cast', 'start', String(cast.id))
  expect(again.error).toContain('has started already')
  await stop(cast)
})

test('a time: who came before waits for it', async () => {
  const startAtMs = Math.ceil(Date.now() / 1000) * 1000 + 4000
  const cast = await newCast('--start-time', new Date(startAtMs).toISOString(), '--client-count', '5')
  expect(cast.waitsFor).toMatchObject({ startAtMs, clientCount: 5 })
  const receiver = startReceiver(cast, 1)
  await receiver.says(waiting('1 of 5 clients'))
  await receiver.received()
  expect((await show(cast)).startedAtMs).toBeGreaterThanOrEqual(startAtMs)
  await stop(cast)
  const { warnings } = await newCast('--start-time', '2014/12/01:11:00')
  expect(warnings).toHaveLength(1)
})

test('an appliance that is killed while somebody waits: both come back, and it begins when all are there', async () => {
  const cast = await newCast('--client-count', '2', '--name', 'Killed')
  const first = startReceiver(cast, 0)
  await first.says(waiting('1 of 2 clients'))
  await appliance.kill()
  appliance = await start()
  await until('the client that waited', 20_000, async () =>
    (await show(cast)).waitsFor?.ready === 1 ? true : undefined,
  )
  const second = startReceiver(cast, 1)
  await Promise.all([first.received(), second.received()])
  expect((await show(cast)).startedAtMs).toBeDefined()
})
