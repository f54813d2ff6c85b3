/**
 * Packets from the group into the file: recvmmsg(2) into a ring, every header checked before anything is believed, runs
 * of neighbouring symbols written by one pwritev(2) straight from the ring. No JavaScript object and no user-space copy
 * per packet. What is not exactly a symbol of this content is counted and never written.
 */
import type { Pointer } from 'bun:ffi'
import { ERRNO, SystemError } from '../../ffi/libc/errno.ts'
import { type Block, block, putU64 } from '../../ffi/libc/memory.ts'
import { c, errno } from '../../ffi/libc/symbols.ts'
import {
  IOVEC_WORDS,
  MMSGHDR_LENGTH_WORD,
  MMSGHDR_WORDS,
  MSG_DONTWAIT,
  MSGHDR,
  SOL_UDP,
  UDP_GRO,
} from '../../ffi/libc/udp.ts'
import { blocksOfChunk, CHUNK_BLOCKS, type Geometry, symbolLength, symbolsInBlock } from './geometry.ts'
import { HEADER_BYTES, MAGIC, TYPE, VERSION } from './packet.ts'
import type { Reporter } from './reporter.ts'
import type { SymbolSet } from './wanted.ts'

const SLOTS = 128
/** UDP_GRO joins datagrams up to 64 KiB. The odd 2 KiB keep the slots' first pages out of one cache set. */
const SLOT_BYTES = 65_536
const STRIDE = SLOT_BYTES + 2048
/** struct cmsghdr { size_t len 0; int level 8; int type 12; } and an int: 24 bytes with its padding. */
const CONTROL_BYTES = 64
const DATA_WORD = (MAGIC << 8) | (VERSION << 4) | TYPE.data
const BEACON_WORD = (MAGIC << 8) | (VERSION << 4) | TYPE.beacon
const BYE_WORD = (MAGIC << 8) | (VERSION << 4) | TYPE.bye

export class Collector {
  readonly #socket: number
  readonly #file: number
  readonly #geometry: Geometry
  readonly #tag: number
  readonly #have: SymbolSet
  readonly #reporter: Reporter
  readonly #control: (packet: Uint8Array) => void
  readonly #ring: Block = block(SLOTS * STRIDE)
  readonly #controls: Block = block(SLOTS * CONTROL_BYTES)
  readonly #slotIovecs: Block = block(SLOTS * IOVEC_WORDS * 4)
  readonly #messages: Block = block(SLOTS * MMSGHDR_WORDS * 4)
  /** The run that is being gathered: neighbours in the file, anywhere in the ring. */
  readonly #run: Block = block(1024 * IOVEC_WORDS * 4)
  #runStart = 0
  #runLength = 0
  #runBytes = 0
  /** Symbols that each chunk still lacks. */
  readonly #lacking: Uint16Array
  #complete: number[] = []
  #lastBlock = -1
  refused = 0
  duplicates = 0

