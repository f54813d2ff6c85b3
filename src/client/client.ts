/**
 * The client of the API: `fetch` over connections that are checked before they are used, kept open between requests.
 * Its `fetch` has the form that Hono's typed client takes: `hc<App>(client.base, { fetch: client.fetch })`.
 *
 * HTTP/1.1 is node:http's; only the opening of connections is ours. Redirects are not followed, nothing is decompressed.
 * Bodies of any size go through in bounded memory, both ways: a writer waits for the socket, a reader holds it back.
 */
import {
  Agent,
  type ClientRequest,
  type ClientRequestArgs,
  type IncomingMessage,
  request as startRequest,
} from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Fingerprint } from '../base/fingerprint.ts'
import { reasonOf } from '../base/log.ts'
import { Refused, refuse } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'
import { connectLocal, connectPinned } from './connect.ts'

export type ClientOptions = { readonly connectTimeoutMs?: number } & (
  | { readonly server: URL; readonly fingerprint: Fingerprint; readonly token?: string | undefined }
  | { readonly socket: string }
)

/** What the platform's fetch takes, so that typed clients fit, and anything that yields bytes. */
type Body = NonNullable<RequestInit['body']> | Uint8Array | AsyncIterable<Uint8Array>

export type ClientInit = {
  readonly method?: string
  readonly headers?: RequestInit['headers']
  /** A stream of unknown length goes chunked; give `content-length` when it is known. Chunks are not copied. */
  readonly body?: Body | null | undefined
  readonly signal?: AbortSignal | null | undefined
}

/** Disposing it closes its connections, used ones too. */
export type Client = Disposable & {
  /** What relative paths are relative to. */
  readonly base: string
  /**
   * Throws `Refused` with `unreachable` or `wrong-certificate`, and the signal's reason after an abort. Any status is
   * an answer. The answer's body fails the same way when the connection breaks before its end.
   */
  readonly fetch: (input: string | URL | Request, init?: ClientInit) => Promise<Response>
}

const CONNECT_TIMEOUT_MS = 10_000
/** Safe to send again when a kept connection turns out to be dead (RFC 9112 §9.3.1, RFC 9110 §9.2.2). */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS'])

type Outgoing = {
  readonly method: string
  readonly path: string
  readonly headers: Headers
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
  readonly signal: AbortSignal | undefined
}

/** Opens nothing yet: the first request does. Throws `Refused` when the server's address is not https. */
export function openClient(options: ClientOptions): Client {
  const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS
  const base = baseOf(options)
  const closing = new AbortController()
  const agent = new CheckedAgent((given) => {
    const signal = given ? AbortSignal.any([given, closing.signal]) : closing.signal
    if ('socket' in options) return connectLocal({ path: options.socket, timeoutMs, signal })
    const host = base.hostname.replace(/^\[|\]$/g, '')
    const port = base.port === '' ? 443 : Number(base.port)
    return connectPinned({ host, port, fingerprint: options.fingerprint, timeoutMs, signal })
  })

  const send = async (input: string | URL | Request, init: ClientInit = {}): Promise<Response> => {
    const given = input instanceof Request ? input : undefined
    const url = new URL(given ? given.url : String(input), base)
    // The token is for this server: a full URL must not carry it elsewhere.
    if (url.origin !== base.origin) throw new TypeError(`"${url.origin}" is not "${base.origin}"`)
    const headers = new Headers(init.headers ?? given?.headers)
    headers.set('host', base.host)
    // Without this any encoding would be acceptable (RFC 9110 §12.5.3), and nothing here decodes one.
    if (!headers.has('accept-encoding')) headers.set('accept-encoding', 'identity')
    if ('token' in options && options.token !== undefined) headers.set('authorization', `Bearer ${options.token}`)
    const body = init.body ?? given?.body ?? undefined
    const outgoing: Outgoing = {
      method: (init.method ?? given?.method ?? 'GET').toUpperCase(),
      path: `${url.pathname}${url.search}`,
      headers,
      chunks: await chunksOf(body, headers),
      signal: init.signal ?? given?.signal ?? undefined,
    }
    return exchange(outgoing, agent, REPEATABLE.has(outgoing.method) && body === undefined)
  }

  const close = () => {
    closing.abort(new Error('the client was closed'))
    agent.destroy()
  }
  return { base: base.origin, fetch: send, [Symbol.dispose]: close }
}

function baseOf(options: ClientOptions): URL {
  if ('socket' in options) return new URL('http://localhost')
  if (options.server.protocol === 'https:') return options.server
  const refusal = refuse('bad-request', `"${options.server.href}" is not an https address`, 'Write https://HOST:PORT.')
  throw new Refused(refusal.error)
}

/** Our own name for the signal in the request's options: node:http keeps unknown options and hands them to the agent. */
type CheckedArgs = ClientRequestArgs & { readonly connectSignal?: AbortSignal | undefined }

/** Keeps connections, and makes every new one by `connect`, which checks before it gives the socket out. */
class CheckedAgent extends Agent {
  readonly #connect: (signal: AbortSignal | undefined) => Promise<Result<Socket>>

  constructor(connect: (signal: AbortSignal | undefined) => Promise<Result<Socket>>) {
    super({ keepAlive: true, maxFreeSockets: 4 })
    this.#connect = connect
  }

