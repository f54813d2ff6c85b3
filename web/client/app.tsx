import { useSyncExternalStore } from 'hono/jsx/dom'
import { ActiveDialog } from './dialogs.tsx'
import { retryNow } from './feed.ts'
import { Jobs } from './jobs.tsx'
import { Library } from './library.tsx'
import { signOut } from './session.ts'
import { SignIn } from './sign-in.tsx'
import { dismiss, mayAct, type Notice, read, type Session, type State, subscribe } from './store.ts'
import { text } from './text.ts'
import { isOpen, Transmissions } from './transmissions.tsx'

export function App() {
  const state = useSyncExternalStore(subscribe, read)
  if (!state.session) return <SignIn busy={state.signingIn} refusal={state.signInRefusal} />
  const canOperate = mayAct(state.session, 'operator')
  return (
    <>
      <a class="skip" href="#content">
        {text.skip}
      </a>
      <Header session={state.session} state={state} />
      <Notices notices={state.notices} />
      <main id="content" tabindex={-1}>
        <Library groups={state.groups} images={state.images} canOperate={canOperate} />
        <Transmissions casts={state.casts} canOperate={canOperate} />
        <Jobs jobs={state.jobs} canOperate={canOperate} />
      </main>
      {state.dialog && <ActiveDialog key={state.dialog.kind} dialog={state.dialog} />}
    </>
  )
}

function Header({ session, state }: { session: Session; state: State }) {
  const { me, version } = session
  const running = state.jobs.filter((job) => job.endedAtMs === undefined).length
  const open = state.casts.filter(isOpen).length
  return (
    <header class="top">
      <div class="bar">
        <div class="brand">
          <img src="/icon.svg" alt="" width="28" height="28" />
          <h1>{text.product}</h1>
          <small>{text.header.version(version.wimcast)}</small>
        </div>
        <nav aria-label={text.header.sections}>
          <a href="#library">{text.library.title}</a>
          <a href="#casts">
            {text.casts.title} {open > 0 && <span class="count">{text.casts.open(open)}</span>}
          </a>
          <a href="#jobs">
            {text.jobs.title} {running > 0 && <span class="count">{text.jobs.running(running)}</span>}
          </a>
        </nav>
        <p class={`connection ${state.connection}`} role="status">
          {text.connection[state.connection]}
        </p>
        <p class="who">
          <span>{text.header.signedInAs(me.name, text.roles[me.role])}</span>
          <button type="button" class="quiet" onClick={() => signOut()}>
            {text.header.signOut}
          </button>
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
        <div key={notice.id} class={`notice ${notice.kind}`}>
          <div>
            <p>{notice.message}</p>
            {notice.hint && <p class="hint">{notice.hint}</p>}
            {notice.code && <p class="code">{text.refusalCode(notice.code)}</p>}
          </div>
          <button type="button" class="quiet" onClick={() => dismiss(notice.id)}>
            {text.dismiss}
          </button>
        </div>
      ))}
    </section>
  )
}
