/**
 * The page in a real browser: headless Chromium against the executable. What an operator does (sign in, watch an import,
 * copy, remove, transmit), what a viewer does not see, what happens when the appliance goes away; and all the time no
 * word on the console, no breach of the content security policy, and no request to anywhere else.
 * `WIMCAST` names another executable than dist/wimcast.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import axe from 'axe-core'
import { type BrowserContext, chromium, type Page } from 'playwright-core'
import { append, capture, makeTree, sampleBytes } from '../fixtures/wims.ts'

setDefaultTimeout(60_000)

const EXECUTABLE = resolve(process.env['WIMCAST'] ?? join(import.meta.dir, '../../dist/wimcast'))
const CHROMIUM = Bun.which('chromium') ?? 'chromium'
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const WRONG_TOKEN = `wimcast_0123456789abcdef_${'x'.repeat(43)}`
const PHONE = { width: 390, height: 844 }
const DESK = { width: 1440, height: 900 }

const work = mkdtempSync(join(tmpdir(), 'wimcast-page-'))
const socket = join(work, 'run/api.sock')
const fast = join(work, 'fast.wim')
const slow = join(work, 'slow.wim')

type Served = { readonly https: string; readonly http: string; readonly stop: () => Promise<void> }

let served: Served
let browser: BrowserContext
let page: Page
let operator: string
let viewer: string
/** What must not happen, in the order in which it did. */
const wrongs: string[] = []
/** Answers that a test provokes; the browser tells them on the console. */
let expected: RegExp | undefined

async function serve(https: string): Promise<Served> {
  const child = Bun.spawn(
    [
      EXECUTABLE,
      'serve',
      '--data',
      join(work, 'data'),
      '--https',
      https,
      '--http',
      '127.0.0.1:0',
      '--tftp',
      'off',
      '--socket',
      socket,
    ],
    { stdout: 'pipe', stderr: Bun.file(join(work, 'serve.log')) },
  )
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader()
  let said = ''
  while (!said.includes('\n')) {
    const { value, done } = await lines.read()
    if (done) throw new Error(`the appliance did not start: ${await Bun.file(join(work, 'serve.log')).text()}`)
    said += value
  }
  const ready = /^ready https=(https:\S+) http=(http:\S+)/.exec(said)
  return {
    https: ready?.[1] ?? '',
    http: ready?.[2] ?? '',
    stop: async () => {
      child.kill()
      await child.exited
    },
  }
}

async function wimcast(...words: string[]): Promise<string> {
  const child = Bun.spawn([EXECUTABLE, '--socket', socket, ...words], { stdout: 'pipe', stderr: 'pipe' })
  const [out, error, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  if (code !== 0) throw new Error(`wimcast ${words.join(' ')}: ${code}: ${error}`)
  return out.trim()
}

beforeAll(async () => {
  const tree = makeTree(join(work, 'tree'))
  const windows = [
    'ARCH=9',
    'EDITIONID=Professional',
    'VERSION/MAJOR=10',
    'VERSION/MINOR=0',
    'VERSION/BUILD=22631',
    'VERSION/SPBUILD=1',
  ]
  const properties = [...windows, 'LANGUAGES/LANGUAGE=de-DE', 'LANGUAGES/DEFAULT=de-DE'].map(
    (one) => `--image-property=WINDOWS/${one}`,
  )
  await capture(tree, fast, 'Windows 11 Pro', ...properties)
  await append(tree, fast, 'Windows 11 Home')
  // Another compression than the library's is converted, at some 20 MB/s: long enough to be seen at work.
  writeFileSync(join(tree, 'large'), sampleBytes(96 << 20, 7))
  await capture(tree, slow, 'Slow', '--compress=XPRESS')
  served = await serve('127.0.0.1:0')
  operator = await wimcast('token', 'new', '--name', 'olga', '--role', 'operator')
  viewer = await wimcast('token', 'new', '--name', 'victor', '--role', 'viewer')
  browser = await chromium.launchPersistentContext(join(work, 'profile'), {
    executablePath: CHROMIUM,
    headless: true,
    args: FLAGS,
    ignoreHTTPSErrors: true,
    viewport: DESK,
  })
  page = browser.pages()[0] ?? (await browser.newPage())
  page.setDefaultTimeout(10_000)
  await page.addInitScript(
    "addEventListener('securitypolicyviolation', (e) => console.error('CSP', e.violatedDirective, e.blockedURI))",
  )
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type()) && !expected?.test(message.text())) wrongs.push(message.text())
  })
  page.on('pageerror', (error) => wrongs.push(String(error)))
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== served.https) wrongs.push(`asked ${request.url()}`)
  })
}, 120_000)