  override createConnection(args: CheckedArgs, give?: (error: Error | null, socket: Duplex) => void): undefined {
    const fail = give as ((error: unknown) => void) | undefined
    this.#connect(args.connectSignal).then(
      (socket) => (socket.ok ? give?.(null, socket.value) : fail?.(new Refused(socket.error))),
      (error) => fail?.(error),
    )
  }
}

/** One request and its answer; `again` when it may be repeated on a new connection. */
async function exchange(outgoing: Outgoing, agent: Agent, again: boolean): Promise<Response> {
  const { method, path, signal } = outgoing
  signal?.throwIfAborted()
  const args: CheckedArgs = {
    method,
    path,
    agent,
    headers: Object.fromEntries(outgoing.headers),
    connectSignal: signal,
  }
  const request = startRequest(args)
  const answered = Promise.withResolvers<IncomingMessage>()
  request.once('response', answered.resolve)
  // Kept on: a request that failed already may report more than once, and an unheard 'error' ends the process.
  request.on('error', answered.reject)
  const abort = () => request.destroy(asError(signal?.reason))
  signal?.addEventListener('abort', abort, { once: true })
  request.once('close', () => signal?.removeEventListener('abort', abort))
  let bodyFailure: unknown
  try {
    pump(outgoing, request).catch((error) => {
      bodyFailure = error
      request.destroy(asError(error))
    })
    return await responseOf(await answered.promise, request, outgoing)
  } catch (error) {
    request.destroy()
    if (again && request.reusedSocket && !signal?.aborted && !(error instanceof Refused))
      return exchange(outgoing, agent, true)
    throw bodyFailure ?? failureOf(error, signal)
  }
}

/** Writes the body, no faster than the socket takes it, and stops when the server has refused it (RFC 9112 §9.3). */
async function pump(outgoing: Outgoing, request: ClientRequest): Promise<void> {
  const length = outgoing.headers.get('content-length')
  const declared = length === null ? undefined : Number(length)
  let refused = false
  request.once('response', (answer) => {
    refused = (answer.statusCode ?? 0) >= 400
  })
  let sent = 0
  for await (const chunk of outgoing.chunks) {
    if (request.destroyed || refused) return
    sent += chunk.byteLength
    if (declared !== undefined && sent > declared) break
    if (!request.write(chunk)) await writable(request)
  }
  if (request.destroyed || refused) return
  if (declared !== undefined && sent !== declared) {
    const hint = 'Did the file change while it was sent? Try again when it is at rest.'
    throw new Refused(refuse('bad-request', `the body is not of the ${declared} bytes declared`, hint).error)
  }
  request.end()
}

/** Until the socket takes more, or there is no use in waiting. */
function writable(request: ClientRequest): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const events = ['drain', 'close', 'response'] as const
  const go = () => {
    for (const event of events) request.off(event, go)
    resolve()
  }
  for (const event of events) request.on(event, go)
  if (request.destroyed) go()
  return promise
}

async function responseOf(answer: IncomingMessage, request: ClientRequest, outgoing: Outgoing): Promise<Response> {
  const headers = new Headers()
  for (let at = 0; at + 1 < answer.rawHeaders.length; at += 2)
    headers.append(answer.rawHeaders[at] ?? '', answer.rawHeaders[at + 1] ?? '')
  const status = answer.statusCode ?? 0
  const init = { status, statusText: answer.statusMessage ?? '', headers }
  if (outgoing.method === 'HEAD' || status === 204 || status === 304) {
    // To its end, which follows at once, so that the connection is free for the next request.
    await answer[Symbol.asyncIterator]().next()
    return new Response(null, init)
  }
  const chunks: AsyncIterator<Uint8Array> = answer[Symbol.asyncIterator]()
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await chunks.next()
          if (!next.done) return controller.enqueue(next.value)
          // The server answered before it had the whole body: the rest was never sent, the connection is of no more use.
          if (!request.writableEnded) request.destroy()
          controller.close()
        } catch (error) {
          controller.error(failureOf(error, outgoing.signal))
        }
      },
      cancel() {
        request.destroy()
      },
    },
    { highWaterMark: 0 },
  )
  return new Response(body, init)
}

/** The body as chunks; sets the length and type that follow from its kind. */
async function chunksOf(body: ClientInit['body'], headers: Headers): Promise<Outgoing['chunks']> {
  if (body === undefined || body === null) return []
  if (body instanceof Blob) {
    headers.set('content-length', String(body.size))
    return body.stream()
  }
  if (typeof body === 'object' && Symbol.asyncIterator in body) return body
  if (body instanceof Uint8Array) {
    headers.set('content-length', String(body.byteLength))
    return [body]
  }
  // Text and forms: the platform knows their bytes and their type.
  const whole = new Response(body)
  const bytes = await whole.bytes()
  const type = whole.headers.get('content-type')
  if (type !== null && !headers.has('content-type')) headers.set('content-type', type)
  headers.set('content-length', String(bytes.byteLength))
  return [bytes]
}

function failureOf(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason
  if (error instanceof Refused) return error
  const hint = 'Try again; if it stays, the log of the appliance says why it closed the connection.'
  return new Refused(refuse('unreachable', `the connection broke: ${reasonOf(error)}`, hint).error)
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason))
}
