/**
 * What the sender sends next. One idea: a set of wanted symbols, which joins and reports add to and sending takes from.
 * The sender walks through it in the content's order, pass after pass. There is no window, no order and no barrier;
 * nobody waits for the slowest. Pure: knows no client, no socket and no clock.
 */
import type { Geometry } from './geometry.ts'
import { BLOCK_SYMBOLS, type Missing } from './packet.ts'
import { SymbolSet } from './wanted.ts'

/** A set of blocks, as a join sends it: bit i of byte i/8, least significant first. */
export type BlockBitmap = Uint8Array

export function hasBlock(bitmap: BlockBitmap, block: number): boolean {
  return ((bitmap[block >>> 3] ?? 0) & (1 << (block & 7))) !== 0
}

export function addBlockTo(bitmap: BlockBitmap, block: number): void {
  bitmap[block >>> 3] = (bitmap[block >>> 3] ?? 0) | (1 << (block & 7))
}

export function emptyBlocks(geometry: Geometry): BlockBitmap {
  return new Uint8Array(Math.ceil(geometry.blockCount / 8))
}

export function allBlocks(geometry: Geometry): BlockBitmap {
  return emptyBlocks(geometry).fill(0xff)
}

/** Everything wanted before `block` has been sent in `pass`; what `block` itself holds may be under way. */
export type Position = { readonly pass: number; readonly block: number }

export class Schedule {
  readonly #geometry: Geometry
  readonly #wanted: SymbolSet
  /** The pass in which a block was last sent from; 0 for never. */
  readonly #sentInPass: Uint32Array
  #pass = 1
  #at = 0

  constructor(geometry: Geometry) {
    this.#geometry = geometry
    this.#wanted = new SymbolSet(geometry.symbolCount)
    this.#sentInPass = new Uint32Array(geometry.blockCount)
  }

  get wantedCount(): number {
    return this.#wanted.size
  }

  get position(): Position {
    return { pass: this.#pass, block: Math.floor(this.#at / BLOCK_SYMBOLS) }
  }

  /** A client came that needs these blocks whole. */
  want(blocks: BlockBitmap): void {
    for (let block = 0; block < this.#geometry.blockCount; block += 1) {
      if (hasBlock(blocks, block)) this.#wanted.addBlock(block)
    }
  }

  /**
   * A client lacks these symbols, having heard everything before `heard`. What was sent from the block since then may
   * still be on its way to the client: such an entry is too old and ignored, the client will say it again once
   * it has heard the sender pass the block. So no symbol is sent twice for one loss, however many ask for it.
   */
  repair(heard: Position, missing: readonly Missing[]): void {
    const { blockCount } = this.#geometry
    const heardAt = heard.pass * blockCount + heard.block
    for (const { block, bitmap } of missing) {
      if (block >= blockCount) continue
      const sentAt = (this.#sentInPass[block] ?? 0) * blockCount + block
      if (sentAt < heardAt) this.#wanted.addBitmap(block, bitmap)
    }
  }

  /** A client went: blocks that nobody else needs are no longer wanted. */
  restrict(blocks: BlockBitmap): void {
    if (this.#wanted.size === 0) return
    for (let block = 0; block < this.#geometry.blockCount; block += 1) {
      if (!hasBlock(blocks, block)) this.#wanted.removeBlock(block)
    }
  }

  /**
   * Takes up to `limit` symbols from the cursor on, in ascending order, into `out`. Fewer than `limit` means
   * that the pass has nothing more.
   */
  take(out: Uint32Array, limit: number): number {
    let count = 0
    let at = this.#at
    while (count < limit) {
      const symbol = this.#wanted.next(at)
      if (symbol < 0) break
      this.#wanted.remove(symbol)
      this.#sentInPass[symbol >>> 7] = this.#pass
      out[count] = symbol
      count += 1
      at = symbol + 1
    }
    this.#at = at
    return count
  }

  /** Begins the next pass. To be told to the clients: with it, all of the pass before has been sent. */
  turn(): void {
    this.#pass += 1
    this.#at = 0
  }
}
