/**
 * What part of a content a request asks for: preconditions (RFC 9110 §13) and ranges (§14). Pure: header values in,
 * a plan out.
 */

export type RangeHeaders = {
  readonly method: string
  readonly range: string | undefined
  readonly ifRange: string | undefined
  readonly ifMatch: string | undefined
  readonly ifNoneMatch: string | undefined
}

export type Plan =
  | { readonly status: 200 }
  /** Bytes `[start, end)` of the content. */
  | { readonly status: 206; readonly start: number; readonly end: number }
  | { readonly status: 304 | 412 | 416 }

/** Entity tags of a list (§8.8.3), without quotes. */
function tagsOf(list: string): readonly { readonly weak: boolean; readonly tag: string }[] {
  return [...list.matchAll(/(W\/)?"([^"]*)"/g)].map((match) => ({ weak: match[1] !== undefined, tag: match[2] ?? '' }))
}

/** §13.1.1: strong comparison. */
const matches = (list: string, etag: string) =>
  list.trim() === '*' || tagsOf(list).some((each) => !each.weak && each.tag === etag)
/** §13.1.2: weak comparison, so `W/` makes no difference. */
const matchesWeakly = (list: string, etag: string) =>
  list.trim() === '*' || tagsOf(list).some((each) => each.tag === etag)

/**
 * §14.1.2. `undefined`: no range that we serve, so the whole content goes out (§14.2 allows to ignore the header): an
 * unknown unit, a malformed set, or several ranges. Several would need multipart/byteranges, which no client of ours
 * asks for and which lets one small request cost many reads (§17.15).
 */
function rangeOf(header: string, sizeBytes: number): Plan | undefined {
  const match = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header.trim())
  if (!match) return undefined
  const [, first = '', last = ''] = match
  if (first === '') {
    if (last === '') return undefined
    const suffix = Number(last)
    if (suffix === 0) return { status: 416 }
    // An empty content has a suffix, but no Content-Range could name it.
    if (sizeBytes === 0) return undefined
    return { status: 206, start: Math.max(0, sizeBytes - suffix), end: sizeBytes }
  }
  const start = Number(first)
  if (last !== '' && Number(last) < start) return undefined
  if (start >= sizeBytes) return { status: 416 }
  return { status: 206, start, end: last === '' ? sizeBytes : Math.min(Number(last) + 1, sizeBytes) }
}

/** Order of evaluation: §13.2.2. `etag` is strong and without quotes; we send no Last-Modified, so dates never match. */
export function planOf(headers: RangeHeaders, content: { readonly sizeBytes: number; readonly etag: string }): Plan {
  const { ifMatch, ifNoneMatch, ifRange, range } = headers
  if (ifMatch !== undefined && !matches(ifMatch, content.etag)) return { status: 412 }
  if (ifNoneMatch !== undefined && matchesWeakly(ifNoneMatch, content.etag)) return { status: 304 }
  // §14.2: a range has no meaning for any method but GET.
  if (range === undefined || headers.method !== 'GET') return { status: 200 }
  // §13.1.5: exactly our own strong tag, or the client's part belongs to something else.
  if (ifRange !== undefined && ifRange.trim() !== `"${content.etag}"`) return { status: 200 }
  return rangeOf(range, content.sizeBytes) ?? { status: 200 }
}
