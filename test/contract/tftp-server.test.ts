import { afterEach, describe, expect, test } from 'bun:test'
import { systemClock } from '../../src/base/clock.ts'
import type { Content, OpenContent, Shelf } from '../../src/base/content.ts'
import type { Facts, Log } from '../../src/base/log.ts'
import type { Principal } from '../../src/base/principal.ts'
import { refuse } from '../../src/base/refusal.ts'
import { ok } from '../../src/base/result.ts'
import { readFully, readNow } from '../../src/content/read.ts'
import { decode, encode, type Packet } from '../../src/tftp/packet.ts'
import type { ContentReader } from '../../src/tftp/readahead.ts'
import { openTftp, type TftpOptions, type TftpSent, type TftpServer } from '../../src/tftp/server.ts'

/** Bytes that differ from block to block, so that a block in the wrong place shows. */
function pattern(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  for (let at = 0; at < sizeBytes; at += 1) bytes[at] = (at * 31 + (at >>> 9) * 7) & 0xff
  return bytes
}

/** A content in memory that counts how often it is held open. */
function memory(bytes: Uint8Array, held = { count: 0 }): Content {
  return {
    sizeBytes: bytes.byteLength,
    etag: 'fixed',
    mediaType: 'application/octet-stream',
    fileName: 'file',
    open: async () => {
      held.count += 1
      const open: OpenContent = {
        sizeBytes: bytes.byteLength,
        pieces: [{ at: 0, length: bytes.byteLength, source: { bytes } }],
        [Symbol.dispose]: () => {
          held.count -= 1
        },
      }
      return ok(open)
    },
  }
}

function shelf(files: Record<string, Content>, asked: { path: string; who: Principal }[] = []): Shelf {
  return {
    find: async (path, who) => {
      asked.push({ path, who })
      return files[path]
    },
  }
}

/** A log that can be waited on. */
class Lines {
  readonly all: { name: string; facts: Facts }[] = []
  readonly #waiting: { name: string; resolve: (facts: Facts) => void }[] = []
  readonly log: Log

  constructor() {
    const add = (name: string, facts: Facts = {}): void => {
      this.all.push({ name, facts })
      const index = this.#waiting.findIndex((entry) => entry.name === name)
      if (index >= 0) this.#waiting.splice(index, 1)[0]?.resolve(facts)
    }
    this.log = { error: add, warning: add, info: add, debug: add }
  }

  /** The next line of that name, from now on. */
  next(name: string): Promise<Facts> {
    const { promise, resolve } = Promise.withResolvers<Facts>()
    this.#waiting.push({ name, resolve })
    return promise
  }
}

type Heard = { readonly packet: Packet; readonly port: number }

/** A bare client: sends what it is told, keeps what it hears in order. */
class Client {
  readonly #socket: Bun.udp.Socket<'buffer'>
  readonly #heard: Heard[]
  readonly #wake: { call: () => void }
  readonly #server: number

  static async open(server: TftpServer): Promise<Client> {
    const heard: Heard[] = []
    const wake = { call: (): void => {} }
    const socket = await Bun.udpSocket({
      hostname: '127.0.0.1',
      port: 0,
      socket: {
        data: (_, bytes, port) => {
          const packet = decode(bytes.slice())
          if (!packet.ok) throw new Error(`the server sent ${packet.error}`)
          heard.push({ packet: packet.value, port })
          wake.call()
        },
        // ICMP errors of packets to transfers that have ended.
        error: () => {},
      },
    })
    const client = new Client(socket, heard, wake, server.port)
    opened.push(() => socket.close())
    return client
  }

  private constructor(socket: Bun.udp.Socket<'buffer'>, heard: Heard[], wake: { call: () => void }, server: number) {
    this.#socket = socket
    this.#heard = heard
    this.#wake = wake
    this.#server = server
  }

  close(): void {
    this.#socket.close()
  }

  raw(bytes: Uint8Array, port = this.#server): void {
    this.#socket.send(bytes, port, '127.0.0.1')
  }

