/**
 * A disk that is full, or becomes full, under a file that is appended to or replaced: refused before, or given up in the
 * middle; the file is as it was, nothing lies beside it, and the same export works when there is space again.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, watch, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Appliance, startAppliance, succeed } from '../fixtures/appliance.ts'
import { type LoopDisk, makeDisk } from '../fixtures/loop-disk.ts'
import { capture, imagex, sampleBytes, sha256 } from '../fixtures/wims.ts'

const T = 120_000
let work: string
let disk: LoopDisk
let appliance: Appliance

function tree(name: string, files: number): string {
  const dir = join(work, name)
  mkdirSync(dir)
  for (let i = 0; i < files; i += 1)
    writeFileSync(join(dir, `${i}.dat`), sampleBytes(700_000, name.length * 100_000 + i))
  return dir
}

const filler = (): string => join(disk.path, 'filler')
const here = (): string[] => readdirSync(disk.path).filter((name) => name !== 'filler' && name !== 'lost+found')

/** Takes what is free but for so much. */
function fill(leftBytes: number): void {
  const { bavail, bsize } = statfsSync(disk.path)
  Bun.spawnSync(['fallocate', '--length', String(Math.max(1, bavail * bsize - leftBytes)), filler()])
}

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'wimcast-export-full-'))
  disk = await makeDisk(work, 'disk', 200)
  mkdirSync(join(work, 'root'))
  await capture(tree('new', 30), join(work, 'root/new.wim'), 'New')
  await capture(tree('old image', 20), join(work, 'old.wim'), 'Old', '--compress=XPRESS')
  appliance = await startAppliance({ options: ['--import-roots', join(work, 'root')] })
  await appliance.cli('group', 'new', 'G')
  await appliance.cli('image', 'import', join(work, 'root/new.wim'))
}, T)
afterAll(async () => {
  await appliance?.[Symbol.asyncDispose]()
  await disk?.[Symbol.asyncDispose]()
  rmSync(work, { recursive: true, force: true })
})

test.each(['append', 'overwrite'])(
  '%s',
  async (ifExists) => {
    const file = join(disk.path, 'x.wim')
    await succeed('cp', join(work, 'old.wim'), file)
    const before = sha256(file)
    const words = ['image', 'export', 'New', '--to', file, '--if-exists', ifExists, '--json']
    const code = async (): Promise<string> => {
      const { code, out } = await appliance.run(...words)
      return code === 0 ? 'done' : (JSON.parse(out) as { error: { code: string } }).error.code
    }
    fill(1 << 20)
    expect(await code()).toBe('no-space')
    rmSync(filler())

    // Full at the first sight of the download, of the copy, and of what libwim writes to it.
    for (const [sight, leftBytes] of [
      [1, 0],
      [1, 4 << 20],
      [2, 0],
      [2, 1 << 20],
    ] as const) {
      const seen = new Set<string>()
      const watching = watch(disk.path, (_, name) => {
        if (!name?.endsWith('.part') || seen.has(name)) return
        seen.add(name)
        if (seen.size === sight) fill(leftBytes)
      })
      const said = await code()
      watching.close()
      expect(['no-space', 'done']).toContain(said)
      expect(here()).toEqual(['x.wim'])
      await imagex('verify', file)
      if (said === 'no-space') expect(sha256(file)).toBe(before)
      else await succeed('cp', join(work, 'old.wim'), file)
      rmSync(filler(), { force: true })
    }
    expect(await code()).toBe('done')
    await imagex('verify', file)
    expect(here()).toEqual(['x.wim'])
  },
  T,
)
