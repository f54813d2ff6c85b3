/** From an install image to the `Content` that every transport serves: its view, opened over the group's segments. */
import { eq } from 'drizzle-orm'
import type { Content, OpenContent, Piece } from '../base/content.ts'
import type { Log } from '../base/log.ts'
import { reasonOf } from '../base/log.ts'
import { Fault, Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { contents } from '../db/schema.ts'
import { metadataEntries } from '../wim/blob-table.ts'
import { decodeNeeds } from '../wim/needs.ts'
import type { LoadedSegment } from '../wim/segment.ts'
import { buildView, type View } from '../wim/view.ts'
import { renameImage } from '../wim/xml.ts'
import { segmentsOf } from './rows.ts'
import type { SegmentFiles } from './segment-files.ts'

export type ContentRequest = {
  readonly contentId: number
  readonly name: string
  readonly description: string
  readonly fileName: string
}

export type Contents = {
  readonly of: (request: ContentRequest) => Promise<Result<Content>>
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
}

const removed = (): Result<never> =>
  refuse('not-found', 'the image was removed', 'List what there is: wimcast image list.')

export function openContents(deps: {
  readonly db: Db
  readonly files: SegmentFiles
  readonly groupDir: (groupId: number) => string
  readonly log: Log
}): Contents {
  const { db, files, log } = deps
  const views = new Map<string, Cached>()
  const making = new Map<string, Promise<Result<Cached>>>()

  /** Twenty machines that ask for a cold image at once wait for one making of its view. */
  function view(request: ContentRequest): Promise<Result<Cached>> {
    const key = JSON.stringify([request.contentId, request.name, request.description])
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
    // A content that lies in two segments is taken from the one that was verified.
    const segmentRows = segmentsOf(db, row.groupId).sort((a, b) => Number(b.verified) - Number(a.verified))
    const paths = segmentRows.map((segment) => `${deps.groupDir(row.groupId)}/${segment.fileName}`)
    const home = segmentRows.findIndex((segment) => segment.id === row.segmentId)
    let loaded: LoadedSegment[]
    try {
      loaded = await Promise.all(paths.map((path) => files.table(path)))
    } catch (error) {
      // A collection may have taken a segment away between its row and its file: then the rows say so now.
      if (segmentsOf(db, row.groupId).length < segmentRows.length) return cachedView(request, key)
      throw error
    }
    const homeTable = loaded[home]?.table
    const metadata = homeTable && metadataEntries(homeTable)[row.imageIndex - 1]
    if (metadata === undefined)
      throw new Fault(`content ${row.id} has no tree in its segment`, { hint: 'Restore the segment from a backup.' })
    const image = {
      segment: home,
      metadata,
      element: renameImage(row.element, request),
      needs: decodeNeeds(row.needs),
      bootable: row.bootable,
    }
    const built = buildView([image], loaded, { rpFix: row.rpFix })
    if (!built.ok) return built
    // Only the segments that the view reads are kept open by its readers.
    const cached = { contentId: row.id, groupId: row.groupId, view: built.value, paths }
    views.set(key, cached)
    for (const oldest of views.keys()) {
      if (views.size <= MAX_CACHED_VIEWS) break
      views.delete(oldest)
    }
    return ok(cached)
  }

  async function open({ contentId, view, paths }: Cached): Promise<Result<OpenContent>> {
    const used = [...new Set(view.extents.flatMap((extent) => ('segment' in extent ? [extent.segment] : [])))]
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
      for (const [key, cached] of views) if (cached.groupId === groupId) views.delete(key)
    },
  }
}
