/** What another room wants to happen in the transaction that makes an image: a transmission of it, say. */
import type { By, Changed, Facts } from '../audit/changes.ts'
import type { Result } from '../base/result.ts'
import type { InstallImage } from './rows.ts'

/** What it refuses refuses the image too. */
export type Alongside = (image: InstallImage, by: By) => Result<Changed<Facts>>
