/** From an install image to the `Content` that every transport serves: its view, opened over the group's segments. */
import { eq, inArray } from 'drizzle-orm'
import type { Content, OpenContent, Piece } from '../../base/content.ts'
import type { Log } from '../../base/log.ts'
import { reasonOf } from '../../base/log.ts'
import { Fault, Refused, refuse } from '../../base/refusal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { contents, segments } from '../../db/schema.ts'
import { metadataEntries } from '../../wim/blob-table.ts'
import type { LoadedSegment } from '../../wim/segment.ts'
import { buildView, type View } from '../../wim/view.ts'
import { renameImage } from '../../wim/xml.ts'
import {
  damagedOf,
  emptySegment,
  findTree,
  lackingIn,
  NO_DAMAGE,
  refuseDamaged,
  WHOLE_FILE,
  withoutDamaged,
} from '../health/damage.ts'
import { needsOf, segmentsOf } from '../rows.ts'
import type { SegmentFiles } from './segment-files.ts'

/** What makes a view the same bytes again, beside the content and its names: where its tree lies, and what it reads. */
export type Recipe = {
  readonly homeSegmentId: number
  /** The image's index in that segment, from 1. */
  readonly homeIndex: number
  /** The segments that the view reads, in the order in which they are looked into. */
  readonly segmentIds: readonly number[]
}

export type ContentRequest = {
  readonly contentId: number
  readonly name: string
  readonly description: string
  readonly fileName: string
  /** The view as it was then: for whoever has a lease on its segments. Absent: the view as the group lies now. */
  readonly recipe?: Recipe | undefined
}

export type ImageContent = Content & { readonly recipe: Recipe }

export type Contents = {
  readonly of: (request: ContentRequest) => Promise<Result<ImageContent>>
  /** Segments of the group have changed: views of it are made anew. */
  readonly forgetGroup: (groupId: number) => void
}

/** A view of 100,000 files carries a 5 MB table: a handful is kept. */
const MAX_CACHED_VIEWS = 6

type Cached = {
  readonly contentId: number
  readonly groupId: number
  readonly view: View
  readonly paths: readonly string[]
  readonly recipe: Recipe
}

const removed = (): Result<never> =>
  refuse('not-found', 'the image was removed', 'List what there is: wimcast image list.')

/**
 * The segments of a group in the order in which a content that lies in several is looked for. A segment with known damage
 * comes last, and before that the verified ones come first.
 */
export function lookedInto(db: Db, groupId: number): (typeof segments.$inferSelect)[] {
  const damaged = damagedOf(db, groupId)
  const rank = (row: typeof segments.$inferSelect): number => (damaged.has(row.fileName) ? 2 : row.verified ? 0 : 1)
  return segmentsOf(db, groupId).sort((a, b) => rank(a) - rank(b))
}

function keyOf({ contentId, name, description, recipe }: ContentRequest): string {
  return JSON.stringify([contentId, name, description, recipe?.homeSegmentId, recipe?.homeIndex, recipe?.segmentIds])
}

/** Indexes of the segments that the view reads, ascending: the order in which they are looked into. */
function usedSegments(view: View): number[] {
  const used = new Set(view.extents.flatMap((extent) => ('segment' in extent ? [extent.segment] : [])))
  return [...used].sort((a, b) => a - b)
}

function recipeOf(made: {
  readonly view: View
  readonly tree: { readonly segment: number; readonly metadata: number }
  readonly loaded: readonly LoadedSegment[]
  readonly ids: readonly number[]
}): Recipe {
  const { segment, metadata } = made.tree
  const table = made.loaded[segment]?.table
  return {
    homeSegmentId: made.ids[segment] ?? -1,
    homeIndex: (table ? metadataEntries(table).indexOf(metadata) : -1) + 1,
    segmentIds: usedSegments(made.view).map((i) => made.ids[i] ?? -1),
  }
}

