/** Who asks. Every request on every transport has a principal, from the first line on. */
import { foldCase } from './fold.ts'

export const ROLES = ['viewer', 'operator', 'admin'] as const
export type Role = (typeof ROLES)[number]

export type Principal =
  /** Plain HTTP and TFTP: nobody in particular; may see what is marked public. */
  | { readonly kind: 'anonymous'; readonly door: 'http' | 'https' | 'tftp'; readonly address: string }
  /** The unix socket: root or a member of the service's group. */
  | { readonly kind: 'local'; readonly role: 'admin' }
  | {
      readonly kind: 'token'
      readonly name: string
      readonly role: Role
      /** Machines that carry the token belong to these groups. */
      readonly machineGroups: readonly string[]
      readonly address: string
    }
  /** The appliance itself: what it does by schedule. */
  | { readonly kind: 'appliance'; readonly role: 'admin' }

export const APPLIANCE: Principal = { kind: 'appliance', role: 'admin' }

/** The order of ROLES is the order of power. */
export function mayActAs(who: Principal, role: Role): boolean {
  if (who.kind === 'anonymous') return false
  return ROLES.indexOf(who.role) >= ROLES.indexOf(role)
}

/** For the audit trail and job rows: `local`, `token:backup`, `anonymous`. */
export function nameOf(who: Principal): string {
  return who.kind === 'token' ? `token:${who.name}` : who.kind
}

/** Who may see a thing, besides admins: the named roles, and the machines of the named groups. */
export type Audience = { readonly roles: readonly Role[]; readonly machineGroups: readonly string[] }

/** All of the audiences must admit (a group's and an image's); null admits everybody who is signed in. */
export function maySee(who: Principal, ...audiences: readonly (Audience | null)[]): boolean {
  if (who.kind === 'anonymous') return false
  if (who.role === 'admin') return true
  const groups = who.kind === 'token' ? who.machineGroups : []
  return audiences.every(
    (audience) =>
      audience === null ||
      audience.roles.includes(who.role) ||
      audience.machineGroups.some((wanted) => groups.some((group) => foldCase(group) === foldCase(wanted))),
  )
}
