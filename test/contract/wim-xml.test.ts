/** The XML document: what Windows says of itself, kept as it came; and what is not a document. */
import { describe, expect, test } from 'bun:test'
import { decodeXml, encodeXml, isXmlText, MAX_XML_BYTES, renameImage, type WimDocument } from '../../src/wim/xml.ts'
import { must } from '../fixtures/library.ts'

const utf16 = (text: string): Buffer => Buffer.from(`\ufeff${text}`, 'utf16le')
const one = (inside: string): Buffer => utf16(`<WIM><TOTALBYTES>9</TOTALBYTES><IMAGE INDEX="1">${inside}</IMAGE></WIM>`)
const firstOf = (document: WimDocument) => document.images[0] ?? { facts: undefined, element: '' }

const WINDOWS_11 = `<WIM><TOTALBYTES>4000</TOTALBYTES>
<IMAGE INDEX="1"><DIRCOUNT>25</DIRCOUNT><FILECOUNT>104</FILECOUNT><TOTALBYTES>16555000000</TOTALBYTES><HARDLINKBYTES>7000000000</HARDLINKBYTES>
<CREATIONTIME><HIGHPART>0x01DA0E3F</HIGHPART><LOWPART>0x9C9C2A00</LOWPART></CREATIONTIME>
<LASTMODIFICATIONTIME><HIGHPART>0x01DA0E40</HIGHPART><LOWPART>0x00000000</LOWPART></LASTMODIFICATIONTIME>
<WIMBOOT>0</WIMBOOT>
<WINDOWS><ARCH>9</ARCH><PRODUCTNAME>Microsoft® Windows® Operating System</PRODUCTNAME><EDITIONID>Professional</EDITIONID><INSTALLATIONTYPE>Client</INSTALLATIONTYPE>
<SERVICINGDATA><GDRDUREVISION>0</GDRDUREVISION></SERVICINGDATA><PRODUCTTYPE>WinNT</PRODUCTTYPE><PRODUCTSUITE></PRODUCTSUITE>
<LANGUAGES><LANGUAGE>de-DE</LANGUAGE><LANGUAGE>en-US</LANGUAGE><FALLBACK LANGUAGE="de-DE">en-US</FALLBACK><DEFAULT>de-DE</DEFAULT></LANGUAGES>
<VERSION><MAJOR>10</MAJOR><MINOR>0</MINOR><BUILD>22631</BUILD><SPBUILD>2428</SPBUILD><SPLEVEL>0</SPLEVEL></VERSION><SYSTEMROOT>WINDOWS</SYSTEMROOT></WINDOWS>
<NAME>Windows 11 Pro</NAME><DESCRIPTION>Windows 11 Pro</DESCRIPTION><FLAGS>Professional</FLAGS><DISPLAYNAME>Windows 11 Pro</DISPLAYNAME><DISPLAYDESCRIPTION>Größe &amp; Ähnliches</DISPLAYDESCRIPTION></IMAGE>
</WIM>`

describe('facts', () => {
  test('of a Windows image', () => {
    expect(firstOf(must(decodeXml(utf16(WINDOWS_11), 1))).facts).toEqual({
      name: 'Windows 11 Pro',
      description: 'Windows 11 Pro',
      displayName: 'Windows 11 Pro',
      displayDescription: 'Größe & Ähnliches',
      architecture: 'x64',
      editionId: 'Professional',
      installationType: 'Client',
      productName: 'Microsoft® Windows® Operating System',
      version: '10.0.22631.2428',
      languages: ['de-DE', 'en-US'],
      defaultLanguage: 'de-DE',
      totalBytes: 16_555_000_000,
      hardLinkBytes: 7_000_000_000,
      fileCount: 104,
      directoryCount: 25,
      createdAtMs: Math.round((0x01da0e3f * 2 ** 32 + 0x9c9c2a00) / 10_000 - 11_644_473_600_000),
      modifiedAtMs: Math.round((0x01da0e40 * 2 ** 32) / 10_000 - 11_644_473_600_000),
    })
  })

  test.each([
    ['0', 'x86'],
    ['5', 'arm'],
    ['6', 'ia64'],
    ['9', 'x64'],
    ['12', 'arm64'],
    ['77', undefined],
    ['', undefined],
  ])('architecture %j is %p', (arch, name) => {
    expect(firstOf(must(decodeXml(one(`<WINDOWS><ARCH>${arch}</ARCH></WINDOWS>`), 1))).facts?.architecture).toBe(
      name as never,
    )
  })

  test('that are missing or nonsense', () => {
    const { facts } = firstOf(
      must(
        decodeXml(
          one(
            '<FILECOUNT>-4</FILECOUNT><TOTALBYTES>many</TOTALBYTES><CREATIONTIME><HIGHPART>x</HIGHPART><LOWPART>y</LOWPART></CREATIONTIME>',
          ),
          1,
        ),
      ),
    )
    expect(facts).toEqual({
      name: '',
      description: '',
      languages: [],
      totalBytes: 0,
      hardLinkBytes: 0,
      fileCount: 0,
      directoryCount: 0,
    })
  })

  test('images come in the order of their indexes', () => {
    const text = '<WIM><IMAGE INDEX="2"><NAME>two</NAME></IMAGE><IMAGE INDEX="1"><NAME>one</NAME></IMAGE></WIM>'
    expect(must(decodeXml(utf16(text), 2)).images.map((image) => image.facts.name)).toEqual(['one', 'two'])
  })

  test('an encrypted ESD says so', () => {
    const esd = '<WIM><IMAGE INDEX="1"/><ESD><ENCRYPTED><KEY>x</KEY></ENCRYPTED></ESD></WIM>'
    expect(must(decodeXml(utf16(esd), 1)).encrypted).toBe(true)
    expect(must(decodeXml(one(''), 1)).encrypted).toBe(false)
  })
})

