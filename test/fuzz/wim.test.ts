/**
 * Damaged WIM structures into everything that reads them: each is read or refused in the documented words, in time that
 * grows with its size. Runs are repeatable: FUZZ_SEED (default 1) and FUZZ_COUNT (default 4000) come from the
 * environment, and a failure prints the damage.
 */
import { afterAll, expect, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Decompressor } from '../../ffi/wimlib/decompressor.ts'
import { loadWimlib } from '../../ffi/wimlib/load.ts'
import type { Result } from '../../src/base/result.ts'
import { decodeBlobTable, encodeBlobTable } from '../../src/wim/blob-table.ts'
import { decodeHeader, encodeHeader, HEADER_BYTES, RESOURCE_FLAG } from '../../src/wim/header.ts'
import { readTree } from '../../src/wim/metadata.ts'
import { BadResource, ResourceReader } from '../../src/wim/resource.ts'
import { openSource } from '../../src/wim/source.ts'
import { decodeXml, encodeXml, renameImage } from '../../src/wim/xml.ts'
import { buildTree, buildWim, compressed, type Node, sha1 } from '../fixtures/image-tree.ts'
import { sampleBytes } from '../fixtures/wims.ts'

const SEED = Number(Bun.env['FUZZ_SEED'] ?? 1)
const COUNT = Number(Bun.env['FUZZ_COUNT'] ?? 4000)
const TIME_MS = 60_000 + COUNT * 2
/** What one input of a few kilobytes may take of the processor; the clock on the wall also counts what others do. */
const SLOW_MICROSECONDS = 1_000_000

const folder = mkdtempSync(join(tmpdir(), 'wimcast-fuzz-'))
const path = join(folder, 'file.wim')
afterAll(() => rmSync(folder, { recursive: true }))

type Below = (below: number) => number

/** mulberry32 */
function random(seed: number): Below {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

/** Numbers that decoders stumble over. */
const EDGES = [
  0n,
  1n,
  7n,
  8n,
  0x65n,
  0x66n,
  0x7fffn,
  0xffffn,
  0x7fff_ffffn,
  0xffff_ffffn,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
]

/** One to four places changed: bits, bytes, edge numbers of 2, 4 and 8 bytes, numbers moved from elsewhere, cuts. */
function damage(below: Below, good: Uint8Array): Uint8Array {
  let bytes = Uint8Array.from(good)
  for (let changes = 1 + below(4); changes > 0 && bytes.length > 8; changes -= 1) {
    const view = new DataView(bytes.buffer)
    const at = below(bytes.length - 7)
    const even = at - (at % 8)
    switch (below(8)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8))
        break
      case 1:
        bytes[at] = below(256)
        break
      case 2:
        view.setBigUint64(even, EDGES[below(EDGES.length)] ?? 0n, true)
        break
      case 3:
        view.setUint32(even, Number((EDGES[below(EDGES.length)] ?? 0n) & 0xffff_ffffn), true)
        break
      case 4:
        view.setUint16(at, Number((EDGES[below(EDGES.length)] ?? 0n) & 0xffffn), true)
        break
      case 5:
        view.setBigUint64(even, BigInt(8 * below(bytes.length / 8)), true)
        break
      case 6:
        bytes.copyWithin(at, below(bytes.length), below(bytes.length))
        break
      case 7:
        if (below(4) === 0) bytes = bytes.slice(0, at)
        break
    }
  }
  return bytes
}

