/** Sizes and rates as people write them. Sizes are binary (KiB), rates are decimal (Mbit/s), as the field does. */

import { refuse } from './refusal.ts'
import { ok, type Result } from './result.ts'

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < SIZES.length - 1) {
    value /= 1024
    unit += 1
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${SIZES[unit]}`
}

const SIZE = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i

/** `20 GiB`, `500M`, `1048576`: bytes, always binary. */
export function parseBytes(text: string): Result<number> {
  const match = SIZE.exec(text.trim())
  const power = ['', 'k', 'm', 'g', 't', 'p'].indexOf((match?.[2] ?? '').toLowerCase())
  const value = Math.round(Number(match?.[1]) * 1024 ** power)
  if (!match || !Number.isSafeInteger(value))
    return refuse('bad-request', `"${text.slice(0, 40)}" is not a size`, 'Write bytes: 20 GiB, 500 MiB, 1048576.')
  return ok(value)
}

const RATE = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:bits?\/s|bps|bit)?$/i
const FACTOR = { '': 1, k: 1e3, m: 1e6, g: 1e9 } as const

/** `100M`, `1.5G`, `250000`: bits per second, decimal. */
export function parseBitsPerSecond(text: string): Result<number> {
  const match = RATE.exec(text.trim())
  const value = Number(match?.[1])
  const factor = FACTOR[(match?.[2] ?? '').toLowerCase() as keyof typeof FACTOR]
  if (!match || !(value > 0))
    return refuse('bad-request', `"${text}" is not a rate`, 'Write bits per second: 100M, 1.5G, 250000.')
  return ok(Math.round(value * factor))
}

export function formatBitsPerSecond(rate: number): string {
  if (rate >= 1e9) return `${(rate / 1e9).toFixed(2)} Gbit/s`
  if (rate >= 1e6) return `${(rate / 1e6).toFixed(1)} Mbit/s`
  return `${(rate / 1e3).toFixed(0)} kbit/s`
}
