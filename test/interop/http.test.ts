/** src/http with curl and bare sockets as peers. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Content, Piece } from '../../src/base/content.ts'
import { type Facts, silentLog } from '../../src/base/log.ts'
import { ok } from '../../src/base/result.ts'
import { fileContent } from '../../src/content/file.ts'
import { type Door, type HttpServer, openHttp } from '../../src/http/listen.ts'
import { sendContent } from '../../src/http/send.ts'

const MIB = 1024 * 1024
const folder = mkdtempSync(join(tmpdir(), 'http-'))
const path = (name: string) => join(folder, name)

/** Bytes that repeat nowhere near a slice or page, so that a slice in the wrong place shows. */
function fill(name: string, sizeBytes: number, seed: number): string {
  const words = new Uint32Array(sizeBytes / 4)
  for (let at = 0; at < words.length; at += 1) words[at] = Math.imul(at + seed, 0x9e3779b1)
  writeFileSync(path(name), words)
  return path(name)
}

/** A content of many pieces over some files; knows how often it is open and when it was closed last. */
function manyPieces(files: readonly string[], pieceCount: number, maxLength: number) {
  const pieces: Piece[] = []
  const fds = files.map((file) => openSync(file, 'r'))
  let sizeBytes = 0
  for (let count = 0; count < pieceCount; count += 1) {
    const length = 1 + ((count * 7919) % maxLength)
    const fd = fds[count % fds.length] ?? -1
    const source = count % 50 === 0 ? { bytes: new Uint8Array(length).fill(count) } : { fd, offset: count * 1009 }
    pieces.push({ at: sizeBytes, length, source })
    sizeBytes += length
  }
  let openCount = 0
  let closed = () => {}
  const content: Content = {
    sizeBytes,
    etag: 'many',
    mediaType: 'application/octet-stream',
    fileName: 'many.bin',
    async open() {
      openCount += 1
      return ok({
        sizeBytes,
        pieces,
        [Symbol.dispose]() {
          openCount -= 1
          closed()
        },
      })
    },
  }
  return {
    content,
    openCount: () => openCount,
    /** Resolves at the next closing. */
    nextClose: () => new Promise<void>((resolve) => (closed = resolve)),
    end: () => fds.forEach(closeSync),
  }
}

const logged: [string, Facts | undefined][] = []
const log = { ...silentLog, error: (name: string, facts?: Facts) => void logged.push([name, facts]) }
const contents = new Map<string, Content>()
const hurried = Promise.withResolvers<void>()
const doors: Door[] = []

async function fetch(request: Request, door: Door): Promise<Response> {
  doors.push(door)
  const { pathname } = new URL(request.url)
  if (pathname === '/echo') return new Response(request.body, { headers: { 'X-Method': request.method } })
  if (pathname === '/count') {
    let bytes = 0
    for await (const chunk of request.body ?? []) bytes += chunk.byteLength
    return new Response(`${bytes}`)
  }
  if (pathname === '/cookies') {
    return new Response('x', {
      headers: [
        ['Set-Cookie', 'a=1'],
        ['Set-Cookie', 'b=2'],
      ],
    })
  }
  if (pathname === '/events') {
    return new Response(
      new ReadableStream({
        async start(controller) {
          controller.enqueue(new TextEncoder().encode('data: 1\n\n'))
          await hurried.promise
          controller.close()
        },
      }),
    )
  }
  if (pathname === '/hang') {
    door.limit(50)
    return new Promise(() => {})
  }
  if (pathname === '/fault') throw new Error('a bug')
  const content = contents.get(pathname.slice(1))
  return content ? sendContent(request, content) : new Response('no such thing', { status: 404 })
}

let plain: HttpServer
let tls: HttpServer
let many: ReturnType<typeof manyPieces>
let whole: Buffer
const url = (name: string) => `http://127.0.0.1:${plain.port}/${name}`

async function curl(...args: string[]) {
  await using child = Bun.spawn(['curl', '--silent', '--insecure', '--max-time', '25', ...args], { stdout: 'pipe' })
  const out = Buffer.from(await new Response(child.stdout).arrayBuffer())
  return { code: await child.exited, out }
}

beforeAll(async () => {
  const files = [fill('a', 48 * MIB, 1), fill('b', 48 * MIB, 2), fill('c', 48 * MIB, 3)]
  many = manyPieces(files, 2000, 50_000)
  contents.set('many', many.content)

  whole = Buffer.concat(await opened(many.content))
  const key = path('key.pem')
  const cert = path('cert.pem')
  const made = Bun.spawnSync(
    ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'].concat([
      '-keyout',
      key,
      '-out',
      cert,
      '-days',
      '2',
      '-subj',
      '/CN=localhost',
    ]),
  )
  expect(made.exitCode).toBe(0)
  plain = await openHttp({ at: { host: '127.0.0.1', port: 0 }, fetch, log })
  const pair = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
  tls = await openHttp({ at: { host: '127.0.0.1', port: 0, tls: pair }, fetch, log })
})

