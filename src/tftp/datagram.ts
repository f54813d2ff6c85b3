/**
 * Sending on a UDP socket that is not connected to one client. A datagram may be lost anywhere, so a send that fails
 * is a lost datagram, not an error: the transfer's silence deals with it.
 *
 * Quirk(Bun 1.4): its sockets ask for ICMP errors (IP_RECVERR), and Linux reports a pending one by failing the next
 * send, whoever that is for (ip(7)). So a failed send is tried once more: the error of another has been taken by then.
 */
import { MAX_DATAGRAM, MAX_SEGMENTS, setSegmentSize } from '../../ffi/libc/udp.ts'

export type Peer = { readonly address: string; readonly port: number }

type Socket = Bun.udp.Socket<'buffer'>

export function sendOne(socket: Socket, bytes: Uint8Array, to: Peer): void {
  // Port 0 can be forged as a source; it can't be sent to.
  if (to.port > 0) twice(() => socket.send(bytes, to.port, to.address))
}

/** What `send` returns, or undefined when it failed both times. */
function twice<T>(send: () => T): T | undefined {
  try {
    return send()
  } catch {
    try {
      return send()
    } catch {
      return undefined
    }
  }
}

/**
 * Sends runs of packets of one size. The kernel gets a run as one message and cuts it into datagrams itself
 * (UDP_SEGMENT, udp(7)), which costs it about a third of the time; where it can't, they go one by one.
 */
export class RunSender {
  readonly #socket: Socket
  readonly #to: Peer
  readonly #packetBytes: number
  /** Packets per message. */
  #perMessage: number

  constructor(socket: Socket, to: Peer, packetBytes: number) {
    this.#socket = socket
    this.#to = to
    this.#packetBytes = packetBytes
    const most = Math.min(MAX_SEGMENTS, Math.floor(MAX_DATAGRAM / packetBytes))
    // The option cuts whatever the socket sends: with small blocks an OACK or ERROR would come in pieces.
    this.#perMessage = most > 1 && packetBytes > 512 && setSegmentSize(fdOf(socket), packetBytes) ? most : 1
  }

  /**
   * `bytes` are packets one behind another, the last may be shorter. Returns how many went, in order, lost ones
   * included; 0 when the socket's buffer is full: `drain` tells when it is not.
   */
  send(bytes: Uint8Array): number {
    const count = Math.ceil(bytes.byteLength / this.#packetBytes)
    if (this.#perMessage === 1 || count === 1) return this.#oneByOne(bytes, count)
    const { port, address } = this.#to
    let sent = 0
    while (sent < count) {
      const end = Math.min(count, sent + this.#perMessage)
      const run = bytes.subarray(sent * this.#packetBytes, end * this.#packetBytes)
      const went = twice(() => this.#socket.send(run, port, address))
      if (went === false) return sent
      if (went === undefined) {
        // Most likely the route takes smaller packets than the client does (EINVAL): fragments, then.
        setSegmentSize(fdOf(this.#socket), 0)
        this.#perMessage = 1
        return sent + this.#oneByOne(bytes.subarray(sent * this.#packetBytes), count - sent)
      }
      sent = end
    }
    return sent
  }

  #oneByOne(bytes: Uint8Array, count: number): number {
    const datagrams: (Uint8Array | number | string)[] = []
    for (let at = 0; at < bytes.byteLength; at += this.#packetBytes) {
      datagrams.push(bytes.subarray(at, at + this.#packetBytes), this.#to.port, this.#to.address)
    }
    return twice(() => this.#socket.sendMany(datagrams)) ?? count
  }
}

/** Bun's sockets have their descriptor, its types do not (1.4); -1 makes the option fail, and nothing else. */
function fdOf(socket: Socket): number {
  return 'fd' in socket && typeof socket.fd === 'number' ? socket.fd : -1
}
