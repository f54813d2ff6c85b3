/** The install images, of one group or of all, and what can be done with each. */
import { useMemo, useState } from 'hono/jsx/dom'
import type { Image, TrashItem } from '../api.ts'
import { download } from '../download.ts'
import { Button } from '../kit/facts.tsx'
import { Menu } from '../kit/menu.tsx'
import { Subject, Table } from '../kit/table.tsx'
import { hrefOf } from '../route.ts'
import { act } from '../session.ts'
import { show } from '../store.ts'
import { text } from '../text.ts'
import { limitOf } from './audience.tsx'
import { CopyImage, RemoveImage, ReplaceImage, TransmitImage } from './image-dialogs.tsx'
import { EditImage } from './image-edit.tsx'

const words = text.library

type Props = {
  readonly label: string
  readonly images: readonly Image[]
  readonly trash: readonly TrashItem[]
  readonly canOperate: boolean
  /** They are of several groups. */
  readonly withGroup: boolean
}

type BadgeOf = { readonly kind: string; readonly label: string; readonly meaning?: string }

function badgesOf(image: Image): BadgeOf[] {
  const { badges } = words
  return [
    ...(image.enabled ? [] : [{ kind: 'cancelled', label: badges.disabled }]),
    ...(image.public ? [{ kind: 'running', label: badges.public }] : []),
    ...(image.bootDefault ? [{ kind: 'done', label: badges.bootDefault }] : []),
    ...(image.audience ? [{ kind: '', label: badges.limited, meaning: limitOf(image.audience) }] : []),
    ...(image.hasUnattend ? [{ kind: '', label: badges.unattend }] : []),
  ]
}

const versionOf = (image: Image): string => image.version || (image.facts.version ?? '')

/** What the filter looks through, made once for each image as the API gave it. */
const searched = new WeakMap<Image, string>()

function searchOf(image: Image): string {
  const known = searched.get(image)
  if (known !== undefined) return known
  const { name, description, group, fileName, comment, architecture = '', language = '', facts } = image
  const states = badgesOf(image).map(({ label }) => label)
  const all = [
    name,
    description,
    group,
    fileName,
    comment,
    versionOf(image),
    facts.editionId ?? '',
    architecture,
    language,
  ]
  const made = [...all, ...states].join('\n').toLowerCase()
  searched.set(image, made)
  return made
}

/** Every word must be there, wherever. */
export function matching(images: readonly Image[], filter: string): readonly Image[] {
  const wanted = filter.toLowerCase().split(/\s+/).filter(Boolean)
  if (wanted.length === 0) return images
  return images.filter((image) => {
    const text = searchOf(image)
    return wanted.every((word) => text.includes(word))
  })
}

export function ImageTable({ label, images, trash, canOperate, withGroup }: Props) {
  const [filter, setFilter] = useState('')
  const found = useMemo(() => matching(images, filter), [images, filter])
  const replaced = useMemo(
    () => new Set(trash.filter(({ kind }) => kind === 'version').map((item) => `${item.group}/${item.fileName}`)),
    [trash],
  )
  const { columns } = words
  return (
    <div class="card">
      <div class="filter">
        <label for="filter">{words.filter}</label>
        <input
          id="filter"
          type="search"
          placeholder={words.filterHint}
          autocomplete="off"
          spellcheck={false}
          value={filter}
          onInput={(event: Event) => setFilter((event.currentTarget as HTMLInputElement).value)}
        />
        <p class="small muted" role="status">
          {words.matches(found.length, images.length)}
        </p>
      </div>
      {found.length === 0 ? (
        <p class="muted">{words.noMatch}</p>
      ) : (
        <Table
          kind={withGroup ? 'images with-group' : 'images'}
          label={label}
          rows={found}
          about={filter}
          keyOf={(image) => `${image.group}/${image.fileName}`}
          columns={[
            {
              title: columns.image,
              cell: (image) => (
                <Subject
                  name={image.name}
                  description={image.description === image.name ? '' : image.description}
                  code={image.fileName}
                />
              ),
            },
            withGroup && {
              title: columns.group,
              cell: (image) => <a href={hrefOf({ room: 'library', below: image.group })}>{image.group}</a>,
            },
            { title: columns.version, cell: (image) => known(versionOf(image)) },
            { title: columns.architecture, cell: (image) => known(image.architecture) },
            { title: columns.language, cell: (image) => known(image.language) },
            { title: columns.size, kind: 'number', cell: (image) => text.bytes(image.sizeBytes) },
            {
              title: columns.state,
              cell: (image) => (
                <span class="badges">
                  {badgesOf(image).map(({ kind, label: badge, meaning }) => (
                    <span key={badge} class={`state ${kind}`} title={meaning}>
                      {badge}
                    </span>
                  ))}
                </span>
              ),
            },
            {
              title: columns.actions,
              kind: 'actions',
              cell: (image) => (
                <ImageActions
                  image={image}
                  canOperate={canOperate}
                  canUndo={replaced.has(`${image.group}/${image.fileName}`)}
                />
              ),
            },
          ]}
        />
      )}
    </div>
  )
}

/** Nothing said is said so. */
function known(value: string | undefined) {
  return value === undefined || value === '' ? <span class="muted">{words.unknown}</span> : value
}

type ActionProps = { readonly image: Image; readonly canOperate: boolean; readonly canUndo: boolean }

function ImageActions({ image, canOperate, canUndo }: ActionProps) {
  const get = (): void => void download((api) => api.contentPath(image), image.fileName, image.sizeBytes)
  const on = (action: string): string => words.actionOn(action, image.name)
  if (!canOperate)
    return (
      <Button name={on(words.download)} onClick={get}>
        {words.download}
      </Button>
    )
  return (
    <>
      <Button name={on(words.edit)} onClick={() => show(() => <EditImage image={image} />)}>
        {words.edit}
      </Button>
      <Menu
        label={words.more}
        name={on(words.more)}
        items={[
          { label: words.copy, run: () => show(() => <CopyImage image={image} />) },
          { label: words.replace, run: () => show(() => <ReplaceImage image={image} />) },
          canUndo && { label: words.undoReplace, run: () => undoReplace(image) },
          { label: image.enabled ? words.disable : words.enable, run: () => enable(image, !image.enabled) },
          { label: words.download, run: get },
          { label: words.transmit, run: () => show(() => <TransmitImage image={image} />) },
          { label: words.remove, danger: true, run: () => show(() => <RemoveImage image={image} />) },
        ]}
      />
    </>
  )
}

function enable(image: Image, enabled: boolean): void {
  act(
    (api) => api.setImage(image, { enabled }),
    () => (enabled ? text.notices.enabled(image.name) : text.notices.disabled(image.name)),
  )
}

function undoReplace(image: Image): void {
  act(
    (api) => api.undo(image),
    ({ title }) => text.notices.undone(title),
  )
}
