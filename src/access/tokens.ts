/**
 * Bearer tokens: `wimcast_<id>_<secret>` (RFC 6750). The id finds the row; of the secret only the SHA-256 is kept, which
 * is enough because the secret is 256 random bits and not a password. A token is shown once, when it is made, and is
 * taken from the Authorization header over HTTPS only: never from a URL, where logs and histories would keep it.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import type { Principal, Role } from '../base/principal.ts'
import { type Refusal, refuse } from '../base/refusal.ts'
import { type Err, ok, type Result } from '../base/result.ts'

export type TokenRow = {
  /** 16 hex digits, public. */
  readonly id: string
  /** NFC, unique among the tokens that are not revoked. */
  readonly name: string
  readonly role: Role
  readonly machineGroups: readonly string[]
  /** SHA-256 of the secret, 64 hex digits. */
  readonly secretSha256: string
  readonly createdAtMs: number
  readonly revokedAtMs?: number | undefined
  readonly usedAtMs?: number | undefined
  readonly usedFrom?: string | undefined
}

/** Implemented by the database. Calls are local and short, so they do not wait. */
export type TokenStore = {
  /** Refuses with `exists` when a live token has the name. */
  readonly insert: (row: TokenRow) => Result<void>
  /** Revoked rows too: the caller decides. */
  readonly findById: (id: string) => TokenRow | undefined
  readonly list: () => readonly TokenRow[]
  /** By name, among the live ones; refuses with `not-found`. */
  readonly revoke: (name: string, atMs: number) => Result<void>
  readonly touch: (id: string, atMs: number, address: string) => void
}

/** How often a token in use is marked as used: a write per request would cost more than the request. A clock that jumped
 * back marks it as well. */
const TOUCH_EVERY_MS = 60_000
const NAME_LENGTH = 64
const TOKEN = /^wimcast_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/
/** The scheme is case-insensitive (RFC 9110 §11.1), the rest is one token68 (RFC 6750 §2.1). */
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i
/** Control and format characters (the latter reverse or hide what follows them), line breaks, halves of surrogate pairs. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u

export function parseTokenName(text: string): Result<string> {
  const name = text.normalize('NFC')
  const hint = `Use 1 to ${NAME_LENGTH} characters, none of them a control character, no space at either end.`
  // As a part of a path these mean a folder (RFC 3986 §5.2.4): such a token could not be revoked.
  if (name === '.' || name === '..') return refuse('bad-name', `"${name}" cannot be a token's name`, hint)
  if (name === '' || [...name].length > NAME_LENGTH || name !== name.trim() || UNPRINTABLE.test(name)) {
    return refuse('bad-name', `${JSON.stringify(text)} cannot be a token's name`, hint)
  }
  return ok(name)
}

/** As audiences name them: what has a space at its end here would never match. */
function parseMachineGroups(texts: readonly string[]): Result<readonly string[]> {
  const names = texts.map((text) => text.trim().normalize('NFC'))
  const wrong = names.findIndex((name) => name === '' || UNPRINTABLE.test(name))
  if (wrong < 0) return ok([...new Set(names)])
  const text = JSON.stringify(texts[wrong]?.slice(0, 80))
  return refuse('bad-name', `${text} cannot be a machine group's name`, 'Name it as --visible-to does: Lab 1.')
}

/** Makes a token: the row to insert, and the text to show once. */
export function newToken(
  wanted: { readonly name: string; readonly role: Role; readonly machineGroups?: readonly string[] | undefined },
  clock: Clock,
): Result<{ readonly row: TokenRow; readonly text: string }> {
  const name = parseTokenName(wanted.name)
  if (!name.ok) return name
  const machineGroups = parseMachineGroups(wanted.machineGroups ?? [])
  if (!machineGroups.ok) return machineGroups
  const id = randomBytes(8).toString('hex')
  const secret = randomBytes(32).toString('base64url')
  const row = {
    id,
    name: name.value,
    role: wanted.role,
    machineGroups: machineGroups.value,
    secretSha256: sha256(secret).toString('hex'),
    createdAtMs: clock.nowMs(),
  }
  return ok({ row, text: `wimcast_${id}_${secret}` })
}

/** Takes a token text apart; for `--token-file` too, where a wrong file should be told before anything is sent. */
export function parseToken(text: string): Result<{ readonly id: string; readonly secret: string }> {
  const [, id, secret] = TOKEN.exec(text) ?? []
  if (id === undefined || secret === undefined) return notSignedIn('the token is malformed')
  return ok({ id, secret })
}

/**
 * Who sends this Authorization header. Without one: anonymous. A header that does not hold is refused, never taken for
 * anonymous: the caller meant to be somebody.
 */
export function principalOf(
  authorization: string | undefined,
  store: Pick<TokenStore, 'findById' | 'touch'>,
  clock: Clock,
  from: { readonly door: 'http' | 'https'; readonly address: string },
): Result<Principal> {
  if (authorization === undefined) return ok({ kind: 'anonymous', door: from.door, address: from.address })
  if (from.door === 'http') {
    const hint = 'Use the https:// address. Revoke this token: it crossed the network in clear.'
    return refuse('not-signed-in', 'tokens are not taken over plain HTTP', hint)
  }
  const bearer = BEARER.exec(authorization)?.[1]
  if (bearer === undefined) return notSignedIn('the Authorization header holds no bearer token')
  const token = parseToken(bearer)
  if (!token.ok) return token
  const row = store.findById(token.value.id)
  // One sentence for unknown and wrong: the answer does not tell which ids exist.
  if (!row || !timingSafeEqual(sha256(token.value.secret), Buffer.from(row.secretSha256, 'hex'))) {
    return notSignedIn('the token is unknown')
  }
  if (row.revokedAtMs !== undefined) return notSignedIn(`the token "${row.name}" is revoked`)
  const nowMs = clock.nowMs()
  if (row.usedAtMs === undefined || Math.abs(nowMs - row.usedAtMs) >= TOUCH_EVERY_MS) {
    store.touch(row.id, nowMs, from.address)
  }
  return ok({
    kind: 'token',
    name: row.name,
    role: row.role,
    machineGroups: row.machineGroups,
    address: from.address,
  })
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function notSignedIn(message: string): Err<Refusal> {
  return refuse('not-signed-in', message, 'Send "Authorization: Bearer wimcast_…"; `wimcast token new` makes one.')
}
