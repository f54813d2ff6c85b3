/**
 * The rows that a rebuild makes for one group, inside its transaction. Rows that are there win over the manifest,
 * because they are the truth; what only the folder knows is added.
 */
import { and, eq, isNull } from 'drizzle-orm'
import { foldCase } from '../../base/fold.ts'
import type { Db } from '../../db/open.ts'
import { contents, imageGroups, segments } from '../../db/schema.ts'
import { metadataEntries, sha1At } from '../../wim/blob-table.ts'
import type { Manifest } from './manifest.ts'
import {
  contentsOf,
  type Folder,
  ImageRows,
  intoTrash,
  type Lying,
  type MadeImage,
  type Place,
} from './rebuild-images.ts'

export type GroupOutcome = {
  readonly name: string
  readonly made: boolean
  readonly segments: readonly string[]
  readonly images: readonly MadeImage[]
  readonly versions: number
  readonly rehomed: number
  /** Trees that the manifest knows to be removed. */
  readonly unused: number
  /** Images that the manifest names, and whose content is nowhere. */
  readonly lost: readonly string[]
}

export function rebuildGroup(db: Db, folder: Folder, nowMs: number): GroupOutcome {
  const group = theGroupRow(db, folder, nowMs)
  const listed = new Map(folder.manifests.toReversed().flatMap((m) => m.segments.map((s) => [s.file, s] as const)))
  const placed = placeSegments(db, folder, listed)
  const rehomed = rehome(db, folder, placed)
  const builder = new ImageRows(db, folder, group.row, placed)
  for (const [i, manifest] of folder.manifests.entries())
    builder.fromManifest(manifest, new Set(folder.manifests.slice(0, i).flatMap((m) => m.segments.map((s) => s.file))))
  for (const lying of folder.lying) if (lying.read) builder.unnamed(lying, listed.has(lying.file))
  return {
    name: group.row.name,
    made: group.made,
    segments: folder.lying.filter(({ read }) => read).map(({ file }) => file),
    rehomed,
    ...builder.outcome(),
  }
}

type GroupRow = typeof imageGroups.$inferSelect

function theGroupRow(db: Db, { groupId, manifests }: Folder, nowMs: number): { row: GroupRow; made: boolean } {
  const known = db.select().from(imageGroups).where(eq(imageGroups.id, groupId)).get()
  if (known) return { row: known, made: false }
  const manifest = manifests[0]
  const said = manifest?.group
  const removed = manifest?.trash.find((item) => item.kind === 'group' && item.id === said?.trashId)
  const isTaken = (name: string): boolean =>
    db
      .select({ id: imageGroups.id })
      .from(imageGroups)
      .where(and(eq(imageGroups.folded, foldCase(name)), isNull(imageGroups.trashId)))
      .get() !== undefined
  let name = said?.name ?? `Recovered ${groupId}`
  if (!removed)
    for (let n = 2; isTaken(name); n += 1) name = `${(said?.name ?? 'Recovered').slice(0, 60)} ${groupId}-${n}`
  const row = db
    .insert(imageGroups)
    .values({
      id: groupId,
      name,
      folded: foldCase(name),
      description: said?.description ?? '',
      quotaBytes: said?.quotaBytes ?? null,
      audience: said?.audience ?? null,
      // At once: in the trash, a name may be that of a group that is there.
      trashId: removed?.id ?? null,
      createdAtMs: said?.createdAtMs ?? nowMs,
      changedAtMs: said?.changedAtMs ?? nowMs,
    })
    .returning()
    .get()
  if (removed) {
    const trashId = intoTrash(db, { ...removed, groupId, imageId: null, contentId: null })
    db.update(imageGroups).set({ trashId }).where(eq(imageGroups.id, groupId)).run()
  }
  return { row, made: true }
}

/** Rows for the segments that have none, in the order they had: it decides how views are laid out. Places by tree. */
function placeSegments(
  db: Db,
  { groupId, lying }: Folder,
  listed: ReadonlyMap<string, Manifest['segments'][number]>,
): ReadonlyMap<string, readonly Place[]> {
  const order = [...listed.keys()]
  const rank = ({ file, read }: Lying): number => (read ? order.indexOf(file) + 1 || order.length + 1 : 0)
  const places = new Map<string, Place[]>()
  for (const one of [...lying].sort((a, b) => rank(a) - rank(b) || a.changedAtMs - b.changedAtMs)) {
    const segmentId = one.rowId ?? insertSegment(db, groupId, one, listed.get(one.file))
    for (const [i, entry] of metadataEntries(one.table).entries()) {
      const tree = Buffer.from(sha1At(one.table, entry)).toString('hex')
      places.set(tree, [...(places.get(tree) ?? []), { segmentId, index: i + 1, lying: one }])
    }
  }
  return places
}

function insertSegment(db: Db, groupId: number, lying: Lying, said: Manifest['segments'][number] | undefined): number {
  return db
    .insert(segments)
    .values({
      groupId,
      fileName: lying.file,
      sizeBytes: lying.read?.sizeBytes ?? 0,
      // Of another size than it had, it is not what was verified.
      verified: said?.verified === true && said.sizeBytes === lying.read?.sizeBytes,
      blobBytes: lying.read?.blobBytes ?? 0,
      retired: said?.retired ?? false,
      createdAtMs: said?.createdAtMs ?? lying.changedAtMs,
    })
    .returning({ id: segments.id })
    .get().id
}

/** Contents whose segment is gone, and whose tree lies in another: compaction has moved them since. */
function rehome(db: Db, { groupId }: Folder, places: ReadonlyMap<string, readonly Place[]>): number {
  let moved = 0
  for (const row of contentsOf(db, groupId)) {
    const there = places.get(row.treeSha1) ?? []
    if (there.some(({ segmentId, index }) => segmentId === row.segmentId && index === row.imageIndex)) continue
    const [place] = there
    if (!place) continue
    db.update(contents)
      .set({ segmentId: place.segmentId, imageIndex: place.index })
      .where(eq(contents.id, row.id))
      .run()
    moved += 1
  }
  return moved
}