  send(packet: Packet, port = this.#server): void {
    this.raw(encode(packet), port)
  }

  ask(file: string, options: Record<string, string> = {}, mode = 'octet'): void {
    this.send({ op: 'rrq', file: Buffer.from(file), mode, options: new Map(Object.entries(options)) })
  }

  ack(block: number, port: number): void {
    this.send({ op: 'ack', block }, port)
  }

  async hear(): Promise<Heard> {
    while (this.#heard.length === 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake.call = resolve
      await promise
    }
    return this.#heard.shift() as Heard
  }

  /** The next packet, which must be DATA. */
  async data(): Promise<{ block: number; bytes: Uint8Array; port: number }> {
    const { packet, port } = await this.hear()
    if (packet.op !== 'data') throw new Error(`DATA expected, heard ${JSON.stringify(packet)}`)
    return { block: packet.block, bytes: packet.bytes, port }
  }

  /** The next packet, which must be an ERROR. */
  async error(): Promise<{ code: number; message: string; port: number }> {
    const { packet, port } = await this.hear()
    if (packet.op !== 'error') throw new Error(`ERROR expected, heard ${packet.op}`)
    return { code: packet.code, message: packet.message, port }
  }

  /** Packets that came and that nobody asked for yet. */
  get unread(): number {
    return this.#heard.length
  }

  /**
   * Asks for a file and takes it to its end as RFC 7440 says: acknowledges each whole window, what it has at a gap, and
   * the latest block again when that comes again. It has no timer: the server's must do.
   */
  async get(file: string, options: Record<string, string> = {}, faults: Faults = {}): Promise<Got> {
    this.ask(file, options)
    let agreed: ReadonlyMap<string, string> = new Map()
    const parts: Uint8Array[] = []
    let inWindow = 0
    let gapTold = false
    let packets = 0
    const ack = (port: number): void => {
      inWindow = 0
      if (faults.loseAck?.()) return
      this.ack(parts.length & 0xffff, port)
      if (faults.doubleAck) this.ack(parts.length & 0xffff, port)
    }
    for (;;) {
      const { packet, port } = await this.hear()
      if (packet.op === 'error') throw new Error(`ERROR ${packet.code} ${packet.message}`)
      if (packet.op === 'oack') {
        agreed = packet.options
        if (parts.length === 0) ack(port)
        continue
      }
      if (packet.op !== 'data') throw new Error(`the server sent ${packet.op}`)
      packets += 1
      if (faults.loseData?.()) continue
      if (packet.block === ((parts.length + 1) & 0xffff)) {
        parts.push(packet.bytes)
        inWindow += 1
        gapTold = false
        const last = packet.bytes.byteLength < Number(agreed.get('blksize') ?? 512)
        // The last ACK is not lost: a client that ends without it is the server's silence, tested by itself.
        if (last) {
          this.ack(parts.length & 0xffff, port)
          return { bytes: Buffer.concat(parts), agreed: Object.fromEntries(agreed), packets }
        }
        if (inWindow === Number(agreed.get('windowsize') ?? 1)) ack(port)
      } else if (packet.block === (parts.length & 0xffff) || !gapTold) {
        gapTold = true
        ack(port)
      }
    }
  }
}

type Got = { readonly bytes: Uint8Array; readonly agreed: Record<string, string>; readonly packets: number }

type Faults = {
  readonly loseData?: () => boolean
  readonly loseAck?: () => boolean
  readonly doubleAck?: boolean
}

/** mulberry32: the same losses in every run. */
function dice(seed: number, share: number): () => boolean {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32 < share
  }
}

const opened: (() => unknown)[] = []
afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

async function serve(files: Record<string, Content>, more: Partial<TftpOptions> = {}) {
  const lines = new Lines()
  const asked: { path: string; who: Principal }[] = []
  const server = await openTftp({
    host: '127.0.0.1',
    port: 0,
    shelf: shelf(files, asked),
    log: lines.log,
    clock: systemClock,
    timeoutMs: 20,
    ...more,
  })
  opened.push(() => server[Symbol.asyncDispose]())
  const client = await Client.open(server)
  return { server, client, lines, asked }
}

