/** The trash: what was removed or replaced, back again or gone for good. */
import { useState } from 'hono/jsx/dom'
import type { Refusal, TrashItem } from './api.ts'
import { Badge, Button, Section, When } from './kit/facts.tsx'
import { Field, said } from './kit/fields.tsx'
import { Form } from './kit/form.tsx'
import { Subject, Table } from './kit/table.tsx'
import { ask } from './session.ts'
import { show, tell, tellRefusal } from './store.ts'
import { text } from './text.ts'

const words = text.trash

type Props = {
  readonly items: readonly TrashItem[] | undefined
  readonly canOperate: boolean
  readonly isAdmin: boolean
}

export function TrashRoom({ items, canOperate, isAdmin }: Props) {
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set())
  if (!items) return null
  const newest = items.toReversed()
  const selected = newest.filter((item) => chosen.has(item.id))
  const { columns } = words
  return (
    <Section
      id="trash"
      title={words.title}
      about={items.length > 0 && words.about}
      actions={
        isAdmin &&
        items.length > 0 && (
          <Button
            look="danger"
            onClick={() =>
              show(() => <EmptyTrash items={selected.length > 0 ? selected : newest} all={selected.length === 0} />)
            }
          >
            {selected.length > 0 ? words.emptySome(selected.length) : words.emptyAll}
          </Button>
        )
      }
    >
      {items.length === 0 ? (
        <p class="card empty muted">{words.empty}</p>
      ) : (
        <div class="card">
          <Table
            kind="trash"
            label={words.table}
            rows={newest}
            keyOf={(item) => item.id}
            columns={[
              {
                title: columns.item,
                cell: (item) => <Subject name={item.title} code={item.kind === 'group' ? undefined : item.fileName} />,
              },
              { title: columns.kind, cell: (item) => <Badge>{words.kinds[item.kind]}</Badge> },
              { title: columns.group, cell: (item) => (item.kind === 'group' ? '' : item.group) },
              {
                title: columns.removed,
                cell: (item) => (
                  <>
                    <When ms={item.removedAtMs}>{text.when(item.removedAtMs)}</When>{' '}
                    <span class="muted">{words.by(item.removedBy)}</span>
                  </>
                ),
              },
              isAdmin && {
                title: columns.select,
                kind: 'check',
                cell: (item) => (
                  <input
                    type="checkbox"
                    aria-label={words.select(item.title)}
                    checked={chosen.has(item.id)}
                    onChange={() => setChosen(new Set(chosen).symmetricDifference(new Set([item.id])))}
                  />
                ),
              },
              canOperate && {
                title: columns.actions,
                kind: 'actions',
                cell: (item) => (
                  <Button name={text.library.actionOn(words.restore, item.title)} onClick={() => restore(item)}>
                    {words.restore}
                  </Button>
                ),
              },
            ]}
          />
        </div>
      )}
    </Section>
  )
}

/** At once; when its name is taken by now, the dialog asks for another one. */
async function restore(item: TrashItem): Promise<void> {
  const answer = await ask((api) => api.restore(item.id, {}))
  if (!answer) return
  if (answer.ok) tell(text.notices.restored(item.title))
  else if (answer.error.code === 'exists' && item.kind !== 'version') {
    const refusal = { ...answer.error, hint: words.restoreHint }
    show(() => <RestoreAs item={item} refusal={refusal} />)
  } else tellRefusal(answer.error)
}

function RestoreAs({ item, refusal }: { item: TrashItem; refusal: Refusal }) {
  const field = item.kind === 'group' ? 'name' : 'fileName'
  return (
    <Form<TrashItem>
      title={words.restoreTitle(item.title)}
      button={words.restore}
      refusal={refusal}
      fieldOf={({ code }) => (code === 'exists' || code === 'bad-name' ? field : undefined)}
      ask={(api, fields) => api.restore(item.id, { [field]: said(fields, field) })}
      done={() => text.notices.restored(item.title)}
    >
      <p>{words.restoreLead}</p>
      <Field
        name={field}
        label={item.kind === 'group' ? words.newGroupName : words.newFileName}
        value={item.kind === 'group' ? item.title : item.fileName}
        required
        literal
      />
    </Form>
  )
}

function EmptyTrash({ items, all }: { items: readonly TrashItem[]; all: boolean }) {
  return (
    <Form<readonly TrashItem[]>
      title={words.emptyTitle}
      button={words.emptyButton}
      danger
      ask={(api, _, { dryRun }) => api.emptyTrash(all ? undefined : items.map(({ id }) => id), { dryRun })}
      would={(gone) => <p>{words.would(gone.map(({ title }) => title))}</p>}
      done={(gone) => text.notices.emptied(gone.length)}
    >
      <p>
        <strong>{words.emptyLead(items.length)}</strong>
      </p>
      <p class="muted">{words.emptyHint}</p>
    </Form>
  )
}
