/** The certificate that is made once: kept byte for byte, read with Bun's own X.509 reader. */
import { afterEach, describe, expect, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostsOfThisMachine, makeCertificate, openCertificate } from '../../src/access/certificate.ts'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { fingerprintOf, parseFingerprint } from '../../src/base/fingerprint.ts'
import { Fault } from '../../src/base/refusal.ts'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'wimcast-certificate-'))
  folders.push(made)
  return made
}

function clockAt(date: string): Clock {
  return { nowMs: () => Date.parse(date), monotonicMs: () => 0 }
}

const hosts = ['deploy.example', '192.0.2.1', '2001:db8::1']

describe('the kept certificate', () => {
  test('is made at the first start, and the same at the next', async () => {
    const dataDir = folder()
    const first = await openCertificate({ dataDir, hosts, clock: systemClock })
    const second = await openCertificate({ dataDir, hosts: ['other.example'], clock: systemClock })
    expect(second).toEqual(first)
    expect(readFileSync(join(dataDir, 'tls/cert.pem'), 'utf8')).toBe(first.certPem)
    expect(statSync(join(dataDir, 'tls/key.pem')).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(dataDir, 'tls')).sort()).toEqual(['cert.pem', 'key.pem'])
    expect(first.expired).toBe(false)
    expect(first.fingerprint).toBe(fingerprintOf(first.certPem))
  })

  test('is kept when it has expired, and says so', async () => {
    const dataDir = folder()
    const made = await openCertificate({ dataDir, hosts, clock: clockAt('2001-01-01T00:00:00Z') })
    expect(made.expired).toBe(false)
    const kept = await openCertificate({ dataDir, hosts, clock: systemClock })
    expect(kept).toEqual({ ...made, expired: true })
    expect(new Date(kept.notAfterMs).toISOString()).toBe('2011-01-01T00:00:00.000Z')
  })

  test('a first start that was cut short leaves nothing in the way', async () => {
    const dataDir = folder()
    await openCertificate({ dataDir, hosts, clock: systemClock })
    rmSync(join(dataDir, 'tls/cert.pem'))
    writeFileSync(join(dataDir, 'tls/cert.pem.new'), 'half')
    writeFileSync(join(dataDir, 'tls/key.pem.new'), 'half')
    chmodSync(join(dataDir, 'tls/key.pem.new'), 0o644)
    await openCertificate({ dataDir, hosts, clock: systemClock })
    expect(readdirSync(join(dataDir, 'tls')).sort()).toEqual(['cert.pem', 'key.pem'])
    expect(statSync(join(dataDir, 'tls/key.pem')).mode & 0o777).toBe(0o600)
  })

  test.each<[string, (tls: string) => void]>([
    ['the key is gone', (tls) => rmSync(join(tls, 'key.pem'))],
    [
      'the key is of another certificate',
      (tls) => writeFileSync(join(tls, 'key.pem'), makeCertificate([], systemClock).keyPem),
    ],
    [
      'the certificate is cut',
      (tls) => writeFileSync(join(tls, 'cert.pem'), readFileSync(join(tls, 'cert.pem')).subarray(0, 200)),
    ],
    ['the certificate is empty', (tls) => writeFileSync(join(tls, 'cert.pem'), '')],
  ])('%s: a fault, and nothing is made in its place', async (_, damage) => {
    const dataDir = folder()
    await openCertificate({ dataDir, hosts, clock: systemClock })
    damage(join(dataDir, 'tls'))
    const before = existsSync(join(dataDir, 'tls/cert.pem')) && readFileSync(join(dataDir, 'tls/cert.pem'), 'utf8')
    const opened = openCertificate({ dataDir, hosts, clock: systemClock })
    expect(await opened.catch((error: unknown) => error)).toBeInstanceOf(Fault)
    expect(readFileSync(join(dataDir, 'tls/cert.pem'), 'utf8')).toBe(before || '')
  })

  test("the operator's own files are used, and nothing is made", async () => {
    const dataDir = folder()
    const elsewhere = await openCertificate({ dataDir: folder(), hosts, clock: systemClock })
    const certPath = join(dataDir, 'own.pem')
    const keyPath = join(dataDir, 'own.key')
    writeFileSync(certPath, elsewhere.certPem + makeCertificate(['issuer.example'], systemClock).certPem)
    writeFileSync(keyPath, elsewhere.keyPem)
    const opened = await openCertificate({ dataDir, hosts, clock: systemClock, own: { certPath, keyPath } })
    expect(opened.fingerprint).toBe(elsewhere.fingerprint)
    expect(existsSync(join(dataDir, 'tls'))).toBe(false)
  })
})

