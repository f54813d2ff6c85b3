/** Contents that are not views: one regular file as it lies, and bytes that we made. */
import { type BigIntStats, close, closeSync, constants, fstat, open } from 'node:fs'
import { basename } from 'node:path'
import { promisify } from 'node:util'
import type { Content } from '../base/content.ts'
import { type Refusal, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'

type Labels = { readonly mediaType?: string; readonly fileName?: string }

const OCTETS = 'application/octet-stream'
const openFd = promisify(open)
const closeFd = promisify(close)
const statFd: (fd: number, options: { bigint: true }) => Promise<BigIntStats> = promisify(fstat)
const codeOf = (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : 'unknown')

/** Changes whenever the file is rewritten or replaced: inode, size and modification time in nanoseconds. */
const etagOf = (stat: BigIntStats) => `${stat.ino.toString(36)}-${stat.size.toString(36)}-${stat.mtimeNs.toString(36)}`

/** O_NONBLOCK so that opening a FIFO does not hang; it means nothing to a regular file. */
async function openRegular(path: string): Promise<Result<{ fd: number; stat: BigIntStats }>> {
  let fd: number
  try {
    fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR')
      return refuse('not-found', `there is no file "${path}"`, 'Check the path.')
    return refuse('unreadable', `"${path}" cannot be opened (${code})`, 'Check the rights of the file and the disk.')
  }
  const stat = await statFd(fd, { bigint: true })
  if (stat.isFile()) return ok({ fd, stat })
  await closeFd(fd)
  return refuse('bad-path', `"${path}" is not a regular file`, 'Name a regular file.')
}

/**
 * One regular file. Size and etag are those of now; each `open` looks again and refuses a file that has become another,
 * so that a transfer never mixes two versions under one etag.
 */
export async function fileContent(path: string, labels: Labels = {}): Promise<Result<Content, Refusal>> {
  const first = await openRegular(path)
  if (!first.ok) return first
  await closeFd(first.value.fd)
  const sizeBytes = Number(first.value.stat.size)
  const etag = etagOf(first.value.stat)
  return ok({
    sizeBytes,
    etag,
    mediaType: labels.mediaType ?? OCTETS,
    fileName: labels.fileName ?? basename(path),
    async open() {
      const now = await openRegular(path)
      if (!now.ok) return now
      const { fd, stat } = now.value
      if (etagOf(stat) !== etag) {
        await closeFd(fd)
        return refuse('unreadable', `"${path}" has changed since it was found`, 'Ask again.')
      }
      let closed = false
      return ok({
        sizeBytes,
        pieces: [{ at: 0, length: sizeBytes, source: { fd, offset: 0 } }],
        [Symbol.dispose]() {
          if (closed) return
          closed = true
          closeSync(fd)
        },
      })
    },
  })
}

/** Bytes in memory; they must not change afterwards. The etag is their SHA-256 unless the caller knows a better one. */
export function memoryContent(bytes: Uint8Array, labels: Labels & { readonly etag?: string } = {}): Content {
  return {
    sizeBytes: bytes.byteLength,
    etag: labels.etag ?? new Bun.CryptoHasher('sha256').update(bytes).digest('base64url'),
    mediaType: labels.mediaType ?? OCTETS,
    fileName: labels.fileName ?? 'content',
    open: async () =>
      ok({
        sizeBytes: bytes.byteLength,
        pieces: [{ at: 0, length: bytes.byteLength, source: { bytes } }],
        [Symbol.dispose]() {},
      }),
  }
}
