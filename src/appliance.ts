/**
 * The composition root: config in, a running appliance out. Every room is opened here and handed what it uses; all
 * doors listen before anything is served, and closing goes the other way round.
 */
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { pageRoutes } from '../web/page.ts'
import { hostsOfThisMachine, openCertificate } from './access/certificate.ts'
import { tokenRows } from './access/token-rows.ts'
import { createApi } from './api/app.ts'
import { clearUploads } from './api/uploads.ts'
import { openChanges } from './audit/changes.ts'
import { openBackups } from './backup/backups.ts'
import { systemClock } from './base/clock.ts'
import { openBus } from './base/events.ts'
import type { Fingerprint } from './base/fingerprint.ts'
import type { Log } from './base/log.ts'
import { Fault } from './base/refusal.ts'
import { openCasts } from './cast/transmissions.ts'
import type { Config, Listen } from './config.ts'
import { openDb } from './db/open.ts'
import { type Door, openHttp } from './http/listen.ts'
import type { SelfCommand } from './jobs/child.ts'
import { openJobs } from './jobs/jobs.ts'
import { openLibrary } from './library/library.ts'
import { allGroups } from './library/rows.ts'
import { openSettings } from './settings/settings.ts'
import { openTftp } from './tftp/server.ts'
import { openTransmissions, type Transmissions } from './transmissions/transmissions.ts'
import { openUpkeep } from './upkeep/upkeep.ts'
import { VERSION, versions } from './version.ts'

export type Appliance = AsyncDisposable & {
  /** Where it listens, as bound: port 0 in the config is a real port here. */
  readonly doors: { readonly http: string; readonly https: string; readonly tftp: string; readonly socket: string }
  readonly fingerprint: Fingerprint
}

type Deps = { readonly log: Log; readonly self: SelfCommand }

function makeDir(path: string, key: 'data' | 'socket'): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o750 })
  } catch (cause) {
    throw new Fault(`the folder "${path}" cannot be made`, {
      hint: `Make it yourself, or name another one with --${key}.`,
      cause,
    })
  }
}

export async function openAppliance(config: Config, deps: Deps): Promise<Appliance> {
  const { log } = deps
  const clock = systemClock
  await using opened = new AsyncDisposableStack()

  makeDir(config.data, 'data')
  clearUploads(config.data)
  const { db, afterCrash } = opened.use(openDb(config.data))
  if (afterCrash) log.warning('db.checked', { why: 'the last stop was not clean', result: 'ok' })
  const bus = openBus()
  const changes = openChanges({ db, clock })
  const settings = openSettings({ db, changes })
  const jobs = opened.use(openJobs({ db, dataDir: config.data, bus, log, clock }))
  const library = opened.use(
    await openLibrary({
      db,
      dataDir: config.data,
      jobs,
      changes,
      settings,
      bus,
      log,
      clock,
      self: deps.self,
      wimlibPath: config.wimlib,
    }),
  )
  const backups = openBackups({ dataDir: config.data, jobs, changes, clock, self: deps.self, version: VERSION })
  opened.use(
    openUpkeep({
      settings,
      changes,
      clock,
      log,
      groups: () => allGroups(db),
      scrub: (by) => library.scrubs.start({}, by),
      emptyTrash: (olderThanDays, by) => library.trash.empty({ olderThanDays }, by),
      reclaimableShare: library.sharing.reclaimableShare,
      compact: (group, by) => library.compact(group, {}, by),
      ended: jobs.ended,
    }),
  )
  const late: { transmissions?: Transmissions } = {}
  const casts = opened.use(
    openCasts({
      log,
      clock,
      onEvent: (event) =>
        event.kind === 'cast.session'
          ? late.transmissions?.onSession(event.record)
          : late.transmissions?.onStatus(event.status),
    }),
  )
  const transmissions = opened.use(
    openTransmissions({
      db,
      changes,
      casts,
      library,
      bus,
      log,
      clock,
      timeZone: () => settings.get('time-zone'),
    }),
  )
  late.transmissions = transmissions
  const tokens = tokenRows(db)
  const certificate = await openCertificate({
    dataDir: config.data,
    hosts: [...hostsOfThisMachine(), ...config.hostNames, ...(config.https === 'off' ? [] : [config.https.host])],
    clock,
    ...(config.tlsCertificate !== undefined && config.tlsKey !== undefined
      ? { own: { certPath: config.tlsCertificate, keyPath: config.tlsKey } }
      : {}),
  })
  if (certificate.expired) log.warning('tls.expired', { notAfter: new Date(certificate.notAfterMs).toISOString() })

  const closing = new AbortController()
  const api = createApi({
    library,
    jobs,
    transmissions,
    tokens,
    changes,
    settings,
    backups,
    bus,
    log,
    clock,
    dataDir: config.data,
    importRoots: config.importRoots,
    exportRoots: config.exportRoots,
    versions: versions(config.wimlib),
    fingerprint: certificate.fingerprint,
    closing: closing.signal,
  })
  const app = pageRoutes(api)
  const fetch = (request: Request, door: Door): Response | Promise<Response> => app.fetch(request, { door })

  // Before the doors: a receiver that comes back must find its transmission.
  await transmissions.resume()
  const doors = { http: 'off', https: 'off', tftp: 'off', socket: 'off' }
  const at = (listen: Exclude<Listen, 'off'>, port: number): string =>
    `${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${port}`
  if (config.socket !== 'off') {
    // The folder keeps strangers out: a unix socket is made by the umask before its mode can be set.
    makeDir(dirname(config.socket), 'socket')
    opened.use(await openHttp({ at: { unix: config.socket }, fetch, log }))
    doors.socket = config.socket
  }
  if (config.https !== 'off') {
    const tls = { cert: certificate.certPem, key: certificate.keyPem }
    const server = opened.use(await openHttp({ at: { ...config.https, tls }, fetch, log }))
    doors.https = `https://${at(config.https, server.port)}`
  }
  if (config.http !== 'off') {
    const server = opened.use(await openHttp({ at: config.http, fetch, log }))
    doors.http = `http://${at(config.http, server.port)}`
  }
  if (config.tftp !== 'off') {
    const server = opened.use(await openTftp({ ...config.tftp, shelf: library.shelf, log, clock }))
    doors.tftp = `tftp://${at(config.tftp, server.port)}`
  }

  const kept = opened.move()
  const close = async (): Promise<void> => {
    closing.abort()
    await kept.disposeAsync()
  }
  return { doors, fingerprint: certificate.fingerprint, [Symbol.asyncDispose]: close }
}
