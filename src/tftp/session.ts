/**
 * One transfer on the wire: its own UDP port (RFC 1350 §4, the server's TID), its timer, and the blocks still to be
 * sent. It does what transfer.ts says and tells it what happened.
 */
import type { Clock } from '../base/clock.ts'
import { unreachable } from '../base/result.ts'
import { type Peer, RunSender, sendOne } from './datagram.ts'
import type { Terms } from './options.ts'
import { DATA_HEADER_BYTES, decode, ERROR, encode, type Packet, writeDataHeader } from './packet.ts'
import { MAX_WINDOW_BYTES, type Readahead } from './readahead.ts'
import { type Action, begin, type Event, MAX_TRIES, type Outcome, type Step, step, type Transfer } from './transfer.ts'

export type Finished = { readonly outcome: Outcome; readonly retransmits: number }

export type SessionOptions = {
  /** The local address: replies leave from it. */
  readonly host: string
  readonly client: Peer
  readonly terms: Terms
  readonly ahead: Readahead
  readonly clock: Clock
  /** A fault of our own, not of the client or the disk. */
  readonly onBug: (error: unknown) => void
}

/**
 * Where windows are laid out as packets. One for all sessions: a send hands its packets to the kernel before it
 * returns. Blocks have 8 bytes at least, so headers add half of the data at most.
 */
const scratch = new Uint8Array(MAX_WINDOW_BYTES + (MAX_WINDOW_BYTES / 8) * DATA_HEADER_BYTES)

