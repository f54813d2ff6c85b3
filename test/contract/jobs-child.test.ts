/** The child process of a job: what it answers, and every way in which it can end without an answer. */
import { describe, expect, test } from 'bun:test'
import { type ChildTask, runChild } from '../../src/jobs/child.ts'
import { die, dyingDisk, echo, exit, fault, hang, no, SELF } from '../fixtures/job-child.ts'

function run<Input, Output>(
  task: ChildTask<Input, Output>,
  input: Input,
  more: { signal?: AbortSignal; step?: (name: string) => void; progress?: (done: number, total: number) => void } = {},
) {
  return runChild(task, input, {
    self: SELF,
    signal: more.signal ?? new AbortController().signal,
    step: more.step ?? (() => {}),
    progress: more.progress ?? (() => {}),
  })
}

test('input and output pass whole, steps and progress in order', async () => {
  const told: unknown[] = []
  const input = { text: 'Größe', bytes: new Uint8Array(3_000_000).fill(7), nested: [{ a: undefined, b: 2 ** 50 }] }
  const result = await run(echo, input, {
    step: (name) => told.push(name),
    progress: (done, total) => told.push([done, total]),
  })
  expect(result).toEqual({ ok: true, value: input })
  expect(told).toEqual(['one', [1, 2], 'two', [2, 2]])
})

test('a refusal passes with its facts', async () => {
  expect(await run(no, undefined)).toEqual({
    ok: false,
    error: { code: 'corrupt', message: 'it is broken', hint: 'Mend it.', facts: { at: 5 } },
  })
})

test('a fault is thrown in the parent', async () => {
  expect(run(fault, undefined)).rejects.toThrow('on purpose')
  expect(await run(dyingDisk, undefined).catch((error: unknown) => error)).toMatchObject({
    name: 'Fault',
    message: 'the disk is dying: EIO',
    hint: 'Change it.',
  })
})

test('an unknown task is a fault', async () => {
  expect(run({ ...echo, name: 'unheard of' }, 1)).rejects.toThrow('no task is named "unheard of"')
})

describe('an end without an answer', () => {
  test.each<[NodeJS.Signals]>([['SIGKILL'], ['SIGSEGV'], ['SIGABRT']])('by %s', async (signal) => {
    expect(await run(die, signal)).toMatchObject({
      ok: false,
      error: { code: 'child-died', message: expect.stringContaining(signal), hint: expect.stringMatching(/\w/) },
    })
  })

  test.each([0, 3])('by exit %d', async (code) => {
    expect(await run(exit, code)).toMatchObject({
      ok: false,
      error: { code: 'child-died', message: expect.stringContaining(`exit code ${code}`) },
    })
  })
})

test('an aborted signal kills the child', async () => {
  const abort = new AbortController()
  let pid = 0
  const result = await run(hang, undefined, {
    signal: abort.signal,
    step: (name) => {
      pid = Number(name.slice(4))
      abort.abort()
    },
  })
  expect(result).toMatchObject({ ok: false, error: { code: 'cancelled' } })
  expect(pid).toBeGreaterThan(1)
  expect(() => process.kill(pid, 0)).toThrow('ESRCH')
})

test('a signal aborted before starts no child', async () => {
  expect(
    await runChild(echo, 1, { self: ['/nonexistent'], signal: AbortSignal.abort(), step() {}, progress() {} }),
  ).toMatchObject({ ok: false, error: { code: 'cancelled' } })
})

test('the answer is never lost to the end of the process', async () => {
  const results = await Promise.all(Array.from({ length: 12 }, (_, i) => run(echo, i)))
  expect(results).toEqual(Array.from({ length: 12 }, (_, i) => ({ ok: true, value: i })))
})

test('by hand it says what it is', async () => {
  const child = Bun.spawn([...SELF, 'job-child'], { stdin: 'ignore', stdout: 'ignore', stderr: 'pipe' })
  expect([await child.exited, await child.stderr.text()]).toEqual([
    2,
    expect.stringContaining('started by the appliance itself'),
  ])
})
