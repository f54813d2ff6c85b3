/** Segments are planned and views laid out without reading contents: determinism, what is carried over, what is missing. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { decodeBlobTable, metadataEntries, resourceAt } from '../../src/wim/blob-table.ts'
import { decodeHeader, HEADER_FLAG } from '../../src/wim/header.ts'
import { readTree } from '../../src/wim/metadata.ts'
import {
  type LoadedSegment,
  layOutSegment,
  loadedSegment,
  planSegment,
  segmentBytes,
  writeLayout,
} from '../../src/wim/segment.ts'
import { openSource, type Source } from '../../src/wim/source.ts'
import { buildView, type View, type ViewImage } from '../../src/wim/view.ts'
import { decodeXml, renameImage } from '../../src/wim/xml.ts'
import { buildTree, buildWim, sha1 } from '../fixtures/image-tree.ts'
import { must } from '../fixtures/library.ts'

const folder = mkdtempSync(join(tmpdir(), 'wimcast-view-'))
const blobs = ['first', 'second', 'third', 'fourth'].map((text) => Buffer.from(text.repeat(100)))
const treeWith = (...numbers: number[]): Uint8Array =>
  buildTree({ name: '', children: numbers.map((n, i) => ({ name: `file ${i}`, hash: sha1(blobs[n] as Buffer) })) })
    .bytes
const trees = [treeWith(0, 1), treeWith(1, 2, 2), treeWith(3)]
let source: Source
/** The group as two imports made it: image 1 and 3, then image 2 with what was new. */
let segments: { path: string; bytes: Uint8Array; loaded: LoadedSegment; images: number[] }[]

function copyRange(from: number, fromOffset: number, to: number, toOffset: number, length: number): void {
  const bytes = new Uint8Array(length)
  if (readSync(from, bytes, 0, length, fromOffset) !== length) throw new Error('short read')
  writeSync(to, bytes, 0, length, toOffset)
}

function importImages(indexes: number[], held: LoadedSegment[], name: string): (typeof segments)[number] {
  const wanted = indexes.map((index) => ({
    metadata: source.metadata[index - 1] ?? -1,
    element: source.document.images[index - 1]?.element ?? '',
    needs: must(readTree(trees[index - 1] as Uint8Array)).needs,
  }))
  const { plan, missing } = planSegment(source, wanted, {
    held: held.map((segment) => segment.index),
    lastResort: [],
  })
  expect(missing).toBe(0)
  const path = join(folder, name)
  const out = openSync(path, 'w')
  const layout = layOutSegment(source.table, plan, { rpFix: true, guid: Buffer.alloc(16, 9) })
  writeLayout(
    layout,
    source.parts.map((part) => part.fd),
    out,
    copyRange,
  )
  closeSync(out)
  const bytes = new Uint8Array(readFileSync(path))
  expect(bytes.length).toBe(layout.frame.sizeBytes)
  expect(bytes.length).toBeLessThanOrEqual(segmentBytes(plan))
  const { blobTable } = must(decodeHeader(bytes))
  const table = must(decodeBlobTable(bytes.subarray(blobTable.offset, blobTable.offset + blobTable.sizeInWim)))
  return { path, bytes, loaded: loadedSegment(table), images: indexes }
}

beforeAll(() => {
  const images = trees.map((metadata, i) => ({ name: `image ${i + 1}`, metadata }))
  const path = join(folder, 'source.wim')
  writeFileSync(path, buildWim(images, blobs, { flags: HEADER_FLAG.rpFix, bootIndex: 2 }))
  source = must(openSource(path))
  const first = importImages([1, 3], [], 'one.wim')
  segments = [first, importImages([2], [first.loaded], 'two.wim')]
})
afterAll(() => {
  source?.[Symbol.dispose]()
  rmSync(folder, { recursive: true })
})

const loaded = (): LoadedSegment[] => segments.map((segment) => segment.loaded)