afterAll(async () => {
  await browser?.close()
  await served?.stop()
  rmSync(work, { recursive: true, force: true })
})

async function signIn(token: string): Promise<void> {
  await page.getByLabel('Token').fill(token)
  await page.keyboard.press('Enter')
}

async function signOut(): Promise<void> {
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
}

function row(name: string) {
  return page.getByRole('row').filter({ has: page.getByRole('rowheader', { name }) })
}

/** Of the page as it is now, in both colour schemes. */
async function accessibilityFaults(): Promise<string[]> {
  const faults: string[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    await page.evaluate(axe.source)
    const { violations } = (await page.evaluate('axe.run()')) as axe.AxeResults
    faults.push(
      ...violations.map(({ id, nodes }) => `${colorScheme}: ${id}: ${nodes.map((node) => node.html).join(' ')}`),
    )
  }
  return faults
}

async function overflow(): Promise<unknown> {
  return page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
}

test('the files: a strict policy, known by their tags, small; none over plain HTTP', async () => {
  const insecure = { tls: { rejectUnauthorized: false } }
  let bytes = 0
  for (const path of ['/', '/page.js', '/page.css', '/icon.svg']) {
    const url = `${served.https}${path}`
    const answer = await fetch(url, { ...insecure, decompress: false, headers: { 'Accept-Encoding': 'gzip' } })
    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-encoding')).toBe('gzip')
    const policy = answer.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("default-src 'self'")
    expect(policy).not.toContain('unsafe')
    const zipped = await answer.bytes()
    bytes += zipped.length
    const plain = await fetch(url, { ...insecure, headers: { 'Accept-Encoding': 'gzip;q=0' } })
    expect(plain.headers.get('content-encoding')).toBeNull()
    expect(Bun.gunzipSync(zipped)).toEqual(await plain.bytes())
    const tag = answer.headers.get('etag') ?? ''
    expect(plain.headers.get('etag')).not.toBe(tag)
    const again = await fetch(url, { ...insecure, headers: { 'Accept-Encoding': 'gzip', 'If-None-Match': tag } })
    expect(again.status).toBe(304)
    expect((await fetch(`${served.http}${path}`)).status).toBe(404)
  }
  expect(bytes).toBeLessThan(300 * 1024)
})

test('a wrong token is refused in words', async () => {
  await page.goto(served.https)
  expect(await accessibilityFaults()).toEqual([])
  await signIn('not a token')
  await page.getByRole('alert').getByText('It begins with "wimcast_"').waitFor()
  expected = /401/
  await signIn(WRONG_TOKEN)
  await page.getByRole('alert').getByText('the token is unknown').waitFor()
  await page.getByRole('alert').getByText('not-signed-in').waitFor()
  expected = undefined
  expect(await page.evaluate('sessionStorage.length')).toBe(0)
})

test('an operator signs in; the library is empty', async () => {
  await signIn(operator)
  await page.getByText('olga, operator').waitFor()
  await page.getByText('Live', { exact: true }).waitFor()
  await page.getByRole('heading', { name: 'The library is empty' }).waitFor()
  await page.getByText('No jobs yet').waitFor()
  expect(await page.evaluate('localStorage.length + document.cookie.length')).toBe(0)
})

