/** The client against real TLS servers on loopback: who it talks to, what it writes before it knows, and bodies both ways. */
import { afterEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer as createPlainServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { Hono } from 'hono'
import { hc } from 'hono/client'
import { makeCertificate } from '../../src/access/certificate.ts'
import { systemClock } from '../../src/base/clock.ts'
import { type Fingerprint, fingerprintOf } from '../../src/base/fingerprint.ts'
import { reasonOf } from '../../src/base/log.ts'
import { Refused } from '../../src/base/refusal.ts'
import { type Client, openClient } from '../../src/client/client.ts'

const MIB = 1 << 20
let opened = new DisposableStack()
afterEach(() => {
  opened.dispose()
  opened = new DisposableStack()
})

const here = made(systemClock.nowMs())
const other = made(systemClock.nowMs())

function made(nowMs: number): { readonly cert: string; readonly key: string; readonly fingerprint: Fingerprint } {
  const { certPem, keyPem } = makeCertificate(['localhost'], { nowMs: () => nowMs, monotonicMs: () => 0 })
  return { cert: certPem, key: keyPem, fingerprint: fingerprintOf(certPem) }
}

type Handler = (request: Request, port: number) => Response | Promise<Response>

function serve(handler: Handler, tls: { cert: string; key: string } = here, port = 0) {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port,
    tls,
    idleTimeout: 0,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    fetch: (request, self) => handler(request, self.requestIP(request)?.port ?? 0),
  })
  opened.defer(() => void server.stop(true))
  return server
}

function clientOf(
  port: number | undefined,
  fingerprint = here.fingerprint,
  more: { token?: string; connectTimeoutMs?: number } = {},
) {
  return opened.use(openClient({ server: new URL(`https://127.0.0.1:${port}`), fingerprint, ...more }))
}

/** A bare server that tells what came over each connection, TLS taken off. */
async function listen(server: Server): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  opened.defer(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

async function refusalOf(answer: Promise<unknown>): Promise<string> {
  try {
    await answer
    return 'none'
  } catch (error) {
    if (error instanceof Refused) return error.refusal.code
    throw error
  }
}

function pattern(size: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let at = 0; at < size; at += 4096) bytes.fill((seed * 31 + at / 4096) & 0xff, at, at + 4096)
  return bytes
}

async function* chunks(count: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < count; at += 1) yield pattern(MIB, at)
}

function streamOf(source: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> {
  const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
    const next = await source.next()
    return next.done ? controller.close() : controller.enqueue(next.value)
  }
  return new ReadableStream({ pull }, { highWaterMark: 0 })
}

async function digestOf(stream: AsyncIterable<Uint8Array> | null): Promise<string> {
  const hash = new Bun.CryptoHasher('sha256')
  for await (const chunk of stream ?? []) hash.update(chunk)
  return hash.digest('hex')
}

