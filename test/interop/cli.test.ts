/** The command line as processes against a running appliance: every line of the contract, its output and exit codes. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeWim } from '../fixtures/api.ts'
import { type Ran, run, type ServedAppliance, start, startAppliance, startImpostor } from '../fixtures/cli.ts'
import { capture, HAS_STOCK, imagex, makeTree } from '../fixtures/wims.ts'

let dir: string
let root: string
let appliance: ServedAppliance
const wimcast = (...args: string[]): Promise<Ran> => appliance.run(...args)

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wimcast-cli-'))
  root = join(dir, 'root')
  mkdirSync(root)
  appliance = await startAppliance(dir, ['--import-roots', root])
})
afterAll(async () => {
  await appliance[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
})

/** A command that must go well; its one JSON document. */
async function good<T = Record<string, unknown>>(...args: string[]): Promise<T> {
  const ran = await wimcast(...args, '--json')
  if (ran.code !== 0) throw new Error(`${args.join(' ')}: ${ran.code}: ${ran.stderr}`)
  return ran.json<T>()
}

const uploads = (): string[] => readdirSync(join(dir, 'data', 'uploads'))

describe('every line of the contract', () => {
  test('from a group to its end, as JSON and as text', async () => {
    expect(await good('group', 'new', 'G')).toMatchObject({ name: 'G', images: 0 })
    expect((await wimcast('group', 'list')).stdout).toBe(
      'GROUP  IMAGES  STORED  AS FILES  SAVED\nG           0     0 B       0 B      -\n',
    )
    expect(await good<unknown[]>('group', 'list')).toHaveLength(1)
    expect(await good('--json', 'group', 'show', 'g')).toMatchObject({ name: 'G' })

    // Outside the import roots: the file is sent.
    const sent = writeWim(join(dir, 'Größe 1.wim'), ['One', 'Two'])
    const job = await good<{ id: number; state: string; result: unknown }>(
      'image',
      'import',
      sent,
      '--group',
      'G',
      '--index',
      'two',
      '--name',
      'Zwei',
      '--description',
      'said',
      '--file-name',
      'zwei',
    )
    expect(job).toMatchObject({ state: 'done', result: { images: ['Zwei'], group: 'G' } })
    const text = await wimcast('image', 'import', sent, '--index', '1', '--skip-verify')
    expect([text.code, text.stdout.split(':')[0]]).toEqual([0, 'imported ["One"] into "G"'])
    expect(text.stderr).toContain('sending Größe 1.wim')
    expect(uploads()).toEqual([])

    expect(await good('image', 'list', '--group', 'G')).toMatchObject([{ name: 'One' }, { name: 'Zwei' }])
    expect((await wimcast('image', 'list')).stdout.split('\n')[0]).toMatch(/^GROUP +IMAGE +FILE/)
    expect(await good('image', 'show', 'zwei', '--group', 'G')).toMatchObject({
      name: 'Zwei',
      fileName: 'zwei.wim',
      description: 'said',
    })
    expect(await good('image', 'set', 'Zwei', '--name', 'Two/2', '--description', '', '--public', 'on')).toMatchObject({
      name: 'Two/2',
      description: '',
      public: true,
    })
    expect(await good('image', 'set', 'Two/2', '--group', 'G', '--public', 'off')).toMatchObject({ public: false })
    expect(
      await good(
        'image',
        'copy',
        'Two/2',
        '--group',
        'G',
        '--file',
        'zwei.wim',
        '--new-name',
        'Two/2',
        '--new-file-name',
        'copy',
        '--new-description',
        'd',
      ),
    ).toMatchObject({ name: 'Two/2', fileName: 'copy.wim', description: 'd' })
    expect((await wimcast('image', 'show', 'Two/2')).stderr).toContain('[ambiguous]')
    const to = join(dir, 'out.wim')
    expect(await good('image', 'export', 'One', '--group', 'G', '--to', to)).toMatchObject({
      file: to,
      image: 'One',
      sizeBytes: Bun.file(to).size,
    })
    expect(await good('image', 'remove', 'Two/2', '--file', 'copy')).toEqual({ removed: 'Two/2' })

    const cast = await good<{ id: number }>(
      'cast',
      'new',
      '--image',
      'One',
      '--group',
      'G',
      '--interface',
      'lo',
      '--rate',
      '10M',
    )
    expect(await good('cast', 'list')).toMatchObject([{ id: cast.id, image: 'One', rateBitsPerSecond: 1e7 }])
    expect((await wimcast('cast', 'list')).stdout.split('\n')[0]).toMatch(/^ *ID +NAME/)
    expect(await good('cast', 'show', String(cast.id))).toMatchObject({ id: cast.id })
    expect((await wimcast('cast', 'show', String(cast.id))).stdout).toContain('ceiling')
    expect(await good('cast', 'stop', String(cast.id), '--force')).toMatchObject({ id: cast.id })

    expect((await good<{ id: number }[]>('job', 'list')).map(({ id }) => id)).toContain(job.id)
    expect(await good('job', 'show', String(job.id))).toMatchObject({ id: job.id, state: 'done' })
    expect((await wimcast('job', 'show', String(job.id))).stdout).toContain('done')
    expect((await wimcast('job', 'cancel', String(job.id))).stderr).toContain('[in-use]')

    const made = await good<{ token: string }>('token', 'new', '--name', 'Löwe', '--role', 'operator')
    expect(made.token).toStartWith('wimcast_')
    expect(await good('token', 'list')).toMatchObject([{ name: 'Löwe', role: 'operator' }])
    expect(await good('token', 'revoke', 'Löwe')).toEqual({ revoked: 'Löwe' })

    for (const name of ['One', 'Two/2']) await good('image', 'remove', name)
    expect(await good('group', 'remove', 'G')).toEqual({ removed: 'G' })
  }, 20_000)

  test('--version and --help', async () => {
    const [version, versionJson, help, one, none, serve] = await Promise.all([
      run(['--version']),
      run(['--version', '--json']),
      run(['--help']),
      run(['image', 'copy', '--help']),
      run([]),
      run(['serve', '--help']),
    ])
    expect(version.stdout).toMatch(/^wimcast \d.*\nBun \d.*\nlibwim \d+\.\d+\.\d+ \((configured|embedded|system)\)\n$/)
    expect(Object.keys(versionJson.json())).toEqual(['wimcast', 'bun', 'libwim', 'libwimOrigin'])
    expect(none.stdout).toBe(help.stdout)
    expect(help.stdout).toContain('image import FILE')
    expect(one.stdout).toContain('--new-file-name F')
    expect(serve.stdout).toContain('--import-roots DIR,DIR')
    for (const ran of [version, help, one, serve]) expect([ran.code, ran.stderr]).toEqual([0, ''])
  })
})

