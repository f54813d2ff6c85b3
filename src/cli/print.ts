/** What people read: tables on standard output, progress on standard error. */
import { formatBytes } from '../base/units.ts'

/** Narrower than this a text is not broken into lines: it would be a ribbon. */
const LEAST_ROOM = 24

/** `text` after `start` columns of something, broken at spaces where a terminal of `width` ends; elsewhere as it is. */
export function hanging(text: string, start: number, width = process.stdout.columns): string {
  if (width === undefined || width - start < LEAST_ROOM) return text
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const longer = lines.length === 0 ? word : `${lines.at(-1)} ${word}`
    if (lines.length > 0 && Bun.stringWidth(longer) <= width - start) lines.splice(-1, 1, longer)
    else lines.push(word)
  }
  return lines.join(`\n${' '.repeat(start)}`)
}

/** Columns as wide as their widest cell; numbers (right: true) to the right. The last one ends where the terminal does. */
export function table(
  columns: readonly { readonly title: string; readonly right?: boolean }[],
  rows: readonly (readonly string[])[],
  terminalWidth = process.stdout.columns,
): string {
  const widths = columns.map((column, i) =>
    Math.max(Bun.stringWidth(column.title), ...rows.map((row) => Bun.stringWidth(row[i] ?? ''))),
  )
  const last = columns.length - 1
  const start = widths.slice(0, last).reduce((sum, width) => sum + width + 2, 0)
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => {
        if (i === last && !columns[i]?.right) return hanging(cell, start, terminalWidth)
        const pad = ' '.repeat(Math.max(0, (widths[i] ?? 0) - Bun.stringWidth(cell)))
        return columns[i]?.right ? pad + cell : cell + pad
      })
      .join('  ')
      .trimEnd()
  return [line(columns.map((column) => column.title)), ...rows.map(line)].join('\n')
}

/** Names come from files and people: what moves a terminal's cursor, breaks lines or reverses text must not reach it. */
export function safe(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not pass
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, '\ufffd')
}

/** `label  value` lines. */
export function facts(pairs: readonly (readonly [string, string | undefined])[]): string {
  const shown = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined && pair[1] !== '')
  const width = Math.max(...shown.map(([label]) => label.length))
  return shown.map(([label, value]) => `${label.padEnd(width)}  ${value}`).join('\n')
}

export function when(ms: number | undefined): string {
  return ms === undefined ? '' : new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
}

export type Progress = {
  readonly show: (label: string, doneBytes: number, totalBytes: number) => void
  readonly end: () => void
}

/** One line that rewrites itself on a terminal; elsewhere a line for each new label. */
export function progressLine(to: { readonly isTTY?: boolean; readonly write: (text: string) => unknown }): Progress {
  let last = ''
  return {
    show: (what, doneBytes, totalBytes) => {
      const label = safe(what)
      if (to.isTTY) {
        const part =
          totalBytes > 0 ? ` ${Math.floor((doneBytes / totalBytes) * 100)} % of ${formatBytes(totalBytes)}` : ''
        last = `${label}${part}`
        to.write(`\r\u001b[K${last}`)
      } else if (label !== last) {
        last = label
        to.write(`${label}\n`)
      }
    },
    end: () => {
      if (to.isTTY && last !== '') to.write('\r\u001b[K')
    },
  }
}
