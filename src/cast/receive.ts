/**
 * A file by multicast: join, receive in a worker, hash every chunk while the rest still comes, fetch what multicast
 * does not bring over HTTPS, and only then give the file its name. Every byte of the result has been verified against
 * the manifest by this very run. A server that is away is waited for: first for its multicast, then for its ranges.
 */
import { interfaceIndexOf } from '../../ffi/libc/udp.ts'
import { isDiskFull } from '../base/disk-full.ts'
import { Fault, type Refusal, refuse } from '../base/refusal.ts'
import { err, ok, type Result } from '../base/result.ts'
import type { CastControl, DoneRequest, JoinAnswer } from './control.ts'
import { chunkLength, type Geometry } from './geometry.ts'
import { decodeManifest, hashOfChunk, type Manifest, sha256, streamTag } from './manifest.ts'
import { openPartial, type Partial } from './partial.ts'
import {
  type FromReceiver,
  RECEIVER_LIMITS,
  type ReceiverCounters,
  type ReceiverEnd,
  type ReceiverLimits,
  type StartReceiver,
  type ToReceiver,
  type Waiting,
} from './receiver-messages.ts'
import { mayPass, PATIENCE, type Patience, retry } from './retry.ts'
import { addBlockTo, type BlockBitmap, emptyBlocks } from './schedule.ts'
import { SymbolSet } from './wanted.ts'

export type ReceiveProgress = {
  readonly by: 'multicast' | 'https'
  /** The transmission has not begun yet. */
  readonly waiting?: Waiting
  readonly heldBytes: number
  readonly verifiedBytes: number
  readonly sizeBytes: number
}

export type ReceiveOptions = {
  readonly control: CastControl
  readonly clientName: string
  /** The file to make. While it comes it is `<out>.part`. */
  readonly out: string
  /** When a file of that name is there at the end. */
  readonly ifExists?: 'fail' | 'overwrite'
  readonly interfaceName?: string
  readonly onProgress?: (progress: ReceiveProgress) => void
  readonly signal: AbortSignal
  readonly limits?: ReceiverLimits
  readonly patience?: Patience
}

export type ReceiveSummary = {
  readonly sizeBytes: number
  /** Hex SHA-256 of the manifest. */
  readonly root: string
  /** Bytes that were there from an earlier run. */
  readonly resumedBytes: number
  readonly multicastBytes: number
  readonly rangeBytes: number
  /** Why the rest came over HTTPS; absent when multicast brought all. */
  readonly fallback?: Fallback
  readonly badChunks: number
  readonly duplicates: number
  readonly refusedPackets: number
  readonly socketDrops: number
  readonly tookMs: number
}

/** With the second bad chunk we leave the group: somebody in it sends what is not ours. */
const BAD_CHUNKS_TO_LEAVE = 2
const SAVE_MS = 1000
/** A sender that fell silent comes back with the server, and multicast is cheaper than ranges for all. */
const REJOINS = 5
/** How a client ended is for the operator's eyes: worth a moment, after an interrupt a shorter one. */
const TELL_MS = { ended: 10_000, interrupted: 2000 }
/** The worker looks at its messages every 20 ms, unless the disk holds it. */
const WORKER_END_MS = 5000
const FALLBACK = {
  deaf: 'no-multicast',
  silent: 'silent',
  mute: 'silent',
  bye: 'cast-over',
  corrupt: 'corrupt',
} as const
type Fallback = (typeof FALLBACK)[keyof typeof FALLBACK]

export async function receive(options: ReceiveOptions): Promise<Result<ReceiveSummary>> {
  const { control, signal } = options
  const startedMs = performance.now()
  if (interfaceOf(options) === undefined) {
    return refuse('bad-request', `there is no interface "${options.interfaceName}"`, 'See them: `ip link`.')
  }
  const encoded = await control.manifest(signal)
  if (!encoded.ok) return encoded
  const manifest = decodeManifest(encoded.value)
  if (!manifest.ok) return manifest
  const opened = await openPartial(options.out, manifest.value)
  if (!opened.ok) return opened
  await using partial = opened.value
  const download = new Download(options, manifest.value, partial)
  try {
    const result = await complete(options, manifest.value, partial, download)
    if (result.ok) return ok({ ...result.value, tookMs: Math.round(performance.now() - startedMs) })
    await partial.save()
    await download.tell('failed', result.error.code)
    return result
  } catch (error) {
    await partial.save()
    if (isDiskFull(error)) {
      await download.tell('failed', 'no-space')
      return refuse('no-space', `the disk of "${options.out}" is full`, DISK_HINT)
    }
    await download.tell('failed', signal.aborted ? 'cancelled' : 'interrupted')
    throw error
  }
}

