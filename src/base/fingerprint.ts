/**
 * A certificate's fingerprint: SHA-256 over its DER form, as `openssl x509 -fingerprint -sha256` prints it. It is
 * all the trust a client needs: name, issuer and dates of a pinned certificate are not looked at.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { refuse } from './refusal.ts'
import { ok, type Result } from './result.ts'

declare const brand: unique symbol
/** 64 lower-case hex digits; made only here. */
export type Fingerprint = string & { readonly [brand]: 'fingerprint' }

export function fingerprintOfDer(der: Uint8Array): Fingerprint {
  return createHash('sha256').update(der).digest('hex') as Fingerprint
}

/** Of the first certificate in the text: in a chain that is the server's own (RFC 8446 §4.4.2). Throws on other text. */
export function fingerprintOf(certPem: string): Fingerprint {
  return fingerprintOfDer(new X509Certificate(certPem).raw)
}

/** Accepts `ab12…`, `AB:12:…` and the whole line that openssl prints (`sha256 Fingerprint=AB:12:…`). */
export function parseFingerprint(text: string): Result<Fingerprint> {
  const digits = /^(?:sha-?256(?: fingerprint)?[=:]\s*)?((?:[0-9a-f]{2}:){31}[0-9a-f]{2}|[0-9a-f]{64})$/i.exec(
    text.trim(),
  )?.[1]
  if (digits === undefined) {
    return refuse(
      'bad-request',
      `"${text}" is not a SHA-256 fingerprint`,
      'Write 64 hex digits, with or without colons, as the appliance prints them at start.',
    )
  }
  return ok(digits.replaceAll(':', '').toLowerCase() as Fingerprint)
}
