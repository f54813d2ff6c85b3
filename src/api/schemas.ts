/** What goes over the API, as zod schemas: they parse what comes in and describe what goes out (OpenAPI). */
import { z } from '@hono/zod-openapi'
import { ROLES } from '../base/principal.ts'
import { CODES } from '../base/refusal.ts'
import { TRANSMISSION_STATES } from '../cast/control.ts'

export const RefusalSchema = z
  .object({
    code: z.enum(Object.keys(CODES) as [keyof typeof CODES]).describe('Stable; scripts may rely on it.'),
    message: z.string(),
    hint: z.string().describe('What to do about it.'),
    facts: z.record(z.string(), z.unknown()).optional(),
  })
  .openapi('Refusal')

const sizeBytes = z.number().int().nonnegative()
/** PATH_MAX of Linux: limits.h(0p). */
export const hostPath = z.string().max(4096)
const timeMs = z.number().int().describe('Milliseconds since the epoch.')

export const VersionSchema = z
  .object({
    wimcast: z.string(),
    bun: z.string(),
    libwim: z.string(),
    libwimOrigin: z.enum(['configured', 'embedded', 'system']),
    fingerprint: z.string().describe('SHA-256 of the certificate, for clients to pin.'),
  })
  .openapi('Version')

export const MeSchema = z
  .object({
    kind: z.enum(['local', 'token']),
    name: z.string().describe('Of the token; "local" for the unix socket.'),
    role: z.enum(ROLES),
  })
  .openapi('Me', { description: 'Who asks, as the appliance sees it.' })

export const AudienceSchema = z
  .object({
    roles: z.array(z.enum(ROLES)).default([]),
    machineGroups: z.array(z.string()).default([]),
  })
  .strict()
  .openapi('Audience', {
    description: 'Who may see it, besides admins: these roles, and tokens of these machine groups.',
  })

const audience = AudienceSchema.optional().describe('Absent: everybody who is signed in.')
const newAudience = z.union([AudienceSchema, z.null()]).optional().describe('null: everybody who is signed in.')

export const GroupSchema = z
  .object({
    name: z.string(),
    description: z.string(),
    images: z.number().int(),
    storedBytes: sizeBytes.describe('What the segments take on disk.'),
    apparentBytes: sizeBytes.describe('What the images would take as files of their own.'),
    quotaBytes: sizeBytes.optional().describe('What the segments may take; absent: as much as there is.'),
    audience,
    createdAtMs: timeMs,
    changedAtMs: timeMs,
  })
  .openapi('ImageGroup')

const ifChangedAtMs = timeMs.optional().describe('Refused as "changed" when it was changed since then.')
const groupChange = {
  description: z.string().optional(),
  quotaBytes: sizeBytes.nullable().optional(),
  audience: newAudience,
}
export const NewGroupSchema = z
  .object({ name: z.string(), ...groupChange })
  .strict()
  .openapi('NewImageGroup')
export const GroupChangeSchema = z
  .object({ name: z.string().optional(), ...groupChange, ifChangedAtMs })
  .strict()
  .openapi('ImageGroupChange')

const architecture = z.enum(['x86', 'x64', 'arm', 'arm64', 'ia64'])

export const FactsSchema = z
  .object({
    name: z.string(),
    description: z.string(),
    displayName: z.string().optional(),
    displayDescription: z.string().optional(),
    architecture: architecture.optional(),
    editionId: z.string().optional(),
    installationType: z.string().optional(),
    productName: z.string().optional(),
    version: z.string().optional(),
    languages: z.array(z.string()),
    defaultLanguage: z.string().optional(),
    totalBytes: sizeBytes,
    hardLinkBytes: sizeBytes,
    fileCount: z.number().int(),
    directoryCount: z.number().int(),
    createdAtMs: timeMs.optional(),
    modifiedAtMs: timeMs.optional(),
  })
  .openapi('ImageFacts', { description: 'What the image says of itself, from the XML of its source.' })

export const ImageSchema = z
  .object({
    name: z.string(),
    description: z.string(),
    group: z.string(),
    fileName: z.string(),
    public: z.boolean().describe('Given out over plain HTTP and TFTP, without a token.'),
    enabled: z.boolean().describe('Offered to clients.'),
    version: z.string().describe("The organisation's own; what Windows says is in facts."),
    comment: z.string(),
    architecture: architecture.optional().describe('As set, or as the image says.'),
    language: z.string().optional().describe('As set, or as the image says.'),
    displayOrder: z.number().int().optional().describe('Ascending in menus; absent: the middle, 50.'),
    bootDefault: z.boolean().describe('What machines of its architecture get when nothing else is chosen.'),
    audience,
    hasUnattend: z.boolean().describe('It has an answer file.'),
    sizeBytes: sizeBytes.describe('As a file of its own.'),
    path: z.string().describe('Where HTTP and TFTP serve it: images/<group>/<file name>.'),
    facts: FactsSchema,
    createdAtMs: timeMs,
    changedAtMs: timeMs,
  })
  .openapi('InstallImage')

