/** What the page knows, as one value that is replaced; and the few ways in which it changes. */
import { ROLES, type Role } from '../../src/base/principal.ts'
import type { Cast, Group, Image, Job, Me, Refusal, Version } from './api.ts'

export type Connection = 'connecting' | 'live' | 'offline'

export type Dialog =
  | { readonly kind: 'copy'; readonly image: Image }
  | { readonly kind: 'remove'; readonly image: Image; readonly others: number }
  | { readonly kind: 'transmit'; readonly image: Image }
  | { readonly kind: 'stop'; readonly cast: Cast }

export type Notice = {
  readonly id: number
  readonly kind: 'done' | 'refused'
  readonly message: string
  readonly hint?: string
  readonly code?: string
}

export type Session = { readonly me: Me; readonly version: Version }

export type State = {
  /** Absent: the sign-in form is shown. */
  readonly session?: Session | undefined
  readonly signingIn: boolean
  readonly signInRefusal?: Refusal | undefined
  readonly connection: Connection
  /** Absent until they have come for the first time. */
  readonly groups?: readonly Group[] | undefined
  readonly images?: readonly Image[] | undefined
  readonly jobs: readonly Job[]
  readonly casts: readonly Cast[]
  readonly notices: readonly Notice[]
  readonly dialog?: Dialog | undefined
}

const EMPTY: State = { signingIn: false, connection: 'connecting', jobs: [], casts: [], notices: [] }

let state = EMPTY
const listeners = new Set<() => void>()

export function read(): State {
  return state
}

export function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export function change(part: Partial<State>): void {
  state = { ...state, ...part }
  for (const listener of listeners) listener()
}

export function forget(signInRefusal?: Refusal): void {
  change({ ...EMPTY, session: undefined, groups: undefined, images: undefined, dialog: undefined, signInRefusal })
}

/** Newest first, as the API lists them; a known one is replaced. */
export function placed<T extends { readonly id: number }>(list: readonly T[], one: T): readonly T[] {
  const at = list.findIndex((other) => other.id === one.id)
  return at < 0 ? [one, ...list].sort((a, b) => b.id - a.id) : list.with(at, one)
}

let lastNotice = 0
const KEPT_NOTICES = 4
/** What went well goes by itself: the page shows it anyway. A refusal waits until it is read. */
const DONE_NOTICE_MS = 10_000

export function tell(message: string): void {
  lastNotice += 1
  const id = lastNotice
  setTimeout(() => dismiss(id), DONE_NOTICE_MS)
  change({ notices: [...state.notices, { id, kind: 'done' as const, message }].slice(-KEPT_NOTICES) })
}

export function tellRefusal({ message, hint, code }: Refusal): void {
  lastNotice += 1
  change({
    notices: [...state.notices, { id: lastNotice, kind: 'refused' as const, message, hint, code }].slice(-KEPT_NOTICES),
  })
}

export function dismiss(id: number): void {
  change({ notices: state.notices.filter((notice) => notice.id !== id) })
}

export function mayAct(session: Session | undefined, role: Role): boolean {
  return session !== undefined && ROLES.indexOf(session.me.role) >= ROLES.indexOf(role)
}
