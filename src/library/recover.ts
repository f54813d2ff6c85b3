/**
 * What a stop of any kind left behind in the folders of the groups. Only files that a row dooms are removed: a database
 * that is new, or restored from a backup, does not know the images that came since, and must not cost them.
 */
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { eq } from 'drizzle-orm'
import type { Log } from '../base/log.ts'
import { Fault } from '../base/refusal.ts'
import type { Db } from '../db/open.ts'
import { doomedFiles } from '../db/schema.ts'
import { listGroups, segmentsOf } from './rows.ts'

/** In the time of a listing. Throws a fault when images lie there and the database knows no group at all. */
export function recover(deps: { readonly db: Db; readonly groupsDir: string; readonly log: Log }): void {
  const { db, groupsDir, log } = deps
  for (const { groupId, fileName } of db.select().from(doomedFiles).all()) {
    const path = join(groupsDir, String(groupId), fileName)
    for (const file of [path, `${path}.json`]) rmSync(file, { force: true })
    db.delete(doomedFiles).where(eq(doomedFiles.fileName, fileName)).run()
    log.warning('library.unfinished-removed', { group: groupId, name: fileName })
  }
  const groups = listGroups(db)
  const folders = readdirSync(groupsDir)
  if (groups.length === 0 && folders.some((name) => holdsSegments(join(groupsDir, name))))
    throw new Fault('the database knows no image group, but images lie in groups/', {
      hint: `Restore the database that belongs to ${groupsDir}, or move that folder away to begin anew.`,
    })
  const known = new Set(groups.map((group) => String(group.id)))
  for (const name of folders) if (!known.has(name)) log.warning('library.unknown-file', { name })
  for (const group of groups) {
    const dir = join(groupsDir, String(group.id))
    mkdirSync(dir, { recursive: true, mode: 0o750 })
    const rows = segmentsOf(db, group.id)
    const names = new Set(rows.flatMap((row) => [row.fileName, `${row.fileName}.json`]))
    for (const name of readdirSync(dir))
      if (!names.has(name)) log.warning('library.unknown-file', { group: group.name, name })
    for (const row of rows)
      if (!existsSync(join(dir, row.fileName)))
        log.error('library.segment-missing', { group: group.name, file: row.fileName })
  }
}

function holdsSegments(path: string): boolean {
  try {
    return readdirSync(path).some((name) => name.endsWith('.wim'))
  } catch {
    return false
  }
}

/** Removes a doomed segment and its manifest, then its doom. What cannot be removed now goes at the next start. */
export async function removeSegmentFile(db: Db, dir: string, fileName: string): Promise<void> {
  const path = join(dir, fileName)
  try {
    for (const file of [path, `${path}.json`]) await rm(file, { force: true })
    db.delete(doomedFiles).where(eq(doomedFiles.fileName, fileName)).run()
  } catch {
    // A dying or full disk: the row stays, and with it the doom.
  }
}
