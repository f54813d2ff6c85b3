/** The audit log: who did what to what, and what it was before. */
import type { AuditLine, AuditQuery } from './api.ts'
import { Badge, Button, Section, When } from './kit/facts.tsx'
import { said } from './kit/fields.tsx'
import { Subject, Table } from './kit/table.tsx'
import { resources } from './session.ts'
import type { AuditPage } from './store.ts'
import { text } from './text.ts'

const words = text.audit
const VERBS = Object.entries(words.verbs).map(([value, label]) => ({ value, label }))

export function AuditRoom({ page }: { page: AuditPage | undefined }) {
  const { columns } = words
  return (
    <Section id="audit" title={words.title} about={words.about}>
      <div class="card">
        <AuditFilter />
        {page?.lines.length === 0 && <p class="muted">{words.none}</p>}
        {page && page.lines.length > 0 && (
          <Table
            kind="audit"
            label={words.table}
            rows={page.lines}
            keyOf={({ id }) => id}
            about={JSON.stringify(page.query)}
            columns={[
              {
                title: columns.what,
                cell: (line) => (
                  <>
                    <Subject name={words.verbs[line.verb] ?? line.verb} code={line.verb} />
                  </>
                ),
              },
              {
                title: columns.subject,
                cell: (line) => (
                  <>
                    {line.subject} {line.jobId !== undefined && <Badge>{words.job(line.jobId)}</Badge>}
                  </>
                ),
              },
              { title: columns.changes, kind: 'wide', cell: (line) => <Changes line={line} /> },
              { title: columns.who, cell: (line) => text.who(line.who) },
              {
                title: columns.when,
                cell: (line) => <When ms={line.atMs}>{text.when(line.atMs)}</When>,
              },
            ]}
          />
        )}
        {page?.more && (
          <div class="older">
            <Button look="quiet" onClick={() => void resources()?.olderAudit()}>
              {words.older}
            </Button>
          </div>
        )}
      </div>
    </Section>
  )
}

/** As it is typed: an answer to an earlier question does not overtake a later one. */
function AuditFilter() {
  function look(event: Event): void {
    event.preventDefault()
    const fields = new FormData(event.currentTarget as HTMLFormElement)
    const name = said(fields, 'who')
    const query: AuditQuery = {
      verb: said(fields, 'verb'),
      // Tokens are written down as such; who looks for one knows it by its name.
      who: name === '' || name === 'local' || name === 'appliance' || name.includes(':') ? name : `token:${name}`,
      subject: said(fields, 'subject'),
    }
    resources()?.filterAudit(query)
  }
  return (
    <form class="filter" onInput={look} onSubmit={look}>
      <label for="audit-verb">{words.verb}</label>
      <select id="audit-verb" name="verb">
        <option value="">{words.anyVerb}</option>
        {VERBS.map(({ value, label }) => (
          <option key={value} value={value}>
            {value.includes('.') ? `– ${label}` : label}
          </option>
        ))}
      </select>
      <label for="audit-who">{words.who}</label>
      <input id="audit-who" name="who" type="search" autocomplete="off" spellcheck={false} title={words.whoHint} />
      <label for="audit-subject">{words.subject}</label>
      <input id="audit-subject" name="subject" type="search" autocomplete="off" spellcheck={false} />
    </form>
  )
}

const MOST = 8

/** `before -> after` in words: what was only then, or is only now, stands alone. */
function Changes({ line }: { line: AuditLine }) {
  const { before = {}, after = {} } = line
  const both = line.before !== undefined && line.after !== undefined
  const named = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => !(isNothing(before[key]) && isNothing(after[key])),
  )
  // The number of a content says something only where nothing else does.
  const keys = named.length > 1 ? named.filter((key) => key !== 'content') : named
  return (
    <ul class={both ? 'changes' : 'changes facts-only'}>
      {keys.slice(0, MOST).map((key) => (
        <li key={key}>
          <span class="muted">{words.keys[key] ?? key}</span>{' '}
          {both ? (
            <>
              <del>{shown(key, before[key])}</del> <span aria-hidden="true">→</span>
              <span class="only-read"> {words.becomes} </span> <ins>{shown(key, after[key])}</ins>
            </>
          ) : (
            shown(key, after[key] ?? before[key])
          )}
        </li>
      ))}
      {keys.length > MOST && <li class="muted">…</li>}
    </ul>
  )
}

const isNothing = (value: unknown): boolean => value === undefined || value === null || value === '' || value === false

function shown(key: string, value: unknown): string {
  if (key === 'audience' && (value === null || value === undefined)) return words.everybody
  if (value === undefined || value === null || value === '') return words.nothing
  if (typeof value === 'boolean') return value ? words.on : words.off
  if (typeof value === 'number') {
    if (key.endsWith('AtMs')) return text.when(value)
    if (key === 'rateBitsPerSecond') return text.rate(value)
    return /bytes$/i.test(key) ? text.bytes(value) : text.count(value)
  }
  if (typeof value === 'string') return value
  if (Array.isArray(value)) return value.length === 0 ? words.nothing : value.map((one) => shown('', one)).join(', ')
  return Object.values(value)
    .flat()
    .map((one) => shown('', one))
    .join(', ')
}
