/** Upkeep: whether what is stored is sound, what to do when it is not, and backups of the rest. */
import { ok } from '../../src/base/result.ts'
import type { Backup, Group, GroupHealth, Health, Job } from './api.ts'
import { download } from './download.ts'
import { WouldBe } from './job-result.tsx'
import { JobRow } from './jobs.tsx'
import { Badge, Button, Section, When } from './kit/facts.tsx'
import { Form } from './kit/form.tsx'
import { Menu } from './kit/menu.tsx'
import { Subject, Table } from './kit/table.tsx'
import { CompactGroup } from './library/group-dialogs.tsx'
import { useSent } from './library/sent.ts'
import { SharingButton, SharingSheet } from './library/sharing.tsx'
import { SourceFields, sourceFieldOf, startFrom } from './library/source.tsx'
import { hrefOf } from './route.ts'
import { act } from './session.ts'
import { show } from './store.ts'
import { text } from './text.ts'

const words = text.upkeep

type Props = {
  readonly groups: readonly Group[] | undefined
  readonly health: Health | undefined
  readonly backups: readonly Backup[] | undefined
  readonly jobs: readonly Job[]
  readonly canOperate: boolean
  readonly isAdmin: boolean
}

const KINDS = ['library.scrub', 'library.repair', 'group.compact']
const BACKUP = 'backup.create'

export function UpkeepRoom({ groups, health, backups, jobs, canOperate, isAdmin }: Props) {
  const ours = jobs.filter(({ kind }) => KINDS.includes(kind))
  const running = ours.filter(({ endedAtMs }) => endedAtMs === undefined)
  const last = ours.find(({ endedAtMs }) => endedAtMs !== undefined)
  const hurt = health?.groups.filter((group) => group.damaged > 0 || group.lacking.length > 0) ?? []
  return (
    <>
      <Section
        id="health"
        title={words.title}
        about={words.healthAbout}
        actions={
          canOperate &&
          groups &&
          groups.length > 0 && (
            <>
              <Button onClick={() => show(() => <Repair />)}>{words.repair}</Button>
              <Button look="main" busy={health?.scrubJobId !== undefined} onClick={() => check(undefined)}>
                {words.checkAll}
              </Button>
            </>
          )
        }
      >
        {(running.length > 0 || last) && (
          <ul class="card rows">
            {[...running, ...(running.length === 0 && last ? [last] : [])].map((job) => (
              <JobRow key={job.id} job={job} canOperate={canOperate} />
            ))}
          </ul>
        )}
        <div class="card">
          {!health && <p class="muted">{words.loading}</p>}
          {health && health.groups.length === 0 && <p class="muted">{text.library.emptyTitle}.</p>}
          {health && health.groups.length > 0 && <HealthTable health={health} canOperate={canOperate} />}
        </div>
        {hurt.map((group) => (
          <Damage key={group.group} group={group} jobs={jobs} canOperate={canOperate} />
        ))}
      </Section>
      {isAdmin && <Backups backups={backups} jobs={jobs.filter(({ kind }) => kind === BACKUP)} />}
    </>
  )
}

function check(group: string | undefined): void {
  act(
    (api) => api.scrub(group),
    (job) => text.notices.jobStarted(job.title),
  )
}

function HealthTable({ health, canOperate }: { health: Health; canOperate: boolean }) {
  const { columns } = words
  return (
    <Table
      kind="health"
      label={words.table}
      rows={health.groups}
      keyOf={({ group }) => group}
      columns={[
        {
          title: columns.group,
          cell: ({ group }) => <Subject name={<a href={hrefOf({ room: 'library', below: group })}>{group}</a>} />,
        },
        {
          title: columns.last,
          cell: ({ lastScrubAtMs }) =>
            lastScrubAtMs === undefined ? words.never : <When ms={lastScrubAtMs}>{text.when(lastScrubAtMs)}</When>,
        },
        { title: columns.found, cell: (group) => <Found group={group} /> },
        { title: columns.segments, kind: 'number', cell: ({ segments }) => text.count(segments) },
        {
          title: columns.actions,
          kind: 'actions',
          cell: ({ group }) => (
            <>
              {canOperate && (
                <Button name={text.library.actionOn(words.check, group)} onClick={() => check(group)}>
                  {words.check}
                </Button>
              )}
              {canOperate ? (
                <Menu
                  label={text.library.more}
                  name={text.library.actionOn(text.library.more, group)}
                  items={[
                    { label: words.repair, run: () => show(() => <Repair group={group} />) },
                    { label: words.compact, run: () => show(() => <CompactGroup name={group} />) },
                    { label: words.sharing, run: () => show(() => <SharingSheet name={group} />) },
                  ]}
                />
              ) : (
                <SharingButton name={group} />
              )}
            </>
          ),
        },
      ]}
    />
  )
}

function Found({ group }: { group: GroupHealth }) {
  if (group.lacking.length > 0) return <Badge kind="failed">{words.lackingImages(group.lacking.length)}</Badge>
  if (group.damaged > 0) return <Badge kind="held">{words.damaged(group.damaged)}</Badge>
  if (group.segments > 0 && group.lastScrubAtMs === undefined) return <Badge>{words.unchecked}</Badge>
  return <Badge kind="done">{words.sound}</Badge>
}

