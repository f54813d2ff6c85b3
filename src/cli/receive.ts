/** `wimcast receive`: the multicast receiver as a command. Its control plane is the API, over pinned HTTPS. */
import { statSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, resolve } from 'node:path'
import { JoinAnswerSchema } from '../api/schemas.ts'
import { Refused, refuse } from '../base/refusal.ts'
import { err, ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import type { CastControl } from '../cast/control.ts'
import { receive } from '../cast/receive.ts'
import type { Waiting } from '../cast/receiver-messages.ts'
import type { Client } from '../client/client.ts'
import { unwritable } from '../library/transfer/export-target.ts'
import { refusalOf } from './appliance-client.ts'
import { parseId } from './args.ts'
import { type Command, must } from './command.ts'
import { mayWrite, parseIfExists } from './export.ts'

/** A call that hangs is a failed call: multicast goes on meanwhile, and ranges are asked for again. */
const CALL_MS = 30_000
/** Hashing a large image on a slow disk takes minutes; the appliance answers when it is done. */
const MANIFEST_MS = 30 * 60_000

/** `signal` is the caller's: that it was interrupted is thrown, that we ran out of time is a refusal. */
async function ask<T>(
  signal: AbortSignal,
  call: () => Promise<Response>,
  read: (response: Response) => Promise<T>,
): Promise<Result<T>> {
  try {
    const response = await call()
    return response.ok ? ok(await read(response)) : err(await refusalOf(response))
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof Refused) return err(error.refusal)
    if (error instanceof DOMException && error.name === 'TimeoutError')
      return refuse('unreachable', 'the appliance did not answer in time', 'Check the network, and its log.')
    throw error
  }
}

async function readJoinAnswer(response: Response) {
  const json: unknown = await response.json().catch((error: unknown) => {
    if (!(error instanceof SyntaxError)) throw error
  })
  const answer = JoinAnswerSchema.safeParse(json)
  if (answer.success) return answer.data
  const hint = 'Update the client and the server to the same version of wimcast.'
  throw new Refused(refuse('unsupported', 'the appliance answers a join in another form', hint).error)
}

export function castControl(client: Client, castId: number): CastControl {
  const path = `/api/casts/${castId}`
  const within = (signal: AbortSignal, ms: number): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(ms)])
  const post = (what: string, body: unknown, signal: AbortSignal) =>
    client.fetch(`${path}/${what}`, {
      method: 'POST',
      body: JSON.stringify(body),
      headers: { 'Content-Type': 'application/json' },
      signal: within(signal, CALL_MS),
    })
  return {
    manifest: (signal) =>
      ask(
        signal,
        () => client.fetch(`${path}/manifest`, { signal: within(signal, MANIFEST_MS) }),
        (response) => response.bytes(),
      ),
    join: (request, signal) => ask(signal, () => post('join', request, signal), readJoinAnswer),
    done: (request, signal) =>
      ask(
        signal,
        () => post('done', request, signal),
        async (response) => {
          await response.text()
        },
      ),
    range: async (from, to, signal) => {
      const bytes = await ask(
        signal,
        () =>
          client.fetch(`${path}/content`, {
            headers: { Range: `bytes=${from}-${to - 1}` },
            signal: within(signal, CALL_MS),
          }),
        (response) => response.bytes(),
      )
      if (bytes.ok && bytes.value.byteLength !== to - from)
        return refuse('unreachable', `a range of ${to - from} bytes came as ${bytes.value.byteLength}`, 'Try again.')
      return bytes
    },
  }
}

function waitingFor({ ready, wanted }: Waiting): string {
  const clients =
    wanted === undefined ? (ready === 1 ? '1 client' : `${ready} clients`) : `${ready} of ${wanted} clients`
  return `waiting for the transmission to start (${clients})`
}

/** Before anything is asked: hashing a large image for us takes the appliance minutes. */
function mayMake(file: string, ifExists: 'fail' | 'overwrite'): Result<void> {
  const folder = dirname(file)
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory())
    return refuse('bad-path', `there is no folder "${folder}"`, 'Make it, or name another place.')
  return mayWrite(file, ifExists)
}

export const receiveCommand: Command = {
  words: 'receive',
  operands: [],
  doc: 'receive a transmission into a file; resumes a part that is there already',
  options: {
    cast: { placeholder: 'ID', doc: 'which transmission' },
    out: { placeholder: 'FILE', doc: 'the file to make' },
    'if-exists': { placeholder: 'fail|overwrite', doc: 'when FILE is there (default fail)' },
    interface: { placeholder: 'IF', doc: 'the network interface to listen on' },
    name: { placeholder: 'N', doc: 'what the operator reads (default: the host name)' },
  },
  run: async ({ appliance, args, out, signal }) => {
    const castId = must(parseId('cast', args.text('cast')))
    const named = args.text('out')
    if (named === undefined || named === '') {
      return must(refuse('bad-request', '--out is missing', 'Name the file to make.'))
    }
    const file = resolve(named)
    const ifExists = must(parseIfExists(args.text('if-exists'), ['fail', 'overwrite']))
    const interfaceName = args.text('interface')
    must(mayMake(file, ifExists))
    const received = await receive({
      control: castControl(appliance.raw, castId),
      clientName: args.text('name') ?? hostname(),
      out: file,
      ifExists,
      ...(interfaceName === undefined ? {} : { interfaceName }),
      onProgress: ({ waiting, by, verifiedBytes, sizeBytes }) =>
        waiting
          ? out.progress.show(waitingFor(waiting), 0, 0)
          : out.progress.show(`receiving by ${by}`, verifiedBytes, sizeBytes),
      signal,
    }).catch((error: unknown) => {
      throw unwritable(file, error)
    })
    if (!received.ok) throw new Refused(received.error)
    const summary = received.value
    out.progress.end()
    const rate =
      summary.tookMs > 0
        ? `, ${formatBytes((summary.sizeBytes - summary.resumedBytes) / (summary.tookMs / 1000))}/s`
        : ''
    const how =
      summary.fallback === undefined
        ? 'by multicast'
        : `${formatBytes(summary.rangeBytes)} of it by HTTPS (${summary.fallback})`
    out.result(
      { file: named, ...summary },
      `received ${formatBytes(summary.sizeBytes)} ${how} in ${(summary.tookMs / 1000).toFixed(1)} s${rate}`,
    )
  },
}
