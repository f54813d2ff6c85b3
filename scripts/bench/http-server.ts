/**
 * What scripts/bench/http measures when no server is given: a synthetic content as a view has it, 2000 pieces over three
 * files and some bytes of our own, served by src/http over plain HTTP and TLS.
 * Usage: bun scripts/bench/http-server.ts FOLDER HTTP-PORT HTTPS-PORT. FOLDER holds part0 part1 part2, cert.pem, key.pem;
 * it writes FOLDER/many.bin (the same bytes as one file, for the peer), then prints "ready".
 */
import { openSync, writeSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Content, Piece } from '../../src/base/content.ts'
import { stderrLog } from '../../src/base/log.ts'
import { ok } from '../../src/base/result.ts'
import { fileContent } from '../../src/content/file.ts'
import { readFully } from '../../src/content/read.ts'
import { openHttp } from '../../src/http/listen.ts'
import { sendContent } from '../../src/http/send.ts'

const [folder = '', httpPort = '', httpsPort = ''] = process.argv.slice(2)
const files = await Promise.all(
  ['part0', 'part1', 'part2'].map(async (name) => {
    const path = join(folder, name)
    return { fd: openSync(path, 'r'), sizeBytes: (await stat(path)).size, used: 0 }
  }),
)

/** A fixed sequence (Numerical Recipes' constants), so that every run serves the same bytes. */
let state = 7
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0
  return state / 0x1_0000_0000
}

const pieces: Piece[] = []
let sizeBytes = 0
const add = (length: number, source: Piece['source']) => {
  pieces.push({ at: sizeBytes, length, source })
  sizeBytes += length
}
add(208, { bytes: new Uint8Array(208).fill(1) })
while (pieces.length < 2000) {
  const file = files[Math.floor(random() * files.length)]
  const length = Math.floor(500 + random() * 1_000_000)
  const gap = Math.floor(random() * 500)
  if (!file || file.used + gap + length > file.sizeBytes) break
  add(length, { fd: file.fd, offset: file.used + gap })
  file.used += gap + length
}
add(100_050, { bytes: new Uint8Array(100_050).fill(2) })

const open = { sizeBytes, pieces, [Symbol.dispose]() {} }
const labels = { sizeBytes, etag: 'bench', mediaType: 'application/octet-stream', fileName: 'many.bin' }
const many: Content = { ...labels, open: async () => ok(open) }

const copy = openSync(join(folder, 'many.bin'), 'w')
const slice = new Uint8Array(1 << 20)
for (let at = 0; at < sizeBytes; at += slice.byteLength) {
  const part = slice.subarray(0, Math.min(slice.byteLength, sizeBytes - at))
  await readFully(open, at, part)
  writeSync(copy, part)
}
const single = await fileContent(join(folder, 'many.bin'))
if (!single.ok) throw new Error(single.error.message)
const one = single.value

const log = stderrLog({ level: 'info', journal: false })
const fetch = (request: Request) => sendContent(request, request.url.endsWith('/one.bin') ? one : many)
await openHttp({ at: { host: '127.0.0.1', port: Number(httpPort) }, fetch, log })
const tls = {
  cert: await readFile(join(folder, 'cert.pem'), 'utf8'),
  key: await readFile(join(folder, 'key.pem'), 'utf8'),
}
await openHttp({ at: { host: '127.0.0.1', port: Number(httpsPort), tls }, fetch, log })
process.stdout.write('ready\n')
