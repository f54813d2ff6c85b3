/**
 * Exports that the service writes, with stock `wimlib-imagex` as the judge: what was exported, and what was in the file
 * before, is what the library and the file held; whatever goes wrong, the target is as it was and nothing lies about.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lockNow } from '../../ffi/libc/lock.ts'
import { audit } from '../../src/db/schema.ts'
import type { Job } from '../../src/jobs/jobs.ts'
import type { ExportRequest } from '../../src/library/transfer/export.ts'
import { openTarget, partBeside, publish } from '../../src/library/transfer/export-target.ts'
import { planExport } from '../../src/library/transfer/export-task.ts'
import { openSource } from '../../src/wim/source.ts'
import { buildTree, buildWim, type Node, sha1 } from '../fixtures/image-tree.ts'
import { SELF } from '../fixtures/job-child.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary, saveContent } from '../fixtures/library.ts'
import {
  append,
  applied,
  capture,
  detailsOf,
  differences,
  HAS_STOCK,
  imagex,
  makeTree,
  sampleBytes,
  sha256,
  treeOf,
} from '../fixtures/wims.ts'

const T = 60_000
let work: string
let out: string
let opened: Opened
let homeTree: string
let proTree: string
let windowsDetails: string
let counter = 0

const path = (name: string): string => join(work, name)
const fresh = (): string => {
  counter += 1
  return path(`tree-${counter}`)
}

/** Hard links, named streams, a junction, ACLs, short names: what no capture on Linux gives. */
function windowsWim(file: string): string {
  const hash = (text: string): Uint8Array => sha1(Buffer.from(text))
  const blobs = ['data', 'zone', 'directory stream'].map((text) => Buffer.from(text))
  const descriptor = Buffer.from(
    '010000801400000020000000000000000000000001010000000000051200000001020000000000052000000020020000',
    'hex',
  )
  const junction = Buffer.concat([
    Buffer.from('0000200022000000', 'hex'),
    Buffer.from('\\??\\C:\\Windows\\x\0', 'utf16le'),
    Buffer.from('C:\\Win\0\0', 'utf16le'),
  ])
  const linked: Partial<Node> = {
    hash: hash('data'),
    security: 0,
    linkGroup: 77,
    streams: [{ name: 'Zone.Identifier', hash: hash('zone') }],
  }
  const root: Node = {
    name: '',
    security: 0,
    children: [
      {
        name: 'Program Files',
        shortName: 'PROGRA~1',
        security: 1,
        children: [{ name: 'linked one', ...linked }],
        streams: [{ name: 'on a directory', hash: hash('directory stream') }],
      },
      { name: 'linked two', ...linked },
      { name: 'junction', attributes: 0x410, reparseTag: 0xa000_0003, hash: sha1(junction) },
      { name: 'Größe', shortName: 'GRE~1', security: 1, hash: hash('zone') },
    ],
  }
  const tree = buildTree(root, [descriptor, Buffer.concat([descriptor, Buffer.alloc(4)])])
  writeFileSync(file, buildWim([{ name: 'Windows', metadata: tree.bytes }], [...blobs, junction]))
  return file
}

beforeAll(async () => {
  if (!HAS_STOCK) return
  work = mkdtempSync(join(realpathSync(tmpdir()), 'wimcast-export-'))
  const home = makeTree(path('home'), { edition: 'Home', smallFiles: 12 })
  const pro = makeTree(path('pro'), { smallFiles: 12 })
  await capture(home, path('home.wim'), 'Home')
  await capture(pro, path('pro.wim'), 'Pro')
  windowsWim(path('windows.wim'))
  homeTree = treeOf(await applied(path('home.wim'), 1, fresh()))
  proTree = treeOf(await applied(path('pro.wim'), 1, fresh()))
  windowsDetails = await detailsOf(path('windows.wim'), 1)
  opened = await openTestLibrary()
  await opened.imported(path('pro.wim'))
  await opened.imported(path('windows.wim'))
}, T)
afterAll(async () => {
  await opened?.[Symbol.asyncDispose]()
  if (work) rmSync(work, { recursive: true, force: true })
}, T)
beforeEach(() => {
  if (work) out = mkdtempSync(join(work, 'out-'))
})

const started = (request: Partial<ExportRequest>, dryRun = false): Job =>
  must(
    opened.library.exports.start(
      { selector: { name: 'Pro' }, path: join(out, 'x.wim'), ifExists: 'fail', skipVerify: false, ...request },
      { ...BY, dryRun },
    ),
  )
