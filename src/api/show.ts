/** Rows as the API shows them: no ids of ours, no nulls, no hashes. */
import type { z } from '@hono/zod-openapi'
import type { TokenRow } from '../access/tokens.ts'
import type { AuditLine } from '../audit/changes.ts'
import type { Audience, Principal } from '../base/principal.ts'
import { isCode } from '../base/refusal.ts'
import type { Job } from '../jobs/jobs.ts'
import type { GroupReport } from '../library/groups.ts'
import { architectureOf, type InstallImage, languageOf } from '../library/rows.ts'
import type { Transmission } from '../transmissions/shown.ts'
import type {
  AudienceSchema,
  AuditLineSchema,
  CastSchema,
  FactsSchema,
  GroupSchema,
  ImageSchema,
  JobSchema,
  MeSchema,
  TokenSchema,
} from './schemas.ts'

/** Routes that need a role have turned away the anonymous before. */
export function showMe(who: Exclude<Principal, { kind: 'anonymous' | 'appliance' }>): z.infer<typeof MeSchema> {
  return { kind: who.kind, name: who.kind === 'token' ? who.name : who.kind, role: who.role }
}

export function showGroup(group: GroupReport): z.infer<typeof GroupSchema> {
  const { name, description, images, storedBytes, apparentBytes, quotaBytes, createdAtMs, changedAtMs } = group
  return {
    name,
    description,
    images,
    storedBytes,
    apparentBytes,
    ...(quotaBytes === null ? {} : { quotaBytes }),
    ...showAudience(group.audience),
    createdAtMs,
    changedAtMs,
  }
}

function showAudience(audience: Audience | null): { audience?: z.infer<typeof AudienceSchema> } {
  if (audience === null) return {}
  return { audience: { roles: [...audience.roles], machineGroups: [...audience.machineGroups] } }
}

export function showImage(image: InstallImage): z.infer<typeof ImageSchema> {
  const { name, description, group, fileName, isPublic, enabled, version, comment, displayOrder } = image
  const { bootDefault, hasUnattend, viewBytes, createdAtMs, changedAtMs } = image
  const architecture = architectureOf(image)
  const language = languageOf(image)
  return {
    name,
    description,
    group,
    fileName,
    public: isPublic,
    enabled,
    version,
    comment,
    ...(architecture === undefined ? {} : { architecture }),
    ...(language === undefined ? {} : { language }),
    ...(displayOrder === null ? {} : { displayOrder }),
    bootDefault,
    ...showAudience(image.audience),
    hasUnattend,
    sizeBytes: viewBytes,
    path: `images/${group}/${fileName}`,
    facts: image.facts as z.infer<typeof FactsSchema>,
    createdAtMs,
    changedAtMs,
  }
}

export function showAuditLine(line: AuditLine): z.infer<typeof AuditLineSchema> {
  const { before, after, jobId, ...rest } = line
  return {
    ...rest,
    ...(before ? { before } : {}),
    ...(after ? { after } : {}),
    ...(jobId === null ? {} : { jobId }),
  }
}

export function showJob(job: Job): z.infer<typeof JobSchema> {
  const { endedAtMs, error, result, groupId: _, ...rest } = job
  return {
    ...rest,
    ...(endedAtMs === null ? {} : { endedAtMs }),
    ...(error && isCode(error.code) ? { error: { ...error, code: error.code } } : {}),
    ...(result ? { result } : {}),
  }
}

export function showToken(row: TokenRow): z.infer<typeof TokenSchema> {
  const { name, role, machineGroups, createdAtMs, revokedAtMs, usedAtMs, usedFrom } = row
  return {
    name,
    role,
    machineGroups: [...machineGroups],
    createdAtMs,
    ...(revokedAtMs === undefined ? {} : { revokedAtMs }),
    ...(usedAtMs === undefined ? {} : { usedAtMs }),
    ...(usedFrom === undefined ? {} : { usedFrom }),
  }
}

export function showCast(cast: Transmission): z.infer<typeof CastSchema> {
  const { status, warnings, ...more } = cast
  const rest = { ...more, ...(warnings === undefined ? {} : { warnings: [...warnings] }) }
  if (!status) return rest
  const { castId: _, label: __, clients, ...shown } = status
  return { ...rest, status: { ...shown, clients: [...clients] } }
}
