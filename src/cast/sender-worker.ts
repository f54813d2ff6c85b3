/** Entry of the sender's thread: messages in, messages out; the work is in sender.ts. */
import { ERRNO, SystemError } from '../../ffi/libc/errno.ts'
import { reasonOf } from '../base/log.ts'
import { Fault } from '../base/refusal.ts'
import { runSender, type SenderPort } from './sender.ts'
import type { FromSender, ToSender } from './sender-messages.ts'
import { Unreadable } from './source.ts'

declare const self: Worker

let said: ToSender[] = []
let wake = () => {}

const port: SenderPort = {
  take() {
    const taken = said
    said = []
    return taken
  },
  wait(timeoutMs) {
    if (timeoutMs === 0) return new Promise((resolve) => setImmediate(resolve))
    if (said.length > 0) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  },
  post: (message: FromSender) => self.postMessage(message),
}

function failure(error: unknown): FromSender {
  const message = reasonOf(error)
  if (error instanceof Unreadable) return { kind: 'failed', code: 'unreadable', message, hint: error.hint }
  const hint = error instanceof Fault ? error.hint : 'The log of the service has the particulars.'
  const taken = error instanceof SystemError && error.errno === ERRNO.EADDRINUSE
  return { kind: 'failed', code: taken ? 'in-use' : 'unavailable', message, hint }
}

self.onmessage = ({ data }: MessageEvent<ToSender>) => {
  if (data.kind !== 'start') {
    said.push(data)
    wake()
    return
  }
  runSender(data, port).then(
    () => port.post({ kind: 'stopped' }),
    (error: unknown) => port.post(failure(error)),
  )
}
