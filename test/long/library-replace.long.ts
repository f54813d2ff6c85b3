/** Replacing the content of an image: what it shows, what stays, what comes back by undo, and what is refused. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Job } from '../../src/jobs/jobs.ts'
import type { InstallImage } from '../../src/library/rows.ts'
import type { ImportRequest } from '../../src/library/transfer/imports.ts'
import { unattendOf } from '../../src/library/unattend.ts'
import { tinyWim } from '../fixtures/api.ts'
import { buildTree, buildWim, type Node, sha1 } from '../fixtures/image-tree.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import { randomOf } from '../fixtures/seed.ts'
import {
  append,
  applied,
  capture,
  detailsOf,
  differences,
  HAS_STOCK,
  imagex,
  makeTree,
  sha256,
  treeOf,
} from '../fixtures/wims.ts'

const T = 60_000
let work: string
let opened: Opened
let counter = 0

const path = (name: string): string => join(work, name)
const fresh = (ending = ''): string => {
  counter += 1
  return path(`out-${counter}${ending}`)
}

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-replace-'))
})
afterAll(() => rmSync(work, { recursive: true, force: true }))
beforeEach(async () => {
  opened = await openTestLibrary()
})
afterEach(async () => {
  await opened[Symbol.asyncDispose]()
})

function written(bytes: Uint8Array): string {
  const file = fresh('.wim')
  writeFileSync(file, bytes)
  return file
}

const tiny = (text: string, names: readonly string[] = ['One']): string => written(tinyWim(names, { text }))
const one = (name = 'One'): InstallImage => must(opened.library.images.show({ name, group: 'G' }, LOCAL))

async function replace(file: string, request: Partial<ImportRequest> = {}, by = BY): Promise<Job> {
  return opened.importFile(file, { replace: { name: 'One', group: 'G' }, ...request }, by)
}

async function replaced(file: string, request: Partial<ImportRequest> = {}): Promise<Job> {
  const job = await replace(file, request)
  expect([job.state, job.error?.message]).toEqual(['done', undefined])
  return job
}

/** The image as a file, and the etag it is served under. */
async function served(image: InstallImage): Promise<{ readonly file: string; readonly etag: string }> {
  const content = must(await opened.library.images.content(image))
  return { file: await saveContent(content, fresh('.wim')), etag: content.etag }
}

/** `code`, and nothing of the library has changed. */
async function refuses(code: string, run: () => Promise<Job | { readonly ok: false }> | Job): Promise<void> {
  const before = opened.snapshot()
  const ended = await run()
  expect(ended).toMatchObject('ok' in ended ? { ok: false, error: { code } } : { state: 'failed', error: { code } })
  const { error } = ended as { error?: { message: string; hint: string } }
  expect(error?.message.length).toBeLessThan(1000)
  expect(error?.hint).toMatch(/\w/)
  expect(opened.snapshot()).toEqual(before)
  expect(opened.leftovers()).toEqual([])
}

/** Trees by chance, of all that a tree can hold. Contents repeat between them, as those of two editions do. */
function randomWim(seed: number): Uint8Array {
  const random = randomOf(seed)
  const upTo = (most: number): number => Math.floor(random() * most)
  const blobs = new Map<string, Uint8Array>()
  const keep = (bytes: Uint8Array): Uint8Array => {
    const hash = sha1(bytes)
    blobs.set(Buffer.from(hash).toString('hex'), bytes)
    return hash
  }
  const content = (): Uint8Array => keep(Buffer.from(`content ${upTo(12)} `.repeat(1 + upTo(4000))))
  // Revision 1, self-relative, owner and group S-1-5-18 / S-1-5-32-544, no ACLs.
  const descriptor = Buffer.from(
    '010000801400000020000000000000000000000001010000000000051200000001020000000000052000000020020000',
    'hex',
  )
  const junction = Buffer.concat([
    Buffer.from('0000200022000000', 'hex'),
    Buffer.from('\\??\\C:\\Windows\\x\0C:\\Win\0\0', 'utf16le'),
  ])
  const time = (): bigint => 133_000_000_000_000_000n + BigInt(upTo(1e9))
  let linkGroup = 100
  const kinds: ((name: string, depth: number) => Node[])[] = [
    (name) => [{ name, hash: content(), time: time() }],
    (name) => [{ name, attributes: 0x27, security: upTo(2), hash: content() }],
    (name) => [
      { name: name.toUpperCase(), hash: content() },
      { name: name.toLowerCase(), hash: content() },
    ],
    (name) => {
      linkGroup += 1
      const linked = { hash: content(), linkGroup, security: 0 }
      return [
        { name: `${name} a`, ...linked },
        { name: `${name} b`, ...linked },
      ]
    },
    (name) => [{ name, hash: content(), streams: [{ name: 'Zone.Identifier', hash: content() }] }],
    (name) => [{ name, attributes: 0x410, reparseTag: 0xa000_0003, hash: keep(junction) }],
    (name) => [{ name, shortName: `SHORT~${upTo(9)}`, hash: content() }],
    (name) => [{ name }],
    (name, depth) => [{ name: `${name} ${'long '.repeat(30)}`.trim(), children: depth > 4 ? [] : nodes(depth + 1) }],
    (name, depth) => [
      {
        name,
        security: upTo(2),
        streams: [{ name: 'on a directory', hash: content() }],
        children: depth > 4 ? [] : nodes(depth + 1),
      },
    ],
  ]
  const nodes = (depth: number): Node[] =>
    Array.from(
      { length: 2 + upTo(6) },
      (_, i) => kinds[upTo(kinds.length)]?.(`Größe ${depth}.${i}`, depth) ?? [],
    ).flat()
  const tree = buildTree({ name: '', security: 0, children: nodes(0) }, [
    descriptor,
    Buffer.concat([descriptor, Buffer.alloc(4)]),
  ])
  return buildWim([{ name: `tree ${seed}`, metadata: tree.bytes }], [...blobs.values()])
}

