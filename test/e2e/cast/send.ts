/**
 * A sender with the control plane over plain HTTP, for tests and benchmarks: `send.ts CONFIG.json`.
 * The product's control plane is HTTPS (src/api); what is tried here is all below it.
 */
import { createHash } from 'node:crypto'
import { closeSync, openSync, statSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { systemClock } from '../../../src/base/clock.ts'
import type { Content, Piece } from '../../../src/base/content.ts'
import { stderrLog } from '../../../src/base/log.ts'
import { ok, type Result } from '../../../src/base/result.ts'
import type { DoneRequest, JoinRequest, SessionRecord, TransmissionStatus } from '../../../src/cast/control.ts'
import { openCasts } from '../../../src/cast/transmissions.ts'

export type SendConfig = {
  readonly file: string
  readonly listen: string
  readonly httpPort: number
  readonly interfaceName?: string
  readonly rateBitsPerSecond?: number
  readonly segment?: boolean
  /** Cuts the content into pieces of about this size, some of them in memory. */
  readonly pieceBytes?: number
  /** Where the session record is kept; read at the start when it is there. */
  readonly session?: string
}

const config = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as SendConfig
const CAST = 'test'

/** The file in uneven pieces, every third of them in memory, as a view of segments has them. */
async function piecesOf(fd: number, sizeBytes: number, pieceBytes: number): Promise<Piece[]> {
  const pieces: Piece[] = []
  for (let at = 0; at < sizeBytes; ) {
    const length = Math.min(sizeBytes - at, 1 + ((pieces.length * 7919) % (2 * pieceBytes)))
    if (pieces.length % 3 === 2) {
      const bytes = new Uint8Array(
        await Bun.file(config.file)
          .slice(at, at + length)
          .arrayBuffer(),
      )
      pieces.push({ at, length, source: { bytes } })
    } else pieces.push({ at, length, source: { fd, offset: at } })
    at += length
  }
  return pieces
}

const sizeBytes = statSync(config.file).size
const content: Content = {
  sizeBytes,
  etag: createHash('sha256').update(`${config.file}${sizeBytes}`).digest('hex').slice(0, 16),
  mediaType: 'application/octet-stream',
  fileName: 'image.wim',
  async open() {
    const fd = openSync(config.file, 'r')
    const whole: Piece[] = [{ at: 0, length: sizeBytes, source: { fd, offset: 0 } }]
    const pieces = config.pieceBytes === undefined ? whole : await piecesOf(fd, sizeBytes, config.pieceBytes)
    return ok({ sizeBytes, pieces, [Symbol.dispose]: () => closeSync(fd) })
  },
}

/** The last that was told: the room forgets what has ended. */
let last: TransmissionStatus | undefined
await using casts = openCasts({
  log: stderrLog({ level: 'info', journal: false }),
  clock: systemClock,
  onEvent(event) {
    if (event.kind === 'cast.status') last = event.status
    if (event.kind === 'cast.session' && config.session) void writeFile(config.session, JSON.stringify(event.record))
  },
})
const saved = config.session === undefined ? undefined : await readFile(config.session, 'utf8').catch(() => undefined)
const created = await casts.create({
  castId: CAST,
  label: 'test image',
  content,
  ...(config.interfaceName === undefined ? {} : { interfaceName: config.interfaceName }),
  ...(config.rateBitsPerSecond === undefined ? {} : { rateBitsPerSecond: config.rateBitsPerSecond }),
  ...(config.segment === undefined ? {} : { segment: config.segment }),
  ...(saved === undefined ? {} : { earlier: JSON.parse(saved) as SessionRecord }),
})
if (!created.ok) throw new Error(created.error.message)

const answer = (result: Result<unknown>) => Response.json(result)
const ended = Promise.withResolvers<void>()
process.on('SIGTERM', () => ended.resolve())
const server = Bun.serve({
  hostname: config.listen,
  port: config.httpPort,
  idleTimeout: 0,
  routes: {
    '/join': async (request) => answer(await casts.join(CAST, (await request.json()) as JoinRequest, request.signal)),
    '/done': async (request) => answer(casts.done(CAST, (await request.json()) as DoneRequest)),
    '/status': () => {
      const now = casts.show(CAST)
      return answer(now.ok || last === undefined ? now : ok(last))
    },
    '/stop': () => answer(casts.stop(CAST)),
    '/cut': () => answer(casts.stop(CAST, { force: true })),
    '/manifest': async (request) => {
      const manifest = await casts.manifest(CAST, request.signal)
      return manifest.ok ? new Response(new Uint8Array(manifest.value)) : answer(manifest)
    },
    '/range/:from/:to': ({ params }) =>
      new Response(Bun.file(config.file).slice(Number(params.from), Number(params.to))),
  },
})
await casts.manifest(CAST, AbortSignal.timeout(60_000))
process.stdout.write('ready\n')
await ended.promise
await server.stop(true)
