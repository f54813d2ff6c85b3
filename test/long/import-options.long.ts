/** What an import can be told besides the file: properties, dry run, quota, reserve, what happens alongside; and huge files. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import { refuse } from '../../src/base/refusal.ts'
import { ok } from '../../src/base/result.ts'
import { damages, segments } from '../../src/db/schema.ts'
import type { Job } from '../../src/jobs/jobs.ts'
import type { InstallImage } from '../../src/library/rows.ts'
import type { ImportRequest } from '../../src/library/transfer/imports.ts'
import { unattendOf } from '../../src/library/unattend.ts'
import { emptyBlobTable, encodeBlobTable } from '../../src/wim/blob-table.ts'
import { encodeHeader, HEADER_BYTES, HEADER_FLAG, NO_RESOURCE, RESOURCE_FLAG } from '../../src/wim/header.ts'
import { encodeXml } from '../../src/wim/xml.ts'
import { openTestApi, tinyWim } from '../fixtures/api.ts'
import { buildTree, type Node, sha1 } from '../fixtures/image-tree.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import { append, capture, detailsOf, differences, HAS_STOCK, imagex, makeTree } from '../fixtures/wims.ts'

const T = 60_000
const UNATTEND = '<?xml version="1.0"?><unattend xmlns="urn:schemas-microsoft-com:unattend"><secret/></unattend>'
let work: string
let opened: Opened
let counter = 0

const path = (name: string): string => join(work, name)

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-options-'))
})
afterAll(() => rmSync(work, { recursive: true, force: true }))
beforeEach(async () => {
  opened = await openTestLibrary()
})
afterEach(async () => {
  await opened[Symbol.asyncDispose]()
})

function tiny(text: string, names: readonly string[] = ['One']): string {
  counter += 1
  const file = path(`${counter}.wim`)
  writeFileSync(file, tinyWim(names, { text }))
  return file
}

const dry = { ...BY, dryRun: true }
const images = (): InstallImage[] => must(opened.library.images.list({}, LOCAL))

/** Failed with `code` while `step` was the last that began, and nothing of the library has changed. */
async function fails(
  code: string,
  step: string,
  file: string,
  request: Partial<ImportRequest> = {},
  by = BY,
): Promise<Job> {
  const before = opened.snapshot()
  const job = await opened.importFile(file, request, by)
  expect([job.state, job.error?.code, job.step]).toEqual(['failed', code, step])
  expect(opened.snapshot()).toEqual(before)
  expect(opened.leftovers()).toEqual([])
  return job
}

