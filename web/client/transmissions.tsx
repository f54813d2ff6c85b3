import { useState } from 'hono/jsx/dom'
import type { Cast } from './api.ts'
import { change, read } from './store.ts'
import { Cell, type Column, Row, Table, Title } from './table.tsx'
import { text } from './text.ts'

const words = text.casts
const RECENT = 3

type Status = NonNullable<Cast['status']>
type Client = Status['clients'][number]

export function isOpen(cast: Cast): boolean {
  return cast.endedAtMs === undefined
}

export function Transmissions({ casts, canOperate }: { casts: readonly Cast[]; canOperate: boolean }) {
  const [all, setAll] = useState(false)
  const open = casts.filter(isOpen)
  const ended = casts.filter((cast) => !isOpen(cast))
  const shown = all ? ended : ended.slice(0, RECENT)
  return (
    <section class="part" id="casts" aria-labelledby="casts-title">
      <h2 id="casts-title">{words.title}</h2>
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
        <button type="button" class="quiet more" onClick={() => setAll(true)}>
          {words.older(ended.length - shown.length)}
        </button>
      )}
    </section>
  )
}

function OpenCast({ cast, canOperate }: { cast: Cast; canOperate: boolean }) {
  const { status } = cast
  const name = words.name(cast.id, cast.image)
  const title = `cast-${cast.id}`
  return (
    <article class="card" aria-labelledby={title} data-cast={cast.id}>
      <div class="card-head">
        <h3 id={title}>{name}</h3>
        {status && <span class={`state ${status.state}`}>{words.states[status.state]}</span>}
        <p class="muted small">
          {cast.group} · {words.opened(text.when(cast.createdAtMs), cast.createdBy)}
        </p>
        {canOperate && (
          <button
            type="button"
            class="danger"
            aria-label={words.stopCast(name)}
            onClick={() => change({ dialog: { kind: 'stop', cast } })}
          >
            {words.stop}
          </button>
        )}
      </div>
      {status && <CastStatus cast={cast} status={status} name={name} />}
    </article>
  )
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
        <div class="progress">
          <progress aria-label={words.hashing} value={status.hashedBytes} max={Math.max(1, status.sizeBytes)} />
          <p class="small">
            <span>{words.hashing}</span>
            <span class="muted">{text.jobs.doneOf(status.hashedBytes, status.sizeBytes)}</span>
          </p>
        </div>
      )}
      <dl class="facts">
        <Fact label={words.address} value={words.addressOn(status.group, status.port, status.interfaceName)} />
        {isSending && (
          <Fact label={words.rate} value={words.rateNow(status.sentBitsPerSecond, status.allowedBitsPerSecond)} />
        )}
        {cast.rateBitsPerSecond !== undefined && (
          <Fact label={words.ceiling} value={text.rate(cast.rateBitsPerSecond)} />
        )}
        <Fact label={words.pass} value={String(status.pass)} />
        <Fact label={words.sent} value={words.sentOf(status.sentBytes, status.sizeBytes)} />
        {status.heard.of > 0 && (
          <Fact label={words.heard} value={words.heardOf(status.heard.clients, status.heard.of)} />
        )}
      </dl>
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

function Fact({ label, value }: { label: string; value: string }) {
  return (
    <div>
      <dt>{label}</dt>
      <dd>{value}</dd>
    </div>
  )
}

function ClientTable({ clients, sizeBytes, name }: { clients: readonly Client[]; sizeBytes: number; name: string }) {
  const { columns } = words
  const shown: readonly Column[] = [
    { title: columns.client },
    { title: columns.state },
    { title: columns.progress },
    { title: columns.loss, kind: 'number' },
    { title: columns.drops, kind: 'number', meaning: words.dropsMeaning },
  ]
  return (
    <Table kind="clients" label={words.clientsOf(name)} columns={shown}>
      {clients.map((client) => (
        <ClientRow key={client.clientId} client={client} sizeBytes={sizeBytes} />
      ))}
    </Table>
  )
}

function ClientRow({ client, sizeBytes }: { client: Client; sizeBytes: number }) {
  const { columns } = words
  const received = Math.max(0, sizeBytes - client.lackingBytes)
  return (
    <Row>
      <Title>
        <span class="name">{client.name}</span>
      </Title>
      <Cell label={columns.state}>
        <span class={`state ${client.state}`}>{words.clientStates[client.state]}</span>
      </Cell>
      <Cell label={columns.progress} kind="received">
        <progress aria-label={words.progressOf(client.name)} value={received} max={Math.max(1, sizeBytes)} />
        <span>{text.percent(received, sizeBytes)}</span>
      </Cell>
      <Cell label={columns.loss} kind="number">
        {words.loss(client.lossPpm)}
      </Cell>
      <Cell label={columns.drops} kind="number">
        {String(client.socketDrops)}
      </Cell>
    </Row>
  )
}

function EndedCast({ cast }: { cast: Cast }) {
  return (
    <li class="row" data-cast={cast.id}>
      <div class="row-head">
        <p class="row-title">
          <span class="state ended">{words.states.ended}</span>
          <strong>{words.name(cast.id, cast.image)}</strong>
        </p>
        <p class="muted small">
          {cast.group} · {words.opened(text.when(cast.createdAtMs), cast.createdBy)}
          {cast.endedAtMs !== undefined && ` · ${words.ended(text.when(cast.endedAtMs))}`}
        </p>
      </div>
      {cast.reason && <p class="small">{cast.reason}</p>}
    </li>
  )
}
