/**
 * The books of a group: which image needs which stored bytes, which of them several share, which nobody needs, and which
 * contents lie nowhere in a good copy. Pure, and seconds of work for a large group: it runs in ledger-worker.ts.
 */
import { isMetadata, metadataEntries, SHA1_BYTES, Sha1Index, sha1At } from '../../wim/blob-table.ts'
import type { Needs } from '../../wim/needs.ts'
import type { LoadedSegment } from '../../wim/segment.ts'
import { type Damage, packSha1s, WHOLE_FILE, withoutDamaged } from './damage.ts'

export type LedgerContent = {
  readonly id: number
  readonly needs: Needs
  readonly treeSha1: string
  readonly segmentId: number
  readonly imageIndex: number
  /** Install images, versions in the trash and open transmissions that hold it; those of them that are not in the trash. */
  readonly holders: number
  readonly shown: number
}

export type LedgerSegment = {
  readonly id: number
  /** Stays for transmissions only: nothing is read from it here. */
  readonly retired: boolean
  readonly damage: Damage
  /** Absent when it cannot be read. */
  readonly loaded: LoadedSegment | undefined
}

/** Bytes are compressed bytes, as stored. */
export type ContentAccount = {
  readonly id: number
  /** Needed by no other content, its tree with it. */
  readonly ownBytes: number
  readonly sharedBytes: number
  /** Its part of what is stored, each byte divided by the images that need it, for one image. */
  readonly partBytes: number
  /** Contents that no segment holds in a good copy, the tree with them; and the first of them. */
  readonly lacking: number
  readonly firstLacking: string | undefined
  /** Where a good copy of its tree lies: where the row says, or elsewhere. */
  readonly tree: { readonly segmentId: number; readonly imageIndex: number } | undefined
}

export type Ledger = {
  readonly contents: readonly ContentAccount[]
  /** Needed by somebody. */
  readonly liveBytes: number
  /** Of them, by nothing but the trash and transmissions of it. */
  readonly trashBytes: number
  /** In segments that images are read from, and needed by nobody: second and damaged copies with them. */
  readonly deadBytes: number
  /** What no good copy is left of, each once: file contents as SHA-1s side by side, trees as hex. */
  readonly lackingBlobs: Uint8Array
  readonly lackingTrees: readonly string[]
  /** For each damage that is named by a SHA-1, the contents that need it, whether or not a good copy is left. */
  readonly touched: readonly {
    readonly segmentId: number
    readonly sha1: string
    readonly contents: readonly number[]
  }[]
  /** Segments whose table cannot be read, and that nobody knew as damaged. */
  readonly unreadable: readonly number[]
}

const MANY = -2
const hexAt = (sha1: Uint8Array, i: number): string =>
  Buffer.from(sha1.buffer, sha1.byteOffset + i * SHA1_BYTES, SHA1_BYTES).toString('hex')

/** The good copies of a group, one place for each content: the first segment that has it. */
function goodCopies(segments: readonly LedgerSegment[]) {
  const places = segments.filter(({ retired, loaded }) => !retired && loaded)
  const count = places.reduce((sum, { loaded }) => sum + (loaded?.table.count ?? 0), 0)
  const sha1 = new Uint8Array(count * SHA1_BYTES)
  const sizes = new Float64Array(count)
  const isGood = new Uint8Array(count)
  const trees = new Map<string, { segmentId: number; imageIndex: number; bytes: number }>()
  let allBytes = 0
  let at = 0
  for (const { id, damage, loaded } of places) {
    if (!loaded) continue
    const { table } = loaded
    const { index } = withoutDamaged(loaded, damage)
    for (let i = 0; i < table.count; i += 1) {
      sha1.set(sha1At(table, i), (at + i) * SHA1_BYTES)
      sizes[at + i] = table.sizeInWim[i] ?? 0
      allBytes += table.sizeInWim[i] ?? 0
      if (!isMetadata(table, i) && index.find(table.sha1, i * SHA1_BYTES) === i) isGood[at + i] = 1
    }
    if (!damage.has(WHOLE_FILE))
      for (const [k, entry] of metadataEntries(table).entries()) {
        const hex = hexAt(table.sha1, entry)
        if (!damage.has(hex))
          for (const key of [`${id} ${k + 1} ${hex}`, hex])
            if (!trees.has(key))
              trees.set(key, { segmentId: id, imageIndex: k + 1, bytes: table.sizeInWim[entry] ?? 0 })
      }
    at += table.count
  }
  return { index: new Sha1Index(sha1, (i) => isGood[i] === 1), sizes, trees, allBytes }
}

/** What is damaged, and whom it touches. */
function openTouched(segments: readonly LedgerSegment[]) {
  const named = segments.flatMap(({ id, damage }) =>
    [...damage].flatMap((sha1) => (sha1 === WHOLE_FILE ? [] : [{ segmentId: id, sha1, contents: [] as number[] }])),
  )
  const bySha1 = new Map<string, (typeof named)[number][]>()
  for (const one of named) bySha1.set(one.sha1, [...(bySha1.get(one.sha1) ?? []), one])
  const distinct = [...bySha1.keys()]
  const index = new Sha1Index(packSha1s(distinct))
  return {
    named,
    note: (content: number, sha1: Uint8Array, at: number): void => {
      if (distinct.length === 0) return
      const found = index.find(sha1, at)
      if (found >= 0) for (const one of bySha1.get(distinct[found] ?? '') ?? []) one.contents.push(content)
    },
  }
}

