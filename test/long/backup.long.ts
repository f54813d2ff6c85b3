/** Backups: made beside a library that is open, judged without mercy, restored all or nothing. */
import { Database } from 'bun:sqlite'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OpenAPIHono } from '@hono/zod-openapi'
import { eq } from 'drizzle-orm'
import { backupRoutes } from '../../src/api/backups.ts'
import { type Env, onError } from '../../src/api/door.ts'
import { type Backup, type Backups, openBackups } from '../../src/backup/backups.ts'
import { type RestoreRequest, restoreBackup } from '../../src/backup/restore.ts'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import type { Principal, Role } from '../../src/base/principal.ts'
import { openDb } from '../../src/db/open.ts'
import {
  audit,
  contents,
  doomedFiles,
  imageGroups,
  installImages,
  segments,
  transmissions,
} from '../../src/db/schema.ts'
import { writeWim } from '../fixtures/api.ts'
import { run } from '../fixtures/cli.ts'
import { SELF } from '../fixtures/job-child.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import { HAS_STOCK, imagex } from '../fixtures/wims.ts'

const T = 60_000
const ROOT = join(import.meta.dir, '../..')
let work: string
let opened: Opened
let backups: Backups
/** A backup, and where it lies. */
let made: Backup
let file: string
let counter = 0

function fresh(what = 'data'): string {
  counter += 1
  return join(work, `${what}-${counter}`)
}

const restore = (dataDir: string, more: Partial<RestoreRequest> = {}) =>
  restoreBackup({ file, dataDir, replace: false, dryRun: false, nowMs: Date.UTC(2026, 0, 2, 3, 4, 5), ...more })

async function create(dryRun = false) {
  return opened.jobs.ended(backups.create({ who: LOCAL, dryRun }).id)
}

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-backup-'))
  opened = await openTestLibrary({ dataDir: join(work, 'live') })
  const { dataDir, db, jobs, changes } = opened
  await opened.imported(writeWim(join(work, 'two.wim'), ['One', 'Two']))
  mkdirSync(join(dataDir, 'tls'), { mode: 0o700 })
  writeFileSync(join(dataDir, 'tls', 'key.pem'), 'the key', { mode: 0o600 })
  writeFileSync(join(dataDir, 'tls', 'cert.pem'), 'the certificate', { mode: 0o644 })
  symlinkSync('/etc/passwd', join(dataDir, 'tls', 'link'))
  db.insert(doomedFiles).values({ fileName: 'seg-being-published.wim', groupId: 1 }).run()
  const segmentId = db.select().from(segments).get()?.id ?? 0
  const contentId = db.select().from(contents).get()?.id ?? 0
  db.insert(transmissions)
    .values({
      name: 'cast',
      contentId,
      homeSegmentId: segmentId,
      imageName: 'One',
      description: '',
      fileName: 'two-1.wim',
      group: 'G',
      open: true,
      session: { key: 'secret' },
      createdBy: 'local',
      createdAtMs: 1,
    })
    .run()
  backups = openBackups({ dataDir, jobs, changes, clock: systemClock, self: SELF, version: '9.8.7' })
  const job = await create()
  if (job.state !== 'done') throw new Error(JSON.stringify(job.error))
  made = job.result as Backup
  file = join(dataDir, 'backups', made.name)
}, T)
afterAll(async () => {
  await opened?.[Symbol.asyncDispose]()
  rmSync(work, { recursive: true, force: true })
}, T)

