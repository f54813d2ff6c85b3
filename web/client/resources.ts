/**
 * Lists that the feed does not carry: asked for when it says that they may have changed, and when their room is entered.
 * Of several questions the last one wins.
 */
import type { Result } from '../../src/base/result.ts'
import type { ApiClient, AuditQuery, Refusal } from './api.ts'
import { NEEDS, type Room } from './route.ts'
import { change, type Known, mayAct, read } from './store.ts'

export type Resource = Exclude<keyof Known, 'groups'>

/** What a room shows, besides what is always kept: images and the trash. */
const SHOWN: Partial<Readonly<Record<Room, readonly Resource[]>>> = {
  upkeep: ['health', 'backups'],
  audit: ['audit'],
  settings: ['settings'],
}

const AUDIT_LINES = 100

export type Resources = {
  /** Soon, once for all who ask meanwhile. */
  readonly refresh: (...wanted: readonly Resource[]) => void
  /** What the open room shows. */
  readonly refreshRoom: () => void
  readonly olderAudit: () => Promise<void>
  readonly filterAudit: (query: AuditQuery) => Promise<void>
}

export function openResources(api: ApiClient, signal: AbortSignal): Resources {
  const asked = new Map<Resource, number>()
  const running = new Set<Resource>()
  const again = new Set<Resource>()

  async function load<K extends Resource>(key: K, ask: Promise<Result<Known[K], Refusal>>): Promise<void> {
    const mine = (asked.get(key) ?? 0) + 1
    asked.set(key, mine)
    const answer = await ask
    if (answer.ok && asked.get(key) === mine && !signal.aborted) change({ [key]: answer.value })
  }

  async function audit(query: AuditQuery, atLeast: number): Promise<Result<Known['audit'], Refusal>> {
    // One more than is shown tells whether there are older ones.
    const lines = await api.audit(query, Math.min(atLeast + 1, 1000))
    if (!lines.ok) return lines
    const more = lines.value.length > atLeast
    return { ok: true, value: { query, lines: lines.value.slice(0, atLeast), more } }
  }

  function now(key: Resource): Promise<void> {
    switch (key) {
      case 'images':
        return load(key, api.images())
      case 'trash':
        return load(key, api.trash())
      case 'health':
        return load(key, api.health())
      case 'backups':
        return mayAct(read().session, 'admin') ? load(key, api.backups()) : Promise.resolve()
      case 'settings':
        return load(key, api.settings())
      case 'audit': {
        const page = read().audit
        return load(key, audit(page?.query ?? {}, Math.max(AUDIT_LINES, page?.lines.length ?? 0)))
      }
    }
  }

  async function run(key: Resource): Promise<void> {
    if (running.has(key)) {
      again.add(key)
      return
    }
    running.add(key)
    try {
      do {
        again.delete(key)
        await now(key)
      } while (again.has(key) && !signal.aborted)
    } finally {
      running.delete(key)
    }
  }

  return {
    refresh: (...wanted) => {
      for (const key of wanted) run(key)
    },
    refreshRoom: () => {
      const { room } = read().route
      const role = NEEDS[room]
      if (role === undefined || mayAct(read().session, role)) for (const key of SHOWN[room] ?? []) run(key)
    },
    olderAudit: async () => {
      const page = read().audit
      const last = page?.lines.at(-1)
      if (!page || !last) return
      const older = await api.audit({ ...page.query, before: last.id }, AUDIT_LINES + 1)
      const still = read().audit
      if (!older.ok || still?.query !== page.query) return
      const lines = [...still.lines, ...older.value.slice(0, AUDIT_LINES).filter((line) => line.id < last.id)]
      change({ audit: { query: page.query, lines, more: older.value.length > AUDIT_LINES } })
    },
    filterAudit: (query) => load('audit', audit(query, AUDIT_LINES)),
  }
}
