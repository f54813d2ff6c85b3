/** What groups, images and files may be called. Parsed once at the door; inside, a name is a name. */
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { isXmlText } from '../wim/xml.ts'

const MAX_NAME_CHARS = 255
const MAX_DESCRIPTION_CHARS = 4096
/** ext4 and NTFS end at 255 bytes and units; the name must also fit an HTTP header and a folder. */
const MAX_FILE_NAME_BYTES = 200

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not pass
const NOT_IN_FILE_NAMES = /[<>:"/\\|?*\u0000-\u001f\u007f]/

/** Devices of DOS, with any ending: https://learn.microsoft.com/windows/win32/fileio/naming-a-file */
const RESERVED = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)/i

function bad(what: string, text: string, why: string, hint: string): Result<never> {
  return refuse('bad-name', `the ${what} ${JSON.stringify(text.slice(0, 80))} ${why}`, hint)
}

/** Group and file names become parts of URLs and of paths on machines that boot: what Windows refuses is refused here. */
function parsePathName(what: string, text: string): Result<string> {
  const name = text.trim().normalize('NFC')
  if (name === '') return bad(what, text, 'is empty', 'Give it a name.')
  if (!name.isWellFormed() || NOT_IN_FILE_NAMES.test(name))
    return bad(
      what,
      name,
      'has a character that paths cannot carry',
      'Leave out < > : " / \\ | ? * and control characters.',
    )
  if (name === '.' || name === '..' || name.endsWith('.'))
    return bad(what, name, 'ends with a dot', 'Windows drops a dot at the end: leave it out.')
  if (RESERVED.test(name)) return bad(what, name, 'is a device on Windows', 'Choose another one.')
  if (Buffer.byteLength(name) > MAX_FILE_NAME_BYTES)
    return bad(what, name, `is longer than ${MAX_FILE_NAME_BYTES} bytes`, 'Choose a shorter one.')
  return ok(name)
}

export function parseGroupName(text: string): Result<string> {
  return parsePathName('group name', text)
}

/** A view is always a .wim, whatever its source was: the ending is added where it is missing. */
export function parseFileName(text: string): Result<string> {
  if (/^\s*(\.wim)?\s*$/i.test(text)) return bad('file name', text, 'is empty', 'Give it a name.')
  return parsePathName('file name', /\.wim$/i.test(text.trim()) ? text : `${text.trim()}.wim`)
}

export function parseImageName(text: string): Result<string> {
  const name = text.trim()
  if (name === '') return bad('image name', text, 'is empty', 'Give it a name with --name.')
  // As a part of a path these mean a folder (RFC 3986 §5.2.4): the API could not name such an image.
  if (name === '.' || name === '..')
    return bad('image name', name, 'is a folder in paths', 'Give it another name with --name.')
  if (name.length > MAX_NAME_CHARS)
    return bad('image name', name, `is longer than ${MAX_NAME_CHARS} characters`, 'Choose a shorter one.')
  if (!isXmlText(name) || /[\n\r\t]/.test(name))
    return bad('image name', name, 'has control characters', 'Leave them out.')
  return ok(name)
}

export function parseDescription(text: string): Result<string> {
  if (text.length > MAX_DESCRIPTION_CHARS)
    return bad('description', text, `is longer than ${MAX_DESCRIPTION_CHARS} characters`, 'Shorten it.')
  if (!isXmlText(text)) return bad('description', text, 'has control characters', 'Leave them out.')
  return ok(text)
}

/** `install.esd` -> `install.wim`; the images of one file after the first get their index: `install-2.wim`. */
export function defaultFileName(sourceName: string, index: number | undefined): string {
  const stem =
    sourceName.replace(/\.(wim|esd|swm)$/i, '').replaceAll(new RegExp(NOT_IN_FILE_NAMES, 'g'), '_') || 'image'
  return index === undefined ? `${stem}.wim` : `${stem}-${index}.wim`
}
