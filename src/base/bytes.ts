/**
 * A bounded cursor over bytes, for wire and file formats. `Reader` never passes the end and never copies;
 * reading past the end throws `Short`, which each decoder turns into its own refusal at one place.
 */

export class Short extends Error {
  override readonly name = 'Short'
}

export class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#at = at
  }

  get at(): number {
    return this.#at
  }

  get left(): number {
    return this.#bytes.byteLength - this.#at
  }

  #take(length: number): number {
    if (length < 0 || length > this.left) throw new Short(`${length} bytes wanted at ${this.#at}, ${this.left} left`)
    const at = this.#at
    this.#at += length
    return at
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }
  u16be(): number {
    return this.#view.getUint16(this.#take(2))
  }
  u32be(): number {
    return this.#view.getUint32(this.#take(4))
  }
  u16le(): number {
    return this.#view.getUint16(this.#take(2), true)
  }
  u32le(): number {
    return this.#view.getUint32(this.#take(4), true)
  }
  /** Unsigned 64 bits as a number; refuses what a double cannot hold exactly (no file is that large). */
  u64le(): number {
    const at = this.#take(8)
    const high = this.#view.getUint32(at + 4, true)
    if (high > 0x1fffff) throw new Short(`64-bit value at ${at} is beyond 2^53`)
    return high * 0x1_0000_0000 + this.#view.getUint32(at, true)
  }
  u64be(): number {
    const at = this.#take(8)
    const high = this.#view.getUint32(at)
    if (high > 0x1fffff) throw new Short(`64-bit value at ${at} is beyond 2^53`)
    return high * 0x1_0000_0000 + this.#view.getUint32(at + 4)
  }
  /** A view, not a copy: it lives as long as the bytes under the reader. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }
  /** Bytes up to the next NUL, which is consumed; latin1, because wire formats that use it are ASCII. */
  cstring(): string {
    const end = this.#bytes.indexOf(0, this.#at)
    if (end < 0) throw new Short(`no NUL after ${this.#at}`)
    const text = Buffer.from(this.bytes(end - this.#at)).toString('latin1')
    this.#at = end + 1
    return text
  }
  skip(length: number): void {
    this.#take(length)
  }
}

/** Writes into a fixed buffer; running over is a bug of ours and throws RangeError (DataView's own). */
export class Writer {
  readonly bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes)
    this.#view = new DataView(this.bytes.buffer)
  }

  get at(): number {
    return this.#at
  }
  /** What has been written so far: a view, not a copy. */
  get written(): Uint8Array {
    return this.bytes.subarray(0, this.#at)
  }
  u8(value: number): this {
    this.#view.setUint8(this.#at, value)
    this.#at += 1
    return this
  }
  u16be(value: number): this {
    this.#view.setUint16(this.#at, value)
    this.#at += 2
    return this
  }
  u32be(value: number): this {
    this.#view.setUint32(this.#at, value)
    this.#at += 4
    return this
  }
  u64be(value: number): this {
    return this.u32be(Math.floor(value / 0x1_0000_0000)).u32be(value >>> 0)
  }
  u16le(value: number): this {
    this.#view.setUint16(this.#at, value, true)
    this.#at += 2
    return this
  }
  u32le(value: number): this {
    this.#view.setUint32(this.#at, value, true)
    this.#at += 4
    return this
  }
  u64le(value: number): this {
    return this.u32le(value >>> 0).u32le(Math.floor(value / 0x1_0000_0000))
  }
  raw(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.#at)
    this.#at += bytes.byteLength
    return this
  }
  zeros(length: number): this {
    this.bytes.fill(0, this.#at, this.#at + length)
    this.#at += length
    return this
  }
}
