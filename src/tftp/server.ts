/**
 * The TFTP server: read-only, octet mode, files of a `Shelf`. It listens for requests and keeps the limits; each
 * transfer is a session with a port of its own (session.ts).
 *
 * Silence is the answer to whatever is no request: a server that answers stray packets can be used to flood others.
 *
 * Limit: Bun does not tell to which local address a datagram came. Bound to 0.0.0.0 on a host with several addresses in
 * the client's network, replies leave from the address that the kernel routes by. Bind to the one address, or open a
 * server per address, where that matters.
 */
import type { Clock } from '../base/clock.ts'
import type { Content, OpenContent, Shelf } from '../base/content.ts'
import { type Log, reasonOf } from '../base/log.ts'
import { Fault } from '../base/refusal.ts'
import { err, ok, type Result, unreachable } from '../base/result.ts'
import { readFully, readNow } from '../content/read.ts'
import { type Peer, sendOne } from './datagram.ts'
import { type Limits, negotiate } from './options.ts'
import { decode, ERROR, encode, type Request } from './packet.ts'
import { type BadName, shelfPath } from './path.ts'
import { type ContentReader, MAX_WINDOW_BYTES, Readahead } from './readahead.ts'
import { openSession, type Session } from './session.ts'

export type TftpServer = AsyncDisposable & {
  readonly port: number
}

/** A file that a client has acknowledged to the last block. */
export type TftpSent = {
  readonly client: string
  readonly path: string
  readonly bytes: number
  readonly tookMs: number
  readonly blksize: number
  readonly windowsize: number
  /** Blocks sent more than once. */
  readonly retransmits: number
}

export type TftpOptions = {
  /** A local IP address, or 0.0.0.0. */
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  readonly shelf: Shelf
  readonly log: Log
  readonly clock: Clock
  /** At once, in all. Further requests get no answer, so that clients ask again. */
  readonly maxTransfers?: number
  /** At once, by one address. */
  readonly maxPerClient?: number
  /** The largest IP packet that reaches clients whole. */
  readonly mtu?: number
  readonly maxWindowsize?: number
  /** The first wait for an ACK, unless the client names its own. */
  readonly timeoutMs?: number
  readonly reader?: ContentReader
  readonly onSent?: (fact: TftpSent) => void
}

/** A request being served, from its first packet on; the session comes once the content is open. */
type Live = {
  readonly client: Peer
  readonly packet: Uint8Array
  /** Nobody waits for it any more. */
  dropped: boolean
  session: Session | undefined
}

/** An ERROR for the client, in words that say nothing of the server's files. */
type No = { readonly code: number; readonly message: string; readonly path?: string }

/** Binds the port; the promise resolves when requests are answered. Throws a `Fault` when it can't be bound. */
export async function openTftp(options: TftpOptions): Promise<TftpServer> {
  const server = new Server(options)
  const { host, port } = options
  try {
    const socket = await Bun.udpSocket({
      hostname: host,
      port,
      socket: {
        data: (_, bytes, port, address) => server.receive(bytes, { address, port }),
        // ICMP errors of answers that reached nobody. Bun 1.4 passes only the error, against its types.
        error: (...args: unknown[]) => options.log.debug('tftp.unreachable', { why: reasonOf(args.at(-1)) }),
      },
    })
    server.start(socket)
    return server
  } catch (cause) {
    throw new Fault(`TFTP cannot listen on ${host}:${port}`, {
      hint: 'Another TFTP server may have the port (ss -ulpn), or the right to bind it is missing.',
      cause,
    })
  }
}

class Server implements TftpServer {
  readonly #options: TftpOptions
  readonly #reader: ContentReader
  readonly #live = new Map<string, Live>()
  readonly #running = new Set<Promise<void>>()
  #socket: Bun.udp.Socket<'buffer'> | undefined
  /** Set while requests are turned away, so that a flood is one line in the log. */
  #full = false

  constructor(options: TftpOptions) {
    this.#options = options
    this.#reader = options.reader ?? { readNow, readFully }
  }

  start(socket: Bun.udp.Socket<'buffer'>): void {
    this.#socket = socket
  }

  get port(): number {
    return this.#socket?.port ?? 0
  }

