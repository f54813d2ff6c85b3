/**
 * From the file name of a request to a path on the shelf. Pure. It only spells names the one way the shelf knows;
 * that a name exists, and in which case it is written, is the shelf's to say.
 */
import { err, ok, type Result } from '../base/result.ts'

/** `empty`: nothing is left of the name. `climbs`: it has a part `..`. `control`: it has control characters. */
export type BadName = 'empty' | 'climbs' | 'control'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function shelfPath(file: Uint8Array): Result<string, BadName> {
  const name = decodeName(withoutTerminators(file))
  // C0, DEL and C1: no name on the shelf has them, and a log line should not either.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return err('control')
  // Windows' bootmgr asks for `\Boot\BCD`, GRUB for `/EFI//grub.cfg`: one spelling for all.
  const parts = name.split(/[\\/]/).filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) return err('climbs')
  if (parts.length === 0) return err('empty')
  return ok(parts.join('/'))
}

/**
 * Quirk(PXE ROMs): the name of DHCP option 67 is taken with the 0xFF that ends the options, or a NUL; RFC 2132 §9.5
 * gives it a length of its own. Neither ends a real name (0xFF is never part of UTF-8), so both go.
 */
function withoutTerminators(file: Uint8Array): Uint8Array {
  let end = file.byteLength
  while (end > 0 && (file[end - 1] === 0xff || file[end - 1] === 0)) end -= 1
  return file.subarray(0, end)
}

/** RFC 1350 says netascii; clients send UTF-8, some old ones an 8-bit code page. */
function decodeName(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  }
}
