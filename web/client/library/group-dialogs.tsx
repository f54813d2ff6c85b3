/** New, changed, removed, compacted: the dialogs of image groups. */
import { err, ok, type Result } from '../../../src/base/result.ts'
import { parseBytes } from '../../../src/base/units.ts'
import type { Group, GroupChange, Image, Job, Refusal } from '../api.ts'
import { WouldBe } from '../job-result.tsx'
import { Check, Field, said } from '../kit/fields.tsx'
import { Form } from '../kit/form.tsx'
import { hrefOf } from '../route.ts'
import { read } from '../store.ts'
import { text } from '../text.ts'
import { AudienceFields, audienceOf } from './audience.tsx'
import { undoOf } from './undo.ts'

const words = text.groupDialog

function quotaOf(fields: FormData): Result<number | null, Refusal> {
  const quota = said(fields, 'quota')
  if (quota === '') return ok(null)
  const bytes = parseBytes(quota)
  return bytes.ok ? bytes : err(bytes.error)
}

/** As it would be typed: not a byte is lost. */
function quotaText(bytes: number | undefined): string {
  if (bytes === undefined) return ''
  for (const [unit, size] of [
    ['TiB', 2 ** 40],
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const)
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${unit}`
  return String(bytes)
}

function fieldOf({ code, message }: Refusal): string | undefined {
  if (code === 'exists' || code === 'bad-name') return message.includes('machine group') ? 'machineGroups' : 'name'
  if (message.includes('size') || message.includes('quota')) return 'quota'
  return message.includes('audience') || message.includes('public') ? 'audience' : undefined
}

function GroupFields({ group }: { group?: Group }) {
  return (
    <>
      <Field name="name" label={words.name} hint={words.nameHint} value={group?.name} required autofocus />
      <Field name="description" label={words.description} value={group?.description} />
      <Field name="quota" label={words.quota} hint={words.quotaHint} value={quotaText(group?.quotaBytes)} />
      <AudienceFields audience={group?.audience} />
    </>
  )
}

export function NewGroup() {
  return (
    <Form<Group>
      title={words.newTitle}
      button={words.make}
      fieldOf={fieldOf}
      ask={async (api, fields, { dryRun }) => {
        const quotaBytes = quotaOf(fields)
        if (!quotaBytes.ok) return quotaBytes
        return api.newGroup(
          {
            name: said(fields, 'name'),
            description: said(fields, 'description'),
            quotaBytes: quotaBytes.value,
            audience: audienceOf(fields),
          },
          { dryRun },
        )
      }}
      done={(group) => text.notices.groupMade(group.name)}
    >
      <GroupFields />
    </Form>
  )
}

export function EditGroup({ group }: { group: Group }) {
  return (
    <Form<Group>
      title={words.editTitle(group.name)}
      button={text.save}
      fieldOf={fieldOf}
      ask={async (api, fields, { dryRun }) => {
        const quotaBytes = quotaOf(fields)
        if (!quotaBytes.ok) return quotaBytes
        const wanted: GroupChange = {
          name: said(fields, 'name'),
          description: said(fields, 'description'),
          quotaBytes: quotaBytes.value,
          audience: audienceOf(fields),
        }
        return api.setGroup(group.name, wanted, { dryRun })
      }}
      done={(now) => {
        const { room, below } = read().route
        if (room === 'library' && below === group.name && now.name !== group.name)
          location.replace(hrefOf({ room, below: now.name }))
        return text.notices.groupChanged(now.name)
      }}
    >
      <GroupFields group={group} />
    </Form>
  )
}

const NAMED = 8

export function RemoveGroup({ group, images }: { group: Group; images: readonly Image[] }) {
  const say = text.removeGroup
  const open = images.filter((image) => image.public).length
  return (
    <Form<{ readonly name: string }>
      title={say.title}
      button={say.button}
      danger
      ask={async (api, _, { dryRun }) => {
        const removed = await api.removeGroup(group.name, group.images > 0, { dryRun })
        return removed.ok ? ok({ name: group.name }) : removed
      }}
      done={() => {
        if (read().route.below === group.name) location.hash = hrefOf({ room: 'library' })
        return { message: text.notices.inTrash(group.name), action: undoOf('group', group.name) }
      }}
    >
      <p>{say.lead(group.name, group.images)}</p>
      {images.length > 0 && (
        <ul>
          {images.slice(0, NAMED).map((image) => (
            <li key={image.fileName}>
              {image.name} <code>{image.fileName}</code>
            </li>
          ))}
          {images.length > NAMED && <li>{say.more(images.length - NAMED)}</li>}
        </ul>
      )}
      {open > 0 && <p>{say.publicOnes(open)}</p>}
      <p class="muted">{say.stays}</p>
    </Form>
  )
}

export function CompactGroup({ name }: { name: string }) {
  const say = text.compactDialog
  return (
    <Form<Job>
      title={say.title(name)}
      button={say.button}
      ask={(api, fields, { dryRun }) => api.compact(name, fields.get('all') === null ? {} : { all: true }, { dryRun })}
      would={(job) => <WouldBe job={job} />}
      lookFirst
      done={(job) => text.notices.jobStarted(job.title)}
    >
      <p>{say.lead}</p>
      <Check name="all" label={say.all} />
    </Form>
  )
}
