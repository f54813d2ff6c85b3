// biome-ignore-all lint/a11y/noRedundantRoles: as cards, on a narrow screen, the parts of a table lose the roles they have
/**
 * The one table. Where it is narrow a row becomes a card, and each cell shows its column's title. Long lists are shown by
 * the page: a thousand rows are not rendered to show the first.
 */
import { type Child, useState } from 'hono/jsx/dom'
import { text } from '../text.ts'

const words = text.table
const PAGE_ROWS = 25

/** The first column is what the row is about. */
export type Column<T> = {
  readonly title: string
  readonly kind?: 'number' | 'actions' | 'wide' | 'check' | undefined
  readonly meaning?: string | undefined
  readonly cell: (row: T) => Child
}

type Props<T> = {
  /** Names the widths of its columns in the style sheet. */
  readonly kind: string
  readonly label: string
  /** `false`: left out. */
  readonly columns: readonly (Column<T> | false)[]
  readonly rows: readonly T[]
  readonly keyOf: (row: T) => string | number
  /** When this changes, the first page is shown again: the words of a filter. */
  readonly about?: string
}

export function Table<T>({ kind, label, columns, rows, keyOf, about = '' }: Props<T>) {
  const [at, setAt] = useState({ about, page: 0 })
  const shown = columns.filter((column) => column !== false)
  const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS))
  const page = at.about === about ? Math.min(at.page, pages - 1) : 0
  const first = page * PAGE_ROWS
  const [subject, ...others] = shown
  return (
    <>
      <table
        class={`cards ${kind}`}
        role="table"
        aria-label={label}
        aria-rowcount={pages > 1 ? rows.length + 1 : undefined}
      >
        <thead role="rowgroup">
          <tr role="row">
            {shown.map((column) => (
              <th key={column.title} role="columnheader" scope="col" class={column.kind} title={column.meaning}>
                <span>{column.title}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.slice(first, first + PAGE_ROWS).map((row) => (
            <tr key={keyOf(row)} role="row">
              <th role="rowheader" scope="row" class="title">
                {subject?.cell(row)}
              </th>
              {others.map((column) => (
                <td key={column.title} role="cell" class={column.kind} data-label={column.title}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {pages > 1 && (
        <nav class="pages" aria-label={words.pagesOf(label)}>
          <button type="button" disabled={page === 0} onClick={() => setAt({ about, page: page - 1 })}>
            {words.previous}
          </button>
          <span class="small muted">
            {words.range(first + 1, Math.min(first + PAGE_ROWS, rows.length), rows.length)}
          </span>
          <button type="button" disabled={page === pages - 1} onClick={() => setAt({ about, page: page + 1 })}>
            {words.next}
          </button>
        </nav>
      )}
    </>
  )
}

type TitleProps = {
  readonly name: Child
  readonly description?: string | undefined
  readonly code?: string | undefined
}

/** What a row is about: its name, what is said of it, and what machines call it. */
export function Subject({ name, description, code }: TitleProps) {
  return (
    <>
      <span class="name">{name}</span>
      {description !== undefined && description !== '' && <span class="description">{description}</span>}
      {code !== undefined && <code>{code}</code>}
    </>
  )
}
