/** Names at the door: what groups, files and images may be called. */
import { describe, expect, test } from 'bun:test'
import {
  defaultFileName,
  parseDescription,
  parseFileName,
  parseGroupName,
  parseImageName,
} from '../../src/library/names.ts'

const refused = { ok: false, error: { code: 'bad-name' } }

describe('group names', () => {
  test.each([
    ['Windows 11', 'Windows 11'],
    ['  Windows 11  ', 'Windows 11'],
    ['Größe', 'Größe'],
    ['Größe'.normalize('NFD'), 'Größe'],
    ['.hidden', '.hidden'],
    ['contact', 'contact'],
    ['x'.repeat(200), 'x'.repeat(200)],
  ])('%j is kept as %j', (text, name) => {
    expect(parseGroupName(text)).toEqual({ ok: true, value: name })
  })

  test.each([
    '',
    '   ',
    '.',
    '..',
    'a/b',
    'a\\b',
    'a:b',
    'a*',
    'a?',
    '"a"',
    '<a>',
    'a|b',
    'a\0',
    'a\nb',
    'a\u007f',
    'ends.',
    '\ud800',
    'CON',
    'nul',
    'Com1',
    'lpt9.x',
    'x'.repeat(201),
    'ö'.repeat(101),
  ])('%j is refused', (text) => {
    expect(parseGroupName(text)).toMatchObject(refused)
  })
})

describe('file names', () => {
  test.each([
    ['install.wim', 'install.wim'],
    ['install', 'install.wim'],
    ['INSTALL.WIM', 'INSTALL.WIM'],
    ['install.esd', 'install.esd.wim'],
    [' a b ', 'a b.wim'],
    ['console', 'console.wim'],
  ])('%j is kept as %j', (text, name) => {
    expect(parseFileName(text)).toEqual({ ok: true, value: name })
  })

  test.each([
    '',
    ' ',
    '.wim',
    ' .WIM ',
    '../x.wim',
    'a/b.wim',
    'a\\b',
    'aux',
    'NUL.wim',
    'com1.tar.wim',
    'x'.repeat(197),
  ])('%j is refused', (text) => {
    expect(parseFileName(text)).toMatchObject(refused)
  })
})

describe('image names and descriptions', () => {
  test.each(['Windows 11 Pro', 'a/b', '<&>', '📦', 'x'.repeat(255)])('%j is a name', (text) => {
    expect(parseImageName(text)).toEqual({ ok: true, value: text })
  })

  test.each(['', '  ', 'a\nb', 'a\tb', 'a\0b', '\ufffe', '\udc00', 'x'.repeat(256)])('%j is none', (text) => {
    expect(parseImageName(text)).toMatchObject(refused)
  })

  test('descriptions may have lines and be empty', () => {
    expect(parseDescription('one\ntwo\tthree')).toEqual({ ok: true, value: 'one\ntwo\tthree' })
    expect(parseDescription('')).toEqual({ ok: true, value: '' })
    expect(parseDescription('a\u0001')).toMatchObject(refused)
    expect(parseDescription('x'.repeat(4097))).toMatchObject(refused)
  })
})

test.each([
  ['install.esd', undefined, 'install.wim'],
  ['install.swm', undefined, 'install.wim'],
  ['Install.WIM', undefined, 'Install.wim'],
  ['install.esd', 3, 'install-3.wim'],
  ['noending', undefined, 'noending.wim'],
  ['.wim', undefined, 'image.wim'],
  ['a:b?.wim', undefined, 'a_b_.wim'],
])('the file name made of %j and %p is %j', (source, index, name) => {
  expect(defaultFileName(source, index)).toBe(name)
  expect(parseFileName(name).ok).toBe(true)
})
