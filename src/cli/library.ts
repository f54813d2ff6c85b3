import { resolve } from 'node:path'
import { hc } from 'hono/client'
import type { repairRoutes, upkeepRoutes } from '../api/upkeep.ts'
import { formatBytes } from '../base/units.ts'
import type { RepairResult } from '../library/health/repair.ts'
import type { LackingImage, ScrubResult } from '../library/health/scrub.ts'
import { type ApplianceClient, take } from './appliance-client.ts'
import { DRY_RUN, dryRunOf } from './args.ts'
import type { Command } from './command.ts'
import { withSource } from './import.ts'
import { follow } from './jobs.ts'
import { safe, table, when } from './print.ts'

const upkeep = (appliance: ApplianceClient) =>
  hc<ReturnType<typeof upkeepRoutes>>(`${appliance.raw.base}/api`, { fetch: appliance.raw.fetch })
const repairs = (appliance: ApplianceClient) =>
  hc<ReturnType<typeof repairRoutes>>(`${appliance.raw.base}/api`, { fetch: appliance.raw.fetch })

const GROUP = { group: { placeholder: 'G', doc: 'this group only' } } as const
/** People read the first few; --json has all. */
const SHOWN = 20

const counted = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`

function lackingLines(lacking: readonly LackingImage[]): string[] {
  return lacking.map(
    ({ group, name, fileName, inTrash, contents }) =>
      `  ${safe(group)}/${safe(fileName)} "${safe(name)}"${inTrash ? ' (in the trash)' : ''} lacks ${counted(contents, 'content')}`,
  )
}

function some(lines: readonly string[]): string[] {
  return lines.length <= SHOWN ? [...lines] : [...lines.slice(0, SHOWN), `  and ${lines.length - SHOWN} more (--json)`]
}

function scrubText({ segments, bytes, damaged, bad, lacking, unchecked }: ScrubResult): string {
  const checked = `${counted(segments, 'segment')}, ${formatBytes(bytes)} checked`
  if (damaged === 0 && lacking.length === 0 && unchecked.length === 0) return `${checked}: all right`
  const lines = [`${checked}: ${counted(damaged, 'damaged content or file', 'damaged contents or files')}`]
  const badLines = bad.map(({ group, file, sha1, images }) => {
    const needed = images.length === 0 ? 'needed by no image' : `needed by ${safe(images.join(', '))}`
    return `  ${safe(group)}/${safe(file)}: ${sha1 === '' ? 'the file as a whole' : sha1}, ${needed}`
  })
  lines.push(...some(badLines))
  for (const { group, file, reason } of unchecked)
    lines.push(`  ${safe(group)}/${safe(file)} not checked: ${safe(reason)}`)
  lines.push(...verdict(lacking))
  return lines.join('\n')
}

function verdict(lacking: readonly LackingImage[]): string[] {
  if (lacking.length === 0) return ['Good copies are left of all that images need.']
  return [
    `${counted(lacking.length, 'image')} cannot be had whole:`,
    ...some(lackingLines(lacking)),
    'Bring back what is lacking: wimcast library repair FILE, or import the images again.',
  ]
}

function repairText({ groups, dryRun }: RepairResult): string {
  if (groups.length === 0) return 'nothing to repair'
  return groups
    .flatMap(({ group, repaired, bytes, from, dropped, lackingContents, lacking }) => [
      `${safe(group)}: ${counted(repaired, 'content')} ${dryRun ? 'would be repaired' : 'repaired'} (${formatBytes(bytes)})`,
      ...some(from.map(({ where, contents }) => `  ${counted(contents, 'content')} from ${safe(where)}`)),
      ...(dropped > 0 ? [`  ${counted(dropped, 'unreadable file')} let go`] : []),
      ...(lackingContents > 0
        ? [`  ${counted(lackingContents, 'content')} found nowhere`, ...some(lackingLines(lacking))]
        : []),
    ])
    .join('\n')
}

export const libraryCommands: readonly Command[] = [
  {
    words: 'library scrub',
    operands: [],
    doc: 'read and check every stored content',
    options: { ...GROUP, ...DRY_RUN },
    run: async ({ appliance, args, out, signal }) => {
      const group = args.text('group')
      const json = group === undefined ? {} : { group }
      const { id } = await take(upkeep(appliance).library.scrubs.$post({ query: dryRunOf(args), json }))
      const job = await follow(appliance, id, { out, signal })
      out.result(job.result, scrubText(job.result as ScrubResult))
    },
  },
  {
    words: 'library health',
    operands: [],
    doc: 'say when everything was checked, and what is damaged',
    options: {},
    run: async ({ appliance, out }) => {
      const health = await take(upkeep(appliance).library.health.$get())
      const rows = health.groups.map(({ group, segments, lastScrubAtMs, damaged, lacking }) => [
        safe(group),
        String(segments),
        segments === 0 ? '-' : lastScrubAtMs === undefined ? 'never' : when(lastScrubAtMs),
        String(damaged),
        String(lacking.length),
      ])
      const columns = [
        { title: 'GROUP' },
        { title: 'SEGMENTS', right: true },
        { title: 'ALL CHECKED SINCE' },
        { title: 'DAMAGED', right: true },
        { title: 'IMAGES LACKING', right: true },
      ]
      const isDamaged = health.groups.some(({ damaged, lacking }) => damaged > 0 || lacking.length > 0)
      const lines = [
        table(columns, rows),
        ...(isDamaged ? verdict(health.groups.flatMap(({ lacking }) => lacking)) : []),
        ...(health.scrubJobId === undefined ? [] : [`job ${health.scrubJobId} checks now`]),
      ]
      out.result(health, lines.join('\n'))
    },
  },
  {
    words: 'library repair',
    operands: ['[FILE]'],
    doc: 'bring good copies of damaged contents back: from segments, other groups, or a WIM file',
    options: { ...GROUP, ...DRY_RUN },
    run: async (context) => {
      const { appliance, args, out, signal } = context
      const group = args.text('group')
      const query = dryRunOf(args)
      const named = group === undefined ? {} : { group }
      const start = (source: object) =>
        take(repairs(appliance).library.repairs.$post({ query, json: { ...named, ...source } }))
      const check = async (): Promise<void> => {
        if (group !== undefined)
          await take(appliance.api.groups[':name'].$get({ param: { name: encodeURIComponent(group) } }))
      }
      const file = args.operands[0] === undefined ? undefined : resolve(args.operands[0])
      const { job } =
        file === undefined
          ? { job: await follow(appliance, (await start({})).id, { out, signal }) }
          : await withSource(context, file, { start, check })
      out.result(job.result, repairText(job.result as RepairResult))
    },
  },
  {
    words: 'group sharing',
    operands: ['NAME'],
    doc: 'show what sharing saves, by image',
    options: {},
    run: async ({ appliance, args, out }) => {
      const report = await take(
        upkeep(appliance).groups[':name'].sharing.$get({ param: { name: encodeURIComponent(args.operands[0] ?? '') } }),
      )
      const rows = report.images.map(({ name, fileName, inTrash, sizeBytes, ownBytes, sharedBytes, savedBytes }) => [
        safe(name) + (inTrash ? ' (in the trash)' : ''),
        safe(fileName),
        formatBytes(sizeBytes),
        formatBytes(ownBytes),
        formatBytes(sharedBytes),
        formatBytes(savedBytes),
      ])
      const columns = [
        { title: 'IMAGE' },
        { title: 'FILE' },
        { title: 'AS FILE', right: true },
        { title: 'OWN', right: true },
        { title: 'SHARED', right: true },
        { title: 'SAVED', right: true },
      ]
      const { storedBytes, apparentBytes, savedBytes, trashBytes, reclaimableBytes } = report
      const summary = [
        `${formatBytes(storedBytes)} stored, ${formatBytes(apparentBytes)} as files of their own, ${formatBytes(savedBytes)} saved`,
        `${formatBytes(trashBytes)} in the trash, ${formatBytes(reclaimableBytes)} that a compaction gives back`,
      ]
      out.result(report, [table(columns, rows), ...summary].join('\n'))
    },
  },
]
