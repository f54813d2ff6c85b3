/**
 * Every change that somebody asks for goes through here: one transaction, with its line in the audit log by the same
 * commit. A dry run does all of it and takes it back, so it refuses what the change would refuse.
 */
import { and, desc, eq, lt, type SQL, sql } from 'drizzle-orm'
import type { Clock } from '../base/clock.ts'
import { nameOf, type Principal } from '../base/principal.ts'
import { ok, type Result } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { audit } from '../db/schema.ts'

/** By whom, and whether for real. */
export type By = {
  readonly who: Principal
  readonly dryRun?: boolean | undefined
  /** The job that does it. */
  readonly jobId?: number | undefined
}

export type Facts = Readonly<Record<string, unknown>>

export type Entry = {
  /** `image.copy` */
  readonly verb: string
  /** What was changed, by its name of then: `G/install.wim`. */
  readonly subject: string
  readonly before?: Facts | undefined
  readonly after?: Facts | undefined
}

export type Changed<T> = {
  readonly value: T
  readonly entries: readonly Entry[]
  /** Runs after the commit, and not in a dry run. */
  readonly afterwards?: (() => void) | undefined
}

export type AuditLine = typeof audit.$inferSelect

export type AuditQuery = {
  /** Lines older than this one. */
  readonly before?: number | undefined
  readonly limit?: number | undefined
  /** `image` finds `image.copy` too. */
  readonly verb?: string | undefined
  readonly who?: string | undefined
  /** Part of the subject. */
  readonly subject?: string | undefined
}

export type Changes = {
  /** `make` reads and writes through the same database; what it refuses, or a dry run, leaves nothing. */
  readonly apply: <T>(by: By, make: () => Result<Changed<T>>) => Result<T>
  /** Newest first. */
  readonly list: (query?: AuditQuery) => AuditLine[]
}

const MAX_LINES = 1000

/** Ends a transaction whose work shall not stay. */
class TakeBack extends Error {}

export function openChanges({ db, clock }: { readonly db: Db; readonly clock: Clock }): Changes {
  return {
    apply: <T>(by: By, make: () => Result<Changed<T>>): Result<T> => {
      let made: Result<Changed<T>> | undefined
      try {
        db.transaction(() => {
          made = make()
          if (!made.ok || by.dryRun) throw new TakeBack()
          for (const { verb, subject, before, after } of made.value.entries)
            db.insert(audit)
              .values({
                atMs: clock.nowMs(),
                who: nameOf(by.who),
                verb,
                subject,
                before: before ?? null,
                after: after ?? null,
                jobId: by.jobId ?? null,
              })
              .run()
        })
      } catch (error) {
        if (!(error instanceof TakeBack) || !made) throw error
        return made.ok ? ok(made.value.value) : made
      }
      if (!made?.ok) throw new Error('a transaction ended without its work')
      made.value.afterwards?.()
      return ok(made.value.value)
    },
    list: ({ before, limit = 100, verb, who, subject } = {}) => {
      const wanted: (SQL | undefined)[] = [
        before === undefined ? undefined : lt(audit.id, before),
        verb === undefined
          ? undefined
          : sql`(${audit.verb} = ${verb} or ${audit.verb} like ${`${escapeLike(verb)}.%`} escape '\\')`,
        who === undefined ? undefined : eq(audit.who, who),
        subject === undefined ? undefined : sql`instr(${audit.subject}, ${subject}) > 0`,
      ]
      return db
        .select()
        .from(audit)
        .where(and(...wanted))
        .orderBy(desc(audit.id))
        .limit(Math.min(limit, MAX_LINES))
        .all()
    },
  }
}

function escapeLike(text: string): string {
  return text.replaceAll(/[\\%_]/g, '\\$&')
}
