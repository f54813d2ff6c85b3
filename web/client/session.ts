/** Signing in and out. The token lives in this tab alone (sessionStorage) and goes nowhere but into the header. */

import type { Result } from '../../src/base/result.ts'
import type { Refusal } from './api.ts'
import { type ApiClient, openApi } from './api.ts'
import { follow } from './feed.ts'
import { change, forget, read, tell, tellRefusal } from './store.ts'
import { text } from './text.ts'

const KEY = 'wimcast.token'

type Open = { readonly api: ApiClient; readonly over: AbortController }
let open: Open | undefined

export async function signIn(token: string): Promise<void> {
  change({ signingIn: true, signInRefusal: undefined })
  const api = openApi(token)
  const [me, version] = await Promise.all([api.me(), api.version()])
  const refused = me.ok ? version : me
  if (!refused.ok || !me.ok || !version.ok) {
    if (!refused.ok && refused.error.code !== 'unreachable') sessionStorage.removeItem(KEY)
    const error = refused.ok ? undefined : refused.error
    // The hint of the API is for those who write headers by hand.
    return change({
      signingIn: false,
      signInRefusal: error?.code === 'not-signed-in' ? { ...error, hint: text.signIn.refusedHint } : error,
    })
  }
  sessionStorage.setItem(KEY, token)
  const over = new AbortController()
  open = { api, over }
  change({ signingIn: false, session: { me: me.value, version: version.value }, connection: 'connecting' })
  follow({ api, signal: over.signal, onSignedOut: (refusal) => signOut({ ...refusal, hint: text.signIn.over }) })
}

export function signOut(because?: Refusal): void {
  sessionStorage.removeItem(KEY)
  open?.over.abort()
  open = undefined
  forget(because)
}

/** After a reload of the tab. */
export function resume(): void {
  const token = sessionStorage.getItem(KEY)
  if (token !== null) signIn(token)
}

/** Asks for a change and says what came of it; the change itself comes back by the feed. */
export async function act<T>(
  call: (api: ApiClient) => Promise<Result<T, Refusal>>,
  done: (value: T) => string,
): Promise<Refusal | undefined> {
  if (!open) return undefined
  const result = await call(open.api)
  if (result.ok) {
    tell(done(result.value))
    return undefined
  }
  if (result.error.code === 'not-signed-in') signOut({ ...result.error, hint: text.signIn.over })
  // A dialog shows its own refusals, beside the fields.
  else if (!read().dialog) tellRefusal(result.error)
  return result.error
}
