/** Settings: each with what it does, what it is and what it would be by itself; what is refused stands at its field. */
import { useState } from 'hono/jsx/dom'
import type { Refusal, Setting } from './api.ts'
import { Badge, Button, Section } from './kit/facts.tsx'
import { said } from './kit/fields.tsx'
import { RefusalNote } from './kit/refusal.tsx'
import { ask } from './session.ts'
import { tell } from './store.ts'
import { text } from './text.ts'

const words = text.settings

export function SettingsRoom({ settings }: { settings: readonly Setting[] | undefined }) {
  if (!settings) return null
  return (
    <Section id="settings" title={words.title} about={words.about}>
      <ul class="card rows settings">
        {settings.map((setting) => (
          <SettingRow key={setting.key} setting={setting} />
        ))}
      </ul>
    </Section>
  )
}

function SettingRow({ setting }: { setting: Setting }) {
  const { key, value, fallback, doc } = setting
  const [refusal, setRefusal] = useState<Refusal | undefined>(undefined)
  const [busy, setBusy] = useState(false)
  const id = `setting-${key}`

  async function save(wanted: string | null): Promise<void> {
    if (busy) return
    setBusy(true)
    const answer = await ask((api) => api.setSetting(key, wanted))
    if (!answer) return
    setBusy(false)
    setRefusal(answer.ok ? undefined : answer.error)
    if (!answer.ok) return
    // The field may hold what was typed and not saved.
    const field = document.getElementById(id)
    if (field instanceof HTMLInputElement) field.value = answer.value.value
    tell(text.notices.settingSaved(key))
  }
  return (
    <li class="row setting">
      <div>
        <p class="row-title">
          <label for={id}>
            <code>{key}</code>
          </label>
          {value !== fallback && <Badge kind="running">{words.changed}</Badge>}
        </p>
        <p class="muted" id={`${id}-doc`}>
          {doc}
        </p>
      </div>
      <form
        onSubmit={(event: Event) => {
          event.preventDefault()
          save(said(new FormData(event.currentTarget as HTMLFormElement), 'value'))
        }}
      >
        <div class="setting-value">
          <input
            id={id}
            name="value"
            value={value}
            autocomplete="off"
            spellcheck={false}
            aria-invalid={refusal ? 'true' : undefined}
            aria-describedby={refusal ? `${id}-doc ${id}-refusal` : `${id}-doc`}
          />
          <button type="submit" aria-label={words.saveKey(key)} aria-disabled={busy ? 'true' : undefined}>
            {words.save}
          </button>
        </div>
        {refusal && <RefusalNote refusal={refusal} id={`${id}-refusal`} />}
        <p class="setting-default hint">
          {words.fallback(fallback)}
          {value !== fallback && (
            <Button look="quiet" name={words.resetKey(key)} onClick={() => void save(null)}>
              {words.reset}
            </Button>
          )}
        </p>
      </form>
    </li>
  )
}
