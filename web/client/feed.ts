/**
 * Keeps the state like the appliance's: lists first, then the live feed (src/api/events.ts). When the feed ends it starts
 * over, sooner or later by how often that failed; every connection begins with all there is, so nothing is missed.
 */
import type { ApiClient, Cast, Group, Job, Refusal } from './api.ts'
import { refusalOf } from './api.ts'
import { createSseParser, type ServerEvent } from './sse.ts'
import { change, placed, read } from './store.ts'

const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 15_000
/** The appliance sends a comment every 15 s; after two that did not come, the connection is dead. */
const SILENCE_MS = 40_000

export type FeedDeps = {
  readonly api: ApiClient
  readonly signal: AbortSignal
  readonly onSignedOut: (refusal: Refusal) => void
}

/** Runs until the signal. */
export async function follow(deps: FeedDeps): Promise<void> {
  const { api, signal, onSignedOut } = deps
  let failures = 0
  let imagesAsked = 0

  /** Images are not in the feed: they are asked for when it says that the library changed. The last question wins. */
  async function refreshImages(): Promise<void> {
    imagesAsked += 1
    const mine = imagesAsked
    const images = await api.images()
    if (mine === imagesAsked && images.ok && !signal.aborted) change({ images: images.value })
  }

  function take({ event, data }: ServerEvent): void {
    switch (event) {
      case 'library':
        change({ groups: JSON.parse(data) as Group[] })
        refreshImages()
        break
      case 'job':
        change({ jobs: placed(read().jobs, JSON.parse(data) as Job) })
        break
      case 'cast':
        change({ casts: placed(read().casts, JSON.parse(data) as Cast) })
        break
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