const DISK_HINT = 'Free some space and start again: what is there already is kept.'

function interfaceOf({ interfaceName }: ReceiveOptions): number | undefined {
  return interfaceName === undefined ? 0 : interfaceIndexOf(interfaceName)
}

async function complete(
  options: ReceiveOptions,
  manifest: Manifest,
  partial: Partial,
  download: Download,
): Promise<Result<Omit<ReceiveSummary, 'tookMs'>>> {
  await download.verifyHeld()
  const resumedBytes = download.heldBytes
  const ended = download.holdsAll ? ok(undefined) : await download.byMulticast()
  if (!ended.ok) return ended
  const fallback = ended.value
  const multicastBytes = download.heldBytes - resumedBytes
  if (fallback !== undefined) await download.tell('fallback', fallback)
  const rest = await download.byRanges()
  if (!rest.ok) return rest
  const finished = await partial.finish(options.ifExists ?? 'fail')
  if (!finished.ok) return finished
  await download.tell('received')
  const { duplicates, refused, socketDrops } = download.counters
  return ok({
    sizeBytes: manifest.geometry.sizeBytes,
    root: Buffer.from(manifest.root).toString('hex'),
    resumedBytes,
    multicastBytes,
    rangeBytes: rest.value,
    ...(fallback === undefined ? {} : { fallback }),
    badChunks: download.badChunks,
    duplicates,
    refusedPackets: refused,
    socketDrops,
  })
}

/** Blocks of which nothing is there: asked for in the join. Holes in others are reported when the sender passes them. */
function wholeBlocksMissing(geometry: Geometry, partial: Partial): BlockBitmap {
  const have = new SymbolSet(geometry.symbolCount, partial.memory)
  const blocks = emptyBlocks(geometry)
  for (let block = 0; block < geometry.blockCount; block += 1) if (have.inBlock(block) === 0) addBlockTo(blocks, block)
  return blocks
}

class Download {
  readonly #options: ReceiveOptions
  readonly #manifest: Manifest
  readonly #geometry: Geometry
  readonly #partial: Partial
  readonly #verified: Uint8Array
  #verifiedCount = 0
  #rangeBytes = 0
  #by: 'multicast' | 'https' = 'multicast'
  #waiting: Waiting | undefined
  /** The last join's: who we are to the server. */
  #answer: JoinAnswer | undefined
  badChunks = 0
  counters: ReceiverCounters

  constructor(options: ReceiveOptions, manifest: Manifest, partial: Partial) {
    this.#options = options
    this.#manifest = manifest
    this.#geometry = manifest.geometry
    this.#partial = partial
    this.#verified = new Uint8Array(manifest.geometry.chunkCount)
    const lackingSymbols = manifest.geometry.symbolCount
    this.counters = { lackingSymbols, duplicates: 0, refused: 0, socketDrops: 0 }
  }

  get holdsAll(): boolean {
    return this.#verifiedCount === this.#geometry.chunkCount
  }

  get heldBytes(): number {
    const { symbolCount, symbolBytes, sizeBytes } = this.#geometry
    return Math.min(sizeBytes, (symbolCount - this.counters.lackingSymbols) * symbolBytes)
  }

  #progress(): void {
    const { sizeBytes, chunkBytes } = this.#geometry
    const verifiedBytes = Math.min(sizeBytes, this.#verifiedCount * chunkBytes)
    const waiting = this.#waiting && { waiting: this.#waiting }
    this.#options.onProgress?.({ by: this.#by, ...waiting, heldBytes: this.heldBytes, verifiedBytes, sizeBytes })
  }

  #verify(chunk: number): void {
    if (this.#verified[chunk] === 1) return
    this.#verified[chunk] = 1
    this.#verifiedCount += 1
  }

