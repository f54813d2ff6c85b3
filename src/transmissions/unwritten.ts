/**
 * Writes what came by a callback, where nobody could be told of a failure. A full disk takes no row: it is tried again,
 * in order, until there is room; what is not written by the next start is found out again then.
 */
import { isDiskFull } from '../base/disk-full.ts'
import { type Log, reasonOf } from '../base/log.ts'

const AGAIN_MS = 5000

export type Unwritten = Disposable & {
  /** At once, unless something waits before it. */
  readonly write: (write: () => void) => void
}

export function openUnwritten({ log }: { readonly log: Log }): Unwritten {
  const queue: (() => void)[] = []
  let again: ReturnType<typeof setTimeout> | undefined
  let isFlushing = false

  function flush(): void {
    again = undefined
    isFlushing = true
    for (let write = queue[0]; write !== undefined; write = queue[0]) {
      try {
        write()
      } catch (error) {
        log.error('cast.unrecorded', { reason: reasonOf(error) })
        if (isDiskFull(error)) {
          again = setTimeout(flush, AGAIN_MS)
          again.unref()
          break
        }
      }
      queue.shift()
    }
    isFlushing = false
  }

  return {
    write: (write) => {
      queue.push(write)
      if (again === undefined && !isFlushing) flush()
    },
    [Symbol.dispose]: () => clearTimeout(again),
  }
}
