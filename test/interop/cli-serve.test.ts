/** `wimcast serve` as a process: its line, its doors, its refusals to start, its end; and what it gives to strangers. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeWim } from '../fixtures/api.ts'
import { type Ran, run, type ServedAppliance, startAppliance } from '../fixtures/cli.ts'

let dir: string
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-serve-'))
})
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const folder = (): string => mkdtempSync(join(dir, 'd'))
const insecure = { tls: { rejectUnauthorized: false } } as RequestInit

/** A start that must fail, with every door but the named ones off. */
function failing(at: string, ...flags: string[]): Promise<Ran> {
  const doors = Object.entries({
    '--http': 'off',
    '--https': 'off',
    '--tftp': 'off',
    '--socket': join(at, 'x.sock'),
    '--data': join(at, 'data'),
  })
  return run(['serve', ...doors.filter(([name]) => !flags.includes(name)).flat(), ...flags])
}

describe('start and end', () => {
  test('one line that begins ready, when every port answers; SIGTERM ends it cleanly, with a page open', async () => {
    const at = folder()
    await using appliance = await startAppliance(at)
    expect(appliance.readyLine).toMatch(
      /^ready https=https:\/\/\[::1\]:\d+ http=http:\/\/\[::1\]:\d+ tftp=tftp:\/\/\[::1\]:\d+ socket=\/\S+ fingerprint=[0-9a-f]{64}$/,
    )
    expect(statSync(appliance.socket).mode & 0o777).toBe(0o660)
    expect(statSync(join(at, 'run')).mode & 0o777).toBe(0o750)
    expect(statSync(join(at, 'data')).mode & 0o007).toBe(0)
    expect((await fetch(`${appliance.https}/api/version`, insecure)).status).toBe(401)
    expect((await fetch(`${appliance.http}/`)).status).toBe(404)
    const events = await fetch('http://localhost/api/events', { unix: appliance.socket } as RequestInit)
    const reader = events.body?.getReader()
    expect((await reader?.read())?.done).toBe(false)
    const before = performance.now()
    const { code, stderr } = await appliance.stop('SIGTERM')
    // Five seconds are what a transfer that goes on gets; an open page is none.
    expect(performance.now() - before).toBeLessThan(4000)
    expect([code, stderr]).toEqual([0, 'stopping\n'])
    expect(existsSync(appliance.socket)).toBe(false)
    await reader?.cancel().catch(() => {})
  })

  test('after a kill it starts again on the same socket, with the same certificate', async () => {
    const at = folder()
    const first = await startAppliance(at)
    await first.run('group', 'new', 'Kept')
    expect((await first.stop('SIGKILL')).code).toBe(null)
    expect(existsSync(first.socket)).toBe(true)
    await using second = await startAppliance(at)
    expect(second.fingerprint).toBe(first.fingerprint)
    expect((await second.run('group', 'list', '--json')).json()).toMatchObject([{ name: 'Kept' }])
    // A second one on the same data, or on the same socket, is refused and harms nothing.
    const [data, socket] = await Promise.all([
      failing(folder(), '--data', join(at, 'data')),
      failing(folder(), '--socket', second.socket),
    ])
    expect([data.code, data.stderr]).toEqual([
      4,
      expect.stringMatching(/another wimcast runs on this data directory.*\n {9}\S/),
    ])
    expect([socket.code, socket.stderr]).toEqual([4, expect.stringMatching(/cannot listen on .*\n {9}\S/)])
    expect((await second.run('group', 'list')).code).toBe(0)
  })

  test('every listener may be off', async () => {
    const at = folder()
    await using appliance = await startAppliance(at, ['--https', 'off', '--http', 'off', '--tftp', 'off'])
    expect(appliance.readyLine).toMatch(/^ready https=off http=off tftp=off socket=\/\S+ fingerprint=/)
    await using without = await startAppliance(folder(), ['--socket', 'off', '--json'])
    const { ready } = JSON.parse(without.readyLine) as { ready: Record<string, string> }
    expect(ready).toMatchObject({ socket: 'off', http: expect.stringMatching(/^http:/) })
  })

  test('a port in use: which one, and what to do', async () => {
    const tcp = createServer().listen(0, '127.0.0.1')
    const udp = createSocket('udp4').bind(0, '127.0.0.1')
    await Promise.all([once(tcp, 'listening'), once(udp, 'listening')])
    try {
      const port = (tcp.address() as { port: number }).port
      const listen = `127.0.0.1:${port}`
      const cases = { '--http': listen, '--https': listen, '--tftp': `127.0.0.1:${udp.address().port}` }
      for (const ran of await Promise.all(
        Object.entries(cases).map(async ([flag, value]) => {
          const ran = await failing(folder(), flag, value)
          expect([flag, ran.stderr.includes(value)]).toEqual([flag, true])
          return ran
        }),
      )) {
        expect([ran.code, ran.stdout]).toEqual([4, ''])
        expect(ran.stderr).toMatch(/^wimcast: .*\n {9}\S.*\n$/)
      }
    } finally {
      tcp.close()
      udp.close()
    }
  })

  test('folders that cannot be made: a sentence and a hint, no stack', async () => {
    writeFileSync(join(dir, 'file'), '')
    for (const ran of await Promise.all([
      failing(folder(), '--data', join(dir, 'file')),
      failing(folder(), '--socket', join(dir, 'file', 'x.sock')),
    ])) {
      expect(ran.code).toBe(4)
      expect(ran.stderr).toMatch(/^wimcast: the folder ".*" cannot be made: .*\n {9}Make it yourself, .*\n$/)
    }
  })
})

