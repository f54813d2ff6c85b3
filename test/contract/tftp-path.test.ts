import { describe, expect, test } from 'bun:test'
import { type BadName, shelfPath } from '../../src/tftp/path.ts'

const latin1 = (text: string): Uint8Array => Buffer.from(text, 'latin1')
const utf8 = (text: string): Uint8Array => Buffer.from(text, 'utf8')

describe('is spelled one way', () => {
  const cases: [string, Uint8Array, string][] = [
    ['plain', utf8('images/Windows 11/install.wim'), 'images/Windows 11/install.wim'],
    ['from the root', utf8('/boot/x64/wdsnbp.com'), 'boot/x64/wdsnbp.com'],
    ['with backslashes', utf8('\\Boot\\BCD'), 'Boot/BCD'],
    ['with both', utf8('\\boot/x64\\pxeboot.n12'), 'boot/x64/pxeboot.n12'],
    ['with doubled slashes', utf8('//EFI//grub.cfg'), 'EFI/grub.cfg'],
    ['with a dot part', utf8('./boot/./a'), 'boot/a'],
    ['with dots in names', utf8('a..b/...'), 'a..b/...'],
    ['with a slash at the end', utf8('boot/'), 'boot'],
    ['ended by the option terminator', latin1('undionly.kpxe\xff'), 'undionly.kpxe'],
    ['ended by NUL', latin1('undionly.kpxe\0'), 'undionly.kpxe'],
    ['ended by several of both', latin1('undionly.kpxe\0\xff\xff'), 'undionly.kpxe'],
    ['in UTF-8', utf8('images/Büro/größe.wim'), 'images/Büro/größe.wim'],
    ['in an 8-bit code page', latin1('B\xfcro/a'), 'Büro/a'],
    ['in UTF-8 before a terminator', new Uint8Array([...utf8('Ω'), 0xff]), 'Ω'],
  ]
  test.each(cases)('%s', (_, file, path) => {
    expect(shelfPath(file)).toEqual({ ok: true, value: path })
  })
})

describe('is refused', () => {
  const cases: [string, Uint8Array, BadName][] = [
    ['empty', utf8(''), 'empty'],
    ['only slashes', utf8('/\\/'), 'empty'],
    ['only dots', utf8('./.'), 'empty'],
    ['only terminators', latin1('\xff\0'), 'empty'],
    ['one up', utf8('../etc/shadow'), 'climbs'],
    ['up in the middle', utf8('boot/../../etc/shadow'), 'climbs'],
    ['up by backslash', utf8('boot\\..\\..\\x'), 'climbs'],
    ['up at the end', utf8('boot/..'), 'climbs'],
    ['up before a terminator', latin1('boot/..\xff'), 'climbs'],
    ['a line feed', utf8('a\nb'), 'control'],
    ['an escape', utf8('\x1b[2J'), 'control'],
    ['DEL', utf8('a\x7f'), 'control'],
    ['a NUL within', latin1('a\0b'), 'control'],
    ['C1 from an 8-bit name', latin1('a\x9bb\xfc'), 'control'],
  ]
  test.each(cases)('%s', (_, file, reason) => {
    expect(shelfPath(file)).toEqual({ ok: false, error: reason })
  })
})
