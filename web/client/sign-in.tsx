import type { Refusal } from './api.ts'
import { RefusalNote } from './kit/refusal.tsx'
import { signIn } from './session.ts'
import { change } from './store.ts'
import { text } from './text.ts'

export function SignIn({ busy, refusal }: { busy: boolean; refusal: Refusal | undefined }) {
  const words = text.signIn
  function submit(event: Event): void {
    event.preventDefault()
    const token = String(new FormData(event.currentTarget as HTMLFormElement).get('token') ?? '').trim()
    // Only what may stand in a header is sent; the appliance would see nothing else.
    if (/^[\x21-\x7e]+$/.test(token)) signIn(token)
    else change({ signInRefusal: { code: 'not-signed-in', message: words.missing, hint: '' } })
  }
  return (
    <main class="sign-in">
      <div class="card">
        <p class="brand">
          <img src="/icon.svg" alt="" width="36" height="36" />
          <strong>{text.product}</strong>
        </p>
        <h1>{words.title}</h1>
        <p>{words.lead}</p>
        <form onSubmit={submit}>
          <label for="token">{words.token}</label>
          <input
            id="token"
            name="token"
            type="password"
            autocomplete="off"
            spellcheck={false}
            autofocus
            aria-invalid={refusal ? 'true' : undefined}
            aria-describedby={refusal ? 'token-refusal' : undefined}
          />
          {refusal && <RefusalNote refusal={refusal} id="token-refusal" />}
          <button type="submit" class="main" disabled={busy}>
            {busy ? words.busy : words.button}
          </button>
        </form>
        <h2>{words.howTitle}</h2>
        <p>{words.how}</p>
        <pre>
          <code>{words.command}</code>
        </pre>
        <p class="hint">{words.kept}</p>
      </div>
    </main>
  )
}
