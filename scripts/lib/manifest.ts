/**
 * The build manifest: everything foreign that went into the executable, with versions and hashes. Prints JSON.
 * usage: manifest.ts TARGET EXECUTABLE
 */
import { existsSync } from 'node:fs'
import { version } from '../../package.json'
import { bundledPackages } from './lock.ts'

const [target, executable] = process.argv.slice(2)
if (target === undefined || executable === undefined) throw new Error('usage: manifest.ts TARGET EXECUTABLE')

/** Written by ffi/wimlib/native/build. */
const native = `.cache/native/${target}/libwim.json`
const libwim: unknown = existsSync(native) ? await Bun.file(native).json() : undefined

const hasher = new Bun.CryptoHasher('sha256')
for await (const chunk of Bun.file(executable).stream()) hasher.update(chunk)

const manifest = {
  wimcast: { version, target, sizeBytes: Bun.file(executable).size, sha256: hasher.digest('hex') },
  bun: { version: Bun.version, revision: Bun.revision },
  /** Absent: the executable takes libwim from its configured path or the system. */
  libwim,
  npm: bundledPackages().map(({ name, version, integrity }) => ({ name, version, integrity })),
}
process.stdout.write(`${JSON.stringify(manifest, undefined, 2)}\n`)
