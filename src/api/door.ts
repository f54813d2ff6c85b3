/** What every route shares: who asks, what right the route needs, and how refusals and faults are answered. */
import { createRoute, OpenAPIHono, type RouteConfig, z } from '@hono/zod-openapi'
import type { Context, MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { By } from '../audit/changes.ts'
import { diskFull, isDiskFull } from '../base/disk-full.ts'
import { type Log, reasonOf } from '../base/log.ts'
import { mayActAs, type Principal, type Role } from '../base/principal.ts'
import { Fault, type Refusal, Refused, refuse } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import type { Door } from '../http/listen.ts'
import { RefusalSchema } from './schemas.ts'
import { STATUS } from './status.ts'

export type Env = {
  Bindings: { readonly door: Door }
  /** `whoNow` asks again: an answer that goes on for hours must end when its token is revoked. */
  Variables: { who: Principal; whoNow: () => Result<Principal> }
}

/** API calls end within this; uploads, downloads and event streams are exempt. */
export const SHORT_CALL_MS = 60_000

/** A refusal becomes an exception here and an answer in `onError`: handlers read as if all went well. */
export function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value
  throw new Refused(result.error)
}

export function signedIn(who: Principal): Exclude<Principal, { kind: 'anonymous' | 'appliance' }> {
  if (who.kind !== 'anonymous' && who.kind !== 'appliance') return who
  return unwrap(
    refuse(
      'not-signed-in',
      'this needs a token',
      'Send it as "Authorization: Bearer …"; make one with: wimcast token new.',
    ),
  )
}

function needs(role: Role): MiddlewareHandler<Env> {
  return async function needsRole(c, next) {
    const who = signedIn(c.get('who'))
    if (!mayActAs(who, role)) unwrap(refuse('not-allowed', `this needs the role ${role}`, 'Use a token of that role.'))
    await next()
  }
}

function shortCall(): MiddlewareHandler<Env> {
  return async function limitTime(c, next) {
    c.env.door.limit(SHORT_CALL_MS)
    await next()
  }
}

/** Twice what the largest documented body takes: the needs of a client that joins, as base64. */
const MAX_JSON_BYTES = 8 << 20
const JSON_TYPE = /^application\/json\s*(;|$)/i

/** A body of another type would count as empty, and a change without a change as done. */
const jsonOnly: MiddlewareHandler<Env> = async function jsonOnly(c, next) {
  if (!JSON_TYPE.test(c.req.header('content-type') ?? ''))
    unwrap(refuse('bad-request', 'the body is not of type application/json', 'Send "Content-Type: application/json".'))
  await next()
}

const limitJson: MiddlewareHandler<Env> = bodyLimit({
  maxSize: MAX_JSON_BYTES,
  onError: () =>
    unwrap(
      refuse(
        'bad-request',
        `the body is larger than ${formatBytes(MAX_JSON_BYTES)}`,
        'See /api/openapi.json for its form.',
      ),
    ),
})

const REFUSED = {
  description: 'Refused: see the code.',
  content: { 'application/json': { schema: RefusalSchema } },
} as const

/** A route with the role it needs; the OpenAPI document shows it as `x-wimcast-role`. */
export function secured<const R extends RouteConfig>(role: Role, route: R, options: { readonly long?: boolean } = {}) {
  const takesJson = route.request?.body?.content['application/json'] !== undefined
  const middleware = [...(options.long ? [] : [shortCall()]), needs(role), ...(takesJson ? [jsonOnly, limitJson] : [])]
  return createRoute({
    ...route,
    middleware,
    security: [{ bearer: [] }],
    'x-wimcast-role': role,
    responses: { ...route.responses, default: REFUSED },
  } as R & {
    middleware: typeof middleware
  })
}

export function json<const S>(schema: S, description: string) {
  return { description, content: { 'application/json': { schema } } } as const
}

export function body<const S>(schema: S) {
  return { body: { required: true, content: { 'application/json': { schema } } } } as const
}

/** Query of every route that changes something. */
export const DryRunSchema = z.object({
  dryRun: z
    .enum(['true', 'false'])
    .optional()
    .openapi({ description: 'true: refuse what would be refused, answer what would be answered, and change nothing.' }),
})

/** Who changes something, and whether for real; the answer to a dry run says that it was one. */
export function byOf(c: Context<Env>): By {
  const dryRun = c.req.query('dryRun') === 'true'
  if (dryRun) c.header('Wimcast-Dry-Run', 'true')
  return { who: c.get('who'), dryRun }
}

/** A router for one noun: a body or a parameter that does not parse is a refusal like any other. */
export function router() {
  return new OpenAPIHono<Env>({
    defaultHook: (result) => {
      if (result.success) return
      const first = result.error.issues[0]
      const where = first?.path.join('.') ?? ''
      unwrap(
        refuse(
          'bad-request',
          `${where === '' ? 'the request' : `"${where}"`}: ${first?.message ?? 'does not parse'}`,
          'See /api/openapi.json for its form.',
        ),
      )
    },
  })
}

function answer(c: Context, refusal: Refusal): Response {
  const status = STATUS[refusal.code]
  if (status === 401) c.header('WWW-Authenticate', 'Bearer')
  return c.json(refusal, status)
}

/** The one place where the API's exceptions end. Refusals are public; faults are for the log. */
export function onError(log: Log) {
  return function answerError(error: Error, c: Context): Response {
    if (error instanceof Refused) return answer(c, error.refusal)
    // Hono's own: a body that is not JSON.
    if ('getResponse' in error && 'status' in error && error.status === 400)
      return answer(c, {
        code: 'bad-request',
        message: 'the body is not valid JSON',
        hint: 'See /api/openapi.json for its form.',
      })
    const full = isDiskFull(error) ? diskFull() : undefined
    if (full) return answer(c, full.error)
    if (error.name === 'AbortError') return c.body(null, 499 as 400)
    log.error('api.fault', { method: c.req.method, path: c.req.path, reason: reasonOf(error) })
    const hint = error instanceof Fault ? error.hint : 'This is a fault of wimcast or of the machine: see the log.'
    return answer(c, { code: 'unavailable', message: 'the appliance met a fault', hint })
  }
}

/** A parameter in a path, decoded. Digits only: `0x10`, `1e2` and ` 1` are mistakes. */
export function idOf(text: string): number {
  const id = /^[1-9]\d*$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(id))
    unwrap(refuse('bad-request', `"${text.slice(0, 40)}" is not an id`, 'Ids are whole numbers, as lists show them.'))
  return id
}