describe('what is said of the images', () => {
  test('is said of each; the answer file stays out of the log', async () => {
    const properties = {
      version: ' V1 ',
      comment: 'two\nlines',
      architecture: 'ARM64',
      language: 'de-de',
      displayOrder: 3,
      unattend: UNATTEND,
    }
    const imported = await opened.imported(tiny('x', ['A', 'B']), {
      properties,
      description: 'said',
      sourceName: 'i.wim',
    })
    expect(imported.length).toBe(2)
    for (const image of imported) {
      expect(image).toMatchObject({
        ...{ version: 'V1', comment: 'two\nlines', architecture: 'arm64', language: 'de-DE', displayOrder: 3 },
        ...{ description: 'said', hasUnattend: true, enabled: true, isPublic: false, bootDefault: false },
      })
      expect(unattendOf(opened.db, image.id)).toBe(UNATTEND)
    }
    const lines = opened.changes.list({ verb: 'image.import' })
    const [job] = opened.jobs.list(1)
    expect(lines.map(({ who, subject, jobId }) => ({ who, subject, jobId }))).toEqual(
      ['G/i-2.wim', 'G/i-1.wim'].map((subject) => ({ who: 'local', subject, jobId: job?.id ?? 0 })),
    )
    expect(lines[0]?.after).toMatchObject({ name: 'B', hasUnattend: true, version: 'V1' })
    expect(JSON.stringify([lines, opened.jobs.list(), opened.log])).not.toContain('secret')
  })

  test('what cannot be is refused before anything begins', () => {
    const file = tiny('x')
    const before = opened.snapshot()
    const requests: [Partial<ImportRequest>, string][] = [
      [{ name: 'a\0b' }, 'bad-name'],
      [{ fileName: '../x' }, 'bad-name'],
      [{ fileName: 'a\0b' }, 'bad-name'],
      [{ fileName: 'CON' }, 'bad-name'],
      [{ description: 'x'.repeat(10 << 20) }, 'bad-name'],
      [{ sourceName: `${'x'.repeat(300)}.wim`, select: { kind: 'index', index: 1 } }, 'bad-name'],
      [{ properties: { version: 'x'.repeat(1000) } }, 'bad-name'],
      [{ properties: { comment: 'a\0b' } }, 'bad-name'],
      [{ properties: { architecture: 'z80' } }, 'bad-name'],
      [{ properties: { language: 'de_DE_x!' } }, 'bad-name'],
      [{ properties: { displayOrder: -1 } }, 'bad-name'],
      [{ properties: { displayOrder: 1.5 } }, 'bad-name'],
      [{ properties: { unattend: '<unattend>' } }, 'bad-unattend'],
      [{ properties: { unattend: '<settings/>' } }, 'bad-unattend'],
      [{ properties: { unattend: '<!DOCTYPE x [<!ENTITY y "z">]><unattend>&y;</unattend>' } }, 'bad-unattend'],
      [{ properties: { unattend: `<unattend>${'x'.repeat(2 << 20)}</unattend>` } }, 'bad-unattend'],
      [{ properties: { unattend: '' } }, 'bad-unattend'],
      [{ group: 'G/../H' }, 'not-found'],
    ]
    for (const [request, code] of requests)
      expect(opened.start(file, request)).toMatchObject({
        ok: false,
        error: { code, hint: expect.stringMatching(/\w/) },
      })
    expect(opened.snapshot()).toEqual(before)
    expect(opened.jobs.list()).toEqual([])
  })

  test('names are looked at before anything is copied', async () => {
    await opened.imported(tiny('x', ['A', 'B']), { sourceName: 'both.wim' })
    await fails('exists', 'read the tables', tiny('y', ['C', 'D']), { sourceName: 'BOTH.esd' })
    await fails('exists', 'read the tables', tiny('y', ['C', 'D']), { sourceName: 'both.esd' }, dry)
    await fails('bad-request', 'read the tables', tiny('y', ['C', 'D']), { name: 'one for two' })
    await fails('bad-request', 'read the tables', tiny('y', ['C', 'D']), { fileName: 'one for two' })
    await fails('bad-name', 'read the tables', tiny('y', ['C', 'D']), { sourceName: 'x'.repeat(300) })
    await fails('bad-name', 'read the tables', tiny('y', ['x'.repeat(300)]))
    // Of one that is in the trash the file name is free.
    must(opened.library.images.remove({ name: 'A', group: 'G' }, BY))
    await opened.imported(tiny('y'), { fileName: 'both-1' })
  })
})

describe('a dry run', () => {
  test('foretells to the byte what a copy takes, and changes nothing', async () => {
    await opened.imported(tiny('x', ['A', 'B']))
    const file = tiny('x', ['B', 'C', 'D'])
    const before = opened.snapshot()
    const planned = await opened.importFile(file, { sourceName: 's.wim' }, dry)
    expect(planned).toMatchObject({ state: 'done', title: expect.stringContaining('dry run') })
    expect(planned.result).toEqual({
      dryRun: true,
      images: ['B', 'C', 'D'].map((name, i) => ({ name, fileName: `s-${i + 1}.wim`, index: i + 1 })),
      group: 'G',
      blobs: 3,
      newBlobs: 2,
      storedBytes: expect.any(Number),
      converts: false,
    })
    expect(opened.snapshot()).toEqual(before)
    expect(opened.leftovers()).toEqual([])
    const made = await opened.importFile(file, { sourceName: 's.wim' })
    expect(made.result).toMatchObject({ blobs: 3, newBlobs: 2, storedBytes: planned.result?.['storedBytes'] })
  })

  test('refuses what would be refused', async () => {
    writeFileSync(path('text'), 'hello')
    await fails('not-a-wim', 'read the tables', path('text'), {}, dry)
    expect(opened.start(tiny('x'), { group: 'none' }, dry)).toMatchObject({ ok: false, error: { code: 'not-found' } })
    must(opened.library.groups.set('G', { quotaBytes: 100 }, BY))
    await fails('over-quota', 'read the trees', tiny('x'), {}, dry)
  })

  test.skipIf(!HAS_STOCK).each([
    ['XPRESS', ['--compress=xpress']],
    ['solid', ['--solid']],
  ])(
    'of a file that must be converted (%s) tells upper bounds',
    async (kind, options) => {
      const tree = makeTree(path(`tree ${kind}`), { smallFiles: 5 })
      const file = await capture(tree, path(`${kind}.wim`), 'Pro', ...options)
      await append(makeTree(path(`home ${kind}`), { edition: 'Home', smallFiles: 5 }), file, 'Home')
      for (const index of [1, 2]) {
        const request = { select: { kind: 'index', index }, fileName: `${index}` } as const
        const before = opened.snapshot()
        const { state, result } = await opened.importFile(file, request, dry)
        expect(state).toBe('done')
        expect(result).toMatchObject({ dryRun: true, converts: true, estimated: true })
        expect(opened.snapshot()).toEqual(before)
        const made = await opened.importFile(file, request)
        for (const key of ['blobs', 'newBlobs', 'storedBytes'])
          expect(Number(made.result?.[key])).toBeLessThanOrEqual(Number(result?.[key]))
        expect(Number(made.result?.['newBlobs'])).toBeGreaterThan(0)
      }
      // All of it is there by now.
      const again = await opened.importFile(file, {}, dry)
      expect(again.result).toMatchObject({ newBlobs: 0 })
    },
    T,
  )
})

