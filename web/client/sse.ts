/**
 * Server-sent events from bytes (WHATWG HTML §9.2.6). EventSource cannot send the Authorization header, so the stream
 * comes by fetch. Ids and retry times are not used: every event carries the whole object.
 */
export type ServerEvent = { readonly event: string; readonly data: string }

export type SseParser = { readonly push: (chunk: string) => ServerEvent[] }

/** Feed it text as it comes; a line, and even a CRLF, may be cut anywhere. */
export function createSseParser(): SseParser {
  let rest = ''
  let event = ''
  let data: string[] = []

  function takeLine(line: string, out: ServerEvent[]): void {
    if (line === '') {
      if (data.length > 0) out.push({ event: event === '' ? 'message' : event, data: data.join('\n') })
      event = ''
      data = []
      return
    }
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1)
    if (field === 'event') event = value
    else if (field === 'data') data.push(value)
  }

  return {
    push(chunk) {
      rest += chunk
      const out: ServerEvent[] = []
      for (;;) {
        const end = rest.search(/[\r\n]/)
        // A CR at the very end may be half of a CRLF.
        if (end < 0 || (rest[end] === '\r' && end === rest.length - 1)) return out
        const line = rest.slice(0, end)
        rest = rest.slice(rest[end] === '\r' && rest[end + 1] === '\n' ? end + 2 : end + 1)
        takeLine(line, out)
      }
    },
  }
}
