/**
 * Images, contents and earlier versions that only the folder knows, as rows. By the manifest where it names them; what
 * nothing names gets the words of its segment, and is offered to nobody until an admin has looked at it.
 */
import { readFileSync } from 'node:fs'
import { and, eq, isNull } from 'drizzle-orm'
import { foldCase } from '../../base/fold.ts'
import type { Db } from '../../db/open.ts'
import { contents, type imageGroups, installImages, trash, unattendFiles } from '../../db/schema.ts'
import { BLOB_ENTRY_BYTES, type BlobTable, SHA1_BYTES } from '../../wim/blob-table.ts'
import { HEADER_BYTES } from '../../wim/header.ts'
import { decodeNeeds } from '../../wim/needs.ts'
import type { ImageFacts } from '../../wim/xml.ts'
import { defaultFileName, parseDescription, parseFileName, parseImageName } from '../names.ts'
import { fileNameFree, keepNeeds } from '../rows.ts'
import type { Manifest } from './manifest.ts'
import type { Holdings } from './rebuild-holdings.ts'
import type { ReadSegment } from './rebuild-task.ts'

/** A segment file that lies in the folder and can be read. */
export type Lying = {
  readonly file: string
  readonly table: BlobTable
  /** Of a segment that the rows know. */
  readonly rowId: number | undefined
  /** Of one that they do not. */
  readonly read: ReadSegment | undefined
  readonly changedAtMs: number
}

export type Folder = {
  readonly groupId: number
  readonly lying: readonly Lying[]
  /** What group.json says, then what is kept of older ones, newest first. */
  readonly manifests: readonly Manifest[]
  readonly holdings: Holdings
}

export type MadeImage = {
  readonly group: string
  readonly name: string
  readonly fileName: string
  /** Whose words it has: the group's manifest's, or those of the segment itself, disabled then. */
  readonly from: 'manifest' | 'segment'
}

type ManifestContent = Manifest['contents'][number]
type ManifestImage = Manifest['images'][number]
export type Place = { readonly segmentId: number; readonly index: number; readonly lying: Lying }

type GroupRow = typeof imageGroups.$inferSelect

const REBUILT = 'rebuild'

/** With the id that it had, when that is free. */
export function intoTrash(db: Db, item: Omit<typeof trash.$inferInsert, 'id'> & { readonly id: number }): number {
  const { id, kind, groupId, imageId, contentId, title, removedAtMs, removedBy } = item
  const taken = id === 0 || db.select({ id: trash.id }).from(trash).where(eq(trash.id, id)).get() !== undefined
  return db
    .insert(trash)
    .values({ ...(taken ? {} : { id }), kind, groupId, imageId, contentId, title, removedAtMs, removedBy })
    .returning({ id: trash.id })
    .get().id
}

/** Without their needs, which are megabytes. */
export function contentsOf(db: Db, groupId: number) {
  const { id, segmentId, imageIndex, treeSha1 } = contents
  return db
    .select({ id, segmentId, imageIndex, treeSha1 })
    .from(contents)
    .where(eq(contents.groupId, groupId))
    .orderBy(id)
    .all()
}

export class ImageRows {
  readonly #db: Db
  readonly #folder: Folder
  readonly #group: GroupRow
  readonly #places: ReadonlyMap<string, readonly Place[]>
  /** Contents of the group by tree, as the rows grow. */
  readonly #byTree = new Map<string, number>()
  readonly #treeOf = new Map<number, string>()
  readonly #images: MadeImage[] = []
  readonly #lost: string[] = []
  /** Trees of earlier versions of images that are nowhere. */
  readonly #orphans = new Set<string>()
  #versions = 0
  #unused = 0

  constructor(db: Db, folder: Folder, group: GroupRow, places: ReadonlyMap<string, readonly Place[]>) {
    this.#db = db
    this.#folder = folder
    this.#group = group
    this.#places = places
    for (const { id, treeSha1 } of contentsOf(db, folder.groupId)) this.#know(id, treeSha1)
  }

