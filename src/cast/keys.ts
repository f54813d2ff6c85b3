/**
 * Keys of a transmission, all from one secret that only the server has. Clients get theirs over HTTPS.
 * A report key follows from the client's id, so a restarted server knows its clients' reports without a table of them.
 */
import { hkdfSync } from 'node:crypto'

function derive(secret: Uint8Array, root: Uint8Array, info: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, root, info, 32))
}

/** Seals beacons and byes. Every client has it, so it keeps strangers out, not clients. */
export function sessionKey(secret: Uint8Array, root: Uint8Array): Uint8Array {
  return derive(secret, root, 'wimcast session')
}

/** Seals one client's reports. */
export function reportKey(secret: Uint8Array, root: Uint8Array, clientId: number): Uint8Array {
  return derive(secret, root, `wimcast report ${clientId}`)
}