describe('room', () => {
  test('a quota is kept to the byte, before anything is copied', async () => {
    await opened.imported(tiny('x'), { fileName: 'x' })
    const { storedBytes } = must(opened.library.groups.show('G', LOCAL))
    const file = tiny('y'.repeat(5000))
    const needed = Number((await opened.importFile(file, { fileName: 'y' }, dry)).result?.['storedBytes'])
    must(opened.library.groups.set('G', { quotaBytes: storedBytes + needed - 1 }, BY))
    const job = await fails('over-quota', 'read the trees', file)
    expect(job.error).toMatchObject({
      hint: expect.stringMatching(/trash.*compact.*quota/),
      facts: { quotaBytes: storedBytes + needed - 1, storedBytes, neededBytes: needed },
    })
    must(opened.library.groups.set('G', { quotaBytes: storedBytes + needed }, BY))
    await opened.imported(file, { fileName: 'y' })
    // What a smaller quota leaves over the brim stays, and nothing comes to it.
    must(opened.library.groups.set('G', { quotaBytes: 10 }, BY))
    expect(opened.start(tiny('z'))).toMatchObject({ ok: false, error: { code: 'over-quota' } })
    expect(images().length).toBe(2)
  })

  test('a quota that came while it ran', async () => {
    const before = opened.snapshot() as { groups: unknown; audit: unknown }
    const { id } = must(opened.start(tiny('x')))
    opened.events.push = (...events) => {
      if (must(opened.jobs.show(id)).step === 'publish') {
        opened.events.push = Array.prototype.push
        must(opened.library.groups.set('G', { quotaBytes: 10 }, BY))
      }
      return Array.prototype.push.apply(opened.events, events)
    }
    expect(await opened.jobs.ended(id)).toMatchObject({ state: 'failed', error: { code: 'over-quota' } })
    expect(opened.snapshot()).toEqual({ ...before, groups: expect.anything(), audit: expect.anything() })
  })

  test('the reserve is a setting', async () => {
    must(opened.settings.set('space.reserve', '4 PiB', BY))
    const job = await fails('no-space', 'read the trees', tiny('x'))
    expect(job.error?.facts).toMatchObject({ reserveBytes: 4 * 1024 ** 5 })
    must(opened.settings.set('space.reserve', undefined, BY))
    await opened.imported(tiny('x'))
  })
})