test('an import comes up as a job and as images, without a reload', async () => {
  await page.evaluate('window.sameDocument = true')
  await wimcast('group', 'new', 'Office')
  await page.getByRole('heading', { name: 'Office' }).waitFor()
  await wimcast('image', 'import', fast, '--group', 'Office')
  const job = page.getByRole('listitem').filter({ hasText: 'import fast.wim' })
  await job.getByText('Done').waitFor()
  await job.getByText('Imported “Windows 11 Pro”, “Windows 11 Home” into Office.').waitFor()
  await row('Windows 11 Home').waitFor()
  const cells = await row('Windows 11 Pro').getByRole('cell').allInnerTexts()
  expect(cells.slice(0, 4)).toEqual(['Professional', '10.0.22631.1', 'x64', 'de-DE'])
  // Two images of the same tree: half is shared.
  await page
    .getByRole('article', { name: 'Office' })
    .getByText(/\((49|50) %\)/)
    .waitFor()
  expect(await page.evaluate('window.sameDocument')).toBe(true)
})

test('a job is seen at work, and cancelled', async () => {
  const started = wimcast('image', 'import', slow, '--group', 'Office').catch((error: Error) => error.message)
  const job = page.getByRole('listitem').filter({ hasText: 'import slow.wim' })
  await job.getByText('Running', { exact: true }).waitFor()
  await page.getByRole('link', { name: /Jobs 1 running/ }).waitFor()
  await job.getByRole('progressbar').waitFor()
  await job.getByRole('button', { name: /^Cancel/ }).click()
  await job.getByText('Cancelled', { exact: true }).waitFor()
  expect(await started).toContain('cancelled')
  expect(await row('Slow').count()).toBe(0)
})

test('a copy: its refusal stays in the dialog, its success shows up', async () => {
  await page.getByRole('button', { name: 'Copy Windows 11 Home' }).click()
  const dialog = page.getByRole('dialog', { name: 'Copy install image' })
  await dialog.getByLabel('Image name').fill('Windows 11 Lab')
  await dialog.getByLabel('File name').fill((await row('Windows 11 Home').locator('code').textContent()) ?? '')
  expected = /409/
  await dialog.getByRole('button', { name: 'Copy' }).click()
  await dialog.getByRole('alert').getByText('Choose another file name').waitFor()
  expected = undefined
  expect(await accessibilityFaults()).toEqual([])
  await dialog.getByLabel('File name').fill('lab.wim')
  await page.keyboard.press('Enter')
  await row('Windows 11 Lab').waitFor()
  expect(await dialog.count()).toBe(0)
  await page.getByText('Copied to “Windows 11 Lab”.').waitFor()
  expect(await wimcast('image', 'list')).toContain('Windows 11 Lab')
})

test('public on and off', async () => {
  const toggle = page.getByRole('switch', { name: 'Public: Windows 11 Lab' })
  const file = `${served.http}/images/Office/lab.wim`
  expect((await fetch(file)).status).toBe(404)
  await toggle.click()
  await page.getByRole('switch', { name: 'Public: Windows 11 Lab', checked: true }).waitFor()
  expect((await fetch(file, { method: 'HEAD' })).status).toBe(200)
  await toggle.press('Space')
  await page.getByRole('switch', { name: 'Public: Windows 11 Lab', checked: false }).waitFor()
  expect((await fetch(file)).status).toBe(404)
})