describe('configuration', () => {
  test('all mistakes at once, code 2; in JSON too', async () => {
    const file = join(dir, 'wrong.json')
    writeFileSync(file, JSON.stringify({ colour: 'red', 'log-level': 'loud' }))
    const ran = await run(['serve', '--config', file, '--http', 'x', '--import-roots', 'relative', '--json'], {
      WIMCAST_TFTP: 'y',
    })
    expect(ran.code).toBe(2)
    const { error } = ran.json<{ error: { code: string; message: string; facts: { mistakes: string[] } } }>()
    expect(error.facts.mistakes.map((line) => line.replace(/^.*wrong\.json: /, '').split(':')[0])).toEqual([
      'unknown key "colour"',
      'http',
      'tftp',
      'import-roots',
      'log-level',
    ])
    for (const word of ['colour', 'http', 'tftp', 'import-roots', 'log-level']) expect(ran.stderr).toContain(word)
  })

  test('flag over variable over file', async () => {
    const at = folder()
    const file = join(at, 'config.json')
    const roots = ['a', 'b,c'].map((name) => join(at, name))
    for (const root of roots) mkdirSync(root)
    writeFileSync(file, JSON.stringify({ data: '/nowhere', 'import-roots': roots, http: 'off', https: '127.0.0.1:0' }))
    const env = { WIMCAST_DATA: '/nowhere/either', WIMCAST_LOG_LEVEL: 'error' }
    await using appliance = await startAppliance(at, ['--config', file], env)
    expect(appliance.readyLine).toContain('https=https://[::1]:')
    await appliance.run('group', 'new', 'G')
    // A root whose name holds a comma, from a JSON list; a service that reads it needs no uploads folder.
    expect((await appliance.run('image', 'import', writeWim(join(at, 'b,c', 'x.wim'), ['X']))).stderr).not.toContain(
      'sending',
    )
    // `error` by the variable: nothing of what went well is logged.
    expect((await appliance.stop('SIGTERM')).stderr).toBe('')
  })
})

/** The first answer to a TFTP read request (RFC 1350 §5): 3 is data, 5 an error. */
async function tftp(url: string, path: string): Promise<number> {
  const { hostname, port } = new URL(url.replace(/^tftp:/, 'http:'))
  const socket = createSocket('udp6')
  try {
    socket.send(Buffer.from(`\0\u0001${path}\0octet\0`), Number(port), hostname.replace(/[[\]]/g, ''))
    const [message, from] = (await once(socket, 'message', { signal: AbortSignal.timeout(5000) })) as [
      Buffer,
      { port: number },
    ]
    // An error ends the transfer, so that nobody sends again.
    const { promise, resolve } = Promise.withResolvers<void>()
    socket.send(Buffer.from('\0\u0005\0\0enough\0'), from.port, hostname.replace(/[[\]]/g, ''), () => resolve())
    await promise
    return message.readUInt16BE(0)
  } finally {
    socket.close()
  }
}