describe('alongside', () => {
  test('each image has its own, in the same commit; it begins after that', async () => {
    const done: string[] = []
    const job = await opened.importFile(tiny('x', ['A', 'B']), {
      alongside: (image, by) => {
        expect(by.jobId).toBeGreaterThan(0)
        return ok({
          value: { name: image.name },
          entries: [{ verb: 'cast.new', subject: image.fileName }],
          afterwards: () => done.push(`${image.name} of ${images().length}`),
        })
      },
    })
    expect(job).toMatchObject({ state: 'done', result: { transmissions: [{ name: 'A' }, { name: 'B' }] } })
    expect(done).toEqual(['A of 2', 'B of 2'])
    expect(
      opened.changes
        .list()
        .map(({ verb }) => verb)
        .slice(0, 4),
    ).toEqual([...['cast.new', 'image.import', 'cast.new', 'image.import']])
  })

  test('what it refuses refuses the import; a dry run does without it', async () => {
    let asked = 0
    const alongside: ImportRequest['alongside'] = (image) => {
      asked += 1
      return image.name === 'B' ? refuse('exists', 'there is one', 'Take another.') : ok({ value: {}, entries: [] })
    }
    await fails('exists', 'publish', tiny('x', ['A', 'B']), { alongside })
    expect(asked).toBe(2)
    expect(await opened.importFile(tiny('x', ['A', 'B']), { alongside }, dry)).toMatchObject({ state: 'done' })
    expect(asked).toBe(2)
  })
})

test('a content that was found damaged comes anew', async () => {
  const file = tiny('precious', ['A', 'B'])
  await opened.imported(file, { sourceName: 'one.wim' })
  const [segment] = opened.db.select().from(segments).all()
  const hash = Buffer.from(sha1(Buffer.from('precious of A'))).toString('hex')
  const damage = { segmentId: segment?.id ?? 0, sha1: hash, foundAtMs: 1 }
  opened.db.insert(damages).values(damage).run()
  expect((await opened.importFile(file, { sourceName: 'two.wim' }, dry)).result).toMatchObject({ newBlobs: 1 })
  expect((await opened.importFile(file, { sourceName: 'two.wim' })).result).toMatchObject({ blobs: 2, newBlobs: 1 })
  // Of a file that is gone nothing is built on.
  opened.db.delete(damages).where(eq(damages.sha1, hash)).run()
  for (const { id } of opened.db.select().from(segments).all())
    opened.db.insert(damages).values({ segmentId: id, sha1: '', foundAtMs: 1 }).run()
  rmSync(join(opened.dataDir, 'groups/1', segment?.fileName ?? ''))
  expect((await opened.importFile(file, { sourceName: 'three.wim' })).result).toMatchObject({ blobs: 2, newBlobs: 2 })
})

/** Two images; a content of the first is a hole of `holeBytes`, and all of the second lies behind it. */
function writeHuge(file: string, holeBytes: number): Node {
  const blobs = ['first', 'second', 'stream'].map((text) => Buffer.from(`${text} `.repeat(3000)))
  const [first, second, stream] = blobs.map(sha1)
  const hole = sha1(Buffer.from('never read'))
  const root = (children: readonly Node[]): Node => ({ name: '', children })
  const one = root([
    { name: 'hole', hash: hole },
    { name: 'first', hash: first ?? hole },
  ])
  const two = root([
    { name: 'second', hash: second ?? hole, streams: [{ name: 's', hash: stream ?? hole }] },
    { name: 'folder', children: [{ name: 'again', hash: second ?? hole }] },
  ])
  const trees = [one, two].map((node) => buildTree(node).bytes)
  const resources = [
    { bytes: blobs[0], hash: first, flags: 0 },
    { size: holeBytes, hash: hole, flags: 0 },
    { bytes: blobs[1], hash: second, flags: 0 },
    { bytes: blobs[2], hash: stream, flags: 0 },
    ...trees.map((bytes) => ({ bytes, hash: sha1(bytes), flags: RESOURCE_FLAG.metadata })),
  ] as readonly { bytes?: Uint8Array; size?: number; hash: Uint8Array; flags: number }[]
  const table = emptyBlobTable(resources.length)
  const fd = openSync(file, 'w')
  let at = HEADER_BYTES
  for (const [i, { bytes, hash, flags, size = bytes?.length ?? 0 }] of resources.entries()) {
    if (bytes) writeSync(fd, bytes, 0, bytes.length, at)
    table.sizeInWim[i] = size
    table.size[i] = size
    table.offset[i] = at
    table.flags[i] = flags
    table.part[i] = 1
    table.refCount[i] = 1
    table.sha1.set(hash, i * 20)
    at += size
  }
  const tableBytes = encodeBlobTable(table)
  const xmlAt = at + tableBytes.length
  const xml = encodeXml(
    ['Hole', 'Behind'].map((name) => `<IMAGE><NAME>${name}</NAME></IMAGE>`),
    xmlAt,
  )
  const header = encodeHeader({
    flags: HEADER_FLAG.compressed | HEADER_FLAG.lzx,
    chunkSize: 32_768,
    guid: Buffer.alloc(16, 9),
    imageCount: 2,
    blobTable: { sizeInWim: tableBytes.length, flags: 0, offset: at, size: tableBytes.length },
    xml: { sizeInWim: xml.length, flags: 0, offset: xmlAt, size: xml.length },
    bootMetadata: NO_RESOURCE,
    bootIndex: 0,
  })
  writeSync(fd, header, 0, header.length, 0)
  writeSync(fd, tableBytes, 0, tableBytes.length, at)
  writeSync(fd, xml, 0, xml.length, xmlAt)
  ftruncateSync(fd, xmlAt + xml.length)
  closeSync(fd)
  return two
}

