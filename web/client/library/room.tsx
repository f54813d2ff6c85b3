/** The library: its groups and their images; or one group, with all that is its own. */
import { memo } from 'hono/jsx/dom'
import type { Group, Image, TrashItem } from '../api.ts'
import { Bar } from '../kit/bar.tsx'
import { Button, Fact, Facts, Section } from '../kit/facts.tsx'
import { Menu } from '../kit/menu.tsx'
import { Table } from '../kit/table.tsx'
import { hrefOf } from '../route.ts'
import { show } from '../store.ts'
import { text } from '../text.ts'
import { limitOf } from './audience.tsx'
import { CompactGroup, EditGroup, NewGroup, RemoveGroup } from './group-dialogs.tsx'
import { ImportImages } from './image-dialogs.tsx'
import { ImageTable } from './image-table.tsx'
import { SharingButton, SharingSheet } from './sharing.tsx'

const words = text.library

type Props = {
  /** Of the one group that is shown. */
  readonly name: string | undefined
  readonly groups: readonly Group[] | undefined
  readonly images: readonly Image[] | undefined
  readonly trash: readonly TrashItem[] | undefined
  readonly canOperate: boolean
  readonly live: boolean
}

const NONE: readonly never[] = []

/** Does not follow the progress of jobs and transmissions: its lists are the same objects until the library changes. */
export const LibraryRoom = memo(function LibraryRoom({ name, groups, images, trash, canOperate, live }: Props) {
  if (!groups) return null
  if (name === undefined)
    return <AllGroups groups={groups} images={images ?? NONE} trash={trash ?? NONE} canOperate={canOperate} />
  const group = groups.find((one) => one.name === name)
  if (!group)
    return (
      <Section id="group" title={words.noGroup(name)}>
        <p>
          <a href={hrefOf({ room: 'library' })}>{live ? words.all : words.title}</a>
        </p>
      </Section>
    )
  return (
    <OneGroup
      key={name}
      group={group}
      groups={groups}
      images={images ?? NONE}
      trash={trash ?? NONE}
      canOperate={canOperate}
    />
  )
})

type ListProps = {
  readonly groups: readonly Group[]
  readonly images: readonly Image[]
  readonly trash: readonly TrashItem[]
  readonly canOperate: boolean
}

function AllGroups({ groups, images, trash, canOperate }: ListProps) {
  return (
    <>
      <Section
        id="library"
        title={words.title}
        about={groups.length > 0 && totalOf(groups)}
        actions={
          canOperate && (
            <>
              <Button look={groups.length === 0 ? 'main' : undefined} onClick={() => show(() => <NewGroup />)}>
                {words.newGroup}
              </Button>
              {groups.length > 0 && (
                <Button look="main" onClick={() => show(() => <ImportImages groups={groups} />)}>
                  {words.import}
                </Button>
              )}
            </>
          )
        }
      >
        {groups.length === 0 ? (
          <div class="card empty">
            <h3>{words.emptyTitle}</h3>
            <p>{words.empty}</p>
            <pre>
              <code>{words.emptyCommand}</code>
            </pre>
          </div>
        ) : (
          <div class="card">
            <GroupTable groups={groups} images={images} canOperate={canOperate} />
          </div>
        )}
      </Section>
      {images.length > 0 && (
        <Section id="images" title={words.images}>
          <ImageTable label={words.images} images={images} trash={trash} canOperate={canOperate} withGroup />
        </Section>
      )}
    </>
  )
}

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

function GroupTable({ groups, images, canOperate }: Omit<ListProps, 'trash'>) {
  const columns = words.groupColumns
  return (
    <Table
      kind="groups"
      label={words.groups}
      rows={groups}
      keyOf={(group) => group.name}
      columns={[
        { title: columns.group, cell: (group) => <GroupTitle group={group} /> },
        { title: columns.images, kind: 'number', cell: (group) => text.count(group.images) },
        { title: columns.stored, kind: 'wide', cell: (group) => <Stored group={group} /> },
        {
          title: columns.saved,
          kind: 'number',
          cell: (group) => words.savedOf(savedBy(group), group.apparentBytes),
        },
        {
          title: columns.actions,
          kind: 'actions',
          cell: (group) => (
            <>
              {canOperate && (
                <Button
                  name={words.actionOn(words.import, group.name)}
                  onClick={() => show(() => <ImportImages groups={groups} group={group.name} />)}
                >
                  {words.import}
                </Button>
              )}
              <GroupMenu group={group} images={images} canOperate={canOperate} />
            </>
          ),
        },
      ]}
    />
  )
}

