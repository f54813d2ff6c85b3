/**
 * The lists of a large library: many images in ten groups, one of each imported, the others copies of that.
 *   GET /api/images       over the unix socket: middle and most
 *   the command line      `image list`, `image show` and `image copy`, each as a whole call
 *   GET /api/version      while lists are asked for: how long the one waits for the other
 * against `wimlib-imagex info` of one file in the same run.
 * Usage: scripts/bench/list [--images N[,N]...] [--rounds N]      default: 1000,10000 and 15
 * Measures dist/wimcast; WIMCAST names another executable.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { median, run } from './measure.ts'

const { values } = parseArgs({
  options: { images: { type: 'string', default: '1000,10000' }, rounds: { type: 'string', default: '15' } },
})
const root = resolve(import.meta.dir, '../..')
const wimcast = resolve(process.env['WIMCAST'] ?? join(root, 'dist/wimcast'))
const folder = join(root, '.cache', `bench-list-${process.pid}`)
const socket = join(folder, 'api.sock')
const rounds = Number(values.rounds)
const GROUPS = 10

/** What `wimlib-imagex info` and our lists tell of a Windows image. */
const WINDOWS = {
  'WINDOWS/ARCH': '9',
  'WINDOWS/PRODUCTNAME': 'Microsoft® Windows® Operating System',
  'WINDOWS/EDITIONID': 'Professional',
  'WINDOWS/INSTALLATIONTYPE': 'Client',
  'WINDOWS/LANGUAGES/LANGUAGE': 'de-DE',
  'WINDOWS/LANGUAGES/DEFAULT': 'de-DE',
  'WINDOWS/VERSION/MAJOR': '10',
  'WINDOWS/VERSION/MINOR': '0',
  'WINDOWS/VERSION/BUILD': '26100',
  'WINDOWS/VERSION/SPBUILD': '1742',
}

async function makeWim(): Promise<string> {
  const tree = join(folder, 'tree')
  mkdirSync(tree)
  for (let i = 0; i < 200; i += 1) writeFileSync(join(tree, `${i}.txt`), `file ${i}`)
  const wim = join(folder, 'install.wim')
  await run(['wimlib-imagex', 'capture', tree, wim, 'Windows 11 Pro', 'Windows 11 Pro', '--compress=LZX'])
  const facts = Object.entries(WINDOWS).map(([key, value]) => `--image-property=${key}=${value}`)
  await run(['wimlib-imagex', 'info', wim, '1', ...facts])
  return wim
}

const api = (path: string, json?: unknown): Promise<Response> =>
  fetch(`http://localhost/api${path}`, {
    unix: socket,
    ...(json === undefined
      ? {}
      : { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(json) }),
  })

/** Milliseconds of a request, its answer read to the end. */
async function asked(path: string, json?: unknown): Promise<number> {
  const started = performance.now()
  const response = await api(path, json)
  const bytes = await response.bytes()
  if (!response.ok) throw new Error(`${path}: ${response.status} ${new TextDecoder().decode(bytes)}`)
  return performance.now() - started
}

async function times(count: number, work: () => Promise<number>): Promise<number[]> {
  const took: number[] = []
  for (let i = 0; i < count; i += 1) took.push(await work())
  return took
}

const figures = (took: readonly number[]): string =>
  `${median(took).toFixed(1)} ms, most ${Math.max(...took).toFixed(1)}`

/** How long a small request takes while `work` goes on. */
async function beside(work: () => Promise<unknown>): Promise<number[]> {
  let over = false
  const done = work().finally(() => {
    over = true
  })
  const took: number[] = []
  while (!over) took.push(await asked('/version'))
  await done
  return took
}

mkdirSync(folder, { recursive: true })
let server: Bun.Subprocess<'ignore', 'pipe', 'inherit'> | undefined
try {
  const wim = await makeWim()
  const doors = ['--http', 'off', '--https', 'off', '--tftp', 'off', '--log-level', 'warning']
  const words = ['serve', '--data', join(folder, 'data'), '--socket', socket, ...doors, '--import-roots', folder]
  server = Bun.spawn([wimcast, ...words], { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' })
  await server.stdout.getReader().read()
  const cli = (...more: string[]) => run([wimcast, '--socket', socket, ...more])

  for (let g = 0; g < GROUPS; g += 1) {
    await cli('group', 'new', `group-${g}`)
    await cli('image', 'import', wim, '--group', `group-${g}`, '--name', 'Windows 11 Pro', '--file-name', 'install')
  }
  const info = await times(rounds, async () => (await run(['wimlib-imagex', 'info', wim])).tookMs)
  console.log(`the peer: wimlib-imagex info of one file ${figures(info)}`)
  const against = (took: readonly number[]): string => `${(median(took) / median(info)).toFixed(1)}x the peer`

  let made = GROUPS
  const copy = (): Promise<number> => {
    const group = `group-${made % GROUPS}`
    made += 1
    return asked(`/images/${encodeURIComponent('Windows 11 Pro')}/copies?group=${group}&file=install`, {
      newName: `Copy ${made}`,
      newFileName: `copy-${made}`,
    })
  }
  for (const images of values.images.split(',').map(Number)) {
    const copies = await times(images - made, copy)
    const list = await times(rounds, () => asked('/images'))
    const bytes = (await (await api('/images')).bytes()).length
    const one = await times(rounds, () => asked('/images?group=group-3'))
    const groups = await times(rounds, () => asked('/groups'))
    const listed = await times(rounds, async () => (await cli('image', 'list')).tookMs)
    const shown = await times(rounds, async () => (await cli('image', 'show', 'Copy 22', '--group', 'group-1')).tookMs)
    const copied = await times(rounds, async () => {
      made += 1
      const names = ['--new-name', `Copy ${made}`, '--new-file-name', `copy-${made}`]
      return (await cli('image', 'copy', 'Windows 11 Pro', '--group', 'group-1', '--file', 'install', ...names)).tookMs
    })
    const alone = await times(100, () => asked('/version'))
    const stalled = await beside(() => times(rounds, () => asked('/images')))
    console.log(`${images} images in ${GROUPS} groups:`)
    console.log(
      `  GET /api/images            ${figures(list)}, ${(bytes / 1e6).toFixed(1)} MB, ${against(list)} (goal < 50 for 1000)`,
    )
    console.log(`  GET /api/images of a group ${figures(one)}`)
    console.log(`  GET /api/groups            ${figures(groups)}`)
    console.log(`  POST …/copies              ${figures(copies)} (goal < 100)`)
    console.log(`  wimcast image list         ${figures(listed)}, ${against(listed)}`)
    console.log(`  wimcast image show         ${figures(shown)}, ${against(shown)}`)
    console.log(`  wimcast image copy         ${figures(copied)}, ${against(copied)} (goal < 100)`)
    console.log(`  GET /api/version           alone ${figures(alone)}; while lists are made ${figures(stalled)}`)
  }
} finally {
  server?.kill('SIGTERM')
  await server?.exited
  rmSync(folder, { recursive: true, force: true })
}
