/**
 * Keeps the state like the appliance's: lists first, then the live feed (src/api/events.ts). When the feed ends it starts
 * over, sooner or later by how often that failed; every connection begins with all there is, so nothing is missed.
 */
import type { ApiClient, Cast, Group, Job, Refusal } from './api.ts'
import { refusalOf } from './api.ts'
import type { Resources } from './resources.ts'
import { createSseParser, type ServerEvent } from './sse.ts'
import { change, placed, read } from './store.ts'

const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 15_000
/** The appliance sends a comment every 15 s; after two that did not come, the connection is dead. */
const SILENCE_MS = 40_000
const ROOM_WAIT_MS = 400

export type FeedDeps = {
  readonly api: ApiClient
  readonly resources: Resources
  readonly signal: AbortSignal
  readonly onSignedOut: (refusal: Refusal) => void
}

/** Runs until the signal. */
export async function follow(deps: FeedDeps): Promise<void> {
  const { api, resources, signal, onSignedOut } = deps
  let failures = 0
  let later: ReturnType<typeof setTimeout> | undefined

  /** What no event carries, and any may have changed: the lines of the audit log, say. Many events, one question. */
  function refreshRoomLater(): void {
    if (later !== undefined) return
    later = setTimeout(() => {
      later = undefined
      if (!signal.aborted) resources.refreshRoom()
    }, ROOM_WAIT_MS)
  }

  function take({ event, data }: ServerEvent): void {
    switch (event) {
      case 'library':
        change({ groups: JSON.parse(data) as Group[] })
        resources.refresh('images', 'trash')
        refreshRoomLater()
        break
      case 'job': {
        const job = JSON.parse(data) as Job
        const before = read().jobs.find(({ id }) => id === job.id)
        change({ jobs: placed(read().jobs, job) })
        // Its progress changes nothing else.
        if (before?.state !== job.state) refreshRoomLater()
        break
      }
      case 'cast': {
        const cast = JSON.parse(data) as Cast
        const before = read().casts.find(({ id }) => id === cast.id)
        change({ casts: placed(read().casts, cast) })
        if (before?.endedAtMs !== cast.endedAtMs || before?.startedAtMs !== cast.startedAtMs) refreshRoomLater()
        break
      }
    }
  }

  /** One connection, to its end. */
  async function connect(): Promise<void> {
    const [jobs, casts] = await Promise.all([api.jobs(), api.casts()])
    if (signal.aborted || !jobs.ok || !casts.ok) {
      const refused = jobs.ok ? casts : jobs
      if (!signal.aborted && !refused.ok && refused.error.code === 'not-signed-in') onSignedOut(refused.error)
      return
    }
    change({ jobs: jobs.value, casts: casts.value })
    const over = new AbortController()
    const silence = watchSilence(() => over.abort())
    try {
      const response = await api.events(AbortSignal.any([signal, over.signal]))
      if (response.status === 401) return onSignedOut(await refusalOf(response))
      if (!response.ok || !response.body) return
      change({ connection: 'live' })
      resources.refreshRoom()
      failures = 0
      const parser = createSseParser()
      const decoder = new TextDecoder()
      const reader = response.body.getReader()
      for (;;) {
        const { value, done } = await reader.read()
        if (done) return
        silence.heard()
        for (const event of parser.push(decoder.decode(value, { stream: true }))) take(event)
      }
    } finally {
      silence.end()
      over.abort()
    }
  }

  while (!signal.aborted) {
    await connect().catch(() => {})
    if (signal.aborted) return
    change({ connection: 'offline' })
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures)
    failures += 1
    // Spread, so that a room full of pages does not come back in one moment.
    await pause(wait * (0.75 + Math.random() / 2), signal)
  }
}

/** Ends a wait for the next connection early. */
const impatience = new EventTarget()

export function retryNow(): void {
  impatience.dispatchEvent(new Event('now'))
}
addEventListener('online', retryNow)
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') retryNow()
})

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = new AbortController()
    const end = (): void => {
      clearTimeout(timer)
      over.abort()
      resolve()
    }
    const timer = setTimeout(end, ms)
    impatience.addEventListener('now', end, { signal: over.signal })
    signal.addEventListener('abort', end, { signal: over.signal })
  })
}

function watchSilence(onSilence: () => void): { readonly heard: () => void; readonly end: () => void } {
  let timer = setTimeout(onSilence, SILENCE_MS)
  return {
    heard: () => {
      clearTimeout(timer)
      timer = setTimeout(onSilence, SILENCE_MS)
    },
    end: () => clearTimeout(timer),
  }
}
