/**
 * The API as the page asks it: its answers by the API's own schemas, and refusals as values. Types alone are imported from
 * there: neither zod nor the server comes into the bundle.
 */
import type { z } from '@hono/zod-openapi'
import type {
  CastSchema,
  CopySchema,
  GroupSchema,
  ImageSchema,
  JobSchema,
  MeSchema,
  NewCastSchema,
  RefusalSchema,
  StopSchema,
  VersionSchema,
} from '../../src/api/schemas.ts'
import { err, ok, type Result } from '../../src/base/result.ts'
import { text } from './text.ts'

export type Refusal = z.infer<typeof RefusalSchema>
export type Cast = z.infer<typeof CastSchema>
export type Group = z.infer<typeof GroupSchema>
export type Image = z.infer<typeof ImageSchema>
export type Job = z.infer<typeof JobSchema>
export type Me = z.infer<typeof MeSchema>
export type Version = z.infer<typeof VersionSchema>

/** The refusal in an answer that is none of the good ones; a proxy's page, say, is none of ours. */
export async function refusalOf(response: Response): Promise<Refusal> {
  try {
    const said = (await response.json()) as Partial<Refusal>
    if (said.code !== undefined && typeof said.message === 'string')
      return { code: said.code, message: said.message, hint: said.hint ?? '' }
  } catch {
    // Not JSON: answered below.
  }
  return { code: 'unavailable', message: text.connection.strange(response.status), hint: text.connection.strangeHint }
}

export type ApiClient = ReturnType<typeof openApi>

export function openApi(token: string) {
  const authorization = { Authorization: `Bearer ${token}` }

  /** No answer at all is a refusal too. */
  async function call<T>(method: string, path: string, body?: object): Promise<Result<T, Refusal>> {
    const headers = body ? { ...authorization, 'Content-Type': 'application/json' } : authorization
    try {
      const response = await fetch(path, {
        method,
        headers,
        cache: 'no-store',
        ...(body ? { body: JSON.stringify(body) } : {}),
      })
      if (!response.ok) return err(await refusalOf(response))
      return ok((response.status === 204 ? undefined : await response.json()) as T)
    } catch {
      return err({ code: 'unreachable', message: text.connection.unreachable, hint: text.connection.unreachableHint })
    }
  }

  /** An image by name, group and file: what is never ambiguous. */
  function pathOf(image: Image, below = ''): string {
    return `/api/images/${encodeURIComponent(image.name)}${below}?${new URLSearchParams({ group: image.group, file: image.fileName })}`
  }

  return {
    me: () => call<Me>('GET', '/api/me'),
    version: () => call<Version>('GET', '/api/version'),
    images: () => call<Image[]>('GET', '/api/images'),
    jobs: () => call<Job[]>('GET', '/api/jobs'),
    casts: () => call<Cast[]>('GET', '/api/casts'),
    events: (signal: AbortSignal) => fetch('/api/events', { headers: authorization, cache: 'no-store', signal }),
    setPublic: (image: Image, on: boolean) => call<Image>('PATCH', pathOf(image), { public: on }),
    copy: (image: Image, wanted: z.infer<typeof CopySchema>) => call<Image>('POST', pathOf(image, '/copies'), wanted),
    remove: (image: Image) => call<void>('DELETE', pathOf(image)),
    transmit: (wanted: z.infer<typeof NewCastSchema>) => call<Cast>('POST', '/api/casts', wanted),
    cancelJob: (id: number) => call<Job>('POST', `/api/jobs/${id}/cancel`),
    stopCast: (id: number, wanted: z.infer<typeof StopSchema>) => call<Cast>('POST', `/api/casts/${id}/stop`, wanted),
  }
}
