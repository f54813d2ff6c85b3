/** Tokens in the database. */
import { and, asc, eq, isNull, sql } from 'drizzle-orm'
import { isDiskFull } from '../base/disk-full.ts'
import { refuse } from '../base/refusal.ts'
import { ok } from '../base/result.ts'
import type { Db } from '../db/open.ts'
import { tokens } from '../db/schema.ts'
import type { TokenRow, TokenStore } from './tokens.ts'

function toRow(row: typeof tokens.$inferSelect): TokenRow {
  const { revokedAtMs, usedAtMs, usedFrom, ...rest } = row
  return {
    ...rest,
    revokedAtMs: revokedAtMs ?? undefined,
    usedAtMs: usedAtMs ?? undefined,
    usedFrom: usedFrom ?? undefined,
  }
}

export function tokenRows(db: Db): TokenStore {
  const valid = (name: string) => and(sql`${tokens.name} = ${name} collate nocase`, isNull(tokens.revokedAtMs))
  return {
    insert: (row) => {
      if (db.select().from(tokens).where(valid(row.name)).get())
        return refuse(
          'exists',
          `there is already a token named "${row.name}"`,
          'Choose another name, or revoke that one first.',
        )
      db.insert(tokens).values(row).run()
      return ok(undefined)
    },
    findById: (id) => {
      const row = db.select().from(tokens).where(eq(tokens.id, id)).get()
      return row && toRow(row)
    },
    list: () => db.select().from(tokens).orderBy(asc(tokens.createdAtMs)).all().map(toRow),
    revoke: (name, atMs) => {
      const revoked = db.update(tokens).set({ revokedAtMs: atMs }).where(valid(name)).returning({ id: tokens.id }).all()
      if (revoked.length === 0)
        return refuse('not-found', `there is no valid token named "${name}"`, 'List them: wimcast token list.')
      return ok(undefined)
    },
    touch: (id, atMs, address) => {
      try {
        db.update(tokens).set({ usedAtMs: atMs, usedFrom: address }).where(eq(tokens.id, id)).run()
      } catch (error) {
        // A full disk must not lock out who comes to make room on it.
        if (!isDiskFull(error)) throw error
      }
    },
  }
}