describe.skipIf(!HAS_STOCK)('the view is the new source, and by undo the old one', () => {
  test.each([1, 2, 3])(
    'trees by chance, seed %i',
    async (seed) => {
      const [a, b] = [written(randomWim(seed)), written(randomWim(1000 + seed))]
      await opened.imported(a, { name: 'One', fileName: 'one' })
      const first = await served(one())
      await replaced(b)
      const second = await served(one())
      await imagex('verify', second.file)
      expect(second.etag).not.toBe(first.etag)
      expect(differences(await detailsOf(second.file, 1), await detailsOf(b, 1))).toEqual([])
      must(opened.library.trash.undo({ name: 'One', group: 'G' }, BY))
      const back = await served(one())
      expect([back.etag, sha256(back.file)]).toEqual([first.etag, sha256(first.file)])
      expect(differences(await detailsOf(back.file, 1), await detailsOf(a, 1))).toEqual([])
      // What it was lies in the trash again: undo goes both ways.
      must(opened.library.trash.undo({ name: 'One', group: 'G' }, BY))
      expect((await served(one())).etag).toBe(second.etag)
    },
    T,
  )

  test(
    'a folder on disk, converted from XPRESS and from a solid file, by index out of several',
    async () => {
      const [pro, home] = [makeTree(path('pro')), makeTree(path('home'), { edition: 'Home' })]
      await opened.imported(await capture(pro, path('pro.wim'), 'One'), { fileName: 'one' })
      const first = await served(one())
      const several = await append(home, await capture(pro, path('several.esd'), 'Pro', '--solid'), 'Home')
      const xpress = await capture(home, path('home.wim'), 'Home', '--compress=xpress')
      for (const [file, select] of [
        [xpress, { kind: 'all' }],
        [several, { kind: 'index', index: 2 }],
        [several, { kind: 'name', name: 'home' }],
      ] as const) {
        await replaced(file, { select })
        const now = await served(one())
        await imagex('verify', now.file)
        expect(differences(treeOf(await applied(now.file, 1, fresh())), treeOf(home))).toEqual([])
      }
      expect(opened.library.trash.list(LOCAL).length).toBe(3)
      for (let i = 0; i < 5; i += 1) must(opened.library.trash.undo({ name: 'One', group: 'G' }, BY))
      // The oldest version, restored by name.
      const [oldest] = opened.library.trash.list(LOCAL)
      must(opened.library.trash.restore(oldest?.id ?? 0, {}, BY))
      expect((await served(one())).etag).toBe(first.etag)
      must(await opened.library.trash.empty({}, BY))
      await opened.library.collect(1)
      await imagex('verify', (await served(one())).file)
    },
    T,
  )
})