describe('a backup', () => {
  test('is one file for its owner alone, listed, told in the audit log, and leaves nothing else', () => {
    expect(made.name).toMatch(/^wimcast-\d{8}-\d{6}\.backup$/)
    expect(backups.list()).toEqual([{ name: made.name, sizeBytes: statSync(file).size, madeAtMs: made.madeAtMs }])
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(opened.dataDir, 'backups'))).toEqual([made.name])
    expect(opened.leftovers()).toEqual([])
    const lines = opened.db.select().from(audit).where(eq(audit.verb, 'backup.create')).all()
    expect(lines).toMatchObject([{ who: 'local', subject: made.name, after: { sizeBytes: made.sizeBytes } }])
  })

  test('a dry run says what one would take, and makes none', async () => {
    expect(await create(true)).toMatchObject({ state: 'done', result: { dryRun: true, sizeBytes: expect.any(Number) } })
    expect(backups.list()).toHaveLength(1)
  })

  test('names of others are not found, whatever lies there', async () => {
    writeFileSync(join(work, 'secret'), 'x')
    for (const name of ['../wimcast.db', '../../secret', 'wimcast.db', '', '.', `${made.name}/..`, 'x.backup']) {
      expect(await backups.content(name)).toMatchObject({ ok: false, error: { code: 'not-found' } })
      expect(backups.remove(name, BY)).toMatchObject({ ok: false, error: { code: 'not-found' } })
    }
  })
})