const exported = (request: Partial<ExportRequest> = {}, dryRun = false): Promise<Job> =>
  opened.jobs.ended(started(request, dryRun).id)

async function done(request: Partial<ExportRequest> = {}): Promise<Readonly<Record<string, unknown>>> {
  const job = await exported(request)
  if (job.state !== 'done') throw new Error(`${JSON.stringify(job.error)}\n${opened.log.join('\n')}`)
  expect(opened.leftovers()).toEqual([])
  return job.result ?? {}
}

async function refused(code: string, request: Partial<ExportRequest>): Promise<Job> {
  const job = await exported(request)
  expect([job.state, job.error]).toMatchObject(['failed', { code }])
  expect(job.error?.hint).not.toBe('')
  expect(opened.leftovers()).toEqual([])
  return job
}

describe.skipIf(!HAS_STOCK)('export', () => {
  test(
    'a file of its own: made, refused, replaced; its names are those asked for',
    async () => {
      const file = join(out, 'Größe 📦.wim')
      expect(await done({ path: file })).toMatchObject({
        file,
        image: 'Pro',
        how: 'created',
        images: 1,
        sizeBytes: statSync(file).size,
        verified: true,
      })
      await imagex('verify', file)
      expect(differences(treeOf(await applied(file, 1, fresh())), proTree)).toEqual([])
      const before = sha256(file)
      await refused('exists', { path: file, newName: 'other' })
      expect(sha256(file)).toBe(before)

      chmodSync(file, 0o640)
      const names = { newName: ' Büro <1> & "x" ', newDescription: 'für alle' }
      expect(await done({ path: file, ifExists: 'overwrite', ...names })).toMatchObject({
        how: 'overwritten',
        image: 'Büro <1> & "x"',
      })
      expect(statSync(file).mode & 0o777).toBe(0o640)
      const info = await imagex('info', file, '1')
      expect(info).toMatch(/Name: +Büro <1> & "x"\n/)
      expect(info).toMatch(/Description: +für alle\n/)
      expect(differences(treeOf(await applied(file, 1, fresh())), proTree)).toEqual([])
      expect(readdirSync(out)).toEqual(['Größe 📦.wim'])
      // The library goes on as it was.
      expect(must(opened.library.images.show({ name: 'Pro' }, LOCAL)).description).toBe('Pro description')

      const lines = opened.db.select().from(audit).all()
      expect(lines.at(-1)).toMatchObject({
        verb: 'image.export',
        subject: 'G/pro.wim',
        who: 'local',
        after: { path: file, how: 'overwritten' },
      })
      // And as a download.
      const content = must(await opened.library.exports.content({ name: 'Pro' }, names, LOCAL))
      expect(sha256(await saveContent(content, join(out, 'download')))).toBe(sha256(file))
    },
    T,
  )

  const targets: [string, string, (file: string) => Promise<unknown>, string[]][] = [
    ['LZX by raw copy, multi-image', 'x.wim', multi, ['LZX', '32768']],
    [
      'LZX with 64 KiB chunks',
      'x.wim',
      (file) => capture(path('home'), file, 'Home', '--compress=lzx', '--chunk-size=64K'),
      ['LZX', '65536'],
    ],
    ['XPRESS', 'x.wim', (file) => capture(path('home'), file, 'Home', '--compress=xpress'), ['XPRESS', '32768']],
    ['uncompressed', 'x.wim', (file) => capture(path('home'), file, 'Home', '--compress=none'), ['None', '0']],
    ['solid LZMS', 'x.esd', (file) => capture(path('home'), file, 'Home', '--solid'), ['LZMS', '131072']],
    ['pipable', 'x.wim', (file) => capture(path('home'), file, 'Home', '--pipable'), ['LZX', '32768']],
    ['with an integrity table', 'x.wim', (file) => capture(path('home'), file, 'Home', '--check'), ['LZX', '32768']],
    [
      'bootable and RPFIX',
      'x.wim',
      (file) => imagex('capture', path('home'), file, 'Home', '--boot', '--rpfix'),
      ['LZX', '32768'],
    ],
  ]
  async function multi(file: string): Promise<void> {
    await capture(path('home'), file, 'Home')
    await append(path('home'), file, 'again')
  }

  test.each(targets)(
    'appends to a file that is %s: old and new images are whole',
    async (kind, name, make, [compression = '', chunk = '']) => {
      const file = join(out, name)
      await make(file)
      const old = await imagex('info', file)
      const count = Number(/Image Count: +(\d+)/.exec(old)?.[1])
      const oldDetails = await detailsOf(file, 1)
      chmodSync(file, 0o604)
      const request = { path: file, ifExists: 'append' as const }
      expect(await done({ ...request, selector: { name: 'Windows' }, newName: '東京 📦' })).toMatchObject({
        how: 'appended',
        images: count + 1,
        verified: true,
      })
      expect(await done({ ...request, newDescription: 'späť' })).toMatchObject({ images: count + 2 })
      expect(readdirSync(out)).toEqual([name])
      expect(statSync(file).mode & 0o777).toBe(0o604)

      await imagex('verify', file)
      expect(differences(await detailsOf(file, 1), oldDetails)).toEqual([])
      if (!kind.startsWith('bootable'))
        expect(differences(treeOf(await applied(file, 1, fresh())), homeTree)).toEqual([])
      expect(differences(await detailsOf(file, count + 1), windowsDetails)).toEqual([])
      expect(differences(treeOf(await applied(file, 'Pro', fresh())), proTree)).toEqual([])
      const info = await imagex('info', file)
      for (const line of ['GUID', 'Compression', 'Chunk Size', 'Boot Index', 'Attributes']) {
        const read = (text: string): string => new RegExp(`^${line}: +(.*)$`, 'm').exec(text)?.[1] ?? ''
        expect([line, read(info)]).toEqual([line, read(old)])
      }
      expect(info).toMatch(new RegExp(`Compression: +${compression}`))
      expect(info).toMatch(new RegExp(`Chunk Size: +${chunk}`))
      expect(info).toContain('東京 📦')
      expect(info).toContain('späť')
    },
    T,
  )

  test(
    'appending to what is not there makes it',
    async () => {
      const file = join(out, 'new.wim')
      expect(await done({ path: file, ifExists: 'append' })).toMatchObject({ how: 'created', images: 1 })
      await imagex('verify', file)
      await refused('exists', { path: file, ifExists: 'append' })
      await imagex('verify', file)
    },
    T,
  )

  test(
    'what is no WIM that takes an image is refused, and stays as it is',
    async () => {
      const patched = (file: string, at: number, bit: number): void => {
        const bytes = readFileSync(path('home.wim'))
        bytes.writeUInt8((bytes[at] ?? 0) | bit, at)
        writeFileSync(file, bytes)
      }
      await imagex('split', path('home.wim'), join(out, 'split.swm'), '0.1')
      const cases: [string, string, (file: string) => unknown][] = [
        ['exists', 'taken.wim', (file) => writeFileSync(file, readFileSync(path('pro.wim')))],
        ['unsupported', 'split.swm', () => {}],
        ['unsupported', 'split2.swm', () => {}],
        ['unsupported', 'read-only.wim', (file) => patched(file, 0x10, 0x4)],
        ['corrupt', 'unfinished.wim', (file) => patched(file, 0x10, 0x40)],
        ['not-a-wim', 'text.wim', (file) => writeFileSync(file, 'mine '.repeat(100))],
        ['not-a-wim', 'empty.wim', (file) => writeFileSync(file, '')],
        [
          'truncated',
          'cut.wim',
          (file) => {
            writeFileSync(file, readFileSync(path('home.wim')))
            truncateSync(file, statSync(file).size - 1000)
          },
        ],
        [
          'encrypted',
          'retail.esd',
          (file) => {
            const xml = Buffer.from(
              '\ufeff<WIM><IMAGE INDEX="1"><NAME>r</NAME></IMAGE><ESD><ENCRYPTED/></ESD></WIM>',
              'utf16le',
            )
            const metadata = buildTree({ name: '', children: [] }).bytes
            writeFileSync(file, buildWim([{ name: 'r', metadata }], [], { xml }))
          },
        ],
        [
          'corrupt',
          'damaged.wim',
          (file) => {
            const bytes = readFileSync(path('home.wim'))
            // In the contents: the tables are sound, the SHA-1 is not.
            for (let at = 3000; at < 3100; at += 1) bytes.writeUInt8(0x5a, at)
            writeFileSync(file, bytes)
          },
        ],
      ]
      for (const [code, name, make] of cases) {
        const file = join(out, name)
        make(file)
        const before = sha256(file)
        const names = readdirSync(out)
        const job = await exported({ path: file, ifExists: 'append' })
        expect([name, job.error?.code]).toEqual([name, code])
        expect(sha256(file)).toBe(before)
        expect(readdirSync(out)).toEqual(names)
      }
      // Who insists gets it.
      expect(await done({ path: join(out, 'damaged.wim'), ifExists: 'append', skipVerify: true })).toMatchObject({
        images: 2,
        verified: false,
      })
    },
    T,
  )

  test('what is no regular file is never replaced, whatever is asked', async () => {
    mkdirSync(join(out, 'folder'))
    writeFileSync(join(out, 'file'), 'mine')
    symlinkSync('file', join(out, 'link'))
    symlinkSync('nowhere', join(out, 'dangling'))
    Bun.spawnSync(['mkfifo', join(out, 'pipe')])
    for (const ifExists of ['fail', 'overwrite', 'append'] as const)
      for (const name of ['folder', 'link', 'dangling', 'pipe', 'none/x.wim', 'file/x.wim'])
        expect([name, openTarget(join(out, name), ifExists)]).toMatchObject([
          name,
          { ok: false, error: { code: 'bad-path' } },
        ])
    await refused('bad-path', { path: join(out, 'link'), ifExists: 'overwrite' })
    // A folder that was swapped for a link while the job waited.
    symlinkSync('folder', join(out, 'swapped'))
    await refused('bad-path', { path: join(out, 'swapped/x.wim') })
    await refused('bad-path', { path: join(out, 'none/x.wim') })
    expect(readdirSync(join(out, 'folder'))).toEqual([])
    await refused('bad-path', { path: join(out, `${'x'.repeat(300)}.wim`) })
    expect(readFileSync(join(out, 'file'), 'utf8')).toBe('mine')
    expect(readdirSync(out).sort()).toEqual(['dangling', 'file', 'folder', 'link', 'pipe', 'swapped'])
  })

  test.skipIf(Bun.which('prlimit') === null)(
    'a child that may write no further, in the copy or in libwim: the target is as it was, nothing is left',
    async () => {
      const dataDir = path('limited')
      mkdirSync(dataDir)
      {
        await using unlimited = await openTestLibrary({ dataDir })
        await unlimited.imported(path('pro.wim'))
      }
      mkdirSync(path('large'))
      writeFileSync(path('large/file'), sampleBytes(3_500_000, 9))
      const file = join(out, 'x.wim')
      await capture(path('large'), file, 'Large', '--compress=none')
      const before = sha256(file)
      for (const limitBytes of [3_000_000, 3_600_000]) {
        await using limited = await openTestLibrary({ dataDir, self: ['prlimit', `--fsize=${limitBytes}`, ...SELF] })
        const request = { selector: { name: 'Pro' }, path: file, ifExists: 'append', skipVerify: false } as const
        const job = await limited.jobs.ended(must(limited.library.exports.start(request, BY)).id)
        // EFBIG, where a full disk would say ENOSPC.
        expect(job.error?.code).toBe('no-space')
        expect(sha256(file)).toBe(before)
        expect(readdirSync(out)).toEqual(['x.wim'])
        expect(limited.leftovers()).toEqual([])
      }
    },
    T,
  )

  test('a disk without room is told before anything is written', () => {
    const plan = {
      target: join(out, 'x.wim'),
      ifExists: 'fail',
      imageName: 'x',
      contentBytes: 0,
      reserveBytes: 0,
    } as const
    expect(planExport({ ...plan, viewBytes: 2 ** 52 }, false)).toMatchObject({ ok: false, error: { code: 'no-space' } })
    using fits = must(planExport({ ...plan, viewBytes: 2 ** 52 }, true))
    expect(fits.output.how).toBe('created')
  })

  test(
    'two at once into one file: one waits or is refused, none is lost; a foreign writer is respected',
    async () => {
      const file = join(out, 'x.wim')
      await capture(path('home'), file, 'Home')
      await using other = await openTestLibrary()
      await other.imported(path('pro.wim'))
      const request = { path: file, ifExists: 'append' as const, skipVerify: false }
      const jobs = await Promise.all([
        exported({ ...request, newName: 'one' }),
        exported({ ...request, newName: 'two' }),
        other.jobs.ended(
          must(other.library.exports.start({ ...request, selector: { name: 'Pro' }, newName: 'three' }, BY)).id,
        ),
      ])
      const appended = jobs.filter((job) => job.state === 'done').map((job) => job.result?.['image'])
      for (const job of jobs) expect(job.error?.code ?? 'in-use').toBe('in-use')
      expect(appended.length).toBeGreaterThanOrEqual(1)
      {
        using source = must(openSource(file))
        expect(source.document.images.map(({ facts }) => facts.name).sort()).toEqual(
          ['Home', ...appended].sort() as string[],
        )
      }
      await imagex('verify', file)

      const fd = openSync(file, 'r+')
      expect(lockNow(fd)).toBe(true)
      await refused('in-use', { ...request, newName: 'four' })
      await refused('in-use', { ...request, ifExists: 'overwrite' })
      closeSync(fd)
      await done({ ...request, newName: 'four' })
    },
    T,
  )

  test('whoever makes the file meanwhile keeps it; whoever changes it is not undone', () => {
    const file = join(out, 'x.wim')
    for (const ifExists of ['fail', 'append'] as const) {
      using target = must(openTarget(file, ifExists))
      const part = partBeside(file)
      writeFileSync(part, 'ours')
      writeFileSync(file, 'theirs')
      expect(publish(part, target, ifExists)).toMatchObject({ ok: false, error: { code: 'exists' } })
      expect(readFileSync(file, 'utf8')).toBe('theirs')
      rmSync(file)
      rmSync(part)
    }
    writeFileSync(file, 'first')
    using target = must(openTarget(file, 'append'))
    const part = partBeside(file)
    writeFileSync(part, 'ours')
    writeFileSync(join(out, 'second'), 'second')
    rmSync(file)
    linkSync(join(out, 'second'), file)
    expect(publish(part, target, 'append')).toMatchObject({ ok: false, error: { code: 'in-use' } })
    expect(readFileSync(file, 'utf8')).toBe('second')
  })

  test(
    'a dry run says what would be, and does nothing',
    async () => {
      const file = join(out, 'x.wim')
      const lines = opened.db.select().from(audit).all().length
      const made = await exported({ path: file }, true)
      expect([made.state, made.result]).toMatchObject(['done', { how: 'created', dryRun: true, images: 1 }])
      expect(readdirSync(out)).toEqual([])
      await capture(path('home'), file, 'Home')
      const before = sha256(file)
      for (const [ifExists, how] of [
        ['append', 'appended'],
        ['overwrite', 'overwritten'],
      ] as const) {
        const job = await exported({ path: file, ifExists }, true)
        expect(job.result).toMatchObject({ how, dryRun: true })
      }
      expect((await exported({ path: file, ifExists: 'append', newName: 'Home' }, true)).error?.code).toBe('exists')
      expect(sha256(file)).toBe(before)
      expect(readdirSync(out)).toEqual(['x.wim'])
      expect(opened.db.select().from(audit).all().length).toBe(lines)
    },
    T,
  )

  test.each(['fail', 'overwrite', 'append'] as const)(
    'cancelled in the middle (%s): the target is as it was, nothing is left',
    async (ifExists) => {
      const file = join(out, 'x.wim')
      if (ifExists !== 'fail') await capture(path('home'), file, 'Home')
      const before = ifExists === 'fail' ? undefined : sha256(file)
      const began = Promise.withResolvers<void>()
      const watching = watch(out, (_, name) => name?.endsWith('.part') && began.resolve())
      const job = started({ path: file, ifExists })
      await began.promise
      must(opened.jobs.cancel(job.id))
      const ended = await opened.jobs.ended(job.id)
      watching.close()
      // It may have been too quick for us: then all of it is there.
      if (ended.state === 'done') {
        await imagex('verify', file)
        return
      }
      expect(ended.state).toBe('cancelled')
      if (before !== undefined) expect(sha256(file)).toBe(before)
      expect(readdirSync(out)).toEqual(before === undefined ? [] : ['x.wim'])
      expect(opened.leftovers()).toEqual([])
    },
    T,
  )

  test(
    'what a killed export left goes with a later one, and what is young stays',
    async () => {
      const [old, young] = [partBeside(join(out, 'x.wim')), partBeside(join(out, 'x.wim'))]
      for (const part of [old, young]) writeFileSync(part, 'half')
      utimesSync(old, 1, 1)
      await done()
      expect([existsSync(old), existsSync(young)]).toEqual([false, true])
    },
    T,
  )

  test('names that cannot be are refused before anything is done', () => {
    for (const names of [
      { newName: '' },
      { newName: 'a\u0007b' },
      { newName: 'x'.repeat(300) },
      { newDescription: '\u0001' },
    ])
      expect(
        opened.library.exports.start(
          { selector: { name: 'Pro' }, path: join(out, 'x.wim'), ifExists: 'fail', skipVerify: false, ...names },
          BY,
        ),
      ).toMatchObject({ ok: false, error: { code: 'bad-name' } })
    expect(readdirSync(out)).toEqual([])
  })
})
