/** Content-Disposition: the name a download is saved under (RFC 6266; the extended form is RFC 8187). */

/** RFC 8187 §3.2.1: attr-char may stand for itself; encodeURIComponent leaves `'()*!` too. */
const encoded = (name: string) =>
  encodeURIComponent(name.toWellFormed()).replace(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )

/**
 * Both forms when they differ: old clients take `filename`, the others prefer `filename*` (RFC 6266 §4.3). No `%` in the
 * plain form, because some clients decode it (Appendix D); no path separators in either.
 */
export function attachment(fileName: string): string {
  const name = fileName.replace(/[/\\]/g, '_')
  const plain = name.replace(/[^\x20-\x7e]|["%]/g, '_')
  return plain === name
    ? `attachment; filename="${plain}"`
    : `attachment; filename="${plain}"; filename*=UTF-8''${encoded(name)}`
}