export function openContents(deps: {
  readonly db: Db
  readonly files: SegmentFiles
  readonly groupDir: (groupId: number) => string
  readonly log: Log
}): Contents {
  const { db, files, log } = deps
  const views = new Map<string, Cached>()
  const making = new Map<string, Promise<Result<Cached>>>()
  /** Grows when the segments of a group change: what was being made then is made again. */
  const changes = new Map<number, number>()

  /** Twenty machines that ask for a cold image at once wait for one making of its view. */
  function view(request: ContentRequest): Promise<Result<Cached>> {
    const key = keyOf(request)
    const pending = making.get(key) ?? cachedView(request, key).finally(() => making.delete(key))
    making.set(key, pending)
    return pending
  }

  async function cachedView(request: ContentRequest, key: string): Promise<Result<Cached>> {
    const known = views.get(key)
    if (known) {
      views.delete(key)
      views.set(key, known)
      return ok(known)
    }
    const row = db.select().from(contents).where(eq(contents.id, request.contentId)).get()
    if (!row) return removed()
    const { recipe } = request
    const segmentRows = recipe ? rowsOf(recipe.segmentIds) : lookedInto(db, row.groupId)
    if (!segmentRows) return removed()
    // What was found to be damaged since the recipe was written must not change its bytes.
    const damaged = recipe ? new Map<string, Set<string>>() : damagedOf(db, row.groupId)
    const before = changes.get(row.groupId)
    const paths = segmentRows.map((segment) => `${deps.groupDir(row.groupId)}/${segment.fileName}`)
    const damage = segmentRows.map((segment) => damaged.get(segment.fileName) ?? NO_DAMAGE)
    const tables = await Promise.allSettled(
      paths.map((path, i) => (damage[i]?.has(WHOLE_FILE) ? emptySegment() : files.table(path))),
    )
    const fault = tables.find((table) => table.status === 'rejected')?.reason
    // A collection or a compaction may have taken a segment away between its row and its file: the rows say so now.
    if (changes.get(row.groupId) !== before || !rowsOf(segmentRows.map(({ id }) => id))) return cachedView(request, key)
    if (fault !== undefined) {
      if (!(fault instanceof Fault)) throw fault
    }
    // A damaged copy is as good as none: a content that lies in two segments is taken from the good one.
    const loaded = tables.map(
      (table, i): LoadedSegment =>
        table.status === 'fulfilled' ? withoutDamaged(table.value, damage[i]) : emptySegment(),
    )
    const { homeSegmentId, homeIndex } = recipe ?? { homeSegmentId: row.segmentId, homeIndex: row.imageIndex }
    const home = segmentRows.findIndex((segment) => segment.id === homeSegmentId)
    const tree = findTree(loaded, damage, { home, imageIndex: homeIndex, treeSha1: row.treeSha1 })
    const needs = needsOf(db, row.id)
    const built = tree
      ? buildView([{ ...tree, element: renameImage(row.element, request), needs, bootable: row.bootable }], loaded, {
          rpFix: row.rpFix,
        })
      : undefined
    if (!tree || !built?.ok) {
      if (fault !== undefined) throw fault
      if (built?.ok === false && built.error.code !== 'missing-blobs') return built
      const lacking = lackingIn(needs, loaded)
      return refuseDamaged(lacking.count + (tree ? 0 : 1), lacking.first ?? row.treeSha1)
    }
    if (fault !== undefined) log.error('library.unreadable', { reason: reasonOf(fault) })
    // Only the segments that the view reads are kept open by its readers.
    const used = { view: built.value, tree, loaded, ids: segmentRows.map(({ id }) => id) }
    const cached = { contentId: row.id, groupId: row.groupId, view: built.value, paths, recipe: recipeOf(used) }
    views.set(key, cached)
    // A transmission asks for the same view by its recipe next.
    views.set(keyOf({ ...request, recipe: cached.recipe }), cached)
    for (const oldest of views.keys()) {
      if (new Set(views.values()).size <= MAX_CACHED_VIEWS) break
      views.delete(oldest)
    }
    return ok(cached)
  }

  /** Retired or not, in that order; undefined when one is gone. */
  function rowsOf(ids: readonly number[]): (typeof segments.$inferSelect)[] | undefined {
    const rows = db
      .select()
      .from(segments)
      .where(inArray(segments.id, [...ids]))
      .all()
    const ordered = ids.flatMap((id) => rows.find((row) => row.id === id) ?? [])
    return ordered.length === ids.length ? ordered : undefined
  }

  async function open({ contentId, view, paths, recipe }: Cached): Promise<Result<OpenContent>> {
    const used = usedSegments(view)
    const acquired: string[] = []
    const release = (): void => {
      for (const path of acquired.splice(0)) files.release(path)
    }
    try {
      const fds = new Map<number, number>()
      for (const segment of used) {
        const path = paths[segment] ?? ''
        fds.set(segment, await files.acquire(path))
        acquired.push(path)
      }
      const pieces = view.extents.map((extent): Piece => {
        const { at, length } = extent
        if ('bytes' in extent) return { at, length, source: { bytes: extent.bytes } }
        const fd = fds.get(extent.segment)
        if (fd === undefined) throw new Error('a segment of the view was not opened')
        return { at, length, source: { fd, offset: extent.offset } }
      })
      return ok({ sizeBytes: view.sizeBytes, pieces, [Symbol.dispose]: release })
    } catch (error) {
      release()
      if (!(error instanceof Fault)) throw error
      if (!db.select({ id: contents.id }).from(contents).where(eq(contents.id, contentId)).get()) return removed()
      // A compaction keeps what it replaced for a minute: who found the image before that gets other bytes under another etag.
      if (!rowsOf(recipe.segmentIds))
        return refuse('unreadable', 'the image was laid out anew since it was found', 'Ask again.')
      log.error('library.unreadable', { reason: reasonOf(error) })
      return refuse('unreadable', error.message, error.hint)
    }
  }

  return {
    of: async (request) => {
      try {
        const made = await view(request)
        if (!made.ok) return made
        const cached = made.value
        return ok({
          sizeBytes: cached.view.sizeBytes,
          etag: cached.view.etag,
          mediaType: 'application/octet-stream',
          fileName: request.fileName,
          recipe: cached.recipe,
          open: () => open(cached),
        })
      } catch (error) {
        if (error instanceof Refused) return { ok: false, error: error.refusal }
        if (!(error instanceof Fault)) throw error
        log.error('library.unreadable', { reason: reasonOf(error) })
        return refuse('unreadable', error.message, error.hint)
      }
    },
    forgetGroup: (groupId) => {
      changes.set(groupId, (changes.get(groupId) ?? 0) + 1)
      for (const [key, cached] of views) if (cached.groupId === groupId) views.delete(key)
    },
  }
}
