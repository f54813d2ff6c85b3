/**
 * `wimcast image export` as people type it, and the two routes behind it: the service writes below an export root, and
 * everywhere else the image is downloaded and finished by the command itself.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkExportPath } from '../../src/api/exports.ts'
import { openSource } from '../../src/wim/source.ts'
import { openTestApi, type TestApi, tinyWim, writeWim } from '../fixtures/api.ts'
import { type Ran, type ServedAppliance, start, startAppliance, startImpostor } from '../fixtures/cli.ts'
import { must } from '../fixtures/library.ts'
import { capture, HAS_STOCK, imagex, makeTree, sha256 } from '../fixtures/wims.ts'

const T = 60_000
let work: string
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-export-cli-'))
})
afterAll(() => rmSync(work, { recursive: true, force: true }))

const namesIn = (wim: string): string[] => {
  using source = must(openSource(wim))
  return source.document.images.map(({ facts }) => facts.name)
}

describe('where the service may write', () => {
  test('a name in a folder below a root, all links resolved', async () => {
    const root = join(work, 'root')
    mkdirSync(join(root, 'in'), { recursive: true })
    const data = join(root, 'data')
    mkdirSync(join(data, 'groups'), { recursive: true })
    mkdirSync(join(work, 'rootless'))
    symlinkSync(work, join(root, 'way out'))
    symlinkSync(join(root, 'in'), join(work, 'way in'))
    const code = async (path: string, roots: readonly string[] = [root]): Promise<string> => {
      const checked = await checkExportPath(path, roots, data)
      return checked.ok ? checked.value : checked.error.code
    }
    expect(await code(join(root, 'x.wim'))).toBe(join(root, 'x.wim'))
    expect(await code(join(root, 'in/../in/x.wim'))).toBe(join(root, 'in/x.wim'))
    expect(await code(join(work, 'way in/x.wim'))).toBe(join(root, 'in/x.wim'))
    expect(await code('/x.wim', ['/'])).toBe('/x.wim')
    for (const path of [
      'x.wim',
      '',
      root,
      `${root}/`,
      `${root}/in/`,
      `${root}/in/..`,
      `${root}/.`,
      `${root}less/x.wim`,
      `${root}/way out/x.wim`,
      `${root}/../x.wim`,
      `${root}/none/x.wim`,
      `${data}/x.wim`,
      `${data}/groups/x.wim`,
      `${root}/x.wim/y.wim`,
      `${root}/x\0y.wim`,
      `${root}/x\ny.wim`,
      `${root}/x\u009by.wim`,
    ])
      expect([path, await code(path)]).toEqual([path, 'bad-path'])
    expect(await code(join(root, 'x.wim'), [])).toBe('bad-path')
    expect(await code(join(data, 'x.wim'), [data])).toBe('bad-path')
    expect(await code(join(data, 'groups/x.wim'), [root, join(data, 'groups')])).toBe(join(data, 'groups/x.wim'))
    expect(await code(join(root, 'x.wim'), [join(work, 'not there')])).toBe('bad-path')
  })
})

describe('routes', () => {
  let api: TestApi
  beforeAll(async () => {
    const dataDir = join(work, 'api')
    mkdirSync(dataDir)
    api = await openTestApi(dataDir)
    mkdirSync(api.root, { recursive: true })
    await api.ask('POST', '/api/groups', { json: { name: 'G' } })
    await api.ended(await api.ask('POST', '/api/imports', { json: { path: writeWim(join(api.root, 'a.wim'), ['A']) } }))
  })
  afterAll(() => api[Symbol.asyncDispose]())

  test('a job of operators, for files below the root', async () => {
    const json = { image: 'A', path: join(api.root, 'out.wim') }
    for (const who of ['nobody', 'viewer'] as const)
      expect((await api.ask('POST', '/api/exports', { as: who, json })).status).toBeGreaterThan(400)
    const tried = await api.ask('POST', '/api/exports?dryRun=true', { as: 'operator', json })
    expect([tried.status, tried.headers.get('wimcast-dry-run')]).toEqual([202, 'true'])
    expect((await api.ended(tried)).result).toMatchObject({ how: 'created', dryRun: true })
    expect(existsSync(json.path)).toBe(false)
    const job = await api.ended(await api.ask('POST', '/api/exports', { as: 'operator', json }))
    expect([job.state, job.kind, job.startedBy]).toEqual(['done', 'image.export', 'token:operator'])
    expect(namesIn(json.path)).toEqual(['A'])
    const more = { ...json, ifExists: 'append', newName: 'B' }
    expect((await api.ended(await api.ask('POST', '/api/exports', { json: more }))).result).toMatchObject({ images: 2 })
    expect(namesIn(json.path)).toEqual(['A', 'B'])
    for (const [code, wrong] of [
      ['bad-path', { ...json, path: join(work, 'out.wim') }],
      ['bad-path', { ...json, path: 'out.wim' }],
      ['not-found', { ...json, image: 'none' }],
      ['bad-name', { ...json, newName: '\u0001' }],
      ['bad-request', { ...json, ifExists: 'ask' }],
      ['bad-request', { image: 'A' }],
    ] as const)
      expect((await api.ask('POST', '/api/exports', { json: wrong })).code).toBe(code)
  })

  test('a download of any name, with ranges and validators', async () => {
    const url = '/api/images/A/content?newName=M%C3%BC&newDescription=d'
    expect((await api.fetch('GET', url, { as: 'nobody' })).status).toBe(401)
    const whole = await api.fetch('GET', url, { as: 'viewer' })
    const bytes = await whole.bytes()
    const etag = whole.headers.get('etag') ?? ''
    expect([whole.status, Number(whole.headers.get('content-length'))]).toEqual([200, bytes.length])
    writeFileSync(join(work, 'download'), bytes)
    expect(namesIn(join(work, 'download'))).toEqual(['Mü'])
    const head = await api.fetch('HEAD', url, { as: 'viewer' })
    expect([head.status, head.headers.get('etag'), await head.text()]).toEqual([200, etag, ''])
    const rest = { Range: 'bytes=100-', 'If-Range': etag }
    const part = await api.fetch('GET', url, { as: 'viewer', headers: rest })
    expect([part.status, Buffer.from(await part.bytes()).equals(bytes.subarray(100))]).toEqual([206, true])
    // Another name is another file.
    const other = await api.fetch('GET', '/api/images/A/content', { as: 'viewer', headers: rest })
    expect([other.status, other.headers.get('etag') === etag]).toEqual([200, false])
    await other.bytes()
    expect((await api.ask('GET', '/api/images/A/content?newName=%01')).code).toBe('bad-name')
    expect((await api.ask('GET', '/api/images/none/content')).code).toBe('not-found')
  })
})

describe.skipIf(!HAS_STOCK)('the command', () => {
  let appliance: ServedAppliance
  let root: string
  let other: string
  let remote: string[]
  let tree: string

  beforeAll(async () => {
    root = join(work, 'served/root')
    other = join(work, 'elsewhere')
    mkdirSync(root, { recursive: true })
    mkdirSync(other)
    tree = makeTree(join(work, 'tree'), { smallFiles: 4 })
    const roots = ['--import-roots', work, '--export-roots', root]
    appliance = await startAppliance(join(work, 'served'), roots)
    await good('group', 'new', 'G')
    await good('image', 'import', await capture(tree, join(work, 'pro.wim'), 'Pro'))
    const { token } = await good<{ token: string }>('token', 'new', '--name', 't', '--role', 'viewer')
    writeFileSync(join(work, 'token'), token)
    remote = ['--server', appliance.https, '--fingerprint', appliance.fingerprint, '--token-file', join(work, 'token')]
  }, T)
  afterAll(() => appliance?.[Symbol.asyncDispose](), T)

  const wimcast = (...args: string[]): Promise<Ran> => appliance.run(...args, '--json')
  async function good<R = Readonly<Record<string, unknown>>>(...args: string[]): Promise<R> {
    const ran = await wimcast(...args)
    if (ran.code !== 0) throw new Error(`${args.join(' ')}: ${ran.stderr}`)
    return ran.json<R>()
  }
  const jobs = async (): Promise<number> =>
    (await good<{ kind: string }[]>('job', 'list')).filter(({ kind }) => kind === 'image.export').length

  test(
    'below an export root the service writes, elsewhere the command; the files are the same',
    async () => {
      const [there, here, far] = [join(root, 'x.wim'), join(other, 'x.wim'), join(other, 'far.wim')]
      const wanted = ['--new-name', 'Prô', '--new-description', 'd é']
      const before = await jobs()
      const created = { how: 'created', images: 1, verified: true, image: 'Prô' }
      const made = await Promise.all(
        [[there], [here], [far, ...remote]].map((words) => good('image', 'export', 'Pro', '--to', ...words, ...wanted)),
      )
      for (const [n, file] of [there, here, far].entries()) expect(made[n]).toMatchObject({ ...created, file })
      // One of them by a job.
      expect(await jobs()).toBe(before + 1)
      expect([sha256(here), sha256(far)]).toEqual([sha256(there), sha256(there)])
      expect(await imagex('info', here, '1')).toMatch(/Name: +Prô\nDescription: +d é\n/)

      for (const [file, more] of [
        [there, []],
        [far, remote],
      ] as const) {
        const again = await wimcast('image', 'export', 'Pro', '--to', file, ...more)
        expect([again.code, again.json()]).toMatchObject([1, { error: { code: 'exists' } }])
        const dry = await wimcast('image', 'export', 'Pro', '--to', file, '--if-exists', 'append', '--dry-run', ...more)
        expect(dry.json()).toMatchObject({ how: 'appended', images: 2, dryRun: true })
        expect(namesIn(file)).toEqual(['Prô'])
        const done = await good('image', 'export', 'Pro', '--to', file, '--if-exists', 'append', ...more)
        expect(done).toMatchObject({ how: 'appended', images: 2, verified: true, sizeBytes: statSync(file).size })
        expect(namesIn(file)).toEqual(['Prô', 'Pro'])
        const taken = await wimcast('image', 'export', 'Pro', '--to', file, '--if-exists', 'append', ...more)
        expect(taken.json()).toMatchObject({ error: { code: 'exists', hint: expect.stringContaining('--new-name') } })
        await imagex('verify', file)
      }
      const said = await appliance.run(
        'image',
        'export',
        'Pro',
        '--to',
        here,
        '--if-exists',
        'overwrite',
        '--skip-verify',
      )
      expect(said.stdout).toMatch(/^exported "Pro" to .*x\.wim, which was replaced \(.*, not verified\)\n$/)
      expect(namesIn(here)).toEqual(['Pro'])
      const missing = await wimcast('image', 'export', 'none', '--to', join(other, 'none.wim'))
      expect(missing.json()).toMatchObject({ error: { code: 'not-found' } })
      expect(readdirSync(other).sort()).toEqual(['far.wim', 'x.wim'])
      expect(readdirSync(root)).toEqual(['x.wim'])
    },
    T,
  )

  test(
    'killed in the middle of an append, the file is as it was, and no WIM lies beside it',
    async () => {
      const dir = mkdtempSync(join(other, 'killed-'))
      const file = join(dir, 'x.esd')
      await capture(tree, file, 'Old', '--solid')
      chmodSync(file, 0o600)
      const before = sha256(file)
      // At its first sight: part of a download, a copy, a file that libwim writes to.
      for (const sight of [1, 2]) {
        const seen = new Set<string>()
        const there = Promise.withResolvers<void>()
        const watching = watch(dir, (_, name) => {
          if (name?.endsWith('.part')) seen.add(name)
          if (seen.size >= sight) there.resolve()
        })
        const running = start(['image', 'export', 'Pro', '--to', file, '--if-exists', 'append'], {
          WIMCAST_SOCKET: appliance.socket,
        })
        await there.promise
        running.kill('SIGKILL')
        await running.ended
        watching.close()
        const names = readdirSync(dir).filter((name) => name !== 'x.esd')
        for (const name of names) expect(name).toMatch(/^\.wimcast-[0-9a-f-]+\.part$/)
        expect(sha256(file)).toBe(before)
        for (const name of names) rmSync(join(dir, name), { force: true })
      }
      await good('image', 'export', 'Pro', '--to', file, '--if-exists', 'append')
      expect(namesIn(file)).toEqual(['Old', 'Pro'])
      expect(statSync(file).mode & 0o777).toBe(0o600)
      await imagex('verify', file)
    },
    T,
  )
})

describe('a download that breaks', () => {
  const image = { name: 'x', facts: { totalBytes: 0, hardLinkBytes: 0 } }
  const one = Buffer.from(tinyWim(['x']))
  const two = Buffer.from(tinyWim(['x'], { text: 'another version' }))

  /** Answers as `serve` says, for the n-th time that the content is asked for. */
  async function exported(
    name: string,
    serve: (
      n: number,
      range: string | undefined,
      ifRange: string | undefined,
    ) => { bytes: Buffer; etag: string; from: number; to: number },
  ): Promise<{ readonly ran: Ran; readonly dir: string; readonly asked: (string | undefined)[] }> {
    const socket = join(work, `${name}.sock`)
    const dir = mkdtempSync(join(work, `${name}-`))
    const asked: (string | undefined)[] = []
    await using _impostor = await startImpostor(socket, (request, to) => {
      const url = request.url ?? ''
      if (url.startsWith('/api/exports'))
        to.writeHead(400, { 'Content-Type': 'application/json' }).end(
          JSON.stringify({ code: 'bad-path', message: 'm', hint: 'h' }),
        )
      else if (!url.includes('/content')) to.setHeader('Content-Type', 'application/json').end(JSON.stringify(image))
      else if (request.method === 'HEAD') to.writeHead(200, { 'Content-Length': one.length, ETag: '"1"' }).end()
      else {
        const { range, 'if-range': ifRange } = request.headers
        asked.push(range)
        const { bytes, etag, from, to: until } = serve(asked.length, range, ifRange as string | undefined)
        to.writeHead(from > 0 ? 206 : 200, { 'Content-Length': bytes.length - from, ETag: etag })
        to.write(bytes.subarray(from, until), () => (until < bytes.length ? to.destroy() : to.end()))
      }
    })
    const ran = await start(['image', 'export', 'x', '--to', join(dir, 'x.wim'), '--json'], { WIMCAST_SOCKET: socket })
      .ended
    return { ran, dir, asked }
  }

  test(
    'is taken up where it ended',
    async () => {
      const { ran, dir, asked } = await exported('resumed', (n, range, ifRange) => {
        if (n === 1) return { bytes: one, etag: '"1"', from: 0, to: 300 }
        expect(ifRange).toBe('"1"')
        return { bytes: one, etag: '"1"', from: Number(/\d+/.exec(range ?? '')?.[0]), to: one.length }
      })
      expect([ran.code, ran.json()]).toMatchObject([0, { how: 'created', verified: true }])
      expect(asked).toEqual([undefined, 'bytes=300-'])
      expect(readFileSync(join(dir, 'x.wim')).equals(one)).toBe(true)
    },
    T,
  )

  test(
    'begins anew when the image has become another',
    async () => {
      const { ran, dir } = await exported('changed', (n) =>
        n === 1 ? { bytes: one, etag: '"1"', from: 0, to: 300 } : { bytes: two, etag: '"2"', from: 0, to: two.length },
      )
      expect(ran.code).toBe(0)
      expect(readFileSync(join(dir, 'x.wim')).equals(two)).toBe(true)
    },
    T,
  )

  test(
    'and comes damaged, is refused and leaves nothing',
    async () => {
      const damaged = Buffer.from(one)
      damaged.fill(0x7a, 210, 220)
      const { ran, dir } = await exported('damaged', () => ({ bytes: damaged, etag: '"1"', from: 0, to: one.length }))
      expect([ran.code, ran.json()]).toMatchObject([1, { error: { code: 'corrupt' } }])
      expect(readdirSync(dir)).toEqual([])
    },
    T,
  )
})