describe('exit codes', () => {
  const WRONG: readonly (readonly string[])[] = [
    ['bogus'],
    ['group'],
    ['image', 'bogus'],
    ['--bogus'],
    ['group', 'list', '--bogus'],
    ['group', 'list', 'extra'],
    ['group', 'new'],
    ['group', 'list', '--json=yes'],
    ['token', 'new', '--name', 'x'],
    ['token', 'new', '--name', 'x', '--role', 'god'],
    ['image', 'set', 'x'],
    ['image', 'set', 'x', '--public', 'maybe'],
    ['image', 'copy', 'x', '--new-name', 'y'],
    ['image', 'export', 'x'],
    ['image', 'export', 'x', '--to', 'y', '--if-exists', 'ask'],
    ['cast', 'new'],
    ['cast', 'new', '--image', 'x', '--rate', 'fast'],
    ['cast', 'show', '1x'],
    ['receive', '--cast', '1'],
    ['group', 'list', '--server', 'https://localhost'],
    ['group', 'list', '--server', 'http://localhost', '--fingerprint', '0'.repeat(64)],
    ['group', 'list', '--server', 'https://localhost', '--fingerprint', 'abc'],
    ['group', 'list', '--server', 'https://localhost', '--fingerprint', '0'.repeat(64), '--token-file', '/nowhere'],
    [
      'group',
      'list',
      '--server',
      'https://localhost',
      '--fingerprint',
      '0'.repeat(64),
      '--token-file',
      '/etc/hostname',
    ],
    ['serve', '--bogus'],
    ['serve', 'extra'],
    ['serve', '--server', 'https://localhost'],
    ['serve', '--http', 'nonsense'],
  ]
  test('2: the command line is wrong, said in JSON too', async () => {
    for (let at = 0; at < WRONG.length; at += 7)
      await Promise.all(
        WRONG.slice(at, at + 7).map(async (args) => {
          const ran = await wimcast(...args, '--json')
          expect([args, ran.code]).toEqual([args, 2])
          expect(ran.stderr).toMatch(/^wimcast: .+ \[bad-request\]\n {9}\S/)
          if (!args.includes('--json=yes')) expect(ran.json()).toMatchObject({ error: { code: 'bad-request' } })
        }),
      )
  }, 20_000)

  test('1: refused, with the code, a sentence and a hint', async () => {
    const [text, json] = await Promise.all([
      wimcast('group', 'show', 'none'),
      wimcast('group', 'show', 'none', '--json'),
    ])
    expect([text.code, text.stdout]).toEqual([1, ''])
    expect(text.stderr).toMatch(/^wimcast: there is no image group "none" \[not-found\]\n {9}\S.*\n$/)
    expect([json.code, json.json()]).toMatchObject([
      1,
      { error: { code: 'not-found', message: 'there is no image group "none"' } },
    ])
  })

  test('3: nobody there', async () => {
    const none = join(dir, 'none.sock')
    for (const ran of await Promise.all([
      run(['group', 'list', '--socket', none, '--json']),
      run(['group', 'list', '--json'], { WIMCAST_SOCKET: none }),
      // A named socket wins over the variable.
      run(['group', 'list', '--json', '--socket', none], { WIMCAST_SOCKET: appliance.socket }),
      run(['--server', 'https://[::1]:1', '--fingerprint', '0'.repeat(64), 'group', 'list', '--json']),
    ])) {
      expect([ran.code, ran.json()]).toMatchObject([3, { error: { code: 'unreachable' } }])
    }
  })

  test('a reader that has read enough is no fault', async () => {
    const main = join(import.meta.dir, '../../src/main.ts')
    // `true` reads nothing: the list is written to a pipe that nobody has open.
    const child = Bun.spawn(
      ['bash', '-c', 'set -o pipefail; "$0" "$@" | true', process.execPath, main, 'group', 'list'],
      {
        env: { ...process.env, WIMCAST_SOCKET: appliance.socket },
        stdout: 'ignore',
        stderr: 'pipe',
      },
    )
    expect([await child.exited, await child.stderr.text()]).toEqual([0, ''])
  })
})

