/** A button with a list of what can be done: the popover of the browser, put where the button is. */
import { useEffect, useRef, useState } from 'hono/jsx/dom'

export type Item = {
  readonly label: string
  readonly danger?: boolean | undefined
  /** Leads elsewhere. */
  readonly href?: string | undefined
  readonly run?: (() => void) | undefined
}

type Props = {
  readonly label: string
  /** On what: for who does not see the row. */
  readonly name: string
  readonly items: readonly (Item | false)[]
}

const MARGIN_PX = 8

export function Menu({ label, name, items }: Props) {
  const [open, setOpen] = useState(false)
  const button = useRef<HTMLButtonElement>(null)
  return (
    <>
      <button
        type="button"
        class="menu-button"
        ref={button}
        aria-haspopup="menu"
        aria-expanded={open ? 'true' : 'false'}
        aria-label={name}
        onClick={() => setOpen(!open)}
      >
        {label}
      </button>
      {open && (
        <Popup
          name={name}
          items={items.filter((item) => item !== false)}
          anchor={() => button.current}
          onClose={() => setOpen(false)}
        />
      )}
    </>
  )
}

type PopupProps = {
  readonly name: string
  readonly items: readonly Item[]
  readonly anchor: () => HTMLElement | null
  readonly onClose: () => void
}

function Popup({ name, items, anchor, onClose }: PopupProps) {
  const popup = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const box = popup.current
    const at = anchor()?.getBoundingClientRect()
    if (!box || !at) return
    box.showPopover()
    const { offsetWidth: width, offsetHeight: height } = box
    const below = at.bottom + 4
    const top = below + height > innerHeight - MARGIN_PX ? Math.max(MARGIN_PX, at.top - height - 4) : below
    box.style.top = `${top}px`
    box.style.left = `${Math.max(MARGIN_PX, Math.min(at.right - width, innerWidth - width - MARGIN_PX))}px`
    box.querySelector<HTMLElement>('[role=menuitem]')?.focus()
    const over = new AbortController()
    const onScroll = ({ target }: Event): void => {
      if (!(target instanceof Node && box.contains(target))) box.hidePopover()
    }
    addEventListener('scroll', onScroll, { signal: over.signal, capture: true })
    addEventListener('resize', () => box.hidePopover(), { signal: over.signal, once: true })
    return () => over.abort()
  }, [])

  function close(): void {
    const hadFocus = popup.current?.contains(document.activeElement) ?? false
    onClose()
    if (hadFocus) anchor()?.focus()
  }
  function move(event: KeyboardEvent): void {
    const all = [...(popup.current?.querySelectorAll<HTMLElement>('[role=menuitem]') ?? [])]
    const at = all.indexOf(document.activeElement as HTMLElement)
    const to =
      event.key === 'ArrowDown'
        ? at + 1
        : event.key === 'ArrowUp'
          ? at - 1
          : event.key === 'Home'
            ? 0
            : event.key === 'End'
              ? -1
              : undefined
    if (event.key === 'Tab') popup.current?.hidePopover()
    if (to === undefined) return
    event.preventDefault()
    all.at(to === all.length ? 0 : to)?.focus()
  }
  return (
    <div
      class="menu"
      role="menu"
      aria-label={name}
      popover="auto"
      ref={popup}
      onKeyDown={move}
      onToggle={(event: Event) => (event as ToggleEvent).newState === 'closed' && close()}
    >
      {items.map(({ label, danger, href, run }) =>
        href === undefined ? (
          <button
            key={label}
            type="button"
            role="menuitem"
            tabindex={-1}
            class={danger ? 'danger' : undefined}
            onClick={() => {
              anchor()?.focus()
              onClose()
              run?.()
            }}
          >
            {label}
          </button>
        ) : (
          <a key={label} role="menuitem" tabindex={-1} href={href} onClick={onClose}>
            {label}
          </a>
        ),
      )}
    </div>
  )
}
