import { describe, expect, test } from 'bun:test'
import type { Terms } from '../../src/tftp/options.ts'
import { type Action, begin, type Event, MAX_TRIES, NUDGE_MS, step, type Transfer } from '../../src/tftp/transfer.ts'

const PLAIN: Terms = {
  sizeBytes: 512 * 20 + 7,
  blksize: 512,
  windowsize: 1,
  timeoutMs: 1000,
  backOff: true,
  agreed: new Map(),
}
const OFFERED: Terms = { ...PLAIN, agreed: new Map([['tsize', '10247']]) }
const WINDOW4: Terms = { ...PLAIN, windowsize: 4, agreed: new Map([['windowsize', '4']]) }

/** Drives a transfer; what it wants done is written as words. Blocks leave at once unless `hold` is set. */
class Driver {
  state: Transfer
  hold = false
  readonly log: string[] = []

  constructor(terms: Terms) {
    const [state, actions] = begin(terms)
    this.state = state
    this.#note(actions)
  }

  #note(actions: readonly Action[]): void {
    for (const action of actions) {
      this.log.push(word(action))
      if (action.kind === 'blocks' && !this.hold) this.tell({ kind: 'left', last: action.last })
    }
  }

  tell(event: Event): this {
    const [state, actions] = step(this.state, event)
    this.state = state
    this.#note(actions)
    return this
  }

  ack(...blocks: number[]): this {
    for (const block of blocks) this.tell({ kind: 'ack', block })
    return this
  }

  timeout(): this {
    return this.tell({ kind: 'timeout' })
  }

  /** What was wanted since the last look. */
  wanted(): string {
    return this.log.splice(0).join(', ')
  }
}

function word(action: Action): string {
  switch (action.kind) {
    case 'oack':
      return 'oack'
    case 'blocks':
      return action.first === action.last ? `block ${action.first}` : `blocks ${action.first}-${action.last}`
    case 'wait':
      return `wait ${action.ms}`
    case 'error':
      return `error ${action.code}`
    case 'end':
      return action.outcome.kind === 'failed' ? `failed: ${action.outcome.why}` : action.outcome.kind
  }
}

/** Skips ahead: the first `count` blocks are acknowledged. */
function after(terms: Terms, count: number): Driver {
  const driver = new Driver(terms)
  if (terms.agreed.size > 0) driver.ack(0)
  for (let block = terms.windowsize; block <= count; block += terms.windowsize) driver.ack(block & 0xffff)
  driver.wanted()
  return driver
}

describe('lock-step', () => {
  test('without options the first block comes at once', () => {
    expect(new Driver(PLAIN).wanted()).toBe('block 1, wait 1000')
  })
  test('with options the OACK comes first, and ACK 0 starts the file', () => {
    const driver = new Driver(OFFERED)
    expect(driver.wanted()).toBe('oack, wait 1000')
    expect(driver.ack(0).wanted()).toBe('block 1, wait 1000')
  })
  test('each ACK brings the next block', () => {
    expect(after(PLAIN, 0).ack(1, 2).wanted()).toBe('block 2, wait 1000, block 3, wait 1000')
  })
  test('the ACK of the short block ends it', () => {
    expect(after(PLAIN, 20).ack(21).wanted()).toBe('sent')
  })
  test('a file that fills its last block ends with an empty one', () => {
    const driver = after({ ...PLAIN, sizeBytes: 1024 }, 1)
    expect(driver.ack(2).wanted()).toBe('block 3, wait 1000')
    expect(driver.ack(3).wanted()).toBe('sent')
  })
  test('an empty file is one empty block', () => {
    const driver = new Driver({ ...PLAIN, sizeBytes: 0 })
    expect(driver.wanted()).toBe('block 1, wait 1000')
    expect(driver.ack(1).wanted()).toBe('sent')
  })
  test('block numbers roll over to 0 and counting goes on', () => {
    const driver = after({ ...PLAIN, sizeBytes: 512 * 140_000 }, 65_534)
    expect(driver.ack(65_535).wanted()).toBe('block 65536, wait 1000')
    expect(driver.ack(0).wanted()).toBe('block 65537, wait 1000')
    expect(driver.ack(1).wanted()).toBe('block 65538, wait 1000')
  })
  test('a transfer rolls over more than once', () => {
    expect(
      after({ ...PLAIN, sizeBytes: 512 * 140_000 }, 131_071)
        .ack(0)
        .wanted(),
    ).toBe('block 131073, wait 1000')
  })
})

