/** What sharing saves, for each group and each image: bytes as they are stored, compressed. */
import type { Principal } from '../../base/principal.ts'
import { ok, type Result } from '../../base/result.ts'
import type { Db } from '../../db/open.ts'
import { allSegmentsOf, findGroup } from '../rows.ts'
import { holdersOf, imagesByContent } from './holders.ts'
import type { Ledgers } from './ledgers.ts'

export type ImageSharing = {
  readonly name: string
  readonly fileName: string
  readonly inTrash: boolean
  /** As a file of its own. */
  readonly sizeBytes: number
  /** Would go if this image went: no other image of the group needs it, the trash included. */
  readonly ownBytes: number
  readonly sharedBytes: number
  /** What it needs, less its part of what is stored: what several images need is divided among them. */
  readonly savedBytes: number
}

export type GroupSharing = {
  readonly group: string
  /** What the segments take on disk. */
  readonly storedBytes: number
  /** What its images would take as files of their own, the trash not counted. */
  readonly apparentBytes: number
  readonly savedBytes: number
  /** Of what is stored, needed by nothing but the trash and transmissions of what is in it. */
  readonly trashBytes: number
  /** Of what is stored, needed by nobody: a compaction gives it back. */
  readonly reclaimableBytes: number
  /** Largest own part first: what to remove when space is short. */
  readonly images: readonly ImageSharing[]
}

export type Sharing = {
  readonly report: (group: string, who: Principal) => Promise<Result<GroupSharing>>
  /** Share of what images are read from that is needed by nobody, 0 to 1: what a scheduled compaction goes by. */
  readonly reclaimableShare: (groupId: number) => Promise<number>
}

export function openSharing({ db, ledgers }: { readonly db: Db; readonly ledgers: Ledgers }): Sharing {
  return {
    report: async (name, who) => {
      const group = findGroup(db, name, who)
      if (!group.ok) return group
      const { id, name: groupName } = group.value
      const ledger = await ledgers.of(id)
      const accounts = new Map(ledger.contents.map((account) => [account.id, account]))
      const holders = new Map(holdersOf(db, id).map((each) => [each.contentId, each]))
      const images = [...imagesByContent(db, id, who)].flatMap(([contentId, holding]) => {
        const account = accounts.get(contentId)
        if (!account) return []
        const held = holders.get(contentId)
        const isSole = held?.holders === 1
        return holding.map(({ name: imageName, fileName, viewBytes, inTrash }): ImageSharing => {
          const { ownBytes, sharedBytes } = account
          const partBytes = inTrash && (held?.shown ?? 0) > 0 ? 0 : account.partBytes
          return {
            name: imageName,
            fileName,
            inTrash,
            sizeBytes: viewBytes,
            ownBytes: isSole ? ownBytes : 0,
            sharedBytes: isSole ? sharedBytes : ownBytes + sharedBytes,
            savedBytes: Math.round(ownBytes + sharedBytes - partBytes),
          }
        })
      })
      const shown = images.filter(({ inTrash }) => !inTrash)
      const sum = (of: (image: ImageSharing) => number): number => shown.reduce((total, image) => total + of(image), 0)
      return ok({
        group: groupName,
        storedBytes: allSegmentsOf(db, id).reduce((total, { sizeBytes }) => total + sizeBytes, 0),
        apparentBytes: sum(({ sizeBytes }) => sizeBytes),
        savedBytes: sum(({ savedBytes }) => savedBytes),
        trashBytes: ledger.trashBytes,
        reclaimableBytes: ledger.deadBytes,
        images: images.sort((a, b) => b.ownBytes - a.ownBytes),
      })
    },
    reclaimableShare: async (groupId) => {
      const { liveBytes, deadBytes } = await ledgers.of(groupId)
      return liveBytes + deadBytes === 0 ? 0 : deadBytes / (liveBytes + deadBytes)
    },
  }
}
