/** A receiver for tests and benchmarks, control plane over plain HTTP: `receive.ts URL OUT [INTERFACE]`. Prints its summary. */

import { refuse } from '../../../src/base/refusal.ts'
import type { Result } from '../../../src/base/result.ts'
import { ok } from '../../../src/base/result.ts'
import type { CastControl, DoneRequest, JoinAnswer, JoinRequest } from '../../../src/cast/control.ts'
import { receive } from '../../../src/cast/receive.ts'
import type { ReceiverLimits } from '../../../src/cast/receiver-messages.ts'

const [url = '', out = '', interfaceName] = process.argv.slice(2)

/** A server that is away refuses, as it does over HTTPS. */
const away = () => refuse('unreachable', 'the sender does not answer', 'Wait.')

async function post<T>(path: string, body: JoinRequest | DoneRequest, signal: AbortSignal): Promise<Result<T>> {
  const response = await fetch(`${url}${path}`, { method: 'POST', body: JSON.stringify(body), signal }).catch(away)
  if (!(response instanceof Response)) return response
  return (await response.json()) as Result<T>
}

async function bytes(path: string, signal: AbortSignal): Promise<Result<Uint8Array>> {
  const response = await fetch(`${url}${path}`, { signal }).catch(away)
  if (!(response instanceof Response)) return response
  if (response.headers.get('content-type')?.startsWith('application/json'))
    return (await response.json()) as Result<never>
  return ok(await response.bytes())
}

const control: CastControl = {
  manifest: (signal) => bytes('/manifest', signal),
  join(request, signal) {
    process.stderr.write('join\n')
    return post<JoinAnswer>('/join', request, signal)
  },
  done: (request, signal) => post<void>('/done', request, signal),
  range: (from, to, signal) => bytes(`/range/${from}/${to}`, signal),
}

let printed = -1
const limits = process.env['LIMITS']
const startedMs = Date.now()
const result = await receive({
  control,
  clientName: process.env['NAME'] ?? 'receiver',
  out,
  ...(interfaceName === undefined ? {} : { interfaceName }),
  ...(limits === undefined ? {} : { limits: JSON.parse(limits) as ReceiverLimits }),
  onProgress({ heldBytes, sizeBytes }) {
    const percent = Math.floor((heldBytes / sizeBytes) * 10) * 10
    if (percent === printed) return
    printed = percent
    process.stderr.write(`at ${percent}\n`)
  },
  signal: AbortSignal.timeout(120_000),
})
process.stdout.write(`${JSON.stringify({ ...result, startedMs, endedMs: Date.now() })}\n`)
process.exit(result.ok ? 0 : 1)
