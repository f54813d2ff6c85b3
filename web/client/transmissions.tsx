import { useState } from 'hono/jsx/dom'
import type { Cast } from './api.ts'
import { Bar } from './kit/bar.tsx'
import { Badge, Button, Fact, Facts, Section } from './kit/facts.tsx'
import { Check } from './kit/fields.tsx'
import { Form } from './kit/form.tsx'
import { Subject, Table } from './kit/table.tsx'
import { act } from './session.ts'
import { read, show } from './store.ts'
import { text } from './text.ts'

const words = text.casts
const RECENT = 20

type Status = NonNullable<Cast['status']>
type Client = Status['clients'][number]

export function isOpen(cast: Cast): boolean {
  return cast.endedAtMs === undefined
}

export function Transmissions({ casts, canOperate }: { casts: readonly Cast[]; canOperate: boolean }) {
  const [shownAtMost, setShownAtMost] = useState(RECENT)
  const open = casts.filter(isOpen)
  const ended = casts.filter((cast) => !isOpen(cast))
  const shown = ended.slice(0, shownAtMost)
  return (
    <Section id="casts" title={words.title}>
      {casts.length === 0 && <p class="card empty muted">{words.empty}</p>}
      {open.map((cast) => (
        <OpenCast key={cast.id} cast={cast} canOperate={canOperate} />
      ))}
      {shown.length > 0 && (
        <ul class="card rows">
          {shown.map((cast) => (
            <EndedCast key={cast.id} cast={cast} />
          ))}
        </ul>
      )}
      {ended.length > shown.length && (
        <div>
          <Button look="quiet" onClick={() => setShownAtMost(shownAtMost + 5 * RECENT)}>
            {words.older(ended.length - shown.length)}
          </Button>
        </div>
      )}
    </Section>
  )
}

const waitsToStart = ({ waitsFor, status }: Cast): boolean =>
  waitsFor !== undefined && (status === undefined || status.state === 'waiting' || status.state === 'idle')

function OpenCast({ cast, canOperate }: { cast: Cast; canOperate: boolean }) {
  const { status } = cast
  const name = words.name(cast.id, cast.name)
  const title = `cast-${cast.id}`
  return (
    <article class="card" aria-labelledby={title} data-cast={cast.id}>
      <div class="card-head">
        <h3 id={title}>{name}</h3>
        {status && (
          <Badge kind={waitsToStart(cast) ? 'held' : status.state}>
            {waitsToStart(cast) ? words.held : words.states[status.state]}
          </Badge>
        )}
        <Badge>{words.kinds[cast.kind]}</Badge>
        {canOperate && (
          <div class="card-buttons">
            {cast.waitsFor && (
              <Button
                name={words.startCast(name)}
                onClick={() =>
                  act(
                    (api) => api.startCast(cast.id),
                    () => text.notices.starting(cast.id),
                  )
                }
              >
                {words.start}
              </Button>
            )}
            <Button look="danger" name={words.stopCast(name)} onClick={() => show(() => <StopCast cast={cast} />)}>
              {words.stop}
            </Button>
          </div>
        )}
      </div>
      <p class="muted small">
        {words.ofImage(cast.image, cast.group)} · {words.opened(text.when(cast.createdAtMs), cast.createdBy)}
      </p>
      {status && <CastStatus cast={cast} status={status} name={name} />}
    </article>
  )
}

/** At so many clients, or at a time, or by hand. */
function startsAt({ ready, clientCount, startAtMs }: NonNullable<Cast['waitsFor']>): string {
  const terms = [
    ...(clientCount === undefined ? [] : [words.atClients(ready, clientCount)]),
    ...(startAtMs === undefined ? [] : [words.atTime(text.when(startAtMs))]),
  ]
  return terms.length === 0 ? words.byHand(ready) : terms.join(words.or)
}

