/** A folder's entries on disk: what was made, renamed or removed in it survives a power cut after this (fsync(2)). */
import { closeSync, fsyncSync, openSync } from 'node:fs'

/** Waits for the disk, some milliseconds. */
export function syncFolder(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
