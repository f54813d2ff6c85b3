/** OpenSSL and curl as the other side: they read our certificate, and serve theirs to our client. */
import { afterEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificate, openCertificate } from '../../src/access/certificate.ts'
import { systemClock } from '../../src/base/clock.ts'
import { type Fingerprint, fingerprintOf, parseFingerprint } from '../../src/base/fingerprint.ts'
import { Refused } from '../../src/base/refusal.ts'
import { openClient } from '../../src/client/client.ts'

let opened = new AsyncDisposableStack()
afterEach(async () => {
  await opened.disposeAsync()
  opened = new AsyncDisposableStack()
})

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'wimcast-openssl-'))
  opened.defer(() => rmSync(made, { recursive: true, force: true }))
  return made
}

async function run(
  ...command: string[]
): Promise<{ readonly out: string; readonly err: string; readonly code: number }> {
  const child = Bun.spawn(command, { stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' })
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited])
  return { out, err, code }
}

/** A TLS server that prints what it gets, or answers every GET with a page (`-www`). */
async function openssl(certPath: string, keyPath: string, ...more: string[]) {
  const child = Bun.spawn(
    ['openssl', 's_server', '-accept', '127.0.0.1:0', '-cert', certPath, '-key', keyPath, '-naccept', '1', ...more],
    { stdin: 'pipe', stdout: 'pipe', stderr: 'ignore' },
  )
  opened.defer(async () => {
    child.kill()
    await child.exited
  })
  const reader = child.stdout.getReader()
  let printed = ''
  /** What is printed up to the first match, or up to the end. */
  const until = async (pattern: RegExp): Promise<string> => {
    while (!pattern.test(printed)) {
      const { done, value } = await reader.read()
      if (done) break
      printed += Buffer.from(value).toString()
    }
    return printed
  }
  // Asked for port 0 it names the one it took.
  const port = Number(/ACCEPT .*:(\d+)\n/.exec(await until(/ACCEPT .*\n/))?.[1])
  return { port, until }
}

function clientOf(port: number, fingerprint: Fingerprint) {
  return opened.use(openClient({ server: new URL(`https://127.0.0.1:${port}`), fingerprint }))
}

async function refusalOf(answer: Promise<unknown>): Promise<string> {
  return answer.then(
    () => 'none',
    (error: unknown) => (error instanceof Refused ? error.refusal.code : String(error)),
  )
}

describe('openssl reads our certificate', () => {
  test('every field, its own signature, and the fingerprint as we print it', async () => {
    const dataDir = folder()
    const made = await openCertificate({
      dataDir,
      hosts: ['deploy.example', '192.0.2.1', '2001:db8::1'],
      clock: systemClock,
    })
    const path = join(dataDir, 'tls/cert.pem')
    const { out } = await run('openssl', 'x509', '-in', path, '-noout', '-text')
    for (const line of [
      'Version: 3 (0x2)',
      'Signature Algorithm: ecdsa-with-SHA256',
      'Issuer: CN = deploy.example',
      'Subject: CN = deploy.example',
      'ASN1 OID: prime256v1',
      'X509v3 Basic Constraints: critical\n                CA:FALSE',
      'X509v3 Key Usage: critical\n                Digital Signature\n',
      'TLS Web Server Authentication',
      'DNS:deploy.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
    ]) {
      expect(out).toContain(line)
    }
    expect(await run('openssl', 'verify', '-x509_strict', '-CAfile', path, path)).toMatchObject({ code: 0 })
    expect(
      await run('openssl', 'verify', '-check_ss_sig', '-purpose', 'sslserver', '-CAfile', path, path),
    ).toMatchObject({ code: 0 })
    const printed = await run('openssl', 'x509', '-in', path, '-noout', '-fingerprint', '-sha256')
    expect(parseFingerprint(printed.out)).toEqual({ ok: true, value: made.fingerprint })
    const nineYears = 9 * 365 * 86_400
    expect(await run('openssl', 'x509', '-in', path, '-noout', '-checkend', `${nineYears}`)).toMatchObject({ code: 0 })
    expect(
      await run('openssl', 'x509', '-in', path, '-noout', '-checkend', `${nineYears + 2 * 365 * 86_400}`),
    ).toMatchObject({ code: 1 })
  })

  test('the encoding is DER to the byte: openssl writes the same again, for many keys and serials', async () => {
    const dir = folder()
    const path = join(dir, 'cert.pem')
    for (let at = 0; at < 20; at += 1) {
      const { certPem } = makeCertificate([`host${at}.example`], systemClock)
      await Bun.write(path, certPem)
      expect((await run('openssl', 'x509', '-in', path)).out).toBe(certPem)
      expect(await run('openssl', 'verify', '-check_ss_sig', '-CAfile', path, path)).toMatchObject({ code: 0 })
    }
  })

  test('curl that trusts this certificate alone accepts the server by name and by address, and no other name', async () => {
    const dataDir = folder()
    const made = await openCertificate({ dataDir, hosts: ['deploy.example'], clock: systemClock })
    const tls = { cert: made.certPem, key: made.keyPem }
    const server = Bun.serve({ hostname: '127.0.0.1', port: 0, tls, fetch: () => new Response('hello') })
    opened.defer(() => server.stop(true))
    const get = (host: string) =>
      run(
        'curl',
        '-sS',
        '--noproxy',
        '*',
        '--cacert',
        join(dataDir, 'tls/cert.pem'),
        '--resolve',
        `${host}:${server.port}:127.0.0.1`,
        `https://${host}:${server.port}/`,
      )
    for (const host of ['deploy.example', 'localhost', '127.0.0.1'])
      expect(await get(host)).toEqual({ out: 'hello', err: '', code: 0 })
    expect((await get('other.example')).code).toBe(60)
  })
})

