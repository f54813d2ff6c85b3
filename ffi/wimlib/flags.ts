/** The flags of wimlib.h that wimcast passes, as options: `CHECK_INTEGRITY` is written `{ checkIntegrity: true }`. */

export const OPEN_FLAG = { checkIntegrity: 0x1, errorIfSplit: 0x2, writeAccess: 0x4 } as const
export const REF_FLAG = { globEnable: 0x1, globErrOnNomatch: 0x2 } as const
export const EXPORT_FLAG = { boot: 0x1, noNames: 0x2, noDescriptions: 0x4 } as const
export const ADD_FLAG = { dereference: 0x2, verbose: 0x4, boot: 0x8, unixData: 0x10, noAcls: 0x20 } as const
export const EXTRACT_FLAG = {
  unixData: 0x20,
  noAcls: 0x40,
  strictAcls: 0x80,
  globPaths: 0x40000,
  strictGlob: 0x80000,
  noAttributes: 0x100000,
  noPreserveDirStructure: 0x200000,
} as const
export const WRITE_FLAG = {
  checkIntegrity: 0x1,
  noCheckIntegrity: 0x2,
  pipable: 0x4,
  notPipable: 0x8,
  recompress: 0x10,
  fsync: 0x20,
  rebuild: 0x40,
  skipExternalWims: 0x200,
  retainGuid: 0x800,
  solid: 0x1000,
  noSolidSort: 0x4000,
} as const

export type Flags<Table> = { readonly [Name in keyof Table]?: boolean | undefined }

export function flagsOf<const Table extends Readonly<Record<string, number>>>(table: Table, on: Flags<Table>): number {
  let flags = 0
  for (const [name, bit] of Object.entries(table)) if (on[name]) flags |= bit
  return flags
}