describe('a restore', () => {
  test(
    'into an empty directory gives back rows, files and modes, and the library opens over the same folders',
    async () => {
      const dataDir = fresh()
      cpSync(join(opened.dataDir, 'groups'), join(dataDir, 'groups'), { recursive: true })
      const report = must(restore(dataDir))
      expect(report).toMatchObject({ wimcast: '9.8.7', groups: 1, images: 2, missing: [], unknown: [] })
      expect(report.files).toEqual(['tls/cert.pem', 'tls/key.pem'])
      expect(readFileSync(join(dataDir, 'tls', 'key.pem'), 'utf8')).toBe('the key')
      expect(statSync(join(dataDir, 'tls')).mode & 0o777).toBe(0o700)
      expect(statSync(join(dataDir, 'tls', 'key.pem')).mode & 0o777).toBe(0o600)
      expect(statSync(join(dataDir, 'tls', 'cert.pem')).mode & 0o777).toBe(0o644)
      expect(readdirSync(dataDir).sort()).toEqual(['groups', 'tls', 'wimcast.db'])
      // No key in the free pages of the database.
      expect(readFileSync(join(dataDir, 'wimcast.db')).includes('the key')).toBe(false)
      await using again = await openTestLibrary({ dataDir })
      for (const table of [imageGroups, installImages, contents, segments])
        expect<unknown>(again.db.select().from(table).all()).toEqual(opened.db.select().from(table).all())
      expect(again.db.select().from(doomedFiles).all()).toEqual([])
      expect(again.db.select().from(transmissions).all()).toMatchObject([
        { open: false, contentId: null, homeSegmentId: null, session: null, reason: 'restored from a backup' },
      ])
      expect(again.db.select().from(audit).where(eq(audit.verb, 'backup.restore')).all()).toHaveLength(1)
      for (const image of must(again.library.images.list({}, LOCAL))) {
        const path = await saveContent(must(await again.library.images.content(image)), join(work, 'view.wim'))
        if (HAS_STOCK) await imagex('verify', path)
      }
    },
    T,
  )

  test('tells which segments are missing, and which the backup does not know', () => {
    const dataDir = fresh()
    mkdirSync(join(dataDir, 'groups', '7'), { recursive: true })
    writeFileSync(join(dataDir, 'groups', '7', 'seg-new.wim'), '')
    const named = opened.db
      .select()
      .from(segments)
      .all()
      .map(({ groupId, fileName }) => `${groupId}/${fileName}`)
    const would = must(restore(dataDir, { dryRun: true }))
    expect(would).toMatchObject({ dryRun: true, missing: named, unknown: ['7/seg-new.wim'] })
    expect(readdirSync(dataDir)).toEqual(['groups'])
    expect(must(restore(dataDir))).toEqual({ ...would, dryRun: false })
  })

  test('does not replace a database unless told to, and keeps the old one with its log', () => {
    const dataDir = fresh()
    mkdirSync(join(dataDir, 'tls'), { recursive: true })
    writeFileSync(join(dataDir, 'tls', 'key.pem'), 'another key')
    const old = new Database(join(dataDir, 'wimcast.db'))
    old.run('PRAGMA journal_mode = WAL')
    old.run('CREATE TABLE mine (a)')
    // A crash leaves the log.
    for (const end of ['', '-wal']) cpSync(join(dataDir, `wimcast.db${end}`), join(work, `crashed${end}`))
    old.close()
    for (const end of ['', '-wal']) renameSync(join(work, `crashed${end}`), join(dataDir, `wimcast.db${end}`))
    expect(restore(dataDir)).toMatchObject({ ok: false, error: { code: 'exists' } })
    expect(readFileSync(join(dataDir, 'tls', 'key.pem'), 'utf8')).toBe('another key')
    expect(must(restore(dataDir, { replace: true })).keptAs).toBe('wimcast.db.before-20260102T030405Z')
    using kept = new Database(join(dataDir, 'wimcast.db.before-20260102T030405Z'))
    expect(kept.query('SELECT name FROM sqlite_schema').all()).toEqual([{ name: 'mine' }])
    expect(readFileSync(join(dataDir, 'tls', 'key.pem'), 'utf8')).toBe('the key')
    using now = openDb(dataDir)
    expect(now.db.select().from(installImages).all()).toHaveLength(2)
  })

  test('is refused while something runs there', () => {
    const dataDir = fresh()
    using _running = openDb(dataDir)
    expect(() => restore(dataDir, { replace: true })).toThrow('another wimcast runs')
  })

  /** A backup that somebody has changed. */
  const changed =
    (...statements: readonly string[]) =>
    (path: string): void => {
      cpSync(file, path)
      using sqlite = new Database(path)
      for (const statement of statements) sqlite.run(statement)
    }
  const added = (name: string, mode = 420) => changed(`INSERT INTO backup_files VALUES ('${name}', ${mode}, x'00')`)

  const bad: readonly (readonly [string, (path: string) => void, RegExp])[] = [
    ['garbage', (path) => writeFileSync(path, 'no database at all'), /not a backup/],
    ['nothing', (path) => writeFileSync(path, ''), /not a backup/],
    ['a beginning', (path) => writeFileSync(path, 'SQLite format 3\0 and no more'), /damaged/],
    ['a truncated one', (path) => writeFileSync(path, readFileSync(file).subarray(0, 40_960)), /damaged/],
    ['one with broken pages', (path) => writeFileSync(path, broken(readFileSync(file))), /damaged/],
    ['another database', (path) => new Database(path).run('CREATE TABLE t (a)'), /no backup/],
    ['a plain copy', (path) => cpSync(join(opened.dataDir, 'wimcast.db'), path), /no backup/],
    ['a newer schema', changed("INSERT INTO __drizzle_migrations (hash, created_at) VALUES ('x', 9e15)"), /newer/],
    ['a newer format', changed("UPDATE backup_facts SET value = '2' WHERE key = 'format'"), /newer wimcast \(9.8.7\)/],
    ['no format', changed("DELETE FROM backup_facts WHERE key = 'format'"), /does not say/],
    ['a trigger', changed('CREATE TRIGGER t AFTER INSERT ON audit BEGIN DELETE FROM tokens; END'), /triggers/],
    ['a path that climbs', added('../../etc/cron.d/x'), /none of a backup/],
    ['an absolute path', added('/etc/cron.d/x'), /none of a backup/],
    ['a path that climbs later', added('tls/../../x'), /none of a backup/],
    ['an empty part', added('tls//x'), /none of a backup/],
    ['a database of its own', added('wimcast.db-wal'), /none of a backup/],
    ['an image', added('groups/1/x.wim'), /none of a backup/],
    ['a set-uid file', added('tls/x', 0o4755), /none of a backup/],
  ]
  test.each(bad)('%s is refused, and nothing is touched', (_, make, message) => {
    const path = fresh('bad')
    make(path)
    const dataDir = fresh()
    const refused = restore(dataDir, { file: path })
    expect(refused).toMatchObject({ ok: false, error: { code: 'bad-backup', hint: expect.stringMatching(/\w/) } })
    expect(refused.ok ? '' : refused.error.message).toMatch(message)
    expect(existsSync(dataDir)).toBe(false)
  })

  test('a file that is not there, and a folder', () => {
    expect(restore(fresh(), { file: join(work, 'nowhere') })).toMatchObject({ error: { code: 'not-found' } })
    expect(restore(fresh(), { file: work })).toMatchObject({ error: { code: 'bad-path' } })
  })

  test(
    'killed at any moment it leaves all of the old or all of the new',
    async () => {
      const script = join(work, 'restore.ts')
      writeFileSync(
        script,
        `import { restoreBackup } from '${ROOT}/src/backup/restore.ts'
         const [file, dataDir] = process.argv.slice(2)
         process.stdout.write('go')
         restoreBackup({ file, dataDir, replace: true, dryRun: false, nowMs: 0 })`,
      )
      for (let delayMs = 0; delayMs <= 14; delayMs += 2) {
        const dataDir = oldData()
        const child = Bun.spawn([process.execPath, script, file, dataDir], { stdout: 'pipe', stderr: 'inherit' })
        const reader = child.stdout.getReader()
        await reader.read()
        await Bun.sleep(delayMs)
        child.kill('SIGKILL')
        await child.exited
        expect(['old', 'new']).toContain(whichData(dataDir))
      }
    },
    T,
  )

  /** Each state that a stop can leave, one rename after the other. */
  const states: readonly (readonly [string, (dataDir: string) => void, string])[] = [
    ['half written', (dir) => renameSync(join(dir, 'restore'), join(dir, 'restore.new')), 'old'],
    ['whole', () => {}, 'new'],
    ['key in place', (dir) => renameSync(join(dir, 'restore/files/tls/key.pem'), join(dir, 'tls/key.pem')), 'new'],
    ['old one aside', (dir) => renameSync(join(dir, 'wimcast.db'), join(dir, 'wimcast.db.before-x')), 'new'],
    [
      'in place',
      (dir) => {
        rmSync(join(dir, 'wimcast.db'))
        renameSync(join(dir, 'restore/files/tls/key.pem'), join(dir, 'tls/key.pem'))
        renameSync(join(dir, 'restore/wimcast.db'), join(dir, 'wimcast.db'))
      },
      'new',
    ],
  ]
  test.each(states)('a stop when it is %s', (_, stopAt, expected) => {
    const dataDir = oldData()
    const source = fresh()
    must(restore(source))
    mkdirSync(join(dataDir, 'restore', 'files'), { recursive: true })
    renameSync(join(source, 'wimcast.db'), join(dataDir, 'restore', 'wimcast.db'))
    renameSync(join(source, 'tls'), join(dataDir, 'restore', 'files', 'tls'))
    writeFileSync(join(dataDir, 'restore', 'before'), 'wimcast.db.before-x')
    stopAt(dataDir)
    expect(whichData(dataDir)).toBe(expected)
    expect(readdirSync(dataDir).filter((name) => name.startsWith('restore'))).toEqual([])
  })

  /** A directory with another database, and another key. */
  function oldData(): string {
    const dataDir = fresh()
    mkdirSync(join(dataDir, 'tls'), { recursive: true })
    writeFileSync(join(dataDir, 'tls', 'key.pem'), 'old key')
    using old = openDb(dataDir)
    const at = { createdAtMs: 1, changedAtMs: 1 }
    old.db
      .insert(imageGroups)
      .values({ name: 'old', folded: 'old', ...at })
      .run()
    return dataDir
  }

  function whichData(dataDir: string): string {
    using now = openDb(dataDir)
    const names = now.db
      .select()
      .from(imageGroups)
      .all()
      .map(({ name }) => name)
    const key = readFileSync(join(dataDir, 'tls', 'key.pem'), 'utf8')
    if (names.join() === 'old' && key === 'old key') return 'old'
    if (names.join() === 'G' && key === 'the key') return 'new'
    return `${names} with ${key}`
  }
})