/** Runs `read` on COUNT inputs: it refuses with one of the codes, or `check`s what it read. Both must happen. */
function campaign<T>(options: {
  seed: number
  count?: number
  input: (below: Below) => Uint8Array
  read: (bytes: Uint8Array) => Result<T>
  codes: readonly string[]
  check: (value: T, bytes: Uint8Array) => void
}): void {
  const below = random(SEED * 1000 + options.seed)
  const count = Math.ceil(options.count ?? COUNT)
  const seen = { accepted: 0, refused: 0 }
  for (let i = 0; i < count; i += 1) {
    const bytes = options.input(below)
    const before = process.cpuUsage()
    try {
      const result = options.read(bytes)
      if (result.ok) {
        seen.accepted += 1
        options.check(result.value, bytes)
      } else {
        seen.refused += 1
        const { code, message, hint } = result.error
        if (!options.codes.includes(code) || message.length > 1000 || hint === '')
          throw new Error(`refused as ${code}: ${message.slice(0, 1000)}`)
      }
      if (process.cpuUsage(before).user > SLOW_MICROSECONDS) throw new Error('slow')
    } catch (cause) {
      throw new Error(`${cause}: seed ${SEED}, input ${i}: ${Buffer.from(bytes).toString('base64')}`, { cause })
    }
  }
  expect(seen.accepted).toBeGreaterThan(count / 50)
  expect(seen.refused).toBeGreaterThan(count / 50)
}

const CONTENTS = ['one', 'two', 'three'].map((text) => Buffer.from(text.repeat(50)))
const hash = (i: number): Uint8Array => sha1(CONTENTS[i] ?? Buffer.alloc(0))
const TREE: Node = {
  name: '',
  children: [
    {
      name: 'Windows',
      shortName: 'WIN~1',
      children: [
        { name: 'a', hash: hash(0) },
        { name: 'b', hash: hash(1), streams: [{ name: 's', hash: hash(2) }] },
        { name: 'empty', children: [] },
      ],
    },
    { name: 'Größe', hash: hash(2), linkGroup: 5 },
    {
      name: 'deep',
      children: [{ name: 'deeper', children: [{ name: 'deepest', children: [{ name: 'x', hash: hash(0) }] }] }],
    },
  ],
}
const METADATA = buildTree(TREE, [Buffer.alloc(20)]).bytes
const WIM = buildWim(
  [
    { name: 'one', metadata: METADATA },
    { name: 'two', metadata: buildTree({ name: '', children: [] }).bytes },
  ],
  CONTENTS,
  { bootIndex: 1 },
)

test(
  'header',
  () => {
    campaign({
      seed: 1,
      input: (below) => damage(below, WIM.subarray(0, HEADER_BYTES)),
      read: decodeHeader,
      codes: ['not-a-wim', 'unsupported', 'corrupt'],
      check: (header) => {
        if (header.bootIndex > header.imageCount || header.part > header.totalParts || header.imageCount > 65_535)
          throw new Error('out of its bounds')
        encodeHeader(header)
      },
    })
  },
  TIME_MS,
)

test(
  'blob table',
  () => {
    const table = WIM.subarray(Number(Buffer.from(WIM).readBigUInt64LE(0x38))).subarray(0, 250)
    campaign({
      seed: 2,
      input: (below) => damage(below, table),
      read: decodeBlobTable,
      codes: ['corrupt'],
      check: (value, bytes) => {
        // Beyond 2^53 a number loses its last bits: everything else comes back.
        const exact = [value.sizeInWim, value.offset, value.size].every((column) => column.every(Number.isSafeInteger))
        const again = encodeBlobTable(value)
        if (exact && Buffer.compare(again, bytes) !== 0) throw new Error('another table')
      },
    })
  },
  TIME_MS,
)

test(
  'directory tree',
  () => {
    campaign({
      seed: 3,
      input: (below) => damage(below, METADATA),
      read: readTree,
      codes: ['bad-metadata'],
      check: ({ needs, fileCount, directoryCount }, bytes) => {
        // An entry takes at least 104 bytes, a stream 40: nothing is counted twice.
        if (fileCount + directoryCount > bytes.length / 104 || needs.count > bytes.length / 40)
          throw new Error('more than there are bytes for')
      },
    })
  },
  TIME_MS,
)

