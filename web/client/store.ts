/** What the page knows, as one value that is replaced; and the few ways in which it changes. */
import type { Child } from 'hono/jsx/dom'
import { ROLES, type Role } from '../../src/base/principal.ts'
import type {
  AuditLine,
  AuditQuery,
  Backup,
  Cast,
  Group,
  Health,
  Image,
  Job,
  Me,
  Refusal,
  Setting,
  TrashItem,
  Version,
} from './api.ts'
import { parseRoute, type Route } from './route.ts'

export type Connection = 'connecting' | 'live' | 'offline'

/** Rendered anew each time: an element may not be in the page twice. */
export type Dialog = { readonly id: number; readonly render: () => Child }

export type Action = { readonly label: string; readonly run: () => void }

export type Notice = {
  readonly id: number
  readonly kind: 'done' | 'refused' | 'working'
  readonly message: string
  readonly hint?: string | undefined
  readonly code?: string | undefined
  /** Offered right there: to take it back, say. */
  readonly action?: Action | undefined
  /** Of what is under way, in bytes. */
  readonly progress?: { readonly done: number; readonly total: number } | undefined
}

export type Session = { readonly me: Me; readonly version: Version }

/** The newest lines that match, and whether there are older ones. */
export type AuditPage = { readonly query: AuditQuery; readonly lines: readonly AuditLine[]; readonly more: boolean }

/** Absent until they have come for the first time. */
export type Known = {
  readonly groups?: readonly Group[] | undefined
  readonly images?: readonly Image[] | undefined
  readonly trash?: readonly TrashItem[] | undefined
  readonly health?: Health | undefined
  readonly backups?: readonly Backup[] | undefined
  readonly settings?: readonly Setting[] | undefined
  readonly audit?: AuditPage | undefined
}

export type State = Known & {
  /** Absent: the sign-in form is shown. */
  readonly session?: Session | undefined
  readonly signingIn: boolean
  readonly signInRefusal?: Refusal | undefined
  readonly connection: Connection
  readonly route: Route
  readonly jobs: readonly Job[]
  readonly casts: readonly Cast[]
  readonly notices: readonly Notice[]
  readonly dialog?: Dialog | undefined
}

const NOTHING = {
  groups: undefined,
  images: undefined,
  trash: undefined,
  health: undefined,
  backups: undefined,
  settings: undefined,
  audit: undefined,
  session: undefined,
  dialog: undefined,
} satisfies { readonly [K in keyof Known | 'session' | 'dialog']: undefined }

const EMPTY = { signingIn: false, connection: 'connecting', jobs: [], casts: [], notices: [] } as const

let state: State = { ...EMPTY, route: parseRoute(location.hash) }
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
  change({ ...NOTHING, ...EMPTY, signInRefusal })
}

/** Newest first, as the API lists them; a known one is replaced. */
export function placed<T extends { readonly id: number }>(list: readonly T[], one: T): readonly T[] {
  const at = list.findIndex((other) => other.id === one.id)
  return at < 0 ? [one, ...list].sort((a, b) => b.id - a.id) : list.with(at, one)
}

let lastDialog = 0

export function show(render: () => Child): void {
  lastDialog += 1
  change({ dialog: { id: lastDialog, render } })
}

let lastNotice = 0
const KEPT_NOTICES = 4
/** What went well goes by itself: the page shows it anyway. A refusal waits until it is read. */
const DONE_NOTICE_MS = 6000
/** Long enough to see the mistake, and to press the button. */
const ACTION_NOTICE_MS = 30_000

function add(notice: Omit<Notice, 'id'>): number {
  lastNotice += 1
  change({ notices: [...state.notices, { ...notice, id: lastNotice }].slice(-KEPT_NOTICES) })
  return lastNotice
}

export function tell(message: string, action?: Action): void {
  const id = add({ kind: 'done', message, action })
  setTimeout(() => dismiss(id), action ? ACTION_NOTICE_MS : DONE_NOTICE_MS)
}

export function tellRefusal({ message, hint, code }: Refusal): void {
  add({ kind: 'refused', message, hint, code })
}

/** For what takes a while in this very tab. Tells how far it is, until it is dismissed. */
export function tellWorking(
  message: string,
  action: Action,
): { readonly id: number; readonly at: (done: number, total: number) => void } {
  const id = add({ kind: 'working', message, action, progress: { done: 0, total: 0 } })
  const at = (done: number, total: number): void =>
    change({ notices: state.notices.map((one) => (one.id === id ? { ...one, progress: { done, total } } : one)) })
  return { id, at }
}

export function dismiss(id: number): void {
  change({ notices: state.notices.filter((notice) => notice.id !== id) })
}

export function mayAct(session: Session | undefined, role: Role): boolean {
  return session !== undefined && ROLES.indexOf(session.me.role) >= ROLES.indexOf(role)
}
