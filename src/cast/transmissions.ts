/**
 * The transmissions of this appliance: the room's face to the API. Each runs in a worker of its own (sender-worker.ts);
 * here are their keys, addresses and states, and the answers of the control plane. One that has ended is told and
 * forgotten. Knows nothing of HTTP.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { networkInterfaces } from 'node:os'
import { ERRNO, SystemError } from '../../ffi/libc/errno.ts'
import { closeSocket, interfaceIndexOf, openSender, sourceTowards } from '../../ffi/libc/udp.ts'
import type { Clock } from '../base/clock.ts'
import type { Content, OpenContent } from '../base/content.ts'
import type { Log } from '../base/log.ts'
import { type Refusal, refuse } from '../base/refusal.ts'
import { err, ok, type Result, unreachable } from '../base/result.ts'
import { ANY_GROUP, allocate, type Endpoint, isMulticast } from './address.ts'
import type {
  DoneRequest,
  JoinAnswer,
  JoinRequest,
  SessionRecord,
  TransmissionState,
  TransmissionStatus,
} from './control.ts'
import { DEFAULT_SYMBOL_BYTES, geometryOf, MAX_SYMBOLS } from './geometry.ts'
import { reportKey, sessionKey } from './keys.ts'
import { decodeManifest } from './manifest.ts'
import type { FromSender, Held, SenderStatus, StartSender, ToSender } from './sender-messages.ts'
import type { SourcePiece } from './source.ts'

export type NewCast = {
  readonly castId: string
  /** For people: the image's name. */
  readonly label: string
  readonly content: Content
  /** By name; absent: the interface that the routes give for the group. */
  readonly interfaceName?: string
  /** Absent: as fast as the clients bear. */
  readonly rateBitsPerSecond?: number
  /** Absent: one of the pool. */
  readonly endpoint?: Endpoint
  readonly ttl?: number
  /** Endpoints of transmissions that do not run now and will come back. */
  readonly avoid?: readonly Endpoint[]
  /** Brings a transmission back after a restart: same session, keys and addresses. */
  readonly earlier?: SessionRecord
  /** False: no super-packets, to measure without them. */
  readonly segment?: boolean
  /** Takes clients and sends nothing until it is released. */
  readonly held?: Held
}

export type CastEvent =
  /** At most once a second, and at each change of a state. */
  | { readonly kind: 'cast.status'; readonly status: TransmissionStatus }
  /** To be kept, so that the transmission can be brought back. */
  | { readonly kind: 'cast.session'; readonly record: SessionRecord }

export type Casts = AsyncDisposable & {
  /** Refused where there is no such interface, or no route to the groups: as `create` would. */
  readonly check: (interfaceName: string | undefined) => Result<void>
  /** Returns when the sender runs in its worker; hashing goes on, see the state. */
  readonly create: (cast: NewCast) => Promise<Result<TransmissionStatus>>
  /** Waits until the content is hashed. */
  readonly manifest: (castId: string, signal: AbortSignal) => Promise<Result<Uint8Array>>
  /** Waits until the content is hashed. */
  readonly join: (castId: string, request: JoinRequest, signal: AbortSignal) => Promise<Result<JoinAnswer>>
  /** Refused when the client does not prove that it is the one. */
  readonly done: (castId: string, request: DoneRequest) => Result<void>
  /** Lets one that is held begin; of one that runs nothing changes. */
  readonly release: (castId: string) => Result<void>
  /** No new clients, those present finish; by force, or while it is held: everybody is cut off. */
  readonly stop: (castId: string, options?: { readonly force?: boolean }) => Result<void>
  readonly list: () => TransmissionStatus[]
  readonly show: (castId: string) => Result<TransmissionStatus>
}

/** With a ceiling below this the floor follows it down. */
const FLOOR_BITS = 8e6
/** Stands for "no ceiling": what no network of today carries. */
const NO_CEILING_BITS = 400e9
const DEFAULT_TTL = 1
/** How long a worker may take to close its socket when the appliance goes down. */
const QUIT_LIMIT_MS = 2000