describe('the pin', () => {
  test('right certificate: the request goes out, with the token in the header only', async () => {
    const server = serve((request) =>
      Response.json({ url: request.url, authorization: request.headers.get('authorization') }),
    )
    const answer = await clientOf(server.port, here.fingerprint, { token: 'wimcast_x' }).fetch('/jobs?all=1')
    expect(await answer.json()).toEqual({
      url: `https://127.0.0.1:${server.port}/jobs?all=1`,
      authorization: 'Bearer wimcast_x',
    })
  })

  test('expired certificate, right pin: fine', async () => {
    const expired = made(Date.parse('2001-01-01T00:00:00Z'))
    const server = serve(() => new Response('hello'), expired)
    expect(await (await clientOf(server.port, expired.fingerprint).fetch('/')).text()).toBe('hello')
  })

  test('certificate not valid yet, right pin: fine', async () => {
    const early = made(Date.parse('2090-01-01T00:00:00Z'))
    const server = serve(() => new Response('hello'), early)
    expect(await (await clientOf(server.port, early.fingerprint).fetch('/')).text()).toBe('hello')
  })

  test('wrong certificate: refused, and the server saw no byte of the request', async () => {
    const seen = Promise.withResolvers<string>()
    const tls = createTlsServer({ cert: other.cert, key: other.key })
    const port = await listen(tls)
    tls.on('connection', (raw: Socket) => raw.once('close', () => seen.resolve(text)))
    tls.on('tlsClientError', () => seen.resolve(text))
    let text = ''
    tls.on('secureConnection', (socket: Socket) => {
      socket.on('error', () => {}).once('close', () => seen.resolve(text))
      socket.on('data', (data) => {
        text += data
      })
    })
    const client = clientOf(port, here.fingerprint, { token: 'wimcast_secret' })
    expect(await refusalOf(client.fetch('/images', { method: 'POST', body: 'body' }))).toBe('wrong-certificate')
    expect(await seen.promise).toBe('')
  })

  test('the same bare server does see a request when the pin is right', async () => {
    const seen = Promise.withResolvers<string>()
    const port = await listen(
      createTlsServer({ cert: other.cert, key: other.key }, (socket) => {
        socket.once('data', (data) => {
          seen.resolve(data.toString())
          socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
        })
      }),
    )
    expect((await clientOf(port, other.fingerprint).fetch('/x')).status).toBe(200)
    expect(await seen.promise).toStartWith('GET /x HTTP/1.1\r\n')
  })

  test('a connection is reused; it stays the pinned one', async () => {
    const server = serve((_, port) => new Response(String(port)))
    const client = clientOf(server.port)
    const ports = new Set<string>()
    for (let at = 0; at < 5; at += 1) ports.add(await (await client.fetch('/')).text())
    expect(ports.size).toBe(1)
  })

  test.each(['GET', 'POST'])(
    'server restarted with another certificate: the next %s is refused, unseen',
    async (method) => {
      const first = serve(() => new Response('hello'))
      const client = clientOf(first.port)
      expect(await (await client.fetch('/')).text()).toBe('hello')
      const { port } = first
      await first.stop(true)
      let asked = 0
      const impostor = () => {
        asked += 1
        return new Response('stolen')
      }
      serve(impostor, other, port)
      // A POST on a connection that dies under it is not sent again, so its first answer may be that the server is gone.
      const codes = [await refusalOf(client.fetch('/', { method })), await refusalOf(client.fetch('/', { method }))]
      expect(codes.at(-1)).toBe('wrong-certificate')
      expect(['wrong-certificate', 'unreachable']).toContain(codes[0] ?? '')
      if (method === 'GET') expect(codes[0]).toBe('wrong-certificate')
      expect(asked).toBe(0)
    },
  )

  test('server restarted with the same certificate: a GET goes on', async () => {
    const first = serve(() => new Response('one'))
    const client = clientOf(first.port)
    expect(await (await client.fetch('/')).text()).toBe('one')
    const { port } = first
    await first.stop(true)
    serve(() => new Response('two'), here, port)
    expect(await (await client.fetch('/')).text()).toBe('two')
  })

  test('a kept connection that dies when it is used again: a GET goes on over a new one', async () => {
    let connections = 0
    const port = await listen(
      createTlsServer({ cert: here.cert, key: here.key }, (socket) => {
        const mine = ++connections
        socket.on('error', () => {})
        let asked = 0
        socket.on('data', () => {
          asked += 1
          if (mine === 1 && asked === 2) return socket.destroy()
          return socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${mine}`)
        })
      }),
    )
    const client = clientOf(port)
    expect(await (await client.fetch('/')).text()).toBe('1')
    expect(await (await client.fetch('/')).text()).toBe('2')
  })

  test('neither a full URL nor plain http takes the token elsewhere', async () => {
    const client = clientOf(443)
    await expect(client.fetch('https://other.example/')).rejects.toThrow('is not')
    await expect(client.fetch('//other.example/')).rejects.toThrow('is not')
    expect(() => openClient({ server: new URL('http://127.0.0.1'), fingerprint: here.fingerprint })).toThrow(Refused)
  })

  test('a redirect is an answer like any other', async () => {
    const server = serve(() => Response.redirect('https://other.example/', 302))
    expect((await clientOf(server.port).fetch('/')).status).toBe(302)
  })
})

describe('nobody there', () => {
  test('closed port: unreachable', async () => {
    const server = serve(() => new Response())
    await server.stop(true)
    expect(await refusalOf(clientOf(server.port).fetch('/'))).toBe('unreachable')
  })

  test('a server that does not speak TLS: unreachable', async () => {
    const port = await listen(createPlainServer((socket) => void socket.end('220 mail.example ESMTP\r\n')))
    expect(await refusalOf(clientOf(port).fetch('/'))).toBe('unreachable')
  })

  test('a server that closes during the handshake: unreachable', async () => {
    const port = await listen(createPlainServer((socket) => void socket.destroy()))
    expect(await refusalOf(clientOf(port).fetch('/'))).toBe('unreachable')
  })

  test('a server that never answers the handshake: unreachable after the timeout', async () => {
    const port = await listen(createPlainServer(() => {}))
    expect(await refusalOf(clientOf(port, here.fingerprint, { connectTimeoutMs: 100 }).fetch('/'))).toBe('unreachable')
  })

  test.each<[string, (client: Client, abort: AbortController) => void]>([
    ['an abort', (_, abort) => abort.abort(new Error('enough'))],
    ['closing the client', (client) => client[Symbol.dispose]()],
  ])('%s during the handshake closes the socket', async (_, stop) => {
    const hello = Promise.withResolvers<void>()
    const closed = Promise.withResolvers<void>()
    const port = await listen(
      createPlainServer((socket) => {
        socket.on('error', () => {}).once('close', () => closed.resolve())
        socket.once('data', () => hello.resolve())
      }),
    )
    const client = clientOf(port)
    const abort = new AbortController()
    const asked = client.fetch('/', { signal: abort.signal }).catch(reasonOf)
    await hello.promise
    stop(client, abort)
    expect(await asked).toMatch(/enough|the client was closed/)
    await closed.promise
  })

  test('an answer that ends early: the body fails, whichever framing it has', async () => {
    for (const framed of ['content-length: 10\r\n\r\n12345', 'transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n']) {
      const port = await listen(
        createTlsServer({ cert: here.cert, key: here.key }, (socket) => {
          socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${framed}`))
        }),
      )
      const answer = await clientOf(port).fetch('/')
      expect(answer.status).toBe(200)
      expect(await refusalOf(answer.text())).toBe('unreachable')
    }
  })
})

