/** The directory tree of an image: what is counted, and every way in which one can be hostile. */
import { describe, expect, test } from 'bun:test'
import { readTree, type Tree } from '../../src/wim/metadata.ts'
import { type BuiltTree, buildTree, CHILDREN_FIELD, type Node, sha1 } from '../fixtures/image-tree.ts'
import { must } from '../fixtures/library.ts'

const A = sha1(Buffer.from('a'))
const B = sha1(Buffer.from('b'))
const C = sha1(Buffer.from('c'))

function counts(tree: Tree): Record<string, number> {
  const names = new Map(
    [[A, 'a'] as const, [B, 'b'] as const, [C, 'c'] as const].map(([hash, name]) => [
      Buffer.from(hash).toString('hex'),
      name,
    ]),
  )
  const found: Record<string, number> = {}
  for (let i = 0; i < tree.needs.count; i += 1) {
    const hex = Buffer.from(tree.needs.sha1.subarray(i * 20, i * 20 + 20)).toString('hex')
    found[names.get(hex) ?? hex] = tree.needs.refCount[i] ?? 0
  }
  return found
}

const rootOf = (...children: Node[]): Node => ({ name: '', children })
const file = (name: string, more: Partial<Node> = {}): Node => ({ name, hash: A, ...more })

/** The built tree with one 64-bit number of an entry replaced. */
function patched({ bytes, entry }: BuiltTree, node: Node, field: number, value: number | bigint): Uint8Array {
  const copy = Uint8Array.from(bytes)
  new DataView(copy.buffer).setBigUint64((entry.get(node) ?? 0) + field, BigInt(value), true)
  return copy
}

const refused = (message: string | RegExp) => ({
  ok: false,
  error: { code: 'bad-metadata', message: expect.stringMatching(message), hint: expect.stringMatching(/\w/) },
})

describe('what a tree needs', () => {
  test('each file content, as often as it is named', () => {
    const links = [file('one', { linkGroup: 5, hash: B }), file('two', { linkGroup: 5, hash: B })]
    const tree = must(
      readTree(buildTree(rootOf(file('x'), { name: 'dir', children: [file('x'), { name: 'empty' }, ...links] })).bytes),
    )
    expect(tree).toMatchObject({ fileCount: 5, directoryCount: 2 })
    expect(counts(tree)).toEqual({ a: 2, b: 2 })
  })

  test('named streams, of files and of directories, and reparse data', () => {
    const streams = [
      { name: 'Zone.Identifier', hash: B },
      { name: '', hash: C },
      { name: 'empty', hash: new Uint8Array(20) },
    ]
    const root = rootOf(
      { name: 'f', streams },
      { name: 'd', children: [], streams: [{ name: 's', hash: B }] },
      { name: 'link', attributes: 0x400, reparseTag: 0xa000_000c, hash: C },
    )
    expect(counts(must(readTree(buildTree(root).bytes)))).toEqual({ b: 2, c: 2 })
  })

  test('an image without any file, and one without a root', () => {
    expect(must(readTree(buildTree(rootOf()).bytes))).toMatchObject({ fileCount: 0, directoryCount: 1 })
    expect(must(readTree(new Uint8Array(24)))).toMatchObject({ fileCount: 0, directoryCount: 0 })
  })

  test('security descriptors of any length are passed over', () => {
    for (const lengths of [[], [0], [1], [20, 7, 300]]) {
      const built = buildTree(
        rootOf(file('x')),
        lengths.map((length) => new Uint8Array(length).fill(0xff)),
      )
      expect(counts(must(readTree(built.bytes)))).toEqual({ a: 1 })
    }
  })

  test('short names, names in other scripts, names that differ in case only', () => {
    const root = rootOf(
      file('Größe 東京 📦.txt', { shortName: 'GRE~1.TXT' }),
      file('name'),
      file('NAME'),
      file('...'),
      file(' '),
      file('a:b'),
      file('x'.repeat(32_000)),
    )
    expect(must(readTree(buildTree(root).bytes)).fileCount).toBe(7)
  })

  test('10,000 directories deep', () => {
    let node: Node = file('bottom')
    for (let depth = 0; depth < 10_000; depth += 1) node = { name: 'd', children: [node] }
    expect(must(readTree(buildTree(rootOf(node)).bytes))).toMatchObject({ fileCount: 1, directoryCount: 10_001 })
  })

  test('100,000 files in one directory', () => {
    const many = Array.from({ length: 100_000 }, (_, i) => file(`f${i}`))
    expect(counts(must(readTree(buildTree(rootOf(...many)).bytes)))).toEqual({ a: 100_000 })
  })
})

