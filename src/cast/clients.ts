/**
 * The clients of one transmission as the sender sees them: who is probed, receives, is done, is lost. Pure: the
 * caller brings the time. A client counts from its first report on, which proves that the group reaches it
 * and that its reports come back; before that nothing is sent on its behalf.
 */
import type { ClientState, ClientStatus } from './control.ts'
import type { Geometry } from './geometry.ts'
import type { Report } from './packet.ts'
import type { ClientSample } from './rate.ts'
import { addBlockTo, type BlockBitmap, emptyBlocks } from './schedule.ts'

export const PROBE_LIMIT_MS = 10_000
export const SILENCE_LIMIT_MS = 10_000
/** Of those that are done, left or lost the last ones are kept for the operator's eyes. */
export const ENDED_KEPT = 500

type Client = {
  readonly id: number
  readonly name: string
  readonly key: Uint8Array
  /** Blocks to send from when it is heard; later also those that it reported. Absent once it has ended. */
  blocks: BlockBitmap | undefined
  /** The group has reached it: it has reported at least once. */
  everHeard: boolean
  state: ClientState
  counter: number
  heardMs: number
  lacking: number
  lossPpm: number
  drops: number
  refused: number
  /** What came since the last tick of the rate. */
  sample: ClientSample | undefined
}

/** What a report means for the sender. */
export type Heard =
  /** The first sign of life: from now on its blocks are wanted. One that comes back after silence reports its holes. */
  | { readonly kind: 'admitted'; readonly blocks: BlockBitmap }
  | { readonly kind: 'heard' }
  /** Replayed, or from a client that is gone. */
  | { readonly kind: 'ignored' }

export class Clients {
  readonly #geometry: Geometry
  /** In the order of their joins; of those that have ended, in the order of their ends. */
  readonly #all = new Map<number, Client>()
  #joined = 0
  #everHeard = 0

  constructor(geometry: Geometry) {
    this.#geometry = geometry
  }

  join(id: number, name: string, key: Uint8Array, blocks: BlockBitmap, nowMs: number): void {
    this.#joined += 1
    this.#all.set(id, {
      id,
      name,
      key,
      blocks: blocks.slice(),
      everHeard: false,
      state: 'probing',
      counter: -1,
      heardMs: nowMs,
      lacking: this.#geometry.symbolCount,
      lossPpm: 0,
      drops: 0,
      refused: 0,
      sample: undefined,
    })
  }

  keyOf(id: number): Uint8Array | undefined {
    return this.#all.get(id)?.key
  }

  /** `report` has been authenticated and is of the present epoch. */
  heard(report: Report, nowMs: number): Heard {
    const client = this.#all.get(report.clientId)
    if (!client || report.counter <= client.counter) return { kind: 'ignored' }
    if (client.state === 'done' || client.state === 'left') return { kind: 'ignored' }
    const admitted = client.state === 'probing'
    client.sample = {
      loss: report.lossPpm === undefined ? undefined : Math.min(1, report.lossPpm / 1e6),
      overflowed: client.sample?.overflowed === true || (client.counter >= 0 && report.drops > client.drops),
    }
    if (!client.everHeard) {
      client.everHeard = true
      this.#everHeard += 1
    }
    const blocks = client.blocks ?? emptyBlocks(this.#geometry)
    client.blocks = blocks
    client.counter = report.counter
    client.state = 'receiving'
    client.heardMs = nowMs
    client.lacking = report.lacking
    client.lossPpm = report.lossPpm ?? 0
    client.drops = report.drops
    client.refused = report.refused
    for (const { block } of report.missing) if (block < this.#geometry.blockCount) addBlockTo(blocks, block)
    return admitted ? { kind: 'admitted', blocks } : { kind: 'heard' }
  }

  /** The client said over HTTPS how it ended. False when it is unknown or ended before. */
  end(id: number, state: 'done' | 'left'): boolean {
    const client = this.#all.get(id)
    if (!client || client.state === 'done' || client.state === 'left') return false
    if (state === 'done') client.lacking = 0
    this.#retire(client, state)
    return true
  }

  /** Marks those that have been silent too long; true when there were any. */
  expire(nowMs: number): boolean {
    let any = false
    // A copy: who is retired changes its place.
    for (const client of [...this.#all.values()]) {
      const limit =
        client.state === 'probing' ? PROBE_LIMIT_MS : client.state === 'receiving' ? SILENCE_LIMIT_MS : Infinity
      if (nowMs - client.heardMs <= limit) continue
      this.#retire(client, 'lost')
      any = true
    }
    return any
  }

  /** It needs nothing any more. A lost one that speaks again says its holes again. */
  #retire(client: Client, state: 'done' | 'left' | 'lost'): void {
    client.state = state
    client.blocks = undefined
    this.#all.delete(client.id)
    this.#all.set(client.id, client)
    let surplus = this.#all.size - this.live - ENDED_KEPT
    for (const [id, { blocks }] of this.#all) {
      if (surplus <= 0) break
      if (blocks !== undefined) continue
      this.#all.delete(id)
      surplus -= 1
    }
  }

  /** Probed or receiving: somebody to stay awake for. */
  get live(): number {
    let count = 0
    for (const client of this.#all.values()) if (client.state === 'probing' || client.state === 'receiving') count += 1
    return count
  }

  /** Heard, and here: who a transmission that is held waits for. */
  get ready(): number {
    let count = 0
    for (const client of this.#all.values()) if (client.state === 'receiving') count += 1
    return count
  }

  /** Of all that ever ended their probe, how many the group has reached; also those that are forgotten by now. */
  get reached(): { readonly clients: number; readonly of: number } {
    let probing = 0
    for (const client of this.#all.values()) if (client.state === 'probing') probing += 1
    return { clients: this.#everHeard, of: this.#joined - probing }
  }

  /** Somebody receives and has not got everything. */
  get unserved(): boolean {
    for (const client of this.#all.values()) if (client.state === 'receiving' && client.lacking > 0) return true
    return false
  }

  /** The union of what receiving clients need. */
  get needed(): BlockBitmap {
    const union = emptyBlocks(this.#geometry)
    for (const client of this.#all.values()) {
      if (client.state !== 'receiving') continue
      client.blocks?.forEach((byte, index) => {
        union[index] = (union[index] ?? 0) | byte
      })
    }
    return union
  }

  /** What the rate is decided on; begins a new tick. */
  samples(): ClientSample[] {
    const samples: ClientSample[] = []
    for (const client of this.#all.values()) {
      if (client.sample) samples.push(client.sample)
      client.sample = undefined
    }
    return samples
  }

  status(): ClientStatus[] {
    return [...this.#all.values()].map((client) => ({
      clientId: client.id,
      name: client.name,
      state: client.state,
      lackingBytes: Math.min(this.#geometry.sizeBytes, client.lacking * this.#geometry.symbolBytes),
      lossPpm: client.lossPpm,
      socketDrops: client.drops,
      refusedPackets: client.refused,
    }))
  }
}
