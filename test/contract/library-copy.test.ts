/** Copying by position, in the kernel and, where that says it cannot, through a buffer. */
import { afterAll, expect, test } from 'bun:test'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ERRNO, SystemError } from '../../ffi/libc/errno.ts'
import { type CopyBytes, openCopy } from '../../src/library/store/copy-bytes.ts'
import { sampleBytes } from '../fixtures/wims.ts'

const folder = mkdtempSync(join(tmpdir(), 'wimcast-copy-'))
afterAll(() => rmSync(folder, { recursive: true }))

const bytes = sampleBytes((2 << 20) + 77, 3)
writeFileSync(join(folder, 'from'), bytes)

/** Copies all but the first 100 bytes, to offset 50; returns what the file then holds there. */
function copied(copy: CopyBytes): Uint8Array {
  const from = openSync(join(folder, 'from'), 'r')
  const to = openSync(join(folder, 'to'), 'w+')
  try {
    const length = bytes.length - 100
    for (let done = 0; done < length; ) {
      const got = copy(from, 100 + done, to, 50 + done, length - done)
      expect(got).toBeGreaterThan(0)
      done += got
    }
    expect(copy(from, bytes.length, to, 0, 10)).toBe(0)
    return readFileSync(join(folder, 'to')).subarray(50)
  } finally {
    closeSync(from)
    closeSync(to)
  }
}

test('in the kernel', () => {
  expect(Buffer.compare(copied(openCopy()), bytes.subarray(100))).toBe(0)
})

test.each(['EXDEV', 'EINVAL', 'ENOSYS', 'EOPNOTSUPP', 'EPERM'] as const)(
  'through a buffer after %s, which is asked once',
  (code) => {
    let asked = 0
    const copy = openCopy(() => {
      asked += 1
      throw new SystemError('copy_file_range', ERRNO[code])
    })
    expect(Buffer.compare(copied(copy), bytes.subarray(100))).toBe(0)
    expect(asked).toBe(1)
  },
)

test.each(['ENOSPC', 'EIO', 'EDQUOT'] as const)('%s is not copied around', (code) => {
  const copy = openCopy(() => {
    throw new SystemError('copy_file_range', ERRNO[code])
  })
  expect(() => copied(copy)).toThrow(code)
})