describe('names', () => {
  test.each(['.', '..', 'a/b', 'a\\b', '/', '\\', 'a\0b', '\0'])('%j is refused', (name) => {
    expect(readTree(buildTree(rootOf({ name: 'sub', children: [file(name)] })).bytes)).toMatchObject(refused(/"\/sub"/))
  })

  test.each(['..', '\\', 'A\0'])('%j as a short name is refused', (shortName) => {
    expect(readTree(buildTree(rootOf(file('good', { shortName }))).bytes)).toMatchObject(refused(/named|holds/))
  })

  test('none, below the root', () => {
    expect(readTree(buildTree(rootOf(file(''))).bytes)).toMatchObject(refused('has no name'))
  })

  test('one for the root', () => {
    expect(readTree(buildTree({ name: 'root', children: [] }).bytes)).toMatchObject(
      refused('the root directory has a name'),
    )
  })

  test('twice in one directory', () => {
    expect(readTree(buildTree(rootOf(file('x'), file('y'), file('x'))).bytes)).toMatchObject(
      refused('"x" is twice in "/"'),
    )
  })

  test('the message quotes the end of a long path', () => {
    let node: Node = file('..')
    for (let depth = 0; depth < 500; depth += 1) node = { name: `directory ${depth}`, children: [node] }
    const result = readTree(buildTree(rootOf(node)).bytes)
    const message = result.ok ? '' : result.error.message
    expect(message).toMatch(/….*directory 1\/directory 0"/)
    expect(message.length).toBeLessThan(400)
  })
})

describe('shape', () => {
  const inner: Node = { name: 'inner', children: [file('x')] }
  const outer: Node = { name: 'outer', children: [inner, file('y')] }
  const other: Node = { name: 'other', children: [file('z')] }
  const root = rootOf(outer, other, file('last'))
  const built = buildTree(root)
  const childrenOf = (node: Node): number => built.children.get(node) ?? 0

  test.each([
    ['a directory that holds itself', inner, childrenOf(outer)],
    ['a directory that holds the root', inner, childrenOf(root)],
    ['two directories with the same children', other, childrenOf(inner)],
    ['a directory that begins in the middle of another', other, built.entry.get(outer.children?.[1] as Node) ?? 0],
    ['a directory whose child is the root entry', other, built.entry.get(root) ?? 0],
  ])('%s is refused', (_, node, at) => {
    expect(readTree(patched(built, node, CHILDREN_FIELD, at))).toMatchObject(
      refused(/a cycle or a shared branch|has no name/),
    )
  })

  test.each([
    ['beyond the end', built.bytes.length + 8, 'ends too early'],
    ['beyond 2^53', 2n ** 60n, 'ends too early'],
    ['between two entries', childrenOf(inner) + 4, 'not aligned'],
  ])('children %s are refused', (_, at, message) => {
    expect(readTree(patched(built, other, CHILDREN_FIELD, at))).toMatchObject(refused(message))
  })

  test.each([9, 0x65, 2 ** 32, 2n ** 63n])('an entry that claims %p bytes is refused', (length) => {
    expect(readTree(patched(built, inner, 0, length))).toMatchObject(refused(/claims|too early/))
  })

  test('security data that claims the whole file is refused', () => {
    const bytes = Uint8Array.from(built.bytes)
    bytes.set([0xff, 0xff, 0xff, 0xff])
    expect(readTree(bytes)).toMatchObject(refused('ends too early'))
  })

  test('a name longer than its entry, half a character, a stream longer than the tree', () => {
    const withStream = buildTree(rootOf({ name: 'f', streams: [{ name: 's', hash: B }] }))
    const at = [...withStream.entry.values()][1] ?? 0
    const change = (offset: number, ...values: number[]): Uint8Array => {
      const bytes = Uint8Array.from(withStream.bytes)
      bytes.set(values, at + offset)
      return bytes
    }
    expect(readTree(change(0x64, 0xff, 0x7f))).toMatchObject(refused(/half a character|longer than its entry/))
    expect(readTree(change(0x64, 0xfe, 0x7f))).toMatchObject(refused('longer than its entry'))
    expect(readTree(change(0x60, 0xff, 0xff))).toMatchObject(refused(/stream|too early/))
    const stream = Math.ceil((0x66 + 4) / 8) * 8
    expect(readTree(change(stream, 0x25, 0))).toMatchObject(refused('a stream of "f" claims 37 bytes'))
    expect(readTree(change(stream + 0x24, 0xff, 0xff))).toMatchObject(refused(/longer than its entry|too early/))
  })

  test('deeper than any path', () => {
    let node: Node = file('bottom')
    for (let depth = 0; depth < 17_000; depth += 1) node = { name: 'd', children: [node] }
    expect(readTree(buildTree(rootOf(node)).bytes)).toMatchObject(refused('16384 directories deep'))
  })

  test('cut anywhere, it is refused or is the same tree', () => {
    const whole = must(readTree(built.bytes))
    for (let length = 0; length < built.bytes.length; length += 1) {
      const result = readTree(built.bytes.slice(0, length))
      if (result.ok) expect(result.value).toEqual(whole)
      else expect(result.error.code).toBe('bad-metadata')
    }
  })
})

test('overlapping directories cost no more than their bytes', () => {
  // d directories whose children begin at each of f files in turn: d * f / 2 entries to whoever follows them all.
  const files = Array.from({ length: 4000 }, (_, i) => file(`f${i}`))
  const directories: Node[] = Array.from({ length: 4000 }, (_, i) => ({ name: `d${i}`, children: [] }))
  const built = buildTree(rootOf(...directories, ...files))
  const bytes = Uint8Array.from(built.bytes)
  const view = new DataView(bytes.buffer)
  for (const [i, directory] of directories.entries())
    view.setBigUint64(
      (built.entry.get(directory) ?? 0) + CHILDREN_FIELD,
      BigInt(built.entry.get(files[i] as Node) ?? 0),
      true,
    )
  expect(readTree(bytes)).toMatchObject(refused('a cycle or a shared branch'))
})
