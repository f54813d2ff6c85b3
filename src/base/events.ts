/** What happened, published after it was committed. The page and the CLI's progress live on these. */

export type WimcastEvent =
  | { readonly kind: 'job.changed'; readonly id: number }
  | { readonly kind: 'library.changed'; readonly group: string }
  | { readonly kind: 'cast.changed'; readonly id: number }

export type Bus = {
  readonly publish: (event: WimcastEvent) => void
  /** Calls `listener` for each event until the signal is aborted. Listeners must not throw. */
  readonly subscribe: (listener: (event: WimcastEvent) => void, options: { readonly signal: AbortSignal }) => void
}

export function openBus(): Bus {
  const listeners = new Set<(event: WimcastEvent) => void>()
  return {
    publish: (event) => {
      for (const listener of [...listeners]) listener(event)
    },
    subscribe: (listener, { signal }) => {
      if (signal.aborted) return
      listeners.add(listener)
      signal.addEventListener('abort', () => listeners.delete(listener), { once: true })
    },
  }
}
