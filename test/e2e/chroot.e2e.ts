/**
 * The executable runs where nothing else is: in a root that holds glibc, /proc and /dev/null, with a noexec /tmp that
 * it leaves empty; from any folder, whatever lies there; and it is what the manifest says, build after build.
 * `WIMCAST` names another executable than dist/wimcast. Root: mounts, in a namespace of their own.
 */
import { afterAll, beforeAll, expect, test } from 'bun:test'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { $ } from 'bun'

const executable = resolve(process.env['WIMCAST'] ?? join(import.meta.dir, '../../dist/wimcast'))

/** What glibc itself brings (libpthread and libdl are empty since 2.34, but Bun names them). */
const GLIBC = /^(ld-linux-[\w-]+\.so\.\d|lib(c|m)\.so\.6|libpthread\.so\.0|libdl\.so\.2)$/

let work: string

beforeAll(async () => {
  work = await mkdtemp(join(tmpdir(), 'wimcast-chroot-'))
})
afterAll(async () => {
  await rm(work, { recursive: true, force: true })
})

function expectVersions(text: string): void {
  expect(text).toMatch(/wimcast \d+\.\d+\.\d+/)
  expect(text).toContain(Bun.version)
  expect(text).toMatch(/libwim 1\.14\.\d+.*embedded/)
}

async function sharedObjects(): Promise<readonly string[]> {
  const lines = (await $`ldd ${executable}`.text()).split('\n')
  return lines.flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? [])
}

test('needs the shared objects of glibc alone', async () => {
  const names = (await sharedObjects()).map((path) => basename(path))
  expect(names.length).toBeGreaterThan(1)
  expect(names.filter((name) => !GLIBC.test(name))).toEqual([])
})

test('runs in a root with glibc, /proc, /dev/null and a noexec /tmp, and leaves nothing there', async () => {
  const root = join(work, 'root')
  for (const folder of ['proc', 'dev', 'tmp']) await mkdir(join(root, folder), { recursive: true })
  await writeFile(join(root, 'dev/null'), '')
  await copyFile(executable, join(root, 'wimcast'))
  for (const path of await sharedObjects()) {
    await mkdir(join(root, dirname(path)), { recursive: true })
    await copyFile(path, join(root, path))
  }
  const script = `set -e
    mount -t proc -o ro proc "$1/proc"
    mount --bind /dev/null "$1/dev/null"
    mount -t tmpfs -o noexec tmpfs "$1/tmp"
    env -i "$(command -v chroot)" "$1" /wimcast --version
    echo "left: $(ls -A "$1/tmp" | wc -l)"`
  const run = await $`unshare --mount sh -c ${script} sh ${root}`.nothrow().quiet()
  expect(run.stderr.toString()).toBe('')
  expect(run.exitCode).toBe(0)
  expectVersions(run.stdout.toString())
  expect(run.stdout.toString()).toEndWith('left: 0\n')
})

test('takes no notice of the folder it is started in', async () => {
  const folder = join(work, 'hostile')
  await mkdir(folder)
  await writeFile(join(folder, '.env'), 'WIMCAST_SOCKET=/nowhere\nBUN_OPTIONS=--nonsense\n')
  await writeFile(join(folder, 'bunfig.toml'), 'preload = ["./absent.ts"]\n')
  await writeFile(join(folder, 'package.json'), '{ broken')
  await writeFile(join(folder, 'tsconfig.json'), '{ broken')
  expectVersions(await $`${executable} --version`.cwd(folder).text())
})

test('is the file that the manifest describes, and a second build makes the same', async () => {
  const before = await sha256(executable)
  const manifest = await Bun.file(join(dirname(executable), 'manifest.json')).json()
  expect(manifest.wimcast.sha256).toBe(before)
  expect(manifest.libwim.packages).toMatchObject([{ name: 'libwim-dev', suite: 'trixie' }])
  const again = await $`scripts/build`.cwd(resolve(dirname(executable), '..')).text()
  expect(again).toContain(before)
  expect(await sha256(executable)).toBe(before)
}, 120_000)

async function sha256(path: string): Promise<string> {
  return (await $`sha256sum ${path}`.text()).slice(0, 64)
}