  /** Stops listening, tells the clients, and returns when no file is open any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket?.close()
    this.#socket = undefined
    for (const live of this.#live.values()) {
      live.dropped = true
      live.session?.tell({ kind: 'stop' })
    }
    await Promise.all(this.#running)
  }

  receive(bytes: Uint8Array, client: Peer): void {
    const packet = decode(bytes)
    if (!packet.ok || client.port === 0) return
    switch (packet.value.op) {
      case 'rrq':
        this.#onRead(packet.value, bytes, client)
        break
      case 'wrq':
        this.#refuse(client, ERROR.accessViolation, 'This server only gives files')
        break
      case 'data':
      case 'ack':
      case 'error':
      case 'oack':
        break
      default:
        unreachable(packet.value)
    }
  }

  #onRead(request: Request, bytes: Uint8Array, client: Peer): void {
    const key = `${client.address} ${client.port}`
    const before = this.#live.get(key)
    if (before) {
      // The same request again is a client that has not heard us yet. Some ROMs use one port for all, and start
      // again after a reset: then the request differs, or comes after the old transfer fell silent.
      if (Buffer.compare(before.packet, bytes) === 0 && !before.session?.stalled) return
      before.dropped = true
      before.session?.tell({ kind: 'superseded' })
      this.#live.delete(key)
    }
    if (this.#isFull(client.address)) return
    // What `decode` gives are views of a buffer that the socket may use again.
    const packet = bytes.slice()
    const file = request.file.slice()
    const live: Live = { client, packet, dropped: false, session: undefined }
    this.#live.set(key, live)
    const run = this.#serve({ ...request, file }, live)
      .catch((error: unknown) => {
        this.#options.log.error('tftp.fault', { client: client.address, why: reasonOf(error) })
        this.#refuse(client, ERROR.undefined, 'The server failed')
      })
      .finally(() => {
        if (this.#live.get(key) === live) this.#live.delete(key)
        this.#running.delete(run)
        this.#full = false
      })
    this.#running.add(run)
  }

  #isFull(address: string): boolean {
    const { maxTransfers = 200, maxPerClient = 8, log } = this.#options
    let ofClient = 0
    for (const live of this.#live.values()) if (live.client.address === address) ofClient += 1
    if (this.#live.size < maxTransfers && ofClient < maxPerClient) return false
    if (!this.#full) log.warning('tftp.busy', { client: address, transfers: this.#live.size, ofClient })
    this.#full = true
    return true
  }

  async #serve(request: Request, live: Live): Promise<void> {
    const { log } = this.#options
    const { client } = live
    const found = await this.#find(request, client)
    if (live.dropped) return
    if (!found.ok) {
      const { code, message, path } = found.error
      log.info('tftp.refused', { client: client.address, path, code, why: message })
      this.#refuse(client, code, message)
      return
    }
    const { path, content } = found.value
    const opened = await content.open()
    if (!opened.ok) {
      // The refusal names files of the server: it is for the log, not for the wire.
      log.warning('tftp.failed', { client: client.address, path, why: opened.error.message })
      this.#refuse(client, ERROR.undefined, 'The file cannot be opened')
      return
    }
    await this.#send(request, live, path, opened.value)
  }

  async #find(request: Request, client: Peer): Promise<Result<{ path: string; content: Content }, No>> {
    if (request.mode !== 'octet') return err({ code: ERROR.illegalOperation, message: 'Only octet mode is served' })
    const path = shelfPath(request.file)
    if (!path.ok) return err(badName(path.error))
    const who = { kind: 'anonymous', door: 'tftp', address: client.address } as const
    const content = await this.#options.shelf.find(path.value, who)
    if (!content) return err({ code: ERROR.notFound, message: 'File not found', path: path.value })
    return ok({ path: path.value, content })
  }

  async #send(request: Request, live: Live, path: string, open: OpenContent): Promise<void> {
    const { clock, host, log, onSent } = this.#options
    const { client } = live
    const startedMs = clock.monotonicMs()
    await using ahead = new Readahead(open, this.#reader)
    if (live.dropped) return
    const terms = negotiate(request.options, open.sizeBytes, this.#limits(client))
    const session = await openSession({
      host,
      client,
      terms,
      ahead,
      clock,
      onBug: (error) => log.error('tftp.fault', { client: client.address, path, why: reasonOf(error) }),
    })
    live.session = session
    if (live.dropped) session.tell({ kind: 'superseded' })
    else session.start()
    const { outcome, retransmits } = await session.done
    const { blksize, windowsize } = terms
    const tookMs = Math.round(clock.monotonicMs() - startedMs)
    const fact = { client: client.address, path, bytes: open.sizeBytes, tookMs, blksize, windowsize, retransmits }
    switch (outcome.kind) {
      case 'sent':
        log.info('tftp.sent', fact)
        onSent?.(fact)
        break
      case 'probed':
        log.info('tftp.probed', { client: client.address, path })
        break
      case 'failed':
        log.warning('tftp.failed', { ...fact, why: outcome.why })
        break
      default:
        unreachable(outcome)
    }
  }

  #limits(client: Peer): Limits {
    const { mtu = 1500, maxWindowsize = 64, timeoutMs = 1000 } = this.#options
    return { mtu, ipv6: client.address.includes(':'), maxWindowsize, maxWindowBytes: MAX_WINDOW_BYTES, timeoutMs }
  }

  #refuse(client: Peer, code: number, message: string): void {
    if (this.#socket) sendOne(this.#socket, encode({ op: 'error', code, message }), client)
  }
}

function badName(why: BadName): No {
  switch (why) {
    case 'empty':
      return { code: ERROR.notFound, message: 'The request names no file' }
    case 'climbs':
      return { code: ERROR.accessViolation, message: 'The file name has a ".." part' }
    case 'control':
      return { code: ERROR.accessViolation, message: 'The file name has control characters' }
    default:
      return unreachable(why)
  }
}
