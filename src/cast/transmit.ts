/**
 * Symbols to the network: one sendmsg(2) for up to 44 packets, whose iovecs alternate between a header of ours and the
 * payload where it lies mapped; the kernel gathers while it copies, and UDP_SEGMENT lets it cut late. No JavaScript
 * object and no user-space copy per packet. Where super-packets do not work the same iovecs go out by sendmmsg(2).
 */
import { type Pointer, ptr } from 'bun:ffi'
import { ERRNO, SystemError } from '../../ffi/libc/errno.ts'
import { type Block, block, putU64 } from '../../ffi/libc/memory.ts'
import { c, errno } from '../../ffi/libc/symbols.ts'
import {
  IOVEC_WORDS,
  MAX_DATAGRAM,
  MAX_IOVECS,
  MAX_SEGMENTS,
  MMSGHDR_WORDS,
  MSGHDR,
  setSegmentSize,
  sockaddrIn,
} from '../../ffi/libc/udp.ts'
import { Fault } from '../base/refusal.ts'
import type { Lane } from './control.ts'
import { type Geometry, symbolLength } from './geometry.ts'
import { HEADER_BYTES, TYPE, writeHeader } from './packet.ts'
import { type MappedSource, Unreadable } from './source.ts'

/** What says that the kernel or the device cannot cut super-packets, e.g. no checksum offload (EIO). */
const NO_SEGMENTS: readonly number[] = [ERRNO.EIO, ERRNO.EINVAL, ERRNO.EMSGSIZE, ERRNO.EOPNOTSUPP, ERRNO.ENOPROTOOPT]
/** The queue of the device is full: the packets were not taken. */
const BUSY: readonly number[] = [ERRNO.EAGAIN, ERRNO.ENOBUFS, ERRNO.EINTR, ERRNO.ENOMEM]
const BUSY_PAUSE_NS = 500_000
/** How long the network may refuse everything (interface down, no route) before the transmission gives up. */
const REFUSED_LIMIT_MS = 10_000
/** One error may be a device that was being set up: super-packets are tried again this much later. */
export const SEGMENTS_AGAIN_MS = 60_000

export class Transmitter {
  readonly #fd: number
  readonly #geometry: Geometry
  readonly #source: MappedSource
  readonly #pause: (ns: number) => void
  readonly batch: number
  readonly #destination: Uint8Array
  readonly #headers: Block
  readonly #iovecs: Block
  readonly #messages: Block
  /** The first iovec of each symbol in the batch, and one past the last. */
  readonly #first: Uint16Array
  /** 0: super-packets are not wanted, or the kernel does not know them. */
  readonly #segmentBytes: number
  #lane: Lane
  #segmentsAtMs = 0
  #refusedSinceMs: number | undefined

