/**
 * What a receiver reports: the holes in blocks that the sender has been past, each block once in a pass. Pure.
 *
 * The sender's position comes from beacons, and within a pass from the data itself (one sender, one path: packets
 * of a flow stay in order; where they do not, a report asks for too much and no more than that). Only a
 * beacon opens a new pass.
 */
import { type Geometry, symbolsInBlock } from './geometry.ts'
import type { Missing } from './packet.ts'
import { type BlockBitmap, hasBlock, type Position } from './schedule.ts'
import type { SymbolSet } from './wanted.ts'

const LOSS_WINDOW = 2048
const LEAP_BLOCKS = 16

export class Reporter {
  readonly #geometry: Geometry
  readonly #have: SymbolSet
  /** How many symbols of a block were asked for and may have been sent: the base of the loss figure. */
  readonly #asked: Uint8Array
  /** Positions on one line: pass * blockCount + block. */
  #heard = -1
  #scanned = -1
  #expected = 0
  #lost = 0
  #lossPpm: number | undefined

  constructor(geometry: Geometry, have: SymbolSet, joined: BlockBitmap) {
    this.#geometry = geometry
    this.#have = have
    this.#asked = new Uint8Array(geometry.blockCount)
    for (let block = 0; block < geometry.blockCount; block += 1) {
      if (hasBlock(joined, block)) this.#asked[block] = symbolsInBlock(geometry, block)
    }
  }

  get heard(): Position {
    const { blockCount } = this.#geometry
    const at = Math.max(0, this.#heard)
    return { pass: Math.floor(at / blockCount), block: at % blockCount }
  }

  /** Blocks that were passed and not looked at yet. */
  get pending(): number {
    return this.#heard - this.#scanned
  }

  beacon(position: Position): void {
    const at = position.pass * this.#geometry.blockCount + position.block
    if (this.#heard < 0) this.#scanned = at
    if (at > this.#heard) this.#heard = at
  }

  /**
   * A packet of this block came: the blocks before it have been sent in this pass. Data is not authenticated, so a leap
   * is believed only when a beacon says it too; one injected packet shall not make us report all of the rest as lost.
   */
  data(block: number): void {
    if (this.#heard < 0) return
    const { blockCount } = this.#geometry
    const at = this.#heard - (this.#heard % blockCount) + block
    if (at > this.#heard && at <= this.#heard + LEAP_BLOCKS) this.#heard = at
  }

  /** The sender began anew, with nothing wanted and positions from the start. */
  restart(): void {
    this.#heard = -1
    this.#asked.fill(0)
  }

  /** Up to `limit` damaged blocks. Each call goes on where the last one ended. */
  collect(limit: number): Missing[] {
    const { blockCount } = this.#geometry
    if (this.#heard - this.#scanned > blockCount) this.#scanned = this.#heard - blockCount
    const missing: Missing[] = []
    while (this.#scanned < this.#heard && missing.length < limit) {
      const block = this.#scanned % blockCount
      this.#scanned += 1
      const holes = symbolsInBlock(this.#geometry, block) - this.#have.inBlock(block)
      this.#expected += this.#asked[block] ?? 0
      if ((this.#asked[block] ?? 0) > 0) this.#lost += holes
      this.#asked[block] = holes
      if (holes > 0) missing.push({ block, bitmap: this.#have.bitmapOfMissing(block) })
    }
    return missing
  }

  /**
   * The share of what was asked for and sent that did not come, in parts per million; over the last few thousand symbols,
   * because of the handful in a late pass one loss would look like a storm. Unknown until there were that many.
   */
  lossPpm(): number | undefined {
    if (this.#expected >= LOSS_WINDOW) {
      this.#lossPpm = Math.round((Math.min(this.#lost, this.#expected) / this.#expected) * 1e6)
      this.#expected = 0
      this.#lost = 0
    }
    return this.#lossPpm
  }
}
