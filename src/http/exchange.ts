/**
 * One exchange over node:http as the Fetch API has it: IncomingMessage -> Request, Response -> ServerResponse.
 *
 * Why not Bun.serve: it drops the Content-Length of a streamed body and sends it chunked, so that a client knows neither
 * the size nor how far it is; firmware that boots over HTTP refuses that. node:http in Bun keeps it, at the same speed.
 * What is written to `ServerResponse` and not taken by the kernel is copied by Bun before `write` returns: that is what
 * lets one buffer serve a whole transfer (tested with slow readers and checksums).
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { setImmediate } from 'node:timers/promises'

/** Taken per turn: large enough for speed, small enough that twenty stalled readers stay within tens of megabytes. */
const SLICE_BYTES = 512 * 1024

/**
 * After this much the event loop turns, whoever waits. A client as fast as memory never lets us sleep: when the kernel
 * takes all at once, Bun's 'drain' follows in the same turn, and promises alone would hold up everybody else.
 */
const TURN_BYTES = 1024 * 1024

/** A reader that takes nothing for this long is gone; a machine that writes its disk may pause for minutes. */
const STALL_MS = 15 * 60_000

/** The request's body, read no faster than it is taken. */
function bodyOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  message.pause()
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        let over = false
        message.on('data', (bytes: Buffer) => {
          if (over) return
          controller.enqueue(bytes)
          if ((controller.desiredSize ?? 0) <= 0) message.pause()
        })
        message.once('end', () => {
          if (!over) controller.close()
          over = true
        })
        message.once('close', () => {
          if (!over) controller.error(new Error('the client went away in the middle of its request'))
          over = true
        })
      },
      pull() {
        message.resume()
      },
      // The rest is thrown away, so that the connection can be answered (and kept, when the rest is short).
      cancel() {
        message.resume()
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: 256 * 1024 }),
  )
}

/** `undefined` when the request names no address we could be asked by (RFC 9112 §3.2: answer 400). */
export function requestOf(
  message: IncomingMessage,
  scheme: 'http' | 'https',
  signal: AbortSignal,
): Request | undefined {
  const { method = 'GET', url: target = '/', rawHeaders } = message
  // Origin form only (RFC 9112 §3.2.1): we are neither a proxy nor asked for OPTIONS *.
  if (!target.startsWith('/')) return undefined
  const url = URL.parse(`${scheme}://${message.headers.host ?? 'localhost'}${target}`)
  if (!url) return undefined
  if (url.username !== '' || url.password !== '') return undefined
  const headers = new Headers()
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) headers.append(rawHeaders[at] ?? '', rawHeaders[at + 1] ?? '')
  if (method === 'GET' || method === 'HEAD') return new Request(url, { method, headers, signal })
  return new Request(url, { method, headers, signal, body: bodyOf(message), duplex: 'half' } as RequestInit)
}

/** Takes a body slice by slice. A byte stream fills our one buffer; another kind brings its own chunks. */
function slicesOf(body: ReadableStream<Uint8Array>): {
  readonly next: () => Promise<Uint8Array | undefined>
  readonly cancel: (reason: unknown) => Promise<void>
} {
  let byob: ReadableStreamBYOBReader
  try {
    byob = body.getReader({ mode: 'byob' })
  } catch {
    const reader = body.getReader()
    return { next: async () => (await reader.read()).value, cancel: (reason) => reader.cancel(reason) }
  }
  let buffer = new ArrayBuffer(SLICE_BYTES)
  return {
    async next() {
      const { value, done } = await byob.read(new Uint8Array(buffer))
      if (done || !value) return undefined
      // The buffer travels: it was detached by the read and comes back with the bytes in it.
      buffer = value.buffer as ArrayBuffer
      return value
    },
    cancel: (reason) => byob.cancel(reason),
  }
}

/**
 * Sends the answer; resolves when it is out. When the client goes (`signal`) the body is cancelled. When the body fails
 * the connection is broken, because a client that got the head can only learn of it by a short body; then rejects.
 */
export async function answer(
  response: Response,
  to: ServerResponse,
  head: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { status, headers, body } = response
  const fields: [string, string][] = [...headers].filter(([name]) => name !== 'set-cookie')
  for (const cookie of headers.getSetCookie()) fields.push(['set-cookie', cookie])
  const bodyless = status === 204 || status === 304
  if (!body && !bodyless && !headers.has('Content-Length')) fields.push(['content-length', '0'])
  to.writeHead(status, fields.flat())
  if (head || bodyless || !body) {
    to.end()
    await body?.cancel()
    return
  }
  const slices = slicesOf(body)
  let wake = () => {}
  const onDrain = () => wake()
  to.on('drain', onDrain)
  const onAbort = () => {
    wake()
    slices.cancel(signal.reason).catch(() => {})
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    // A stream of events has its head go out before its first event.
    to.flushHeaders()
    for (let turn = 0; ; ) {
      if (signal.aborted) return
      const bytes = await slices.next()
      if (!bytes) break
      if (signal.aborted) return
      if (!to.write(bytes)) {
        await new Promise<void>((resolve) => {
          const limit = setTimeout(() => {
            to.destroy()
            resolve()
          }, STALL_MS)
          wake = () => {
            clearTimeout(limit)
            resolve()
          }
        })
        if (to.destroyed && !signal.aborted) {
          await slices.cancel(new Error('the reader took nothing for too long'))
          return
        }
      }
      turn += bytes.byteLength
      if (turn >= TURN_BYTES) {
        await setImmediate()
        turn = 0
      }
    }
    if (!signal.aborted) to.end()
  } catch (error) {
    if (signal.aborted) return
    to.destroy()
    throw error
  } finally {
    to.off('drain', onDrain)
    signal.removeEventListener('abort', onAbort)
  }
}
