/** How a job ended, in words: results are facts of the rooms that ran it (src/library, src/backup). */
import { useSyncExternalStore } from 'hono/jsx/dom'
import type { Job } from './api.ts'
import { Bar } from './kit/bar.tsx'
import { RefusalNote } from './kit/refusal.tsx'
import { read, subscribe } from './store.ts'
import { text } from './text.ts'

const words = text.jobs

type Facts = Readonly<Record<string, unknown>>

const number = (value: unknown): number => (typeof value === 'number' ? value : 0)
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const nameOf = (value: unknown): string =>
  typeof value === 'object' && value !== null && 'name' in value ? String(value.name) : String(value)

function importWords(result: Facts): string[] {
  const { images, group, image, blobs, newBlobs, storedBytes, transmissions, dryRun } = result
  const names = list(images).map(nameOf)
  if (dryRun === true)
    return [
      text.importDialog.would(names, String(group)),
      text.importDialog.wouldAdd(number(newBlobs), number(blobs), number(storedBytes), result['estimated'] === true),
      ...(result['converts'] === true ? [text.importDialog.wouldConvert] : []),
    ]
  const casts = list(transmissions).map(nameOf)
  return [
    typeof image === 'string' ? words.replaced(image) : words.imported(names, typeof group === 'string' ? group : ''),
    ...(typeof blobs === 'number' ? [words.added(number(newBlobs), blobs, number(storedBytes))] : []),
    ...(casts.length > 0 ? [words.castsToo(casts)] : []),
  ]
}

function compactWords({ freedBytes, segments, rewrittenBytes, heldBytes }: Facts): string[] {
  const held = number(heldBytes)
  return [
    text.compactDialog.frees(number(freedBytes), number(segments), number(rewrittenBytes)),
    ...(held > 0 ? [text.compactDialog.held(held)] : []),
  ]
}

function repairWords(result: Facts): string[] {
  const groups = list(result['groups']) as readonly Facts[]
  const sum = (key: string): number => groups.reduce((all, group) => all + number(group[key]), 0)
  const names = groups.flatMap((group) => list(group['lacking']).map(nameOf))
  const lacking = sum('lackingContents')
  return [
    text.upkeep.repaired(sum('repaired'), sum('bytes')),
    ...(lacking > 0 ? [text.upkeep.stillLacking(lacking, names)] : []),
  ]
}

function wordsOf(kind: string, result: Facts): string[] {
  switch (kind) {
    case 'image.import':
    case 'image.replace':
    case 'import':
      return importWords(result)
    case 'group.compact':
      return compactWords(result)
    case 'library.scrub':
      return [text.upkeep.checked(number(result['segments']), number(result['bytes']), number(result['damaged']))]
    case 'library.repair':
      return repairWords(result)
    case 'backup.create':
      return [text.upkeep.backupMade(String(result['name'] ?? words.dryRun), number(result['sizeBytes']))]
    case 'image.export':
      return [words.exported(String(result['image']), String(result['file']))]
    default:
      return [
        Object.entries(result)
          .map(([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
          .join(' · '),
      ]
  }
}

export function JobResult({ job }: { job: Job }) {
  if (!job.result) return null
  return <p class="small">{wordsOf(job.kind, job.result).join(' ')}</p>
}

export function JobBar({ job }: { job: Job }) {
  const known = job.totalBytes > 0
  return (
    <Bar label={words.progress(job.title)} value={job.doneBytes} max={job.totalBytes}>
      <span>{job.step}</span>
      {known && <span class="muted">{words.doneOf(job.doneBytes, job.totalBytes)}</span>}
    </Bar>
  )
}

/** What a dry run that is a job of its own says, as soon as it has ended. `job`: as it was when it was asked for. */
export function WouldBe({ job }: { job: Job }) {
  const { jobs } = useSyncExternalStore(subscribe, read)
  const now = jobs.find(({ id }) => id === job.id) ?? job
  if (now.error) return <RefusalNote refusal={now.error} />
  if (now.result)
    return (
      <ul>
        {wordsOf(now.kind, now.result).map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    )
  return (
    <>
      <p class="muted">{text.would.running}</p>
      <JobBar job={now} />
    </>
  )
}
