/** How commands name an image, and how one is described. */
import { formatBytes } from '../base/units.ts'
import { type ApplianceClient, take } from './appliance-client.ts'
import { audienceText, type Option, parseVisibleTo } from './args.ts'
import { type Context, must } from './command.ts'
import { facts, safe, when } from './print.ts'

export const SELECT: Readonly<Record<string, Option>> = {
  group: { placeholder: 'G', doc: 'its group; may be left out while there is exactly one' },
  file: { placeholder: 'F', doc: 'its file name, where the image name is not unique' },
}

/** `{ audience: … }` for the API, or nothing when it is to stay. */
export function visibleTo(args: Context['args']) {
  const audience = must(parseVisibleTo(args.text('visible-to')))
  if (audience === undefined) return {}
  return { audience: audience && { roles: [...audience.roles], machineGroups: [...audience.machineGroups] } }
}

export type Selected = {
  readonly param: { readonly name: string }
  readonly query: { readonly group?: string; readonly file?: string }
}

export function selected(args: Context['args']): Selected {
  const group = args.text('group')
  const file = args.text('file')
  return {
    param: { name: encodeURIComponent(args.operands[0] ?? '') },
    query: { ...(group === undefined ? {} : { group }), ...(file === undefined ? {} : { file }) },
  }
}

export type Image = Awaited<ReturnType<typeof showOne>>

export async function showOne(appliance: ApplianceClient, which: Selected) {
  return take(appliance.api.images[':name'].$get(which))
}

export function describe(image: Image): string {
  const { facts: said } = image
  return facts([
    ['image', safe(image.name)],
    ['description', safe(image.description)],
    ['group', safe(image.group)],
    ['file', safe(image.fileName)],
    [
      'size',
      `${formatBytes(image.sizeBytes)} as a file, ${formatBytes(said.totalBytes)} on disk, ${formatBytes(said.hardLinkBytes)} of it hard links`,
    ],
    ['state', image.enabled ? 'enabled' : 'disabled: not offered to clients'],
    ['version', safe(image.version)],
    ['comment', safe(image.comment)],
    ['architecture', image.architecture],
    ['language', image.language && safe(image.language)],
    ['display order', image.displayOrder === undefined ? undefined : String(image.displayOrder)],
    ['boot default', image.bootDefault ? `yes, of ${image.architecture ?? 'its architecture'}` : undefined],
    ['answer file', image.hasUnattend ? 'yes' : undefined],
    ['visible to', safe(audienceText(image.audience))],
    ['edition', said.editionId && safe(said.editionId)],
    ['Windows version', said.version && safe(said.version)],
    [
      'languages',
      said.languages
        .map((language) => (language === said.defaultLanguage ? `${safe(language)} (default)` : safe(language)))
        .join(', '),
    ],
    ['contents', `${said.fileCount} files, ${said.directoryCount} directories`],
    ['public', image.public ? 'yes: served over plain HTTP and TFTP' : 'no'],
    ['served at', `/${safe(image.path)}`],
    ['imported', when(image.createdAtMs)],
  ])
}
