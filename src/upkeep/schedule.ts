/**
 * When something that happens daily, weekly or monthly is due next, at a time of day on a zone's own clock. Pure: days
 * are calendar days there, so summer time moves nothing; a time that a clock change leaves out comes that much later,
 * and of one that comes twice the first counts.
 */

export type Every = 'daily' | 'weekly' | 'monthly'

export type Rule = {
  readonly every: Every
  readonly at: { readonly hour: number; readonly minute: number }
}

/** The days on which a period begins: each day, Sunday, the first of the month. */
function beginOf(every: Every, day: Temporal.PlainDate): Temporal.PlainDate {
  switch (every) {
    case 'daily':
      return day
    case 'weekly':
      return day.subtract({ days: day.dayOfWeek % 7 })
    case 'monthly':
      return day.with({ day: 1 })
  }
}

const ONE = { daily: { days: 1 }, weekly: { weeks: 1 }, monthly: { months: 1 } } as const

/**
 * Milliseconds since the epoch: not after `nowMs` when it is due now. Periods go from due time to due time, and each has
 * one run: after one in this period (`lastMs`) the next is due when the next period begins. What a switched-off appliance
 * missed is due at once, once. What has never run waits for the first time that comes.
 *
 * A clock that was set back leaves `lastMs` ahead of `nowMs`. As far as the next period that run counts, or it would come
 * twice; one that is further ahead was made by a wrong clock and says nothing: it is due now, and then there is a true one.
 */
export function nextDueMs(rule: Rule, lastMs: number | undefined, nowMs: number, timeZone: string): number {
  const dueIn = (begin: Temporal.PlainDate): number =>
    begin.toZonedDateTime({ timeZone, plainTime: rule.at }).epochMilliseconds
  const begunAt = (ms: number): Temporal.PlainDate => {
    const day = Temporal.Instant.fromEpochMilliseconds(ms).toZonedDateTimeISO(timeZone).toPlainDate()
    const begin = beginOf(rule.every, day)
    return dueIn(begin) <= ms ? begin : begin.subtract(ONE[rule.every])
  }
  const following = (begin: Temporal.PlainDate): Temporal.PlainDate => begin.add(ONE[rule.every])
  const now = begunAt(nowMs)
  if (lastMs === undefined) return dueIn(following(now))
  const last = begunAt(lastMs)
  const isBeyond = Temporal.PlainDate.compare(last, following(now)) > 0
  return dueIn(isBeyond ? now : following(last))
}
