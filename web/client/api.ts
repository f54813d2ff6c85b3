/**
 * The API as the page asks it: its answers by the API's own schemas, and refusals as values. Types alone are imported from
 * there: neither zod nor the server comes into the bundle.
 */
import type { z } from '@hono/zod-openapi'
import type {
  AudienceSchema,
  AuditLineSchema,
  CastSchema,
  CopiedSchema,
  CopySchema,
  GroupChangeSchema,
  GroupSchema,
  HealthSchema,
  ImageChangeSchema,
  ImageSchema,
  ImportSchema,
  JobSchema,
  MeSchema,
  MulticastSchema,
  NewCastSchema,
  NewGroupSchema,
  RefusalSchema,
  RepairSchema,
  ReplacementSchema,
  RestoreSchema,
  SettingSchema,
  SharingSchema,
  StartedImportSchema,
  StopSchema,
  TrashItemSchema,
  VersionSchema,
} from '../../src/api/schemas.ts'
import { err, ok, type Result } from '../../src/base/result.ts'
import { text } from './text.ts'

export type Refusal = z.infer<typeof RefusalSchema>
export type Audience = z.infer<typeof AudienceSchema>
export type AuditLine = z.infer<typeof AuditLineSchema>
export type Cast = z.infer<typeof CastSchema>
export type Copied = z.infer<typeof CopiedSchema>
export type Group = z.infer<typeof GroupSchema>
export type GroupChange = z.input<typeof GroupChangeSchema>
export type Image = z.infer<typeof ImageSchema>
export type ImageChange = z.input<typeof ImageChangeSchema>
export type Job = z.infer<typeof JobSchema>
export type Me = z.infer<typeof MeSchema>
export type Multicast = z.infer<typeof MulticastSchema>
export type Setting = z.infer<typeof SettingSchema>
export type TrashItem = z.infer<typeof TrashItemSchema>
export type Version = z.infer<typeof VersionSchema>

export type Health = z.infer<typeof HealthSchema>
export type GroupHealth = Health['groups'][number]
export type Sharing = z.infer<typeof SharingSchema>
export type StartedJob = z.infer<typeof StartedImportSchema>

/** As src/api/backups.ts shows it. */
export type Backup = { readonly name: string; readonly sizeBytes: number; readonly madeAtMs: number }

export type Upload = { readonly upload: string; readonly sourceName: string }

/** Where the bytes of an image come from: a file below an import root of the appliance, or an upload. */
export type Source = { readonly path: string } | Upload

export type AuditQuery = {
  readonly before?: number
  readonly verb?: string
  readonly who?: string
  readonly subject?: string
}

/** `dryRun`: refuse what would be refused, answer what would be answered, change nothing. */
export type How = { readonly dryRun?: boolean | undefined }

export type OnProgress = (doneBytes: number, totalBytes: number) => void

type Query = Readonly<Record<string, string | number | boolean | undefined>>

function withQuery(path: string, query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '' && value !== false)
  return given.length === 0
    ? path
    : `${path}?${new URLSearchParams(given.map(([key, value]) => [key, String(value)] as [string, string]))}`
}

/** The refusal in an answer that is none of the good ones; a proxy's page, say, is none of ours. */
function parseRefusal(status: number, body: string): Refusal {
  try {
    const said = JSON.parse(body) as Partial<Refusal>
    if (said.code !== undefined && typeof said.message === 'string')
      return {
        code: said.code,
        message: said.message,
        hint: said.hint ?? '',
        ...(said.facts ? { facts: said.facts } : {}),
      }
  } catch {
    // Not JSON: answered below.
  }
  return { code: 'unavailable', message: text.connection.strange(status), hint: text.connection.strangeHint }
}

export async function refusalOf(response: Response): Promise<Refusal> {
  return parseRefusal(response.status, await response.text().catch(() => ''))
}

const UNREACHABLE: Refusal = {
  code: 'unreachable',
  message: text.connection.unreachable,
  hint: text.connection.unreachableHint,
}

