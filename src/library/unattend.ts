/**
 * Answer files of images. They may hold passwords: they are kept apart from the rows, and given to operators only.
 * Source: the answer file is XML whose root is `unattend` (Windows Setup, "Answer files overview").
 */
import { eq } from 'drizzle-orm'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { formatBytes } from '../base/units.ts'
import type { Db } from '../db/open.ts'
import { unattendFiles } from '../db/schema.ts'
import { isXmlText, rootNameOf } from '../wim/xml.ts'

export const MAX_UNATTEND_BYTES = 1 << 20
/** XML 1.0 §4.1; the parser lets it through, and there is no document type that could define more entities. */
const BARE_AMPERSAND = /&(?!(?:#\d+|#x[0-9a-fA-F]+|amp|lt|gt|quot|apos);)/

export function parseUnattend(text: string): Result<string> {
  const hint = 'Name an answer file as Windows SIM writes it: XML whose root is <unattend>.'
  if (Buffer.byteLength(text) > MAX_UNATTEND_BYTES)
    return refuse('bad-unattend', `the answer file is larger than ${formatBytes(MAX_UNATTEND_BYTES)}`, hint)
  const plain = text.replace(/^\ufeff/, '')
  // The parser lets them through; Windows Setup would not read the file.
  if (!isXmlText(plain)) return refuse('bad-unattend', 'the answer file has characters that XML cannot carry', hint)
  if (BARE_AMPERSAND.test(plain.replaceAll(/<!--[\s\S]*?-->|<!\[CDATA\[[\s\S]*?\]\]>/g, '')))
    return refuse('bad-unattend', 'the answer file has a bare "&"', 'Write it as &amp;.')
  const root = rootNameOf(plain)
  if (!root.ok) return refuse('bad-unattend', `the answer file is malformed: ${root.error.message}`, hint)
  if (root.value !== 'unattend') return refuse('bad-unattend', `the answer file's root is <${root.value}>`, hint)
  return ok(plain)
}

export function unattendOf(db: Db, imageId: number): string | undefined {
  return db.select().from(unattendFiles).where(eq(unattendFiles.imageId, imageId)).get()?.text
}

/** `undefined` removes it. */
export function setUnattend(db: Db, imageId: number, text: string | undefined, nowMs: number): void {
  if (text === undefined) db.delete(unattendFiles).where(eq(unattendFiles.imageId, imageId)).run()
  else
    db.insert(unattendFiles)
      .values({ imageId, text, addedAtMs: nowMs })
      .onConflictDoUpdate({ target: unattendFiles.imageId, set: { text, addedAtMs: nowMs } })
      .run()
}