  /** What an earlier run left is believed only as far as the hashes agree. */
  async verifyHeld(): Promise<void> {
    if (this.#partial.resumed) {
      for (let chunk = 0; chunk < this.#geometry.chunkCount; chunk += 1) {
        this.#options.signal.throwIfAborted()
        if (!this.#partial.holds(chunk)) continue
        if (await this.#partial.verify(chunk)) this.#verify(chunk)
        else this.#partial.forget(chunk)
      }
    }
    const have = new SymbolSet(this.#geometry.symbolCount, this.#partial.memory)
    this.counters = { ...this.counters, lackingSymbols: this.#geometry.symbolCount - have.size }
  }

  /** For the operator's eyes; that it does not arrive changes nothing for us. */
  async tell(outcome: DoneRequest['outcome'], reason?: string): Promise<void> {
    if (!this.#answer) return
    const { control, signal } = this.#options
    const limit = signal.aborted
      ? AbortSignal.timeout(TELL_MS.interrupted)
      : AbortSignal.any([signal, AbortSignal.timeout(TELL_MS.ended)])
    const { clientId, reportKey } = this.#answer
    const facts = reason === undefined ? {} : { reason }
    await control.done({ clientId, proof: reportKey, outcome, ...facts }, limit).catch(() => {})
  }

  /**
   * Joins, receives, and joins again when the sender falls silent. Undefined when all came; else why the rest has to
   * come by ranges.
   */
  async byMulticast(): Promise<Result<Fallback | undefined>> {
    const { control, clientName, signal, patience = PATIENCE } = this.#options
    let isFirst = true
    for (let rejoins = 0; ; rejoins += 1) {
      const joined = wholeBlocksMissing(this.#geometry, this.#partial)
      const needs = Buffer.from(joined).toString('base64')
      const join = () => control.join({ clientName, needs }, signal)
      const answer = isFirst ? await join() : await retry(join, patience, signal)
      // Who was in already and is not taken again may still fetch; from a server that stays away, nothing.
      if (!answer.ok) return isFirst || mayPass(answer.error) ? answer : ok('silent')
      isFirst = false
      this.#answer = answer.value
      if (answer.value.root !== Buffer.from(this.#manifest.root).toString('hex')) {
        return refuse('wrong-content', 'the transmission is of another content than its manifest', 'Try again.')
      }
      const interfaceIndex = interfaceOf(this.#options)
      const outcome =
        interfaceIndex === undefined ? ok('deaf' as const) : await this.#listen(answer.value, joined, interfaceIndex)
      if (!outcome.ok) return outcome
      const why = outcome.value
      if (why === 'complete' || why === 'stopped') return ok(undefined)
      // It waited for the start when the sender went: that may happen any number of times.
      if (why === 'silent' && this.#waiting) rejoins = 0
      if (why === 'silent' && rejoins < REJOINS) continue
      return ok(rejoins > 0 && why === 'deaf' ? 'silent' : FALLBACK[why])
    }
  }

  /** One stay in the group, in a worker of its own. */
  async #listen(
    answer: JoinAnswer,
    joined: BlockBitmap,
    interfaceIndex: number,
  ): Promise<Result<ReceiverEnd | 'corrupt'>> {
    const { signal } = this.#options
    signal.throwIfAborted()
    const worker = new Worker(new URL('./receiver-worker.ts', import.meta.url).href)
    const ended = Promise.withResolvers<Result<ReceiverEnd>>()
    /** The worker writes no more. */
    const idle = Promise.withResolvers<void>()
    const stop = () => worker.postMessage({ kind: 'stop' } satisfies ToReceiver)
    const before = this.counters
    let corrupt = false
    /** One chunk at a time, off the receiving thread. */
    let verifying: Promise<void> = Promise.resolve()
    const examine = async (chunk: number) => {
      if (corrupt || signal.aborted || (await this.#partial.verify(chunk))) {
        if (!corrupt && !signal.aborted) this.#verify(chunk)
        return
      }
      this.badChunks += 1
      if (this.badChunks < BAD_CHUNKS_TO_LEAVE) return
      corrupt = true
      stop()
    }
    worker.onmessage = ({ data }: MessageEvent<FromReceiver>) => {
      if (data.kind === 'ended') {
        idle.resolve()
        ended.resolve(ok(data.why))
      } else if (data.kind === 'failed') {
        idle.resolve()
        const hint = data.code === 'no-space' ? DISK_HINT : 'Check the disk and the network of this machine.'
        ended.resolve(err<Refusal>({ code: data.code, message: data.message, hint }))
      } else if (data.kind === 'waiting') {
        this.#waiting = data.waiting
        this.#progress()
      } else if (data.kind === 'progress') {
        this.counters = {
          lackingSymbols: data.counters.lackingSymbols,
          duplicates: before.duplicates + data.counters.duplicates,
          refused: before.refused + data.counters.refused,
          socketDrops: before.socketDrops + data.counters.socketDrops,
        }
        for (const chunk of data.chunks) verifying = verifying.then(() => examine(chunk))
        verifying.catch(ended.reject)
        this.#progress()
      }
    }
    worker.onerror = (event) => {
      idle.resolve()
      ended.reject(new Fault(`the receiver ended: ${event.message}`, { hint: 'This is a fault of wimcast.' }))
    }
    signal.addEventListener('abort', stop, { once: true })
    let saving: Promise<void> = Promise.resolve()
    const saver = setInterval(() => {
      saving = saving.then(() => this.#partial.save())
    }, SAVE_MS)
    try {
      worker.postMessage(this.#start(answer, joined, interfaceIndex))
      const result = await ended.promise
      await verifying
      signal.throwIfAborted()
      return corrupt ? ok('corrupt') : result
    } finally {
      clearInterval(saver)
      signal.removeEventListener('abort', stop)
      // terminate() does not wait for a thread that is in a system call, and the file is closed after this.
      stop()
      await within(idle.promise, WORKER_END_MS)
      worker.terminate()
      await saving
      await this.#partial.save()
    }
  }

  #start(answer: JoinAnswer, joined: BlockBitmap, interfaceIndex: number): StartReceiver {
    return {
      kind: 'start',
      file: this.#partial.fd,
      sizeBytes: this.#geometry.sizeBytes,
      symbolBytes: this.#geometry.symbolBytes,
      have: this.#partial.memory,
      joined,
      tag: streamTag(this.#manifest.root),
      sessionId: BigInt(`0x${answer.sessionId}`),
      epoch: answer.epoch,
      sessionKey: new Uint8Array(Buffer.from(answer.sessionKey, 'base64')),
      reportKey: new Uint8Array(Buffer.from(answer.reportKey, 'base64')),
      clientId: answer.clientId,
      group: answer.group,
      port: answer.port,
      interfaceIndex,
      reportAddress: answer.reportAddress,
      reportPort: answer.reportPort,
      limits: this.#options.limits ?? RECEIVER_LIMITS,
    }
  }

  /** Fetches every chunk that is not verified; returns the bytes fetched. */
  async byRanges(): Promise<Result<number>> {
    const { control, signal, patience = PATIENCE } = this.#options
    this.#by = 'https'
    this.#waiting = undefined
    let saveMs = performance.now() + SAVE_MS
    for (let chunk = 0; chunk < this.#geometry.chunkCount; chunk += 1) {
      if (this.#verified[chunk] === 1) continue
      signal.throwIfAborted()
      const from = chunk * this.#geometry.chunkBytes
      const length = chunkLength(this.#geometry, chunk)
      const bytes = await retry(() => control.range(from, from + length, signal), patience, signal)
      if (!bytes.ok) return bytes
      if (
        bytes.value.byteLength !== length ||
        !Buffer.from(sha256(bytes.value)).equals(hashOfChunk(this.#manifest, chunk))
      ) {
        const message = `bytes ${from} to ${from + length} are not what the manifest says, over HTTPS too`
        return refuse('corrupt', message, 'Run `wimcast library scrub` on the server.')
      }
      await this.#partial.write(chunk, bytes.value)
      this.#rangeBytes += length
      this.#verify(chunk)
      this.#progress()
      if (performance.now() < saveMs) continue
      await this.#partial.save()
      saveMs = performance.now() + SAVE_MS
    }
    return ok(this.#rangeBytes)
  }
}

/** Waits for it, but no longer than this. */
async function within(promise: Promise<void>, limitMs: number): Promise<void> {
  const late = Promise.withResolvers<void>()
  const timer = setTimeout(late.resolve, limitMs)
  await Promise.race([promise, late.promise])
  clearTimeout(timer)
}