export type ApiClient = ReturnType<typeof openApi>

export function openApi(token: string) {
  const authorization = { Authorization: `Bearer ${token}` }

  async function ask(method: string, path: string, body?: object): Promise<Result<Response, Refusal>> {
    const headers = body ? { ...authorization, 'Content-Type': 'application/json' } : authorization
    try {
      const json = body ? { body: JSON.stringify(body) } : {}
      const response = await fetch(path, { method, headers, cache: 'no-store', ...json })
      return response.ok ? ok(response) : err(await refusalOf(response))
    } catch {
      // No answer at all is a refusal too.
      return err(UNREACHABLE)
    }
  }

  async function call<T>(method: string, path: string, body?: object): Promise<Result<T, Refusal>> {
    const answer = await ask(method, path, body)
    if (!answer.ok) return answer
    try {
      return ok((answer.value.status === 204 ? undefined : await answer.value.json()) as T)
    } catch {
      return err(UNREACHABLE)
    }
  }

  async function textOf(path: string): Promise<Result<string, Refusal>> {
    const answer = await ask('GET', path)
    return answer.ok ? ok(await answer.value.text()) : answer
  }

  /** An image by name, group and file: what is never ambiguous. */
  function imagePath(image: Image, below = '', { dryRun }: How = {}): string {
    return withQuery(`/api/images/${encodeURIComponent(image.name)}${below}`, {
      group: image.group,
      file: image.fileName,
      dryRun,
    })
  }
  const groupPath = (name: string, below = '', query: Query = {}): string =>
    withQuery(`/api/groups/${encodeURIComponent(name)}${below}`, query)
  const backupPath = (name: string): string => `/api/backups/${encodeURIComponent(name)}`

  /** `fetch` does not tell how much of a body went; this does. The file is read from the disk as it goes. */
  function put(path: string, file: File, signal: AbortSignal, onProgress: OnProgress): Promise<Result<void, Refusal>> {
    return new Promise((resolve) => {
      const cancelled = () => resolve(err({ code: 'cancelled', message: text.uploads.cancelled, hint: '' }))
      if (signal.aborted) return cancelled()
      const request = new XMLHttpRequest()
      request.open('PUT', path)
      request.setRequestHeader('Authorization', authorization.Authorization)
      request.setRequestHeader('Content-Type', 'application/octet-stream')
      request.upload.onprogress = (event) => onProgress(event.loaded, file.size)
      request.onload = () =>
        resolve(request.status < 300 ? ok(undefined) : err(parseRefusal(request.status, request.responseText)))
      request.onerror = () => resolve(err(UNREACHABLE))
      request.onabort = cancelled
      signal.addEventListener('abort', () => request.abort(), { once: true })
      request.send(file)
    })
  }

  return {
    me: () => call<Me>('GET', '/api/me'),
    version: () => call<Version>('GET', '/api/version'),
    events: (signal: AbortSignal) => fetch('/api/events', { headers: authorization, cache: 'no-store', signal }),

    newGroup: (wanted: z.input<typeof NewGroupSchema>, how: How = {}) =>
      call<Group>('POST', withQuery('/api/groups', how), wanted),
    setGroup: (name: string, wanted: GroupChange, how: How = {}) =>
      call<Group>('PATCH', groupPath(name, '', how), wanted),
    removeGroup: (name: string, withImages: boolean, how: How = {}) =>
      call<void>('DELETE', groupPath(name, '', { withImages, ...how })),
    compact: (name: string, wanted: object, how: How = {}) =>
      call<Job>('POST', groupPath(name, '/compactions', how), wanted),
    sharing: (name: string) => call<Sharing>('GET', groupPath(name, '/sharing')),

    images: () => call<Image[]>('GET', '/api/images'),
    setImage: (image: Image, wanted: ImageChange, how: How = {}) =>
      call<Image>('PATCH', imagePath(image, '', how), wanted),
    unattend: (image: Image) => textOf(imagePath(image, '/unattend')),
    copy: (image: Image, wanted: z.infer<typeof CopySchema>, how: How = {}) =>
      call<Copied>('POST', imagePath(image, '/copies', how), wanted),
    replace: (image: Image, wanted: z.infer<typeof ReplacementSchema>, how: How = {}) =>
      call<StartedJob>('POST', imagePath(image, '/replacements', how), wanted),
    undo: (image: Image) => call<TrashItem>('POST', imagePath(image, '/undo')),
    remove: (image: Image, how: How = {}) => call<void>('DELETE', imagePath(image, '', how)),
    import: (wanted: z.infer<typeof ImportSchema>, how: How = {}) =>
      call<StartedJob>('POST', withQuery('/api/imports', how), wanted),

    trash: () => call<TrashItem[]>('GET', '/api/trash'),
    restore: (id: number, wanted: z.infer<typeof RestoreSchema>) =>
      call<TrashItem>('POST', `/api/trash/${id}/restore`, wanted),
    emptyTrash: (ids: readonly number[] | undefined, how: How = {}) =>
      call<TrashItem[]>('POST', withQuery('/api/trash/empty', how), ids ? { ids } : {}),

    jobs: () => call<Job[]>('GET', '/api/jobs'),
    cancelJob: (id: number) => call<Job>('POST', `/api/jobs/${id}/cancel`),

    casts: () => call<Cast[]>('GET', '/api/casts'),
    transmit: (wanted: z.infer<typeof NewCastSchema>, how: How = {}) =>
      call<Cast>('POST', withQuery('/api/casts', how), wanted),
    startCast: (id: number) => call<Cast>('POST', `/api/casts/${id}/start`),
    stopCast: (id: number, wanted: z.infer<typeof StopSchema>) => call<Cast>('POST', `/api/casts/${id}/stop`, wanted),

    health: () => call<Health>('GET', '/api/library/health'),
    scrub: (group: string | undefined) =>
      call<Job>('POST', '/api/library/scrubs', group === undefined ? {} : { group }),
    repair: (wanted: z.infer<typeof RepairSchema>, how: How = {}) =>
      call<Job>('POST', withQuery('/api/library/repairs', how), wanted),
    backups: () => call<Backup[]>('GET', '/api/backups'),
    newBackup: () => call<Job>('POST', '/api/backups'),
    removeBackup: (name: string) => call<void>('DELETE', backupPath(name)),

    audit: (query: AuditQuery, limit: number) => call<AuditLine[]>('GET', withQuery('/api/audit', { ...query, limit })),
    settings: () => call<Setting[]>('GET', '/api/settings'),
    setSetting: (key: string, value: string | null) =>
      call<Setting>('PUT', `/api/settings/${encodeURIComponent(key)}`, { value }),

    /** Sends the files of one source, and names the first: of a split set that is the part to open. */
    upload: async (
      files: readonly File[],
      signal: AbortSignal,
      onProgress: OnProgress,
    ): Promise<Result<Upload, Refusal>> => {
      const begun = await call<{ id: string }>('POST', '/api/uploads')
      if (!begun.ok) return begun
      const { id } = begun.value
      const total = files.reduce((sum, file) => sum + file.size, 0)
      let before = 0
      for (const file of files) {
        const path = `/api/uploads/${id}/${encodeURIComponent(file.name)}`
        const sent = await put(path, file, signal, (done) => onProgress(before + done, total))
        if (!sent.ok) {
          await call('DELETE', `/api/uploads/${id}`)
          return sent
        }
        before += file.size
      }
      return ok({ upload: id, sourceName: files[0]?.name ?? '' })
    },
    dropUpload: (id: string) => call<void>('DELETE', `/api/uploads/${id}`),

    contentPath: (image: Image) => imagePath(image, '/content'),
    backupPath: (name: string) => backupPath(name),
    open: (path: string, signal: AbortSignal) => fetch(path, { headers: authorization, cache: 'no-store', signal }),
  }
}