describe.skipIf(!HAS_STOCK)('a file of more than 64 GiB', () => {
  const holeBytes = 65 * 1024 ** 3 + 12_345
  let huge: string

  const ends = (): unknown => {
    const { size, mtimeNs, ctimeNs } = statSync(huge, { bigint: true })
    const fd = openSync(huge, 'r')
    const bytes = Buffer.alloc(1 << 16)
    const pieces = [0, Number(size) - bytes.length].map((at) => {
      readSync(fd, bytes, 0, bytes.length, at)
      return Buffer.from(sha1(bytes)).toString('hex')
    })
    closeSync(fd)
    return { size, mtimeNs, ctimeNs, pieces }
  }

  beforeAll(() => {
    huge = path('huge.wim')
    writeHuge(huge, holeBytes)
  })

  test(
    'the one image that lies behind all of that is imported as fast as any other',
    async () => {
      expect(statSync(huge).size).toBeGreaterThan(2 ** 36)
      expect(statSync(huge).blocks * 512).toBeLessThan(1 << 20)
      const before = ends()
      const startedMs = performance.now()
      const [image] = await opened.imported(huge, { select: { kind: 'index', index: 2 } })
      expect(performance.now() - startedMs).toBeLessThan(20_000)
      expect(ends()).toEqual(before)
      if (!image) throw new Error('no image came')
      expect(image).toMatchObject({ name: 'Behind', fileName: 'huge.wim' })
      const view = await saveContent(must(await opened.library.images.content(image)), path('behind.wim'))
      expect(statSync(view).size).toBeLessThan(1 << 20)
      await imagex('verify', view)
      expect(differences(await detailsOf(view, 1), await detailsOf(huge, 2))).toEqual([])
    },
    T,
  )

  test(
    'all of it is refused before a byte is copied: by the quota, by the disk',
    async () => {
      const before = ends()
      must(opened.library.groups.set('G', { quotaBytes: 1024 ** 3 }, BY))
      const job = await fails('over-quota', 'read the trees', huge)
      expect(Number(job.error?.facts?.['neededBytes'])).toBeGreaterThan(holeBytes)
      must(opened.library.groups.set('G', { quotaBytes: null }, BY))
      must(opened.settings.set('space.reserve', '1 PiB', BY))
      await fails('no-space', 'read the trees', huge)
      await fails('no-space', 'read the trees', huge, {}, dry)
      expect(ends()).toEqual(before)
    },
    T,
  )
})

