/** Entry of the receiver's thread: messages in, messages out; the work is in receiver.ts. */
import { isDiskFull } from '../base/disk-full.ts'
import { reasonOf } from '../base/log.ts'
import { type ReceiverPort, runReceiver } from './receiver.ts'
import type { FromReceiver, ToReceiver } from './receiver-messages.ts'

declare const self: Worker

let said: ToReceiver[] = []
const port: ReceiverPort = {
  take() {
    const taken = said
    said = []
    return taken
  },
  turn: () => new Promise((resolve) => setImmediate(resolve)),
  post: (message: FromReceiver) => self.postMessage(message),
}

self.onmessage = ({ data }: MessageEvent<ToReceiver>) => {
  if (data.kind !== 'start') {
    said.push(data)
    return
  }
  runReceiver(data, port).then(
    (why) => port.post({ kind: 'ended', why }),
    (error: unknown) => {
      const full = isDiskFull(error)
      port.post({ kind: 'failed', code: full ? 'no-space' : 'unavailable', message: reasonOf(error) })
    },
  )
}