/** The pieces' bytes by plain reading of the files, without the code under test. */
async function opened(content: Content): Promise<Buffer[]> {
  const result = await content.open()
  if (!result.ok) throw new Error(result.error.message)
  using open = result.value
  return Promise.all(
    open.pieces.map(async ({ source, length }) => {
      if ('bytes' in source) return Buffer.from(source.bytes)
      return Buffer.from(
        await Bun.file(`/proc/self/fd/${source.fd}`)
          .slice(source.offset, source.offset + length)
          .bytes(),
      )
    }),
  )
}

afterAll(async () => {
  hurried.resolve()
  await plain?.[Symbol.asyncDispose]()
  await tls?.[Symbol.asyncDispose]()
  many?.end()
  rmSync(folder, { recursive: true })
})

describe('downloads', () => {
  test.each(['http', 'https'])('2000 pieces over three files arrive whole by %s', async (scheme) => {
    const port = scheme === 'http' ? plain.port : tls.port
    const { code, out } = await curl(`${scheme}://127.0.0.1:${port}/many`)
    expect(code).toBe(0)
    expect(out.equals(whole)).toBe(true)
    expect(many.openCount()).toBe(0)
  })

  test('a slow reader gets the same bytes', async () => {
    const { code, out } = await curl('--limit-rate', '40M', url('many'))
    expect(code).toBe(0)
    expect(out.equals(whole)).toBe(true)
  })

  test('HEAD tells size, tag and name, and opens nothing', async () => {
    const { out } = await curl('--head', url('many'))
    const head = out.toString().toLowerCase()
    expect(head).toStartWith('http/1.1 200')
    expect(head).toContain(`content-length: ${whole.length}\r\n`)
    expect(head).toContain('etag: "many"\r\n')
    expect(head).toContain('accept-ranges: bytes\r\n')
    expect(head).toContain('content-disposition: attachment; filename="many.bin"\r\n')
    expect(head).not.toContain('transfer-encoding')
  })

  test('GET has an exact length and is not chunked', async () => {
    const { out } = await curl('--dump-header', '-', '--output', '/dev/null', url('many'))
    const head = out.toString().toLowerCase()
    expect(head).toContain(`content-length: ${whole.length}\r\n`)
    expect(head).not.toContain('transfer-encoding')
  })

  test.each([
    ['0-0', 0, 1],
    ['1000000-2999999', 1_000_000, 3_000_000],
    ['-777', -777, undefined],
    ['40000000-', 40_000_000, undefined],
  ])('curl --range %s', async (range, start, end) => {
    const { code, out } = await curl('--range', range, url('many'))
    expect(code).toBe(0)
    expect(out.equals(whole.subarray(start, end))).toBe(true)
  })

  test('curl --continue-at - resumes', async () => {
    const partial = path('partial')
    writeFileSync(partial, whole.subarray(0, 12_345_678))
    const { code } = await curl('--continue-at', '-', '--output', partial, url('many'))
    expect(code).toBe(0)
    expect(readFileSync(partial).equals(whole)).toBe(true)
  })

  test('416 names the size; 304 has no body; other methods are told which there are', async () => {
    const beyond = (await curl('--include', '--range', '999999999-', url('many'))).out.toString().toLowerCase()
    expect(beyond).toStartWith('http/1.1 416')
    expect(beyond).toContain(`content-range: bytes */${whole.length}\r\n`)
    const same = (await curl('--include', '--header', 'If-None-Match: "many"', url('many'))).out.toString()
    expect(same).toStartWith('HTTP/1.1 304')
    expect(same).toEndWith('\r\n\r\n')
    const post = (await curl('--include', '--data', 'x', url('many'))).out.toString().toLowerCase()
    expect(post).toStartWith('http/1.1 405')
    expect(post).toContain('allow: get, head\r\n')
  })
})

