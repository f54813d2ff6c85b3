/** What groups, images and files may be called. Parsed once at the door; inside, a name is a name. */
import { foldCase } from '../base/fold.ts'
import { type Audience, ROLES } from '../base/principal.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { type Architecture, isXmlText } from '../wim/xml.ts'

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

/** The organisation's own version of an image: any short text. */
export function parseVersion(text: string): Result<string> {
  const version = text.trim()
  if (version.length > MAX_NAME_CHARS)
    return bad('version', version, `is longer than ${MAX_NAME_CHARS} characters`, 'Shorten it.')
  if (!isXmlText(version) || /[\n\r\t]/.test(version))
    return bad('version', version, 'has control characters', 'Leave them out.')
  return ok(version)
}

export function parseComment(text: string): Result<string> {
  if (text.length > MAX_DESCRIPTION_CHARS)
    return bad('comment', text, `is longer than ${MAX_DESCRIPTION_CHARS} characters`, 'Shorten it.')
  if (!isXmlText(text)) return bad('comment', text, 'has control characters', 'Leave them out.')
  return ok(text)
}

export const ARCHITECTURES = ['x86', 'x64', 'arm', 'arm64', 'ia64'] as const satisfies readonly Architecture[]

export function parseArchitecture(text: string): Result<Architecture> {
  const found = ARCHITECTURES.find((known) => known === text.trim().toLowerCase())
  return found ? ok(found) : bad('architecture', text, 'is unknown', `It is one of ${ARCHITECTURES.join(', ')}.`)
}

/** A language tag as Windows writes them: `de-DE` (BCP 47). */
export function parseLanguage(text: string): Result<string> {
  try {
    const [tag] = text.length <= 64 ? Intl.getCanonicalLocales(text.trim()) : []
    if (tag !== undefined) return ok(tag)
  } catch {
    // Not well-formed: said below.
  }
  return bad('language', text, 'is no language tag', 'Write it as Windows does: de-DE, en-US.')
}

const MAX_DISPLAY_ORDER = 1_000_000

export function parseDisplayOrder(order: number): Result<number> {
  if (Number.isInteger(order) && order >= 0 && order <= MAX_DISPLAY_ORDER) return ok(order)
  return bad('display order', String(order), 'is out of range', `It is a whole number from 0 to ${MAX_DISPLAY_ORDER}.`)
}

/** Each role and each machine group once. Nobody at all is a mistake: admins would be the only ones. */
export function parseAudience(audience: Audience): Result<Audience> {
  const roles = ROLES.filter((role) => audience.roles.includes(role))
  const machineGroups: string[] = []
  for (const text of audience.machineGroups) {
    const name = parsePathName('machine group', text)
    if (!name.ok) return name
    if (!machineGroups.some((known) => foldCase(known) === foldCase(name.value))) machineGroups.push(name.value)
  }
  if (machineGroups.length > 100)
    return refuse('bad-request', `${machineGroups.length} machine groups are named`, 'Name at most 100.')
  if (roles.length + machineGroups.length === 0)
    return refuse(
      'bad-request',
      'the audience is empty',
      'Name roles or machine groups; admin alone is --visible-to admin.',
    )
  return ok({ roles, machineGroups })
}

/** `install.esd` -> `install.wim`; the images of one file after the first get their index: `install-2.wim`. */
export function defaultFileName(sourceName: string, index: number | undefined): string {
  const stem =
    sourceName.replace(/\.(wim|esd|swm)$/i, '').replaceAll(new RegExp(NOT_IN_FILE_NAMES, 'g'), '_') || 'image'
  return index === undefined ? `${stem}.wim` : `${stem}-${index}.wim`
}
