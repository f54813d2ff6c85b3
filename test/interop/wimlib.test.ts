/** ffi/wimlib against wimlib's own header, compiled by gcc, and against wimlib-imagex, Debian's build of 1.13. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { link, mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { $ } from 'bun'
import { Compressor, Decompressor } from '../../ffi/wimlib/decompressor.ts'
import type { DirEntry } from '../../ffi/wimlib/dir-entry.ts'
import { WIMLIB_ERR, WimError } from '../../ffi/wimlib/error-codes.ts'
import { ADD_FLAG, EXPORT_FLAG, EXTRACT_FLAG, OPEN_FLAG, REF_FLAG, WRITE_FLAG } from '../../ffi/wimlib/flags.ts'
import { LAYOUT, SIZE } from '../../ffi/wimlib/layout.ts'
import { loadWimlib } from '../../ffi/wimlib/load.ts'
import { MSG, type Progress } from '../../ffi/wimlib/progress.ts'
import { Wim } from '../../ffi/wimlib/wim.ts'
import { Fault } from '../../src/base/refusal.ts'

const HEADER = join(import.meta.dir, `../../.cache/native/linux-${process.arch}/wimlib.h`)

const wimlib = loadWimlib()
let work: string
let tree: string

/** Text that compresses and noise that does not, from a fixed seed; several chunks of each. */
function contents(sizeBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  let state = seed
  for (let at = 0; at < sizeBytes; at += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[at] = (at >> 14) & 1 ? state >>> 24 : 97 + ((state >>> 28) & 3)
  }
  return bytes
}

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'wimcast-wimlib-'))
  tree = join(work, 'tree')
  await mkdir(join(tree, 'Windows/System32'), { recursive: true })
  await writeFile(join(tree, 'Windows/System32/big.dll'), contents(1_500_000, 1))
  await writeFile(join(tree, 'Windows/System32/small.dll'), contents(70_000, 2))
  await writeFile(join(tree, 'Windows/leer 📦 größe.txt'), 'Grüße')
  await writeFile(join(tree, 'empty'), '')
  await link(join(tree, 'Windows/System32/small.dll'), join(tree, 'Windows/linked.dll'))
})
afterAll(async () => {
  await rm(work, { recursive: true, force: true })
})

/** A file captured by wimlib-imagex; `options` are its. */
async function captured(name: string, ...options: string[]): Promise<string> {
  const path = join(work, name)
  await $`wimlib-imagex capture ${tree} ${path} First ${options}`.quiet()
  return path
}

function entriesOf(path: string): readonly DirEntry[] {
  using wim = Wim.open(wimlib, path)
  const entries: DirEntry[] = []
  wim.iterate(1, '/', (entry) => {
    entries.push(entry)
    return 'continue'
  })
  return entries
}

function errorOf(run: () => void): unknown {
  try {
    run()
  } catch (error) {
    return error
  }
  return undefined
}

// The header comes with the embedded library; a checkout that was never built has neither.
describe.skipIf(!existsSync(HEADER))('the header says the same', () => {
  test('struct layouts', async () => {
    const lines: string[] = []
    const expected: string[] = []
    for (const [struct, fields] of Object.entries(LAYOUT)) {
      for (const [field, offset] of Object.entries(fields)) {
        lines.push(`printf("${struct}.${field} %zu\\n", offsetof(struct ${struct}, ${field}));`)
        expected.push(`${struct}.${field} ${offset}`)
      }
    }
    for (const [struct, size] of Object.entries(SIZE)) {
      lines.push(`printf("${struct} %zu\\n", sizeof(struct ${struct}));`)
      expected.push(`${struct} ${size}`)
    }
    // The progress structs are declared inside their union, which in C leaves their tags at file scope.
    const source = join(work, 'layout.c')
    await writeFile(
      source,
      `#include <stddef.h>\n#include <stdio.h>\n#include "${HEADER}"\nint main(void) {\n${lines.join('\n')}\n}\n`,
    )
    await $`gcc -o ${join(work, 'layout')} ${source}`
    expect((await $`${join(work, 'layout')}`.text()).trim().split('\n')).toEqual(expected)
  })

  test('error codes, all of them', async () => {
    const found = [...(await Bun.file(HEADER).text()).matchAll(/^\tWIMLIB_ERR_(\w+)\s*= (\d+),$/gm)]
    expect(found.length).toBeGreaterThan(80)
    expect(Object.fromEntries(found.map(([, name, value]) => [name, Number(value)]))).toEqual(WIMLIB_ERR)
  })

  test.each([
    ['OPEN_FLAG', OPEN_FLAG],
    ['REF_FLAG', REF_FLAG],
    ['EXPORT_FLAG', EXPORT_FLAG],
    ['ADD_FLAG', ADD_FLAG],
    ['EXTRACT_FLAG', EXTRACT_FLAG],
    ['WRITE_FLAG', WRITE_FLAG],
    ['PROGRESS_MSG', MSG],
  ] as const)('%s', async (prefix, table) => {
    const header = await Bun.file(HEADER).text()
    for (const [name, value] of Object.entries(table)) {
      const upper = name === name.toUpperCase() ? name : name.replace(/[A-Z]/g, '_$&').toUpperCase()
      const [, found] = new RegExp(`^(?:#define |\t)WIMLIB_${prefix}_${upper}(?: =)?\\s+(\\w+)`, 'm').exec(header) ?? []
      expect(`${upper} ${Number(found)}`).toBe(`${upper} ${value}`)
    }
  })
})

