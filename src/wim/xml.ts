/**
 * The XML document of a WIM: UTF-16LE, one IMAGE element for each image. It holds all that Windows says of an image:
 * names, architecture, edition, version, languages, sizes. Elements that wimcast does not know are kept as they came.
 */
import { DOMParser, type Document, type Element, XMLSerializer } from '@xmldom/xmldom'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'

export type Architecture = 'x86' | 'x64' | 'arm' | 'arm64' | 'ia64'

/** What an image says of itself. Sizes are bytes of the uncompressed tree; times are milliseconds since the epoch. */
export type ImageFacts = {
  readonly name: string
  readonly description: string
  readonly displayName?: string
  readonly displayDescription?: string
  readonly architecture?: Architecture
  readonly editionId?: string
  readonly installationType?: string
  readonly productName?: string
  /** `10.0.22631.2428` */
  readonly version?: string
  readonly languages: readonly string[]
  readonly defaultLanguage?: string
  readonly totalBytes: number
  readonly hardLinkBytes: number
  readonly fileCount: number
  readonly directoryCount: number
  readonly createdAtMs?: number
  readonly modifiedAtMs?: number
}

export type DescribedImage = {
  readonly facts: ImageFacts
  /** The IMAGE element as text, INDEX attribute left out: what a segment or a view carries on. */
  readonly element: string
}

/** Real documents are a few kilobytes an image. The bound keeps a hostile one from eating memory. */
export const MAX_XML_BYTES = 16 << 20
/** One image's element: real ones are below 16 Ki characters, and it is parsed on the main thread when an image is renamed. */
const MAX_ELEMENT_CHARS = 64 << 10
/** Deeper than any real document by a factor of ten; keeps recursive serialisation off the stack's end. */
const MAX_DEPTH = 64

/** PROCESSOR_ARCHITECTURE_* of winnt.h, as WINDOWS/ARCH holds them. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = { 0: 'x86', 5: 'arm', 6: 'ia64', 9: 'x64', 12: 'arm64' }

class BadXml extends Error {}

function parse(text: string): Document {
  const parser = new DOMParser({
    onError: (_level: string, message: string) => {
      throw new BadXml(message.split('\n')[0] ?? message)
    },
  })
  // No WIM has a document type; with one come entities, and with them bombs.
  if (/<!DOCTYPE/i.test(text)) throw new BadXml('it has a document type')
  let depth = 0
  for (const [tag] of text.matchAll(/<\/?[A-Za-z][^<>]*>/g)) {
    if (tag.endsWith('/>')) continue
    depth += tag.startsWith('</') ? -1 : 1
    if (depth > MAX_DEPTH) throw new BadXml('it is nested too deeply')
  }
  return parser.parseFromString(text, 'text/xml')
}

/** The name of a document's root, without prefix; a refusal says why the text is no XML. */
export function rootNameOf(text: string): Result<string> {
  try {
    const root = parse(text).documentElement
    if (root) return ok(root.localName ?? root.nodeName)
  } catch (error) {
    return refuse('bad-xml', error instanceof Error ? error.message.slice(0, 200) : String(error), '')
  }
  return refuse('bad-xml', 'it is empty', '')
}

function children(parent: Element, name: string): Element[] {
  const found: Element[] = []
  for (let node = parent.firstChild; node; node = node.nextSibling)
    if (node.nodeType === 1 && node.nodeName === name) found.push(node as Element)
  return found
}

/** The text at a path of element names, `WINDOWS/VERSION/MAJOR`. */
function textAt(parent: Element, path: string): string | undefined {
  let at: Element | undefined = parent
  for (const name of path.split('/')) {
    at = at === undefined ? undefined : children(at, name)[0]
  }
  const text = at?.textContent?.trim()
  return text ? text : undefined
}

function numberAt(parent: Element, path: string): number {
  const value = Number(textAt(parent, path) ?? 0)
  return Number.isFinite(value) && value >= 0 ? value : 0
}

/** 100 ns since 1601 (FILETIME), in two hexadecimal halves, as milliseconds since 1970. */
function timeAt(parent: Element, name: string): number | undefined {
  const high = textAt(parent, `${name}/HIGHPART`)
  const low = textAt(parent, `${name}/LOWPART`)
  if (high === undefined || low === undefined) return undefined
  const ms = (Number(high) * 0x1_0000_0000 + Number(low)) / 10_000 - 11_644_473_600_000
  return Number.isFinite(ms) ? Math.round(ms) : undefined
}

/** Leaves out what is undefined, so that optional facts are absent and not `undefined`. */
function defined<T extends object>(value: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, fact]) => fact !== undefined)) as T
}

