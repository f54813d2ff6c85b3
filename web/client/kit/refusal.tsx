import type { Refusal } from '../api.ts'
import { text } from '../text.ts'

type Props = {
  readonly refusal: Pick<Refusal, 'code' | 'message' | 'hint'>
  readonly id?: string | undefined
  /** Part of a list that lasts: a screen reader would speak an alert at every load. */
  readonly lasting?: boolean
}

/** What was refused, and what to do: wherever the API said no. */
export function RefusalNote({ refusal, id, lasting = false }: Props) {
  return (
    <div class="refusal" role={lasting ? undefined : 'alert'} id={id}>
      <p>{refusal.message}</p>
      {refusal.hint !== '' && <p class="hint">{refusal.hint}</p>}
      <p class="code">{text.refusalCode(refusal.code)}</p>
    </div>
  )
}