describe('bodies', () => {
  const large = 512
  const expected = digestOf(chunks(large))

  test('a large upload arrives whole, in bounded memory', async () => {
    const server = serve(async (request) => new Response(await digestOf(request.body)))
    const before = process.memoryUsage.rss()
    const headers = { 'content-length': String(large * MIB) }
    const answer = await clientOf(server.port).fetch('/', { method: 'PUT', body: chunks(large), headers })
    expect(await answer.text()).toBe(await expected)
    expect((process.memoryUsage.rss() - before) / MIB).toBeLessThan(200)
  })

  test('a large download arrives whole, in bounded memory, and waits for its reader', async () => {
    let made = 0
    const server = serve(() => {
      const source = chunks(large)
      const pull = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
        const next = await source.next()
        if (next.done) return controller.close()
        made += 1
        controller.enqueue(next.value)
      }
      return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }))
    })
    const before = process.memoryUsage.rss()
    const answer = await clientOf(server.port).fetch('/')
    const reader = answer.body?.getReader()
    const first = await reader?.read()
    // The reader rests while another client makes the event loop turn: what lies between the two stays bounded.
    const quick = serve(() => new Response('x'))
    const client = clientOf(quick.port)
    for (let at = 0; at < 200; at += 1) await (await client.fetch('/')).text()
    expect(made).toBeLessThan(64)
    const hash = new Bun.CryptoHasher('sha256').update(first?.value ?? '')
    for (let next = await reader?.read(); next && !next.done; next = await reader?.read()) hash.update(next.value)
    expect(hash.digest('hex')).toBe(await expected)
    expect((process.memoryUsage.rss() - before) / MIB).toBeLessThan(200)
  })

  test('a file is sent with its length', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'wimcast-pin-'))
    opened.defer(() => rmSync(folder, { recursive: true, force: true }))
    const path = join(folder, 'file')
    const size = 3 * MIB + 5
    await Bun.write(path, pattern(size, 1))
    const server = serve(async (request) => {
      return Response.json([request.headers.get('content-length'), await digestOf(request.body)])
    })
    const expected = [String(size), new Bun.CryptoHasher('sha256').update(pattern(size, 1)).digest('hex')]
    const answer = await clientOf(server.port).fetch('/', { method: 'PUT', body: Bun.file(path) })
    expect(await answer.json()).toEqual(expected)
  })

  test.each([
    ['chunked, length unknown', {}],
    ['length known', { 'content-length': '3' }],
  ])('a stream of small chunks: %s', async (_, headers) => {
    const server = serve(async (request) => new Response(await request.text()))
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const text of ['a', 'b', 'c']) controller.enqueue(Buffer.from(text))
        controller.close()
      },
    })
    expect(await (await clientOf(server.port).fetch('/', { method: 'POST', body, headers })).text()).toBe('abc')
  })

  test('a body shorter or longer than it says fails here, and does not hang', async () => {
    const server = serve(async (request) => new Response(await request.text()))
    for (const length of ['4', '2']) {
      const body = new Blob(['abc']).stream()
      const sent = clientOf(server.port).fetch('/', { method: 'POST', body, headers: { 'content-length': length } })
      expect(await refusalOf(sent)).toBe('bad-request')
    }
  })

  test('a source that fails is told as it failed, not as the network', async () => {
    const server = serve(async (request) => new Response(await request.text()))
    const body = (async function* () {
      yield Buffer.from('x')
      throw new Error('the disk is gone')
    })()
    await expect(clientOf(server.port).fetch('/', { method: 'POST', body })).rejects.toThrow('the disk is gone')
  })

  test('an upload that is refused before its end gives the answer, and stops reading its source', async () => {
    const server = serve(() => new Response('not for you', { status: 403 }))
    const client = clientOf(server.port)
    let read = 0
    const finished = Promise.withResolvers<void>()
    const body = (async function* () {
      try {
        for await (const chunk of chunks(4096)) {
          read += 1
          yield chunk
        }
      } finally {
        finished.resolve()
      }
    })()
    const answer = await client.fetch('/', { method: 'PUT', body, headers: { 'content-length': String(4096 * MIB) } })
    expect([answer.status, await answer.text()]).toEqual([403, 'not for you'])
    await finished.promise
    expect(read).toBeLessThan(1024)
    expect((await client.fetch('/')).status).toBe(403)
  })

  test('HEAD, 204 and 304 have no body and leave the connection open', async () => {
    const server = serve((request, port) => {
      const headers = { port: String(port), 'content-length': '5' }
      if (request.method === 'HEAD') return new Response('hello', { headers })
      return new Response(null, {
        status: Number(new URL(request.url).pathname.slice(1)),
        headers: { port: String(port) },
      })
    })
    const client = clientOf(server.port)
    const answers = [
      await client.fetch('/', { method: 'HEAD' }),
      await client.fetch('/204'),
      await client.fetch('/304'),
    ]
    expect(answers.map((answer) => answer.status)).toEqual([200, 204, 304])
    expect(answers[0]?.headers.get('content-length')).toBe('5')
    for (const answer of answers) expect(await answer.text()).toBe('')
    expect(new Set(answers.map((answer) => answer.headers.get('port'))).size).toBe(1)
  })

  test('server-sent events arrive one by one', async () => {
    const go = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const server = serve(() => {
      const events = (async function* () {
        yield Buffer.from('data: 1\n\n')
        await go[0]?.promise
        yield Buffer.from('data: 2\n\n')
        await go[1]?.promise
      })()
      return new Response(streamOf(events), { headers: { 'content-type': 'text/event-stream' } })
    })
    const answer = await clientOf(server.port).fetch('/events')
    expect(answer.headers.get('content-type')).toBe('text/event-stream')
    const reader = answer.body?.getReader()
    // The second is made only after the first was read: with any buffering this would never end.
    for (const [at, text] of ['data: 1\n\n', 'data: 2\n\n'].entries()) {
      expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toBe(text)
      go[at]?.resolve()
    }
    expect((await reader?.read())?.done).toBe(true)
  })

  test.each<[string, (client: Client, abort: AbortController) => Promise<unknown>]>([
    [
      'an abort',
      async (client, abort) => {
        const answer = await client.fetch('/', { signal: abort.signal })
        const reader = answer.body?.getReader()
        await reader?.read()
        abort.abort(new Error('enough'))
        return reader?.read().then(() => reader.read())
      },
    ],
    [
      'a cancelled body',
      async (client) => {
        const answer = await client.fetch('/')
        await answer.body?.cancel()
        throw new Error('enough')
      },
    ],
    [
      'closing the client',
      async (client) => {
        const answer = await client.fetch('/')
        const reader = answer.body?.getReader()
        await reader?.read()
        client[Symbol.dispose]()
        await expect(reader?.read().then(() => reader.read())).rejects.toThrow(Refused)
        throw new Error('enough')
      },
    ],
  ])('%s in the middle of a download closes the connection', async (_, stop) => {
    const closed = Promise.withResolvers<void>()
    const port = await listen(
      createTlsServer({ cert: here.cert, key: here.key }, (socket) => {
        socket.on('error', () => {}).once('close', () => closed.resolve())
        socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nfirst'))
      }),
    )
    await expect(stop(clientOf(port), new AbortController())).rejects.toThrow('enough')
    await closed.promise
  })

  test('an abort in the middle of an upload closes the connection and gives the reason', async () => {
    const closed = Promise.withResolvers<void>()
    const abort = new AbortController()
    const port = await listen(
      createTlsServer({ cert: here.cert, key: here.key }, (socket) => {
        socket.on('error', () => {}).once('close', () => closed.resolve())
        socket.once('data', () => abort.abort(new Error('enough')))
      }),
    )
    const body = chunks(100_000)
    await expect(clientOf(port).fetch('/', { method: 'PUT', body, signal: abort.signal })).rejects.toThrow('enough')
    await closed.promise
  })
})

