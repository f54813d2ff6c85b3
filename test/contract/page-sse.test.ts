/** The page's reader of server-sent events: what a stream means, wherever it is cut (WHATWG HTML §9.2.6). */
import { expect, test } from 'bun:test'
import { createSseParser, type ServerEvent } from '../../web/client/sse.ts'

const message = (data: string, event = 'message'): ServerEvent => ({ event, data })

const STREAMS: readonly (readonly [string, string, readonly ServerEvent[]])[] = [
  ['an event', 'event: job\ndata: {"id":1}\n\n', [message('{"id":1}', 'job')]],
  ['without a name', 'data: x\n\n', [message('x')]],
  ['the name does not last', 'event: job\ndata: 1\n\ndata: 2\n\n', [message('1', 'job'), message('2')]],
  ['several lines of data', 'data: a\ndata:\ndata: b\n\n', [message('a\n\nb')]],
  ['one space after the colon is not data', 'data:  x\n\ndata:y\n\n', [message(' x'), message('y')]],
  ['a comment', ':\n: ping\ndata: x\n\n', [message('x')]],
  ['no data, no event', 'event: job\n\nid: 7\nretry: 5\n\n', []],
  ['a field without a colon', 'data\n\n', [message('')]],
  ['CRLF', 'event: job\r\ndata: x\r\n\r\ndata: y\r\n\r\n', [message('x', 'job'), message('y')]],
  ['CR', 'data: x\r\rdata: y\r\r:', [message('x'), message('y')]],
  ['cut short', 'data: x\n\ndata: y\n', [message('x')]],
]

test.each(STREAMS)('%s', (_, stream, events) => {
  expect(createSseParser().push(stream)).toEqual([...events])
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const parser = createSseParser()
    expect([...parser.push(stream.slice(0, cut)), ...parser.push(stream.slice(cut))]).toEqual([...events])
  }
  const parser = createSseParser()
  expect([...stream].flatMap((letter) => parser.push(letter))).toEqual([...events])
})
