/**
 * One transmission's sender, as it runs in its worker: hash the content, then serve the group until stopped. Its rules
 * are in schedule.ts, clients.ts and rate.ts; this is the loop around them, in slices of a few milliseconds
 * so that messages of the main thread are heard.
 */
import { type Waiter, waiterOn } from '../../ffi/libc/poll.ts'
import {
  closeSocket,
  type Inbox,
  inbox,
  openSender,
  receiveDatagram,
  sendDatagram,
  sockaddrIn,
} from '../../ffi/libc/udp.ts'
import { unreachable } from '../base/result.ts'
import { Clients } from './clients.ts'
import { chunkLength, type Geometry, geometryOf } from './geometry.ts'
import { reportKey, sessionKey } from './keys.ts'
import { encodeManifest, HASH_BYTES, sha256, streamTag } from './manifest.ts'
import { type BeaconState, decodeReport, encodeBeacon, reporterOf, TYPE } from './packet.ts'
import { firstRate, nextRate, Pacer, type RateState, tickMs } from './rate.ts'
import { allBlocks, emptyBlocks, Schedule } from './schedule.ts'
import type { FromSender, StartSender, ToSender } from './sender-messages.ts'
import { MappedSource, readContent, type SourcePiece, Unreadable } from './source.ts'
import { Transmitter } from './transmit.ts'

export type SenderPort = {
  /** Takes what the main thread has said since the last call. */
  readonly take: () => ToSender[]
  /** Resolves when something was said, or after this time. */
  readonly wait: (timeoutMs: number) => Promise<void>
  readonly post: (message: FromSender) => void
}

/** A turn of the event loop comes at least this often, so messages wait no longer. */
const SLICE_MS = 4
const BEACON_MS = 100
/** While it is held: often enough for a receiver's probe, seldom enough to go on for days. */
const HELD_BEACON_MS = 250
const HELD_LOOK_MS = 20
/** Nobody is there: a beacon now and then, for who watches the wire. */
const QUIET_BEACON_MS = 1000
/** Everything wanted is sent and somebody still lacks something: how soon to ask again, doubling up to the second. */
const LAP_MS = 20
const LAP_LIMIT_MS = 200
const STATUS_MS = 1000
/** Batches between looks at the reports. */
const BATCHES_PER_LOOK = 8
const REPORTS_PER_LOOK = 256

/** Hashes chunk by chunk with bounded reads; stops between two when told to. */
export async function hashContent(
  pieces: readonly SourcePiece[],
  geometry: Geometry,
  proceed: (doneBytes: number) => Promise<boolean>,
): Promise<Uint8Array | undefined> {
  const hashes = new Uint8Array(geometry.chunkCount * HASH_BYTES)
  const buffer = new Uint8Array(geometry.chunkBytes)
  for (let chunk = 0; chunk < geometry.chunkCount; chunk += 1) {
    if (!(await proceed(chunk * geometry.chunkBytes))) return undefined
    const bytes = buffer.subarray(0, chunkLength(geometry, chunk))
    readContent(pieces, chunk * geometry.chunkBytes, bytes)
    hashes.set(sha256(bytes), chunk * HASH_BYTES)
  }
  return encodeManifest(geometry, hashes)
}

export async function runSender(start: StartSender, port: SenderPort): Promise<void> {
  const geometry = geometryOf(start.sizeBytes, start.symbolBytes)
  const early: ToSender[] = []
  const proceed = async (doneBytes: number) => {
    if (doneBytes % (geometry.chunkBytes * 64) === 0) port.post({ kind: 'hashing', doneBytes })
    await port.wait(0)
    early.push(...port.take())
    return !early.some((command) => command.kind === 'stop' || command.kind === 'quit')
  }
  // First of all: an address that is taken is told before minutes of hashing, not after.
  using socket = new SenderSocket(start)
  const manifest = start.manifest ?? (await hashContent(start.pieces, geometry, proceed))
  if (manifest === undefined) return
  using source = new MappedSource(start.pieces)
  const sender = new Sender(start, geometry, sha256(manifest), source, socket.fd)
  port.post({ kind: 'ready', manifest })
  for (const command of early) sender.obey(command)
  try {
    await sender.run(port)
  } catch (error) {
    // For good. What else fails is started again, and then its clients go on.
    if (error instanceof Unreadable) sender.goodbye()
    throw error
  }
}

class SenderSocket implements Disposable {
  readonly fd: number

  constructor(start: StartSender) {
    this.fd = openSender(start)
  }

  [Symbol.dispose](): void {
    closeSocket(this.fd)
  }
}

