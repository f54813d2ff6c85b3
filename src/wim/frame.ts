/**
 * What surrounds the contents of a file of ours, be it a segment, a view or a target of libwim: the header before them,
 * the blob table and the XML document behind them.
 */
import { type BlobTable, encodeBlobTable } from './blob-table.ts'
import { encodeHeader, HEADER_FLAG, type ResourceHeader } from './header.ts'
import { GROUP_FORMAT } from './source.ts'
import { encodeXml } from './xml.ts'

export type Frame = {
  readonly header: Uint8Array
  readonly table: { readonly at: number; readonly bytes: Uint8Array }
  readonly xml: { readonly at: number; readonly bytes: Uint8Array }
  readonly sizeBytes: number
}

export function frameOf(file: {
  readonly table: BlobTable
  /** The IMAGE elements, in order. */
  readonly elements: readonly string[]
  /** Where the contents end. */
  readonly contentsEnd: number
  readonly rpFix: boolean
  /** Made from the encoded table, for a file whose bytes must be the same each time. */
  readonly guid: (tableBytes: Uint8Array) => Uint8Array
  readonly boot: { readonly metadata: ResourceHeader; readonly index: number }
}): Frame {
  const at = file.contentsEnd
  const tableBytes = encodeBlobTable(file.table)
  const xmlAt = at + tableBytes.byteLength
  const xml = encodeXml(file.elements, xmlAt)
  const header = encodeHeader({
    flags: HEADER_FLAG.compressed | HEADER_FLAG.lzx | (file.rpFix ? HEADER_FLAG.rpFix : 0),
    chunkSize: GROUP_FORMAT.chunkSize,
    guid: file.guid(tableBytes),
    imageCount: file.elements.length,
    blobTable: { sizeInWim: tableBytes.byteLength, flags: 0, offset: at, size: tableBytes.byteLength },
    xml: { sizeInWim: xml.byteLength, flags: 0, offset: xmlAt, size: xml.byteLength },
    bootMetadata: file.boot.metadata,
    bootIndex: file.boot.index,
  })
  return {
    header,
    table: { at, bytes: tableBytes },
    xml: { at: xmlAt, bytes: xml },
    sizeBytes: xmlAt + xml.byteLength,
  }
}
