/** What is asked of a transmission: parsed, and refused or warned of, before any work begins. Pure. */
import { foldCase } from '../base/fold.ts'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { parseImageName } from '../library/names.ts'
import type { StartTerms } from './start-rule.ts'
import { parseStartTime } from './start-time.ts'

/** The multicast parameters of Copy-WdsInstallImage and its siblings; none of them: an AutoCast. */
export type Multicast = {
  /** Absent: the image's name. */
  readonly name?: string | undefined
  /** Waits until somebody starts it. */
  readonly manualStart?: boolean | undefined
  /** Waits for so many clients. */
  readonly clientCount?: number | undefined
  /** Waits for this time, in a form of start-time.ts; with a number of clients: whichever comes first. */
  readonly startTime?: string | undefined
  readonly interfaceName?: string | undefined
  readonly rateBitsPerSecond?: number | undefined
}

export type Plan = StartTerms & {
  readonly name: string | undefined
  readonly kind: 'auto' | 'scheduled'
  readonly interfaceName: string | undefined
  readonly rateBitsPerSecond: number | undefined
}

export const MAX_CLIENT_COUNT = 1000

export function parsePlan(
  asked: Multicast,
  { timeZone, nowMs }: { readonly timeZone: string; readonly nowMs: number },
): Result<Plan> {
  const { manualStart = false, clientCount, startTime, interfaceName, rateBitsPerSecond } = asked
  const name = asked.name === undefined ? ok(undefined) : parseTransmissionName(asked.name)
  if (!name.ok) return name
  if (manualStart && (clientCount !== undefined || startTime !== undefined))
    return refuse(
      'bad-request',
      'a start by hand excludes a number of clients and a time',
      'Leave out one or the other; what waits for clients or a time can be started by hand before.',
    )
  if (
    clientCount !== undefined &&
    !(Number.isInteger(clientCount) && clientCount >= 1 && clientCount <= MAX_CLIENT_COUNT)
  )
    return refuse(
      'bad-request',
      `${clientCount} is no number of clients to wait for`,
      `It is a whole number from 1 to ${MAX_CLIENT_COUNT}.`,
    )
  const start = startTime === undefined ? ok(undefined) : parseStartTime(startTime, { timeZone, nowMs })
  if (!start.ok) return start
  const isScheduled = manualStart || clientCount !== undefined || start.value !== undefined
  return ok({
    name: name.value,
    kind: isScheduled ? 'scheduled' : 'auto',
    clientCount,
    startAtMs: start.value?.atMs,
    interfaceName,
    rateBitsPerSecond,
  })
}

/** An image's name may be one, so the same rule holds. */
function parseTransmissionName(text: string): Result<string> {
  const name = parseImageName(text)
  if (name.ok) return name
  return refuse(
    'bad-name',
    name.error.message.replace('image name', 'name of a transmission'),
    'Give it a short name on one line.',
  )
}

export function warningsOf({ startAtMs }: Pick<Plan, 'startAtMs'>, nowMs: number): string[] {
  if (startAtMs === undefined || startAtMs >= nowMs) return []
  return ['The start time has passed: the transmission starts with its first client.']
}

/** `One`, else `One (2)` and on: what has done its work already shall not fail for a name. */
export function freeName(wanted: string, taken: readonly string[]): string {
  const folded = new Set(taken.map(foldCase))
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? wanted : `${wanted} (${number})`
    if (!folded.has(foldCase(name))) return name
  }
}