  constructor(options: {
    readonly socket: number
    readonly file: number
    readonly geometry: Geometry
    readonly tag: number
    readonly have: SymbolSet
    readonly reporter: Reporter
    /** Gets beacons and byes, unauthenticated; the bytes are valid during the call. */
    readonly control: (packet: Uint8Array) => void
  }) {
    this.#socket = options.socket
    this.#file = options.file
    this.#geometry = options.geometry
    this.#tag = options.tag
    this.#have = options.have
    this.#reporter = options.reporter
    this.#control = options.control
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const iovec = slot * IOVEC_WORDS
      putU64(this.#slotIovecs.words, iovec, this.#ring.address + slot * STRIDE)
      this.#slotIovecs.words[iovec + 2] = SLOT_BYTES
      const message = slot * MMSGHDR_WORDS
      putU64(this.#messages.words, message + MSGHDR.iov, this.#slotIovecs.address + iovec * 4)
      this.#messages.words[message + MSGHDR.iovCount] = 1
      putU64(this.#messages.words, message + MSGHDR.control, this.#controls.address + slot * CONTROL_BYTES)
    }
    this.#lacking = new Uint16Array(options.geometry.chunkCount)
    for (let chunk = 0; chunk < options.geometry.chunkCount; chunk += 1) {
      const { from, to } = blocksOfChunk(options.geometry, chunk)
      let lacking = 0
      for (let at = from; at < to; at += 1) lacking += symbolsInBlock(options.geometry, at) - this.#have.inBlock(at)
      this.#lacking[chunk] = lacking
    }
  }

  /** Chunks that became complete since the last call. */
  takeComplete(): number[] {
    const complete = this.#complete
    this.#complete = []
    return complete
  }

  /** Takes what waits in the socket, at most a ring full; returns how many datagrams came. Never waits. */
  receive(): number {
    const words = this.#messages.words
    for (let slot = 0; slot < SLOTS; slot += 1) words[slot * MMSGHDR_WORDS + MSGHDR.controlLength] = CONTROL_BYTES
    const count = Number(c.recvmmsg(this.#socket, this.#messages.address as Pointer, SLOTS, MSG_DONTWAIT, null))
    if (count < 0) {
      const code = errno()
      if (code === ERRNO.EAGAIN || code === ERRNO.EINTR) return 0
      throw new SystemError('recvmmsg', code)
    }
    for (let slot = 0; slot < count; slot += 1) {
      const length = words[slot * MMSGHDR_WORDS + MMSGHDR_LENGTH_WORD] ?? 0
      const base = slot * STRIDE
      const segment = this.#segmentBytes(slot, length)
      for (let at = 0; at < length; at += segment) this.#packet(base + at, Math.min(segment, length - at))
    }
    this.#flush()
    return count
  }

  /**
   * Where the kernel joined datagrams of one size (the last may be shorter), the size is in the control message. Small
   * ones are joined too: three beacons that waited together come as one.
   */
  #segmentBytes(slot: number, length: number): number {
    const at = slot * CONTROL_BYTES
    const view = this.#controls.view
    const has = (this.#messages.words[slot * MMSGHDR_WORDS + MSGHDR.controlLength] ?? 0) >= 20
    if (!has || view.getInt32(at + 8, true) !== SOL_UDP || view.getInt32(at + 12, true) !== UDP_GRO) return length
    const segment = view.getInt32(at + 16, true)
    return segment > 0 ? segment : length
  }

  #packet(at: number, length: number): void {
    const view = this.#ring.view
    const word = length >= HEADER_BYTES ? view.getUint16(at) : 0
    if (word !== DATA_WORD || view.getUint32(at + 4) !== this.#tag) {
      if (word === BEACON_WORD || word === BYE_WORD) this.#control(this.#ring.bytes.subarray(at, at + length))
      else this.refused += 1
      return
    }
    const geometry = this.#geometry
    const blockNumber = view.getUint32(at + 8)
    const place = view.getUint16(at + 12)
    const symbol = blockNumber * 128 + place
    if (place > 127 || symbol >= geometry.symbolCount) {
      this.refused += 1
      return
    }
    const payload = symbolLength(geometry, symbol)
    if (length !== HEADER_BYTES + payload || view.getUint16(at + 2) !== payload) {
      this.refused += 1
      return
    }
    if (blockNumber !== this.#lastBlock) {
      this.#lastBlock = blockNumber
      this.#reporter.data(blockNumber)
    }
    if (this.#have.has(symbol)) {
      this.duplicates += 1
      return
    }
    if (this.#runLength > 0 && symbol !== this.#runStart + this.#runLength) this.#flush()
    if (this.#runLength === 0) this.#runStart = symbol
    const iovec = this.#runLength * IOVEC_WORDS
    putU64(this.#run.words, iovec, this.#ring.address + at + HEADER_BYTES)
    this.#run.words[iovec + 2] = payload
    this.#runLength += 1
    this.#runBytes += payload
    if (this.#runLength === 1024) this.#flush()
  }

  /** Writes the run, then owns up to having it: the shared set never says more than the file holds. */
  #flush(): void {
    if (this.#runLength === 0) return
    const offset = this.#runStart * this.#geometry.symbolBytes
    const written = Number(c.pwritev(this.#file, this.#run.address as Pointer, this.#runLength, offset))
    // A regular file takes less than it is given only when the disk is full.
    if (written !== this.#runBytes) throw new SystemError('pwritev', written < 0 ? errno() : ERRNO.ENOSPC)
    for (let symbol = this.#runStart; symbol < this.#runStart + this.#runLength; symbol += 1) {
      if (this.#have.has(symbol)) continue
      this.#have.add(symbol)
      const chunk = Math.floor(symbol / (128 * CHUNK_BLOCKS))
      const lacking = (this.#lacking[chunk] ?? 0) - 1
      this.#lacking[chunk] = lacking
      if (lacking === 0) this.#complete.push(chunk)
    }
    this.#runLength = 0
    this.#runBytes = 0
  }
}
