/** What a command is. The table in run.ts lists them all. */
import { Refused } from '../base/refusal.ts'
import type { Result } from '../base/result.ts'
import type { ApplianceClient } from './appliance-client.ts'
import type { Arguments, Option } from './args.ts'

export type Output = {
  /** One object or list, for scripts (`--json`), or the text for people. */
  readonly result: (json: unknown, text: string) => void
  readonly progress: {
    readonly show: (label: string, doneBytes: number, totalBytes: number) => void
    readonly end: () => void
  }
}

export type Context = {
  readonly args: Arguments
  readonly out: Output
  readonly signal: AbortSignal
}

export type Command = {
  /** `image import` */
  readonly words: string
  /** What follows the words: `FILE`. */
  readonly operands: readonly string[]
  readonly doc: string
  readonly options: Readonly<Record<string, Option>>
  readonly run: (context: Context & { readonly appliance: ApplianceClient }) => Promise<void>
}

/** The command line or the configuration is wrong: said before anything was asked of an appliance. */
export class Misused extends Refused {}

export function must<T>(result: Result<T>): T {
  if (result.ok) return result.value
  throw result.error.code === 'bad-request' ? new Misused(result.error) : new Refused(result.error)
}