function CastStatus({ cast, status, name }: { cast: Cast; status: Status; name: string }) {
  const isSending = status.state === 'running' || status.state === 'stopping'
  return (
    <>
      {status.failure && (
        <div class="refusal">
          <p>{status.failure.message}</p>
          <p class="code">{text.refusalCode(status.failure.code)}</p>
        </div>
      )}
      {status.state === 'preparing' && (
        <Bar label={words.hashing} value={status.hashedBytes} max={Math.max(1, status.sizeBytes)}>
          <span>{words.hashing}</span>
          <span class="muted">{text.jobs.doneOf(status.hashedBytes, status.sizeBytes)}</span>
        </Bar>
      )}
      <Facts>
        {cast.waitsFor && <Fact label={words.waitsFor}>{startsAt(cast.waitsFor)}</Fact>}
        <Fact label={words.address}>{words.addressOn(status.group, status.port, status.interfaceName)}</Fact>
        {isSending && (
          <Fact label={words.rate}>{words.rateNow(status.sentBitsPerSecond, status.allowedBitsPerSecond)}</Fact>
        )}
        {cast.rateBitsPerSecond !== undefined && <Fact label={words.ceiling}>{text.rate(cast.rateBitsPerSecond)}</Fact>}
        <Fact label={words.pass}>{String(status.pass)}</Fact>
        <Fact label={words.sent}>{words.sentOf(status.sentBytes, status.sizeBytes)}</Fact>
        {status.heard.of > 0 && <Fact label={words.heard}>{words.heardOf(status.heard.clients, status.heard.of)}</Fact>}
      </Facts>
      {status.clients.length > 0 ? (
        <ClientTable clients={status.clients} sizeBytes={status.sizeBytes} name={name} />
      ) : (
        <div class="lonely">
          <p class="hint">{words.noClients}</p>
          <pre>
            <code>{words.joinCommand(location.origin, cast.id, read().session?.version.fingerprint ?? 'SHA256')}</code>
          </pre>
        </div>
      )}
    </>
  )
}

function ClientTable({ clients, sizeBytes, name }: { clients: readonly Client[]; sizeBytes: number; name: string }) {
  const { columns } = words
  return (
    <Table
      kind="clients"
      label={words.clientsOf(name)}
      rows={clients}
      keyOf={({ clientId }) => clientId}
      columns={[
        { title: columns.client, cell: (client) => <Subject name={client.name} /> },
        {
          title: columns.state,
          cell: ({ state }) => <Badge kind={state}>{words.clientStates[state]}</Badge>,
        },
        {
          title: columns.progress,
          kind: 'wide',
          cell: (client) => {
            const received = Math.max(0, sizeBytes - client.lackingBytes)
            return (
              <Bar label={words.progressOf(client.name)} value={received} max={Math.max(1, sizeBytes)}>
                <span>{text.percent(received, sizeBytes)}</span>
              </Bar>
            )
          },
        },
        { title: columns.loss, kind: 'number', cell: ({ lossPpm }) => words.loss(lossPpm) },
        {
          title: columns.drops,
          kind: 'number',
          meaning: words.dropsMeaning,
          cell: ({ socketDrops }) => text.count(socketDrops),
        },
      ]}
    />
  )
}

function EndedCast({ cast }: { cast: Cast }) {
  return (
    <li class="row" data-cast={cast.id}>
      <div class="row-head">
        <p class="row-title">
          <Badge>{words.states.ended}</Badge>
          <strong>{words.name(cast.id, cast.name)}</strong>
        </p>
        <p class="muted small">
          {words.ofImage(cast.image, cast.group)} · {words.opened(text.when(cast.createdAtMs), cast.createdBy)}
          {cast.endedAtMs !== undefined && ` · ${words.ended(text.when(cast.endedAtMs))}`}
        </p>
      </div>
      {cast.reason && <p class="small">{cast.reason}</p>}
    </li>
  )
}

function StopCast({ cast }: { cast: Cast }) {
  const say = text.stopDialog
  return (
    <Form<Cast>
      title={say.title(cast.id)}
      button={say.button}
      danger
      ask={(api, fields) => api.stopCast(cast.id, { force: fields.get('force') !== null })}
      done={() => text.notices.stopping(cast.id)}
    >
      <p>{say.lead}</p>
      <Check name="force" label={say.force} />
    </Form>
  )
}