const XML = `<WIM><TOTALBYTES>1</TOTALBYTES><IMAGE INDEX="1"><NAME>one &amp; <![CDATA[<two>]]></NAME><DESCRIPTION>d</DESCRIPTION><WINDOWS><ARCH>9</ARCH><LANGUAGES><LANGUAGE>de-DE</LANGUAGE></LANGUAGES><VERSION><MAJOR>10</MAJOR></VERSION></WINDOWS><!-- c --><x:y xmlns:x="urn:x" x:z='"'/></IMAGE></WIM>`
const TOKENS = [
  '<',
  '>',
  '/',
  '&',
  ';',
  '"',
  "'",
  '<NAME>',
  '</NAME>',
  '<IMAGE INDEX="1">',
  '</IMAGE>',
  '<![CDATA[',
  ']]>',
  '<!--',
  '-->',
  '<?x ',
  '?>',
  '&#1;',
  '&#x10ffff;',
  '&amp;',
  ' xmlns="u"',
  '\0',
  '\ud800',
  '\ufffe',
  'ö',
  '\n',
  '<!DOCTYPE',
]

test(
  'XML: what is read can be renamed, written and read again',
  () => {
    campaign({
      seed: 4,
      count: COUNT / 2,
      input: (below) => {
        let text = XML
        for (let changes = 1 + below(3); changes > 0; changes -= 1) {
          const at = below(text.length)
          const kept = text.slice(below(3) === 0 ? at + below(12) : at)
          text =
            text.slice(0, at) +
            (below(4) === 0
              ? text.slice(below(text.length), below(text.length))
              : (TOKENS[below(TOKENS.length)] ?? '')) +
            kept
        }
        return Uint8Array.from(Buffer.from(below(2) === 0 ? `\ufeff${text}` : text, 'utf16le'))
      },
      read: (bytes) => decodeXml(bytes, 1),
      codes: ['bad-xml'],
      check: ({ images: [image] }) => {
        const renamed = renameImage(image?.element ?? '', { name: 'new <name>', description: '' })
        const again = decodeXml(encodeXml([renamed], 1), 1)
        if (!again.ok) throw new Error(`not read again: ${again.error.message}: ${renamed}`)
        const facts = again.value.images[0]?.facts
        if (facts?.name !== 'new <name>' || facts.description !== '') throw new Error(`named ${JSON.stringify(facts)}`)
      },
    })
  },
  TIME_MS,
)

test(
  'compressed resources: the promised length, or a refusal',
  () => {
    const size = 200_000
    const good = compressed(sampleBytes(size, 1))
    // The chunk table and the beginnings of chunks are what a reader acts on.
    const head = 64
    using decompressor = new Decompressor(loadWimlib(), 'LZX', 32_768)
    const flags = RESOURCE_FLAG.compressed
    campaign({
      seed: 5,
      count: COUNT / 4,
      input: (below) => Buffer.concat([damage(below, good.subarray(0, head)), good.subarray(head)]),
      read: (bytes) => {
        writeFileSync(path, bytes)
        const fd = openSync(path, 'r')
        try {
          const reader = new ResourceReader({ fd, chunkSize: 32_768, decompressor })
          return { ok: true, value: reader.readAll({ sizeInWim: bytes.length, flags, offset: 0, size }, 1 << 20) }
        } catch (error) {
          if (!(error instanceof BadResource)) throw error
          return { ok: false, error: { code: 'corrupt', message: error.message, hint: 'h' } }
        } finally {
          closeSync(fd)
        }
      },
      codes: ['corrupt'],
      check: (value) => {
        if (value.length !== size) throw new Error(`${value.length} bytes`)
      },
    })
  },
  TIME_MS,
)

test(
  'whole files: tables, XML and trees together',
  () => {
    const codes = [
      'not-a-wim',
      'unsupported',
      'corrupt',
      'truncated',
      'bad-xml',
      'missing-part',
      'not-first-part',
      'encrypted',
    ]
    campaign({
      seed: 6,
      count: COUNT / 4,
      input: (below) => damage(below, WIM),
      read: (bytes) => {
        writeFileSync(path, bytes)
        return openSource(path)
      },
      codes,
      check: (source, bytes) => {
        using opened = source
        const { table, metadata, header } = opened
        if (metadata.length !== header.imageCount || opened.document.images.length !== header.imageCount)
          throw new Error('images without a tree')
        for (let i = 0; i < table.count; i += 1)
          if (opened.notRaw !== 'solid' && (table.offset[i] ?? 0) + (table.sizeInWim[i] ?? 0) > bytes.length)
            throw new Error(`entry ${i} lies outside`)
      },
    })
  },
  TIME_MS,
)