export const SelectorSchema = z.object({
  group: z.string().optional().openapi({ description: 'May be left out while there is exactly one group.' }),
  file: z
    .string()
    .optional()
    .openapi({ description: 'The file name, where the image name is not unique in its group.' }),
})

const onOff = z.enum(['true', 'false']).optional()
export const ImageFilterSchema = z.object({
  group: z.string().optional(),
  name: z.string().optional(),
  file: z.string().optional(),
  architecture: z.string().optional(),
  language: z.string().optional(),
  enabled: onOff,
  public: onOff,
  search: z.string().max(255).optional().openapi({ description: 'Part of name, description, version, comment, file.' }),
})

/** What an operator says of an image, at its import or later. */
export const imageProperties = {
  version: z.string().optional(),
  comment: z.string().optional(),
  architecture: z.string().nullable().optional(),
  language: z.string().nullable().optional(),
  displayOrder: z.number().nullable().optional(),
  unattend: z.string().nullable().optional().describe('The text of an answer file; null removes it.'),
}

export const ImageChangeSchema = z
  .object({
    name: z.string().optional(),
    description: z.string().optional(),
    fileName: z.string().optional(),
    public: z.boolean().optional(),
    enabled: z.boolean().optional(),
    bootDefault: z.boolean().optional(),
    audience: newAudience,
    ...imageProperties,
    overwriteUnattend: z.boolean().optional().describe('An answer file that is there is kept unless this is true.'),
    ifChangedAtMs,
  })
  .strict()
  .openapi('ImageChange')

export const multicastTerms = {
  manualStart: z.boolean().optional().describe('It waits for its start by hand; excludes the other two.'),
  clientCount: z.number().int().optional().describe('It waits for so many clients.'),
  startTime: z
    .string()
    .max(100)
    .optional()
    .describe(
      'It waits for this time: MM/DD/YYYY.hh:mm:ss, YYYY/MM/DD:hh:mm, or ISO 8601; without a zone, that of the appliance. With a number of clients: for whichever comes first.',
    ),
}

export const MulticastSchema = z
  .object({ name: z.string().optional().describe("Absent: the image's."), ...multicastTerms })
  .strict()
  .openapi('Multicast', { description: 'A transmission to make alongside; with none of these: an AutoCast.' })

export const CopySchema = z
  .object({
    newName: z.string(),
    newFileName: z.string(),
    newDescription: z.string().optional(),
    toGroup: z.string().optional().describe('Images are copied within their group: another one is refused.'),
    multicast: MulticastSchema.optional(),
  })
  .strict()
  .openapi('ImageCopy')
export const CopiedSchema = ImageSchema.extend({
  transmission: z.record(z.string(), z.unknown()).optional().describe('What was made alongside.'),
  warnings: z.array(z.string()).optional(),
}).openapi('CopiedImage')

export const TrashItemSchema = z
  .object({
    id: z.number().int(),
    kind: z.enum(['image', 'group', 'version']).describe('A version: what an image was before it was replaced.'),
    title: z.string(),
    group: z.string(),
    fileName: z.string().optional(),
    removedAtMs: timeMs,
    removedBy: z.string(),
  })
  .openapi('TrashItem')
export const RestoreSchema = z
  .object({
    name: z.string().optional().describe('Another name for a group, where its own is taken by now.'),
    fileName: z.string().optional().describe('Another file name for an image.'),
  })
  .strict()
  .openapi('Restore')
export const EmptyTrashSchema = z
  .object({
    ids: z.array(z.number().int().positive()).max(10_000).optional().describe('All when left out.'),
    olderThanDays: z.number().int().min(0).max(36_500).optional(),
  })
  .strict()
  .openapi('EmptyTrash')

const said = z.record(z.string(), z.unknown()).optional()
export const AuditLineSchema = z
  .object({
    id: z.number().int(),
    atMs: timeMs,
    who: z.string(),
    verb: z.string(),
    subject: z.string(),
    before: said,
    after: said,
    jobId: z.number().int().optional(),
  })
  .openapi('AuditLine')
export const AuditQuerySchema = z.object({
  before: z.coerce.number().int().positive().optional().openapi({ description: 'Lines older than this id.' }),
  limit: z.coerce.number().int().min(1).max(1000).optional(),
  verb: z.string().optional().openapi({ description: '`image` finds `image.copy` too.' }),
  who: z.string().optional(),
  subject: z.string().optional().openapi({ description: 'Part of the subject.' }),
})