type Cast = {
  readonly castId: string
  readonly label: string
  readonly endpoint: Endpoint
  readonly address: string
  readonly interfaceName: string | undefined
  readonly content: OpenContent
  readonly worker: Worker
  readonly secret: Uint8Array
  readonly sessionId: bigint
  readonly epoch: number
  readonly etag: string
  /** Settles once: when hashed, or when that will not happen any more. */
  readonly prepared: PromiseWithResolvers<Result<Uint8Array>>
  readonly ended: PromiseWithResolvers<void>
  manifest: Uint8Array | undefined
  root: Uint8Array | undefined
  stopping: boolean
  state: TransmissionState
  failure: Refusal | undefined
  hashedBytes: number
  sender: SenderStatus | undefined
}

export function openCasts(deps: {
  readonly log: Log
  readonly clock: Clock
  readonly onEvent: (event: CastEvent) => void
}): Casts {
  const casts = new Map<string, Cast>()
  /** Endpoints of those that are being made, so that nobody else takes them meanwhile. */
  const making = new Map<string, Endpoint>()
  let closed = false

  function find(castId: string): Result<Cast> {
    const cast = casts.get(castId)
    return cast
      ? ok(cast)
      : refuse('not-found', `there is no transmission "${castId}"`, 'List them: `wimcast cast list`.')
  }

  function publish(cast: Cast): void {
    deps.onEvent({ kind: 'cast.status', status: statusOf(cast) })
  }

  function end(cast: Cast, state: 'stopped' | 'failed', failure?: Refusal): void {
    if (hasEnded(cast)) return
    cast.state = state
    cast.failure = failure
    cast.worker.terminate()
    cast.content[Symbol.dispose]()
    cast.prepared.resolve(failure ? err(failure) : over(cast.castId))
    if (failure) deps.log.error('cast.failed', { cast: cast.castId, code: failure.code, message: failure.message })
    else deps.log.info('cast.stopped', { cast: cast.castId, sentBytes: cast.sender?.sentBytes })
    publish(cast)
    casts.delete(cast.castId)
    cast.ended.resolve()
  }

  function hear(cast: Cast, message: FromSender): void {
    // What the worker said before it was terminated may come after.
    if (hasEnded(cast)) return
    switch (message.kind) {
      case 'hashing':
        cast.hashedBytes = message.doneBytes
        break
      case 'ready': {
        const manifest = decodeManifest(message.manifest)
        if (!manifest.ok) {
          end(cast, 'failed', manifest.error)
          return
        }
        cast.manifest = message.manifest
        cast.root = manifest.value.root
        cast.hashedBytes = cast.content.sizeBytes
        cast.state = cast.stopping ? 'stopping' : 'waiting'
        cast.prepared.resolve(ok(message.manifest))
        deps.onEvent({ kind: 'cast.session', record: recordOf(cast) })
        break
      }
      case 'status':
        if (cast.sender?.lane !== message.status.lane)
          deps.log.info('cast.lane', { cast: cast.castId, lane: message.status.lane })
        cast.sender = message.status
        cast.state = message.status.state === 'held' ? 'waiting' : message.status.state
        break
      case 'failed':
        end(cast, 'failed', { code: message.code, message: message.message, hint: message.hint })
        return
      case 'stopped':
        end(cast, 'stopped')
        return
      default:
        unreachable(message)
    }
    publish(cast)
  }

  async function create(wanted: NewCast): Promise<Result<TransmissionStatus>> {
    if (casts.has(wanted.castId) || making.has(wanted.castId)) {
      return refuse(
        'exists',
        `there is a transmission "${wanted.castId}" already`,
        'Choose another id, or stop that one.',
      )
    }
    const { earlier } = wanted
    if (earlier && earlier.etag !== wanted.content.etag) {
      return refuse('wrong-content', `"${wanted.label}" is not what was sent before`, 'Start a new transmission.')
    }
    const ttl = wanted.ttl ?? DEFAULT_TTL
    const place = placeOf(wanted, ttl)
    if (!place.ok) return place
    const { endpoint, network } = place.value
    if (wanted.content.sizeBytes === 0 || geometryOf(wanted.content.sizeBytes).symbolCount > MAX_SYMBOLS) {
      return refuse('unsupported', `a content of ${wanted.content.sizeBytes} bytes cannot be sent`, 'Offer it by HTTP.')
    }
    making.set(wanted.castId, endpoint)
    let content: Result<OpenContent>
    try {
      content = await wanted.content.open()
    } finally {
      making.delete(wanted.castId)
    }
    if (!content.ok) return content
    if (closed) {
      content.value[Symbol.dispose]()
      return refuse('unavailable', 'the appliance stops', 'Try again when it runs.')
    }
    const manifest =
      earlier?.manifest === undefined ? undefined : new Uint8Array(Buffer.from(earlier.manifest, 'base64'))
    const cast: Cast = {
      castId: wanted.castId,
      label: wanted.label,
      endpoint: { group: endpoint.group, port: endpoint.port },
      address: network.address,
      interfaceName: wanted.interfaceName,
      content: content.value,
      worker: new Worker(new URL('./sender-worker.ts', import.meta.url).href),
      secret: earlier ? new Uint8Array(Buffer.from(earlier.secret, 'base64')) : new Uint8Array(randomBytes(32)),
      sessionId: earlier ? BigInt(`0x${earlier.sessionId}`) : randomBytes(8).readBigUInt64BE(),
      epoch: earlier ? (earlier.epoch + 1) & 0xffff : 1,
      etag: wanted.content.etag,
      prepared: Promise.withResolvers(),
      ended: Promise.withResolvers(),
      manifest: undefined,
      root: undefined,
      stopping: false,
      state: 'preparing',
      failure: undefined,
      hashedBytes: 0,
      sender: undefined,
    }
    casts.set(cast.castId, cast)
    cast.worker.onmessage = ({ data }: MessageEvent<FromSender>) => hear(cast, data)
    cast.worker.onerror = (event) => {
      const hint = 'This is a fault of wimcast: the log has the particulars.'
      end(cast, 'failed', { code: 'child-died', message: `the sender ended: ${event.message}`, hint })
    }
    const ceiling = wanted.rateBitsPerSecond ?? NO_CEILING_BITS
    tell(cast, {
      kind: 'start',
      pieces: content.value.pieces.map(({ at, length, source }): SourcePiece => ({ at, length, ...source })),
      sizeBytes: content.value.sizeBytes,
      symbolBytes: DEFAULT_SYMBOL_BYTES,
      ...(manifest === undefined ? {} : { manifest }),
      sessionId: cast.sessionId,
      epoch: cast.epoch,
      secret: cast.secret,
      group: endpoint.group,
      port: endpoint.port,
      address: network.address,
      interfaceIndex: network.index,
      ttl,
      floorBitsPerSecond: Math.min(FLOOR_BITS, ceiling),
      ceilingBitsPerSecond: ceiling,
      segment: wanted.segment ?? true,
      held: wanted.held,
    })
    deps.log.info('cast.created', { cast: cast.castId, label: cast.label, ...cast.endpoint, epoch: cast.epoch })
    return ok(statusOf(cast))
  }

  /** Where it goes: as asked, as before, or a free place of the pool, of which no other process has the port. */
  function placeOf(wanted: NewCast, ttl: number): Result<{ readonly endpoint: Endpoint; readonly network: Network }> {
    const given = wanted.endpoint ?? wanted.earlier
    const running = [...casts.values()].map((cast) => cast.endpoint)
    const taken = [...running, ...making.values(), ...(wanted.avoid ?? [])]
    for (;;) {
      const endpoint = given ?? allocate(taken, randomBytes(4).readUInt32BE())
      if (!endpoint) return refuse('unavailable', 'every address of the pool is in use', 'Stop a transmission.')
      if (!isMulticast(endpoint.group)) {
        return refuse('bad-request', `"${endpoint.group}" is no multicast group`, 'Take one of 239.192.0.0/14.')
      }
      const network = networkOf(endpoint.group, wanted.interfaceName)
      if (!network.ok) return network
      if (given || isFree(endpoint, network.value, ttl)) return ok({ endpoint, network: network.value })
      taken.push(endpoint)
    }
  }

  function tell(cast: Cast, message: StartSender | ToSender): void {
    cast.worker.postMessage(message)
  }

  async function manifest(castId: string, signal: AbortSignal): Promise<Result<Uint8Array>> {
    const cast = find(castId)
    if (!cast.ok) return cast
    return await untilAborted(cast.value.prepared.promise, signal)
  }

  async function join(castId: string, request: JoinRequest, signal: AbortSignal): Promise<Result<JoinAnswer>> {
    const found = find(castId)
    if (!found.ok) return found
    const cast = found.value
    const prepared = await untilAborted(cast.prepared.promise, signal)
    if (!prepared.ok) return prepared
    if (cast.stopping || cast.root === undefined || hasEnded(cast)) return over(castId)
    let needs: Uint8Array | undefined
    if (request.needs !== undefined) {
      needs = new Uint8Array(Buffer.from(request.needs, 'base64'))
      const wanted = Math.ceil(geometryOf(cast.content.sizeBytes).blockCount / 8)
      if (needs.byteLength !== wanted) {
        return refuse('bad-request', `"needs" has ${needs.byteLength} bytes, not ${wanted}`, 'One bit for each block.')
      }
    }
    const clientId = randomBytes(4).readUInt32BE()
    tell(cast, { kind: 'join', clientId, name: request.clientName, needs })
    deps.log.info('cast.joined', { cast: castId, client: request.clientName, id: clientId })
    return ok({
      castId,
      sessionId: cast.sessionId.toString(16).padStart(16, '0'),
      epoch: cast.epoch,
      clientId,
      group: cast.endpoint.group,
      port: cast.endpoint.port,
      reportAddress: cast.address,
      reportPort: cast.endpoint.port,
      sessionKey: Buffer.from(sessionKey(cast.secret, cast.root)).toString('base64'),
      reportKey: Buffer.from(reportKey(cast.secret, cast.root, clientId)).toString('base64'),
      root: Buffer.from(cast.root).toString('hex'),
    })
  }

  function done(castId: string, request: DoneRequest): Result<void> {
    const cast = find(castId)
    if (!cast.ok) return cast
    if (!proves(cast.value.secret, cast.value.root, request)) return unproved(request.clientId)
    const { clientId, outcome, reason } = request
    const facts = { cast: castId, id: clientId, outcome, reason }
    if (outcome === 'received') deps.log.info('cast.done', facts)
    else deps.log.warning('cast.done', facts)
    tell(cast.value, { kind: 'end', clientId, state: outcome === 'received' ? 'done' : 'left' })
    return ok(undefined)
  }

  function release(castId: string): Result<void> {
    const cast = find(castId)
    if (!cast.ok) return cast
    tell(cast.value, { kind: 'release' })
    deps.log.info('cast.released', { cast: castId })
    return ok(undefined)
  }

  function stop(castId: string, options: { readonly force?: boolean } = {}): Result<void> {
    const found = find(castId)
    if (!found.ok) return found
    const cast = found.value
    cast.stopping = true
    tell(cast, { kind: 'stop', force: options.force === true })
    return ok(undefined)
  }

  return {
    check(interfaceName) {
      const network = networkOf(ANY_GROUP, interfaceName)
      return network.ok ? ok(undefined) : network
    },
    create,
    manifest,
    join,
    done,
    release,
    stop,
    list: () => [...casts.values()].map(statusOf),
    show(castId) {
      const cast = find(castId)
      return cast.ok ? ok(statusOf(cast.value)) : cast
    },
    /** Says no goodbye: clients wait for the next start as they do after a crash, and go on. */
    async [Symbol.asyncDispose]() {
      closed = true
      for (const cast of casts.values()) tell(cast, { kind: 'quit' })
      const late = Promise.withResolvers<void>()
      const timer = setTimeout(late.resolve, QUIT_LIMIT_MS)
      await Promise.race([Promise.all([...casts.values()].map((cast) => cast.ended.promise)), late.promise])
      clearTimeout(timer)
      for (const cast of casts.values()) end(cast, 'stopped')
    },
  }
}

