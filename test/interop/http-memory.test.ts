/**
 * Slow readers cost no memory, and the one buffer of a transfer is never overwritten under bytes not yet sent. The server
 * is a child (the one of scripts/bench/http), so that its RssAnon is its own.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const MIB = 1024 * 1024
const READERS = 20
const folder = mkdtempSync(join(tmpdir(), 'http-memory-'))
let server: Bun.Subprocess<'ignore', 'pipe', 'inherit'>
let port = 0

function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const address = probe.address()
    probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
  })
  return promise
}

beforeAll(async () => {
  for (const [index, name] of ['part0', 'part1', 'part2'].entries()) {
    const words = new Uint32Array((20 * MIB) / 4)
    for (let at = 0; at < words.length; at += 1) words[at] = Math.imul(at + index, 0x9e3779b1)
    writeFileSync(join(folder, name), words)
  }
  const made = Bun.spawnSync([
    ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')],
  ])
  expect(made.exitCode).toBe(0)
  port = await freePort()
  const script = join(import.meta.dir, '../../scripts/bench/http-server.ts')
  server = Bun.spawn([process.execPath, script, folder, `${port}`, `${await freePort()}`], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const { value } = await server.stdout.getReader().read()
  expect(Buffer.from(value ?? []).toString()).toStartWith('ready')
})

afterAll(async () => {
  server?.kill()
  await server?.exited
  rmSync(folder, { recursive: true })
})

const rssAnonMib = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))?.[1]) / 1024
const fdCount = () => readdirSync(`/proc/${server.pid}/fd`).length
const head = () => fetch(`http://127.0.0.1:${port}/many.bin`, { method: 'HEAD' })

/** Resolves, paused, with the first bytes of the answer. */
function stalledReader(): Promise<{ socket: Socket; first: Buffer }> {
  const { promise, resolve } = Promise.withResolvers<{ socket: Socket; first: Buffer }>()
  const socket = connect({ host: '127.0.0.1', port })
  socket.write('GET /many.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  socket.once('data', (first: Buffer) => {
    socket.pause()
    resolve({ socket, first })
  })
  return promise
}

function restOf({ socket, first }: { socket: Socket; first: Buffer }): Promise<string> {
  const start = first.indexOf('\r\n\r\n') + 4
  const hash = new Bun.CryptoHasher('sha256').update(first.subarray(start))
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  socket.on('data', (bytes: Buffer) => hash.update(bytes))
  socket.once('error', reject)
  socket.once('close', () => resolve(hash.digest('hex')))
  socket.resume()
  return promise
}

test('twenty stalled readers cost at most 60 MiB, and then get every byte', async () => {
  // One warm transfer first: code and buffers that any transfer needs.
  const whole = new Bun.CryptoHasher('sha256').update(readFileSync(join(folder, 'many.bin'))).digest('hex')
  expect(await restOf(await stalledReader())).toBe(whole)
  await head()
  const before = { rss: rssAnonMib(), fds: fdCount() }
  const readers = await Promise.all(Array.from({ length: READERS }, stalledReader))
  // Each answered call is at least one turn of the server's loop: time enough to fill whatever would be filled.
  let most = 0
  for (let turn = 0; turn < 100; turn += 1) {
    await head()
    most = Math.max(most, rssAnonMib())
  }
  expect(fdCount()).toBeGreaterThanOrEqual(before.fds + READERS)
  expect(most - before.rss).toBeLessThan(60)
  expect(await Promise.all(readers.map(restOf))).toEqual(Array.from({ length: READERS }, () => whole))
})
