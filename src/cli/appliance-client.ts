/** The API as the CLI sees it: a typed client over the unix socket, or over pinned HTTPS. */
import { readFileSync } from 'node:fs'
import { type ClientResponse, hc } from 'hono/client'
import { parseToken } from '../access/tokens.ts'
import type { Api } from '../api/app.ts'
import { parseFingerprint } from '../base/fingerprint.ts'
import { isCode, type Refusal, Refused, refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { type Client, openClient } from '../client/client.ts'
import type { Arguments } from './args.ts'

export const DEFAULT_SOCKET = '/run/wimcast/api.sock'

export type ApplianceClient = Disposable & {
  readonly api: ReturnType<typeof hc<Api>>['api']
  readonly raw: Client
  /** True on the appliance's own machine: paths mean the same to both. */
  readonly local: boolean
}

function readToken(file: string): Result<string> {
  try {
    const text = readFileSync(file, 'utf8').trim()
    const token = parseToken(text)
    return token.ok
      ? ok(text)
      : refuse(
          'bad-request',
          `"${file}" does not hold a token`,
          'Make one: wimcast token new --name N --role R > FILE.',
        )
  } catch (error) {
    return refuse(
      'bad-request',
      `the token file cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      'Make one: wimcast token new --name N --role R > FILE.',
    )
  }
}

function open(args: Arguments): Result<{ client: Client; local: boolean }> {
  const server = args.text('server')
  if (server === undefined) {
    const socket = args.text('socket') ?? process.env['WIMCAST_SOCKET'] ?? DEFAULT_SOCKET
    return ok({ client: openClient({ socket }), local: true })
  }
  let url: URL
  try {
    url = new URL(server)
  } catch {
    return refuse('bad-request', `"${server}" is not a URL`, 'Write it as https://HOST:PORT.')
  }
  if (url.protocol !== 'https:')
    return refuse('bad-request', `"${server}" is not HTTPS`, 'The API is served over HTTPS only.')
  const given = args.text('fingerprint')
  if (given === undefined)
    return refuse('bad-request', '--server needs --fingerprint', 'The ready line of the appliance shows it.')
  const fingerprint = parseFingerprint(given)
  if (!fingerprint.ok) return fingerprint
  const file = args.text('token-file')
  const token = file === undefined ? ok(undefined) : readToken(file)
  if (!token.ok) return token
  return ok({ client: openClient({ server: url, fingerprint: fingerprint.value, token: token.value }), local: false })
}

export function openAppliance(args: Arguments): Result<ApplianceClient> {
  const opened = open(args)
  if (!opened.ok) return opened
  const { client, local } = opened.value
  const { api } = hc<Api>(client.base, { fetch: client.fetch })
  return ok({ api, raw: client, local, [Symbol.dispose]: () => client[Symbol.dispose]() })
}

type Good<R> = R extends ClientResponse<infer T, infer S, 'json'> ? (S extends 200 | 201 | 202 ? T : never) : never

/** The refusal in an answer that is none of the good ones. */
export async function refusalOf(response: {
  readonly status: number
  readonly text: () => Promise<string>
}): Promise<Refusal> {
  const text = await response.text().catch(() => '')
  try {
    const body = JSON.parse(text) as Partial<Refusal>
    if (
      typeof body.code === 'string' &&
      isCode(body.code) &&
      typeof body.message === 'string' &&
      typeof body.hint === 'string'
    )
      return body as Refusal
  } catch {
    // Not ours: a proxy's page, say.
  }
  return {
    code: 'unavailable',
    message: `the appliance answered ${response.status}`,
    hint: 'Is this a wimcast of the same version? See its log.',
  }
}

/** The JSON of a good answer; a refusal is thrown, for the one place that prints it. */
export async function take<R extends ClientResponse<unknown, number, string>>(pending: Promise<R>): Promise<Good<R>> {
  const response = await pending
  if (!response.ok) throw new Refused(await refusalOf(response))
  return (await response.json()) as Good<R>
}

/** For answers without a body. */
export async function done(pending: Promise<ClientResponse<unknown, number, string>>): Promise<void> {
  const response = await pending
  if (!response.ok) throw new Refused(await refusalOf(response))
  await response.text()
}
