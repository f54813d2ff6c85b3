/** Foreign TFTP clients as peers: tftp-hpa, atftp (RFC 7440), curl. Each file is compared byte for byte. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { Shelf } from '../../src/base/content.ts'
import { silentLog } from '../../src/base/log.ts'
import { fileContent } from '../../src/content/file.ts'
import { openTftp, type TftpSent, type TftpServer } from '../../src/tftp/server.ts'

let folder: string
let server: TftpServer
const sent: TftpSent[] = []

/** Name and size: a plain one, blocks that come out even, nothing, and more than 65535 blocks of 512 bytes. */
const FILES = { 'boot/pxe.0': 850_528, even: 512 * 1468, empty: 0, big: 34 * 1024 * 1024 + 7 }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'wimcast-tftp-'))
  for (const [name, size] of Object.entries(FILES)) {
    const bytes = new Uint8Array(size)
    for (let at = 0; at < size; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(size, at + 65_536)))
    await Bun.write(join(folder, name), bytes)
  }
  const shelf: Shelf = {
    async find(path) {
      if (!Object.hasOwn(FILES, path)) return undefined
      const content = await fileContent(join(folder, path))
      return content.ok ? content.value : undefined
    },
  }
  server = await openTftp({
    host: '127.0.0.1',
    port: 0,
    shelf,
    log: silentLog,
    clock: systemClock,
    mtu: 65_536,
    onSent: (fact) => sent.push(fact),
  })
})

afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

async function run(...command: string[]): Promise<{ code: number; output: string }> {
  await using child = Bun.spawn(command, { cwd: folder, stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' })
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { code, output: stdout + stderr }
}

type Client = (name: string, to: string) => string[]

const hpa: Client = (name, to) => ['tftp', '-m', 'binary', '127.0.0.1', String(server.port), '-c', 'get', name, to]
const atftp =
  (...options: string[]): Client =>
  (name, to) => [
    'atftp',
    '--get',
    ...options.flatMap((option) => ['--option', option]),
    ...['--remote-file', name, '--local-file', to, '127.0.0.1', String(server.port)],
  ]
const curl =
  (...options: string[]): Client =>
  (name, to) => ['curl', '--silent', '--show-error', ...options, '-o', to, `tftp://127.0.0.1:${server.port}/${name}`]

async function fetch(client: Client, name: keyof typeof FILES): Promise<TftpSent | undefined> {
  const to = join(folder, 'received')
  await rm(to, { force: true })
  sent.length = 0
  const { code, output } = await run(...client(name, to))
  expect({ code, output }).toMatchObject({ code: 0 })
  const [got, wanted] = await Promise.all([Bun.file(to).bytes(), Bun.file(join(folder, name)).bytes()])
  expect(Buffer.compare(got, wanted)).toBe(0)
  return sent[0]
}

describe('whole files come to', () => {
  const cases: [string, Client, Partial<TftpSent>][] = [
    ['tftp-hpa', hpa, { blksize: 512, windowsize: 1 }],
    ['atftp', atftp(), { blksize: 512, windowsize: 1 }],
    ['atftp with large blocks', atftp('blksize 65464'), { blksize: 65_464, windowsize: 1 }],
    ['atftp with a window of 4', atftp('blksize 1468', 'windowsize 4'), { blksize: 1468, windowsize: 4 }],
    ['atftp with a window of 64', atftp('blksize 1468', 'windowsize 64'), { blksize: 1468, windowsize: 64 }],
    ['atftp with tsize and timeout', atftp('tsize', 'timeout 3'), { blksize: 512 }],
    ['curl', curl(), { blksize: 512 }],
    ['curl with larger blocks', curl('--tftp-blksize', '1432'), { blksize: 1432 }],
    ['curl without options', curl('--tftp-no-options'), { blksize: 512 }],
  ]
  test.each(cases)('%s', async (_, client, terms) => {
    for (const name of ['boot/pxe.0', 'even'] as const) {
      expect(await fetch(client, name)).toMatchObject({ path: name, bytes: FILES[name], retransmits: 0, ...terms })
    }
  })

  test.each([
    ['tftp-hpa', hpa],
    ['atftp', atftp('windowsize 8')],
  ] as const)('%s, when empty', async (_, client) => {
    await fetch(client, 'empty')
  })
})

describe('more than 65535 blocks come to', () => {
  const cases: [string, Client][] = [
    ['tftp-hpa', hpa],
    ['atftp with a window of 16', atftp('windowsize 16')],
  ]
  test.each(cases)('%s', (_, client) => fetch(client, 'big'), 60_000)
})

test('several clients at once', async () => {
  const clients = [
    hpa,
    atftp('blksize 1468', 'windowsize 16'),
    curl(),
    atftp('windowsize 3'),
    curl('--tftp-blksize', '1024'),
  ]
  const done = clients.map(async (client, index) => {
    const to = join(folder, `received-${index}`)
    const { code } = await run(...client('boot/pxe.0', to))
    return (
      code === 0 && Buffer.compare(await Bun.file(to).bytes(), await Bun.file(join(folder, 'boot/pxe.0')).bytes()) === 0
    )
  })
  expect(await Promise.all(done)).toEqual(clients.map(() => true))
})

describe('what is refused ends', () => {
  const cases: [string, Client, RegExp][] = [
    ['tftp-hpa', hpa, /File not found/],
    ['atftp', atftp(), /File not found/],
    ['curl', curl(), /./],
  ]
  test.each(cases)('%s, at once', async (_, client, words) => {
    const { output } = await run(...client('none', join(folder, 'none')))
    expect(output).toMatch(words)
    expect(output).not.toContain(folder)
  })

  test('a write', async () => {
    const { output } = await run(
      ...['tftp', '-m', 'binary', '127.0.0.1', String(server.port), '-c', 'put', join(folder, 'even'), 'new'],
    )
    expect(output).toContain('only gives files')
  })

  test('netascii, with the reason', async () => {
    const to = join(folder, 'ascii')
    const { output } = await run('tftp', '-m', 'ascii', '127.0.0.1', String(server.port), '-c', 'get', 'even', to)
    expect(output).toContain('Only octet mode')
  })
})
