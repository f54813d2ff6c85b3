/** Signing in and out. The token lives in this tab alone (sessionStorage) and goes nowhere but into the header. */
import type { Result } from '../../src/base/result.ts'
import type { Refusal } from './api.ts'
import { type ApiClient, openApi } from './api.ts'
import { follow } from './feed.ts'
import { openResources, type Resources } from './resources.ts'
import { parseRoute } from './route.ts'
import { type Action, change, forget, tell, tellRefusal } from './store.ts'
import { text } from './text.ts'

const KEY = 'wimcast.token'

type Open = { readonly api: ApiClient; readonly resources: Resources; readonly over: AbortController }
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
  const resources = openResources(api, over.signal)
  open = { api, resources, over }
  change({ signingIn: false, session: { me: me.value, version: version.value }, connection: 'connecting' })
  follow({
    api,
    resources,
    signal: over.signal,
    onSignedOut: (refusal) => signOut({ ...refusal, hint: text.signIn.over }),
  })
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

/** Another room: what it shows is asked for, and it begins at its top. */
export function enter(): void {
  change({ route: parseRoute(location.hash), dialog: undefined })
  open?.resources.refreshRoom()
  scrollTo(0, 0)
}

export function resources(): Resources | undefined {
  return open?.resources
}

/** Nobody is signed in any more: undefined. */
export async function ask<T>(
  call: (api: ApiClient) => Promise<Result<T, Refusal>>,
): Promise<Result<T, Refusal> | undefined> {
  if (!open) return undefined
  const result = await call(open.api)
  if (!result.ok && result.error.code === 'not-signed-in') signOut({ ...result.error, hint: text.signIn.over })
  // Settings and the like are in no event.
  else if (result.ok) open?.resources.refreshRoom()
  return result
}

/** Asks for a change outside of a dialog, and says what came of it; the change itself comes back by the feed. */
export async function act<T>(
  call: (api: ApiClient) => Promise<Result<T, Refusal>>,
  done: (value: T) => string | { readonly message: string; readonly action?: Action | undefined },
): Promise<Refusal | undefined> {
  const result = await ask(call)
  if (!result) return undefined
  if (!result.ok) {
    tellRefusal(result.error)
    return result.error
  }
  const said = done(result.value)
  if (typeof said === 'string') tell(said)
  else tell(said.message, said.action)
  return undefined
}