  constructor(options: {
    readonly fd: number
    readonly group: string
    readonly port: number
    readonly geometry: Geometry
    readonly tag: number
    readonly source: MappedSource
    readonly segment: boolean
    readonly pause: (ns: number) => void
  }) {
    const { geometry } = options
    this.#fd = options.fd
    this.#geometry = geometry
    this.#source = options.source
    this.#pause = options.pause
    const packetBytes = HEADER_BYTES + geometry.symbolBytes
    this.batch = Math.min(MAX_SEGMENTS, Math.floor(MAX_DATAGRAM / packetBytes))
    this.#destination = sockaddrIn(options.group, options.port)
    this.#headers = block(this.batch * HEADER_BYTES)
    for (let slot = 0; slot < this.batch; slot += 1) {
      const header = { type: TYPE.data, length: geometry.symbolBytes, tag: options.tag, block: 0, symbol: 0, epoch: 0 }
      writeHeader(this.#headers.view, slot * HEADER_BYTES, header)
    }
    this.#iovecs = block(MAX_IOVECS * IOVEC_WORDS * 4)
    this.#messages = block(this.batch * MMSGHDR_WORDS * 4)
    for (let slot = 0; slot < this.batch; slot += 1) {
      const at = slot * MMSGHDR_WORDS
      putU64(this.#messages.words, at + MSGHDR.name, ptr(this.#destination))
      this.#messages.words[at + MSGHDR.nameLength] = 16
    }
    this.#first = new Uint16Array(this.batch + 1)
    this.#segmentBytes = options.segment && setSegmentSize(options.fd, packetBytes) ? packetBytes : 0
    this.#lane = this.#segmentBytes > 0 ? 'gso' : 'sendmmsg'
  }

  get lane(): Lane {
    return this.#lane
  }

  /**
   * Sends `count` symbols, ascending, at most `batch`; returns the bytes given to the network, headers included. Throws
   * `Unreadable` when a mapped page cannot be filled. What the network does not take is lost, as on a wire.
   */
  send(symbols: Uint32Array, count: number, nowMs: number): number {
    let bytes = 0
    let from = 0
    while (from < count) {
      const packed = this.#pack(symbols, from, count)
      bytes += packed.bytes
      if (this.#segments(nowMs)) this.#sendSegments(symbols[from] ?? 0, packed.symbols, nowMs)
      else this.#sendEach(symbols[from] ?? 0, packed.symbols, nowMs)
      from += packed.symbols
    }
    return bytes
  }

  /** Whether the next call is a super-packet. The lane changes only when one has been taken. */
  #segments(nowMs: number): boolean {
    if (this.#lane === 'gso') return true
    if (this.#segmentBytes === 0 || nowMs < this.#segmentsAtMs) return false
    return setSegmentSize(this.#fd, this.#segmentBytes)
  }

  /** Lays out iovecs for the symbols from `from` on, until they or the iovecs run out. */
  #pack(symbols: Uint32Array, from: number, to: number): { readonly symbols: number; readonly bytes: number } {
    const { symbolBytes } = this.#geometry
    const words = this.#iovecs.words
    const source = this.#source
    let iovec = 0
    let bytes = 0
    let packed = 0
    for (; from + packed < to; packed += 1) {
      const symbol = symbols[from + packed] ?? 0
      const length = symbolLength(this.#geometry, symbol)
      const start = iovec
      const headerAt = packed * HEADER_BYTES
      this.#headers.view.setUint16(headerAt + 2, length)
      this.#headers.view.setUint32(headerAt + 8, symbol >>> 7)
      this.#headers.view.setUint16(headerAt + 12, symbol & 127)
      this.#first[packed] = start
      putU64(words, iovec * IOVEC_WORDS, this.#headers.address + headerAt)
      words[iovec * IOVEC_WORDS + 2] = HEADER_BYTES
      iovec += 1
      let at = symbol * symbolBytes
      const end = at + length
      while (at < end && iovec < MAX_IOVECS) {
        source.seek(at)
        const take = Math.min(end - at, source.leftAt(at))
        putU64(words, iovec * IOVEC_WORDS, source.addressOf(at))
        words[iovec * IOVEC_WORDS + 2] = take
        iovec += 1
        at += take
      }
      if (at < end) {
        iovec = start
        break
      }
      bytes += HEADER_BYTES + length
      if (iovec > MAX_IOVECS - 2) {
        packed += 1
        break
      }
    }
    this.#first[packed] = iovec
    return { symbols: packed, bytes }
  }

  #sendSegments(firstSymbol: number, count: number, nowMs: number): void {
    const words = this.#messages.words
    putU64(words, MSGHDR.iov, this.#iovecs.address)
    words[MSGHDR.iovCount] = this.#first[count] ?? 0
    for (let tries = 0; ; tries += 1) {
      if (Number(c.sendmsg(this.#fd, this.#messages.address as Pointer, 0)) >= 0) {
        this.#refusedSinceMs = undefined
        // A single packet proves nothing.
        if (count > 1) this.#lane = 'gso'
        return
      }
      const code = errno()
      if (NO_SEGMENTS.includes(code)) {
        this.#lane = 'sendmmsg'
        this.#segmentsAtMs = nowMs + SEGMENTS_AGAIN_MS
        setSegmentSize(this.#fd, 0)
        this.#sendEach(firstSymbol, count, nowMs)
        return
      }
      if (!this.#again(code, firstSymbol, tries, nowMs)) return
    }
  }

  #sendEach(firstSymbol: number, count: number, nowMs: number): void {
    const words = this.#messages.words
    for (let slot = 0; slot < count; slot += 1) {
      const first = this.#first[slot] ?? 0
      putU64(words, slot * MMSGHDR_WORDS + MSGHDR.iov, this.#iovecs.address + first * IOVEC_WORDS * 4)
      words[slot * MMSGHDR_WORDS + MSGHDR.iovCount] = (this.#first[slot + 1] ?? 0) - first
    }
    let sent = 0
    for (let tries = 0; sent < count; tries += 1) {
      const address = this.#messages.address + sent * MMSGHDR_WORDS * 4
      const result = Number(c.sendmmsg(this.#fd, address as Pointer, count - sent, 0))
      if (result > 0) {
        sent += result
        this.#refusedSinceMs = undefined
        continue
      }
      if (!this.#again(errno(), firstSymbol, tries, nowMs)) return
    }
  }

  /** What to do about a failed call: true to try again, false to count the packets as lost. */
  #again(code: number, firstSymbol: number, tries: number, nowMs: number): boolean {
    if (code === ERRNO.EFAULT) throw new Unreadable(firstSymbol * this.#geometry.symbolBytes)
    this.#pause(BUSY_PAUSE_NS)
    if (BUSY.includes(code)) return tries < 100
    this.#refusedSinceMs ??= nowMs
    if (nowMs - this.#refusedSinceMs < REFUSED_LIMIT_MS) return false
    throw new Fault('the network takes no packets', {
      hint: 'Check that the interface is up and has a route for the group.',
      cause: new SystemError('sendmsg', code),
    })
  }
}
