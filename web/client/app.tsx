/** The frame: who is signed in and whether the page is live, the way to the rooms, the open room, and what is on top. */
import { useSyncExternalStore } from 'hono/jsx/dom'
import { unreachable } from '../../src/base/result.ts'
import { AuditRoom } from './audit.tsx'
import { retryNow } from './feed.ts'
import { Jobs } from './jobs.tsx'
import { Bar } from './kit/bar.tsx'
import { Badge, Button } from './kit/facts.tsx'
import { LibraryRoom } from './library/room.tsx'
import { hrefOf, NEEDS, ROOMS, type Room } from './route.ts'
import { signOut } from './session.ts'
import { SettingsRoom } from './settings.tsx'
import { SignIn } from './sign-in.tsx'
import { dismiss, mayAct, type Notice, read, type Session, type State, subscribe } from './store.ts'
import { text } from './text.ts'
import { isOpen, Transmissions } from './transmissions.tsx'
import { TrashRoom } from './trash.tsx'
import { UpkeepRoom } from './upkeep.tsx'

export function App() {
  const state = useSyncExternalStore(subscribe, read)
  if (!state.session) return <SignIn busy={state.signingIn} refusal={state.signInRefusal} />
  return (
    <>
      {/* No link: the part behind the # says which room is open. */}
      <button type="button" class="skip" onClick={() => document.getElementById('content')?.focus()}>
        {text.skip}
      </button>
      <Header session={state.session} state={state} />
      <Notices notices={state.notices} />
      <div class="frame">
        <Rooms session={state.session} state={state} />
        <main id="content" tabindex={-1}>
          <OpenRoom key={state.route.room} session={state.session} state={state} />
        </main>
      </div>
      {state.dialog && <div key={state.dialog.id}>{state.dialog.render()}</div>}
    </>
  )
}

function OpenRoom({ session, state }: { session: Session; state: State }) {
  const { room, below } = state.route
  const role = NEEDS[room]
  const canOperate = mayAct(session, 'operator')
  const isAdmin = mayAct(session, 'admin')
  if (role !== undefined && !mayAct(session, role)) return <p class="card empty muted">{text.rooms.notYours}</p>
  switch (room) {
    case 'library':
      return (
        <LibraryRoom
          name={below}
          groups={state.groups}
          images={state.images}
          trash={state.trash}
          canOperate={canOperate}
          live={state.connection === 'live'}
        />
      )
    case 'transmissions':
      return <Transmissions casts={state.casts} canOperate={canOperate} />
    case 'jobs':
      return <Jobs jobs={state.jobs} canOperate={canOperate} />
    case 'trash':
      return <TrashRoom items={state.trash} canOperate={canOperate} isAdmin={isAdmin} />
    case 'upkeep':
      return (
        <UpkeepRoom
          groups={state.groups}
          health={state.health}
          backups={state.backups}
          jobs={state.jobs}
          canOperate={canOperate}
          isAdmin={isAdmin}
        />
      )
    case 'audit':
      return <AuditRoom page={state.audit} />
    case 'settings':
      return <SettingsRoom settings={state.settings} />
    default:
      return unreachable(room)
  }
}

/** What a room has that waits for somebody, or goes on. */
function countOf(room: Room, state: State): { readonly n: number; readonly of: string } | undefined {
  const some = (n: number, of: string) => (n > 0 ? { n, of } : undefined)
  switch (room) {
    case 'transmissions':
      return some(state.casts.filter(isOpen).length, text.casts.open)
    case 'jobs':
      return some(state.jobs.filter((job) => job.endedAtMs === undefined).length, text.jobs.running)
    case 'trash':
      return some(state.trash?.length ?? 0, text.trash.items)
    default:
      return undefined
  }
}

function Rooms({ session, state }: { session: Session; state: State }) {
  const mine = ROOMS.filter((room) => mayAct(session, NEEDS[room] ?? 'viewer'))
  return (
    <nav class="rooms" aria-label={text.header.rooms}>
      {mine.map((room) => {
        const count = countOf(room, state)
        return (
          <a key={room} href={hrefOf({ room })} aria-current={room === state.route.room ? 'page' : undefined}>
            {text.rooms[room]}{' '}
            {count && (
              <span class="count">
                {text.count(count.n)} <span class="only-read">{count.of}</span>
              </span>
            )}
          </a>
        )
      })}
    </nav>
  )
}

function Header({ session, state }: { session: Session; state: State }) {
  const { me, version } = session
  return (
    <header class="top">
      <div class="bar">
        <div class="brand">
          <img src="/icon.svg" alt="" width="28" height="28" />
          <h1>{text.product}</h1>
          <small>{text.header.version(version.wimcast)}</small>
        </div>
        <p class={`connection ${state.connection}`} role="status">
          {text.connection[state.connection]}
        </p>
        <p class="who">
          <span>{me.name}</span> <Badge>{text.roles[me.role]}</Badge>
          <Button look="quiet" onClick={() => signOut()}>
            {text.header.signOut}
          </Button>
        </p>
      </div>
      {state.connection === 'offline' && (
        <div class="offline-note">
          <p>{text.connection.offlineWhy}</p>
          <button type="button" onClick={retryNow}>
            {text.connection.retry}
          </button>
        </div>
      )}
    </header>
  )
}

function Notices({ notices }: { notices: readonly Notice[] }) {
  return (
    <section class="notices" aria-label={text.notices.title} aria-live="polite">
      {notices.map((notice) => (
        <NoticeBox key={notice.id} notice={notice} />
      ))}
    </section>
  )
}

function NoticeBox({ notice }: { notice: Notice }) {
  const { id, kind, message, hint, code, action, progress } = notice
  return (
    <div class={`notice ${kind}`}>
      <div>
        <p>{message}</p>
        {hint && <p class="hint">{hint}</p>}
        {code && <p class="code">{text.refusalCode(code)}</p>}
        {progress && (
          <Bar label={message} value={progress.done} max={progress.total}>
            {progress.total > 0 && <span class="muted">{text.jobs.doneOf(progress.done, progress.total)}</span>}
          </Bar>
        )}
      </div>
      <div class="notice-buttons">
        {action && (
          <Button
            onClick={() => {
              action.run()
              dismiss(id)
            }}
          >
            {action.label}
          </Button>
        )}
        {kind !== 'working' && (
          <Button look="quiet" onClick={() => dismiss(id)}>
            {text.dismiss}
          </Button>
        )}
      </div>
    </div>
  )
}