describe('elsewhere, over HTTPS', () => {
  const tokenFile = (name: string): string => join(dir, `${name}.token`)
  const remote = (role: string, ...args: string[]): Promise<Ran> =>
    run(['--server', appliance.https, '--fingerprint', appliance.fingerprint, '--token-file', tokenFile(role), ...args])

  beforeAll(async () => {
    for (const role of ['viewer', 'operator'])
      writeFileSync(tokenFile(role), (await wimcast('token', 'new', '--name', role, '--role', role)).stdout)
  })

  test('a viewer looks, and changes nothing; without a token nobody does', async () => {
    const [list, refused, nobody, wrong] = await Promise.all([
      remote('viewer', 'group', 'list', '--json'),
      remote('viewer', 'group', 'new', 'V', '--json'),
      run(['--server', appliance.https, '--fingerprint', appliance.fingerprint, 'group', 'list', '--json']),
      run([
        '--server',
        appliance.https,
        '--fingerprint',
        '0'.repeat(64),
        '--token-file',
        tokenFile('viewer'),
        'group',
        'list',
        '--json',
      ]),
    ])
    expect([list.code, list.json<unknown>()]).toEqual([0, []])
    expect([refused.code, refused.json()]).toMatchObject([1, { error: { code: 'not-allowed' } }])
    expect([nobody.code, nobody.json()]).toMatchObject([1, { error: { code: 'not-signed-in' } }])
    expect([wrong.code, wrong.json()]).toMatchObject([3, { error: { code: 'wrong-certificate' } }])
  })

  test('the fingerprint is taken as openssl prints it', async () => {
    const colons = appliance.fingerprint.toUpperCase().match(/../g)?.join(':') ?? ''
    expect(
      (
        await run([
          '--server',
          appliance.https,
          '--fingerprint',
          `sha256 Fingerprint=${colons}`,
          '--token-file',
          tokenFile('viewer'),
          'group',
          'list',
        ])
      ).code,
    ).toBe(0)
  })

  test.skipIf(!HAS_STOCK)(
    'a split set is sent whole; without a part it is refused, and nothing stays',
    async () => {
      expect((await remote('operator', 'group', 'new', 'Split')).code).toBe(0)
      const wim = await capture(
        makeTree(join(dir, 'tree'), { smallFiles: 5 }),
        join(dir, 'whole.wim'),
        'Whole',
        '--compress=none',
      )
      const parts = join(dir, 'parts')
      mkdirSync(parts)
      await imagex('split', wim, join(parts, 'install.swm'), '0.3')
      const names = readdirSync(parts).sort()
      expect(names.length).toBeGreaterThan(2)
      const imported = await remote(
        'operator',
        'image',
        'import',
        join(parts, 'install.swm'),
        '--group',
        'Split',
        '--json',
      )
      expect([imported.code, imported.json()]).toMatchObject([0, { state: 'done', startedBy: 'token:operator' }])
      expect(await good('image', 'show', 'Whole')).toMatchObject({ fileName: 'install.wim' })
      rmSync(join(parts, names.at(-1) ?? ''))
      const missing = await remote(
        'operator',
        'image',
        'import',
        join(parts, 'install.swm'),
        '--group',
        'Split',
        '--file-name',
        'again',
        '--json',
      )
      expect([missing.code, missing.json()]).toMatchObject([1, { error: { code: 'missing-part' } }])
      const second = await remote(
        'operator',
        'image',
        'import',
        join(parts, 'install2.swm'),
        '--group',
        'Split',
        '--json',
      )
      expect([second.code, second.json()]).toMatchObject([1, { error: { code: 'not-first-part' } }])
      expect(uploads()).toEqual([])
      await good('image', 'remove', 'Whole')
      await good('group', 'remove', 'Split')
    },
    20_000,
  )
})

