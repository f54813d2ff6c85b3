/** Who still needs the content of a transmission: clients that have not told how it ended for them, for a while at most. */

/** How long an ended transmission keeps its content for clients that have not told how they ended. */
export const GRACE_MS = 60 * 60_000

export type Needs = Disposable & {
  readonly has: (id: number) => boolean
  readonly add: (id: number, clientId: number) => void
  readonly remove: (id: number, clientId: number) => void
  /** Brought back after a restart: there are clients that this process has never met. */
  readonly addUnknown: (id: number) => void
  /** Its content goes then, whoever needs it. */
  readonly endLater: (id: number, delayMs: number) => void
  readonly forget: (id: number) => void
}

export function openNeeds(end: (id: number) => void): Needs {
  const clients = new Map<number, Set<number>>()
  const unknown = new Set<number>()
  const graces = new Map<number, ReturnType<typeof setTimeout>>()
  return {
    has: (id) => unknown.has(id) || (clients.get(id)?.size ?? 0) > 0,
    add: (id, clientId) => {
      const known = clients.get(id) ?? new Set()
      clients.set(id, known.add(clientId))
    },
    remove: (id, clientId) => void clients.get(id)?.delete(clientId),
    addUnknown: (id) => void unknown.add(id),
    endLater: (id, delayMs) => {
      clearTimeout(graces.get(id))
      const timer = setTimeout(() => end(id), delayMs)
      timer.unref()
      graces.set(id, timer)
    },
    forget: (id) => {
      clearTimeout(graces.get(id))
      graces.delete(id)
      clients.delete(id)
      unknown.delete(id)
    },
    [Symbol.dispose]: () => {
      for (const timer of graces.values()) clearTimeout(timer)
    },
  }
}
