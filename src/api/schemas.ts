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

export const GroupSchema = z
  .object({
    name: z.string(),
    images: z.number().int(),
    storedBytes: sizeBytes.describe('What the segments take on disk.'),
    apparentBytes: sizeBytes.describe('What the images would take as files of their own.'),
    createdAtMs: timeMs,
  })
  .openapi('ImageGroup')

export const NewGroupSchema = z.object({ name: z.string() }).strict().openapi('NewImageGroup')

export const FactsSchema = z
  .object({
    name: z.string(),
    description: z.string(),
    displayName: z.string().optional(),
    displayDescription: z.string().optional(),
    architecture: z.enum(['x86', 'x64', 'arm', 'arm64', 'ia64']).optional(),
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

export const ImageChangeSchema = z
  .object({ name: z.string().optional(), description: z.string().optional(), public: z.boolean().optional() })
  .strict()
  .openapi('ImageChange')

export const CopySchema = z
  .object({ newName: z.string(), newFileName: z.string(), newDescription: z.string().optional() })
  .strict()
  .openapi('ImageCopy')

export const ImportSchema = z
  .object({
    group: z.string().optional(),
    path: z.string().optional().describe('A file below the import roots, read by the service itself.'),
    upload: z.string().optional().describe('An upload whose files have been sent.'),
    fileName: z.string().optional().describe('The file name that the image shall have.'),
    sourceName: z.string().optional().describe('Which file of the upload to open: the first part of a split set.'),
    index: z
      .union([z.number().int().positive(), z.string()])
      .optional()
      .describe('An index from 1, an image name, or "all" (the default).'),
    skipVerify: z.boolean().optional(),
    name: z.string().optional(),
    description: z.string().optional(),
  })
  .strict()
  .openapi('Import')

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

export const TokenSchema = z
  .object({
    name: z.string(),
    role: z.enum(ROLES),
    createdAtMs: timeMs,
    revokedAtMs: timeMs.optional(),
    usedAtMs: timeMs.optional(),
    usedFrom: z.string().optional(),
  })
  .openapi('Token')

export const NewTokenSchema = z
  .object({ name: z.string(), role: z.enum(ROLES) })
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
    createdBy: z.string(),
    createdAtMs: timeMs,
    endedAtMs: timeMs.optional(),
    reason: z.string().optional(),
    rateBitsPerSecond: z.number().optional(),
    status: CastStatusSchema.optional(),
  })
  .openapi('Transmission')

export const NewCastSchema = z
  .object({
    image: z.string(),
    group: z.string().optional(),
    file: z.string().optional(),
    interface: z.string().optional().describe('The network interface to send on.'),
    rateBitsPerSecond: z
      .number()
      .int()
      .min(1_000_000, 'a transmission has at least 1 Mbit/s (1000000)')
      .optional()
      .describe('The ceiling, at least 1 Mbit/s; absent: as fast as the clients bear.'),
  })
  .strict()
  .openapi('NewTransmission')

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