describe('our client at openssl s_server', () => {
  /** RSA, and over since 2002; of openssl's commands only `ca` sets both dates. */
  async function expired(): Promise<{
    readonly cert: string
    readonly key: string
    readonly fingerprint: Fingerprint
  }> {
    const dir = folder()
    const at = (name: string) => join(dir, name)
    await Bun.write(at('index'), '')
    await Bun.write(
      at('ca.cnf'),
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${at('index')}\nnew_certs_dir=${dir}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n`,
    )
    const request = await run(
      'openssl',
      'req',
      '-new',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-subj',
      '/CN=old',
      '-keyout',
      at('key'),
      '-out',
      at('csr'),
    )
    expect(request.code).toBe(0)
    const dates = ['-startdate', '20010101000000Z', '-enddate', '20020101000000Z']
    const signed = await run(
      ...['openssl', 'ca', '-batch', '-notext', '-selfsign', '-config', at('ca.cnf'), '-keyfile', at('key')],
      ...['-in', at('csr'), '-out', at('cert'), ...dates],
    )
    expect(signed).toMatchObject({ code: 0 })
    expect((await run('openssl', 'x509', '-in', at('cert'), '-noout', '-checkend', '0')).code).toBe(1)
    return { cert: at('cert'), key: at('key'), fingerprint: fingerprintOf(await Bun.file(at('cert')).text()) }
  }

  test.each([['-tls1_2'], ['-tls1_3']])('expired certificate, right pin, %s: the page comes', async (version) => {
    const { cert, key, fingerprint } = await expired()
    const server = await openssl(cert, key, '-www', version)
    const answer = await clientOf(server.port, fingerprint).fetch('/')
    expect(answer.status).toBe(200)
    expect(await answer.text()).toContain(version === '-tls1_2' ? 'TLSv1.2' : 'TLSv1.3')
  })

  test.each([['-tls1_2'], ['-tls1_3']])(
    'wrong certificate, %s: refused, and openssl prints no byte of ours',
    async (version) => {
      const { cert, key } = await expired()
      const wrong = fingerprintOf(makeCertificate([], systemClock).certPem)
      const server = await openssl(cert, key, version)
      const request = clientOf(server.port, wrong).fetch('/secret', { method: 'POST', body: 'secret' })
      expect(await refusalOf(request)).toBe('wrong-certificate')
      expect(await server.until(/never/)).not.toMatch(/POST|secret/)
    },
  )

  test('and prints them when the pin is right', async () => {
    const { cert, key, fingerprint } = await expired()
    const server = await openssl(cert, key)
    const abort = new AbortController()
    const request = clientOf(server.port, fingerprint).fetch('/shown', {
      method: 'POST',
      body: 'secret',
      signal: abort.signal,
    })
    const settled = refusalOf(request)
    expect(await server.until(/secret/)).toContain('POST /shown')
    abort.abort(new Error('seen'))
    expect(await settled).toContain('seen')
  })
})
