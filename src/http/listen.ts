/**
 * A listening door: plain HTTP/1.1, HTTPS, or a unix socket. It turns requests into `fetch` calls and nothing else: who
 * may see what is decided behind `fetch`.
 */
import { chmod, lstat, unlink } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { connect } from 'node:net'
import { type Log, reasonOf } from '../base/log.ts'
import { Fault } from '../base/refusal.ts'
import { answer, requestOf } from './exchange.ts'

export type Door = {
  readonly kind: 'http' | 'https' | 'unix'
  /** The client's IP address; empty for the unix socket. */
  readonly address: string
  /** For short calls: 503, or a broken connection, when the answer is not out by then. Nothing has a limit without it. */
  readonly limit: (ms: number) => void
}

export type HttpOptions = {
  readonly at:
    | { readonly host: string; readonly port: number; readonly tls?: { readonly cert: string; readonly key: string } }
    | { readonly unix: string }
  readonly fetch: (request: Request, door: Door) => Response | Promise<Response>
  readonly log: Log
  /** How long running answers may go on after disposal began. */
  readonly drainMs?: number
}

/** Disposal refuses new connections, lets running answers end for `drainMs`, then breaks them. */
export type HttpServer = AsyncDisposable & {
  /** The port that was bound (0 was asked: the kernel chose); 0 for a unix socket. */
  readonly port: number
}

const DRAIN_MS = 5000
/**
 * A whole request head within this, or the connection ends: who dribbles headers (slowloris) holds a descriptor no
 * longer. Bun 1.4.4 has a limit of its own under it, which neither bodies nor answers feel (measured: a head that is not
 * complete ends after 12 s, stalled transfers in both directions live on).
 */
const HEAD_MS = 20_000
const KEEP_ALIVE_MS = 75_000
/**
 * Plain HTTP is for anybody, and an answer that is not read costs half a megabyte: a class-room that boots stays far
 * below this, a machine that opens connections for sport does not get on.
 */
const ANONYMOUS_LIMITS = { perAddress: 32, total: 512 } as const
const RETRY_AFTER_S = 5

const isHere = (path: string) =>
  lstat(path).then(
    (stat) => stat.isSocket(),
    () => false,
  )

/** Does anybody answer on the socket? Only a refusal by the kernel proves that nobody does. */
function isStale(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'))
  })
}

function listening(
  server: Server,
  where: { host: string; port: number } | { path: string },
  name: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new Fault(`cannot listen on ${name}`, { hint: 'Is another program there, and may we bind it?', cause }))
    })
    server.listen(where, () => resolve())
  })
}

/** An answer without a body; when the head of another is out already, the only thing left to say is to hang up. */
function refuse(to: ServerResponse, status: 400 | 500 | 503): void {
  if (to.headersSent) to.destroy()
  else to.writeHead(status, { 'Content-Length': 0, Connection: 'close' }).end()
}

export async function openHttp(options: HttpOptions): Promise<HttpServer> {
  const { at, log, fetch } = options
  const kind = 'unix' in at ? 'unix' : at.tls ? 'https' : 'http'
  const running = new Set<Promise<void>>()

  async function exchange(message: IncomingMessage, to: ServerResponse): Promise<void> {
    const gone = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const left = new Promise<undefined>((resolve) => {
      to.once('close', () => {
        clearTimeout(timer)
        if (!to.writableFinished) gone.abort(new DOMException('the client went away', 'AbortError'))
        resolve(undefined)
      })
    })
    const request = requestOf(message, kind === 'https' ? 'https' : 'http', gone.signal)
    if (!request) return refuse(to, 400)
    const door: Door = {
      kind,
      // An IPv4 client of a dual-stack listener, RFC 4291 §2.5.5.2.
      address: (message.socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, ''),
      limit(ms) {
        clearTimeout(timer)
        timer = setTimeout(() => {
          gone.abort(new DOMException(`no answer within ${ms} ms`, 'TimeoutError'))
          refuse(to, 503)
        }, ms)
      },
    }
    try {
      const asked = Promise.resolve(fetch(request, door))
      const response = await Promise.race([asked, left])
      if (response && !gone.signal.aborted) await answer(response, to, request.method === 'HEAD', gone.signal)
      // Whoever was asked may answer later, and may hold files open behind a body that nobody takes.
      else asked.then((late) => late.body?.cancel()).catch(() => {})
    } catch (error) {
      if (gone.signal.aborted) return
      const path = new URL(request.url).pathname
      const facts = { door: kind, method: request.method, path, client: door.address }
      log.error('http.failed', {
        ...facts,
        reason: reasonOf(error),
        hint: error instanceof Fault ? error.hint : undefined,
      })
      refuse(to, 500)
    } finally {
      clearTimeout(timer)
    }
  }

  const byAddress = new Map<string, number>()

  function refused(message: IncomingMessage, to: ServerResponse): boolean {
    if (kind !== 'http') return false
    const address = message.socket.remoteAddress ?? ''
    const here = byAddress.get(address) ?? 0
    if (here >= ANONYMOUS_LIMITS.perAddress || running.size >= ANONYMOUS_LIMITS.total) {
      to.writeHead(503, { 'Content-Length': 0, 'Retry-After': RETRY_AFTER_S, Connection: 'close' }).end()
      return true
    }
    byAddress.set(address, here + 1)
    to.once('close', () => {
      const left = (byAddress.get(address) ?? 1) - 1
      if (left > 0) byAddress.set(address, left)
      else byAddress.delete(address)
    })
    return false
  }

  const serve = (message: IncomingMessage, to: ServerResponse) => {
    if (refused(message, to)) return
    const one = exchange(message, to)
    running.add(one)
    one.finally(() => running.delete(one))
  }
  const server: Server =
    'unix' in at || !at.tls
      ? createServer(serve)
      : createTlsServer({ cert: at.tls.cert, key: at.tls.key, minVersion: 'TLSv1.2' }, serve)
  // No limit on a whole request or on silence within a transfer: an upload may take hours, and a machine that writes its
  // disk may stop reading for minutes. Short calls set their own by `door.limit`.
  server.requestTimeout = 0
  server.timeout = 0
  server.headersTimeout = HEAD_MS
  server.keepAliveTimeout = KEEP_ALIVE_MS

  if ('unix' in at) {
    if ((await isHere(at.unix)) && (await isStale(at.unix))) await unlink(at.unix)
    await listening(server, { path: at.unix }, at.unix)
    // Its folder keeps strangers out until the mode is set: bind(2) makes it by the umask.
    await chmod(at.unix, 0o660)
  } else {
    await listening(server, { host: at.host, port: at.port }, `${at.host}:${at.port}`)
  }
  const bound = server.address()

  return {
    port: typeof bound === 'object' && bound ? bound.port : 0,
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const limit = AbortSignal.timeout(options.drainMs ?? DRAIN_MS)
      const late = new Promise<void>((resolve) => limit.addEventListener('abort', () => resolve(), { once: true }))
      await Promise.race([Promise.all(running), late])
      server.closeAllConnections()
      await closed
      if ('unix' in at) await unlink(at.unix).catch(() => {})
    },
  }
}