/** Opens the port; `start` begins, and `done` settles when the transfer is over and the port is closed. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const session = new Session(options)
  const socket = await Bun.udpSocket({
    hostname: options.host,
    port: 0,
    socket: {
      data: (_, bytes, port, address) => session.receive(bytes, { address, port }),
      drain: () => session.drained(),
      // ICMP errors: anyone can forge them, so they end nothing; silence does.
      error: () => {},
    },
  })
  session.opened(socket)
  return session
}

class Session {
  readonly #options: SessionOptions
  readonly #done = Promise.withResolvers<Finished>()
  #socket: Bun.udp.Socket<'buffer'> | undefined
  #sender: RunSender | undefined
  #state: Transfer

  /** Blocks that the latest `blocks` action still wants sent: none when `#next > #last`. */
  #next = 1
  #last = 0
  /** Why they don't leave just now. */
  #stalled: 'no' | 'disk' | 'socket' = 'no'
  /** Times in a row that the socket still took nothing after a whole timeout. */
  #refusals = 0

  #deadlineMs = Number.POSITIVE_INFINITY
  #timer: Timer | undefined
  #timerMs = Number.POSITIVE_INFINITY

  constructor(options: SessionOptions) {
    this.#options = options
    this.#state = begin(options.terms)[0]
  }

  get done(): Promise<Finished> {
    return this.#done.promise
  }

  /** Whether the client took part and has then fallen silent. */
  get stalled(): boolean {
    return this.#state.phase === 'sending' && this.#state.acked > 0 && this.#state.tries > 0
  }

  opened(socket: Bun.udp.Socket<'buffer'>): void {
    const { client, terms } = this.#options
    this.#socket = socket
    this.#sender = new RunSender(socket, client, DATA_HEADER_BYTES + terms.blksize)
  }

  start(): void {
    this.#guard(() => this.#run(begin(this.#options.terms)))
  }

  tell(event: Event): void {
    this.#guard(() => this.#run(step(this.#state, event)))
  }

  drained(): void {
    if (this.#stalled !== 'socket') return
    this.#stalled = 'no'
    this.#guard(() => this.#pump())
  }

  receive(bytes: Uint8Array, from: Peer): void {
    const packet = decode(bytes)
    if (!packet.ok) return
    const { client } = this.#options
    if (from.port !== client.port || from.address !== client.address) {
      // RFC 1350 §4: tell the stranger, go on with the transfer. Not an ERROR for an ERROR: two could go on for ever.
      if (packet.value.op === 'error') return
      this.#send({ op: 'error', code: ERROR.unknownTransferId, message: 'Unknown transfer ID' }, from)
      return
    }
    const { value } = packet
    if (value.op === 'ack') this.tell({ kind: 'ack', block: value.block })
    else if (value.op === 'error') this.tell({ kind: 'error', code: value.code, message: value.message })
  }

  /** The packet loop's catch: a bug ends this transfer, not the server. */
  #guard(work: () => void): void {
    try {
      work()
    } catch (error) {
      this.#options.onBug(error)
      this.#finish({ kind: 'failed', why: 'a fault of the server' })
    }
  }

  #run([state, actions]: Step): void {
    this.#state = state
    for (const action of actions) this.#act(action)
  }

  #act(action: Action): void {
    switch (action.kind) {
      case 'oack':
        this.#send({ op: 'oack', options: this.#options.terms.agreed }, this.#options.client)
        break
      case 'blocks':
        this.#deadlineMs = Number.POSITIVE_INFINITY
        this.#next = action.first
        this.#last = action.last
        this.#pump()
        break
      case 'wait':
        this.#wait(action.ms)
        break
      case 'error':
        this.#send({ op: 'error', code: action.code, message: action.message }, this.#options.client)
        break
      case 'end':
        this.#finish(action.outcome)
        break
      default:
        unreachable(action)
    }
  }

  /** Sends what is wanted, as far as disk and socket give; goes on by itself when they do again. */
  #pump(): void {
    while (this.#sender && this.#stalled === 'no' && this.#next <= this.#last) {
      const packets = this.#layOut()
      if (packets.byteLength === 0) return
      const sent = this.#sender.send(packets)
      if (sent === 0) {
        this.#stalled = 'socket'
        // Should `drain` not come, the time does.
        this.#wait(this.#options.terms.timeoutMs)
        return
      }
      this.#refusals = 0
      this.#next += sent
      this.#run(step(this.#state, { kind: 'left', last: this.#next - 1 }))
    }
  }

  /** The packets from `#next` on whose data is in memory, one behind another. */
  #layOut(): Uint8Array {
    const { terms, ahead } = this.#options
    let end = 0
    for (let block = this.#next; block <= this.#last; block += 1) {
      const offset = (block - 1) * terms.blksize
      const length = Math.min(terms.blksize, terms.sizeBytes - offset)
      const later = length > 0 ? ahead.take(offset, length, scratch, end + DATA_HEADER_BYTES) : undefined
      if (later) {
        if (end === 0) this.#awaitDisk(later)
        break
      }
      writeDataHeader(scratch, end, block)
      end += DATA_HEADER_BYTES + length
    }
    return scratch.subarray(0, end)
  }

  #awaitDisk(later: Promise<void>): void {
    this.#stalled = 'disk'
    later.then(
      () => {
        this.#stalled = 'no'
        this.#guard(() => this.#pump())
      },
      (cause: unknown) => {
        this.#stalled = 'no'
        this.tell({ kind: 'fault', why: cause instanceof Error ? cause.message : String(cause) })
      },
    )
  }

  #send(packet: Packet, to: Peer): void {
    if (this.#socket) sendOne(this.#socket, encode(packet), to)
  }

  /** One timer is left running over many windows and asked what time it is when it fires: cheaper than one per ACK. */
  #wait(ms: number): void {
    const now = this.#options.clock.monotonicMs()
    this.#deadlineMs = now + ms
    if (this.#timer && this.#timerMs <= this.#deadlineMs) return
    clearTimeout(this.#timer)
    this.#timerMs = this.#deadlineMs
    this.#timer = setTimeout(() => this.#fired(), ms)
  }

  #fired(): void {
    this.#timer = undefined
    const leftMs = this.#deadlineMs - this.#options.clock.monotonicMs()
    if (leftMs === Number.POSITIVE_INFINITY) return
    if (leftMs > 0) {
      this.#wait(Math.ceil(leftMs))
    } else {
      this.#deadlineMs = Number.POSITIVE_INFINITY
      if (this.#stalled === 'socket') {
        this.#refusals += 1
        if (this.#refusals > MAX_TRIES) this.tell({ kind: 'fault', why: 'the network takes no packets' })
        else this.drained()
      } else this.tell({ kind: 'timeout' })
    }
  }

  #finish(outcome: Outcome): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#deadlineMs = Number.POSITIVE_INFINITY
    this.#last = 0
    this.#socket?.close()
    this.#socket = undefined
    this.#sender = undefined
    this.#done.resolve({ outcome, retransmits: this.#state.retransmits })
  }
}

export type { Session }