function broken(bytes: Uint8Array): Uint8Array {
  for (let page = 2; page * 4096 < bytes.length; page += 1) bytes.fill(0xa5, page * 4096, page * 4096 + 64)
  return bytes
}

describe('the API', () => {
  const app = (role: Role) => {
    const who: Principal = { kind: 'token', name: 't', role, machineGroups: [], address: '' }
    const hono = new OpenAPIHono<Env>()
    hono.use(async (c, next) => {
      c.set('who', who)
      await next()
    })
    hono.onError(onError(silentLog))
    hono.route('/api', backupRoutes({ backups }))
    return (path: string, init?: RequestInit) =>
      hono.fetch(new Request(`https://x/api${path}`, init), { door: { kind: 'https', address: '', limit() {} } })
  }

  test('admins only', async () => {
    for (const [method, path] of [
      ['GET', ''],
      ['POST', ''],
      ['GET', `/${made.name}`],
      ['DELETE', `/${made.name}`],
    ])
      for (const role of ['viewer', 'operator'] as const)
        expect((await app(role)(`/backups${path}`, { method: method ?? '' })).status).toBe(403)
  })

  test('makes, lists, sends ranges, and removes', async () => {
    const ask = app('admin')
    const started = await ask('/backups', { method: 'POST' })
    expect(started.status).toBe(202)
    const job = await opened.jobs.ended(((await started.json()) as { id: number }).id)
    const { name } = job.result as Backup
    expect(((await (await ask('/backups')).json()) as Backup[]).map((one) => one.name)).toEqual([name, made.name])
    const whole = await (await ask(`/backups/${name}`)).bytes()
    expect(whole).toEqual(new Uint8Array(readFileSync(join(opened.dataDir, 'backups', name))))
    const part = await ask(`/backups/${name}`, { headers: { Range: 'bytes=0-5' } })
    expect([part.status, await part.text()]).toEqual([206, 'SQLite'])
    const tried = await ask(`/backups/${name}?dryRun=true`, { method: 'DELETE' })
    expect([tried.status, tried.headers.get('wimcast-dry-run')]).toEqual([204, 'true'])
    expect(backups.list()).toHaveLength(2)
    expect((await ask(`/backups/${name}`, { method: 'DELETE' })).status).toBe(204)
    expect(backups.list()).toHaveLength(1)
    for (const path of [name, '..%2Fwimcast.db', '%2e%2e%2fwimcast.db'])
      expect((await ask(`/backups/${path}`)).status).toBe(404)
  })
})

