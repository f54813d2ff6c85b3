/** Transmissions as rows, and who may see them. */
import { desc, eq, getTableColumns, sql } from 'drizzle-orm'
import type { By, Facts } from '../audit/changes.ts'
import { foldCase } from '../base/fold.ts'
import { maySee, nameOf, type Principal } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Endpoint } from '../cast/address.ts'
import type { SessionRecord } from '../cast/control.ts'
import type { Db } from '../db/open.ts'
import { imageGroups, installImages, type StoredAudience, transmissions as table } from '../db/schema.ts'
import type { InstallImage } from '../library/rows.ts'
import type { Plan } from './plan.ts'

/** The session holds the manifest, 20 KB for each GiB of content: who lists does not read it. */
const { session: _, ...COLUMNS } = getTableColumns(table)
export type Row = Omit<typeof table.$inferSelect, 'session'>

const LISTED = 200

type Audiences = { readonly image: StoredAudience | null; readonly group: StoredAudience | null }
const AUDIENCES = { image: installImages.audience, group: imageGroups.audience }

/** As it was when it was made, and as it is now: who may no longer see the image does not see its transmission. */
function sees(who: Principal, row: Row, now: Audiences): boolean {
  return maySee(who, ...row.audiences, now.image, now.group)
}

function selectRows(db: Db) {
  return db
    .select({ row: COLUMNS, now: AUDIENCES })
    .from(table)
    .leftJoin(installImages, eq(installImages.id, table.imageId))
    .leftJoin(imageGroups, eq(imageGroups.id, installImages.groupId))
}

/** Newest first, the last few hundred. */
export function listRows(db: Db, who: Principal): Row[] {
  const rows: Row[] = []
  for (let offset = 0; rows.length < LISTED; offset += LISTED) {
    const page = selectRows(db).orderBy(desc(table.id)).limit(LISTED).offset(offset).all()
    for (const { row, now } of page) if (sees(who, row, { ...NOBODY, ...now })) rows.push(row)
    if (page.length < LISTED) break
  }
  return rows.slice(0, LISTED)
}

/** The image is gone: nothing more limits. */
const NOBODY: Audiences = { image: null, group: null }

export function findRow(db: Db, id: number, who: Principal): Result<Row> {
  const found = selectRows(db).where(eq(table.id, id)).get()
  if (found && sees(who, found.row, { ...NOBODY, ...found.now })) return ok(found.row)
  return refuse('not-found', `there is no transmission ${id}`, 'List them: wimcast cast list.')
}

export function openRows(db: Db): Row[] {
  return db.select(COLUMNS).from(table).where(eq(table.open, true)).all()
}

export function sessionOf(db: Db, id: number): SessionRecord | undefined {
  const row = db.select({ session: table.session }).from(table).where(eq(table.id, id)).get()
  return row?.session ? (row.session as SessionRecord) : undefined
}

const ENDPOINT = {
  group: sql<string | null>`json_extract(${table.session}, '$.group')`,
  port: sql<number | null>`json_extract(${table.session}, '$.port')`,
}

export function endpointOf(db: Db, id: number): Endpoint | undefined {
  const found = db.select(ENDPOINT).from(table).where(eq(table.id, id)).get()
  return found?.group && found.port ? { group: found.group, port: found.port } : undefined
}

/** What others hold, now or when they come back. */
export function endpointsOfOpen(db: Db, butNot: number): Endpoint[] {
  const rows = db
    .select({ id: table.id, ...ENDPOINT })
    .from(table)
    .where(eq(table.open, true))
    .all()
  return rows.flatMap(({ id, group, port }) => (group && port && id !== butNot ? [{ group, port }] : []))
}

/** One that is being stopped takes no new clients: its name is free. */
function named(db: Db): Row[] {
  return openRows(db).filter(({ reason }) => reason === null)
}

export function openNames(db: Db): string[] {
  return named(db).map(({ name }) => name)
}

export function nameFree(db: Db, name: string): Result<void> {
  const taken = named(db).find((row) => foldCase(row.name) === foldCase(name))
  if (!taken) return ok(undefined)
  return refuse(
    'exists',
    `transmission ${taken.id} is open and named "${taken.name}"`,
    'Give this one another name, or stop that one: wimcast cast stop.',
  )
}

/** A new row of the image; the lease on its content. */
export function insertRow(
  db: Db,
  plan: Plan & { readonly name: string },
  image: InstallImage,
  { by, nowMs }: { readonly by: By; readonly nowMs: number },
): Result<Row> {
  if (!image.enabled)
    return refuse(
      'disabled',
      `"${image.name}" is disabled: it is not offered to clients`,
      'Enable it first: wimcast image enable NAME.',
    )
  const { session: __, ...row } = db
    .insert(table)
    .values({
      name: plan.name,
      contentId: image.contentId,
      imageId: image.id,
      audiences: [image.groupAudience, image.audience].filter((audience) => audience !== null),
      kind: plan.kind,
      clientCount: plan.clientCount ?? null,
      startAtMs: plan.startAtMs ?? null,
      imageName: image.name,
      description: image.description,
      fileName: image.fileName,
      group: image.group,
      interfaceName: plan.interfaceName ?? null,
      rateBitsPerSecond: plan.rateBitsPerSecond ?? null,
      open: true,
      createdBy: nameOf(by.who),
      createdAtMs: nowMs,
    })
    .returning()
    .get()
  return ok(row)
}

/** Waits for its clients, its time, or somebody who starts it. */
export function isHeld(row: Row): boolean {
  return row.kind === 'scheduled' && row.startedAtMs === null
}

export function termsOf({ clientCount, startAtMs }: Row) {
  return { clientCount: clientCount ?? undefined, startAtMs: startAtMs ?? undefined }
}

export function isManual(row: Row): boolean {
  return row.kind === 'scheduled' && row.clientCount === null && row.startAtMs === null
}

/** For the audit log. */
export function subjectOf({ id, name }: Row): string {
  return `${id} ${name}`
}

export function factsOf(row: Row): Facts {
  const { id, name, imageName, group, fileName, kind, interfaceName, rateBitsPerSecond } = row
  const { clientCount, startAtMs } = termsOf(row)
  return {
    id,
    name,
    image: imageName,
    group,
    fileName,
    kind,
    ...(clientCount === undefined ? {} : { clientCount }),
    ...(startAtMs === undefined ? {} : { startAtMs }),
    ...(isManual(row) ? { manualStart: true } : {}),
    ...(interfaceName === null ? {} : { interfaceName }),
    ...(rateBitsPerSecond === null ? {} : { rateBitsPerSecond }),
  }
}