describe('loading', () => {
  test('the library names its version and where it came from', () => {
    expect(wimlib.version).toMatch(/^1\.1[34]\.\d+$/)
    expect(wimlib.origin).toBe(existsSync(HEADER) ? 'embedded' : 'system')
    expect(loadWimlib()).toBe(wimlib)
  })

  test('a configured path is taken or refused, never replaced', () => {
    const system = loadWimlib({ path: 'libwim.so.15' })
    expect(system.origin).toBe('configured')
    expect(system.version).toMatch(/^1\.\d+\.\d+$/)
    expect(() => loadWimlib({ path: join(work, 'absent.so') })).toThrow(Fault)
    expect(() => loadWimlib({ path: 'libc.so.6' })).toThrow(Fault)
  })

  test('the embedded copy leaves no descriptor and no file behind', async () => {
    const script = `
      import { readdirSync } from 'node:fs'
      import { loadWimlib } from '${join(import.meta.dir, '../../ffi/wimlib/load.ts')}'
      const before = readdirSync('/proc/self/fd').length
      loadWimlib()
      console.log(readdirSync('/proc/self/fd').length - before)`
    const file = join(work, 'load.ts')
    const temporary = join(work, 'tmp')
    await mkdir(temporary)
    await writeFile(file, script)
    const env = { ...process.env, TMPDIR: temporary, BUN_TMPDIR: temporary }
    expect((await $`${process.execPath} ${file}`.env(env).text()).trim()).toBe('0')
    expect(await readdir(temporary)).toEqual([])
  })
})

describe('single chunks', () => {
  test.each([
    ['XPRESS', 32_768],
    ['XPRESS', 65_536],
    ['LZX', 32_768],
    ['LZX', 2_097_152],
    ['LZMS', 131_072],
  ] as const)('%s of %d bytes go in and out', (type, size) => {
    const input = contents(size, 3)
    const packed = new Uint8Array(size)
    const output = new Uint8Array(size)
    using compressor = new Compressor(wimlib, type, size)
    using decompressor = new Decompressor(wimlib, type, size)
    const length = compressor.compress(input, packed)
    expect(length).toBeGreaterThan(0)
    expect(decompressor.decompress(packed.subarray(0, length), output)).toBe(true)
    expect(Buffer.compare(output, input)).toBe(0)
    // The object is good for the next chunk, and a shorter one, after a bad one.
    expect(decompressor.decompress(packed.subarray(0, 1), output)).toBe(false)
    expect(decompressor.decompress(packed.subarray(0, 0), output)).toBe(false)
    const short = compressor.compress(input.subarray(0, 5000), packed)
    expect(decompressor.decompress(packed.subarray(0, short), output.subarray(0, 5000))).toBe(true)
    expect(Buffer.compare(output.subarray(0, 5000), input.subarray(0, 5000))).toBe(0)
  })

  test('noise does not fit and is reported as 0', () => {
    const noise = contents(65_536, 4).filter((_, at) => (at >> 14) & 1)
    using compressor = new Compressor(wimlib, 'LZX', 32_768)
    expect(compressor.compress(noise.subarray(0, 32_768), new Uint8Array(32_767))).toBe(0)
  })

  test('a disposed codec and an impossible block size are errors', () => {
    const codec = new Decompressor(wimlib, 'LZX', 32_768)
    codec[Symbol.dispose]()
    codec[Symbol.dispose]()
    expect(() => codec.decompress(new Uint8Array(1), new Uint8Array(1))).toThrow(Fault)
    expect(errorOf(() => new Decompressor(wimlib, 'XPRESS', 1 << 20))).toMatchObject({ code: 'INVALID_PARAM' })
  })
})

