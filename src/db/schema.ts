/** The map of the data. Times are milliseconds since the epoch; sizes are bytes. */

import { sql } from 'drizzle-orm'
import { blob, index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'

/** Who may see a group or an image, besides admins; absent: everybody who is signed in. Principals: src/base/principal.ts. */
export type StoredAudience = {
  readonly roles: readonly ('admin' | 'operator' | 'viewer')[]
  readonly machineGroups: readonly string[]
}

/** A group of install images; the unit in which contents are shared. Its segments lie in `groups/<id>/`. */
export const imageGroups = sqliteTable(
  'image_groups',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    name: text('name').notNull(),
    /** The name as it is compared: src/base/fold.ts. */
    folded: text('folded').notNull(),
    description: text('description').notNull().default(''),
    /** What its segments may take on disk; null: as much as there is. */
    quotaBytes: integer('quota_bytes'),
    audience: text('audience', { mode: 'json' }).$type<StoredAudience>(),
    /** In the trash, with every image in it. */
    trashId: integer('trash_id'),
    createdAtMs: integer('created_at_ms').notNull(),
    changedAtMs: integer('changed_at_ms').notNull(),
  },
  (t) => [uniqueIndex('image_groups_name').on(t.folded).where(sql`${t.trashId} is null`)],
)

/** An immutable delta WIM. */
export const segments = sqliteTable(
  'segments',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    groupId: integer('group_id')
      .notNull()
      .references(() => imageGroups.id),
    fileName: text('file_name').notNull(),
    sizeBytes: integer('size_bytes').notNull(),
    /** Every content in it was checked against its SHA-1. */
    verified: integer('verified', { mode: 'boolean' }).notNull(),
    /** Compressed bytes of file contents, without metadata and tables. */
    blobBytes: integer('blob_bytes').notNull(),
    /** Compaction has put another in its place; it stays for the transmissions that hold a lease on it, and for nothing else. */
    retired: integer('retired', { mode: 'boolean' }).notNull().default(false),
    createdAtMs: integer('created_at_ms').notNull(),
    /** When all of it was last read and checked. */
    scrubbedAtMs: integer('scrubbed_at_ms'),
  },
  (t) => [uniqueIndex('segments_file').on(t.groupId, t.fileName)],
)

/**
 * Segment files on their way in or out: named here before they are published, and from the commit that lets go of them
 * until they are unlinked. What is named here at a start is removed; any other file that no row names is left alone.
 */
export const doomedFiles = sqliteTable('doomed_files', {
  fileName: text('file_name').primaryKey(),
  groupId: integer('group_id').notNull(),
})

/** What a scrub found wrong: a content of a segment that does not match its SHA-1, or a file that cannot be read at all. */
export const damages = sqliteTable(
  'damages',
  {
    segmentId: integer('segment_id')
      .notNull()
      .references(() => segments.id, { onDelete: 'cascade' }),
    /** 40 hex digits; '' stands for the whole file. */
    sha1: text('sha1').notNull(),
    foundAtMs: integer('found_at_ms').notNull(),
  },
  (t) => [primaryKey({ columns: [t.segmentId, t.sha1] })],
)

/** What an image contains: one directory tree. Several install images may show the same content. */
export const contents = sqliteTable(
  'contents',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    groupId: integer('group_id')
      .notNull()
      .references(() => imageGroups.id),
    /** The segment that holds the metadata resource, and the image's index in it, from 1. */
    segmentId: integer('segment_id')
      .notNull()
      .references(() => segments.id),
    imageIndex: integer('image_index').notNull(),
    /** SHA-1 of the metadata resource, 40 hex digits: what the content is known by when rows are lost. */
    treeSha1: text('tree_sha1').notNull(),
    /** The IMAGE element of the source's XML, and what it says, as JSON of ImageFacts. */
    element: text('element').notNull(),
    facts: text('facts', { mode: 'json' }).notNull().$type<Readonly<Record<string, unknown>>>(),
    /** Header facts that a view carries on. */
    bootable: integer('bootable', { mode: 'boolean' }).notNull(),
    rpFix: integer('rp_fix', { mode: 'boolean' }).notNull(),
    /** What the image takes as a file of its own. */
    viewBytes: integer('view_bytes').notNull(),
    createdAtMs: integer('created_at_ms').notNull(),
  },
  (t) => [index('contents_group').on(t.groupId), index('contents_segment').on(t.segmentId)],
)

