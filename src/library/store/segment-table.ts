/** The blob table of a segment on disk. Two ways to read it: blocking in the child process, waiting on the main thread. */
import { closeSync, openSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { Fault } from '../../base/refusal.ts'
import { type BlobTable, decodeBlobTable } from '../../wim/blob-table.ts'
import { decodeHeader, HEADER_BYTES } from '../../wim/header.ts'
import { readExactly } from '../../wim/resource.ts'

function damaged(path: string, cause?: unknown): Fault {
  return new Fault(`the segment ${path} cannot be read`, {
    hint: 'The file is missing, was changed, or its disk is failing. Restore it from a backup, or import the images again.',
    cause,
  })
}

export function readSegmentTable(path: string): BlobTable {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    const head = new Uint8Array(HEADER_BYTES)
    readExactly(fd, head, 0)
    const header = decodeHeader(head)
    if (!header.ok) throw damaged(path)
    const bytes = new Uint8Array(header.value.blobTable.sizeInWim)
    readExactly(fd, bytes, header.value.blobTable.offset)
    const table = decodeBlobTable(bytes)
    if (!table.ok) throw damaged(path)
    return table.value
  } catch (error) {
    throw error instanceof Fault ? error : damaged(path, error)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

export async function loadSegmentTable(path: string): Promise<BlobTable> {
  try {
    await using file = await open(path, 'r')
    const head = new Uint8Array(HEADER_BYTES)
    await file.read(head, 0, HEADER_BYTES, 0)
    const header = decodeHeader(head)
    if (!header.ok) throw damaged(path)
    const { offset, sizeInWim } = header.value.blobTable
    const { size } = await file.stat()
    if (offset + sizeInWim > size) throw damaged(path)
    const bytes = new Uint8Array(sizeInWim)
    for (let done = 0; done < sizeInWim; ) {
      const { bytesRead } = await file.read(bytes, done, sizeInWim - done, offset + done)
      if (bytesRead === 0) throw damaged(path)
      done += bytesRead
    }
    const table = decodeBlobTable(bytes)
    if (!table.ok) throw damaged(path)
    return table.value
  } catch (error) {
    throw error instanceof Fault ? error : damaged(path, error)
  }
}