/** A client that says when it reads. */
async function reader(name: string) {
  const socket = connect({ host: '127.0.0.1', port: plain.port })
  socket.write(`GET /${name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
  const first = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
  socket.pause()
  return { socket, first }
}

/** Everything until the connection ends, however it ends: body bytes. */
async function rest({ socket, first }: { socket: Socket; first: Buffer }): Promise<Buffer> {
  const chunks = [first]
  await new Promise<void>((resolve) => {
    socket.on('data', (bytes: Buffer) => chunks.push(bytes))
    socket.on('error', () => {})
    socket.once('close', () => resolve())
    socket.resume()
  })
  const all = Buffer.concat(chunks)
  return all.subarray(all.indexOf('\r\n\r\n') + 4)
}

describe('clients that misbehave, files that fail', () => {
  test('who goes away in mid-transfer leaves nothing open', async () => {
    await curl(url('many'), '--head')
    const single = await fileContent(path('a'))
    if (!single.ok) throw new Error(single.error.message)
    let closing = () => {}
    const closed = new Promise<void>((resolve) => (closing = resolve))
    contents.set('watched', {
      ...single.value,
      async open() {
        const result = await single.value.open()
        if (!result.ok) return result
        const open = result.value
        return ok({
          ...open,
          [Symbol.dispose]() {
            open[Symbol.dispose]()
            closing()
          },
        })
      },
    })
    const before = readdirSync('/proc/self/fd').filter((fd) => linkOf(fd) === path('a')).length
    const client = await reader('watched')
    expect(readdirSync('/proc/self/fd').filter((fd) => linkOf(fd) === path('a')).length).toBe(before + 1)
    client.socket.resetAndDestroy()
    await closed
    expect(readdirSync('/proc/self/fd').filter((fd) => linkOf(fd) === path('a')).length).toBe(before)
  })

  test('a killed curl closes the content', async () => {
    const closed = many.nextClose()
    const child = Bun.spawn(['curl', '--silent', '--limit-rate', '1M', url('many')], { stdout: 'pipe' })
    await child.stdout.getReader().read()
    child.kill('SIGKILL')
    await closed
    expect(many.openCount()).toBe(0)
    await child.exited
  })

  test('a file truncated in mid-transfer breaks that transfer only', async () => {
    const doomed = await fileContent(fill('doomed', 48 * MIB, 4))
    if (!doomed.ok) throw new Error(doomed.error.message)
    contents.set('doomed', doomed.value)
    const victim = await reader('doomed')
    const other = await reader('many')
    truncateSync(path('doomed'), 1000)
    const [short, unharmed] = await Promise.all([rest(victim), rest(other)])
    expect(short.length).toBeLessThan(48 * MIB)
    expect(unharmed.equals(whole)).toBe(true)
    const facts = logged.find(([name, facts]) => name === 'http.failed' && facts?.['path'] === '/doomed')?.[1]
    expect(facts?.['reason']).toContain(`${path('doomed')} is truncated at byte`)
  })

  test('curl sees the break as an error', async () => {
    const fd = openSync(fill('torn', 4 * MIB, 5), 'r')
    const directory = openSync(folder, 'r')
    const pieces: Piece[] = [
      { at: 0, length: 4 * MIB, source: { fd, offset: 0 } },
      { at: 4 * MIB, length: MIB, source: { fd: directory, offset: 0 } },
    ]
    const labels = { sizeBytes: 5 * MIB, etag: 't', mediaType: 'application/octet-stream', fileName: 't' }
    contents.set('torn', {
      ...labels,
      open: async () => ok({ sizeBytes: labels.sizeBytes, pieces, [Symbol.dispose]() {} }),
    })
    const { code, out } = await curl(url('torn'))
    // 18: transfer closed with outstanding read data remaining; 56: connection reset.
    expect([18, 56]).toContain(code)
    expect(out.length).toBeLessThan(5 * MIB)
    expect((await curl('--range', '0-99', url('torn'))).code).toBe(0)
    closeSync(fd)
    closeSync(directory)
  })

  test('a request target or host that makes no address is 400', async () => {
    for (const line of [
      'GET http://other/ HTTP/1.1\r\nHost: x',
      'GET / HTTP/1.1\r\nHost: a b',
      'OPTIONS * HTTP/1.1\r\nHost: x',
    ]) {
      const socket = connect({ host: '127.0.0.1', port: plain.port })
      socket.write(`${line}\r\nConnection: close\r\n\r\n`)
      const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
      expect(answer.toString()).toStartWith('HTTP/1.1 400')
      socket.destroy()
    }
  })
})

describe('the rest of an exchange', () => {
  test('uploads arrive whole and go back', async () => {
    const { code } = await curl('--upload-file', path('a'), '--output', path('echoed'), url('echo'))
    expect(code).toBe(0)
    expect(readFileSync(path('echoed')).equals(readFileSync(path('a')))).toBe(true)
  })

  test('chunked uploads too', async () => {
    const { out } = await curl('--header', 'Transfer-Encoding: chunked', '--upload-file', path('a'), url('count'))
    expect(out.toString()).toBe(`${48 * MIB}`)
  })

  test('events come before the stream ends', async () => {
    await using child = Bun.spawn(['curl', '--silent', '--no-buffer', url('events')], { stdout: 'pipe' })
    const { value } = await child.stdout.getReader().read()
    expect(Buffer.from(value ?? []).toString()).toBe('data: 1\n\n')
  })

  test('several cookies stay several', async () => {
    const { out } = await curl('--include', url('cookies'))
    expect(out.toString().match(/^set-cookie: /gim)?.length).toBe(2)
  })

  test('a limit breaks a call that takes too long', async () => {
    expect((await curl('--include', url('hang'))).out.toString()).toStartWith('HTTP/1.1 503')
  })

  test('a bug behind fetch is 500 and in the log', async () => {
    const { out } = await curl('--include', url('fault'))
    expect(out.toString()).toStartWith('HTTP/1.1 500')
    expect(logged.some(([name, facts]) => name === 'http.failed' && facts?.['reason'] === 'a bug')).toBe(true)
  })

  test('the door knows who asks', async () => {
    await curl(`https://127.0.0.1:${tls.port}/nothing`)
    expect(doors.at(-1)).toMatchObject({ kind: 'https', address: '127.0.0.1' })
  })
})