/** Holds nothing that wants closing: the socket and the source are its caller's. */
class Sender {
  readonly #start: StartSender
  readonly #geometry: Geometry
  readonly #root: Uint8Array
  readonly #tag: number
  readonly #beaconKey: Uint8Array
  readonly #fd: number
  readonly #waiter: Waiter
  readonly #inbox: Inbox = inbox(2048)
  readonly #destination: Uint8Array
  readonly #transmitter: Transmitter
  readonly #schedule: Schedule
  readonly #clients: Clients
  readonly #symbols: Uint32Array
  #rate: RateState
  readonly #pacer: Pacer
  #sequence = 0
  #beaconDueMs = 0
  #lapDueMs = 0
  #lapMs = LAP_MS
  #tickMs = performance.now()
  #tickBytes = 0
  #statusMs = performance.now()
  #statusBytes = 0
  /** Measured over whole seconds: less would say what one burst was. */
  #sentBits = 0
  #statusDue = true
  #sentBytes = 0
  #joined = false
  #held: boolean
  #stopping = false
  #cut = false
  #quit = false

  constructor(start: StartSender, geometry: Geometry, root: Uint8Array, source: MappedSource, fd: number) {
    this.#start = start
    this.#held = start.held !== undefined
    this.#geometry = geometry
    this.#root = root
    this.#tag = streamTag(root)
    this.#beaconKey = sessionKey(start.secret, root)
    this.#fd = fd
    this.#waiter = waiterOn(this.#fd)
    this.#destination = sockaddrIn(start.group, start.port)
    const pause = (ns: number) => this.#waiter.pause(ns)
    this.#transmitter = new Transmitter({ ...start, fd: this.#fd, geometry, tag: this.#tag, source, pause })
    this.#schedule = new Schedule(geometry)
    this.#clients = new Clients(geometry)
    this.#symbols = new Uint32Array(this.#transmitter.batch)
    this.#rate = firstRate(this.#limits)
    this.#pacer = new Pacer(this.#rate.bitsPerSecond)
  }

  get #limits() {
    return { floor: this.#start.floorBitsPerSecond, ceiling: this.#start.ceilingBitsPerSecond }
  }