describe('what is in it', () => {
  test.each([
    ['2026-05-06T07:08:09.999Z', '2026-05-06T07:08:09.000Z', '2036-05-05T07:08:09.000Z'],
    ['2039-12-31T23:59:59Z', '2039-12-31T23:59:59.000Z', '2049-12-30T23:59:59.000Z'],
    ['2045-01-01T00:00:00Z', '2045-01-01T00:00:00.000Z', '2055-01-01T00:00:00.000Z'],
    ['2051-01-01T00:00:00Z', '2051-01-01T00:00:00.000Z', '2060-12-31T00:00:00.000Z'],
  ])('made at %s: valid from %s to %s', (now, from, to) => {
    const read = new X509Certificate(makeCertificate(hosts, clockAt(now)).certPem)
    expect([read.validFrom, read.validTo].map((date) => new Date(date).toISOString())).toEqual([from, to])
    expect(read.verify(read.publicKey)).toBe(true)
  })

  test.each([
    ['2001:db8::1', '2001:DB8:0:0:0:0:0:1'],
    ['::', '0:0:0:0:0:0:0:0'],
    ['fe80::1%eth0', 'FE80:0:0:0:0:0:0:1'],
    ['1::', '1:0:0:0:0:0:0:0'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['::ffff:192.0.2.1', '0:0:0:0:0:FFFF:C000:201'],
  ])('address %s is %s', (host, shown) => {
    const read = new X509Certificate(makeCertificate([host], systemClock).certPem)
    expect(read.subjectAltName?.split(', ')[0]).toBe(`IP Address:${shown}`)
  })

  test('names that DNS cannot hold are left out; localhost is always in', () => {
    const read = new X509Certificate(makeCertificate(['Rechner Ä', '', 'a..b', 'x'.repeat(80)], systemClock).certPem)
    expect(read.subject).toBe('CN=localhost')
    expect(read.subjectAltName).toBe(
      `DNS:${'x'.repeat(80)}, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1`,
    )
  })

  test('this machine has hosts that fit', () => {
    expect(hostsOfThisMachine()[0]).toBeString()
    expect(new X509Certificate(makeCertificate(hostsOfThisMachine(), systemClock).certPem).subjectAltName).toContain(
      'localhost',
    )
  })
})

describe('fingerprints', () => {
  const digits = '0123456789abcdef'.repeat(4)
  const colons = digits.toUpperCase().replace(/..(?=.)/g, '$&:')
  test.each([
    digits,
    digits.toUpperCase(),
    colons,
    colons.toLowerCase(),
    ` ${digits}\n`,
    `sha256 Fingerprint=${colons}`,
    `SHA256:${digits}`,
  ])('%j is accepted', (text) => {
    expect(parseFingerprint(text)).toMatchObject({ ok: true, value: digits })
  })
  test.each([
    '',
    digits.slice(1),
    `${digits}0`,
    `g${digits.slice(1)}`,
    colons.slice(3),
    `${colons}:`,
    digits.slice(0, 40),
    colons.replace(':', ''),
  ])('%j is refused', (text) => {
    expect(parseFingerprint(text)).toMatchObject({ ok: false, error: { code: 'bad-request' } })
  })
})
