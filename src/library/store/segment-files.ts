/**
 * Segments as the running appliance holds them: open descriptors shared by all readers, and tables kept in memory while
 * they are in use. A descriptor lives as long as its last reader, so deletion never disturbs a running download.
 */
import { close, open } from 'node:fs'
import { promisify } from 'node:util'
import { Fault } from '../../base/refusal.ts'
import { type LoadedSegment, loadedSegment } from '../../wim/segment.ts'
import { loadSegmentTable } from './segment-table.ts'

export type SegmentFiles = {
  /** Adds a reader. Every acquire is ended by one release. */
  readonly acquire: (path: string) => Promise<number>
  readonly release: (path: string) => void
  readonly table: (path: string) => Promise<LoadedSegment>
  /** The segment is gone from the library: drop its table; readers keep their descriptor. */
  readonly forget: (path: string) => void
}

/** 56 bytes an entry and 8 for the index: half a million entries are some 32 MiB. */
const MAX_CACHED_ENTRIES = 500_000

const openFd = promisify(open)

type Handle = { readonly fd: Promise<number>; readers: number }

export function openSegmentFiles(): SegmentFiles {
  const handles = new Map<string, Handle>()
  const tables = new Map<string, LoadedSegment>()
  const loading = new Map<string, Promise<LoadedSegment>>()

  function shrink(): void {
    let entries = 0
    for (const segment of tables.values()) entries += segment.table.count
    // Map keeps the order of insertion, and a hit is inserted anew: the first is the least recently used.
    for (const [path, segment] of tables) {
      if (entries <= MAX_CACHED_ENTRIES || tables.size === 1) return
      tables.delete(path)
      entries -= segment.table.count
    }
  }

  async function load(path: string): Promise<LoadedSegment> {
    const segment = loadedSegment(await loadSegmentTable(path))
    tables.set(path, segment)
    shrink()
    return segment
  }

  return {
    acquire: async (path) => {
      let handle = handles.get(path)
      if (!handle) {
        handle = { fd: openFd(path, 'r'), readers: 0 }
        handles.set(path, handle)
      }
      handle.readers += 1
      try {
        return await handle.fd
      } catch (cause) {
        if (handles.get(path) === handle) handles.delete(path)
        throw new Fault(`the segment ${path} cannot be opened`, {
          hint: 'The file is missing or its disk is failing. Restore it from a backup, or import the images again.',
          cause,
        })
      }
    },
    release: (path) => {
      const handle = handles.get(path)
      if (!handle) return
      handle.readers -= 1
      if (handle.readers > 0) return
      handles.delete(path)
      handle.fd.then(
        (fd) => close(fd, () => {}),
        () => {},
      )
    },
    table: async (path) => {
      const known = tables.get(path)
      if (known) {
        tables.delete(path)
        tables.set(path, known)
        return known
      }
      const pending = loading.get(path) ?? load(path).finally(() => loading.delete(path))
      loading.set(path, pending)
      return pending
    },
    forget: (path) => {
      tables.delete(path)
    },
  }
}
