/**
 * A clock that stands still while we do not listen. Who measures silence with it never takes an own standstill (a
 * stopped process, a write that a slow disk holds up) for the silence of the sender, whose packets wait in the socket.
 */

/** Between two readings no more than this counts. The loop reads it every few milliseconds; a busy machine may need more. */
const STEP_MS = 250

export function listeningClock(nowMs: () => number = () => performance.now()): () => number {
  let readMs = nowMs()
  let listenedMs = 0
  return () => {
    const now = nowMs()
    listenedMs += Math.min(STEP_MS, now - readMs)
    readMs = now
    return listenedMs
  }
}