test('all that was said of it stays; the audit log says what became of what', async () => {
  await opened.imported(tiny('old'), { fileName: 'one' })
  const said = { version: 'V1', comment: 'C', architecture: 'arm64', language: 'de-DE', displayOrder: 7 }
  const audience = { roles: ['operator'], machineGroups: ['Lab'] } as const
  const unattend = '<unattend xmlns="urn:schemas-microsoft-com:unattend"/>'
  must(opened.library.images.set({ name: 'One', group: 'G' }, { ...said, audience, unattend, enabled: true }, BY))
  must(opened.library.images.set({ name: 'One', group: 'G' }, { bootDefault: true }, BY))
  const before = one()
  const job = await replaced(tiny('new', ['Another name']))
  // It is limited to some: whoever sees the group sees the job, which does not name it.
  expect(JSON.stringify({ ...job, kind: '' })).not.toMatch(/one\.wim|"One"/)
  const after = one()
  expect(job).toMatchObject({
    kind: 'image.replace',
    title: expect.stringMatching(/^replace an image of G by out/),
    result: { group: 'G', blobs: 1, newBlobs: 1 },
  })
  expect(after).toEqual({
    ...before,
    contentId: after.contentId,
    changedAtMs: after.changedAtMs,
    facts: { ...before.facts, name: 'Another name' },
    viewBytes: after.viewBytes,
  })
  expect(after.contentId).not.toBe(before.contentId)
  expect(after.changedAtMs).toBeGreaterThan(before.changedAtMs)
  expect(unattendOf(opened.db, after.id)).toBe(unattend)
  const [line] = opened.changes.list({ verb: 'image.replace' })
  expect(line).toMatchObject({
    who: 'local',
    subject: 'G/one.wim',
    jobId: job.id,
    before: { content: before.contentId },
    after: { content: after.contentId },
  })
  expect(opened.library.trash.list(LOCAL)).toMatchObject([{ kind: 'version', title: 'One', fileName: 'one.wim' }])
  expect(JSON.stringify(opened.changes.list())).not.toContain('urn:schemas')
})

test('name and description when they are given', async () => {
  await opened.imported(tiny('old'), { fileName: 'one' })
  expect(await replaced(tiny('new'), { name: 'Zwei', description: 'neu' })).toMatchObject({
    title: expect.stringMatching(/^replace G\/one\.wim by /),
    result: { image: 'Zwei', fileName: 'one.wim' },
  })
  expect(one('zwei')).toMatchObject({ name: 'Zwei', foldedName: 'zwei', description: 'neu', fileName: 'one.wim' })
})

test('by a content that the group holds already: no bytes but the tree', async () => {
  const file = tiny('same')
  await opened.imported(file, { fileName: 'one' })
  const before = await served(one())
  expect((await replaced(file)).result).toMatchObject({ blobs: 1, newBlobs: 0 })
  const after = await served(one())
  expect(sha256(after.file)).toBe(sha256(before.file))
  must(await opened.library.trash.empty({}, BY))
  await opened.library.collect(1)
  // The tree is the new one's; what it shares with the old one must have stayed.
  expect(sha256((await served(one())).file)).toBe(sha256(before.file))
})

test('what is being sent goes on with the old content', async () => {
  await opened.imported(tiny('old'), { fileName: 'one' })
  const content = must(await opened.library.images.content(one()))
  const before = sha256(await saveContent(content, fresh()))
  using held = must(await content.open())
  await replaced(tiny('new'))
  must(await opened.library.trash.empty({}, BY))
  await opened.library.collect(1)
  expect(held.pieces.length).toBeGreaterThan(0)
  const again = { ...content, open: async () => ({ ok: true as const, value: { ...held, [Symbol.dispose]() {} } }) }
  expect(sha256(await saveContent(again, fresh()))).toBe(before)
})

