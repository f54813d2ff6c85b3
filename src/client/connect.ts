/**
 * Opens the byte stream that a client speaks HTTP over: TLS to a pinned certificate, or a unix socket. The stream of a
 * pinned connection is handed out only after the certificate was compared, so nothing is ever written to a stranger.
 *
 * Why not `fetch`: with `rejectUnauthorized: false` Bun's fetch never calls `checkServerIdentity`, and with `true` it
 * refuses an expired self-signed certificate, which must pin (machines that boot have wrong clocks).
 */
import { connect as connectSocket, isIP, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { type Fingerprint, fingerprintOfDer } from '../base/fingerprint.ts'
import { reasonOf } from '../base/log.ts'
import { type Refusal, refuse } from '../base/refusal.ts'
import { type Err, ok, type Result } from '../base/result.ts'

type Waiting = {
  /** For name lookup, TCP and TLS together. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/**
 * The handshake proves that the server holds the key of the certificate it shows (RFC 8446 §4.4.3, checked by the TLS
 * library whatever `rejectUnauthorized` says); the fingerprint says that it is the right certificate.
 */
export async function connectPinned(
  to: { readonly host: string; readonly port: number; readonly fingerprint: Fingerprint } & Waiting,
): Promise<Result<TLSSocket>> {
  const { host, port } = to
  // No server name for addresses: RFC 6066 §3 has none.
  const servername = isIP(host) === 0 ? host : ''
  const socket = connectTls({ host, port, servername, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] })
  const where = `${host} port ${port}`
  const failure = await opened(socket, 'secureConnect', where, to)
  if (failure) return failure
  const certificate: { readonly raw?: Uint8Array } = socket.getPeerCertificate(true)
  const shown = certificate.raw && fingerprintOfDer(certificate.raw)
  if (shown !== to.fingerprint) {
    socket.destroy()
    return refuse(
      'wrong-certificate',
      `${where} showed certificate ${shown ?? 'none'}, not the pinned ${to.fingerprint}`,
      'Compare with the fingerprint that the appliance prints at start. If it differs there too, something answers in its place.',
      { shown, pinned: to.fingerprint },
    )
  }
  return ok(socket)
}

/** The local socket of the appliance; who may open it is decided by the file's mode. */
export async function connectLocal(to: { readonly path: string } & Waiting): Promise<Result<Socket>> {
  const socket = connectSocket({ path: to.path })
  return (await opened(socket, 'connect', `socket "${to.path}"`, to)) ?? ok(socket)
}

/** Waits for the event. Anything else that comes first destroys the socket; an abort is thrown with its own reason. */
async function opened(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  where: string,
  waiting: Waiting,
): Promise<Err<Refusal> | undefined> {
  const done = Promise.withResolvers<unknown>()
  const onOpen = () => done.resolve(undefined)
  const onError = (error: unknown) => done.resolve(error)
  const onClose = () => done.resolve(new Error('the connection was closed during the handshake'))
  const onTimeout = () => done.resolve(new Error(`no answer within ${waiting.timeoutMs / 1000} s`))
  const onAbort = () => done.reject(waiting.signal?.reason)
  const timer = setTimeout(onTimeout, waiting.timeoutMs)
  // The error listener stays: an 'error' that nobody hears, of a socket just given up, would end the process.
  socket.once(event, onOpen).on('error', onError).once('close', onClose)
  waiting.signal?.addEventListener('abort', onAbort)
  try {
    waiting.signal?.throwIfAborted()
    const error = await done.promise
    if (error === undefined) return undefined
    socket.destroy()
    return refuse('unreachable', `${where}: ${reasonOf(error)}`, hintFor(error))
  } catch (reason) {
    socket.destroy()
    throw reason
  } finally {
    clearTimeout(timer)
    waiting.signal?.removeEventListener('abort', onAbort)
  }
}

function hintFor(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'EACCES') return "Only root and members of the service's group may use the socket."
  if (code === 'ENOENT') return 'Is the appliance running, and does its --socket name this path?'
  return 'Is the appliance running there, and does nothing in between block the port?'
}
