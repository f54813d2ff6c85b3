/**
 * What wimcast says no to, and how. A refusal is part of the contract: it has a stable code, a sentence, and a hint
 * that tells the operator what to do. Faults (our own bugs, a dying disk) are thrown instead, as `Fault`.
 */
/** Every refusal code, with what it means. The API maps each to a status (src/api/status.ts), docs list them. */
export const CODES = {
  'bad-request': 'the request is not of the documented form',
  'not-signed-in': 'no principal: a token is missing, unknown or revoked',
  'not-allowed': 'the principal lacks the role for this',
  'not-found': 'there is no such thing',
  ambiguous: 'the selector matches more than one thing',
  exists: 'a thing of that name is there already',
  changed: 'somebody else changed the thing meanwhile',
  'boot-default': 'the image is what machines boot or get by default',
  'over-quota': 'the group would take more than its quota',
  'bad-unattend': 'the answer file is not one',
  'bad-backup': 'the file is no backup of wimcast, is damaged, or is of a newer version',
  disabled: 'the image is disabled: it is not offered to clients',
  'in-use': 'the thing cannot go while something uses it',
  'bad-name': 'the name has characters or a length that cannot be kept',
  'bad-path': 'the path is outside the configured import roots, or not a regular file',
  'not-a-wim': 'the file is not a Windows image (WIM)',
  truncated: 'the file ends before its own tables say it does',
  corrupt: 'the content does not match its checksum, or its structure is broken',
  'bad-metadata': 'the directory tree of an image is broken or hostile',
  'bad-xml': 'the XML document of the file is malformed',
  encrypted: 'the file is encrypted (as retail .esd files are)',
  'not-first-part': 'a split set must be named by its first part',
  'missing-part': 'a part of the split set is missing',
  'wrong-part': 'a part does not belong to the split set',
  'missing-blobs': 'the image refers to file contents that neither the file nor the group holds',
  unsupported: 'the file uses a feature that is not supported',
  'no-space': 'there is not enough free space for this',
  cancelled: 'somebody cancelled it',
  interrupted: 'the appliance stopped while it ran',
  'child-died': 'the worker process ended without an answer',
  'range-not-satisfiable': 'the range asked for lies outside the content',
  unreadable: 'a segment of the store cannot be read',
  damaged: 'the image holds contents that are damaged',
  'wrong-certificate': 'the server showed another certificate than the pinned one',
  unreachable: 'the other side does not answer',
  'already-started': 'the transmission has started, or waits for no start',
  'no-clients': 'no client waits for the transmission to start',
  'cast-over': 'the transmission has ended or is stopping',
  'wrong-content': 'the partial file belongs to another image, or another version of it',
  'no-multicast': 'no multicast packet was heard',
  unavailable: 'the part of the appliance that does this is switched off or not ready',
} as const

export type Code = keyof typeof CODES

export type Refusal = {
  readonly code: Code
  /** One sentence, active voice, the value quoted. */
  readonly message: string
  /** What the operator can do about it. */
  readonly hint: string
  /** Machine-readable particulars: matches of an ambiguous selector, missing parts, byte counts. */
  readonly facts?: Readonly<Record<string, unknown>>
}

/** A refusal as a `Result` (result.ts): `return refuse('not-found', …)`. */
export function refuse(
  code: Code,
  message: string,
  hint: string,
  facts?: Readonly<Record<string, unknown>>,
): { readonly ok: false; readonly error: Refusal } {
  return { ok: false, error: facts === undefined ? { code, message, hint } : { code, message, hint, facts } }
}

/** Carries a refusal through code that can only throw (streams, callbacks); the door that catches turns it back. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly refusal: Refusal
  constructor(refusal: Refusal) {
    super(refusal.message)
    this.refusal = refusal
  }
}

/** A fault: not the caller's doing. Carries a hint for the operator; the cause stays in the log. */
export class Fault extends Error {
  override readonly name = 'Fault'
  readonly hint: string
  constructor(message: string, options: { readonly hint: string; readonly cause?: unknown }) {
    super(message, { cause: options.cause })
    this.hint = options.hint
  }
}

export function isCode(text: string): text is Code {
  return Object.hasOwn(CODES, text)
}