test('removing asks first', async () => {
  const button = page.getByRole('button', { name: 'Remove Windows 11 Lab' })
  await button.click()
  const dialog = page.getByRole('dialog', { name: 'Remove install image' })
  await dialog.getByText('the 2 other images').waitFor()
  await page.keyboard.press('Escape')
  await dialog.waitFor({ state: 'detached' })
  expect(await row('Windows 11 Lab').count()).toBe(1)
  // The focus is where it was.
  await page.keyboard.press('Enter')
  await dialog.getByRole('button', { name: 'Remove' }).click()
  await row('Windows 11 Lab').waitFor({ state: 'detached' })
  expect(await wimcast('image', 'list')).not.toContain('Windows 11 Lab')
})

test('a transmission is opened, waits for clients, and is stopped', async () => {
  await page.getByRole('button', { name: 'Transmit Windows 11 Pro' }).click()
  const dialog = page.getByRole('dialog', { name: 'Transmit by multicast' })
  await dialog.getByLabel('Network interface').fill('no-such-if')
  expected = /Failed to load resource/
  await dialog.getByRole('button', { name: 'Transmit' }).click()
  await dialog.getByRole('alert').waitFor()
  expected = undefined
  await dialog.getByLabel('Network interface').fill('lo')
  await dialog.getByLabel('Ceiling in Mbit/s').fill('250')
  await dialog.getByRole('button', { name: 'Transmit' }).click()
  await dialog.waitFor({ state: 'detached' })
  const cast = page.getByRole('article', { name: /Windows 11 Pro/ })
  await cast.getByText('Waiting for clients').waitFor()
  await cast.getByText('250.0 Mbit/s', { exact: true }).waitFor()
  await cast.getByText(/^239\.\d+\.\d+\.\d+:\d+ on lo$/).waitFor()
  await cast.getByRole('button', { name: /^Stop/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Stop' }).click()
  await cast.waitFor({ state: 'detached' })
  // The newer of two: the one without an interface ended before it began.
  const ended = page.getByRole('listitem').filter({ hasText: '· Windows 11 Pro' })
  await ended.first().getByText('Ended', { exact: true }).waitFor()
  expect(await ended.count()).toBe(2)
})

describe('looks', () => {
  test.each([
    ['a phone', PHONE],
    ['a tablet', { width: 820, height: 1180 }],
    ['a desk', DESK],
  ])('on %s nothing is wider than the screen, and axe finds no fault', async (_, size) => {
    await page.setViewportSize(size)
    expect(await overflow()).toBe(0)
    expect(await accessibilityFaults()).toEqual([])
    await page.getByRole('button', { name: 'Copy Windows 11 Pro' }).click()
    await page.getByRole('dialog').waitFor()
    expect(await overflow()).toBe(0)
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
  })
})

test('a reload keeps the session; when the appliance goes the page says so, and comes back with it', async () => {
  await page.reload()
  await row('Windows 11 Pro').waitFor()
  await page.getByText('Live', { exact: true }).waitFor()
  expected = /ERR_|Failed to load resource/
  await served.stop()
  await page.getByText('Offline', { exact: true }).waitFor()
  await page.getByText('may be out of date').waitFor()
  expect(await row('Windows 11 Pro').count()).toBe(1)
  served = await serve(new URL(served.https).host)
  await page.getByText('Live', { exact: true }).waitFor()
  expected = undefined
})

test('a viewer sees all and is offered nothing', async () => {
  await signOut()
  expect(await page.evaluate('sessionStorage.length')).toBe(0)
  await signIn(viewer)
  await page.getByText('victor, viewer').waitFor()
  await row('Windows 11 Pro').waitFor()
  await page.getByRole('listitem').filter({ hasText: 'import fast.wim' }).waitFor()
  expect(await page.getByRole('main').getByRole('button').count()).toBe(0)
  expect(await page.getByRole('switch').count()).toBe(0)
})

test('a token that is revoked ends the session', async () => {
  await wimcast('token', 'revoke', 'victor')
  expected = /401/
  await page.reload()
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await page.getByRole('alert').waitFor()
  expected = undefined
})

test('all the time: nothing on the console, no breach of policy, no request to elsewhere', () => {
  expect(wrongs).toEqual([])
})