const FILE = pattern(512 * 9 + 100)
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0

describe('a transfer', () => {
  test('comes from a port of its own, and ends with one line of facts', async () => {
    const sent: TftpSent[] = []
    const { server, client, lines, asked } = await serve(
      { 'boot/a': memory(FILE) },
      { onSent: (fact) => sent.push(fact) },
    )
    const line = lines.next('tftp.sent')
    client.ask('\\boot\\a')
    for (let block = 1; block <= 10; block += 1) {
      const data = await client.data()
      expect(data.port).not.toBe(server.port)
      expect(data.block).toBe(block)
      client.ack(block, data.port)
    }
    const facts = await line
    expect(facts).toMatchObject({ client: '127.0.0.1', path: 'boot/a', bytes: 4708, blksize: 512, windowsize: 1 })
    expect(sent).toEqual([facts as TftpSent])
    expect(asked).toEqual([{ path: 'boot/a', who: { kind: 'anonymous', door: 'tftp', address: '127.0.0.1' } }])
  })

  test('agrees to what was asked and to nothing more', async () => {
    const { client } = await serve({ a: memory(FILE) })
    const got = await client.get('a', { tsize: '0', BLKSIZE: '1456', windowsize: '4', msftwindow: '31416' })
    expect(got.agreed).toEqual({ tsize: '4708', blksize: '1456', windowsize: '4' })
    expect(same(got.bytes, FILE)).toBe(true)
  })

  const sizes = [0, 1, 511, 512, 513, 1024, 65_535, 65_536, 65_537, 300_000]
  test.each(sizes)('of %d bytes arrives whole', async (size) => {
    const file = pattern(size)
    const { client } = await serve({ a: memory(file) }, { mtu: 65_536 })
    for (const blksize of ['8', '512', '1468', '65464']) {
      const got = await client.get('a', { blksize, windowsize: '16' })
      expect(same(got.bytes, file)).toBe(true)
    }
  })

  test('holds the file open until its end and not longer', async () => {
    const held = { count: 0 }
    const { client, lines, server } = await serve({ a: memory(FILE, held) })
    const line = lines.next('tftp.sent')
    client.ask('a')
    const { port } = await client.data()
    expect(held.count).toBe(1)
    client.ack(1, port)
    for (let block = 2; block <= 10; block += 1) client.ack((await client.data()).block, port)
    await line
    await server[Symbol.asyncDispose]()
    expect(held.count).toBe(0)
  })

  test('accepts Windows’ five-byte ACKs', async () => {
    const { client, lines } = await serve({ a: memory(pattern(600)) })
    const line = lines.next('tftp.sent')
    client.ask('a')
    const { port } = await client.data()
    client.raw(Uint8Array.of(0, 4, 0, 1, 16), port)
    expect((await client.data()).block).toBe(2)
    client.raw(Uint8Array.of(0, 4, 0, 2, 16), port)
    expect(await line).toMatchObject({ bytes: 600 })
  })

  test('many at once do not mix', async () => {
    const files = Array.from({ length: 40 }, (_, index) => pattern(40_000 + index * 513).fill(index, 0, 100))
    const { server } = await serve(Object.fromEntries(files.map((file, index) => [`f${index}`, memory(file)])), {
      maxPerClient: 40,
    })
    const all = files.map(async (file, index) => {
      const client = await Client.open(server)
      const got = await client.get(`f${index}`, { blksize: '1468', windowsize: '4' })
      return same(got.bytes, file)
    })
    expect(await Promise.all(all)).toEqual(files.map(() => true))
  })
})