/** What lacks a good copy is repaired; damaged copies that nothing is read from go with a compaction. */
function Remedy({ group: { group, lacking } }: { group: GroupHealth }) {
  if (lacking.length === 0)
    return (
      <Button
        name={text.library.actionOn(words.compact, group)}
        onClick={() => show(() => <CompactGroup name={group} />)}
      >
        {words.compact}
      </Button>
    )
  return (
    <Button name={text.library.actionOn(words.repair, group)} onClick={() => show(() => <Repair group={group} />)}>
      {words.repair}
    </Button>
  )
}

type Bad = { readonly group: string; readonly file: string; readonly sha1: string; readonly images: readonly string[] }

/** What the last check found: the books keep the number, its result names each. */
function badOf(group: string, jobs: readonly Job[]): readonly Bad[] {
  const last = jobs.find(({ kind, state }) => kind === 'library.scrub' && state === 'done')
  const bad = last?.result?.['bad']
  return Array.isArray(bad) ? (bad as readonly Bad[]).filter((one) => one.group === group) : []
}

const NAMED = 20

type DamageProps = { readonly group: GroupHealth; readonly jobs: readonly Job[]; readonly canOperate: boolean }

function Damage({ group, jobs, canOperate }: DamageProps) {
  const bad = badOf(group.group, jobs)
  const title = words.damageIn(group.group)
  return (
    <article class="card" aria-label={title}>
      <div class="card-head">
        <h3>{title}</h3>
        {canOperate && <Remedy group={group} />}
      </div>
      <p class="muted">{group.lacking.length === 0 ? words.copiesLeft : words.whatToDo}</p>
      {group.damaged > 0 && bad.length > 0 && (
        <ul>
          {bad.slice(0, NAMED).map(({ file, sha1, images }) => (
            <li key={`${file} ${sha1}`}>
              {sha1 === '' ? words.wholeFile : <code>{sha1}</code>} {words.inFile} <code>{file}</code>
              {images.length > 0 && `: ${words.neededBy(images)}`}
            </li>
          ))}
          {bad.length > NAMED && <li>{words.moreDamage(bad.length - NAMED)}</li>}
        </ul>
      )}
      {group.lacking.length > 0 && (
        <ul>
          {group.lacking.slice(0, NAMED).map((image) => (
            <li key={`${image.fileName} ${image.inTrash}`}>
              <strong>{image.name}</strong> <code>{image.fileName}</code> {words.lacking(image.contents)}{' '}
              {image.inTrash && <Badge>{words.inTrash}</Badge>}
            </li>
          ))}
          {group.lacking.length > NAMED && <li>{words.moreDamage(group.lacking.length - NAMED)}</li>}
        </ul>
      )}
    </article>
  )
}

function Repair({ group }: { group?: string }) {
  const sent = useSent()
  return (
    <Form<Job>
      title={words.repairTitle(group)}
      button={words.repairButton}
      fieldOf={sourceFieldOf}
      ask={(api, fields, how) =>
        startFrom(api, fields, sent, how, (source) =>
          api.repair({ ...(group === undefined ? {} : { group }), ...source }, how),
        )
      }
      would={(job) => <WouldBe job={job} />}
      done={(job) => text.notices.jobStarted(job.title)}
    >
      <p>{words.repairLead}</p>
      <SourceFields sent={sent} whole none={words.repairFrom.none} />
    </Form>
  )
}

type BackupProps = { readonly backups: readonly Backup[] | undefined; readonly jobs: readonly Job[] }

function Backups({ backups, jobs }: BackupProps) {
  const columns = words.backupColumns
  const [last] = jobs
  return (
    <Section
      id="backups"
      title={words.backups}
      about={words.backupsAbout}
      actions={
        <Button
          onClick={() =>
            act(
              (api) => api.newBackup(),
              (job) => text.notices.jobStarted(job.title),
            )
          }
        >
          {words.makeBackup}
        </Button>
      }
    >
      {last && last.state !== 'done' && (
        <ul class="card rows">
          <JobRow job={last} canOperate />
        </ul>
      )}
      {!backups || backups.length === 0 ? (
        <p class="card empty muted">{backups ? words.noBackups : words.loading}</p>
      ) : (
        <div class="card">
          <Table
            kind="backups"
            label={words.backupTable}
            rows={backups}
            keyOf={({ name }) => name}
            columns={[
              { title: columns.name, cell: ({ name }) => <Subject name={name} /> },
              { title: columns.made, cell: ({ madeAtMs }) => <When ms={madeAtMs}>{text.when(madeAtMs)}</When> },
              { title: columns.size, kind: 'number', cell: ({ sizeBytes }) => text.bytes(sizeBytes) },
              {
                title: columns.actions,
                kind: 'actions',
                cell: ({ name, sizeBytes }) => (
                  <>
                    <Button
                      name={text.library.actionOn(text.library.download, name)}
                      onClick={() => void download((api) => api.backupPath(name), name, sizeBytes)}
                    >
                      {text.library.download}
                    </Button>
                    <Button
                      look="danger"
                      name={text.library.actionOn(text.library.remove, name)}
                      onClick={() => show(() => <RemoveBackup name={name} />)}
                    >
                      {text.library.remove}
                    </Button>
                  </>
                ),
              },
            ]}
          />
        </div>
      )}
    </Section>
  )
}

function RemoveBackup({ name }: { name: string }) {
  return (
    <Form<undefined>
      title={words.removeBackupTitle}
      button={text.library.remove}
      danger
      ask={async (api) => {
        const removed = await api.removeBackup(name)
        return removed.ok ? ok(undefined) : removed
      }}
      done={() => text.notices.backupRemoved(name)}
    >
      <p>{words.removeBackupLead(name)}</p>
    </Form>
  )
}
