/**
 * Throughput of one content over plain HTTP and TLS, one and four readers, against nginx (one process, sendfile on) on
 * the same bytes as a file: alternating pairs, medians, the ratio of each pair's kind. Needs nginx, curl, openssl.
 * Usage: scripts/bench/http [--pairs N] [--size-mib N]
 *          [--http URL --https URL --file FILE --pid PID]   a running server instead of our own synthetic one: the URLs of
 *                                                           one content, the same bytes as a file, whose memory to watch
 * Readers are curl processes for both sides. Prints one line per kind and the server's RssAnon before, most, and after.
 */
import { mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '5' },
    'size-mib': { type: 'string', default: '1024' },
    http: { type: 'string' },
    https: { type: 'string' },
    file: { type: 'string' },
    pid: { type: 'string' },
  },
})
const folder = mkdtempSync(join(tmpdir(), 'bench-http-'))
const children: Bun.Subprocess[] = []

function freePort(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>()
  const server = createServer().listen(0, '127.0.0.1', () => {
    const address = server.address()
    server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
  })
  return promise
}

async function until(done: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 300; tries += 1) {
    if (await done()) return
    await Bun.sleep(100)
  }
  throw new Error('a server did not come up within 30 s')
}

/** As incompressible as a WIM to anything on the way, the same every time. */
function makeParts(sizeBytes: number): void {
  const chunk = new Uint8Array(1 << 20)
  for (const name of ['part0', 'part1', 'part2']) {
    const hash = new Bun.CryptoHasher('sha256').update(name).digest()
    const words = new Uint32Array(chunk.buffer)
    let state = new DataView(hash.buffer).getUint32(0)
    const fd = openSync(join(folder, name), 'w')
    for (let at = 0; at < sizeBytes / 3; at += chunk.byteLength) {
      for (let word = 0; word < words.length; word += 1) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        words[word] = state
      }
      writeSync(fd, chunk)
    }
  }
}

function makeCertificate(): void {
  const made = Bun.spawnSync(
    [
      'openssl',
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      '-days',
      '2',
    ].concat(['-subj', '/CN=localhost', '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')]),
    { stderr: 'pipe' },
  )
  if (made.exitCode !== 0) throw new Error(made.stderr.toString())
}

async function startOurs() {
  makeParts(Number(values['size-mib']) * 1024 * 1024)
  const [httpPort, httpsPort] = [await freePort(), await freePort()]
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, 'http-server.ts'), folder, `${httpPort}`, `${httpsPort}`],
    { stdout: 'pipe', stderr: 'inherit' },
  )
  children.push(child)
  const first = await child.stdout.getReader().read()
  if (first.done) throw new Error('the server did not start')
  return {
    http: `http://127.0.0.1:${httpPort}/many.bin`,
    https: `https://127.0.0.1:${httpsPort}/many.bin`,
    file: join(folder, 'many.bin'),
    pid: child.pid,
  }
}

async function startPeer(file: string) {
  const [httpPort, httpsPort] = [await freePort(), await freePort()]
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  writeFileSync(
    join(folder, 'nginx.conf'),
    `worker_processes 1; daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/nginx.log;
events { worker_connections 128; }
http {
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  ${temp.map((name) => `${name}_temp_path ${folder}/nginx-${name};`).join(' ')}
  root ${dirname(file)};
  server { listen 127.0.0.1:${httpPort}; }
  server { listen 127.0.0.1:${httpsPort} ssl; ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem; }
}
`,
  )
  children.push(Bun.spawn(['nginx', '-p', folder, '-c', join(folder, 'nginx.conf')], { stderr: 'ignore' }))
  const http = `http://127.0.0.1:${httpPort}/${basename(file)}`
  await until(async () => (await fetch(http, { method: 'HEAD' }).catch(() => undefined))?.ok === true)
  return { http, https: `https://127.0.0.1:${httpsPort}/${basename(file)}` }
}

/** GB/s over all readers. */
async function measure(url: string, readers: number, sizeBytes: number): Promise<number> {
  const began = performance.now()
  const codes = await Promise.all(
    Array.from({ length: readers }, async () => {
      const child = Bun.spawn(['curl', '--silent', '--insecure', '--fail', '--output', '/dev/null', url])
      return child.exited
    }),
  )
  if (codes.some((code) => code !== 0)) throw new Error(`curl ${url}: exit codes ${codes}`)
  return (readers * sizeBytes) / (performance.now() - began) / 1e6
}

const rssAnonKib = (pid: number) => Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
const median = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN

/** Both sides read from the page cache. */
function warm(file: string): number {
  const fd = openSync(file, 'r')
  const slice = new Uint8Array(1 << 20)
  let sizeBytes = 0
  for (let got = -1; got !== 0; sizeBytes += got) got = readSync(fd, slice)
  return sizeBytes
}

try {
  makeCertificate()
  const { http, https, file } = values
  const ours = http && https && file ? { http, https, file, pid: Number(values.pid) } : await startOurs()
  const peer = await startPeer(ours.file)
  const sizeBytes = warm(ours.file)
  const before = rssAnonKib(ours.pid)
  let most = before
  const watch = setInterval(() => {
    most = Math.max(most, rssAnonKib(ours.pid))
  }, 50)
  await measure(ours.http, 1, sizeBytes)
  for (const [scheme, readers, goal] of [
    ['http', 1, 0.8],
    ['http', 4, 0.8],
    ['https', 1, 0.9],
    ['https', 4, 0.9],
  ] as const) {
    const [us, them, ratios]: [number[], number[], number[]] = [[], [], []]
    for (let pair = 0; pair < Number(values.pairs); pair += 1) {
      const order = pair % 2 === 0 ? [ours, peer] : [peer, ours]
      for (const side of order) (side === ours ? us : them).push(await measure(side[scheme], readers, sizeBytes))
      ratios.push((us.at(-1) ?? 0) / (them.at(-1) ?? 1))
    }
    const ratio = median(us) / median(them)
    process.stdout.write(
      `${scheme.padEnd(5)} ${readers} reader${readers > 1 ? 's' : ' '}  ours ${median(us).toFixed(2)} GB/s  nginx ${median(them).toFixed(2)} GB/s  ` +
        `ratio ${ratio.toFixed(2)} (pairs ${ratios.map((each) => each.toFixed(2)).join(' ')})  reach ${goal}: ${ratio >= goal ? 'yes' : 'NO'}\n`,
    )
  }
  clearInterval(watch)
  process.stdout.write(
    `RssAnon MiB: ${[before, most, rssAnonKib(ours.pid)].map((kib) => (kib / 1024).toFixed(0)).join(' -> ')}\n`,
  )
} finally {
  for (const child of children) child.kill()
  await Promise.all(children.map((child) => child.exited))
  rmSync(folder, { recursive: true })
}
