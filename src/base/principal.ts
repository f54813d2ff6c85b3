/** Who asks. Every request on every transport has a principal, from the first line on. */

export const ROLES = ['viewer', 'operator', 'admin'] as const
export type Role = (typeof ROLES)[number]

export type Principal =
  /** Plain HTTP and TFTP: nobody in particular; may see what is marked public. */
  | { readonly kind: 'anonymous'; readonly door: 'http' | 'https' | 'tftp'; readonly address: string }
  /** The unix socket: root or a member of the service's group. */
  | { readonly kind: 'local'; readonly role: 'admin' }
  | { readonly kind: 'token'; readonly name: string; readonly role: Role; readonly address: string }

/** The order of ROLES is the order of power. */
export function mayActAs(who: Principal, role: Role): boolean {
  if (who.kind === 'anonymous') return false
  return ROLES.indexOf(who.role) >= ROLES.indexOf(role)
}

/** For the audit trail and job rows: `local`, `token:backup`, `anonymous`. */
export function nameOf(who: Principal): string {
  return who.kind === 'token' ? `token:${who.name}` : who.kind
}