/** Says that it was asked, and answers when `response` comes. */
function asking(asked: PromiseWithResolvers<void>, response: Promise<Response>) {
  return () => {
    asked.resolve()
    return response
  }
}

describe('listening', () => {
  test('a unix socket: for owner and group, its stale file replaced, a live one kept', async () => {
    const socket = path('api.sock')
    // A socket file whose owner is gone: what kill -9 leaves.
    const script = `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`
    Bun.spawnSync([process.execPath, '-e', script])
    expect(existsSync(socket)).toBe(true)
    {
      await using server = await openHttp({ at: { unix: socket }, fetch, log })
      expect(server.port).toBe(0)
      expect(statSync(socket).mode & 0o777).toBe(0o660)
      expect((await curl('--unix-socket', socket, 'http://local/many', '--range', '5-9')).out.length).toBe(5)
      expect(doors.at(-1)).toMatchObject({ kind: 'unix', address: '' })
      expect(openHttp({ at: { unix: socket }, fetch, log })).rejects.toThrow('cannot listen')
      expect((await curl('--unix-socket', socket, 'http://local/nothing')).out.toString()).toBe('no such thing')
    }
    expect(existsSync(socket)).toBe(false)
  })

  test('plain HTTP has a limit of answers for each address; what ends gives its place free', async () => {
    const waiting = Promise.withResolvers<void>()
    await using server = await openHttp({
      at: { host: '127.0.0.1', port: 0 },
      log: silentLog,
      fetch: async (request) => {
        if (request.url.endsWith('/wait')) await waiting.promise
        return new Response('x')
      },
    })
    const url = `http://127.0.0.1:${server.port}`
    const one = async (path: string) => (await globalThis.fetch(url + path, { keepalive: false })).status
    const held = Array.from({ length: 40 }, () => one('/wait'))
    // Those over the limit are answered at once; the others only now.
    const early = await Promise.any(held)
    expect(early).toBe(503)
    waiting.resolve()
    const all = await Promise.all(held)
    expect(all.filter((status) => status === 200)).toHaveLength(32)
    expect(all.filter((status) => status === 503)).toHaveLength(8)
    expect(await one('/')).toBe(200)
  })

  test('a port in use is a fault', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const address = other.address()
    const port = typeof address === 'object' && address ? address.port : 0
    expect(openHttp({ at: { host: '127.0.0.1', port }, fetch, log })).rejects.toThrow('cannot listen')
    other.close()
  })

  test('disposal lets running answers end, and breaks them after the limit', async () => {
    const gate = Promise.withResolvers<Response>()
    const asked = Promise.withResolvers<void>()
    const options = { at: { host: '127.0.0.1', port: 0 }, log, drainMs: 100 }
    const patient = await openHttp({ ...options, drainMs: 10_000, fetch: asking(asked, gate.promise) })
    const pending = curl(`http://127.0.0.1:${patient.port}/`)
    await asked.promise
    const disposed = patient[Symbol.asyncDispose]()
    expect((await curl(`http://127.0.0.1:${patient.port}/`)).code).toBe(7)
    gate.resolve(new Response('done'))
    expect((await pending).out.toString()).toBe('done')
    await disposed
    const late = Promise.withResolvers<void>()
    const hasty = await openHttp({ ...options, fetch: asking(late, new Promise(() => {})) })
    const broken = curl(`http://127.0.0.1:${hasty.port}/`)
    await late.promise
    await hasty[Symbol.asyncDispose]()
    expect((await broken).code).not.toBe(0)
  })
})

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return ''
  }
}