function factsOf(image: Element): ImageFacts {
  const windows = children(image, 'WINDOWS')[0]
  const version = windows && children(windows, 'VERSION')[0]
  const parts = version ? ['MAJOR', 'MINOR', 'BUILD', 'SPBUILD'].map((part) => textAt(version, part)) : []
  const languages = windows ? children(windows, 'LANGUAGES')[0] : undefined
  return defined<ImageFacts>({
    name: textAt(image, 'NAME') ?? '',
    description: textAt(image, 'DESCRIPTION') ?? '',
    displayName: textAt(image, 'DISPLAYNAME'),
    displayDescription: textAt(image, 'DISPLAYDESCRIPTION'),
    architecture: windows && ARCHITECTURES[textAt(windows, 'ARCH') ?? ''],
    editionId: windows && textAt(windows, 'EDITIONID'),
    installationType: windows && textAt(windows, 'INSTALLATIONTYPE'),
    productName: windows && textAt(windows, 'PRODUCTNAME'),
    version: parts[0] === undefined ? undefined : parts.map((part) => part ?? '0').join('.'),
    languages: languages ? children(languages, 'LANGUAGE').map((language) => language.textContent?.trim() ?? '') : [],
    defaultLanguage: languages && textAt(languages, 'DEFAULT'),
    totalBytes: numberAt(image, 'TOTALBYTES'),
    hardLinkBytes: numberAt(image, 'HARDLINKBYTES'),
    fileCount: numberAt(image, 'FILECOUNT'),
    directoryCount: numberAt(image, 'DIRCOUNT'),
    createdAtMs: timeAt(image, 'CREATIONTIME'),
    modifiedAtMs: timeAt(image, 'LASTMODIFICATIONTIME'),
  })
}

export type WimDocument = {
  readonly images: readonly DescribedImage[]
  /** A retail .esd whose contents are encrypted says so here: ESD/ENCRYPTED. Source: wimlib src/xml.c. */
  readonly encrypted: boolean
}

/** Decodes the document of a file with `imageCount` images; the images come in the order of their indexes. */
export function decodeXml(bytes: Uint8Array, imageCount: number): Result<WimDocument> {
  const hint = 'Export the image again with DISM or wimlib-imagex; they write a new document.'
  if (bytes.byteLength > MAX_XML_BYTES)
    return refuse('bad-xml', `the XML document is ${bytes.byteLength} bytes long`, hint)
  try {
    const text = new TextDecoder('utf-16le', { fatal: true })
      .decode(bytes)
      .replace(/^\ufeff/, '')
      .replace(/\0+$/, '')
    const root = parse(text).documentElement
    if (root?.nodeName !== 'WIM') throw new BadXml('its root is not WIM')
    const images: DescribedImage[] = []
    for (const element of children(root, 'IMAGE')) {
      const index = Number(element.getAttribute('INDEX'))
      if (!Number.isInteger(index) || index < 1 || index > imageCount || images[index - 1] !== undefined)
        throw new BadXml(`an IMAGE has the index "${element.getAttribute('INDEX')}"`)
      const facts = factsOf(element)
      element.removeAttribute('INDEX')
      const serialized = new XMLSerializer().serializeToString(element)
      if (serialized.length > MAX_ELEMENT_CHARS)
        throw new BadXml(`image ${index} is described by ${serialized.length} characters`)
      // The parser lets them through, `&#1;` too; libxml2 and Windows would then not read the document that we write.
      if (!isXmlText(serialized)) throw new BadXml(`image ${index} is described with characters that XML cannot carry`)
      images[index - 1] = { facts, element: serialized }
    }
    for (let i = 0; i < imageCount; i += 1)
      if (images[i] === undefined) throw new BadXml(`image ${i + 1} is not described`)
    const encrypted = children(root, 'ESD').some((esd) => children(esd, 'ENCRYPTED').length > 0)
    return ok({ images, encrypted })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return refuse('bad-xml', `the XML document is malformed: ${why.slice(0, 200)}`, hint)
  }
}

/** An IMAGE element under other names. An empty description removes the element, as DISM leaves it out. */
export function renameImage(element: string, names: { readonly name: string; readonly description: string }): string {
  const document = parse(element)
  const image = document.documentElement
  if (!image) throw new BadXml('an IMAGE element is empty')
  for (const [tag, text] of [
    ['NAME', names.name],
    ['DESCRIPTION', names.description],
  ] as const) {
    const [found, ...more] = children(image, tag)
    for (const extra of more) image.removeChild(extra)
    if (text === '') {
      if (found) image.removeChild(found)
      continue
    }
    const target = found ?? image.appendChild(document.createElement(tag))
    target.textContent = text
  }
  return new XMLSerializer().serializeToString(image)
}

/** The document of a file of ours. `totalBytes` is the size of the file up to the document, as wimlib writes it. */
export function encodeXml(elements: readonly string[], totalBytes: number): Uint8Array {
  const images = elements.map((element, i) => element.replace(/^<IMAGE\b/, `<IMAGE INDEX="${i + 1}"`)).join('')
  return Buffer.from(`\ufeff<WIM><TOTALBYTES>${totalBytes}</TOTALBYTES>${images}</WIM>`, 'utf16le')
}

/** Names go into XML and file systems: what XML 1.0 cannot carry is refused at the door. */
export function isXmlText(text: string): boolean {
  // XML 1.0 §2.2: tab, LF, CR and everything from U+0020 but surrogates, U+FFFE and U+FFFF.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not pass
  return !/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text) && text.isWellFormed()
}