describe('files', () => {
  test('what we capture, wimlib-imagex verifies and applies', async () => {
    const path = join(work, 'ours.wim')
    {
      using wim = Wim.create(wimlib, 'LZX')
      wim.addImage(tree, 'Größe', { noAcls: true })
      wim.setProperty(1, 'DESCRIPTION', 'made by us')
      wim.write(path, { checkIntegrity: true, threads: 1 })
    }
    await $`wimlib-imagex verify ${path}`.quiet()
    expect(await $`wimlib-imagex info ${path} 1`.text()).toMatch(/Name: +Größe\nDescription: +made by us/)
    await $`wimlib-imagex apply ${path} 1 ${join(work, 'applied')}`.quiet()
    await $`diff -r ${tree} ${join(work, 'applied')}`
  })

  test.each([
    ['none', ['--compress=none']],
    ['lzx', ['--compress=lzx']],
    ['xpress', ['--compress=xpress']],
    ['solid', ['--solid']],
    ['pipable', ['--pipable']],
  ] as const)('what wimlib-imagex captures (%s), we read', async (name, options) => {
    const path = await captured(`${name}.wim`, ...options)
    Wim.verify(wimlib, path)
    using wim = Wim.open(wimlib, path)
    expect(wim.info()).toMatchObject({ imageCount: 1, bootIndex: 0, partNumber: 1, totalParts: 1 })
    expect(wim.info().flags.has('pipable')).toBe(name === 'pipable')
    expect(wim.xml()).toStartWith('<WIM>')
    expect(wim.getProperty(1, 'NAME')).toBe('First')
    expect(wim.getProperty(1, 'WINDOWS/VERSION/BUILD')).toBeUndefined()
    wim.extractImage(1, join(work, `${name}.out`))
    await $`diff -r ${tree} ${join(work, `${name}.out`)}`
  })

  test('the entries of an image', async () => {
    const entries = entriesOf(await captured('entries.wim'))
    const named = new Map(entries.map((entry) => [entry.path, entry]))
    expect([...named.keys()].sort()).toEqual([
      '/',
      '/Windows',
      '/Windows/System32',
      '/Windows/System32/big.dll',
      '/Windows/System32/small.dll',
      '/Windows/leer 📦 größe.txt',
      '/Windows/linked.dll',
      '/empty',
    ])
    const small = named.get('/Windows/System32/small.dll')
    const sha1 = new Bun.CryptoHasher('sha1').update(contents(70_000, 2)).digest('hex')
    expect(small).toMatchObject({ name: 'small.dll', depth: 3, links: 2, streams: [{ sizeBytes: 70_000, sha1 }] })
    expect(named.get('/Windows/linked.dll')?.hardLinkGroup).toBe(small?.hardLinkGroup ?? -1n)
    expect(named.get('/empty')?.streams).toEqual([{ name: undefined, sizeBytes: 0, sha1: '0'.repeat(40) }])
  })

  test('export, after a verify, carries the file data; twice', async () => {
    const path = await captured('source.wim')
    Wim.verify(wimlib, path)
    using source = Wim.open(wimlib, path)
    for (const name of ['one', 'two']) {
      using target = Wim.create(wimlib, 'LZX')
      source.exportImage(1, target, { name })
      target.write(join(work, `${name}.wim`))
      await $`wimlib-imagex verify ${join(work, `${name}.wim`)}`.quiet()
      expect(Bun.file(join(work, `${name}.wim`)).size).toBeGreaterThan(500_000)
    }
  })

  test('single paths come out, in any case and with either slash', async () => {
    using wim = Wim.open(wimlib, await captured('paths.wim'))
    const target = join(work, 'paths')
    wim.extractPaths(1, target, ['windows\\SYSTEM32\\Small.dll', '/EMPTY'], { noPreserveDirStructure: true })
    expect((await readdir(target)).sort()).toEqual(['empty', 'small.dll'])
  })

  test('changes in place, and a deleted image', async () => {
    const path = await captured('change.wim')
    {
      using wim = Wim.open(wimlib, path, { writeAccess: true })
      wim.addImage(join(tree, 'Windows'), 'Second')
      wim.overwrite()
    }
    {
      using wim = Wim.open(wimlib, path, { writeAccess: true })
      expect(wim.info().imageCount).toBe(2)
      wim.deleteImage(1)
      wim.overwrite({ rebuild: true })
    }
    expect(await $`wimlib-imagex info ${path}`.text()).toMatch(/Name: +Second/)
  })

  test('a split set is joined from its parts; without them data is missing', async () => {
    const path = await captured('whole.wim', '--compress=none')
    {
      using whole = Wim.open(wimlib, path)
      whole.split(join(work, 'part.swm'), 500_000)
    }
    const parts = (await readdir(work)).filter((name) => name.endsWith('.swm')).sort()
    expect(parts.length).toBeGreaterThan(1)
    const first = join(work, 'part.swm')
    const others = [join(work, 'part?.swm')]
    Wim.verify(wimlib, first, { resources: others })
    expect(errorOf(() => Wim.verify(wimlib, first))).toMatchObject({ code: 'RESOURCE_NOT_FOUND' })
    using wim = Wim.open(wimlib, first)
    wim.referenceResourceFiles(others, { globEnable: true })
    wim.write(join(work, 'joined.wim'))
    await $`wimlib-imagex verify ${join(work, 'joined.wim')}`.quiet()
  })

  test('a solid file with chosen chunks', async () => {
    const path = join(work, 'solid-ours.esd')
    using source = Wim.open(wimlib, await captured('for-solid.wim'))
    using target = Wim.create(wimlib, 'LZX')
    source.exportImage('all', target)
    target.setOutput({ packType: 'LZMS', packChunkSize: 131_072 })
    target.write(path, { solid: true })
    expect(await $`wimlib-imagex info ${path} --blobs`.text()).toContain('Solid resource')
    Wim.verify(wimlib, path)
  })
})

