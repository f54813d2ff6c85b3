/** The map of the data. Times are milliseconds since the epoch; sizes are bytes. */

import { sql } from 'drizzle-orm'
import { blob, index, integer, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core'

/** A group of install images; the unit in which contents are shared. Its segments lie in `groups/<id>/`. */
export const imageGroups = sqliteTable(
  'image_groups',
  {
    id: integer('id').primaryKey({ autoIncrement: true }),
    name: text('name').notNull(),
    createdAtMs: integer('created_at_ms').notNull(),
  },
  (t) => [uniqueIndex('image_groups_name').on(sql`${t.name} collate nocase`)],
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
    createdAtMs: integer('created_at_ms').notNull(),
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
    /** src/wim/needs.ts, packed. */
    needs: blob('needs', { mode: 'buffer' }).notNull(),
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
  (t) => [index('contents_group').on(t.groupId)],
)

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
    description: text('description').notNull(),
    fileName: text('file_name').notNull(),
    isPublic: integer('is_public', { mode: 'boolean' }).notNull().default(false),
    createdAtMs: integer('created_at_ms').notNull(),
    changedAtMs: integer('changed_at_ms').notNull(),
  },
  (t) => [
    uniqueIndex('install_images_file').on(t.groupId, sql`${t.fileName} collate nocase`),
    index('install_images_content').on(t.contentId),
  ],
)

export const jobs = sqliteTable('jobs', {
  id: integer('id').primaryKey({ autoIncrement: true }),
  kind: text('kind').notNull(),
  title: text('title').notNull(),
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