describe('the Sorcerer’s Apprentice', () => {
  test('a duplicate ACK sends nothing', () => {
    expect(after(PLAIN, 5).ack(5, 5, 5).wanted()).toBe('')
  })
  test('an old ACK sends nothing', () => {
    expect(after(PLAIN, 5).ack(4, 1, 0).wanted()).toBe('')
  })
  test('an old ACK from before the roll-over sends nothing', () => {
    expect(
      after({ ...PLAIN, sizeBytes: 512 * 70_000 }, 65_536)
        .ack(65_535)
        .wanted(),
    ).toBe('')
  })
  test('an ACK of a block that was never sent is not believed', () => {
    expect(after(PLAIN, 5).ack(7, 900, 65_535).wanted()).toBe('')
  })
  test('ACKs other than 0 do not accept the offer', () => {
    const driver = new Driver(OFFERED)
    driver.wanted()
    expect(driver.ack(1, 65_535).wanted()).toBe('')
  })
  test('every ACK doubled: every block still leaves once', () => {
    const driver = new Driver(PLAIN)
    for (let block = 1; block <= 21; block += 1) driver.ack(block, block)
    expect(driver.log.filter((entry) => entry.startsWith('block'))).toHaveLength(21)
    expect(driver.state.retransmits).toBe(0)
  })
  test('every ACK of a window doubled: every block still leaves once', () => {
    const driver = new Driver(WINDOW4)
    driver.ack(0, 0)
    for (const block of [4, 8, 12, 16, 20, 21]) driver.ack(block, block)
    expect(driver.log.filter((entry) => entry.startsWith('block')).join()).toBe(
      'blocks 1-4,blocks 5-8,blocks 9-12,blocks 13-16,blocks 17-20,block 21',
    )
    expect(driver.state.retransmits).toBe(0)
  })
})

describe('windows', () => {
  test('a whole window leaves per ACK, the last one short', () => {
    const driver = new Driver(WINDOW4)
    driver.ack(0)
    expect(driver.wanted()).toBe('oack, wait 1000, blocks 1-4, wait 1000')
    expect(driver.ack(4).wanted()).toBe('blocks 5-8, wait 1000')
    expect(driver.ack(8, 12, 16).ack(20).wanted()).toEndWith('block 21, wait 1000')
    expect(driver.ack(21).wanted()).toBe('sent')
  })
  test('a partial ACK slides the window to the gap at once', () => {
    const driver = after(WINDOW4, 4)
    expect(driver.ack(6).wanted()).toBe('blocks 7-10, wait 1000')
    expect(driver.state.retransmits).toBe(2)
  })
  test('an ACK from before the slide is old', () => {
    expect(after(WINDOW4, 4).ack(6, 5).wanted()).toBe('blocks 7-10, wait 1000')
  })
  test('silence sends the same window again, from the last ACK', () => {
    const driver = after(WINDOW4, 4).ack(6)
    driver.wanted()
    expect(driver.timeout().wanted()).toBe('blocks 7-10, wait 2000')
    expect(driver.state.retransmits).toBe(2 + 4)
  })
  test('a window across the roll-over', () => {
    const driver = after({ ...WINDOW4, sizeBytes: 512 * 70_000 }, 65_532)
    expect(driver.ack(65_535).wanted()).toBe('blocks 65536-65539, wait 1000')
    expect(driver.ack(3).wanted()).toBe('blocks 65540-65543, wait 1000')
  })
  test('a repeated ACK may mean that the first block was lost: silence right after it sends the window again', () => {
    const driver = after(WINDOW4, 4)
    expect(driver.ack(4).wanted()).toBe(`wait ${NUDGE_MS}`)
    expect(driver.timeout().wanted()).toBe('blocks 5-8, wait 1000')
  })
  test('that happens once per window, and uses up no try', () => {
    const driver = after(WINDOW4, 4).ack(4).timeout()
    driver.wanted()
    expect(driver.ack(4, 4).wanted()).toBe('')
    expect(driver.timeout().wanted()).toBe('blocks 5-8, wait 2000')
    expect(driver.state.tries).toBe(1)
  })
})

