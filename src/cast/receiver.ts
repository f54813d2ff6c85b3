/**
 * The receiving loop, as it runs in its worker: take what came, keep up with the sender's beacons, report holes. The
 * rules of reporting are in reporter.ts, the packets go through collect.ts; here is the order of things and the clock.
 */
import { SystemError } from '../../ffi/libc/errno.ts'
import { waiterOn } from '../../ffi/libc/poll.ts'
import {
  closeSocket,
  joinGroup,
  leaveGroup,
  openGroup,
  openTo,
  sendDatagram,
  socketMemory,
} from '../../ffi/libc/udp.ts'
import { Collector } from './collect.ts'
import { geometryOf } from './geometry.ts'
import { listeningClock } from './listening-clock.ts'
import { decodeBeacon, decodeHeader, encodeReport, MAX_ENTRIES, type Missing, TYPE } from './packet.ts'
import type { FromReceiver, ReceiverEnd, StartReceiver, ToReceiver, Waiting } from './receiver-messages.ts'
import { Reporter } from './reporter.ts'
import { SymbolSet } from './wanted.ts'

export type ReceiverPort = {
  readonly take: () => ToReceiver[]
  /** A turn of the event loop. */
  readonly turn: () => Promise<void>
  readonly post: (message: FromReceiver) => void
}

const RECEIVE_BUFFER_BYTES = 32 << 20
/** While data flows, packets gather this long before they are taken: fewer wake-ups, longer runs. */
const GATHER_NS = 2e6
const IDLE_WAIT_NS = 10e6
const TURN_MS = 20
const REPORT_GAP_MS = 20
/** Reports in one go: 16 x 70 damaged blocks. */
const REPORT_DATAGRAMS = 16
/**
 * Something is said at least this often, so that the sender knows that we live and bear its pace: every twenty backoffs,
 * within these bounds, so 200 clients say no more than a few hundred things a second.
 */
const HEARTBEAT_MS = { least: 100, most: 1000 }
const PROGRESS_MS = 200

/** Undefined where this machine has no way to the group or to the server: no route, no such group on the interface. */
function openSockets(start: StartReceiver): { readonly socket: number; readonly reports: number } | undefined {
  let socket: number | undefined
  try {
    socket = openGroup({ ...start, receiveBufferBytes: RECEIVE_BUFFER_BYTES })
    return { socket, reports: openTo(start.reportAddress, start.reportPort) }
  } catch (error) {
    if (socket !== undefined) closeSocket(socket)
    if (error instanceof SystemError) return undefined
    throw error
  }
}