describe('refused, and the library is as it was', () => {
  const seen = (architecture: number): Uint8Array => {
    const blob = Buffer.from(`of ${architecture}`)
    const tree = buildTree({ name: '', children: [{ name: 'file.txt', hash: sha1(blob) }] })
    const xml = `<IMAGE><NAME>One</NAME><WINDOWS><ARCH>${architecture}</ARCH></WINDOWS></IMAGE>`
    return buildWim([{ name: 'One', metadata: tree.bytes, xml }], [blob])
  }

  test('several images, and none is named', async () => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    const several = tiny('new', ['A', 'B', 'C'])
    await refuses('ambiguous', () => replace(several))
    expect(opened.jobs.list(1)[0]?.error).toMatchObject({
      hint: expect.stringContaining('1 "A", 2 "B", 3 "C"'),
      facts: { images: ['A', 'B', 'C'] },
    })
    await refuses('not-found', () => replace(several, { select: { kind: 'index', index: 4 } }))
    await refuses('not-found', () => replace(several, { select: { kind: 'name', name: 'x'.repeat(1 << 20) } }))
    await replaced(several, { select: { kind: 'name', name: 'b' } })
    expect(one().facts.name).toBe('B')
  })

  test('another architecture for a default, unless it was said that it has none of its own', async () => {
    await opened.imported(written(seen(9)), { fileName: 'one' })
    must(opened.library.images.set({ name: 'One', group: 'G' }, { bootDefault: true }, BY))
    await refuses('boot-default', () => replace(written(seen(0))))
    // Found out before anything is copied.
    expect(opened.jobs.list(1)[0]?.step).toBe('read the tables')
    await refuses('boot-default', () => replace(tiny('says nothing')))
    await refuses('boot-default', () => replace(written(seen(0)), {}, { ...BY, dryRun: true }))
    must(opened.library.images.set({ name: 'One', group: 'G' }, { architecture: 'x64' }, BY))
    await replaced(written(seen(0)))
  })

  test('two admins at once: the second is told', async () => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    const gate = Promise.withResolvers<void>()
    const held = opened.jobs.inLane('group:1', () => gate.promise)
    const started = ['a', 'b'].map((text) => must(opened.start(tiny(text), { replace: { name: 'One', group: 'G' } })))
    gate.resolve()
    await held
    const ended = await Promise.all(started.map(({ id }) => opened.jobs.ended(id)))
    expect(ended.map((job) => job.error?.code ?? job.state)).toEqual(['done', 'changed'])
    expect(opened.library.trash.list(LOCAL).length).toBe(1)
  })

  test.each<[string, string, () => unknown]>([
    ['removed', 'not-found', () => opened.library.images.remove({ name: 'One', group: 'G' }, BY)],
    ['put back', 'changed', () => opened.library.trash.undo({ name: 'One', group: 'G' }, BY)],
  ])('an image that was %s while the job waited', async (_, code, change) => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    await replaced(tiny('newer'))
    const gate = Promise.withResolvers<void>()
    const held = opened.jobs.inLane('group:1', () => gate.promise)
    const { id } = must(opened.start(tiny('newest'), { replace: { name: 'One', group: 'G' } }))
    change()
    await refuses(code, async () => {
      gate.resolve()
      await held
      return opened.jobs.ended(id)
    })
  })

  test('renamed and moved to another file name meanwhile it is still the same image', async () => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    const gate = Promise.withResolvers<void>()
    const held = opened.jobs.inLane('group:1', () => gate.promise)
    const { id } = must(opened.start(tiny('new'), { replace: { name: 'One', group: 'G' } }))
    must(opened.library.images.set({ name: 'One', group: 'G' }, { name: 'Other', fileName: 'other' }, BY))
    gate.resolve()
    await held
    expect(await opened.jobs.ended(id)).toMatchObject({ state: 'done', result: { image: 'Other' } })
    expect(one('Other')).toMatchObject({ fileName: 'other.wim' })
  })

  test('more than the quota', async () => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    const { storedBytes } = must(opened.library.groups.show('G', LOCAL))
    must(opened.library.groups.set('G', { quotaBytes: storedBytes + 100 }, BY))
    await refuses('over-quota', () => replace(tiny('new')))
  })

  test('a dry run tells, and changes nothing', async () => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    const before = opened.snapshot()
    const job = await replace(tiny('new'), {}, { ...BY, dryRun: true })
    expect(job).toMatchObject({
      state: 'done',
      result: { dryRun: true, images: [{ name: 'One', fileName: 'one.wim', index: 1 }], newBlobs: 1, converts: false },
    })
    expect(opened.snapshot()).toEqual(before)
    expect((await replaced(tiny('new'))).result).toMatchObject({ storedBytes: job.result?.['storedBytes'] })
  })

  test('names that cannot be, and what is not there: at once', async () => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    const file = tiny('new')
    const before = opened.snapshot()
    const requests: [Partial<ImportRequest>, string][] = [
      [{ name: 'x\0y' }, 'bad-name'],
      [{ name: '  ' }, 'bad-name'],
      [{ description: 'x'.repeat(10 << 20) }, 'bad-name'],
      [{ replace: { name: 'Nobody', group: 'G' } }, 'not-found'],
      [{ replace: { name: 'One', group: '../G' } }, 'not-found'],
    ]
    for (const [request, code] of requests)
      expect(opened.start(file, { replace: { name: 'One', group: 'G' }, ...request })).toMatchObject({
        ok: false,
        error: { code },
      })
    expect(opened.snapshot()).toEqual(before)
    expect(opened.jobs.list().length).toBe(1)
  })

  test('what is no WIM, cut short, or damaged', async () => {
    await opened.imported(tiny('old'), { fileName: 'one' })
    const good = Buffer.from(tinyWim(['One'], { text: 'a new one' }))
    await refuses('not-a-wim', () => replace(written(Buffer.from('hello'))))
    await refuses('truncated', () => replace(written(good.subarray(0, good.length - 10))))
    const flipped = Buffer.from(good)
    flipped.writeUInt8(flipped.readUInt8(210) ^ 1, 210)
    await refuses('corrupt', () => replace(written(flipped)))
    await refuses('not-found', () => replace(path('nowhere.wim')))
  })
})
