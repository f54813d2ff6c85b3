/** Names are compared as Windows compares them, near enough: composed, and without case, in any script. */
export function foldCase(text: string): string {
  return text.normalize('NFC').toLowerCase()
}
