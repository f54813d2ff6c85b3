import { readFileSync } from 'node:fs'
import { reasonOf } from '../base/log.ts'
import { Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import { done, refusalOf, take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf, type Option, parseOnOff, parseWhole } from './args.ts'
import { type Command, type Context, must } from './command.ts'
import { exportCommand } from './export.ts'
import { castText, MULTICAST, multicast } from './multicast.ts'
import { safe, table } from './print.ts'
import { describe, SELECT, selected, showOne, visibleTo } from './select.ts'

/** What an operator says of an image, when it is imported and later. */
export const PROPERTIES: Readonly<Record<string, Option>> = {
  version: { placeholder: 'V', doc: 'your own version of it' },
  comment: { placeholder: 'C', doc: 'a comment' },
  architecture: { placeholder: 'ARCH|auto', doc: 'x86, x64, arm, arm64; auto: as the image says' },
  language: { placeholder: 'L|auto', doc: 'such as de-DE; auto: as the image says' },
  'display-order': { placeholder: 'N|auto', doc: 'ascending in menus; auto: the middle, 50' },
  unattend: { placeholder: 'FILE', doc: 'an answer file for it' },
}

/** As the API takes them; what is not given is left out. */
export function properties(args: Context['args']) {
  const text = (name: string): string | null | undefined => (args.text(name) === 'auto' ? null : args.text(name))
  const architecture = text('architecture')
  const language = text('language')
  const order = text('display-order')
  const displayOrder = order === null ? null : must(parseWhole('display-order', order))
  const version = args.text('version')
  const comment = args.text('comment')
  const file = args.text('unattend')
  return {
    ...(version === undefined ? {} : { version }),
    ...(comment === undefined ? {} : { comment }),
    ...(architecture === undefined ? {} : { architecture }),
    ...(language === undefined ? {} : { language }),
    ...(displayOrder === undefined ? {} : { displayOrder }),
    ...(file === undefined ? {} : { unattend: must(readUnattend(file)) }),
  }
}

/** UTF-8, or UTF-16 with its mark, as Windows editors write it. */
function readUnattend(file: string): Result<string> {
  try {
    const bytes = readFileSync(file)
    if (bytes.length > 4 << 20) return refuse('bad-unattend', `"${file}" is no answer file: it is too large`, '')
    const encoding =
      bytes[0] === 0xff && bytes[1] === 0xfe
        ? 'utf-16le'
        : bytes[0] === 0xfe && bytes[1] === 0xff
          ? 'utf-16be'
          : 'utf-8'
    return ok(new TextDecoder(encoding, { fatal: true }).decode(bytes))
  } catch (error) {
    return refuse('bad-path', `"${file}" cannot be read: ${reasonOf(error)}`, 'Name a readable answer file.')
  }
}

export const imageCommands: readonly Command[] = [
  {
    words: 'image list',
    operands: [],
    doc: 'list install images',
    options: {
      group: { placeholder: 'G', doc: 'of this group only' },
      name: { placeholder: 'N', doc: 'of this name' },
      file: { placeholder: 'F', doc: 'of this file name' },
      architecture: { placeholder: 'ARCH', doc: 'x86, x64, arm or arm64' },
      language: { placeholder: 'L', doc: 'such as de-DE' },
      enabled: { placeholder: 'on|off', doc: 'offered to clients, or not' },
      public: { placeholder: 'on|off', doc: 'served over plain HTTP and TFTP, or not' },
      search: { placeholder: 'TEXT', doc: 'part of name, description, version, comment or file name' },
    },
    run: async ({ appliance, args, out }) => {
      const texts = ['group', 'name', 'file', 'architecture', 'language', 'search'].flatMap((name) => {
        const text = args.text(name)
        return text === undefined ? [] : [[name, text] as const]
      })
      const flags = ['enabled', 'public'].flatMap((name) => {
        const on = must(parseOnOff(name, args.text(name)))
        return on === undefined ? [] : [[name, on ? 'true' : 'false'] as const]
      })
      const images = await take(appliance.api.images.$get({ query: Object.fromEntries([...texts, ...flags]) }))
      const rows = images.map((image) => [
        safe(image.group),
        safe(image.name),
        safe(image.fileName),
        image.architecture ?? '',
        safe(image.version || (image.facts.version ?? '')),
        formatBytes(image.sizeBytes),
        [
          ...(image.enabled ? [] : ['disabled']),
          ...(image.public ? ['public'] : []),
          ...(image.bootDefault ? ['default'] : []),
          ...(image.audience ? ['limited'] : []),
        ].join(' '),
      ])
      out.result(
        images,
        table(
          [
            { title: 'GROUP' },
            { title: 'IMAGE' },
            { title: 'FILE' },
            { title: 'ARCH' },
            { title: 'VERSION' },
            { title: 'SIZE', right: true },
            { title: 'STATE' },
          ],
          rows,
        ),
      )
    },
  },
  {
    words: 'image show',
    operands: ['NAME'],
    doc: 'show one',
    options: SELECT,
    run: async ({ appliance, args, out }) => {
      const image = await showOne(appliance, selected(args))
      out.result(image, describe(image))
    },
  },
  {
    words: 'image remove',
    operands: ['NAME'],
    doc: 'put one into the trash',
    options: { ...SELECT, ...DRY_RUN },
    run: async ({ appliance, args, out }) => {
      const { param, query } = selected(args)
      await done(appliance.api.images[':name'].$delete({ param, query: { ...query, ...dryRunOf(args) } }))
      out.result({ removed: args.operands[0] }, `image "${safe(args.operands[0] ?? '')}" is in the trash`)
    },
  },
  {
    words: 'image undo',
    operands: ['NAME'],
    doc: 'put one back to the version before it was replaced',
    options: { ...SELECT, ...DRY_RUN },
    run: async ({ appliance, args, out }) => {
      const { param, query } = selected(args)
      const item = await take(
        appliance.api.images[':name'].undo.$post({ param, query: { ...query, ...dryRunOf(args) } }),
      )
      out.result(item, `image "${safe(item.title)}" is the earlier version; what it was lies in the trash`)
    },
  },
  {
    words: 'image set',
    operands: ['NAME'],
    doc: 'change what is said of it, who gets it, and its answer file',
    options: {
      ...SELECT,
      name: { placeholder: 'N', doc: 'a new name' },
      description: { placeholder: 'D', doc: 'a new description' },
      'file-name': { placeholder: 'F', doc: 'a new file name' },
      public: { placeholder: 'on|off', doc: 'served over plain HTTP and TFTP' },
      'boot-default': { placeholder: 'on|off', doc: 'what machines of its architecture get when nothing is chosen' },
      'visible-to': { placeholder: 'WHO', doc: 'everybody, or roles and machine groups: operator,machine:Lab 1' },
      ...PROPERTIES,
      'no-unattend': { doc: 'take its answer file away' },
      'overwrite-unattend': { doc: 'replace or take away an answer file that is there' },
      ...DRY_RUN,
    },
    run: async ({ appliance, args, out }) => {
      const isPublic = must(parseOnOff('public', args.text('public')))
      const bootDefault = must(parseOnOff('boot-default', args.text('boot-default')))
      const fileName = args.text('file-name')
      const name = args.text('name')
      const description = args.text('description')
      const json = {
        ...(name === undefined ? {} : { name }),
        ...(description === undefined ? {} : { description }),
        ...(fileName === undefined ? {} : { fileName }),
        ...(isPublic === undefined ? {} : { public: isPublic }),
        ...(bootDefault === undefined ? {} : { bootDefault }),
        ...visibleTo(args),
        ...properties(args),
        ...(args.flag('no-unattend') ? { unattend: null } : {}),
        ...(args.flag('overwrite-unattend') ? { overwriteUnattend: true } : {}),
      }
      if (Object.keys(json).length === 0)
        must(refuse('bad-request', 'nothing to change is named', 'See wimcast image set --help for what can be.'))
      const { param, query } = selected(args)
      const image = await take(
        appliance.api.images[':name'].$patch({ param, query: { ...query, ...dryRunOf(args) }, json }),
      )
      out.result(image, describe(image))
    },
  },
  ...[true, false].map(
    (enabled): Command => ({
      words: enabled ? 'image enable' : 'image disable',
      operands: ['NAME'],
      doc: enabled ? 'offer one to clients' : 'offer one to nobody; what runs goes on',
      options: { ...SELECT, ...DRY_RUN },
      run: async ({ appliance, args, out }) => {
        const { param, query } = selected(args)
        const image = await take(
          appliance.api.images[':name'].$patch({
            param,
            query: { ...query, ...dryRunOf(args) },
            json: { enabled },
          }),
        )
        out.result(image, `image "${safe(image.name)}" is ${enabled ? 'enabled' : 'disabled'}`)
      },
    }),
  ),
  {
    words: 'image unattend',
    operands: ['NAME'],
    doc: 'print its answer file, which may hold passwords',
    options: SELECT,
    run: async ({ appliance, args, out }) => {
      const { param, query } = selected(args)
      const text = new URLSearchParams(query).toString()
      const response = await appliance.raw.fetch(`/api/images/${param.name}/unattend?${text}`)
      if (!response.ok) throw new Refused(await refusalOf(response))
      const unattend = await response.text()
      out.result({ unattend }, unattend)
    },
  },
  {
    words: 'image copy',
    operands: ['NAME'],
    doc: 'copy within the group; takes no space',
    options: {
      ...SELECT,
      'new-name': { placeholder: 'N', doc: 'the name of the copy' },
      'new-file-name': { placeholder: 'F', doc: 'its file name' },
      'new-description': { placeholder: 'D', doc: 'its description' },
      ...MULTICAST,
      ...DRY_RUN,
    },
    run: async ({ appliance, args, out }) => {
      const newName = args.text('new-name')
      const newFileName = args.text('new-file-name')
      const newDescription = args.text('new-description')
      if (newName === undefined || newFileName === undefined)
        must(
          refuse(
            'bad-request',
            'a copy needs --new-name and --new-file-name',
            'Both must differ from what the group has.',
          ),
        )
      const json = {
        newName: newName ?? '',
        newFileName: newFileName ?? '',
        ...(newDescription === undefined ? {} : { newDescription }),
        ...multicast(args),
      }
      const { param, query } = selected(args)
      const copy = await take(
        appliance.api.images[':name'].copies.$post({ param, query: { ...query, ...dryRunOf(args) }, json }),
      )
      out.result(copy, `copied to "${safe(copy.name)}" (${safe(copy.fileName)}), 0 bytes stored${castText(copy)}`)
    },
  },
  exportCommand,
]
