/** All file contents that the segments of a group hold together: one index, however many segments there are. */
import { type BlobTable, isMetadata, SHA1_BYTES, Sha1Index, sha1At } from '../../wim/blob-table.ts'

export type Holdings = {
  /** What the content takes in a segment; undefined when none has it. */
  readonly sizeOf: (sha1: Uint8Array, at: number) => number | undefined
}

export function holdingsOf(tables: readonly BlobTable[]): Holdings {
  const total = tables.reduce((sum, table) => sum + table.count, 0)
  const all = new Uint8Array(total * SHA1_BYTES)
  const sizes = new Float64Array(total)
  let count = 0
  for (const table of tables)
    for (let i = 0; i < table.count; i += 1) {
      if (isMetadata(table, i)) continue
      all.set(sha1At(table, i), count * SHA1_BYTES)
      sizes[count] = table.sizeInWim[i] ?? 0
      count += 1
    }
  const index = new Sha1Index(all.subarray(0, count * SHA1_BYTES))
  return {
    sizeOf: (sha1, at) => {
      const entry = index.find(sha1, at)
      return entry < 0 ? undefined : sizes[entry]
    },
  }
}
