/** What people read: columns that line up, and no character that moves a terminal's cursor. */
import { expect, test } from 'bun:test'
import { facts, progressLine, safe, table, when } from '../../src/cli/print.ts'

test('columns line up, wide characters and numbers too', () => {
  const text = table(
    [{ title: 'NAME' }, { title: 'SIZE', right: true }, { title: 'END' }],
    [
      ['東京', '1', 'x'],
      ['a', '1000', ''],
    ],
  )
  expect(text).toBe('NAME  SIZE  END\n東京     1  x\na     1000')
  expect(table([{ title: 'NAME' }], [])).toBe('NAME')
})

test('the last column is broken where the terminal ends, and nowhere when there is none', () => {
  const columns = [{ title: 'KEY' }, { title: 'WHAT' }]
  const rows = [['key', 'one two three four five six seven']]
  expect(table(columns, rows, 30)).toBe('KEY  WHAT\nkey  one two three four five\n     six seven')
  expect(table(columns, rows, 20)).toBe('KEY  WHAT\nkey  one two three four five six seven')
  expect(table(columns, rows)).toBe('KEY  WHAT\nkey  one two three four five six seven')
})

test.each([
  ['\u001b[2J', '\ufffd[2J'],
  ['a\r\nb\tc', 'a\ufffd\ufffdb\ufffdc'],
  ['\u009b31m', '\ufffd31m'],
  ['gnp.\u202eexe', 'gnp.\ufffdexe'],
  ['\u2066x\u2069', '\ufffdx\ufffd'],
  ['\u2028', '\ufffd'],
  ['Größe 東京 📦 👩‍🚀', 'Größe 東京 📦 👩‍🚀'],
])('%j is shown as %j', (text, expected) => {
  expect(safe(text)).toBe(expected)
})

test('facts leave out what is not known', () => {
  expect(
    facts([
      ['name', 'x'],
      ['why', undefined],
      ['longer', 'y'],
      ['empty', ''],
    ]),
  ).toBe('name    x\nlonger  y')
})

test('times are UTC, to the second', () => {
  expect(when(0)).toBe('1970-01-01 00:00:00')
  expect(when(undefined)).toBe('')
})

test.each([true, false])('progress, terminal: %p', (isTTY) => {
  let written = ''
  const line = progressLine({ isTTY, write: (text) => (written += text) })
  line.show('a\u001b[1mb', 1, 4)
  line.show('a\u001b[1mb', 2, 4)
  line.end()
  const clear = '\r\u001b[K'
  expect(written).toBe(
    isTTY ? `${clear}a\ufffd[1mb 25 % of 4 B${clear}a\ufffd[1mb 50 % of 4 B${clear}` : 'a\ufffd[1mb\n',
  )
})
