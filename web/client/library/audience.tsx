/** Who may see a group or an image. */
import { useState } from 'hono/jsx/dom'
import { ROLES } from '../../../src/base/principal.ts'
import type { Audience } from '../api.ts'
import { Check, Field, Radios, said } from '../kit/fields.tsx'
import { text } from '../text.ts'

const words = text.audience

export function AudienceFields({ audience }: { audience: Audience | undefined }) {
  const [who, setWho] = useState(audience ? 'some' : 'all')
  return (
    <>
      <Radios
        name="audience"
        label={words.label}
        value={who}
        onChange={setWho}
        options={[
          { value: 'all', label: words.all },
          { value: 'some', label: words.some },
        ]}
      />
      {who === 'some' && (
        <div class="indented">
          {ROLES.map((role) => (
            <Check
              key={role}
              name="roles"
              value={role}
              label={words.roles[role]}
              checked={audience?.roles.includes(role) ?? false}
              hint={role === 'admin' ? words.admins : undefined}
            />
          ))}
          <Field
            name="machineGroups"
            label={words.machineGroups}
            hint={words.machineGroupsHint}
            value={audience?.machineGroups.join(', ')}
          />
        </div>
      )}
    </>
  )
}

export function audienceOf(fields: FormData): Audience | null {
  if (said(fields, 'audience') !== 'some') return null
  return {
    roles: ROLES.filter((role) => fields.getAll('roles').includes(role)),
    machineGroups: said(fields, 'machineGroups')
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
  }
}

/** For who points at the badge. */
export function limitOf(audience: Audience): string {
  return text.library.limitedTo(
    audience.roles.filter((role) => role !== 'admin').map((role) => words.roles[role]),
    audience.machineGroups,
  )
}