function viewImage(index: number, more: Partial<ViewImage> = {}): ViewImage {
  const segment = segments.findIndex((each) => each.images.includes(index))
  const home = segments[segment]
  const metadata = home && metadataEntries(home.loaded.table)[home.images.indexOf(index)]
  return {
    segment,
    metadata: metadata ?? -1,
    element: source.document.images[index - 1]?.element ?? '',
    needs: must(readTree(trees[index - 1] as Uint8Array)).needs,
    bootable: false,
    ...more,
  }
}

function assemble(view: View): Uint8Array {
  const bytes = new Uint8Array(view.sizeBytes)
  let at = 0
  for (const extent of view.extents) {
    expect(extent.at).toBe(at)
    expect(extent.length).toBeGreaterThan(0)
    bytes.set(
      'bytes' in extent
        ? extent.bytes
        : (segments[extent.segment]?.bytes.subarray(extent.offset, extent.offset + extent.length) ?? new Uint8Array(0)),
      at,
    )
    at += extent.length
  }
  expect(at).toBe(view.sizeBytes)
  return bytes
}

describe('segments', () => {
  test('hold what the group lacks, and each content once', () => {
    expect(
      segments.map(({ loaded: { table } }) => [
        table.count - metadataEntries(table).length,
        metadataEntries(table).length,
      ]),
    ).toEqual([
      [3, 2],
      [1, 1],
    ])
  })

  test('say how many contents nobody has', () => {
    const needs = must(
      readTree(buildTree({ name: '', children: [{ name: 'x', hash: sha1(Buffer.from('nobody')) }] }).bytes),
    ).needs
    expect(planSegment(source, [{ metadata: 4, element: '', needs }], { held: [], lastResort: [] }).missing).toBe(1)
  })

  test('carry RPFIX, their own GUID, and no boot index', () => {
    expect(must(decodeHeader(segments[0]?.bytes ?? new Uint8Array(0)))).toMatchObject({
      flags: HEADER_FLAG.compressed | HEADER_FLAG.lzx | HEADER_FLAG.rpFix,
      guid: new Uint8Array(16).fill(9),
      imageCount: 2,
      bootIndex: 0,
    })
  })
})