function hasEnded(cast: Cast): boolean {
  return cast.state === 'stopped' || cast.state === 'failed'
}

function proves(secret: Uint8Array, root: Uint8Array | undefined, request: DoneRequest): boolean {
  if (root === undefined) return false
  const key = reportKey(secret, root, request.clientId)
  const proof = Buffer.from(request.proof, 'base64')
  return proof.byteLength === key.byteLength && timingSafeEqual(proof, key)
}

function unproved(clientId: number) {
  return refuse('not-allowed', `the proof is not of client ${clientId}`, 'Send the report key that the join gave.')
}

/** Of a transmission that has ended: whether it was this client's to tell. */
export function checkProof(record: SessionRecord, request: DoneRequest): Result<void> {
  const encoded = record.manifest === undefined ? undefined : new Uint8Array(Buffer.from(record.manifest, 'base64'))
  const manifest = encoded && decodeManifest(encoded)
  const root = manifest?.ok ? manifest.value.root : undefined
  const secret = new Uint8Array(Buffer.from(record.secret, 'base64'))
  return proves(secret, root, request) ? ok(undefined) : unproved(request.clientId)
}

function over(castId: string) {
  return refuse(
    'cast-over',
    `transmission "${castId}" takes no more clients`,
    'Fetch the image by HTTPS, or start a new one.',
  )
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', abort, { once: true })
  return Promise.race([promise, aborted.promise]).finally(() => signal.removeEventListener('abort', abort))
}

