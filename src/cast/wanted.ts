/**
 * A set of symbols: 128 bits a block, in 32-bit words. The sender's "still wanted" and the receiver's "have" are both
 * this. Bit i of a block is bit i%32 of word i/32, so on a little-endian machine the memory of a block is the bitmap of
 * a report.
 */
import { BITMAP_BYTES, BLOCK_SYMBOLS } from './packet.ts'

const WORDS = BLOCK_SYMBOLS / 32

function bitsIn(word: number): number {
  let x = word - ((word >>> 1) & 0x5555_5555)
  x = (x & 0x3333_3333) + ((x >>> 2) & 0x3333_3333)
  return Math.imul((x + (x >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}

export function bytesForSymbols(symbolCount: number): number {
  return Math.ceil(symbolCount / BLOCK_SYMBOLS) * BITMAP_BYTES
}

export class SymbolSet {
  readonly symbolCount: number
  readonly #words: Uint32Array
  #size = 0

  /** Over memory of the caller when given (shared with another thread, or read from a file); bits past the end go. */
  constructor(symbolCount: number, memory?: ArrayBufferLike) {
    this.symbolCount = symbolCount
    this.#words = new Uint32Array(memory ?? new ArrayBuffer(bytesForSymbols(symbolCount)))
    if (memory === undefined) return
    for (let word = 0; word < this.#words.length; word += 1) {
      this.#words[word] = this.#word(word) & this.#real(word)
      this.#size += bitsIn(this.#word(word))
    }
  }

  get size(): number {
    return this.#size
  }

  #word(index: number): number {
    return this.#words[index] ?? 0
  }

  /** The bits of a word that stand for symbols which exist. */
  #real(word: number): number {
    const left = this.symbolCount - word * 32
    if (left >= 32) return 0xffff_ffff
    return left <= 0 ? 0 : (1 << left) - 1
  }

  has(symbol: number): boolean {
    return (this.#word(symbol >>> 5) & (1 << (symbol & 31))) !== 0
  }

  add(symbol: number): void {
    const word = symbol >>> 5
    const bit = 1 << (symbol & 31)
    if ((this.#word(word) & bit) !== 0) return
    this.#words[word] = this.#word(word) | bit
    this.#size += 1
  }

  remove(symbol: number): void {
    const word = symbol >>> 5
    const bit = 1 << (symbol & 31)
    if ((this.#word(word) & bit) === 0) return
    this.#words[word] = this.#word(word) & ~bit
    this.#size -= 1
  }

  #set(word: number, bits: number): void {
    this.#size += bitsIn(bits) - bitsIn(this.#word(word))
    this.#words[word] = bits
  }

  addBlock(block: number): void {
    for (let word = block * WORDS; word < (block + 1) * WORDS; word += 1) this.#set(word, this.#real(word))
  }

  removeBlock(block: number): void {
    for (let word = block * WORDS; word < (block + 1) * WORDS; word += 1) this.#set(word, 0)
  }

  addBitmap(block: number, bitmap: Uint8Array): void {
    const view = new DataView(bitmap.buffer, bitmap.byteOffset, BITMAP_BYTES)
    for (let index = 0; index < WORDS; index += 1) {
      const word = block * WORDS + index
      this.#set(word, this.#word(word) | (view.getUint32(index * 4, true) & this.#real(word)))
    }
  }

  /** How many symbols of a block are in the set. */
  inBlock(block: number): number {
    let count = 0
    for (let word = block * WORDS; word < (block + 1) * WORDS; word += 1) count += bitsIn(this.#word(word))
    return count
  }

  /** The symbols of a block that are *not* in the set, as a report says it. */
  bitmapOfMissing(block: number): Uint8Array {
    const bitmap = new Uint8Array(BITMAP_BYTES)
    const view = new DataView(bitmap.buffer)
    for (let index = 0; index < WORDS; index += 1) {
      const word = block * WORDS + index
      view.setUint32(index * 4, (~this.#word(word) & this.#real(word)) >>> 0, true)
    }
    return bitmap
  }

  /** The first symbol of the set at or after `from`; -1 when there is none. */
  next(from: number): number {
    if (this.#size === 0) return -1
    let index = from >>> 5
    let word = this.#word(index) & (-1 << (from & 31))
    while (word === 0) {
      index += 1
      if (index >= this.#words.length) return -1
      word = this.#word(index)
    }
    return index * 32 + (31 - Math.clz32(word & -word))
  }
}