describe('a bad network', () => {
  const file = pattern(512 * 700 + 3)
  const cases: [string, () => Faults][] = [
    ['loses one DATA in 20', () => ({ loseData: dice(1, 0.05) })],
    ['loses one ACK in 20', () => ({ loseAck: dice(2, 0.05) })],
    ['loses both', () => ({ loseData: dice(3, 0.05), loseAck: dice(4, 0.05) })],
    ['doubles every ACK', () => ({ doubleAck: true })],
    ['does all of it', () => ({ loseData: dice(5, 0.05), loseAck: dice(6, 0.05), doubleAck: true })],
  ]
  for (const windowsize of ['1', '4', '16']) {
    test.each(cases)(`that %s: the file arrives whole, windowsize ${windowsize}`, async (_, faults) => {
      const { client, lines } = await serve({ a: memory(file) }, { timeoutMs: 5 })
      const line = lines.next('tftp.sent')
      const got = await client.get('a', { windowsize, blksize: '1024' }, faults())
      expect(same(got.bytes, file)).toBe(true)
      const { loseData, loseAck } = faults()
      const { retransmits } = await line
      if (loseData || loseAck) expect(retransmits).toBeGreaterThan(0)
    })
  }

  test('that doubles ACKs: no DATA is doubled', async () => {
    const { client } = await serve({ a: memory(FILE) }, { timeoutMs: 5000 })
    const got = await client.get('a', {}, { doubleAck: true })
    expect(got.packets).toBe(10)
  })

  test('a client that falls silent is given up, and the log says where', async () => {
    const { client, lines } = await serve({ a: memory(FILE) }, { timeoutMs: 1 })
    const line = lines.next('tftp.failed')
    client.ask('a')
    const { port } = await client.data()
    client.ack(1, port)
    expect(await line).toMatchObject({ path: 'a', why: 'the client fell silent', retransmits: 6 })
  })

  test('a client that closed its port is given up too', async () => {
    const { client, lines } = await serve({ a: memory(FILE) }, { timeoutMs: 1 })
    const line = lines.next('tftp.failed')
    client.ask('a', { windowsize: '8' })
    const { port } = await client.hear()
    client.ack(0, port)
    client.close()
    expect(await line).toMatchObject({ path: 'a', why: 'the client fell silent' })
  })

  test('an OACK without answer is sent again', async () => {
    const { client } = await serve({ a: memory(FILE) })
    client.ask('a', { tsize: '0' })
    const [first, second] = [await client.hear(), await client.hear()]
    expect(second).toEqual(first)
    expect(first.packet.op).toBe('oack')
  })
})

describe('a request that comes again', () => {
  test('from the same port is one transfer', async () => {
    const { client, lines, asked } = await serve({ a: memory(FILE) }, { timeoutMs: 5000 })
    for (let count = 0; count < 3; count += 1) client.ask('a', { tsize: '0' })
    const { port } = await client.hear()
    const line = lines.next('tftp.sent')
    client.ack(0, port)
    for (let block = 1; block <= 10; block += 1) {
      const data = await client.data()
      expect([data.port, data.block]).toEqual([port, block])
      client.ack(block, port)
    }
    await line
    expect(asked).toHaveLength(1)
  })

  test('for another file from the same port replaces the first, without a word on it', async () => {
    const { client, lines } = await serve({ a: memory(FILE), b: memory(pattern(5)) }, { timeoutMs: 5000 })
    const line = lines.next('tftp.failed')
    client.ask('a')
    const first = await client.data()
    client.ask('b')
    const second = await client.data()
    expect(second.port).not.toBe(first.port)
    expect(second.bytes.byteLength).toBe(5)
    expect(await line).toMatchObject({ path: 'a', why: 'the client began anew' })
  })

  test('after the first fell silent begins anew', async () => {
    const { client } = await serve({ a: memory(FILE) })
    client.ask('a')
    const first = await client.data()
    client.ack(1, first.port)
    let next = await client.data()
    // On a busy machine block 1 may come again before its ACK is seen.
    while (next.block === 1) next = await client.data()
    expect(next.block).toBe(2)
    // Block 2 again: by now the server has noticed the silence.
    expect((await client.data()).block).toBe(2)
    client.ask('a')
    next = await client.data()
    while (next.port === first.port) next = await client.data()
    expect(next.block).toBe(1)
  })
})

