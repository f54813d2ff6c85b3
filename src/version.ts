/** Versions, in one place. */
import { loadWimlib, type Origin } from '../ffi/wimlib/load.ts'
import packageJson from '../package.json' with { type: 'json' }

export type Versions = {
  readonly wimcast: string
  readonly bun: string
  readonly libwim: string
  readonly libwimOrigin: Origin
}

export const VERSION: string = packageJson.version

export function versions(wimlibPath: string | undefined): Versions {
  const wimlib = loadWimlib({ path: wimlibPath })
  return { wimcast: VERSION, bun: Bun.version, libwim: wimlib.version, libwimOrigin: wimlib.origin }
}
