/** When a transmission begins: as `cast new`, copy and import take it. */
import { useState } from 'hono/jsx/dom'
import { err, ok, type Result } from '../../../src/base/result.ts'
import type { Multicast, Refusal } from '../api.ts'
import { Field, Pair, Select, said } from '../kit/fields.tsx'
import { text } from '../text.ts'

const words = text.transmitDialog

/** `optional`: there may be none at all. */
export function StartFields({ optional = false }: { optional?: boolean }) {
  const [start, setStart] = useState(optional ? 'no' : 'auto')
  return (
    <>
      <Select
        name="start"
        label={optional ? text.importDialog.cast : words.start}
        value={start}
        onChange={setStart}
        options={[
          ...(optional ? [{ value: 'no', label: words.no }] : []),
          { value: 'auto', label: words.auto },
          { value: 'waits', label: words.waits },
          { value: 'manual', label: words.manual },
        ]}
      />
      {start === 'waits' && (
        <Pair>
          <Field name="clientCount" type="number" min="1" max="1000" step="1" label={words.clientCount} />
          <Field
            name="startTime"
            type="datetime-local"
            label={words.startTime}
            hint={words.startTimeHint(Intl.DateTimeFormat().resolvedOptions().timeZone)}
          />
        </Pair>
      )}
      {start !== 'no' && <Field name="castName" label={words.name} hint={words.nameHint} />}
    </>
  )
}

/** Undefined: none is asked for. */
export function multicastOf(fields: FormData): Result<Multicast | undefined, Refusal> {
  const start = said(fields, 'start')
  if (start === 'no' || start === '') return ok(undefined)
  const name = said(fields, 'castName')
  const count = said(fields, 'clientCount')
  const time = said(fields, 'startTime')
  if (start === 'waits' && count === '' && time === '')
    return err({ code: 'bad-request', message: words.missing, hint: words.missingHint })
  return ok({
    ...(name === '' ? {} : { name }),
    ...(start === 'manual' ? { manualStart: true } : {}),
    ...(start === 'waits' && count !== '' ? { clientCount: Number(count) } : {}),
    // The appliance may live in another zone than who looks at its page.
    ...(start === 'waits' && time !== '' ? { startTime: new Date(time).toISOString() } : {}),
  })
}
