/** What bun.lock says of the npm packages that end up in the executable: those that `dependencies` reach. */
import lock from '../../bun.lock'

export type LockedPackage = {
  readonly name: string
  readonly version: string
  readonly integrity: string
  /** Where it is installed. */
  readonly folder: string
}

/** Sorted by name; a package that is there in two versions comes twice. */
export function bundledPackages(): readonly LockedPackage[] {
  const found = new Map<string, LockedPackage>()
  const visit = (wanted: string, from: string) => {
    const key = keyOf(wanted, from)
    if (found.has(key)) return
    const [id, , info, integrity] = lock.packages[key] ?? []
    if (typeof id !== 'string' || typeof info !== 'object' || typeof integrity !== 'string') {
      throw new Error(`bun.lock: "${key}" is no npm package with an integrity`)
    }
    const at = id.lastIndexOf('@')
    const name = id.slice(0, at)
    found.set(key, { name, version: id.slice(at + 1), integrity, folder: folderOf(key, name) })
    const optional = new Set(info.optionalPeers)
    const peers = Object.keys(info.peerDependencies ?? {}).filter((peer) => !optional.has(peer))
    for (const next of [...Object.keys(info.dependencies ?? {}), ...peers]) visit(next, key)
  }
  for (const name of Object.keys(lock.workspaces['']?.dependencies ?? {})) visit(name, '')
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version))
}

/** A package that a dependant has in a version of its own is keyed `dependant/name`; else the shared one counts. */
function keyOf(name: string, from: string): string {
  const own = `${from}/${name}`
  return Object.hasOwn(lock.packages, own) ? own : name
}

function folderOf(key: string, name: string): string {
  const dependant = key.slice(0, -name.length - 1)
  return dependant === '' ? `node_modules/${name}` : `node_modules/${dependant}/node_modules/${name}`
}