/** The address to send from and the interface's index (0: by route). */
type Network = { readonly address: string; readonly index: number }

/** Only what another process holds is not; whatever else is wrong the worker meets and tells. */
function isFree({ port }: Endpoint, { address, index }: Network, ttl: number): boolean {
  try {
    closeSocket(openSender({ address, port, interfaceIndex: index, ttl }))
    return true
  } catch (error) {
    return !(error instanceof SystemError && error.errno === ERRNO.EADDRINUSE)
  }
}

function networkOf(group: string, name: string | undefined): Result<Network> {
  if (name === undefined) {
    const address = sourceTowards(group)
    if (address !== undefined) return ok({ address, index: 0 })
    return refuse('unavailable', `there is no route for the group ${group}`, 'Name an interface: `--interface eth0`.')
  }
  const index = interfaceIndexOf(name)
  const address = networkInterfaces()[name]?.find((entry) => entry.family === 'IPv4')?.address
  if (index !== undefined && address !== undefined) return ok({ address, index })
  return refuse('bad-request', `the interface "${name}" is absent or has no IPv4 address`, 'See them: `ip -4 address`.')
}

function recordOf(cast: Cast): SessionRecord {
  return {
    castId: cast.castId,
    sessionId: cast.sessionId.toString(16).padStart(16, '0'),
    epoch: cast.epoch,
    secret: Buffer.from(cast.secret).toString('base64'),
    group: cast.endpoint.group,
    port: cast.endpoint.port,
    etag: cast.etag,
    ...(cast.manifest === undefined ? {} : { manifest: Buffer.from(cast.manifest).toString('base64') }),
  }
}

function statusOf(cast: Cast): TransmissionStatus {
  return {
    castId: cast.castId,
    label: cast.label,
    state: cast.state,
    ...(cast.failure === undefined ? {} : { failure: { code: cast.failure.code, message: cast.failure.message } }),
    sizeBytes: cast.content.sizeBytes,
    hashedBytes: cast.hashedBytes,
    group: cast.endpoint.group,
    port: cast.endpoint.port,
    ...(cast.interfaceName === undefined ? {} : { interfaceName: cast.interfaceName }),
    ...(cast.sender === undefined ? {} : { lane: cast.sender.lane }),
    ...(cast.root === undefined ? {} : { root: Buffer.from(cast.root).toString('hex') }),
    pass: cast.sender?.pass ?? 0,
    allowedBitsPerSecond: cast.sender?.allowedBitsPerSecond ?? 0,
    sentBitsPerSecond: cast.sender?.sentBitsPerSecond ?? 0,
    sentBytes: cast.sender?.sentBytes ?? 0,
    clients: cast.sender?.clients ?? [],
    heard: cast.sender?.heard ?? { clients: 0, of: 0 },
  }
}
