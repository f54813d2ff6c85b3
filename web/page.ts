/**
 * The page: one shell, one script, one style sheet and an icon, all inside the executable. They are the same for everybody
 * and hold nothing of the library; what they show, the script asks of the API with the token of whoever signs in.
 */
import { createHash } from 'node:crypto'
import type { Api } from '../src/api/app.ts'
import { pageFiles } from './bundle.ts' with { type: 'macro' }
import { text } from './client/text.ts'

const files = pageFiles()

const shell = `<!doctype html>
<html lang="${text.language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${text.product}</title>
<link rel="icon" href="/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/page.css">
<script type="module" src="/page.js"></script>
</head>
<body>
<div id="page"></div>
<noscript>${text.needsScript}</noscript>
</body>
</html>
`

type Asset = { readonly path: string; readonly type: string; readonly text: string }

const ASSETS: readonly Asset[] = [
  { path: '/', type: 'text/html; charset=utf-8', text: shell },
  { path: '/page.js', type: 'text/javascript; charset=utf-8', text: files.script },
  { path: '/page.css', type: 'text/css; charset=utf-8', text: files.style },
  { path: '/icon.svg', type: 'image/svg+xml', text: files.icon },
]

/** RFC 9110 §12.5.3, as far as it matters here: gzip is named, and not refused by a weight of nought. */
function takesGzip(acceptEncoding: string | undefined): boolean {
  return /(?:^|[\s,])gzip(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))/i.test(acceptEncoding ?? '')
}

/** RFC 9110 §13.1.2: a list, compared weakly. */
function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  const known = (ifNoneMatch ?? '').split(',').map((tag) => tag.trim().replace(/^W\//, ''))
  return known.includes(etag) || known.includes('*')
}

/** Adds the page to the API, behind the same doors: the API's first middleware keeps it off plain HTTP. */
export function pageRoutes(api: Api): Api {
  for (const { path, type, text: content } of ASSETS) {
    const bytes = new TextEncoder().encode(content)
    const gzipped = Bun.gzipSync(bytes, { level: 9 })
    const hash = createHash('sha256').update(bytes).digest('base64url').slice(0, 22)
    api.get(path, (c) => {
      const gzip = takesGzip(c.req.header('accept-encoding'))
      const etag = gzip ? `"${hash}-gzip"` : `"${hash}"`
      // Asked for each time, so that a new version is seen at once; the answer is mostly 304.
      const headers = { 'Cache-Control': 'no-cache', ETag: etag, Vary: 'Accept-Encoding' }
      if (isKnown(c.req.header('if-none-match'), etag)) return c.body(null, 304, headers)
      return gzip
        ? c.body(gzipped, 200, { ...headers, 'Content-Type': type, 'Content-Encoding': 'gzip' })
        : c.body(bytes, 200, { ...headers, 'Content-Type': type })
    })
  }
  return api
}