export async function runReceiver(start: StartReceiver, port: ReceiverPort): Promise<ReceiverEnd> {
  const geometry = geometryOf(start.sizeBytes, start.symbolBytes)
  const have = new SymbolSet(geometry.symbolCount, start.have)
  const reporter = new Reporter(geometry, have, start.joined)
  const sockets = openSockets(start)
  if (!sockets) return 'deaf'
  const { socket, reports } = sockets
  try {
    const waiter = waiterOn(socket)
    const clock = listeningClock()
    const startedMs = clock()
    let nowMs = startedMs
    let { epoch } = start
    let sequence = -1
    let pass = 0
    let backoffMs = 5
    let heardMs: number | undefined
    let dataMs = startedMs
    let symbolsBefore = have.size
    let rejoinedMs = startedMs
    let goodbye = false
    let waiting: Waiting | undefined
    let nextReportMs = 0
    let reportedMs = Number.NEGATIVE_INFINITY
    let counter = 0

    const control = (packet: Uint8Array) => {
      const beacon = decodeBeacon(packet, start.sessionKey)
      if (!beacon || beacon.sessionId !== start.sessionId) {
        collector.refused += 1
        return
      }
      const ahead = (beacon.epoch - epoch) & 0xffff
      if (ahead >= 0x8000 || (ahead === 0 && beacon.sequence <= sequence)) return
      if (ahead > 0) {
        epoch = beacon.epoch
        reporter.restart()
        pass = 0
      }
      sequence = beacon.sequence
      nowMs = clock()
      const isFirst = heardMs === undefined
      if (isFirst) port.post({ kind: 'heard' })
      // Data has its time from the first beacon on, and from the first one of a sender that was away.
      if (heardMs === undefined || nowMs - heardMs > start.limits.rejoinMs) dataMs = nowMs
      heardMs = nowMs
      const isHeld = beacon.state === 'held'
      // Nothing comes, and that is as it should be.
      if (isHeld) dataMs = nowMs
      if (isFirst || isHeld !== (waiting !== undefined) || (isHeld && waiting?.ready !== beacon.ready)) {
        waiting = isHeld ? { ready: beacon.ready, wanted: beacon.wanted || undefined } : undefined
        port.post({ kind: 'waiting', waiting })
      }
      backoffMs = beacon.backoffMs
      reporter.beacon(beacon)
      if (beacon.pass !== pass) {
        // The end of a pass: everybody has something to say now, so not all at once.
        pass = beacon.pass
        nextReportMs = nowMs + Math.random() * backoffMs
      }
      goodbye ||= decodeHeader(packet)?.type === TYPE.bye
    }
    const collector = new Collector({ socket, file: start.file, geometry, tag: start.tag, have, reporter, control })
    const lacking = () => geometry.symbolCount - have.size
    /** False when the interface is gone. */
    const joinedAnew = (): boolean => {
      leaveGroup(socket, start.group, start.interfaceIndex)
      try {
        joinGroup(socket, start.group, start.interfaceIndex)
        return true
      } catch (error) {
        if (error instanceof SystemError) return false
        throw error
      }
    }

    const report = (missing: readonly Missing[]) => {
      counter += 1
      const { pass: heardPass, block } = reporter.heard
      const packet = encodeReport(
        {
          epoch,
          clientId: start.clientId,
          counter,
          pass: heardPass,
          block,
          lacking: lacking(),
          lossPpm: reporter.lossPpm(),
          drops: socketMemory(socket).drops,
          refused: collector.refused,
          missing,
        },
        start.tag,
        start.reportKey,
      )
      sendDatagram(reports, packet)
      reportedMs = nowMs
    }
    const reportHoles = () => {
      nextReportMs = nowMs + REPORT_GAP_MS
      for (let datagram = 0; datagram < REPORT_DATAGRAMS && reporter.pending > 0; datagram += 1) {
        const missing = reporter.collect(MAX_ENTRIES)
        if (missing.length > 0) report(missing)
      }
    }

    const progress = (chunks: readonly number[]) => {
      const { duplicates, refused } = collector
      const socketDrops = socketMemory(socket).drops
      port.post({ kind: 'progress', counters: { lackingSymbols: lacking(), duplicates, refused, socketDrops }, chunks })
    }

    let turnMs = startedMs
    let progressMs = startedMs
    for (;;) {
      let came = 0
      for (let batches = 0; batches < 32; batches += 1) {
        const count = collector.receive()
        came += count
        if (count === 0) break
      }
      nowMs = clock()
      const chunks = collector.takeComplete()
      if (chunks.length > 0 || nowMs - progressMs >= PROGRESS_MS) {
        progress(chunks)
        progressMs = nowMs
      }
      if (lacking() === 0) {
        if (heardMs !== undefined) for (let copy = 0; copy < 2; copy += 1) report([])
        progress([])
        return 'complete'
      }
      if (goodbye) return 'bye'
      if (heardMs === undefined) {
        if (nowMs - startedMs > start.limits.probeMs) return 'deaf'
      } else {
        const symbols = have.size + collector.duplicates
        if (symbols !== symbolsBefore) dataMs = nowMs
        symbolsBefore = symbols
        if (nowMs - heardMs > start.limits.silenceMs) return 'silent'
        const away = nowMs - heardMs > start.limits.rejoinMs
        if (!away && nowMs - dataMs > start.limits.silenceMs) return 'mute'
        if (away && nowMs - rejoinedMs > start.limits.rejoinMs) {
          if (!joinedAnew()) return 'silent'
          rejoinedMs = nowMs
        }
        if (nowMs >= nextReportMs) reportHoles()
        const heartbeatMs = Math.min(HEARTBEAT_MS.most, Math.max(HEARTBEAT_MS.least, backoffMs * 20))
        if (nowMs - reportedMs >= heartbeatMs) report([])
      }
      if (nowMs - turnMs >= TURN_MS) {
        await port.turn()
        turnMs = nowMs
        if (port.take().some((command) => command.kind === 'stop')) return 'stopped'
      }
      if (came > 0) waiter.pause(GATHER_NS)
      else waiter.readable(reporter.pending > 0 ? Math.min(IDLE_WAIT_NS, (nextReportMs - nowMs) * 1e6) : IDLE_WAIT_NS)
    }
  } finally {
    closeSocket(socket)
    closeSocket(reports)
  }
}