describe('the size probe of EDK2', () => {
  test('is no failure, and the file can be had afterwards', async () => {
    const { server, client, lines } = await serve({ a: memory(FILE) })
    const line = lines.next('tftp.probed')
    client.ask('a', { tsize: '0', blksize: '1468', windowsize: '4' })
    const { packet, port } = await client.hear()
    expect(packet.op).toBe('oack')
    client.send({ op: 'error', code: 8, message: 'User aborted the transfer' }, port)
    expect(await line).toEqual({ client: '127.0.0.1', path: 'a' })
    const again = await Client.open(server)
    expect(same((await again.get('a', { blksize: '1468', windowsize: '4' })).bytes, FILE)).toBe(true)
  })
})

describe('a stranger on the port of a transfer', () => {
  test('is told ERROR 5, and the transfer goes on', async () => {
    const { server, client, lines } = await serve({ a: memory(FILE) }, { timeoutMs: 5000 })
    const stranger = await Client.open(server)
    const line = lines.next('tftp.sent')
    client.ask('a')
    for (let block = 1; block <= 10; block += 1) {
      const { port } = await client.data()
      stranger.ack(block, port)
      expect((await stranger.error()).code).toBe(5)
      client.ack(block, port)
    }
    expect(await line).toMatchObject({ retransmits: 0 })
  })

  test('that is gone before the ERROR comes costs the transfer no packet', async () => {
    const { server, client, lines } = await serve({ a: memory(FILE) }, { timeoutMs: 5000 })
    const line = lines.next('tftp.sent')
    client.ask('a', { windowsize: '4' })
    const { port } = await client.hear()
    client.ack(0, port)
    let latest = 0
    for (const end of [4, 8, 10]) {
      const stranger = await Client.open(server)
      stranger.ack(0, port)
      stranger.close()
      for (let block = latest + 1; block <= end; block += 1) expect((await client.data()).block).toBe(block)
      client.ack(end, port)
      latest = end
    }
    expect(await line).toMatchObject({ retransmits: 0 })
  })

  test('hears nothing when it sends an ERROR, and does not end the transfer', async () => {
    const { server, client } = await serve({ a: memory(FILE) }, { timeoutMs: 5000 })
    const stranger = await Client.open(server)
    client.ask('a')
    const { port } = await client.data()
    stranger.send({ op: 'error', code: 0, message: 'stop' }, port)
    stranger.ack(1, port)
    expect((await stranger.error()).code).toBe(5)
    client.ack(1, port)
    expect((await client.data()).block).toBe(2)
    expect(stranger.unread).toBe(0)
  })
})

describe('an ERROR answers', () => {
  const cases: [string, string, string, number][] = [
    ['a file that is not there', 'images/none.wim', 'octet', 1],
    ['an empty name', '', 'octet', 1],
    ['a way up', '../../etc/shadow', 'octet', 2],
    ['a way up by backslash', '..\\..\\etc\\shadow', 'octet', 2],
    ['a control character', 'a\u0007', 'octet', 2],
    ['netascii', 'a', 'netascii', 4],
    ['mail', 'a', 'mail', 4],
    ['no mode', 'a', '', 4],
  ]
  test.each(cases)('%s', async (_, file, mode, code) => {
    const { client, lines } = await serve({ a: memory(FILE) })
    const line = lines.next('tftp.refused')
    client.ask(file, {}, mode)
    expect((await client.error()).code).toBe(code)
    expect(await line).toMatchObject({ client: '127.0.0.1', code })
  })

  test('a write, since nothing is ever written', async () => {
    const { client } = await serve({ a: memory(FILE) })
    client.send({ op: 'wrq', file: Buffer.from('a'), mode: 'octet', options: new Map() })
    expect((await client.error()).code).toBe(2)
  })

  test('a file that cannot be opened, without the words that name server files', async () => {
    const open = async () => refuse('unreadable', '/srv/secret/x is broken', 'Mend it.')
    const { client, lines } = await serve({ a: { ...memory(FILE), open } })
    const line = lines.next('tftp.failed')
    client.ask('a')
    const { code, message } = await client.error()
    expect([code, message]).toEqual([0, 'The file cannot be opened'])
    expect(await line).toMatchObject({ why: '/srv/secret/x is broken' })
  })

  test('a shelf that throws, and the server lives on', async () => {
    const find = async (path: string): Promise<Content | undefined> => {
      if (path === 'bad') throw new Error('/srv/secret is gone')
      return memory(FILE)
    }
    const { client, lines } = await serve({}, { shelf: { find } })
    const line = lines.next('tftp.fault')
    client.ask('bad')
    expect(await client.error()).toMatchObject({ code: 0, message: 'The server failed' })
    expect(await line).toMatchObject({ why: '/srv/secret is gone' })
    expect(same((await client.get('a')).bytes, FILE)).toBe(true)
  })
})