describe('blocks that are slow to leave', () => {
  test('the wait begins when the whole window has left', () => {
    const driver = after(WINDOW4, 0)
    driver.hold = true
    expect(driver.ack(4).wanted()).toBe('blocks 5-8')
    expect(driver.tell({ kind: 'left', last: 6 }).wanted()).toBe('')
    expect(driver.timeout().wanted()).toBe('')
    expect(driver.tell({ kind: 'left', last: 8 }).wanted()).toBe('wait 1000')
  })
  test('an ACK of a block that has not left is not believed', () => {
    const driver = after(WINDOW4, 0)
    driver.hold = true
    driver.ack(4).tell({ kind: 'left', last: 6 })
    driver.wanted()
    expect(driver.ack(7).wanted()).toBe('')
    expect(driver.ack(6).wanted()).toBe('blocks 7-10')
    expect(driver.state.retransmits).toBe(0)
  })
})

describe('silence', () => {
  test('is answered by sending again, with back-off, and given up', () => {
    const driver = after(PLAIN, 5)
    for (let tries = 0; tries < MAX_TRIES; tries += 1) driver.timeout()
    expect(driver.wanted()).toBe(
      'block 6, wait 2000, block 6, wait 4000, block 6, wait 4000, block 6, wait 4000, block 6, wait 4000, block 6, wait 4000',
    )
    expect(driver.timeout().wanted()).toBe('failed: the client fell silent')
    expect(driver.state.retransmits).toBe(MAX_TRIES)
  })
  test('is measured by the timeout that the client named', () => {
    const driver = after({ ...PLAIN, timeoutMs: 3000, backOff: false }, 5)
    expect(driver.timeout().timeout().wanted()).toBe('block 6, wait 3000, block 6, wait 3000')
  })
  test('sends the OACK again', () => {
    const driver = new Driver(OFFERED)
    driver.wanted()
    expect(driver.timeout().wanted()).toBe('oack, wait 2000')
    expect(driver.ack(0).wanted()).toBe('block 1, wait 1000')
  })
  test('after the OACK says so', () => {
    const driver = new Driver(OFFERED)
    for (let tries = 0; tries <= MAX_TRIES; tries += 1) driver.timeout()
    expect(driver.wanted()).toEndWith('failed: the client never answered the OACK')
  })
  test('after the last block says so', () => {
    const driver = after(PLAIN, 20)
    for (let tries = 0; tries <= MAX_TRIES; tries += 1) driver.timeout()
    expect(driver.wanted()).toEndWith('failed: the client never acknowledged the last block')
  })
  test('is forgotten with the next ACK', () => {
    const driver = after(PLAIN, 5).timeout().timeout()
    driver.wanted()
    expect(driver.ack(6).wanted()).toBe('block 7, wait 1000')
  })
})

describe('the end', () => {
  test('an ERROR on the offer is a probe for the size', () => {
    const driver = new Driver(OFFERED)
    driver.wanted()
    expect(driver.tell({ kind: 'error', code: 8, message: 'User aborted the transfer' }).wanted()).toBe('probed')
  })
  test('an ERROR later is a failure with the client’s words', () => {
    expect(after(PLAIN, 3).tell({ kind: 'error', code: 3, message: 'Disk full' }).wanted()).toBe(
      'failed: the client gave up: 3 Disk full',
    )
  })
  test('a fault of the disk is told to the client without its words', () => {
    expect(after(PLAIN, 3).tell({ kind: 'fault', why: 'EIO in /srv/x' }).wanted()).toBe(
      'error 0, failed: EIO in /srv/x',
    )
  })
  test('a stop of the server is told to the client', () => {
    expect(after(PLAIN, 3).tell({ kind: 'stop' }).wanted()).toBe('error 0, failed: the server stopped')
  })
  test('a client that began anew hears nothing of the old transfer', () => {
    expect(after(PLAIN, 3).tell({ kind: 'superseded' }).wanted()).toBe('failed: the client began anew')
  })
  test('nothing happens after it', () => {
    const driver = after(PLAIN, 20).ack(21)
    driver.wanted()
    driver.ack(21).timeout().tell({ kind: 'stop' }).tell({ kind: 'error', code: 0, message: '' })
    expect(driver.wanted()).toBe('')
  })
})