describe('files', () => {
  beforeAll(async () => {
    await good('group', 'new', 'F')
  })
  const importing = (file: string, ...more: string[]): Promise<Ran> =>
    wimcast('image', 'import', file, '--group', 'F', '--json', ...more)

  test('below an import root the service reads the file itself', async () => {
    // An uploads folder that takes nothing: whoever sends a file fails.
    const held = join(dir, 'data', 'uploads')
    rmSync(held, { recursive: true, force: true })
    writeFileSync(held, '')
    try {
      const below = await importing(writeWim(join(root, 'below.wim'), ['Below']))
      expect([below.code, below.stderr.includes('sending')]).toEqual([0, false])
      const beside = await importing(writeWim(join(dir, 'beside.wim'), ['Beside']))
      expect([beside.code, beside.stderr.includes('[unavailable]')]).toEqual([1, true])
    } finally {
      rmSync(held)
      mkdirSync(held)
    }
  })

  test('what is no file is refused before anything is sent', async () => {
    const pipe = join(dir, 'pipe')
    Bun.spawnSync(['mkfifo', pipe])
    symlinkSync('nowhere', join(dir, 'dangling'))
    const [none, folder, fifo, dangling, text] = await Promise.all([
      importing(join(dir, 'none.wim')),
      importing(dir),
      importing(pipe),
      importing(join(dir, 'dangling')),
      importing('/etc/hostname'),
    ])
    expect([none.code, none.json()]).toMatchObject([1, { error: { code: 'not-found' } }])
    expect([folder.code, folder.json()]).toMatchObject([1, { error: { code: 'bad-path' } }])
    expect([fifo.code, fifo.json()]).toMatchObject([1, { error: { code: 'bad-path' } }])
    expect([dangling.code, dangling.json()]).toMatchObject([1, { error: { code: 'not-found' } }])
    // Sent, looked at, refused, gone.
    expect([text.code, text.json()]).toMatchObject([1, { error: { code: 'not-a-wim' } }])
    expect(uploads()).toEqual([])
  })

  test('export fails or overwrites, as asked; never what is no file', async () => {
    const to = join(dir, 'there')
    writeFileSync(to, 'mine')
    const out = (file: string, ...more: string[]): Promise<Ran> =>
      wimcast('image', 'export', 'Below', '--group', 'F', '--to', file, '--json', ...more)
    const fail = await out(to)
    expect([fail.code, fail.json()]).toMatchObject([1, { error: { code: 'exists' } }])
    expect(readFileSync(to, 'utf8')).toBe('mine')
    for (const file of [dir, '/dev/null', join(dir, 'pipe'), join(dir, 'no folder', 'x')]) {
      const ran = await out(file, '--if-exists', 'overwrite')
      expect([file, ran.code, ran.json()]).toMatchObject([file, 1, { error: { code: 'bad-path' } }])
    }
    expect((await out(to, '--if-exists', 'overwrite')).code).toBe(0)
    expect(readFileSync(to).subarray(0, 5).toString()).toBe('MSWIM')
    expect(readdirSync(dir).filter((name) => name.endsWith('.part'))).toEqual([])
  })
})