describe('no answer at all', () => {
  const packets: [string, Uint8Array][] = [
    ['nothing', new Uint8Array()],
    ['one byte', Uint8Array.of(0)],
    ['an unknown opcode', Uint8Array.of(0, 9, 1, 1)],
    ['an ACK', encode({ op: 'ack', block: 1 })],
    ['DATA', encode({ op: 'data', block: 1, bytes: new Uint8Array(512) })],
    ['an ERROR', encode({ op: 'error', code: 5, message: 'no' })],
    ['an OACK', encode({ op: 'oack', options: new Map([['tsize', '1']]) })],
    ['a name without NUL', Buffer.from('\x00\x01a')],
    ['a mode without NUL', Buffer.from('\x00\x01a\x00octet')],
    ['a request beyond one datagram', Buffer.from(`\x00\x01${'a'.repeat(1500)}\x00octet\x00`)],
  ]
  test.each(packets)('goes to %s', async (_, bytes) => {
    const { client } = await serve({ a: memory(FILE) })
    client.raw(bytes)
    // Refused at once and from the same port: its ERROR comes after whatever went before it.
    client.send({ op: 'wrq', file: Buffer.from('a'), mode: 'octet', options: new Map() })
    expect(await client.error()).toMatchObject({ code: 2 })
  })
})

describe('limits', () => {
  test('of transfers per client: silence, one line, and room again when one ends', async () => {
    const { server, client, lines } = await serve({ a: memory(FILE) }, { maxPerClient: 2, timeoutMs: 5000 })
    const second = await Client.open(server)
    const third = await Client.open(server)
    client.ask('a', { tsize: '0' })
    const first = await client.hear()
    second.ask('a', { tsize: '0' })
    await second.hear()
    const busy = lines.next('tftp.busy')
    third.ask('a', { tsize: '0' })
    third.ask('a', { tsize: '0' })
    expect(await busy).toMatchObject({ client: '127.0.0.1', ofClient: 2 })
    const probed = lines.next('tftp.probed')
    client.send({ op: 'error', code: 8, message: '' }, first.port)
    await probed
    third.ask('a', { tsize: '0' })
    expect((await third.hear()).packet.op).toBe('oack')
    expect(lines.all.filter(({ name }) => name === 'tftp.busy')).toHaveLength(1)
  })

  test('of transfers in all', async () => {
    const { server, client, lines } = await serve({ a: memory(FILE) }, { maxTransfers: 1, timeoutMs: 5000 })
    client.ask('a', { tsize: '0' })
    await client.hear()
    const busy = lines.next('tftp.busy')
    const second = await Client.open(server)
    second.ask('a', { tsize: '0' })
    expect(await busy).toMatchObject({ transfers: 1 })
  })
})

