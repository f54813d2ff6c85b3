/** When a transmission that is held begins. Pure: whoever calls brings what is so now. */

/** What it was made with: a number of clients, a time, both, or neither: then somebody starts it by hand. */
export type StartTerms = {
  readonly clientCount: number | undefined
  readonly startAtMs: number | undefined
}

export type StartFacts = {
  /** Clients that the group reaches and that are still here. */
  readonly ready: number
  readonly nowMs: number
}

/** Why it begins now; undefined: it waits on. */
export type StartReason = 'clients' | 'time'

/**
 * Whichever comes first. Without a client nothing begins: a time that comes then, or has passed, is kept for the first
 * one. Source: Copy-WdsInstallImage, ClientCount and StartTime.
 */
export function startsNow(terms: StartTerms, { ready, nowMs }: StartFacts): StartReason | undefined {
  if (ready < 1) return undefined
  if (terms.clientCount !== undefined && ready >= terms.clientCount) return 'clients'
  if (terms.startAtMs !== undefined && nowMs >= terms.startAtMs) return 'time'
  return undefined
}

/** The clock may be set meanwhile: it is looked at again at least this often. */
const LOOK_MS = 60_000

/** How soon to look at the clock for it; undefined: no time changes anything. */
export function looksAgainInMs(terms: StartTerms, nowMs: number): number | undefined {
  if (terms.startAtMs === undefined || terms.startAtMs <= nowMs) return undefined
  return Math.min(LOOK_MS, terms.startAtMs - nowMs)
}
