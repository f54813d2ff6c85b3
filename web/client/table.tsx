// biome-ignore-all lint/a11y/noRedundantRoles: as cards, on a narrow screen, the parts of a table lose the roles they have
/** Tables that become cards on a narrow screen, where each cell shows its column's title. */
import type { Child } from 'hono/jsx/dom'

export type Column = { readonly title: string; readonly kind?: 'number' | 'actions'; readonly meaning?: string }

type TableProps = {
  /** Names the widths of its columns in the style sheet. */
  readonly kind: 'images' | 'clients'
  readonly label: string
  readonly columns: readonly Column[]
  readonly children: Child
}

export function Table({ kind, label, columns, children }: TableProps) {
  return (
    <table class={`cards ${kind}`} role="table" aria-label={label}>
      <thead role="rowgroup">
        <tr role="row">
          {columns.map(({ title, kind, meaning }) => (
            <th key={title} role="columnheader" scope="col" class={kind} title={meaning}>
              {title}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">{children}</tbody>
    </table>
  )
}

export function Row({ children }: { children: Child }) {
  return <tr role="row">{children}</tr>
}

/** The first cell of a row: what the row is about. */
export function Title({ children }: { children: Child }) {
  return (
    <th role="rowheader" scope="row" class="title">
      {children}
    </th>
  )
}

export function Cell({
  label,
  kind,
  children,
}: {
  label: string
  kind?: 'number' | 'actions' | 'received'
  children: Child
}) {
  return (
    <td role="cell" class={kind} data-label={label}>
      {children}
    </td>
  )
}