describe('the disk', () => {
  test('may have nothing in memory: every chunk comes later', async () => {
    const file = pattern(300_000)
    const reader: ContentReader = {
      readNow: () => -1,
      readFully: async (open, at, target) => {
        await new Promise<void>((resolve) => setImmediate(resolve))
        readNow(open, at, target)
      },
    }
    const { client } = await serve({ a: memory(file) }, { reader })
    expect(same((await client.get('a', { blksize: '1468', windowsize: '16' })).bytes, file)).toBe(true)
  })

  test('may have a part in memory and the rest not', async () => {
    const file = pattern(200_001)
    const reader: ContentReader = {
      readNow: (open, at, target) => readNow(open, at, target.subarray(0, 1000)),
      readFully,
    }
    const { client } = await serve({ a: memory(file) }, { reader })
    expect(same((await client.get('a', { blksize: '1000', windowsize: '7' })).bytes, file)).toBe(true)
  })

  test('may be slow: meanwhile the client is neither blamed nor sent anything', async () => {
    const file = pattern(1000)
    const { promise: disk, resolve: spin } = Promise.withResolvers<void>()
    const reader: ContentReader = {
      readNow: () => -1,
      readFully: async (open, at, target) => {
        await disk
        readNow(open, at, target)
      },
    }
    const { client, lines, server } = await serve({ a: memory(file), b: memory(file) }, { reader, timeoutMs: 1 })
    const line = lines.next('tftp.sent')
    client.ask('a', { tsize: '0' })
    const oack = await client.hear()
    client.ack(0, oack.port)
    // Another client's OACK is given up meanwhile: far longer than this transfer's patience would be.
    const other = await Client.open(server)
    const gone = lines.next('tftp.failed')
    other.ask('b', { tsize: '0' })
    expect(await gone).toMatchObject({ path: 'b', why: 'the client never answered the OACK' })
    spin()
    let heard = await client.hear()
    while (heard.packet.op === 'oack') heard = await client.hear()
    expect(heard.packet).toMatchObject({ op: 'data', block: 1 })
    client.ack(1, heard.port)
    client.ack(2, heard.port)
    await client.data()
    client.ack(2, heard.port)
    expect(await line).toMatchObject({ path: 'a' })
  })

  test('may fail: that transfer ends with an ERROR that names nothing, and no other', async () => {
    const held = { count: 0 }
    const bad = pattern(200_000)
    const reader: ContentReader = {
      readNow: (open, at, target) =>
        open.sizeBytes === bad.byteLength && at >= 65_536 ? -1 : readNow(open, at, target),
      readFully: async () => {
        throw new Error('EIO at /srv/store/x')
      },
    }
    const { server, client, lines } = await serve({ bad: memory(bad, held), good: memory(FILE) }, { reader })
    const line = lines.next('tftp.failed')
    await expect(client.get('bad', { blksize: '1024' })).rejects.toThrow('ERROR 0 The file cannot be read')
    expect(await line).toMatchObject({ path: 'bad', why: 'EIO at /srv/store/x' })
    expect(same((await client.get('good')).bytes, FILE)).toBe(true)
    await server[Symbol.asyncDispose]()
    expect(held.count).toBe(0)
  })
})

describe('stopping', () => {
  test('tells the clients, closes the files and frees the port', async () => {
    const held = { count: 0 }
    const { server, client } = await serve({ a: memory(FILE, held) }, { timeoutMs: 5000 })
    const { port } = server
    client.ask('a')
    await client.data()
    expect(held.count).toBe(1)
    await server[Symbol.asyncDispose]()
    expect((await client.error()).message).toBe('The server stops')
    expect(held.count).toBe(0)
    const next = await serve({ a: memory(FILE) }, { port })
    expect(next.server.port).toBe(port)
  })

  test('waits for a read that is under way before the file is closed', async () => {
    const held = { count: 0 }
    const { promise: disk, resolve: spin } = Promise.withResolvers<void>()
    const { promise: reading, resolve: begun } = Promise.withResolvers<void>()
    const reader: ContentReader = {
      readNow: () => -1,
      readFully: () => {
        begun()
        return disk
      },
    }
    const { server, client } = await serve({ a: memory(FILE, held) }, { reader })
    client.ask('a')
    await reading
    const stopped = server[Symbol.asyncDispose]()
    expect((await client.error()).message).toBe('The server stops')
    expect(held.count).toBe(1)
    spin()
    await stopped
    expect(held.count).toBe(0)
  })

  test('a port that is taken is a fault with a hint', async () => {
    const { server } = await serve({})
    await expect(serve({}, { port: server.port })).rejects.toThrow('TFTP cannot listen on 127.0.0.1')
  })
})
