/**
 * Which group and port a transmission takes. The pool is 239.192.0.0/14 (organisation-local scope, RFC 2365 §6.2).
 * Ethernet carries only the low 23 bits of a group (RFC 1112 §6.4), so groups differ in those; with this pool no
 * group shares them with 224.0.0.0/24, which switches flood.
 */
export type Endpoint = { readonly group: string; readonly port: number }

const POOL_BASE = 0xefc0_0000
const POOL_SIZE = 1 << 18
/** Stands for the pool where only the way to it matters. */
export const ANY_GROUP = '239.192.0.1'
export const FIRST_PORT = 9700
export const PORTS = 200

function text(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.')
}

export function low23(group: string): number {
  const [, b = 0, c = 0, d = 0] = group.split('.').map(Number)
  return ((b & 0x7f) << 16) | (c << 8) | d
}

export function isMulticast(group: string): boolean {
  const parts = group.split('.')
  if (parts.length !== 4 || !parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) <= 255)) return false
  const first = Number(parts[0])
  return first >= 224 && first <= 239
}

export function overlaps(one: Endpoint, other: Endpoint): boolean {
  return one.port === other.port || low23(one.group) === low23(other.group)
}

/** A free endpoint, searched from a place that `seed` chooses, so that a group is not reused at once. */
export function allocate(taken: readonly Endpoint[], seed: number): Endpoint | undefined {
  for (let step = 0; step < PORTS; step += 1) {
    const group = text(POOL_BASE + ((seed + step * 257) % POOL_SIZE))
    const port = FIRST_PORT + ((seed + step) % PORTS)
    const candidate = { group, port }
    if (!taken.some((other) => overlaps(candidate, other))) return candidate
  }
  return undefined
}
