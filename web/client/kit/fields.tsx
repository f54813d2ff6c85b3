/** What is filled in. A refusal about a field is put below it (form.tsx): into `field-refusal`. */
import type { Child } from 'hono/jsx/dom'

type Common = {
  readonly name: string
  readonly label: string
  readonly hint?: Child
  readonly required?: boolean | undefined
}

const idOf = (name: string): string => `field-${name}`

function Below({ name, hint }: { name: string; hint?: Child }) {
  return (
    <>
      {hint && (
        <p class="hint" id={`${idOf(name)}-hint`}>
          {hint}
        </p>
      )}
      <div data-refusal-of={name} />
    </>
  )
}

type FieldProps = Common & {
  readonly value?: string | undefined
  readonly type?: 'text' | 'number' | 'datetime-local' | undefined
  readonly min?: string | undefined
  readonly max?: string | undefined
  readonly step?: string | undefined
  /** Names of files and the like. */
  readonly literal?: boolean | undefined
  readonly autofocus?: boolean | undefined
  readonly placeholder?: string | undefined
  readonly choices?: readonly string[] | undefined
}

export function Field(props: FieldProps) {
  const { name, label, hint, value, type = 'text', literal, choices, ...more } = props
  const id = idOf(name)
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        {...more}
        id={id}
        name={name}
        type={type}
        value={value ?? ''}
        autocomplete="off"
        spellcheck={literal ? false : undefined}
        list={choices ? `${id}-choices` : undefined}
        aria-describedby={hint ? `${id}-hint` : undefined}
      />
      {choices && (
        <datalist id={`${id}-choices`}>
          {choices.map((choice) => (
            <option key={choice} value={choice} />
          ))}
        </datalist>
      )}
      <Below name={name} hint={hint} />
    </div>
  )
}

export function LongField({ name, label, hint, value, required }: Common & { readonly value?: string }) {
  const id = idOf(name)
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <textarea id={id} name={name} rows={2} required={required} aria-describedby={hint ? `${id}-hint` : undefined}>
        {value ?? ''}
      </textarea>
      <Below name={name} hint={hint} />
    </div>
  )
}

export type Option = { readonly value: string; readonly label: string }

type SelectProps = Common & {
  readonly value: string
  readonly options: readonly Option[]
  readonly onChange?: ((value: string) => void) | undefined
}

export function Select({ name, label, hint, value, options, onChange }: SelectProps) {
  const id = idOf(name)
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select
        id={id}
        name={name}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(event: Event) => onChange?.((event.currentTarget as HTMLSelectElement).value)}
      >
        {options.map((option) => (
          <option key={option.value} value={option.value} selected={option.value === value}>
            {option.label}
          </option>
        ))}
      </select>
      <Below name={name} hint={hint} />
    </div>
  )
}

type CheckProps = Common & { readonly checked?: boolean; readonly value?: string }

export function Check({ name, label, hint, checked = false, value, required }: CheckProps) {
  const id = value === undefined ? idOf(name) : `${idOf(name)}-${value}`
  return (
    <div class="field">
      <label class="check">
        <input
          type="checkbox"
          id={id}
          name={name}
          value={value}
          checked={checked}
          required={required}
          aria-describedby={hint ? `${id}-hint` : undefined}
        />
        {label}
      </label>
      {hint && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
      {value === undefined && <div data-refusal-of={name} />}
    </div>
  )
}

type RadiosProps = {
  readonly name: string
  readonly label: string
  readonly value: string
  readonly options: readonly Option[]
  readonly onChange: (value: string) => void
}

export function Radios({ name, label, value, options, onChange }: RadiosProps) {
  return (
    <fieldset class="radios">
      <legend>{label}</legend>
      {options.map((option) => (
        <label key={option.value} class="check">
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            onChange={() => onChange(option.value)}
          />
          {option.label}
        </label>
      ))}
      <div data-refusal-of={name} />
    </fieldset>
  )
}

type FileProps = Common & {
  readonly accept?: string | undefined
  readonly multiple?: boolean | undefined
  readonly onChange?: ((files: readonly File[]) => void) | undefined
}

export function FileField({ name, label, hint, accept, multiple, required, onChange }: FileProps) {
  const id = idOf(name)
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        name={name}
        type="file"
        accept={accept}
        multiple={multiple}
        required={required}
        aria-describedby={hint ? `${id}-hint` : undefined}
        onChange={(event: Event) => onChange?.([...((event.currentTarget as HTMLInputElement).files ?? [])])}
      />
      <Below name={name} hint={hint} />
    </div>
  )
}

/** A part of a form that most leave alone. */
export function More({ label, open = false, children }: { label: string; open?: boolean; children: Child }) {
  return (
    <details class="more-fields" open={open}>
      <summary>{label}</summary>
      {children}
    </details>
  )
}

/** Fields side by side, where there is room. */
export function Pair({ children }: { children: Child }) {
  return <div class="pair">{children}</div>
}

/** What is in a field, without the blanks around it. */
export function said(fields: FormData, name: string): string {
  const value = fields.get(name)
  return typeof value === 'string' ? value.trim() : ''
}

/** The files that were chosen: a browser sends a nameless empty one for none. */
export function filesOf(fields: FormData, name: string): File[] {
  return fields.getAll(name).filter((value) => value instanceof File && value.name !== '') as File[]
}
