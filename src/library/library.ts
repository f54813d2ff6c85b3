/**
 * The library: image groups, their install images, and the verbs on them. Segments lie in `<data>/groups/<id>/`; the
 * database is the truth.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { By, Changes } from '../audit/changes.ts'
import type { Clock } from '../base/clock.ts'
import type { Shelf } from '../base/content.ts'
import type { Bus } from '../base/events.ts'
import { type Log, reasonOf } from '../base/log.ts'
import { mayActAs, maySee, type Principal } from '../base/principal.ts'
import { Refused } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import type { SelfCommand } from '../jobs/child.ts'
import type { Job, Jobs } from '../jobs/jobs.ts'
import type { Settings } from '../settings/settings.ts'
import { type Groups, openGroups } from './groups.ts'
import { openLedgers } from './health/ledgers.ts'
import { openRepairs, type Repairs } from './health/repair.ts'
import { openScrubs, type Scrubs } from './health/scrub.ts'
import { openSharing, type Sharing } from './health/sharing.ts'
import { type Images, openImages } from './images.ts'
import { openManifests } from './rebuild/manifest.ts'
import { allGroups, findByFile, findGroup, type InstallImage } from './rows.ts'
import { collectGroup } from './store/collect.ts'
import { type Compaction, type CompactOptions, openCompaction } from './store/compact.ts'
import { type Contents, openContents } from './store/contents.ts'
import { recover } from './store/recover.ts'
import { openSegmentFiles } from './store/segment-files.ts'
import { type Exports, openExports } from './transfer/export.ts'
import { type Imports, openImports } from './transfer/imports.ts'
import { openTrash, type Trash } from './trash.ts'

/** Dispose it before the jobs: what they still change is in the database, and comes to the manifests with the next start. */
export type Library = AsyncDisposable & {
  readonly groups: Groups & {
    readonly compact: (group: string, options: CompactOptions, by: By) => Result<Job>
  }
  readonly images: Images & {
    readonly startImport: Imports['start']
    readonly content: Contents['of']
  }
  readonly exports: Exports
  readonly trash: Trash
  readonly scrubs: Scrubs
  readonly repairs: Repairs
  readonly sharing: Sharing
  /** Of a group in the trash too. */
  readonly compact: Compaction['start']
  /** `images/<group>/<file name>`. Anonymous principals find what is public and nothing else. */
  readonly shelf: Shelf
  /** Runs the collection for a group, e.g. after a transmission has let go of its content. Returns bytes given back. */
  readonly collect: (groupId: number) => Promise<number>
}

export type LibraryDeps = {
  readonly db: Db
  readonly dataDir: string
  readonly jobs: Jobs
  readonly changes: Changes
  readonly settings: Settings
  readonly bus: Bus
  readonly log: Log
  readonly clock: Clock
  readonly self: SelfCommand
  readonly wimlibPath: string | undefined
}

/** Disabled images are offered to nobody, and seen by those who can enable them. */
function isOffered(image: InstallImage, who: Principal): boolean {
  if (image.isPublic && image.enabled && image.audience === null && image.groupAudience === null) return true
  if (!mayActAs(who, 'viewer') || !maySee(who, image.groupAudience, image.audience)) return false
  return image.enabled || mayActAs(who, 'operator')
}

export async function openLibrary(deps: LibraryDeps): Promise<Library> {
  const { db, jobs, changes, settings, bus, log, clock } = deps
  const groupsDir = join(deps.dataDir, 'groups')
  const groupDir = (groupId: number): string => join(groupsDir, String(groupId))
  const lane = (groupId: number): string => `group:${groupId}`
  const files = openSegmentFiles()
  const views = openContents({ db, files, groupDir, log })
  const ledgers = openLedgers({ db, dataDir: deps.dataDir, groupDir })
  const collectDeps = { db, files, groupDir, log }
  const child = { self: deps.self, wimlibPath: deps.wimlibPath }

  mkdirSync(groupsDir, { recursive: true, mode: 0o750 })
  recover({ db, groupsDir, log })
  for (const group of allGroups(db)) collectLater(group.id)
  const manifests = openManifests({ db, groupDir, log })

  function changed(groupId: number): void {
    manifests.changed(groupId)
    const group = allGroups(db).find(({ id }) => id === groupId)
    bus.publish({ kind: 'library.changed', group: group?.name ?? '' })
  }

  /** The group has other segments than before: tables of `paths` and views of it are made anew. */
  function reshaped(groupId: number, paths: readonly string[] = []): void {
    for (const path of paths) files.forget(path)
    views.forgetGroup(groupId)
    changed(groupId)
  }

  /** In the group's lane. */
  async function collect(groupId: number): Promise<number> {
    const freed = await collectGroup(collectDeps, groupId)
    if (freed > 0) reshaped(groupId)
    return freed
  }

  function collectLater(groupId: number): void {
    jobs
      .inLane(lane(groupId), () => collect(groupId))
      .catch((error: unknown) => log.error('library.collect', { group: groupId, reason: reasonOf(error) }))
  }

  const imports = openImports({
    db,
    jobs,
    changes,
    settings,
    clock,
    ...child,
    groupDir,
    lane,
    onImported: reshaped,
  })
  const compaction = openCompaction({
    ...collectDeps,
    ...child,
    dataDir: deps.dataDir,
    jobs,
    changes,
    settings,
    clock,
    lane,
    collectNow: collect,
    onCompacted: reshaped,
  })
  const upkeep = { db, jobs, changes, clock, log, ...child, groupDir, lane, ledgers }
  const images = openImages({ db, changes, clock, changed })
  return {
    groups: {
      ...openGroups({ db, changes, clock, jobs, lane, groupDir, changed }),
      compact: (name, options, by) => {
        const group = findGroup(db, name, by.who)
        return group.ok ? compaction.start(group.value, options, by) : group
      },
    },
    images: { ...images, startImport: imports.start, content: (image) => views.of(image) },
    exports: openExports({
      jobs,
      changes,
      ...child,
      show: images.show,
      content: views.of,
    }),
    trash: openTrash({
      db,
      changes,
      clock,
      jobs,
      lane,
      groupDir,
      changed,
      collectLater,
      forgetGroup: async (groupId, paths) => {
        for (const path of paths) files.forget(path)
        views.forgetGroup(groupId)
        await manifests.forget(groupId)
        bus.publish({ kind: 'library.changed', group: '' })
      },
    }),
    scrubs: openScrubs({ ...upkeep, onDamage: reshaped }),
    repairs: openRepairs({ ...upkeep, onRepaired: reshaped }),
    sharing: openSharing({ db, ledgers }),
    compact: compaction.start,
    shelf: {
      find: async (path, who) => {
        const [room, group, file, ...more] = path.split('/')
        if (room?.toLowerCase() !== 'images' || group === undefined || file === undefined || more.length > 0)
          return undefined
        const image = findByFile(db, group, file)
        if (!image || !isOffered(image, who)) return undefined
        const content = await views.of(image)
        if (content.ok) return content.value
        throw new Refused(content.error)
      },
    },
    collect: (groupId) => jobs.inLane(lane(groupId), () => collect(groupId)),
    [Symbol.asyncDispose]: () => manifests[Symbol.asyncDispose](),
  }
}