describe('progress', () => {
  test('tells how far it is', async () => {
    const steps = new Map<string, Progress>()
    const path = await captured('progress.wim', '--check')
    const onProgress = (progress: Progress) => {
      steps.set(progress.step, progress)
      return 'continue' as const
    }
    Wim.verify(wimlib, path, { checkIntegrity: true, onProgress })
    {
      using wim = Wim.open(wimlib, path, { onProgress })
      wim.extractImage(1, join(work, 'progress.out'))
    }
    {
      using wim = Wim.create(wimlib, 'LZX', { onProgress })
      wim.addImage(tree, 'x')
      wim.write(join(work, 'progress-2.wim'))
    }
    const totalBytes = 1_500_000 + 70_000 + Buffer.byteLength('Grüße')
    expect(steps.get('verify')).toEqual({ step: 'verify', completedBytes: totalBytes, totalBytes })
    expect(steps.get('extract')).toEqual({ step: 'extract', completedBytes: totalBytes, totalBytes })
    expect(steps.get('write')).toEqual({ step: 'write', completedBytes: totalBytes, totalBytes })
    expect(steps.get('scan')).toMatchObject({ step: 'scan', directories: 3, files: 5 })
    expect(steps.get('verify-metadata')).toEqual({ step: 'verify-metadata', image: 1, totalImages: 1 })
    expect([...steps.keys()]).toContain('integrity')
  })

  test('may abort', async () => {
    const path = await captured('abort.wim')
    const error = errorOf(() => Wim.verify(wimlib, path, { onProgress: () => 'abort' }))
    expect(error).toBeInstanceOf(WimError)
    expect(error).toMatchObject({ code: 'ABORTED_BY_PROGRESS', number: 76 })
  })

  test('what a callback throws comes out of the call', async () => {
    const path = await captured('throw.wim')
    const onProgress = () => {
      throw new Error('from the callback')
    }
    expect(() => Wim.verify(wimlib, path, { onProgress })).toThrow('from the callback')
    using wim = Wim.open(wimlib, path)
    expect(() => wim.iterate(1, '/', onProgress)).toThrow('from the callback')
    let visits = 0
    wim.iterate(1, '/', () => {
      visits += 1
      return 'stop'
    })
    expect(visits).toBe(1)
  })
})

describe('bad input', () => {
  test('is named by its code', async () => {
    const text = join(work, 'text.wim')
    await writeFile(text, 'x'.repeat(4096))
    expect(errorOf(() => Wim.open(wimlib, text))).toMatchObject({ code: 'NOT_A_WIM_FILE', number: 43 })
    expect(errorOf(() => Wim.open(wimlib, join(work, 'absent.wim')))).toMatchObject({ code: 'OPEN' })
    const path = await captured('image.wim')
    using wim = Wim.open(wimlib, path)
    expect(() => Wim.open(wimlib, `${path}\0.wim`)).toThrow(Fault)
    expect(errorOf(() => wim.extractImage(7, join(work, 'nowhere')))).toMatchObject({ code: 'INVALID_IMAGE' })
    expect(errorOf(() => wim.iterate(1, '/absent', () => 'continue'))).toMatchObject({ code: 'PATH_DOES_NOT_EXIST' })
  })

  test('damage in the data is found by verify', async () => {
    const path = await captured('damaged.wim', '--compress=none')
    const file = await open(path, 'r+')
    await file.write(Buffer.from('damage'), 0, 6, 300_000)
    await file.close()
    expect(errorOf(() => Wim.verify(wimlib, path))).toMatchObject({ code: 'INVALID_RESOURCE_HASH' })
  })

  test('a disposed file is not used', async () => {
    const wim = Wim.open(wimlib, await captured('disposed.wim'))
    wim[Symbol.dispose]()
    wim[Symbol.dispose]()
    expect(() => wim.info()).toThrow(Fault)
  })
})
