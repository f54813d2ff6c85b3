/** Which room of the page is open: `#/library`, `#/library/Office`. The address is the state, so that it can be sent on. */
import type { Role } from '../../src/base/principal.ts'

export const ROOMS = ['library', 'transmissions', 'jobs', 'trash', 'upkeep', 'audit', 'settings'] as const
export type Room = (typeof ROOMS)[number]

/** `below`: what of the room is shown, as a group of the library. */
export type Route = { readonly room: Room; readonly below?: string | undefined }

/** Rooms that only some may enter; the API says no to the others. */
export const NEEDS: Partial<Readonly<Record<Room, Role>>> = { audit: 'admin', settings: 'admin' }

export function parseRoute(hash: string): Route {
  const [, wanted, ...rest] = hash.split('/')
  const room = ROOMS.find((known) => known === wanted) ?? 'library'
  if (rest.length === 0 || room !== wanted) return { room }
  try {
    return { room, below: decodeURIComponent(rest.join('/')) }
  } catch {
    return { room }
  }
}

export function hrefOf({ room, below }: Route): string {
  return below === undefined ? `#/${room}` : `#/${room}/${encodeURIComponent(below)}`
}