export const SettingSchema = z
  .object({ key: z.string(), value: z.string(), fallback: z.string(), doc: z.string() })
  .openapi('Setting')
export const SetSettingSchema = z
  .object({ value: z.string().nullable().describe('null: back to the default.') })
  .strict()
  .openapi('SetSetting')

const upload = z
  .string()
  .optional()
  .describe('An upload whose files have been sent. It is used up, whatever comes of it; a dry run leaves it for a day.')
const importSource = {
  path: hostPath.optional().describe('A file below the import roots, read by the service itself.'),
  upload,
  sourceName: z.string().optional().describe('Which file of the upload to open: the first part of a split set.'),
  index: z
    .union([z.number().int().positive(), z.string()])
    .optional()
    .describe('An index from 1, an image name, or "all" (the default).'),
  skipVerify: z.boolean().optional(),
  name: z.string().optional(),
  description: z.string().optional(),
}

export const ImportSchema = z
  .object({
    group: z.string().optional(),
    ...importSource,
    fileName: z.string().optional().describe('The file name that the image shall have.'),
    ...imageProperties,
    multicast: MulticastSchema.optional(),
  })
  .strict()
  .openapi('Import', { description: 'What is said of the image is said of each when the file holds several.' })

export const ReplacementSchema = z.object(importSource).strict().openapi('Replacement', {
  description:
    'Exactly one image of a file. Name and description stay when they are left out; all else that was said stays.',
})

export const UploadSchema = z.object({ id: z.string() }).openapi('Upload')

export const JobSchema = z
  .object({
    id: z.number().int(),
    kind: z.string(),
    title: z.string(),
    state: z.enum(['queued', 'running', 'done', 'failed', 'cancelled']),
    step: z.string(),
    doneBytes: sizeBytes,
    totalBytes: sizeBytes,
    startedBy: z.string(),
    createdAtMs: timeMs,
    endedAtMs: timeMs.optional(),
    error: RefusalSchema.optional(),
    result: z.record(z.string(), z.unknown()).optional(),
  })
  .openapi('Job')

export const StartedImportSchema = JobSchema.extend({ warnings: z.array(z.string()).optional() }).openapi(
  'StartedImport',
)

export const TokenSchema = z
  .object({
    name: z.string(),
    role: z.enum(ROLES),
    machineGroups: z.array(z.string()).describe('It may see what is limited to these machine groups.'),
    createdAtMs: timeMs,
    revokedAtMs: timeMs.optional(),
    usedAtMs: timeMs.optional(),
    usedFrom: z.string().optional(),
  })
  .openapi('Token')

export const NewTokenSchema = z
  .object({ name: z.string(), role: z.enum(ROLES), machineGroups: z.array(z.string().max(200)).max(100).optional() })
  .strict()
  .openapi('NewToken')
export const MadeTokenSchema = TokenSchema.extend({
  token: z.string().describe('Shown once; only its hash is kept.'),
}).openapi('MadeToken')

export const ClientStatusSchema = z
  .object({
    clientId: z.number().int(),
    name: z.string(),
    state: z.enum(['probing', 'receiving', 'done', 'left', 'lost']),
    lackingBytes: sizeBytes,
    lossPpm: z.number(),
    socketDrops: z.number(),
    refusedPackets: z.number(),
  })
  .openapi('CastClient')

export const CastStatusSchema = z
  .object({
    state: z.enum(TRANSMISSION_STATES),
    failure: z.object({ code: z.string(), message: z.string() }).optional(),
    sizeBytes,
    hashedBytes: sizeBytes,
    group: z.string().describe('The multicast address.'),
    port: z.number().int(),
    interfaceName: z.string().optional(),
    lane: z.enum(['gso', 'sendmmsg']).optional(),
    root: z.string().optional(),
    pass: z.number().int(),
    allowedBitsPerSecond: z.number(),
    sentBitsPerSecond: z.number(),
    sentBytes: sizeBytes,
    clients: z.array(ClientStatusSchema),
    heard: z.object({ clients: z.number().int(), of: z.number().int() }),
  })
  .openapi('CastStatus')

