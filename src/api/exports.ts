/** Exports: an image as a download of any name, and as a file that the service itself writes below an export root. */
import { realpath } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, sep } from 'node:path'
import { z } from '@hono/zod-openapi'
import { refuse } from '../base/refusal.ts'
import { ok, type Result } from '../base/result.ts'
import { sendContent } from '../http/send.ts'
import type { Exports } from '../library/transfer/export.ts'
import { IF_EXISTS } from '../library/transfer/export-target.ts'
import { body, byOf, DryRunSchema, json, router, secured, unwrap } from './door.ts'
import { hostPath, JobSchema, SelectorSchema } from './schemas.ts'
import { showJob } from './show.ts'

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not pass
const NOT_IN_FILE_NAMES = /[\u0000-\u001f\u007f-\u009f]/

const ExportSchema = z
  .object({
    image: z.string(),
    group: z.string().optional(),
    file: z.string().optional(),
    path: hostPath.describe('The file to write, below an export root.'),
    ifExists: z
      .enum(IF_EXISTS)
      .optional()
      .describe('When it is there; "fail" is the default. "append" makes the image one more in that file.'),
    newName: z.string().optional().describe('What the file calls the image; the library goes on as it is.'),
    newDescription: z.string().optional(),
    skipVerify: z.boolean().optional().describe('Do not read the written file back.'),
  })
  .strict()
  .openapi('Export')

const isBelow = (folder: string, root: string): boolean => folder.startsWith(root.endsWith(sep) ? root : root + sep)

/**
 * A path that the service may write to: a plain name in a folder that is, with all links resolved, an export root or
 * below one. What has that name now is looked at when it is written. A root that holds the data directory does not open
 * that one: the service may write there, and images and database are not to be overwritten.
 */
export async function checkExportPath(
  path: string,
  roots: readonly string[],
  dataDir: string,
): Promise<Result<string>> {
  const hint =
    roots.length === 0
      ? 'No export roots are configured: download the image, or set export-roots.'
      : `Export roots are: ${roots.join(', ')}.`
  // A relative path would mean what the folder is that the service happened to be started in.
  if (!isAbsolute(path)) return refuse('bad-path', `"${path}" is not an absolute path`, hint)
  const name = basename(path)
  if (path.endsWith('/') || name === '' || name === '.' || name === '..' || NOT_IN_FILE_NAMES.test(path))
    return refuse('bad-path', `${JSON.stringify(path)} does not name a file`, hint)
  const folder = await realpath(dirname(path)).catch(() => undefined)
  const data = await realpath(dataDir)
  for (const root of folder === undefined ? [] : roots) {
    const realRoot = await realpath(root).catch(() => undefined)
    if (realRoot === undefined || folder === undefined) continue
    if (folder !== realRoot && !isBelow(folder, realRoot)) continue
    if ((folder === data || isBelow(folder, data)) && !isBelow(realRoot, data)) continue
    return ok(join(folder, name))
  }
  return refuse('bad-path', `"${path}" is not below an export root`, hint)
}

const octets = { 'application/octet-stream': { schema: z.string().openapi({ format: 'binary' }) } }

export function exportRoutes(deps: {
  readonly library: { readonly exports: Exports }
  readonly exportRoots: readonly string[]
  readonly dataDir: string
}) {
  const { exports } = deps.library
  return router()
    .openapi(
      secured(
        'viewer',
        {
          method: 'get',
          path: '/images/{name}/content',
          summary: 'Download it as a file of its own; ranges and validators as in RFC 9110',
          request: {
            params: z.object({ name: z.string() }),
            query: SelectorSchema.extend({
              newName: z.string().optional().openapi({ description: 'What the file calls the image.' }),
              newDescription: z.string().optional(),
            }),
          },
          responses: {
            200: { description: 'The WIM.', content: octets },
            206: { description: 'A range of it.', content: octets },
          },
        },
        { long: true },
      ),
      async (c) => {
        const { newName, newDescription, ...more } = c.req.valid('query')
        const selector = { ...c.req.valid('param'), ...more }
        const content = unwrap(await exports.content(selector, { newName, newDescription }, c.get('who')))
        return (await sendContent(c.req.raw, content)) as never
      },
    )
    .openapi(
      secured('operator', {
        method: 'post',
        path: '/exports',
        summary: 'Write an image to a file below an export root',
        request: { query: DryRunSchema, ...body(ExportSchema) },
        responses: { 202: json(JobSchema, 'The job that does it.') },
      }),
      async (c) => {
        const { image, group, file, path, ifExists = 'fail', skipVerify = false, ...names } = c.req.valid('json')
        const target = unwrap(await checkExportPath(path, deps.exportRoots, deps.dataDir))
        const request = { selector: { name: image, group, file }, path: target, ifExists, skipVerify, ...names }
        return c.json(showJob(unwrap(exports.start(request, byOf(c)))), 202)
      },
    )
}
