import type { Refusal } from './api.ts'
import { text } from './text.ts'

/** What was refused, and what to do: wherever the API said no. */
export function RefusalNote({ refusal, id }: { refusal: Refusal; id?: string | undefined }) {
  return (
    <div class="refusal" role="alert" id={id}>
      <p>{refusal.message}</p>
      {refusal.hint !== '' && <p class="hint">{refusal.hint}</p>}
      <p class="code">{text.refusalCode(refusal.code)}</p>
    </div>
  )
}