export const CastSchema = z
  .object({
    id: z.number().int(),
    name: z.string(),
    image: z.string(),
    group: z.string(),
    kind: z.enum(['auto', 'scheduled']).describe('An AutoCast sends to whoever joins; a ScheduledCast waits first.'),
    clientCount: z.number().int().optional(),
    startAtMs: timeMs.optional(),
    startedAtMs: timeMs.optional().describe('Of a ScheduledCast: when it began.'),
    waitsFor: z
      .object({
        ready: z.number().int().describe('Clients that are there and can begin.'),
        clientCount: z.number().int().optional(),
        startAtMs: timeMs.optional(),
        manual: z.boolean().describe('It waits for POST …/start.'),
      })
      .optional()
      .describe('Of a ScheduledCast that has not begun: clients, a time (whichever comes first), or a start by hand.'),
    createdBy: z.string(),
    createdAtMs: timeMs,
    endedAtMs: timeMs.optional(),
    reason: z.string().optional(),
    rateBitsPerSecond: z.number().optional(),
    status: CastStatusSchema.optional(),
    warnings: z.array(z.string()).optional().describe('Of what was asked for; in the answer to that only.'),
  })
  .openapi('Transmission')

export const NewCastSchema = z
  .object({
    image: z.string(),
    group: z.string().optional(),
    file: z.string().optional(),
    name: z.string().optional().describe("The image's name when left out; open transmissions have different ones."),
    ...multicastTerms,
    interface: z.string().optional().describe('The network interface to send on.'),
    rateBitsPerSecond: z
      .number()
      .int()
      .min(1_000_000, 'a transmission has at least 1 Mbit/s (1000000)')
      .optional()
      .describe('The ceiling, at least 1 Mbit/s; absent: as fast as the clients bear.'),
  })
  .strict()
  .openapi('NewTransmission', { description: 'Without a parameter that makes it wait: an AutoCast.' })

export const JoinSchema = z
  .object({
    clientName: z.string().min(1).max(255),
    needs: z
      .string()
      .max(4 << 20)
      .optional(),
  })
  .strict()
  .openapi('Join')
export const JoinAnswerSchema = z
  .object({
    castId: z.string(),
    sessionId: z.string(),
    epoch: z.number().int(),
    clientId: z.number().int(),
    group: z.string(),
    port: z.number().int(),
    reportAddress: z.string(),
    reportPort: z.number().int(),
    sessionKey: z.string(),
    reportKey: z.string(),
    root: z.string(),
  })
  .openapi('JoinAnswer')
export const DoneSchema = z
  .object({
    clientId: z.number().int(),
    proof: z.string().max(64).describe('The report key that the join gave to this client.'),
    outcome: z.enum(['received', 'fallback', 'failed']),
    reason: z.string().max(64).optional(),
  })
  .strict()
  .openapi('Done')
export const StopSchema = z.object({ force: z.boolean().optional() }).strict().openapi('Stop')

export const ScrubSchema = z
  .object({ group: z.string().optional().describe('Every group that you may see, when left out.') })
  .strict()
  .openapi('Scrub')
export const RepairSchema = z
  .object({
    group: z.string().optional().describe('Every group that you may see, when left out.'),
    path: hostPath.optional().describe('A file below the import roots that may have what is lacking.'),
    upload,
    sourceName: z.string().optional().describe('Which file of the upload to open: the first part of a split set.'),
  })
  .strict()
  .openapi('Repair')
export const HealthSchema = z
  .object({
    groups: z.array(
      z.object({
        group: z.string(),
        segments: z.number().int(),
        lastScrubAtMs: timeMs.optional().describe('Of the segment that was not checked for the longest time.'),
        damaged: z.number().int().describe('Damaged contents and files, whether or not good copies are left.'),
        lacking: z
          .array(
            z.object({
              group: z.string(),
              name: z.string(),
              fileName: z.string(),
              inTrash: z.boolean(),
              contents: z.number().int().describe('Contents of it that no good copy is left of.'),
            }),
          )
          .describe('Images that cannot be had whole.'),
      }),
    ),
    scrubJobId: z.number().int().optional().describe('The check that runs now.'),
  })
  .openapi('LibraryHealth')
export const SharingSchema = z
  .object({
    group: z.string(),
    storedBytes: sizeBytes.describe('What the segments take on disk.'),
    apparentBytes: sizeBytes.describe('What its images would take as files of their own, the trash not counted.'),
    savedBytes: sizeBytes.describe('What sharing saves.'),
    trashBytes: sizeBytes.describe('Of what is stored, needed by nothing but the trash.'),
    reclaimableBytes: sizeBytes.describe('Of what is stored, needed by nobody: a compaction gives it back.'),
    images: z
      .array(
        z.object({
          name: z.string(),
          fileName: z.string(),
          inTrash: z.boolean(),
          sizeBytes: sizeBytes.describe('As a file of its own.'),
          ownBytes: sizeBytes.describe('Would go if this image went.'),
          sharedBytes: sizeBytes.describe('Needed by other images too.'),
          savedBytes: sizeBytes.describe(
            'What it needs, less its part of what is stored; what several need is divided among them.',
          ),
        }),
      )
      .describe('Largest own part first.'),
  })
  .openapi('Sharing', { description: 'Compressed bytes, as they are stored.' })