/** What an appliance could say of an image; the names are hostile. */
const HOSTILE = {
  name: 'x\u001b[2Jx\u009bx',
  description: '\r\nfake line',
  group: 'G\u0007',
  fileName: 'x.wim',
  public: false,
  enabled: true,
  version: '\u009b2J',
  comment: '\u0007',
  bootDefault: false,
  hasUnattend: false,
  sizeBytes: 1000,
  path: 'images/G/x.wim',
  facts: {
    name: '',
    description: '',
    languages: ['\u001b[31m'],
    totalBytes: 0,
    hardLinkBytes: 0,
    fileCount: 0,
    directoryCount: 0,
    version: '\u0000',
  },
  createdAtMs: 0,
  changedAtMs: 0,
}
const JOB = {
  id: 7,
  kind: 'image.import',
  title: 'import \u001b]0;x\u0007',
  state: 'running',
  step: 'copy',
  doneBytes: 1,
  totalBytes: 2,
  startedBy: '\u009b',
  createdAtMs: 0,
}

/** Answers what an export asks before it downloads; true when it is the download that is asked for. */
function answerExport(request: IncomingMessage, to: ServerResponse): boolean {
  const url = request.url ?? ''
  if (request.method === 'GET' && url.includes('/content')) return true
  if (url.includes('/content')) to.writeHead(200, { 'Content-Length': 1000 }).end()
  else if (!url.startsWith('/api/exports'))
    to.setHeader('Content-Type', 'application/json').end(JSON.stringify(HOSTILE))
  else to.writeHead(400).end(JSON.stringify({ code: 'bad-path', message: 'no export root', hint: 'h' }))
  return false
}