/**
 * Which file contents a content needs: src/wim/needs.ts, packed. Megabytes for a large image, and SQLite writes a row anew
 * as a whole: so they lie apart from what changes.
 */
export const contentNeeds = sqliteTable('content_needs', {
  contentId: integer('content_id')
    .primaryKey()
    .references(() => contents.id, { onDelete: 'cascade' }),
  packed: blob('packed', { mode: 'buffer' }).notNull(),
})

/** What the admin sees: a name, a description, a file name, and a content. A copy is one more row. */
export const installImages = sqliteTable(
  'install_images',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    groupId: integer('group_id')
      .notNull()
      .references(() => imageGroups.id),
    contentId: integer('content_id')
      .notNull()
      .references(() => contents.id),
    name: text('name').notNull(),
    /** Name and file name as they are compared: src/base/fold.ts. */
    foldedName: text('folded_name').notNull(),
    description: text('description').notNull(),
    fileName: text('file_name').notNull(),
    foldedFile: text('folded_file').notNull(),
    isPublic: integer('is_public', { mode: 'boolean' }).notNull().default(false),
    /** Offered to clients. */
    enabled: integer('enabled', { mode: 'boolean' }).notNull().default(true),
    /** The organisation's own words: neither needs to be what the image says of itself. */
    version: text('version').notNull().default(''),
    comment: text('comment').notNull().default(''),
    /** Override what the image says of itself; null: as it says. */
    architecture: text('architecture').$type<'x86' | 'x64' | 'arm' | 'arm64' | 'ia64'>(),
    language: text('language'),
    /** Ascending in menus; null: the middle, 50. */
    displayOrder: integer('display_order'),
    /** What machines of its architecture get when nothing else is chosen; one for each architecture. */
    bootDefault: integer('boot_default', { mode: 'boolean' }).notNull().default(false),
    audience: text('audience', { mode: 'json' }).$type<StoredAudience>(),
    trashId: integer('trash_id'),
    createdAtMs: integer('created_at_ms').notNull(),
    changedAtMs: integer('changed_at_ms').notNull(),
  },
  (t) => [
    uniqueIndex('install_images_file').on(t.groupId, t.foldedFile).where(sql`${t.trashId} is null`),
    index('install_images_name').on(t.groupId, t.foldedName),
    index('install_images_content').on(t.contentId),
  ],
)

/** The answer file of an image. Apart from its row: it may hold secrets, and no list reads it. */
export const unattendFiles = sqliteTable('unattend_files', {
  imageId: integer('image_id')
    .primaryKey()
    .references(() => installImages.id, { onDelete: 'cascade' }),
  text: text('text').notNull(),
  addedAtMs: integer('added_at_ms').notNull(),
})

/**
 * What was removed or replaced, until the trash is emptied: an image, a group with its images, or the earlier version
 * of an image (a content). What an item keeps is not given back.
 */
export const trash = sqliteTable(
  'trash',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    kind: text('kind').notNull().$type<'image' | 'group' | 'version'>(),
    groupId: integer('group_id')
      .notNull()
      .references(() => imageGroups.id),
    /** Of an image, and of a version of one. */
    imageId: integer('image_id').references(() => installImages.id, { onDelete: 'cascade' }),
    /** Of a version. */
    contentId: integer('content_id').references(() => contents.id),
    title: text('title').notNull(),
    removedAtMs: integer('removed_at_ms').notNull(),
    removedBy: text('removed_by').notNull(),
  },
  (t) => [index('trash_content').on(t.contentId)],
)

/** Who changed what. Written by the commit that changes it, never changed after. */
export const audit = sqliteTable('audit', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  atMs: integer('at_ms').notNull(),
  /** nameOf() of the principal. */
  who: text('who').notNull(),
  /** `image.copy` */
  verb: text('verb').notNull(),
  /** `G/install.wim` */
  subject: text('subject').notNull(),
  before: text('before', { mode: 'json' }).$type<Readonly<Record<string, unknown>>>(),
  after: text('after', { mode: 'json' }).$type<Readonly<Record<string, unknown>>>(),
  jobId: integer('job_id'),
})

/** What an operator sets; a key that is not here has its default. Keys: src/settings/settings.ts. */
export const settings = sqliteTable('settings', {
  key: text('key').primaryKey(),
  value: text('value').notNull(),
})