describe('the command line', () => {
  let dataDir: string
  beforeEach(() => {
    dataDir = fresh()
    mkdirSync(dataDir)
  })
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

  test(
    'restores, rebuilds, and refuses what is no backup',
    async () => {
      cpSync(join(opened.dataDir, 'groups'), join(dataDir, 'groups'), { recursive: true })
      rmSync(join(dataDir, 'groups', '1', 'group.json'), { force: true })
      const restored = await run(['backup', 'restore', file, '--data', dataDir])
      expect(restored).toMatchObject({ code: 0, stdout: expect.stringContaining('restored the backup of ') })
      const again = await run(['backup', 'restore', file, '--data', dataDir, '--json'])
      expect([again.code, again.json<{ error: { code: string } }>().error.code]).toEqual([1, 'exists'])
      rmSync(join(dataDir, 'wimcast.db'))
      const tried = await run(['library', 'rebuild', '--data', dataDir, '--dry-run', '--json'])
      expect(tried.json()).toMatchObject({ dryRun: true, groups: ['Recovered 1'] })
      expect(existsSync(join(dataDir, 'wimcast.db'))).toBe(false)
      const rebuilt = await run(['library', 'rebuild', '--data', dataDir])
      expect(rebuilt).toMatchObject({
        code: 0,
        stdout: expect.stringContaining('1 group, 1 segment and 2 images added'),
      })
      const none = await run(['library', 'rebuild', '--data', join(dataDir, 'nowhere'), '--json'])
      expect([none.code, none.json<{ error: { code: string } }>().error.code]).toEqual([1, 'not-found'])
    },
    T,
  )

  test('options for another appliance are mistakes here', async () => {
    const ran = await run(['library', 'rebuild', '--data', dataDir, '--server', 'https://x'])
    expect(ran).toMatchObject({ code: 2, stderr: expect.stringContaining('--server') })
    expect((await run(['backup', 'restore', '--help'])).stdout).toContain('--replace')
  })
})