  get #state(): BeaconState {
    if (this.#stopping) return 'stopping'
    if (this.#held) return 'held'
    if (this.#clients.live > 0) return 'running'
    return this.#joined ? 'idle' : 'waiting'
  }

  obey(command: ToSender): void {
    switch (command.kind) {
      case 'start':
        return
      case 'join': {
        const key = reportKey(this.#start.secret, this.#root, command.clientId)
        const needs = command.needs ?? allBlocks(this.#geometry)
        this.#clients.join(command.clientId, command.name, key, needs, performance.now())
        this.#joined = true
        this.#beaconDueMs = 0
        break
      }
      case 'end':
        if (this.#clients.end(command.clientId, command.state)) this.#schedule.restrict(this.#clients.needed)
        break
      case 'release':
        this.#held = false
        this.#beaconDueMs = 0
        break
      case 'stop':
        this.#stopping = true
        // Nobody can finish what has not begun.
        this.#cut ||= command.force || this.#held
        break
      case 'quit':
        this.#quit = true
        break
      default:
        unreachable(command)
    }
    this.#statusDue = true
  }

  async run(port: SenderPort): Promise<void> {
    for (;;) {
      for (const command of port.take()) this.obey(command)
      if (this.#quit) return
      if (this.#stopping && (this.#cut || this.#clients.live === 0)) break
      const nowMs = performance.now()
      this.#reports(nowMs)
      if (this.#clients.expire(nowMs)) {
        this.#schedule.restrict(this.#clients.needed)
        this.#statusDue = true
      }
      this.#tick(nowMs)
      this.#status(nowMs, port)
      if (nowMs >= this.#beaconDueMs) this.#beacon()
      if (this.#held) {
        await port.wait(HELD_LOOK_MS)
        continue
      }
      if (this.#clients.live === 0) {
        await port.wait(Math.max(1, this.#beaconDueMs - nowMs))
        continue
      }
      if (this.#schedule.wantedCount > 0) this.#sendFor(SLICE_MS)
      else this.#lap(nowMs)
      await port.wait(0)
    }
    this.goodbye()
    this.#statusDue = true
    this.#status(performance.now(), port)
  }

  /** Several times: each may be lost. */
  goodbye(): void {
    for (let count = 0; count < 3; count += 1) this.#beacon(TYPE.bye)
  }

  /** Sends until the slice is over or nothing is wanted. */
  #sendFor(sliceMs: number): void {
    const endMs = performance.now() + sliceMs
    this.#lapMs = LAP_MS
    for (let batches = 1; ; batches += 1) {
      const nowMs = performance.now()
      if (nowMs >= endMs) return
      const waitNs = this.#pacer.waitNs(nowMs * 1e6)
      if (waitNs > 0) {
        if (this.#waiter.readable(Math.min(waitNs, (endMs - nowMs) * 1e6))) this.#reports(nowMs)
        continue
      }
      const count = this.#schedule.take(this.#symbols, this.#transmitter.batch)
      if (count > 0) {
        const bytes = this.#transmitter.send(this.#symbols, count, nowMs)
        this.#pacer.spent(bytes, nowMs * 1e6)
        this.#sentBytes += bytes
      }
      if (count < this.#transmitter.batch) {
        // The pass is over. Said twice: clients report their last holes when they hear it.
        this.#schedule.turn()
        this.#beacon()
        this.#beacon()
        this.#lapDueMs = performance.now() + this.#lapMs
        if (this.#schedule.wantedCount === 0) return
      }
      if (batches % BATCHES_PER_LOOK === 0) this.#reports(nowMs)
    }
  }

  /** Nothing is wanted, yet somebody lacks something: a pass with nothing in it makes clients say their holes again. */
  #lap(nowMs: number): void {
    if (this.#clients.unserved && nowMs >= this.#lapDueMs) {
      this.#schedule.turn()
      this.#beacon()
      this.#lapDueMs = nowMs + this.#lapMs
      this.#lapMs = Math.min(LAP_LIMIT_MS, this.#lapMs * 2)
    }
    this.#waiter.readable(SLICE_MS * 1e6)
  }

  #beacon(type: number = TYPE.beacon): void {
    const state = this.#state
    const beacon = {
      ...this.#schedule.position,
      sessionId: this.#start.sessionId,
      epoch: this.#start.epoch,
      sequence: this.#sequence,
      rateKbit: Math.round(this.#rate.bitsPerSecond / 1000),
      backoffMs: Math.min(1000, Math.max(5, this.#clients.live)),
      state,
      ready: state === 'held' ? this.#clients.ready : 0,
      wanted: this.#start.held?.clientCount ?? 0,
    }
    this.#sequence += 1
    sendDatagram(this.#fd, encodeBeacon(beacon, this.#tag, this.#beaconKey, type), this.#destination)
    const everyMs = this.#clients.live === 0 ? QUIET_BEACON_MS : this.#held ? HELD_BEACON_MS : BEACON_MS
    this.#beaconDueMs = performance.now() + everyMs
  }

  #reports(nowMs: number): void {
    for (let count = 0; count < REPORTS_PER_LOOK; count += 1) {
      const packet = receiveDatagram(this.#fd, this.#inbox)
      if (packet === undefined) return
      const id = reporterOf(packet)
      if (id === undefined) continue
      const known = this.#clients.keyOf(id)
      const key = known ?? reportKey(this.#start.secret, this.#root, id)
      const report = decodeReport(packet, key)
      if (!report || report.epoch !== this.#start.epoch) continue
      if (known === undefined) {
        // Its key vouches for it: it joined before this sender was restarted.
        if (this.#stopping) continue
        this.#clients.join(id, `client ${id}`, key, emptyBlocks(this.#geometry), nowMs)
        this.#joined = true
      }
      const heard = this.#clients.heard(report, nowMs)
      if (heard.kind === 'ignored') continue
      if (heard.kind === 'admitted') {
        this.#schedule.want(heard.blocks)
        this.#statusDue = true
      }
      this.#schedule.repair(report, report.missing)
    }
  }

  #tick(nowMs: number): void {
    const passedMs = nowMs - this.#tickMs
    if (passedMs < tickMs(this.#rate)) return
    const sentBits = ((this.#sentBytes - this.#tickBytes) * 8000) / passedMs
    this.#tickMs = nowMs
    this.#tickBytes = this.#sentBytes
    this.#rate = nextRate(this.#rate, this.#clients.samples(), sentBits, this.#limits)
    this.#pacer.bitsPerSecond = this.#rate.bitsPerSecond
  }

  #status(nowMs: number, port: SenderPort): void {
    const passedMs = nowMs - this.#statusMs
    if (passedMs >= STATUS_MS) {
      const bits = Math.round(((this.#sentBytes - this.#statusBytes) * 8000) / passedMs)
      // Nobody is there and nothing is sent: said once, then there is nothing to say.
      if (this.#clients.live > 0 || bits !== this.#sentBits) this.#statusDue = true
      this.#sentBits = bits
      this.#statusMs = nowMs
      this.#statusBytes = this.#sentBytes
    }
    if (!this.#statusDue) return
    this.#statusDue = false
    // Who waits reads how many are there.
    if (this.#held) this.#beaconDueMs = Math.min(this.#beaconDueMs, nowMs)
    port.post({
      kind: 'status',
      status: {
        state: this.#state,
        lane: this.#transmitter.lane,
        pass: this.#schedule.position.pass,
        allowedBitsPerSecond: this.#rate.bitsPerSecond,
        sentBitsPerSecond: this.#sentBits,
        sentBytes: this.#sentBytes,
        clients: this.#clients.status(),
        heard: this.#clients.reached,
      },
    })
  }
}
