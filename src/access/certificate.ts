/**
 * The certificate of the HTTPS door: made once and kept for good, because clients pin it. An expired one is kept as
 * well (its date is reported, not acted on). An operator who has a certificate of his own names its two files instead.
 */
import { createPrivateKey, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto'
import { constants } from 'node:fs'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { isIP } from 'node:net'
import { hostname, networkInterfaces } from 'node:os'
import { dirname, join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { type Fingerprint, fingerprintOfDer } from '../base/fingerprint.ts'
import { Fault } from '../base/refusal.ts'
import { encodeSelfSigned } from './x509.ts'

const TEN_YEARS_MS = 3652 * 24 * 60 * 60 * 1000

export type ServerCertificate = {
  /** The certificate, with the chain below it if the operator's file holds one. */
  readonly certPem: string
  readonly keyPem: string
  readonly fingerprint: Fingerprint
  readonly notAfterMs: number
  readonly expired: boolean
}

export type CertificateOptions = {
  readonly dataDir: string
  /** Names and addresses that browsers reach the appliance by; the first is the subject. See `hostsOfThisMachine`. */
  readonly hosts: readonly string[]
  readonly clock: Clock
  /** The operator's own files, used as they are. */
  readonly own?: { readonly certPath: string; readonly keyPath: string }
}

/** Reads the certificate, after making it at the first start. What cannot be read or does not fit together is a Fault. */
export async function openCertificate(options: CertificateOptions): Promise<ServerCertificate> {
  if (options.own) return read(options.own.certPath, options.own.keyPath, options.clock)
  const certPath = join(options.dataDir, 'tls', 'cert.pem')
  const keyPath = join(options.dataDir, 'tls', 'key.pem')
  // The key is written first: a key alone is a start that was cut short, and nobody has seen its certificate.
  if (!(await exists(certPath))) {
    const made = makeCertificate(options.hosts, options.clock)
    await mkdir(dirname(certPath), { recursive: true, mode: 0o700 })
    await writeWhole(keyPath, made.keyPem, 0o600)
    await writeWhole(certPath, made.certPem, 0o644)
  }
  return read(certPath, keyPath, options.clock)
}

/** A fresh key and its self-signed certificate, valid for ten years from now. */
export function makeCertificate(
  hosts: readonly string[],
  clock: Clock,
): { readonly certPem: string; readonly keyPem: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const names = [...new Set([...hosts, 'localhost', '127.0.0.1', '::1'].map(withoutZone))].filter(isHost)
  const certificate = encodeSelfSigned({
    commonName: names.find((name) => name.length <= 64) ?? 'wimcast',
    hosts: names,
    serial: randomBytes(16),
    notBeforeMs: clock.nowMs(),
    notAfterMs: clock.nowMs() + TEN_YEARS_MS,
    publicKey,
    privateKey,
  })
  const lines = Buffer.from(certificate)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n')
  return {
    certPem: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}

/** Host name first, then every address that is up. */
export function hostsOfThisMachine(): readonly string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? [])
  return [hostname(), ...addresses.filter((entry) => !entry.internal).map((entry) => entry.address)]
}

/** `fe80::1%eth0`: a certificate has no place for the zone. */
function withoutZone(host: string): string {
  return host.replace(/%.*$/, '')
}

/** DNS names are ASCII letters, digits, hyphens and dots (RFC 1123 §2.1); other host names cannot be looked up anyway. */
function isHost(host: string): boolean {
  return (
    isIP(host) !== 0 ||
    /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i.test(host)
  )
}

async function exists(path: string): Promise<boolean> {
  try {
    await using _file = await open(path, constants.O_RDONLY)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw unusable(`"${path}" cannot be read`, error)
  }
}

/** Either the whole file is there under its name, or it is not there: temporary file, fsync, rename, fsync of the folder. */
async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.new`
  await rm(temporary, { force: true })
  {
    await using file = await open(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, mode)
    await file.writeFile(text)
    await file.sync()
  }
  await rename(temporary, path)
  await using folder = await open(dirname(path), constants.O_RDONLY)
  await folder.sync()
}

async function read(certPath: string, keyPath: string, clock: Clock): Promise<ServerCertificate> {
  try {
    const [certPem, keyPem] = await Promise.all([readFile(certPath, 'utf8'), readFile(keyPath, 'utf8')])
    const certificate = new X509Certificate(certPem)
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem)))
      throw new Error('the key is not the key of the certificate')
    const notAfterMs = Date.parse(certificate.validTo)
    const expired = notAfterMs < clock.nowMs()
    return { certPem, keyPem, fingerprint: fingerprintOfDer(certificate.raw), notAfterMs, expired }
  } catch (error) {
    throw unusable(`certificate "${certPath}" with key "${keyPath}" cannot be used`, error)
  }
}

function unusable(message: string, cause: unknown): Fault {
  const hint =
    'Restore both files as PEM. To make a new pair instead, remove tls/ from the data folder: ' +
    'every client must then be given the new fingerprint.'
  return new Fault(message, { hint, cause })
}
