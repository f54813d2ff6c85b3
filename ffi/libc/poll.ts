/** Waiting for one descriptor with a grain below the JavaScript timer's millisecond: ppoll(2). */
import { ptr } from 'bun:ffi'
import { type Block, block, putU64 } from './memory.ts'
import { c } from './symbols.ts'

const POLLIN = 1

export type Waiter = {
  /** True when the descriptor has something to read; false after `timeoutNs`, or when a signal came. */
  readonly readable: (timeoutNs: number) => boolean
  /** Sleeps without looking at the descriptor. */
  readonly pause: (timeoutNs: number) => void
}

/** Blocks the calling thread: for worker threads only. */
export function waiterOn(fd: number): Waiter {
  // struct pollfd { int fd; short events; short revents; }; struct timespec { time_t s; long ns; }
  const poll: Block = block(8)
  poll.view.setInt32(0, fd, true)
  poll.view.setInt16(4, POLLIN, true)
  const time: Block = block(16)
  const set = (ns: number) => {
    const whole = Math.max(0, Math.floor(ns))
    putU64(time.words, 0, Math.floor(whole / 1e9))
    putU64(time.words, 2, whole % 1e9)
  }
  return {
    readable(timeoutNs) {
      set(timeoutNs)
      return Number(c.ppoll(ptr(poll.bytes), 1, ptr(time.bytes), null)) > 0
    },
    pause(timeoutNs) {
      set(timeoutNs)
      c.ppoll(null, 0, ptr(time.bytes), null)
    },
  }
}
