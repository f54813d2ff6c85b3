/**
 * What a stop of any kind left behind in the folders of the groups. Only files that a row dooms are removed: a database
 * that is new, or restored from a backup, does not know the images that came since, and must not cost them.
 */
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { eq, sql } from 'drizzle-orm'
import type { Log } from '../../base/log.ts'
import { Fault, refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { doomedFiles } from '../../db/schema.ts'
import { MANIFEST_NAME } from '../rebuild/manifest.ts'
import { allGroups, allSegmentsOf, type Group } from '../rows.ts'
import { syncFolder } from './sync-folder.ts'

type RecoverDeps = { readonly db: Db; readonly groupsDir: string; readonly log: Log }

const REBUILD = 'wimcast library rebuild'

/** In the time of a listing. Throws a fault when images lie there and the database knows no group at all. */
export function recover(deps: RecoverDeps): void {
  const { db, groupsDir, log } = deps
  removeDoomed(deps)
  const groups = allGroups(db)
  const folders = readdirSync(groupsDir)
  if (groups.length === 0 && folders.some((name) => holdsSegments(join(groupsDir, name))))
    throw new Fault('the database knows no image group, but images lie in groups/', {
      hint:
        `Make the rows anew from that folder: ${REBUILD} --data ${dirname(groupsDir)}. ` +
        'Or restore the database: wimcast backup restore FILE.',
    })
  keepIdsApart(db, folders)
  const known = new Set(groups.map((group) => String(group.id)))
  for (const name of folders)
    if (!known.has(name) && !removeEmpty(join(groupsDir, name))) log.warning('library.unknown-file', { name })
  for (const group of groups) {
    const dir = join(groupsDir, String(group.id))
    mkdirSync(dir, { recursive: true, mode: 0o750 })
    const rows = allSegmentsOf(db, group.id)
    const names = new Set(rows.map((row) => row.fileName))
    for (const name of readdirSync(dir)) {
      if (names.has(name) || name.startsWith(MANIFEST_NAME)) continue
      const hint = name.endsWith('.wim') ? REBUILD : undefined
      log.warning('library.unknown-file', { group: group.name, name, hint })
    }
    for (const row of rows)
      if (!existsSync(join(dir, row.fileName)))
        log.error('library.segment-missing', { group: group.name, file: row.fileName })
  }
}

/** A group's folder is made before the row: of one that never came to be there may be the empty folder. */
function removeEmpty(folder: string): boolean {
  try {
    rmdirSync(folder)
    return true
  } catch {
    return false
  }
}

/** A folder that no row knows may wait for a rebuild: a new group must not move into it. */
function keepIdsApart(db: Db, folders: readonly string[]): void {
  const last = Math.max(0, ...folders.filter((name) => /^[1-9]\d{0,14}$/.test(name)).map(Number))
  db.run(sql`update sqlite_sequence set seq = max(seq, ${last}) where name = 'image_groups'`)
  db.run(
    sql`insert into sqlite_sequence (name, seq) select 'image_groups', ${last}
        where not exists (select 1 from sqlite_sequence where name = 'image_groups')`,
  )
}

/** The doom of a group's folder, with its manifest and all: no file is called so. */
export function doomedFolder(groupId: number): string {
  return `${groupId}/`
}

export function removeDoomed({ db, groupsDir, log }: RecoverDeps): void {
  for (const { groupId, fileName } of db.select().from(doomedFiles).all()) {
    const folder = join(groupsDir, String(groupId))
    if (fileName === doomedFolder(groupId)) rmSync(folder, { recursive: true, force: true })
    else rmSync(join(folder, fileName), { force: true })
    db.delete(doomedFiles).where(eq(doomedFiles.fileName, fileName)).run()
    log.warning('library.unfinished-removed', { group: groupId, name: fileName })
  }
}

function holdsSegments(path: string): boolean {
  try {
    return readdirSync(path).some((name) => name.endsWith('.wim'))
  } catch {
    return false
  }
}

/** Segments in the group's folder that neither a row nor a doom names. */
export function unknownSegments(db: Db, dir: string, groupId: number): string[] {
  const doomed = db.select().from(doomedFiles).where(eq(doomedFiles.groupId, groupId)).all()
  const known = new Set([...allSegmentsOf(db, groupId), ...doomed].map(({ fileName }) => fileName))
  const names = existsSync(dir) ? readdirSync(dir) : []
  return names.filter((name) => name.endsWith('.wim') && !known.has(name))
}

/** After the restore of an older database those are images that came since: what no row needs may be theirs. */
export function allKnown(db: Db, dir: string, { id, name }: Pick<Group, 'id' | 'name'>): Result<void> {
  const unknown = unknownSegments(db, dir, id)
  if (unknown.length === 0) return ok(undefined)
  return refuse(
    'in-use',
    `${unknown.length} segments that the database does not know lie in the folder of "${name}", ${unknown[0]} for one`,
    `They may need what would go. Stop the service and make their rows (${REBUILD}), or move them away.`,
    { files: unknown.slice(0, 20) },
  )
}

/** Removes a doomed segment, then its doom. What cannot be removed now goes at the next start. */
export async function removeSegmentFile(db: Db, dir: string, fileName: string): Promise<void> {
  try {
    await rm(join(dir, fileName), { force: true })
    // A power cut must not bring back the name without its doom.
    syncFolder(dir)
    db.delete(doomedFiles).where(eq(doomedFiles.fileName, fileName)).run()
  } catch {
    // A dying or full disk: the row stays, and with it the doom.
  }
}
