/**
 * Encodes one kind of X.509 certificate: self-signed, ECDSA P-256 with SHA-256, for a TLS server (RFC 5280, RFC 5758
 * §3.2). DER is the encoding (X.690): tag, length, value, and nothing optional. Does not read certificates.
 *
 *   Certificate = SEQUENCE { tbs, signatureAlgorithm, BIT STRING signature }
 *   tbs         = SEQUENCE { [0] v3, serial, algorithm, issuer, { notBefore, notAfter }, subject, publicKey, [3] extensions }
 */
import { type KeyObject, sign } from 'node:crypto'
import { isIPv4, isIPv6 } from 'node:net'

const INTEGER = 0x02
const BIT_STRING = 0x03
const OCTET_STRING = 0x04
const OBJECT_IDENTIFIER = 0x06
const UTF8_STRING = 0x0c
const UTC_TIME = 0x17
const GENERALIZED_TIME = 0x18
const SEQUENCE = 0x30
const SET = 0x31
/** [n], constructed: explicit tags of RFC 5280 §4.1. */
const EXPLICIT = 0xa0
/** [n], primitive: the choices of GeneralName (RFC 5280 §4.2.1.6). */
const DNS_NAME = 0x82
const IP_ADDRESS = 0x87

const TRUE = Uint8Array.of(0x01, 0x01, 0xff)

function der(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = Buffer.concat(parts)
  const size = value.byteLength
  if (size > 0xffff) throw new RangeError(`${size} bytes do not fit a certificate`)
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff]
  return Buffer.concat([Uint8Array.of(tag, ...length), value])
}

/** Positive and without leading zeros, as DER wants them. */
function unsigned(bytes: Uint8Array): Uint8Array {
  const first = bytes.findIndex((byte) => byte !== 0)
  const digits = first < 0 ? Uint8Array.of(0) : bytes.subarray(first)
  return (digits[0] ?? 0) & 0x80 ? der(INTEGER, Uint8Array.of(0), digits) : der(INTEGER, digits)
}

function oid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const arc of rest) {
    const septets = [arc & 0x7f]
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      septets.unshift((left & 0x7f) | 0x80)
    bytes.push(...septets)
  }
  return der(OBJECT_IDENTIFIER, Uint8Array.from(bytes))
}

/** Whole seconds; UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5). */
function time(epochMs: number): Uint8Array {
  const digits = new Date(epochMs).toISOString().replace(/\.\d+Z$|[-:T]/g, '')
  const early = new Date(epochMs).getUTCFullYear() < 2050
  return der(early ? UTC_TIME : GENERALIZED_TIME, Buffer.from(`${early ? digits.slice(2) : digits}Z`))
}

/** Four or sixteen bytes in network order (RFC 5280 §4.2.1.6). */
function addressBytes(address: string): Uint8Array {
  if (isIPv4(address)) return Uint8Array.from(address.split('.').map(Number))
  // The URL parser writes every IPv6 form, dotted tails included, as hex groups with at most one `::` (RFC 5952).
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right]
  return Uint8Array.from(
    groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  )
}

function generalName(host: string): Uint8Array {
  return isIPv4(host) || isIPv6(host) ? der(IP_ADDRESS, addressBytes(host)) : der(DNS_NAME, Buffer.from(host, 'ascii'))
}

function extension(id: string, critical: boolean, value: Uint8Array): Uint8Array {
  return der(SEQUENCE, oid(id), ...(critical ? [TRUE] : []), der(OCTET_STRING, value))
}

export type CertificateFields = {
  /** Up to 64 characters (RFC 5280 appendix A, ub-common-name). */
  readonly commonName: string
  /** ASCII host names and IP addresses, without zone. */
  readonly hosts: readonly string[]
  /** Up to 20 bytes, unsigned (RFC 5280 §4.1.2.2). */
  readonly serial: Uint8Array
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

/** The signed certificate in DER. The key must be EC P-256. */
export function encodeSelfSigned(fields: CertificateFields): Uint8Array {
  const algorithm = der(SEQUENCE, oid('1.2.840.10045.4.3.2')) // ecdsa-with-SHA256
  const commonName = der(SEQUENCE, oid('2.5.4.3'), der(UTF8_STRING, Buffer.from(fields.commonName)))
  const name = der(SEQUENCE, der(SET, commonName))
  const tbs = der(
    SEQUENCE,
    der(EXPLICIT | 0, unsigned(Uint8Array.of(2))),
    unsigned(fields.serial),
    algorithm,
    name,
    der(SEQUENCE, time(fields.notBeforeMs), time(fields.notAfterMs)),
    name,
    fields.publicKey.export({ type: 'spki', format: 'der' }),
    der(
      EXPLICIT | 3,
      der(
        SEQUENCE,
        extension('2.5.29.19', true, der(SEQUENCE)), // basicConstraints: not a CA
        extension('2.5.29.15', true, der(BIT_STRING, Uint8Array.of(7, 0x80))), // keyUsage: digitalSignature
        extension('2.5.29.37', false, der(SEQUENCE, oid('1.3.6.1.5.5.7.3.1'))), // extKeyUsage: serverAuth
        extension('2.5.29.17', false, der(SEQUENCE, ...fields.hosts.map(generalName))), // subjectAltName
      ),
    ),
  )
  const signature = sign('sha256', tbs, fields.privateKey)
  return der(SEQUENCE, tbs, algorithm, der(BIT_STRING, Uint8Array.of(0), signature))
}