describe('over the API', () => {
  test('import and replace with all they take; a dry run leaves its upload', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'wimcast-import-api-'))
    await using api = await openTestApi(dataDir)
    await using _ = { [Symbol.asyncDispose]: async () => rmSync(dataDir, { recursive: true, force: true }) }
    mkdirSync(api.root)
    const file = (name: string, text: string): string => {
      const full = join(api.root, name)
      writeFileSync(full, tinyWim(['One'], { text }))
      return full
    }
    expect((await api.ask('POST', '/api/groups', { json: { name: 'G' } })).status).toBe(201)
    const properties = {
      ...{ version: 'V', comment: 'C', architecture: 'x64', language: 'en-US', displayOrder: 1, unattend: UNATTEND },
    }
    const json = { path: file('a.wim', 'a'), group: 'G', ...properties }

    const tried = await api.ask('POST', '/api/imports?dryRun=true', { as: 'operator', json })
    expect([tried.status, tried.headers.get('Wimcast-Dry-Run')]).toEqual([202, 'true'])
    expect(await api.ended(tried)).toMatchObject({ state: 'done', result: { dryRun: true, newBlobs: 1 } })
    expect((await api.ask('GET', '/api/images')).body).toEqual([])

    const started = await api.ask('POST', '/api/imports', { as: 'operator', json })
    expect([started.status, started.headers.get('Wimcast-Dry-Run')]).toEqual([202, null])
    expect(await api.ended(started)).toMatchObject({ state: 'done', startedBy: 'token:operator' })
    const { unattend, ...shown } = properties
    expect((await api.ask('GET', '/api/images/One?group=G')).body).toMatchObject({ ...shown, hasUnattend: true })
    expect((await api.ask('GET', '/api/images/One/unattend')).text).toBe(unattend)

    // A replacement, from an upload; the dry run before it leaves the upload there.
    const { id: sent } = (await api.ask('POST', '/api/uploads')).body as { id: string }
    await api.ask('PUT', `/api/uploads/${sent}/b.wim`, {
      body: Buffer.from(tinyWim(['One'], { text: 'b' })),
      headers: { 'Content-Type': 'application/octet-stream' },
    })
    const call = { as: 'operator', json: { upload: sent, sourceName: 'b.wim', index: '1', name: 'Two' } } as const
    for (const query of ['&dryRun=true', '']) {
      const replaced = await api.ask('POST', `/api/images/One/replacements?group=G&file=a.wim${query}`, call)
      expect(replaced.status).toBe(202)
      expect(await api.ended(replaced)).toMatchObject({ kind: 'image.replace', state: 'done' })
    }
    expect((await api.ask('POST', '/api/imports', call)).code).toBe('not-found')
    expect((await api.ask('GET', '/api/images/Two?file=a.wim')).body).toMatchObject({ ...shown, hasUnattend: true })

    // With transmissions of its images, made by the same commit; what is odd is told at once.
    const cast = {
      path: file('c.wim', 'c'),
      group: 'G',
      multicast: { name: 'T', clientCount: 2, startTime: '2020/01/01:00:00' },
    }
    const warned = await api.ask('POST', '/api/imports?dryRun=true', { json: cast })
    expect(warned.body).toMatchObject({ warnings: [expect.stringContaining('passed')] })
    expect(await api.ended(warned)).toMatchObject({ state: 'done' })
    expect((await api.ask('GET', '/api/casts')).body).toEqual([])
    expect(await api.ended(await api.ask('POST', '/api/imports', { json: cast }))).toMatchObject({
      state: 'done',
      result: { images: ['One'], transmissions: [{ name: 'T' }] },
    })
    expect((await api.ask('GET', '/api/casts')).body).toMatchObject([{ name: 'T', image: 'One', group: 'G' }])

    // The reserve holds for uploads too.
    const reserve = (value: string | null) => api.ask('PUT', '/api/settings/space.reserve', { json: { value } })
    expect((await reserve('4 PiB')).status).toBe(200)
    const { id } = (await api.ask('POST', '/api/uploads')).body as { id: string }
    const headers = { 'Content-Type': 'application/octet-stream' }
    expect(await api.ask('PUT', `/api/uploads/${id}/x.wim`, { body: 'x', headers })).toMatchObject({
      status: 507,
      code: 'no-space',
    })
    expect((await reserve(null)).status).toBe(200)

    const refused: [string, unknown, string, number][] = [
      ['/api/images/Nobody/replacements', { path: json.path }, 'not-found', 404],
      ['/api/images/Two/replacements', { path: json.path, fileName: 'x' }, 'bad-request', 400],
      ['/api/images/Two/replacements', { path: '/etc/passwd' }, 'bad-path', 400],
      ['/api/images/Two/replacements?dryRun=maybe', { path: json.path }, 'bad-request', 400],
      ['/api/imports', { ...json, unattend: '<x' }, 'bad-unattend', 422],
      ['/api/imports', { ...json, multicast: { manualStart: true, clientCount: 3 } }, 'bad-request', 400],
      ['/api/imports', { ...json, description: 'x'.repeat(10 << 20) }, 'bad-request', 400],
    ]
    for (const [route, body, code, status] of refused) {
      const answer = await api.ask('POST', route, { json: body })
      expect([route, answer.code, answer.status]).toEqual([route, code, status])
    }
    for (const [as, status] of [
      ['viewer', 403],
      ['nobody', 401],
    ] as const)
      expect((await api.ask('POST', '/api/images/Two/replacements', { as, json: { path: json.path } })).status).toBe(
        status,
      )
  })
})