export function computeLedger(segments: readonly LedgerSegment[], contents: readonly LedgerContent[]): Ledger {
  const { index, sizes, trees, allBytes } = goodCopies(segments)
  const touched = openTouched(segments)
  const users = new Uint32Array(sizes.length)
  const shownUsers = new Uint32Array(sizes.length)
  const sole = new Int32Array(sizes.length).fill(-1)
  const lackingBlobs = new Map<string, Uint8Array>()
  const lackingTrees = new Set<string>()

  const read = contents.map((content, c) => {
    const { needs } = content
    const places = new Int32Array(needs.count)
    let lacking = 0
    let firstLacking: string | undefined
    for (let i = 0; i < needs.count; i += 1) {
      const at = i * SHA1_BYTES
      const place = index.find(needs.sha1, at)
      places[i] = place
      touched.note(content.id, needs.sha1, at)
      if (place >= 0) {
        users[place] = (users[place] ?? 0) + content.holders
        sole[place] = sole[place] === -1 ? c : MANY
        shownUsers[place] = (shownUsers[place] ?? 0) + content.shown
        continue
      }
      const hex = hexAt(needs.sha1, i)
      lacking += 1
      firstLacking ??= hex
      if (!lackingBlobs.has(hex)) lackingBlobs.set(hex, needs.sha1.subarray(at, at + SHA1_BYTES))
    }
    const { segmentId, imageIndex, treeSha1 } = content
    touched.note(content.id, packSha1s([treeSha1]), 0)
    const tree = trees.get(`${segmentId} ${imageIndex} ${treeSha1}`) ?? trees.get(treeSha1)
    if (!tree) {
      lacking += 1
      firstLacking ??= treeSha1
      lackingTrees.add(treeSha1)
    }
    return { places, lacking, firstLacking, tree }
  })

  let liveBytes = 0
  let trashBytes = 0
  // Each content has its own tree; two that were imported twice may still fall back on one after damage.
  const liveTrees = new Map<string, { bytes: number; shown: number; users: number; contents: number }>()
  const treeKey = (tree: { segmentId: number; imageIndex: number }): string => `${tree.segmentId} ${tree.imageIndex}`
  for (const [c, { tree }] of read.entries()) {
    if (!tree) continue
    const known = liveTrees.get(treeKey(tree)) ?? { bytes: tree.bytes, shown: 0, users: 0, contents: 0 }
    known.users += contents[c]?.holders ?? 0
    known.contents += 1
    known.shown += contents[c]?.shown ?? 0
    liveTrees.set(treeKey(tree), known)
  }
  for (let place = 0; place < sizes.length; place += 1) {
    if (users[place] === 0) continue
    liveBytes += sizes[place] ?? 0
    if (shownUsers[place] === 0) trashBytes += sizes[place] ?? 0
  }
  for (const { bytes, shown } of liveTrees.values()) {
    liveBytes += bytes
    if (shown === 0) trashBytes += bytes
  }

  const accounts = read.map(({ places, tree, lacking, firstLacking }, c): ContentAccount => {
    let ownBytes = 0
    let sharedBytes = 0
    let partBytes = 0
    // Images share among themselves; what only the trash or a transmission adds to them costs nothing more.
    const isShown = (contents[c]?.shown ?? 0) > 0
    const part = (bytes: number, shown: number, all: number): number =>
      isShown ? bytes / Math.max(1, shown) : shown > 0 ? 0 : bytes / Math.max(1, all)
    for (const place of places) {
      if (place < 0) continue
      const size = sizes[place] ?? 0
      if (sole[place] === c) ownBytes += size
      else sharedBytes += size
      partBytes += part(size, shownUsers[place] ?? 0, users[place] ?? 1)
    }
    const live = tree && liveTrees.get(treeKey(tree))
    if (live) {
      if (live.contents === 1) ownBytes += live.bytes
      else sharedBytes += live.bytes
      partBytes += part(live.bytes, live.shown, live.users)
    }
    const home = tree && { segmentId: tree.segmentId, imageIndex: tree.imageIndex }
    return { id: contents[c]?.id ?? 0, ownBytes, sharedBytes, partBytes, lacking, firstLacking, tree: home }
  })
  const packed = new Uint8Array(lackingBlobs.size * SHA1_BYTES)
  for (const [i, sha1] of [...lackingBlobs.values()].entries()) packed.set(sha1, i * SHA1_BYTES)
  return {
    contents: accounts,
    liveBytes,
    trashBytes,
    deadBytes: allBytes - liveBytes - stuckBytes(segments, lackingBlobs, lackingTrees),
    lackingBlobs: packed,
    lackingTrees: [...lackingTrees],
    touched: touched.named,
    unreadable: segments.filter(({ loaded, damage }) => !loaded && !damage.has(WHOLE_FILE)).map(({ id }) => id),
  }
}

/** Damaged copies of what lies nowhere else: not needed as they are, and not to be given up either. */
function stuckBytes(
  segments: readonly LedgerSegment[],
  blobs: ReadonlyMap<string, unknown>,
  trees: ReadonlySet<string>,
): number {
  if (blobs.size === 0 && trees.size === 0) return 0
  let bytes = 0
  const seen = new Set<string>()
  for (const { retired, loaded } of segments) {
    if (retired || !loaded) continue
    for (let i = 0; i < loaded.table.count; i += 1) {
      const hex = hexAt(loaded.table.sha1, i)
      const isWanted = isMetadata(loaded.table, i) ? trees.has(hex) : blobs.has(hex)
      if (!isWanted || seen.has(hex)) continue
      seen.add(hex)
      bytes += loaded.table.sizeInWim[i] ?? 0
    }
  }
  return bytes
}
