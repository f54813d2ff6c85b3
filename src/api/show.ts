/** Rows as the API shows them: no ids of ours, no nulls, no hashes. */
import type { z } from '@hono/zod-openapi'
import type { TokenRow } from '../access/tokens.ts'
import type { Principal } from '../base/principal.ts'
import { isCode } from '../base/refusal.ts'
import type { Job } from '../jobs/jobs.ts'
import type { GroupReport } from '../library/library.ts'
import type { InstallImage } from '../library/rows.ts'
import type { Transmission } from '../transmissions/transmissions.ts'
import type { CastSchema, FactsSchema, GroupSchema, ImageSchema, JobSchema, MeSchema, TokenSchema } from './schemas.ts'

/** Routes that need a role have turned away the anonymous before. */
export function showMe(who: Exclude<Principal, { kind: 'anonymous' }>): z.infer<typeof MeSchema> {
  return { kind: who.kind, name: who.kind === 'token' ? who.name : who.kind, role: who.role }
}

export function showGroup(group: GroupReport): z.infer<typeof GroupSchema> {
  const { name, images, storedBytes, apparentBytes, createdAtMs } = group
  return { name, images, storedBytes, apparentBytes, createdAtMs }
}

export function showImage(image: InstallImage): z.infer<typeof ImageSchema> {
  const { name, description, group, fileName, isPublic, viewBytes, createdAtMs, changedAtMs } = image
  return {
    name,
    description,
    group,
    fileName,
    public: isPublic,
    sizeBytes: viewBytes,
    path: `images/${group}/${fileName}`,
    facts: image.facts as z.infer<typeof FactsSchema>,
    createdAtMs,
    changedAtMs,
  }
}

export function showJob(job: Job): z.infer<typeof JobSchema> {
  const { endedAtMs, error, result, ...rest } = job
  return {
    ...rest,
    ...(endedAtMs === null ? {} : { endedAtMs }),
    ...(error && isCode(error.code) ? { error: { ...error, code: error.code } } : {}),
    ...(result ? { result } : {}),
  }
}

export function showToken(row: TokenRow): z.infer<typeof TokenSchema> {
  const { name, role, createdAtMs, revokedAtMs, usedAtMs, usedFrom } = row
  return {
    name,
    role,
    createdAtMs,
    ...(revokedAtMs === undefined ? {} : { revokedAtMs }),
    ...(usedAtMs === undefined ? {} : { usedAtMs }),
    ...(usedFrom === undefined ? {} : { usedFrom }),
  }
}

export function showCast(cast: Transmission): z.infer<typeof CastSchema> {
  const { status, ...rest } = cast
  if (!status) return rest
  const { castId: _, label: __, clients, ...shown } = status
  return { ...rest, status: { ...shown, clients: [...clients] } }
}