function GroupTitle({ group }: { group: Group }) {
  return (
    <>
      <span class="name">
        <a href={hrefOf({ room: 'library', below: group.name })}>{group.name}</a> <Limited group={group} />
      </span>
      {group.description !== '' && <span class="description">{group.description}</span>}
    </>
  )
}

function Limited({ group }: { group: Group }) {
  if (!group.audience) return null
  return (
    <span class="state" title={limitOf(group.audience)}>
      {words.badges.limited}
    </span>
  )
}

/** What is stored, of the quota where there is one, else of what it would be without sharing. */
function Stored({ group }: { group: Group }) {
  const { name, storedBytes, apparentBytes, quotaBytes } = group
  if (quotaBytes === undefined)
    return (
      <Bar
        label={words.meter(name, storedBytes, apparentBytes)}
        value={storedBytes}
        max={Math.max(1, apparentBytes)}
        look="share"
      >
        <span>{text.bytes(storedBytes)}</span>
      </Bar>
    )
  return (
    <Bar
      label={words.quotaMeter(name)}
      value={storedBytes}
      max={Math.max(1, quotaBytes)}
      look={storedBytes >= quotaBytes * 0.9 ? 'full' : undefined}
    >
      <span>{words.storedOf(storedBytes, quotaBytes)}</span>
      <span class="muted">{text.percent(storedBytes, quotaBytes)}</span>
    </Bar>
  )
}

type MenuProps = { readonly group: Group; readonly images: readonly Image[]; readonly canOperate: boolean }

function GroupMenu({ group, images, canOperate }: MenuProps) {
  const { name } = group
  const own = (): readonly Image[] => images.filter((image) => image.group === name)
  if (!canOperate) return <SharingButton name={name} />
  return (
    <Menu
      label={words.more}
      name={words.actionOn(words.more, name)}
      items={[
        { label: words.edit, run: () => show(() => <EditGroup group={group} />) },
        { label: words.sharing, run: () => show(() => <SharingSheet name={name} />) },
        { label: words.compact, run: () => show(() => <CompactGroup name={name} />) },
        {
          label: words.removeGroup,
          danger: true,
          run: () => show(() => <RemoveGroup group={group} images={own()} />),
        },
      ]}
    />
  )
}

function OneGroup({ group, groups, images, trash, canOperate }: ListProps & { readonly group: Group }) {
  const { name, description, storedBytes, apparentBytes, quotaBytes } = group
  const own = images.filter((image) => image.group === name)
  return (
    <>
      <Section
        id="group"
        title={name}
        about={
          <>
            <a href={hrefOf({ room: 'library' })}>{words.all}</a> {group.audience && <Limited group={group} />}
          </>
        }
        actions={
          <>
            {canOperate && (
              <>
                <Button onClick={() => show(() => <EditGroup group={group} />)} name={words.actionOn(words.edit, name)}>
                  {words.edit}
                </Button>
                <Button look="main" onClick={() => show(() => <ImportImages groups={groups} group={name} />)}>
                  {words.import}
                </Button>
              </>
            )}
            <GroupMenu group={group} images={images} canOperate={canOperate} />
          </>
        }
      >
        <div class="card">
          {description !== '' && <p>{description}</p>}
          <Bar
            label={words.meter(name, storedBytes, apparentBytes)}
            value={storedBytes}
            max={Math.max(1, apparentBytes)}
            look="share"
          />
          <Facts>
            <Fact kind="key stored" label={words.stored}>
              {text.bytes(storedBytes)}
            </Fact>
            <Fact kind="key saved" label={words.saved}>
              {words.savedOf(savedBy(group), apparentBytes)}
            </Fact>
            <Fact label={words.apparent}>{text.bytes(apparentBytes)}</Fact>
            <Fact label={words.quota}>
              {quotaBytes === undefined
                ? words.noQuota
                : `${text.bytes(quotaBytes)} (${text.percent(storedBytes, quotaBytes)})`}
            </Fact>
            {group.audience && <Fact label={text.audience.label}>{limitOf(group.audience)}</Fact>}
          </Facts>
        </div>
      </Section>
      <Section id="images" title={words.images}>
        {own.length === 0 ? (
          <p class="card empty muted">{words.noImages}</p>
        ) : (
          <ImageTable
            label={words.imagesOf(name)}
            images={own}
            trash={trash}
            canOperate={canOperate}
            withGroup={false}
          />
        )}
      </Section>
    </>
  )
}