describe('views', () => {
  test('are whole: every content lies where the table says, under its SHA-1', () => {
    for (const images of [[1], [2], [3], [1, 2, 3], [3, 1]]) {
      const bytes = assemble(
        must(
          buildView(
            images.map((index) => viewImage(index)),
            loaded(),
            { rpFix: false },
          ),
        ),
      )
      const header = must(decodeHeader(bytes))
      const table = must(
        decodeBlobTable(bytes.subarray(header.blobTable.offset, header.blobTable.offset + header.blobTable.sizeInWim)),
      )
      for (let i = 0; i < table.count; i += 1) {
        const { offset, sizeInWim } = resourceAt(table, i)
        expect(Buffer.from(sha1(bytes.subarray(offset, offset + sizeInWim)))).toEqual(
          Buffer.from(table.sha1.subarray(i * 20, i * 20 + 20)),
        )
      }
      const document = must(
        decodeXml(bytes.subarray(header.xml.offset, header.xml.offset + header.xml.sizeInWim), images.length),
      )
      expect(document.images.map((image) => image.facts.name)).toEqual(images.map((index) => `image ${index}`))
      expect(header).toMatchObject({ imageCount: images.length, part: 1, totalParts: 1, pipable: false })
      expect(metadataEntries(table).length).toBe(images.length)
    }
  })

  test('count references as the trees do', () => {
    const bytes = assemble(must(buildView([viewImage(1), viewImage(2)], loaded(), { rpFix: false })))
    const { blobTable } = must(decodeHeader(bytes))
    const table = must(decodeBlobTable(bytes.subarray(blobTable.offset, blobTable.offset + blobTable.sizeInWim)))
    const countOf = (n: number): number | undefined =>
      table.refCount[loadedSegment(table).index.find(sha1(blobs[n] as Buffer))]
    expect([countOf(0), countOf(1), countOf(2), countOf(3)]).toEqual([1, 2, 2, undefined])
  })

  test('are the same bytes, etag and GUID for the same images and segments', () => {
    const views = [0, 0].map(() => must(buildView([viewImage(2), viewImage(1)], loaded(), { rpFix: true })))
    const [one, two] = views.map(assemble)
    expect(one).toEqual(two as Uint8Array)
    expect(views[0]?.etag).toBe(views[1]?.etag ?? '')
    expect(views[0]?.etag).toMatch(/^[0-9a-f]{32}$/)
  })

  test('do not change when the group grows', () => {
    const before = must(buildView([viewImage(1)], loaded().slice(0, 1), { rpFix: false }))
    const after = must(buildView([viewImage(1)], loaded(), { rpFix: false }))
    expect(after).toEqual(before)
  })

  test('out of the segments they read alone, in the same order, are the same bytes', () => {
    // The first and the last hold content 1, so the order decides whose copy is read; the one between is not read.
    const [one] = loaded()
    const other = importImages([3], [], 'other.wim').loaded
    const last = importImages([2], [], 'last.wim').loaded
    if (!one) throw new Error('no segment')
    const of = (segments: LoadedSegment[]): View =>
      must(
        buildView(
          [{ ...viewImage(2), segment: segments.indexOf(last), metadata: metadataEntries(last.table)[0] ?? -1 }],
          segments,
          { rpFix: false },
        ),
      )
    const full = of([one, other, last])
    const read = full.extents.flatMap((extent) => ('segment' in extent ? [extent.segment] : []))
    expect(read).toEqual([0, 2])
    const only = of([one, last])
    const place = [0, undefined, 1]
    expect(only).toEqual({
      ...full,
      extents: full.extents.map((extent) =>
        'segment' in extent ? { ...extent, segment: place[extent.segment] ?? -1 } : extent,
      ),
    })
  })

  test('of another name, another order, another flag have another etag', () => {
    const of = (images: ViewImage[], rpFix = false): string => must(buildView(images, loaded(), { rpFix })).etag
    const renamed = viewImage(1, { element: renameImage(viewImage(1).element, { name: 'other', description: '' }) })
    const etags = [
      of([viewImage(1)]),
      of([renamed]),
      of([viewImage(1)], true),
      of([viewImage(1, { bootable: true })]),
      of([viewImage(1), viewImage(2)]),
      of([viewImage(2), viewImage(1)]),
      of([viewImage(3)]),
    ]
    expect(new Set(etags).size).toBe(etags.length)
  })

  test('carry the bootable image and RPFIX', () => {
    const bytes = assemble(
      must(
        buildView([viewImage(1), viewImage(2, { bootable: true }), viewImage(3, { bootable: true })], loaded(), {
          rpFix: true,
        }),
      ),
    )
    const header = must(decodeHeader(bytes))
    expect(header).toMatchObject({ bootIndex: 2, flags: HEADER_FLAG.compressed | HEADER_FLAG.lzx | HEADER_FLAG.rpFix })
    const { offset, sizeInWim } = header.bootMetadata
    expect(Buffer.compare(bytes.subarray(offset, offset + sizeInWim), trees[1] ?? new Uint8Array(0))).toBe(0)
    expect(must(decodeHeader(assemble(must(buildView([viewImage(1)], loaded(), { rpFix: false })))))).toMatchObject({
      bootIndex: 0,
      bootMetadata: { sizeInWim: 0, offset: 0 },
    })
  })

  test('without a segment they need are refused, and say how much is missing', () => {
    const image = viewImage(2, { segment: 0 })
    expect(buildView([image], loaded().slice(1), { rpFix: false })).toMatchObject({
      ok: false,
      error: { code: 'missing-blobs', facts: { missing: 1 } },
    })
  })

  test('contents that lie side by side are one extent', () => {
    const whole = must(buildView([viewImage(1), viewImage(3)], loaded().slice(0, 1), { rpFix: false }))
    expect(whole.extents.length).toBe(4)
  })
})
