/**
 * The live feed: server-sent events (WHATWG HTML §9.2), one connection for page and CLI. Each event carries the whole
 * object as it is now, so a reader that missed some is right again with the next.
 */
import { z } from '@hono/zod-openapi'
import { streamSSE } from 'hono/streaming'
import type { Bus, WimcastEvent } from '../base/events.ts'
import type { Principal } from '../base/principal.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Library } from '../library/library.ts'
import type { Transmissions } from '../transmissions/transmissions.ts'
import { idOf, router, secured, unwrap } from './door.ts'
import { jobsSeenBy } from './jobs.ts'
import { showCast, showGroup, showJob } from './show.ts'

/** Keeps middle boxes from closing a quiet connection, and finds readers that are gone. */
const PING_MS = 15_000
/** Changes of one thing within this go out as one event. */
const GATHER_MS = 100

export type EventDeps = {
  readonly bus: Bus
  readonly jobs: Jobs
  readonly library: Library
  readonly transmissions: Transmissions
  /** See ApiDeps. */
  readonly closing?: AbortSignal
}

type Message = { readonly event: string; readonly data: string }

export function eventRoutes({ bus, jobs: allJobs, library, transmissions, closing }: EventDeps) {
  const jobs = jobsSeenBy({ jobs: allJobs, library })

  /** As `who` may see it. */
  function render(event: WimcastEvent, who: Principal): Message | undefined {
    switch (event.kind) {
      case 'job.changed': {
        const job = jobs.show(event.id, who)
        return job.ok ? { event: 'job', data: JSON.stringify(showJob(job.value)) } : undefined
      }
      case 'cast.changed': {
        const cast = transmissions.show(event.id, who)
        return cast.ok ? { event: 'cast', data: JSON.stringify(showCast(cast.value)) } : undefined
      }
      case 'library.changed':
        return { event: 'library', data: JSON.stringify(library.groups.list(who).map(showGroup)) }
    }
  }

  return router().openapi(
    secured(
      'viewer',
      {
        method: 'get',
        path: '/events',
        summary: 'Server-sent events: job, cast, library',
        request: {
          query: z.object({
            job: z.string().optional().openapi({ description: 'Only this job; the stream ends with it.' }),
          }),
        },
        responses: {
          200: {
            description: 'Each event carries the whole object.',
            content: { 'text/event-stream': { schema: z.string() } },
          },
        },
      },
      { long: true },
    ),
    (c) => {
      const only = c.req.valid('query').job === undefined ? undefined : idOf(c.req.valid('query').job ?? '')
      if (only !== undefined) unwrap(jobs.show(only, c.get('who')))
      // Hono answers HEAD as GET and drops the body, which would then wait for events for ever.
      if (c.req.method === 'HEAD') return c.body(null, 200, { 'Content-Type': 'text/event-stream' })
      const who = c.get('who')
      const isSignedIn = (): boolean => c.get('whoNow')().ok
      return streamSSE(c, async (stream) => {
        const over = new AbortController()
        stream.onAbort(() => over.abort())
        for (const signal of [c.req.raw.signal, ...(closing ? [closing] : [])]) {
          signal.addEventListener('abort', () => over.abort(), { once: true, signal: over.signal })
          if (signal.aborted) over.abort()
        }
        const waiting = new Map<string, WimcastEvent>()
        let wake = Promise.withResolvers<void>()
        bus.subscribe(
          (event) => {
            if (only !== undefined && !(event.kind === 'job.changed' && event.id === only)) return
            waiting.set(event.kind === 'library.changed' ? event.kind : `${event.kind} ${event.id}`, event)
            wake.resolve()
          },
          { signal: over.signal },
        )
        over.signal.addEventListener('abort', () => wake.resolve(), { once: true })
        // What is: whoever connects late must not wait for a change to see anything.
        if (only !== undefined) waiting.set('first', { kind: 'job.changed', id: only })
        else {
          waiting.set('library', { kind: 'library.changed', group: '' })
          for (const job of jobs.list(who).slice(0, 20).reverse())
            waiting.set(`job ${job.id}`, { kind: 'job.changed', id: job.id })
          for (const cast of transmissions.list(who).slice(0, 20).reverse())
            waiting.set(`cast ${cast.id}`, { kind: 'cast.changed', id: cast.id })
        }
        const ping = setInterval(() => {
          if (isSignedIn()) stream.writeln(':').catch(() => over.abort())
          else over.abort()
        }, PING_MS)
        try {
          while (!over.signal.aborted && isSignedIn()) {
            const events = [...waiting.values()]
            waiting.clear()
            for (const event of events) {
              const message = render(event, who)
              if (message) await stream.writeSSE(message)
            }
            if (only !== undefined) {
              const job = jobs.show(only, who)
              if (!job.ok || job.value.endedAtMs !== null) break
            }
            if (waiting.size === 0 && !over.signal.aborted) {
              wake = Promise.withResolvers()
              await wake.promise
              // A job's own stream has its progress paced already, and its end must not wait.
              if (only === undefined) await stream.sleep(GATHER_MS)
            }
          }
        } finally {
          clearInterval(ping)
          over.abort()
        }
      })
    },
  )
}
