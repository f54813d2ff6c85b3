/** The API as one Hono app. Who asks is found out once, before any route. */
import { OpenAPIHono } from '@hono/zod-openapi'
import { secureHeaders } from 'hono/secure-headers'
import { principalOf, type TokenStore } from '../access/tokens.ts'
import type { Changes } from '../audit/changes.ts'
import type { Backups } from '../backup/backups.ts'
import type { Clock } from '../base/clock.ts'
import type { Bus } from '../base/events.ts'
import type { Fingerprint } from '../base/fingerprint.ts'
import type { Log } from '../base/log.ts'
import type { Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'
import { ok } from '../base/result.ts'
import type { Door } from '../http/listen.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Library } from '../library/library.ts'
import type { Settings } from '../settings/settings.ts'
import type { Transmissions } from '../transmissions/transmissions.ts'
import type { Versions } from '../version.ts'
import { auditRoutes } from './audit.ts'
import { backupRoutes } from './backups.ts'
import { castRoutes } from './casts.ts'
import { compactionRoutes } from './compactions.ts'
import { type Env, json, onError, router, secured, signedIn, unwrap } from './door.ts'
import { downloadRoutes } from './downloads.ts'
import { eventRoutes } from './events.ts'
import { exportRoutes } from './exports.ts'
import { groupRoutes } from './groups.ts'
import { imageRoutes } from './images.ts'
import { jobRoutes } from './jobs.ts'
import { MeSchema, VersionSchema } from './schemas.ts'
import { settingRoutes } from './settings.ts'
import { showMe } from './show.ts'
import { tokenRoutes } from './tokens.ts'
import { trashRoutes } from './trash.ts'
import { upkeepRoutes } from './upkeep.ts'
import { uploadRoutes } from './uploads.ts'

export type ApiDeps = {
  readonly library: Library
  readonly jobs: Jobs
  readonly transmissions: Transmissions
  readonly tokens: TokenStore
  readonly changes: Changes
  readonly settings: Settings
  readonly backups: Backups
  readonly bus: Bus
  readonly log: Log
  readonly clock: Clock
  readonly dataDir: string
  readonly importRoots: readonly string[]
  readonly exportRoots: readonly string[]
  readonly versions: Versions
  readonly fingerprint: Fingerprint
  /** Aborted when the appliance closes: event streams have no end of their own, and must not hold it up. */
  readonly closing?: AbortSignal
}

function principalAt(door: Door, authorization: string | undefined, deps: ApiDeps): Result<Principal> {
  if (door.kind === 'unix') return ok({ kind: 'local', role: 'admin' })
  return principalOf(authorization, deps.tokens, deps.clock, { door: door.kind, address: door.address })
}

function apiRoutes(deps: ApiDeps) {
  return router()
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/version',
        summary: 'What runs here',
        responses: { 200: json(VersionSchema, 'Versions.') },
      }),
      (c) => c.json({ ...deps.versions, fingerprint: deps.fingerprint }, 200),
    )
    .openapi(
      secured('viewer', {
        method: 'get',
        path: '/me',
        summary: 'Who asks, and as what',
        responses: { 200: json(MeSchema, 'The principal.') },
      }),
      (c) => c.json(showMe(signedIn(c.get('who'))), 200),
    )
    .route('/', groupRoutes(deps))
    .route('/', imageRoutes(deps))
    .route('/', trashRoutes(deps))
    .route('/', uploadRoutes(deps))
    .route('/', exportRoutes(deps))
    .route('/', compactionRoutes(deps))
    .route('/', upkeepRoutes(deps))
    .route('/', backupRoutes(deps))
    .route('/', castRoutes(deps))
    .route('/', jobRoutes(deps))
    .route('/', tokenRoutes(deps))
    .route('/', auditRoutes(deps))
    .route('/', settingRoutes(deps))
    .route('/', eventRoutes(deps))
}

export function createApi(deps: ApiDeps) {
  const api = apiRoutes(deps)
  const app = new OpenAPIHono<Env>()
  app.use(
    secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'self'"],
        frameAncestors: ["'none'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        objectSrc: ["'none'"],
      },
      xFrameOptions: 'DENY',
      referrerPolicy: 'no-referrer',
      // The appliance is often known by an address, where browsers ignore it, and its certificate is self-signed.
      strictTransportSecurity: false,
    }),
  )
  app.use(async function whoAsks(c, next) {
    const authorization = c.req.header('authorization')
    const whoNow = () => principalAt(c.env.door, authorization, deps)
    c.set('whoNow', whoNow)
    c.set('who', unwrap(whoNow()))
    // Plain HTTP has no secrets and no page: public files, and nothing of the API.
    if (c.env.door.kind === 'http' && !c.req.path.startsWith('/images/'))
      unwrap(refuse('not-found', 'plain HTTP serves public files only', 'Use HTTPS for the page and the API.'))
    await next()
  })
  app.openAPIRegistry.registerComponent('securitySchemes', 'bearer', { type: 'http', scheme: 'bearer' })
  app.doc31('/api/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'wimcast', version: deps.versions.wimcast, license: { name: 'Apache-2.0' } },
  })
  app.onError(onError(deps.log))
  app.notFound((c) =>
    c.json({ code: 'not-found', message: `there is nothing at ${c.req.path}`, hint: 'See /api/openapi.json.' }, 404),
  )
  return app.route('/', downloadRoutes({ shelf: deps.library.shelf })).route('/api', api)
}

export type Api = ReturnType<typeof createApi>