describe('public images', () => {
  let appliance: ServedAppliance
  let token: string
  const path = 'images/G/x.wim'

  beforeAll(async () => {
    const at = folder()
    appliance = await startAppliance(at)
    await appliance.run('group', 'new', 'G')
    await appliance.run('image', 'import', writeWim(join(at, 'x.wim'), ['X']))
    token = (await appliance.run('token', 'new', '--name', 'v', '--role', 'viewer')).stdout.trim()
  })
  afterAll(() => appliance[Symbol.asyncDispose]())

  /** What a stranger gets by each way: two statuses and a TFTP opcode. */
  const strangers = async (): Promise<unknown> => [
    (await fetch(`${appliance.http}/${path}`)).status,
    (await fetch(`${appliance.https}/${path}`, insecure)).status,
    await tftp(appliance.tftp, path),
  ]

  test('nobody gets what is not public; on gives it, off takes it away at once', async () => {
    const [hidden, shown] = [
      [404, 404, 5],
      [200, 200, 3],
    ]
    expect(await strangers()).toEqual(hidden)
    await appliance.run('image', 'set', 'X', '--public', 'on')
    expect(await strangers()).toEqual(shown)
    await appliance.run('image', 'set', 'X', '--public', 'off')
    expect(await strangers()).toEqual(hidden)
    expect(
      (await fetch(`${appliance.https}/${path}`, { ...insecure, headers: { Authorization: `Bearer ${token}` } }))
        .status,
    ).toBe(200)
    expect((await fetch(`${appliance.http}/${path}`, { headers: { Authorization: `Bearer ${token}` } })).status).toBe(
      401,
    )
  })

  test('HEAD, ranges and validators say the same on every door', async () => {
    await appliance.run('image', 'set', 'X', '--public', 'on')
    for (const [base, init] of [
      [appliance.http, {}],
      [appliance.https, insecure],
      ['http://localhost', { unix: appliance.socket } as RequestInit],
    ] as const) {
      const get = (headers: Record<string, string> = {}, method = 'GET'): Promise<Response> =>
        fetch(`${base}/${path}`, { ...init, method, headers })
      const whole = await get()
      const bytes = await whole.bytes()
      const etag = whole.headers.get('etag') ?? ''
      const head = await get({}, 'HEAD')
      expect([head.status, head.headers.get('content-length'), head.headers.get('etag')]).toEqual([
        200,
        String(bytes.length),
        etag,
      ])
      const part = await get({ Range: 'bytes=-10', 'If-Range': etag })
      expect([part.status, part.headers.get('content-range')]).toEqual([
        206,
        `bytes ${bytes.length - 10}-${bytes.length - 1}/${bytes.length}`,
      ])
      expect(await part.bytes()).toEqual(bytes.slice(-10))
      expect((await get({ 'If-None-Match': etag })).status).toBe(304)
      expect((await get({ Range: `bytes=${bytes.length}-` })).status).toBe(416)
    }
  })
})

test.skipIf(process.getuid?.() !== 0)('the socket is for root and the group of the service alone', async () => {
  const at = folder()
  chmodSync(dir, 0o755)
  chmodSync(at, 0o755)
  await using appliance = await startAppliance(at)
  const ask = (...groups: string[]): Promise<number> =>
    Bun.spawn(
      [
        'setpriv',
        '--reuid=65534',
        '--regid=65534',
        ...groups,
        'curl',
        '-s',
        '-o',
        '/dev/null',
        '--unix-socket',
        appliance.socket,
        'http://localhost/api/me',
      ],
      { stderr: 'ignore' },
    ).exited
  expect(await ask('--clear-groups')).not.toBe(0)
  expect(await ask('--groups=0')).toBe(0)
})