describe('an appliance that is slow, broken or hostile', () => {
  test('no control character reaches the terminal raw', async () => {
    const socket = join(dir, 'hostile.sock')
    await using _impostor = await startImpostor(socket, (request, to) => {
      const url = request.url ?? ''
      to.setHeader('Content-Type', 'application/json')
      if (url.startsWith('/api/images/')) to.end(JSON.stringify(HOSTILE))
      else if (url.startsWith('/api/images')) to.end(JSON.stringify([HOSTILE]))
      else if (url.startsWith('/api/jobs/'))
        to.end(JSON.stringify({ ...JOB, endedAtMs: 1, result: { images: ['\u009b'] } }))
      else if (url.startsWith('/api/events'))
        to.end(
          `event: job\ndata: ${JSON.stringify(JOB)}\n\ndata: ${JSON.stringify({ ...JOB, endedAtMs: 1, result: { images: ['\u009b'], group: '\u009b' } })}\n\n`,
        )
      else if (url.startsWith('/api/imports')) to.end(JSON.stringify(JOB))
      else to.writeHead(409).end(JSON.stringify({ code: 'exists', message: 'a\u001b[1m\u009b', hint: '\u0007' }))
    })
    const ran = await Promise.all(
      [
        ['image', 'list'],
        ['image', 'show', 'x'],
        ['job', 'show', '7'],
        ['image', 'import', '/x'],
        ['group', 'show', 'x'],
      ].map((args) => run(args, { WIMCAST_SOCKET: socket })),
    )
    expect(ran.map(({ code }) => code)).toEqual([0, 0, 0, 0, 1])
    for (const { stdout, stderr } of ran) expect(`${stdout}${stderr}`.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
    expect(ran[0]?.stdout.split('\n')).toHaveLength(3)
  })

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s in the middle of an export leaves no part',
    async (signal) => {
      const socket = join(dir, `${signal}.sock`)
      await using _impostor = await startImpostor(socket, (request, to) => {
        if (answerExport(request, to)) to.writeHead(200, { 'Content-Length': 1000 }).write('MSWIM')
      })
      const out = mkdtempSync(join(dir, 'export-'))
      const began = Promise.withResolvers<void>()
      const watching = watch(out, (_, name) => name?.endsWith('.part') && began.resolve())
      const running = start(['image', 'export', 'x', '--to', join(out, 'x.wim'), '--json'], { WIMCAST_SOCKET: socket })
      await began.promise
      running.kill(signal)
      const ran = await running.ended
      watching.close()
      expect([ran.code, ran.json()]).toMatchObject([130, { error: { code: 'cancelled' } }])
      expect(readdirSync(out)).toEqual([])
    },
  )

  test('a download that ends early is told, and leaves nothing', async () => {
    const socket = join(dir, 'short.sock')
    await using _impostor = await startImpostor(socket, (request, to) => {
      if (answerExport(request, to)) to.writeHead(200, { 'Content-Length': 1000 }).write('MSWIM', () => to.destroy())
    })
    const out = mkdtempSync(join(dir, 'short-'))
    const ran = await run(['image', 'export', 'x', '--to', join(out, 'x.wim'), '--json'], { WIMCAST_SOCKET: socket })
    expect([ran.code, ran.json()]).toMatchObject([3, { error: { code: 'unreachable' } }])
    expect(readdirSync(out)).toEqual([])
  })

  test('an interrupt of an import cancels its job', async () => {
    const socket = join(dir, 'cancel.sock')
    const began = Promise.withResolvers<void>()
    let cancelled = 0
    let follow: { readonly end: (text: string) => unknown } | undefined
    await using _impostor = await startImpostor(socket, (request, to) => {
      const url = request.url ?? ''
      if (url.startsWith('/api/events')) {
        follow = to
        to.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(`data: ${JSON.stringify(JOB)}\n\n`, () =>
          began.resolve(),
        )
        return
      }
      to.setHeader('Content-Type', 'application/json').end(JSON.stringify(JOB))
      if (!url.endsWith('/cancel')) return
      cancelled += 1
      follow?.end(
        `data: ${JSON.stringify({ ...JOB, state: 'cancelled', endedAtMs: 1, error: { code: 'cancelled', message: 'm', hint: 'h' } })}\n\n`,
      )
    })
    const running = start(['image', 'import', '/x', '--json'], { WIMCAST_SOCKET: socket })
    await began.promise
    running.kill('SIGINT')
    const ran = await running.ended
    expect([ran.code, ran.json(), cancelled]).toMatchObject([130, { error: { code: 'cancelled' } }, 1])
  })

  test('an interrupt of a dry run drops what was sent for it, when the job has ended', async () => {
    const socket = join(dir, 'dropped.sock')
    const began = Promise.withResolvers<void>()
    const asked: string[] = []
    let follow: { readonly end: (text: string) => unknown } | undefined
    await using _impostor = await startImpostor(socket, (request, to) => {
      const what = `${request.method} ${request.url}`
      asked.push(what)
      request.resume()
      if (what.startsWith('GET /api/events')) {
        follow = to
        to.writeHead(200, { 'Content-Type': 'text/event-stream' }).write(': \n\n', () => began.resolve())
        return
      }
      if (what.startsWith('PUT ') || what.startsWith('DELETE ')) {
        to.writeHead(204).end()
        return
      }
      to.setHeader('Content-Type', 'application/json')
      const repairs = asked.filter((one) => one.includes('/repairs')).length
      if (what.includes('/repairs') && repairs === 1)
        to.writeHead(400).end(JSON.stringify({ code: 'bad-path', message: 'm', hint: 'h' }))
      else to.end(JSON.stringify(what === 'POST /api/uploads' ? { id: 'sent' } : JOB))
      if (what.includes('/cancel'))
        follow?.end(
          `data: ${JSON.stringify({ ...JOB, state: 'cancelled', endedAtMs: 1, error: { code: 'cancelled', message: 'm', hint: 'h' } })}\n\n`,
        )
    })
    const file = writeWim(join(dir, 'dropped.wim'), ['Dropped'])
    const running = start(['library', 'repair', file, '--dry-run', '--json'], { WIMCAST_SOCKET: socket })
    await began.promise
    running.kill('SIGINT')
    expect((await running.ended).code).toBe(130)
    expect(asked.filter((one) => one.includes('/uploads'))).toEqual([
      'POST /api/uploads',
      'PUT /api/uploads/sent/dropped.wim',
      'DELETE /api/uploads/sent',
    ])
    expect(asked.at(-1)).toStartWith('DELETE')
  })

  test('a transmission that is not there leaves no file', async () => {
    const out = join(dir, 'received.wim')
    const ran = await wimcast('receive', '--cast', '999', '--out', out, '--json')
    expect([ran.code, ran.json()]).toMatchObject([1, { error: { code: 'not-found' } }])
    expect(existsSync(out)).toBe(false)
  })

  test('what is no wimcast is told so', async () => {
    const socket = join(dir, 'other.sock')
    await using _impostor = await startImpostor(socket, (_, to) => to.writeHead(502).end('<html>'))
    const ran = await run(['group', 'list', '--json'], { WIMCAST_SOCKET: socket })
    expect([ran.code, ran.json()]).toMatchObject([1, { error: { code: 'unavailable' } }])
    expect(existsSync(socket)).toBe(true)
  })
})
