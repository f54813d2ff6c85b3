/**
 * A `Content` as the answer to GET or HEAD: RFC 9110, with ranges and validators by `planOf`. The body is read in slices
 * into the buffer of whoever takes it (a byte stream, so a listener recycles one buffer per transfer) and never mapped:
 * see ../content/read.ts. Who gets the Response must read its body to the end or cancel it; so does ./exchange.ts.
 */
import type { Content, OpenContent } from '../base/content.ts'
import { Refused } from '../base/refusal.ts'
import { readFully, readNow } from '../content/read.ts'
import { attachment } from './disposition.ts'
import { planOf } from './range.ts'

/** For takers that bring no buffer of their own. */
const SLICE_BYTES = 512 * 1024

/**
 * Bytes `[start, end)`. Nothing is read ahead of the taker: a slow one costs no memory. A part that cannot be read
 * errors the stream with `ContentFault`, which breaks this transfer and no other. The content is closed at the end, on
 * error, on cancel and on abort, but never under a read, because the descriptor's number may be another file by then.
 */
function bodyOf(open: OpenContent, start: number, end: number, signal: AbortSignal): ReadableStream<Uint8Array> {
  let at = start
  let reading = false
  let over = false
  const close = () => {
    if (over) return
    over = true
    signal.removeEventListener('abort', close)
    if (!reading) open[Symbol.dispose]()
  }
  signal.addEventListener('abort', close, { once: true })
  if (signal.aborted) close()

  return new ReadableStream({
    type: 'bytes',
    autoAllocateChunkSize: SLICE_BYTES,
    pull(controller) {
      const request = controller.byobRequest
      const view = request?.view
      if (!request || !view) throw new Error('a byte stream with autoAllocateChunkSize always brings a view')
      signal.throwIfAborted()
      const target = new Uint8Array(view.buffer, view.byteOffset, Math.min(view.byteLength, end - at))
      const taken = (bytes: number) => {
        at += bytes
        request.respond(bytes)
        if (at < end) return
        controller.close()
        close()
      }
      // No promise when memory holds the bytes: that is the path of a warm library at full speed.
      const now = readNow(open, at, target)
      if (now > 0) return taken(now)
      reading = true
      return readFully(open, at, target, signal)
        .then(() => {
          if (!over) taken(target.byteLength)
        })
        .catch((error: unknown) => {
          close()
          throw error
        })
        .finally(() => {
          reading = false
          if (over) open[Symbol.dispose]()
        })
    },
    cancel: close,
  })
}

/** Throws `Refused` when the content cannot be opened; its door maps that to a status. */
export async function sendContent(request: Request, content: Content): Promise<Response> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return new Response(undefined, { status: 405, headers: { Allow: 'GET, HEAD' } })
  }
  const header = (name: string) => request.headers.get(name) ?? undefined
  const plan = planOf(
    {
      method: request.method,
      range: header('Range'),
      ifRange: header('If-Range'),
      ifMatch: header('If-Match'),
      ifNoneMatch: header('If-None-Match'),
    },
    content,
  )
  const { sizeBytes } = content
  const headers = new Headers({
    ETag: `"${content.etag}"`,
    'Accept-Ranges': 'bytes',
    // Kept only by who may see it, asked again before use; and the bytes are checksummed: nobody may recompress them.
    'Cache-Control': 'private, no-cache, no-transform',
  })
  if (plan.status === 304) return new Response(undefined, { status: 304, headers })
  if (plan.status === 412) return new Response(undefined, { status: 412, headers })
  if (plan.status === 416) {
    headers.set('Content-Range', `bytes */${sizeBytes}`)
    return new Response(undefined, { status: 416, headers })
  }
  const [start, end] = plan.status === 206 ? [plan.start, plan.end] : [0, sizeBytes]
  headers.set('Content-Type', content.mediaType)
  headers.set('Content-Disposition', attachment(content.fileName))
  headers.set('X-Content-Type-Options', 'nosniff')
  headers.set('Content-Length', String(end - start))
  if (plan.status === 206) headers.set('Content-Range', `bytes ${start}-${end - 1}/${sizeBytes}`)
  if (request.method === 'HEAD' || end === start) return new Response(undefined, { status: plan.status, headers })
  const opened = await content.open()
  if (!opened.ok) throw new Refused(opened.error)
  return new Response(bodyOf(opened.value, start, end, request.signal), { status: plan.status, headers })
}
