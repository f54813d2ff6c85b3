/**
 * The waist of the house: every transport serves the same `Content`, found on a `Shelf`.
 * A transport never knows what a WIM is; the library never knows who asks by which protocol.
 */
import type { Principal } from './principal.ts'
import type { Result } from './result.ts'

/** One run of the content: bytes of an open file, or bytes made by us (a WIM header, a blob table). */
export type Piece = {
  /** Where the run begins in the content. Pieces are sorted by it and touch each other without gap. */
  readonly at: number
  readonly length: number
  readonly source: { readonly fd: number; readonly offset: number } | { readonly bytes: Uint8Array }
}

/**
 * A content that holds its files open, until disposed. The files may be unlinked meanwhile (delete, compaction):
 * the descriptors keep them alive. Descriptors are shared and read by position only: never seek, never close them.
 */
export type OpenContent = Disposable & {
  readonly sizeBytes: number
  readonly pieces: readonly Piece[]
}

export type Content = {
  readonly sizeBytes: number
  /** Strong validator without quotes: same etag, same bytes (RFC 9110 §8.8.3). */
  readonly etag: string
  /** A media type; WIM files have none registered, they go as application/octet-stream. */
  readonly mediaType: string
  /** The name a download is saved under. */
  readonly fileName: string
  readonly open: () => Promise<Result<OpenContent>>
}

export type Shelf = {
  /** `path` is already decoded and relative, parts parted by `/`, e.g. `images/Windows 11/install.wim`. */
  readonly find: (path: string, who: Principal) => Promise<Content | undefined>
}