  outcome() {
    return { images: this.#images, versions: this.#versions, unused: this.#unused, lost: this.#lost }
  }

  #know(id: number, treeSha1: string): void {
    if (!this.#byTree.has(treeSha1)) this.#byTree.set(treeSha1, id)
    this.#treeOf.set(id, treeSha1)
  }

  /** What the manifest says of contents in new segments; `earlier` are segments that a newer manifest speaks of. */
  fromManifest(manifest: Manifest, earlier: ReadonlySet<string>): void {
    const said = new Map(manifest.contents.map((content) => [content.id, content]))
    const made = new Map<number, number>()
    const rowOf = (content: ManifestContent, place: Place): number => {
      const known = made.get(content.id) ?? this.#contentFor(content, place)
      made.set(content.id, known)
      return known
    }
    const imageIds = new Map<number, number>()
    for (const image of manifest.images) {
      const content = said.get(image.content)
      const twin = this.#twinOf(image)
      if (twin) imageIds.set(image.id, twin.id)
      if (!content || earlier.has(content.segment)) continue
      const place = this.#placeOf(content)
      if (!place && !twin) this.#lost.push(image.name)
      // In a segment that the rows know, they say what became of its images.
      if (!place?.lying.read || (twin && this.#treeOf.get(twin.contentId) === content.treeSha1)) continue
      imageIds.set(image.id, this.#insertImage(image, rowOf(content, place), manifest))
    }
    for (const item of manifest.trash) {
      const content = said.get(item.content ?? -1)
      if (item.kind !== 'version' || !content || earlier.has(content.segment)) continue
      const imageId = imageIds.get(item.image ?? -1)
      if (imageId === undefined) this.#orphans.add(content.treeSha1)
      const place = this.#placeOf(content)
      if (imageId === undefined || !place?.lying.read || this.#keepsVersion(imageId, content.treeSha1)) continue
      const { groupId } = this.#folder
      intoTrash(this.#db, { ...item, groupId, imageId, contentId: rowOf(content, place) })
      this.#versions += 1
    }
  }

  /** Where the manifest says, if that is still so; else where the tree is. */
  #placeOf({ treeSha1, segment, index }: ManifestContent): Place | undefined {
    const there = this.#places.get(treeSha1) ?? []
    return there.find((place) => place.lying.file === segment && place.index === index) ?? there[0]
  }

  #contentFor(content: ManifestContent, place: Place): number {
    return this.#treeOf.get(content.id) === content.treeSha1
      ? content.id
      : this.#insertContent(place, content.treeSha1, content)
  }

  #insertContent(place: Place, treeSha1: string, said?: ManifestContent): number {
    const { read } = place.lying
    const image = read?.images[place.index - 1]
    if (!read || !image) throw new Error(`segment ${place.lying.file} was not read`)
    const needs = readFileSync(image.needsPath)
    const { element, facts } = image
    const taken =
      said === undefined ||
      this.#db.select({ id: contents.id }).from(contents).where(eq(contents.id, said.id)).get() !== undefined
    const { id } = this.#db
      .insert(contents)
      .values({
        ...(taken ? {} : { id: said.id }),
        groupId: this.#folder.groupId,
        segmentId: place.segmentId,
        imageIndex: place.index,
        treeSha1,
        element,
        facts,
        bootable: said?.bootable ?? false,
        rpFix: said?.rpFix ?? read.rpFix,
        viewBytes: this.#viewBytes(needs, image),
        createdAtMs: said?.createdAtMs ?? place.lying.changedAtMs,
      })
      .returning({ id: contents.id })
      .get()
    keepNeeds(this.#db, id, needs)
    this.#know(id, treeSha1)
    return id
  }

  /** As an import reckons it: header, contents, tree, table and XML of an image that stands alone. */
  #viewBytes(needs: Uint8Array, image: { readonly treeBytes: number; readonly element: string }): number {
    const { count, sha1 } = decodeNeeds(needs)
    let bytes = HEADER_BYTES + image.treeBytes + (count + 1) * BLOB_ENTRY_BYTES + image.element.length * 2 + 128
    for (let i = 0; i < count; i += 1) bytes += this.#folder.holdings.sizeOf(sha1, i * SHA1_BYTES) ?? 0
    return bytes
  }

  /** The same image in the rows: its id may have been given anew, its birth not as well. */
  #twinOf(image: ManifestImage): { readonly id: number; readonly contentId: number } | undefined {
    return this.#db
      .select({ id: installImages.id, contentId: installImages.contentId })
      .from(installImages)
      .where(
        and(
          eq(installImages.id, image.id),
          eq(installImages.groupId, this.#folder.groupId),
          eq(installImages.createdAtMs, image.createdAtMs),
        ),
      )
      .get()
  }

  #keepsVersion(imageId: number, treeSha1: string): boolean {
    return this.#db
      .select({ contentId: trash.contentId })
      .from(trash)
      .where(and(eq(trash.imageId, imageId), eq(trash.kind, 'version')))
      .all()
      .some(({ contentId }) => contentId !== null && this.#treeOf.get(contentId) === treeSha1)
  }

  #insertImage(said: ManifestImage, contentId: number, manifest: Manifest): number {
    const { unattend, content: _, id, fileName: wanted, trashId, ...columns } = said
    const removed = trashId === null ? undefined : manifest.trash.find((item) => item.id === trashId)
    const fileName = trashId === null ? this.#freeFileName(wanted) : wanted
    // Two images of one file name: the rows' own stays what clients get, this one waits for the admin.
    const renamed = fileName !== wanted
    const taken =
      this.#db.select({ id: installImages.id }).from(installImages).where(eq(installImages.id, id)).get() !== undefined
    const made = this.#db
      .insert(installImages)
      .values({
        ...columns,
        ...(taken ? {} : { id }),
        ...(renamed ? { enabled: false, isPublic: false } : {}),
        bootDefault: columns.bootDefault && !renamed && trashId === null && this.#noDefaultOf(said, contentId),
        groupId: this.#folder.groupId,
        contentId,
        foldedName: foldCase(said.name),
        fileName,
        foldedFile: foldCase(fileName),
        trashId,
      })
      .returning({ id: installImages.id })
      .get()
    if (unattend)
      this.#db
        .insert(unattendFiles)
        .values({ imageId: made.id, ...unattend })
        .run()
    if (trashId !== null) {
      const item = removed ?? { id: 0, title: said.name, removedAtMs: said.changedAtMs, removedBy: REBUILT }
      const { groupId } = this.#folder
      const row = intoTrash(this.#db, { ...item, kind: 'image', groupId, imageId: made.id, contentId: null })
      this.#db.update(installImages).set({ trashId: row }).where(eq(installImages.id, made.id)).run()
    }
    this.#images.push({ group: this.#group.name, name: said.name, fileName, from: 'manifest' })
    return made.id
  }

  /** One default for each architecture: the rows' own wins. */
  #noDefaultOf({ architecture }: Pick<ManifestImage, 'architecture'>, contentId: number): boolean {
    const rows = this.#db
      .select({ architecture: installImages.architecture, contentId: installImages.contentId, facts: contents.facts })
      .from(installImages)
      .innerJoin(contents, eq(contents.id, installImages.contentId))
      .where(and(eq(installImages.bootDefault, true), isNull(installImages.trashId)))
      .all()
    const said = (facts: unknown): string | undefined => (facts as ImageFacts | undefined)?.architecture
    const own = this.#db.select({ facts: contents.facts }).from(contents).where(eq(contents.id, contentId)).get()
    const mine = architecture ?? said(own?.facts)
    return rows.every((row) => (row.architecture ?? said(row.facts)) !== mine)
  }

  #freeFileName(wanted: string): string {
    const stem = wanted.replace(/\.wim$/i, '')
    let name = wanted
    for (let n = 2; !fileNameFree(this.#db, this.#group, name).ok; n += 1) name = `${stem.slice(0, 60)} (${n}).wim`
    return name
  }

  /** Trees of a new segment that nothing names: an import whose rows were lost, or images that were removed. */
  unnamed(lying: Lying, isListed: boolean): void {
    for (const [i, image] of (lying.read?.images ?? []).entries()) {
      if (this.#byTree.has(image.treeSha1)) continue
      if (isListed && !this.#orphans.has(image.treeSha1)) {
        this.#unused += 1
        continue
      }
      const place = this.#places.get(image.treeSha1)?.find((one) => one.lying === lying && one.index === i + 1)
      if (!place) continue
      const contentId = this.#insertContent(place, image.treeSha1)
      const { facts } = image
      const name = parseImageName(facts.name || facts.displayName || '')
      const title = name.ok ? name.value : `Recovered ${lying.file} ${i + 1}`
      const description = parseDescription(facts.description)
      const file = parseFileName(defaultFileName(title, undefined))
      const fileName = this.#freeFileName(file.ok ? file.value : `recovered-${contentId}.wim`)
      this.#db
        .insert(installImages)
        .values({
          groupId: this.#folder.groupId,
          contentId,
          name: title,
          foldedName: foldCase(title),
          description: description.ok ? description.value : '',
          fileName,
          foldedFile: foldCase(fileName),
          isPublic: false,
          enabled: false,
          createdAtMs: lying.changedAtMs,
          changedAtMs: lying.changedAtMs,
        })
        .run()
      this.#images.push({ group: this.#group.name, name: title, fileName, from: 'segment' })
    }
  }
}