export const jobs = sqliteTable('jobs', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  kind: text('kind').notNull(),
  title: text('title').notNull(),
  /** The group it works on: who may not see that may not see the job. */
  groupId: integer('group_id'),
  state: text('state').notNull().$type<'queued' | 'running' | 'done' | 'failed' | 'cancelled'>(),
  step: text('step').notNull(),
  doneBytes: integer('done_bytes').notNull().default(0),
  totalBytes: integer('total_bytes').notNull().default(0),
  startedBy: text('started_by').notNull(),
  createdAtMs: integer('created_at_ms').notNull(),
  endedAtMs: integer('ended_at_ms'),
  /** The refusal of a failed job, as JSON. */
  error: text('error', { mode: 'json' }).$type<{
    code: string
    message: string
    hint: string
    facts?: Record<string, unknown>
  }>(),
  /** What a finished job made, as JSON. */
  result: text('result', { mode: 'json' }).$type<Readonly<Record<string, unknown>>>(),
})

export const tokens = sqliteTable(
  'tokens',
  {
    id: text('id').primaryKey(),
    name: text('name').notNull(),
    role: text('role').notNull().$type<'admin' | 'operator' | 'viewer'>(),
    /** It may see what is limited to these machine groups. */
    machineGroups: text('machine_groups', { mode: 'json' }).notNull().$type<readonly string[]>().default([]),
    /** SHA-256 of the secret part, hex. */
    secretSha256: text('secret_sha256').notNull(),
    createdAtMs: integer('created_at_ms').notNull(),
    revokedAtMs: integer('revoked_at_ms'),
    usedAtMs: integer('used_at_ms'),
    usedFrom: text('used_from'),
  },
  // A revoked token gives its name free.
  (t) => [uniqueIndex('tokens_name').on(sql`${t.name} collate nocase`).where(sql`${t.revokedAtMs} is null`)],
)

export const transmissions = sqliteTable('transmissions', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  name: text('name').notNull(),
  /**
   * The lease: while a transmission is open its content stays, whatever happens to the image. Cleared when no client
   * needs it any more, at most an hour after the end.
   */
  contentId: integer('content_id').references(() => contents.id),
  /** The image it was made of, while there is one. */
  imageId: integer('image_id').references(() => installImages.id, { onDelete: 'set null' }),
  /** The segment that holds the content's tree, and the image's index in it, as they were when it was made. */
  homeSegmentId: integer('home_segment_id').references(() => segments.id),
  homeIndex: integer('home_index'),
  /** Who might see image and group when it was made; both lists must admit. */
  audiences: text('audiences', { mode: 'json' }).notNull().$type<readonly StoredAudience[]>().default([]),
  /** A ScheduledCast waits for its clients, its time, or its start by hand; an AutoCast for nothing. */
  kind: text('kind').notNull().$type<'auto' | 'scheduled'>().default('auto'),
  clientCount: integer('client_count'),
  startAtMs: integer('start_at_ms'),
  startedAtMs: integer('started_at_ms'),
  /** What the view was made with: names are part of its bytes, and a rename must not change a running transmission. */
  imageName: text('image_name').notNull(),
  description: text('description').notNull(),
  fileName: text('file_name').notNull(),
  group: text('group_name').notNull(),
  interfaceName: text('interface_name'),
  rateBitsPerSecond: integer('rate_bits_per_second'),
  /** Open ones come back after a restart of the appliance. */
  open: integer('open', { mode: 'boolean' }).notNull(),
  /** The session as the cast room wants it back: addresses, keys, epoch. */
  session: text('session', { mode: 'json' }).$type<unknown>(),
  createdBy: text('created_by').notNull(),
  createdAtMs: integer('created_at_ms').notNull(),
  endedAtMs: integer('ended_at_ms'),
  reason: text('reason'),
})

/**
 * The recipe of a transmission: the segments that its view is laid out of, in that order. Another order is another view,
 * another root; so compaction leaves these files alone until the transmission lets go.
 */
export const segmentLeases = sqliteTable(
  'segment_leases',
  {
    transmissionId: integer('transmission_id')
      .notNull()
      .references(() => transmissions.id, { onDelete: 'cascade' }),
    segmentId: integer('segment_id')
      .notNull()
      .references(() => segments.id),
    position: integer('position').notNull(),
  },
  (t) => [primaryKey({ columns: [t.transmissionId, t.segmentId] }), index('segment_leases_segment').on(t.segmentId)],
)
