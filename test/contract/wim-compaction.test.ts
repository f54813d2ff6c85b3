/** Which segments a compaction replaces, and which copy of a content it keeps: over tables alone. */
import { expect, test } from 'bun:test'
import { emptyBlobTable } from '../../src/wim/blob-table.ts'
import { planCompaction, type StoredContent, type StoredSegment } from '../../src/wim/compaction.ts'
import { RESOURCE_FLAG } from '../../src/wim/header.ts'
import { layOutSegment } from '../../src/wim/segment.ts'
import { sha1 } from '../fixtures/image-tree.ts'
import { must } from '../fixtures/library.ts'

const hashOf = (name: string): Uint8Array => sha1(Buffer.from(name))
const hex = (name: string): string => Buffer.from(hashOf(name)).toString('hex')

/** Contents by name, 100 bytes each, one after the other; then a tree of 10 bytes. */
function segment(id: number, names: readonly string[], damaged: readonly string[] = []): StoredSegment {
  const table = emptyBlobTable(names.length + 1)
  for (let i = 0; i <= names.length; i += 1) {
    table.sizeInWim[i] = i < names.length ? 100 : 10
    table.size[i] = 300
    table.offset[i] = 208 + i * 100
    table.refCount[i] = 1
    table.part[i] = 1
    table.flags[i] = i < names.length ? 0 : RESOURCE_FLAG.metadata
    table.sha1.set(hashOf(names[i] ?? `tree ${id}`), i * 20)
  }
  return { id, table, damaged: damaged.map(hex) }
}

function content(segmentId: number, names: readonly string[]): StoredContent {
  const sha1s = Uint8Array.from(names.flatMap((name) => [...hashOf(name)]))
  const needs = { count: names.length, sha1: sha1s, refCount: new Uint32Array(names.length).fill(1) }
  return { id: segmentId * 10, segmentId, imageIndex: 1, element: `<IMAGE>${segmentId}</IMAGE>`, needs }
}

const plan = (segments: StoredSegment[], contents: StoredContent[], minDeadShare = 0.01) =>
  must(planCompaction(segments, contents, { minDeadShare }))

test('what is dead by the threshold is replaced, what is whole is not, what is empty always', () => {
  const segments = () => [segment(1, ['a', 'b', 'c']), segment(2, ['d']), segment(3, ['e'])]
  const contents = [content(1, ['a', 'b']), content(2, ['d', 'a'])]
  const { use, replaced, rehomed, plan: made } = plan(segments(), contents)
  expect(use).toEqual([
    { id: 1, liveBytes: 210, deadBytes: 100 },
    { id: 2, liveBytes: 110, deadBytes: 0 },
    { id: 3, liveBytes: 0, deadBytes: 110 },
  ])
  expect({ replaced, rehomed }).toEqual({ replaced: [1, 3], rehomed: [10] })
  expect([...made.entries]).toEqual([0, 1])
  expect(made).toMatchObject({ payloadBytes: 210, contentBytes: 900, images: [{ element: '<IMAGE>1</IMAGE>' }] })
  expect(plan(segments(), contents, 100 / 310).replaced).toEqual([1, 3])
  expect(plan(segments(), contents, 0.33).replaced).toEqual([3])
  expect(plan(segments(), contents, 0).replaced).toEqual([1, 3])
})

test('of two copies the first stays, unless that one is known to be broken; a broken one is better than none', () => {
  const contents = [content(1, ['a', 'b']), content(2, ['a', 'c'])]
  const of = (first: string[], second: string[]) =>
    plan([segment(1, ['a', 'b'], first), segment(2, ['a', 'c'], second)], contents).use.map((use) => use.deadBytes)
  expect(of([], [])).toEqual([0, 100])
  expect(of(['a'], [])).toEqual([100, 0])
  expect(of(['a'], ['a'])).toEqual([0, 100])
  expect(of(['b'], [])).toEqual([0, 100])
})

test('the new segment is laid out by old segment and place, with runs that leave out the dead', () => {
  const segments = [segment(1, ['a', 'dead', 'b', 'c']), segment(2, ['dead too', 'd'])]
  const { table, plan: made } = plan(segments, [content(1, ['c', 'a', 'b']), content(2, ['d'])])
  const layout = layOutSegment(table, made, { rpFix: false, guid: new Uint8Array(16) })
  expect(layout.runs).toEqual([
    { part: 1, from: 208, to: 208, length: 100 },
    { part: 1, from: 408, to: 308, length: 200 },
    { part: 2, from: 308, to: 508, length: 100 },
    { part: 1, from: 608, to: 608, length: 10 },
    { part: 2, from: 408, to: 618, length: 10 },
  ])
  expect([...layout.table.offset]).toEqual([208, 308, 408, 508, 608, 618])
})

test('a content whose tree is not where its row says is refused', () => {
  expect(planCompaction([segment(1, ['a'])], [content(2, ['a'])], { minDeadShare: 0 })).toMatchObject({
    ok: false,
    error: { code: 'corrupt' },
  })
})
