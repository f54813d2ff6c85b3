import { memo, useState } from 'hono/jsx/dom'
import type { Group, Image } from './api.ts'
import { act } from './session.ts'
import { change, type Dialog } from './store.ts'
import { Cell, type Column, Row, Table, Title } from './table.tsx'
import { text } from './text.ts'

const words = text.library

type Props = {
  readonly groups: readonly Group[] | undefined
  readonly images: readonly Image[] | undefined
  readonly canOperate: boolean
}

/** Does not follow the progress of jobs and transmissions: its lists are the same objects until the library changes. */
export const Library = memo(function Library({ groups, images, canOperate }: Props) {
  return (
    <section class="part" id="library" aria-labelledby="library-title">
      <div class="part-head">
        <h2 id="library-title">{words.title}</h2>
        {groups && groups.length > 0 && <p class="muted">{totalOf(groups)}</p>}
      </div>
      {groups?.length === 0 && (
        <div class="card empty">
          <h3>{words.emptyTitle}</h3>
          <p>{words.empty}</p>
          <pre>
            <code>{words.emptyCommand}</code>
          </pre>
        </div>
      )}
      {groups?.map((group) => (
        <GroupCard
          key={group.name}
          group={group}
          images={images?.filter((image) => image.group === group.name) ?? []}
          canOperate={canOperate}
        />
      ))}
    </section>
  )
})

/** Groups share nothing with each other: the sum of what each saves is what the library saves. */
function totalOf(groups: readonly Group[]): string {
  const sum = (of: (group: Group) => number): number => groups.reduce((all, group) => all + of(group), 0)
  return words.total(
    sum((group) => group.images),
    sum((group) => group.storedBytes),
    sum(savedBy),
  )
}

function savedBy({ storedBytes, apparentBytes }: Group): number {
  return Math.max(0, apparentBytes - storedBytes)
}

type CardProps = { readonly group: Group; readonly images: readonly Image[]; readonly canOperate: boolean }

function GroupCard({ group, images, canOperate }: CardProps) {
  const title = `group-${group.name}`
  return (
    <article class="card" aria-labelledby={title}>
      <div class="card-head">
        <h3 id={title}>{group.name}</h3>
        <p class="muted small">{words.group(group.images)}</p>
      </div>
      {group.images === 0 ? <p class="muted">{words.noImages}</p> : <Sharing group={group} />}
      {images.length > 0 && <ImageTable group={group} images={images} canOperate={canOperate} />}
    </article>
  )
}

/** Stored against shown. The rest of the bar is what the images share. */
function Sharing({ group }: { group: Group }) {
  const { storedBytes, apparentBytes } = group
  return (
    <div class="sharing">
      <progress
        class="share"
        value={Math.min(storedBytes, apparentBytes)}
        max={Math.max(1, apparentBytes)}
        aria-label={words.meter(group.name, storedBytes, apparentBytes)}
      />
      <dl class="facts">
        <div>
          <dt class="key stored">{words.stored}</dt>
          <dd>{text.bytes(storedBytes)}</dd>
        </div>
        <div>
          <dt class="key saved">{words.saved}</dt>
          <dd>{words.savedOf(savedBy(group), apparentBytes)}</dd>
        </div>
        <div>
          <dt>{words.apparent}</dt>
          <dd>{text.bytes(apparentBytes)}</dd>
        </div>
      </dl>
    </div>
  )
}

function ImageTable({ group, images, canOperate }: CardProps) {
  const { columns } = words
  const shown: readonly Column[] = [
    { title: columns.image },
    { title: columns.edition },
    { title: columns.version },
    { title: columns.architecture },
    { title: columns.languages },
    { title: columns.size, kind: 'number' },
    { title: columns.public, meaning: words.publicMeaning },
    ...(canOperate ? [{ title: columns.actions, kind: 'actions' as const }] : []),
  ]
  return (
    <Table kind="images" label={words.tableOf(group.name)} columns={shown}>
      {images.map((image) => (
        <ImageRow key={image.fileName} image={image} others={images.length - 1} canOperate={canOperate} />
      ))}
    </Table>
  )
}

/** What the image says of itself, which may be nothing. */
function Said({ label, value }: { label: string; value: string | undefined }) {
  return (
    <Cell label={label}>
      {value === undefined || value === '' ? <span class="muted">{words.unknown}</span> : value}
    </Cell>
  )
}

function ImageRow({ image, others, canOperate }: { image: Image; others: number; canOperate: boolean }) {
  const { columns } = words
  const { facts } = image
  return (
    <Row>
      <Title>
        <span class="name">{image.name}</span>
        {image.description !== '' && image.description !== image.name && (
          <span class="description">{image.description}</span>
        )}
        <code>{image.fileName}</code>
      </Title>
      <Said label={columns.edition} value={facts.editionId} />
      <Said label={columns.version} value={facts.version} />
      <Said label={columns.architecture} value={facts.architecture} />
      <Said label={columns.languages} value={facts.languages.join(', ')} />
      <Cell label={columns.size} kind="number">
        {text.bytes(image.sizeBytes)}
      </Cell>
      <Cell label={columns.public}>
        {canOperate ? <PublicSwitch image={image} /> : image.public ? words.yes : words.no}
      </Cell>
      {canOperate && (
        <Cell label={columns.actions} kind="actions">
          <Action label={words.transmit} image={image} dialog={{ kind: 'transmit', image }} />
          <Action label={words.copy} image={image} dialog={{ kind: 'copy', image }} />
          <Action label={words.remove} image={image} dialog={{ kind: 'remove', image, others }} danger />
        </Cell>
      )}
    </Row>
  )
}

type ActionProps = {
  readonly label: string
  readonly image: Image
  readonly dialog: Dialog
  readonly danger?: boolean
}

function Action({ label, image, dialog, danger }: ActionProps) {
  return (
    <button
      type="button"
      class={danger ? 'danger' : undefined}
      aria-label={words.actionOn(label, image.name)}
      onClick={() => change({ dialog })}
    >
      {label}
    </button>
  )
}

function PublicSwitch({ image }: { image: Image }) {
  const [busy, setBusy] = useState(false)
  async function toggle(): Promise<void> {
    const on = !image.public
    setBusy(true)
    await act(
      (api) => api.setPublic(image, on),
      () => (on ? text.notices.madePublic(image.name) : text.notices.madePrivate(image.name)),
    )
    setBusy(false)
  }
  return (
    <button
      type="button"
      class="switch"
      role="switch"
      aria-checked={image.public ? 'true' : 'false'}
      aria-label={words.publicSwitch(image.name)}
      title={words.publicMeaning}
      aria-disabled={busy ? 'true' : undefined}
      onClick={() => busy || toggle()}
    />
  )
}