test.each([
  ['nothing', Buffer.alloc(0), 1],
  ['an odd number of bytes', one('').subarray(0, 101), 1],
  ['half a pair of surrogates', one('<NAME>\ud83d</NAME>'), 1],
  ['cut short', one('<NAME>x</NAME>').subarray(0, 60), 1],
  ['another root', utf16('<VIM><IMAGE INDEX="1"/></VIM>'), 1],
  ['tags that cross', one('<A><B></A></B>'), 1],
  ['an attribute without quotes', utf16('<WIM><IMAGE INDEX=1/></WIM>'), 1],
  ['an unknown entity', one('<NAME>&nbsp;</NAME>'), 1],
  ['a control character', one('<FLAGS>a\u0001b</FLAGS>'), 1],
  ['a control character by number', one('<FLAGS>a&#1;b</FLAGS>'), 1],
  ['a document type', utf16('<!DOCTYPE WIM [<!ENTITY a "b">]><WIM><IMAGE INDEX="1"/></WIM>'), 1],
  ['a document type in small letters', utf16('<!doctype WIM><WIM><IMAGE INDEX="1"/></WIM>'), 1],
  ['a thousand levels', one('<A>'.repeat(1000) + '</A>'.repeat(1000)), 1],
  ['an image that is not there', utf16('<WIM><IMAGE INDEX="2"/></WIM>'), 1],
  ['an index of 0', utf16('<WIM><IMAGE INDEX="0"/></WIM>'), 1],
  ['an index that is no number', utf16('<WIM><IMAGE INDEX="x"/></WIM>'), 1],
  ['no index', utf16('<WIM><IMAGE/></WIM>'), 1],
  ['an index twice', utf16('<WIM><IMAGE INDEX="1"/><IMAGE INDEX="1"/></WIM>'), 1],
  ['fewer images than the header says', one(''), 65_535],
  ['a description of 10 MB', one(`<DESCRIPTION>${'x'.repeat(5 << 20)}</DESCRIPTION>`), 1],
  ['100,000 unknown elements', one('<A/>'.repeat(100_000)), 1],
  ['more than the limit', Buffer.alloc(MAX_XML_BYTES + 2), 1],
  ['brackets without end', utf16(`<WIM>${'<a'.repeat(1 << 20)}`), 1],
] as const)('%s is refused', (_, bytes, imageCount) => {
  const result = decodeXml(bytes, imageCount)
  expect(result.ok ? 0 : result.error.message.length).toBeLessThan(400)
  expect(result).toMatchObject({ ok: false, error: { code: 'bad-xml', hint: expect.stringMatching(/\w/) } })
})

describe('elements', () => {
  test('are kept as they came, unknown parts too, and get a new index', () => {
    const { element } = firstOf(must(decodeXml(utf16(WINDOWS_11), 1)))
    const again = must(decodeXml(encodeXml(['<IMAGE><NAME>x</NAME></IMAGE>', element], 77), 2))
    expect(again.images[1]?.element).toBe(element)
    expect(element).toContain('<FALLBACK LANGUAGE="de-DE">en-US</FALLBACK>')
    expect(Buffer.from(encodeXml([element], 77)).toString('utf16le')).toStartWith(
      '\ufeff<WIM><TOTALBYTES>77</TOTALBYTES><IMAGE INDEX="1">',
    )
  })

  test.each([
    ['<NAME>old</NAME><FLAGS>F</FLAGS><DESCRIPTION>old</DESCRIPTION>', 'a & b <c> "d"', 'ö 📦'],
    ['<FLAGS>F</FLAGS>', 'new', 'made'],
    ['<NAME>old</NAME><NAME>older</NAME><DESCRIPTION>old</DESCRIPTION><FLAGS>F</FLAGS>', 'new', ''],
    ['<!-- c --><NAME><![CDATA[o & ld]]></NAME><FLAGS>F</FLAGS>', ']]>', '&amp;'],
  ])('%s is renamed', (inside, name, description) => {
    const { element } = firstOf(must(decodeXml(one(inside), 1)))
    const renamed = renameImage(element, { name, description })
    const again = firstOf(must(decodeXml(encodeXml([renamed], 1), 1)))
    expect(again.facts).toMatchObject({ name, description })
    expect(again.element).toContain('<FLAGS>F</FLAGS>')
    expect(again.element.match(/<NAME>/g)?.length).toBe(1)
    expect(again.element.includes('<DESCRIPTION>')).toBe(description !== '')
    expect(renameImage(renamed, { name, description })).toBe(renamed)
  })
})

test.each([
  ['plain', true],
  ['tab\tline\n', true],
  ['📦 東京', true],
  ['\u0000', false],
  ['\u001f', false],
  ['\ufffe', false],
  ['\ud800', false],
])('%j as XML text: %p', (text, good) => {
  expect(isXmlText(text)).toBe(good)
})