describe('over a unix socket', () => {
  function local() {
    const folder = mkdtempSync(join(tmpdir(), 'wimcast-pin-'))
    opened.defer(() => rmSync(folder, { recursive: true, force: true }))
    return join(folder, 'api.sock')
  }

  test("Hono's typed client works over it, and over a pinned connection", async () => {
    const socket = local()
    const app = new Hono().post('/jobs/:id', async (c) => c.json({ id: c.req.param('id'), body: await c.req.text() }))
    const server = Bun.serve({ unix: socket, fetch: app.fetch })
    opened.defer(() => void server.stop(true))
    const secure = serve((request) => app.fetch(request))
    for (const client of [opened.use(openClient({ socket })), clientOf(secure.port)]) {
      const api = hc<typeof app>(client.base, { fetch: client.fetch })
      const answer = await api.jobs[':id'].$post({ param: { id: '7' } }, { init: { body: 'all' } })
      expect(await answer.json()).toEqual({ id: '7', body: 'all' })
    }
  })

  test('nobody listens: unreachable, with the path', async () => {
    const socket = local()
    const asked = opened.use(openClient({ socket })).fetch('/')
    await expect(asked).rejects.toThrow(socket)
    expect(await refusalOf(opened.use(openClient({ socket })).fetch('/'))).toBe('unreachable')
  })
})
