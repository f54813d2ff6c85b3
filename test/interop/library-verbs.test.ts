/** The verbs that change rows: what they do, what they refuse, what the audit log says, and that a dry run changes nothing. */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { By } from '../../src/audit/changes.ts'
import type { Principal } from '../../src/base/principal.ts'
import { transmissions } from '../../src/db/schema.ts'
import type { ImageChange } from '../../src/library/images.ts'
import { writeWim } from '../fixtures/api.ts'
import { BY, LOCAL, must, type Opened, openTestLibrary } from '../fixtures/library.ts'

const work = mkdtempSync(join(tmpdir(), 'wimcast-verbs-'))
const UNATTEND = '<?xml version="1.0"?><unattend xmlns="urn:schemas-microsoft-com:unattend"><x>s3cret</x></unattend>'
let opened: Opened

beforeAll(async () => {
  opened = await openTestLibrary()
  const { library } = opened
  await opened.imported(writeWim(join(work, 'pro.wim'), ['Pro']))
  await opened.imported(writeWim(join(work, 'home.wim'), ['Home']))
  must(library.groups.create('Lab', BY))
})
afterAll(async () => {
  await opened[Symbol.asyncDispose]()
  rmSync(work, { recursive: true, force: true })
})

const viewer: Principal = { kind: 'token', name: 'v', role: 'viewer', machineGroups: ['Lab 1'], address: '' }
const other: Principal = { kind: 'token', name: 'o', role: 'viewer', machineGroups: [], address: '' }
const operator: By = { who: { kind: 'token', name: 'op', role: 'operator', machineGroups: [], address: '' } }
const pro = { name: 'Pro', group: 'G' }
const code = (result: { ok: boolean; error?: { code: string } }): string =>
  result.ok ? 'ok' : (result.error?.code ?? '')
const set = (change: ImageChange, by: By = BY) => opened.library.images.set(pro, change, by)

describe('image set', () => {
  test('every property, and what the audit log keeps of it', () => {
    const before = must(opened.library.images.show(pro, LOCAL))
    const change: ImageChange = {
      description: 'für alle',
      version: '2026.11',
      comment: 'tested',
      architecture: 'x64',
      language: 'de-de',
      displayOrder: 10,
      unattend: UNATTEND,
    }
    const after = must(set(change, operator))
    const { unattend: _, ...said } = change
    expect(after).toMatchObject({ ...said, language: 'de-DE', hasUnattend: true })
    const [line] = opened.changes.list({ verb: 'image' })
    expect(line).toMatchObject({
      who: 'token:op',
      verb: 'image.set',
      subject: 'G/pro.wim',
      before: { description: before.description, version: '', hasUnattend: false },
      after: { description: 'für alle', version: '2026.11', displayOrder: 10, hasUnattend: true },
    })
    expect(JSON.stringify(opened.changes.list({}))).not.toContain('s3cret')
    expect(must(opened.library.images.unattend(pro, LOCAL))).toBe(UNATTEND)
    expect(opened.events.some((event) => event.kind === 'library.changed' && event.group === 'G')).toBe(true)
    // Null takes back what was said.
    expect(must(set({ architecture: null, language: null, displayOrder: null }))).toMatchObject({
      architecture: null,
      language: null,
      displayOrder: null,
    })
  })

  test('an answer file that is there is kept, unless it is said', () => {
    expect(code(set({ unattend: UNATTEND }))).toBe('exists')
    expect(must(set({ unattend: `${UNATTEND} `, overwriteUnattend: true })).hasUnattend).toBe(true)
    expect(opened.changes.list({ limit: 1 })).toMatchObject([{ verb: 'image.set', after: { unattend: 'replaced' } }])
    expect(code(set({ unattend: null }))).toBe('exists')
    expect(must(set({ unattend: null, overwriteUnattend: true })).hasUnattend).toBe(false)
  })

  test.each([
    ['bad-name', { name: 'a\0b' }],
    ['bad-name', { name: '' }],
    ['bad-name', { description: 'x'.repeat(10 << 20) }],
    ['bad-name', { comment: 'x'.repeat(5000) }],
    ['bad-name', { version: 'a\nb' }],
    ['bad-name', { fileName: '../x' }],
    ['bad-name', { fileName: 'nul.wim' }],
    ['bad-name', { architecture: 'mips' }],
    ['bad-name', { language: 'not a language' }],
    ['bad-name', { displayOrder: -1 }],
    ['bad-name', { displayOrder: 1.5 }],
    ['exists', { fileName: 'HOME' }],
    ['bad-request', { audience: { roles: [], machineGroups: [] } }],
    ['bad-name', { audience: { roles: [], machineGroups: ['a/b'] } }],
    ['bad-unattend', { unattend: '<unattend>' }],
    ['bad-unattend', { unattend: '<other/>' }],
    ['bad-unattend', { unattend: '<unattend>AT&T</unattend>' }],
    ['bad-unattend', { unattend: '<!DOCTYPE a [<!ENTITY b "c">]><unattend>&b;</unattend>' }],
    ['bad-unattend', { unattend: `<unattend>${'x'.repeat(2 << 20)}</unattend>` }],
    ['changed', { name: 'Late', ifChangedAtMs: 1 }],
  ] as const)('refuses with %s: %#', (wanted, change) => {
    const before = opened.snapshot()
    expect(code(set(change))).toBe(wanted)
    expect(opened.snapshot()).toEqual(before)
  })

  test('two who change the same: the second is told', () => {
    const { changedAtMs } = must(opened.library.images.show(pro, LOCAL))
    expect(code(set({ comment: 'mine', ifChangedAtMs: changedAtMs }))).toBe('ok')
    expect(code(set({ comment: 'yours', ifChangedAtMs: changedAtMs }))).toBe('changed')
  })

  test('a dry run refuses the same and changes nothing', () => {
    const before = opened.snapshot()
    const dry = { ...BY, dryRun: true }
    expect(must(set({ name: 'Other' }, dry)).name).toBe('Other')
    expect(code(set({ fileName: 'home' }, dry))).toBe('exists')
    expect(opened.snapshot()).toEqual(before)
  })
})

describe('the default of an architecture', () => {
  test('is one, and cannot go', () => {
    const { images, groups } = opened.library
    expect(code(set({ bootDefault: true }))).toBe('bad-request')
    must(set({ architecture: 'x64', bootDefault: true }))
    expect(code(images.remove(pro, BY))).toBe('boot-default')
    expect(code(set({ enabled: false }))).toBe('boot-default')
    expect(code(groups.remove('G', { withImages: true }, BY))).toBe('boot-default')
    must(images.set({ name: 'Home', group: 'G' }, { architecture: 'x64', bootDefault: true }, BY))
    expect(must(images.show(pro, LOCAL)).bootDefault).toBe(false)
    must(images.set({ name: 'Home', group: 'G' }, { bootDefault: false }, BY))
    must(set({ architecture: null }))
  })
})

test('a default of another group steps back: its group is told, and who compares sees the change', async () => {
  const { images, groups } = opened.library
  must(groups.create('Other', BY))
  await opened.imported(writeWim(join(work, 'there.wim'), ['There']), { group: 'Other' })
  const there = { name: 'There', group: 'Other' }
  const { changedAtMs } = must(images.set(there, { architecture: 'x64', bootDefault: true }, BY))
  opened.events.length = 0
  must(images.set({ name: 'Home', group: 'G' }, { architecture: 'x64', bootDefault: true }, BY))
  expect(opened.events).toContainEqual({ kind: 'library.changed', group: 'Other' })
  const after = must(images.show(there, LOCAL))
  expect(after.bootDefault).toBe(false)
  expect(after.changedAtMs).toBeGreaterThan(changedAtMs)
  must(images.set({ name: 'Home', group: 'G' }, { bootDefault: false }, BY))
  must(groups.remove('Other', { withImages: true }, BY))
  must(await opened.library.trash.empty({}, BY))
})

test('a file name that goes on after .wim is another one', async () => {
  const { images } = opened.library
  must(images.copy(pro, { newName: 'Pro', newFileName: 'pro.wim.wim' }, BY))
  for (const [file, fileName] of [
    ['PRO', 'pro.wim'],
    ['pro.wim', 'pro.wim'],
    ['pro.wim.wim', 'pro.wim.wim'],
  ] as const)
    expect(must(images.show({ ...pro, file }, LOCAL)).fileName).toBe(fileName)
  must(images.remove({ ...pro, file: 'pro.wim.wim' }, BY))
  must(await opened.library.trash.empty({}, BY))
})

describe('who may see it', () => {
  test('limited images and groups are not there for others', async () => {
    const { images, groups, shelf } = opened.library
    must(set({ audience: { roles: ['operator'], machineGroups: ['lab 1'] } }))
    const names = (who: Principal): string[] => must(images.list({}, who)).map((image) => image.name)
    expect(names(viewer)).toEqual(['Home', 'Pro'])
    expect(names(operator.who)).toEqual(['Home', 'Pro'])
    expect(names(other)).toEqual(['Home'])
    expect(code(images.show(pro, other))).toBe('not-found')
    expect(JSON.stringify(images.show(pro, other))).not.toContain('"Pro",')
    expect(await shelf.find('images/G/pro.wim', other)).toBeUndefined()
    expect(await shelf.find('images/G/pro.wim', viewer)).toBeDefined()
    expect(code(set({ isPublic: true }))).toBe('bad-request')
    // A copy of it is limited as well.
    const { image } = must(images.copy(pro, { newName: 'Two', newFileName: 'two' }, BY))
    expect(names(other)).toEqual(['Home'])
    must(images.remove({ name: image.name, group: 'G' }, BY))
    expect(opened.library.trash.list(other)).toEqual([])
    must(set({ audience: null }))

    must(groups.set('Lab', { audience: { roles: ['admin'], machineGroups: [] } }, BY))
    expect(groups.list(other).map(({ name }) => name)).toEqual(['G'])
    expect(code(groups.show('Lab', operator.who))).toBe('not-found')
    // Its name is taken all the same, and the only group is the one that is seen.
    expect(code(groups.create('lab', operator))).toBe('exists')
    expect(must(images.show({ name: 'Pro' }, other)).group).toBe('G')
    must(groups.set('Lab', { audience: null }, BY))
  })

  test('what is disabled is offered to nobody, and seen by those who can enable it', async () => {
    const { shelf } = opened.library
    must(set({ enabled: false, isPublic: true }))
    expect(await shelf.find('images/G/pro.wim', { kind: 'anonymous', door: 'http', address: '' })).toBeUndefined()
    expect(await shelf.find('images/G/pro.wim', viewer)).toBeUndefined()
    expect(await shelf.find('images/G/pro.wim', operator.who)).toBeDefined()
    must(set({ enabled: true, isPublic: false }))
  })
})

describe('copy', () => {
  test('refuses another group, with the way to do it', () => {
    const { images } = opened.library
    const refused = images.copy(pro, { newName: 'x', newFileName: 'x', toGroup: 'Lab' }, BY)
    expect(refused).toMatchObject({
      ok: false,
      error: { code: 'bad-request', hint: expect.stringContaining('export') },
    })
    expect(code(images.copy(pro, { newName: 'x', newFileName: 'x', toGroup: 'g' }, { ...BY, dryRun: true }))).toBe('ok')
  })

  test('what is refused alongside refuses the copy', () => {
    const before = opened.snapshot()
    const refusal = { ok: false, error: { code: 'in-use', message: 'no', hint: '' } } as const
    const copy = { newName: 'x', newFileName: 'x', alongside: () => refusal }
    expect(opened.library.images.copy(pro, copy, BY)).toEqual(refusal)
    expect(opened.snapshot()).toEqual(before)
  })
})

describe('list', () => {
  test.each([
    [{ name: 'PRO' }, ['Pro']],
    [{ file: 'home' }, ['Home']],
    [{ search: 'OME' }, ['Home']],
    [{ enabled: false }, []],
    [{ architecture: 'X64' }, ['Home']],
    [{ group: 'lab' }, []],
  ] as const)('%p', (filter, names) => {
    expect(must(opened.library.images.list(filter, LOCAL)).map((image) => image.name)).toEqual([...names])
  })
  test('an unknown group is refused', () => {
    expect(code(opened.library.images.list({ group: 'none' }, LOCAL))).toBe('not-found')
  })
})

describe('groups', () => {
  test('rename, describe, limit; by the new name everything is as before', async () => {
    const { groups, images, shelf } = opened.library
    must(groups.set('g', { name: 'Größe', description: 'd', quotaBytes: 1 << 30 }, BY))
    expect(must(groups.show('GRÖSSE'.replace('SS', 'ß'), LOCAL))).toMatchObject({ name: 'Größe', quotaBytes: 1 << 30 })
    expect(must(images.show({ name: 'Pro', group: 'größe' }, LOCAL)).group).toBe('Größe')
    expect(await shelf.find('images/größe/pro.wim', viewer)).toBeDefined()
    expect(code(groups.create('GRÖßE', BY))).toBe('exists')
    for (const change of [{ name: 'a/b' }, { name: '' }, { quotaBytes: -1 }, { quotaBytes: 0.5 }])
      expect(code(groups.set('Größe', change, BY))).not.toBe('ok')
    expect(code(groups.set('Größe', { name: 'LAB' }, BY))).toBe('exists')
    const { changedAtMs } = must(groups.show('Größe', LOCAL))
    expect(code(groups.set('Größe', { description: 'mine', ifChangedAtMs: changedAtMs }, BY))).toBe('ok')
    expect(code(groups.set('Größe', { description: 'yours', ifChangedAtMs: changedAtMs }, BY))).toBe('changed')
    must(groups.set('Größe', { name: 'G', description: '', quotaBytes: null }, BY))
    expect(opened.changes.list({ verb: 'group.set' })[0]).toMatchObject({
      before: { name: 'Größe' },
      after: { name: 'G' },
    })
  })
})

describe('the trash', () => {
  test('an image comes back as it was, under another file name where its own is taken', () => {
    const { images, trash } = opened.library
    must(set({ comment: 'kept', unattend: UNATTEND }))
    const before = must(images.show(pro, LOCAL))
    must(images.remove(pro, operator))
    expect(code(images.remove(pro, BY))).toBe('not-found')
    const item = trash.list(LOCAL).find(({ title }) => title === 'Pro')
    expect(item).toMatchObject({ kind: 'image', group: 'G', fileName: 'pro.wim', removedBy: 'token:op' })
    const id = item?.id ?? 0
    must(images.copy({ name: 'Home', group: 'G' }, { newName: 'Pro', newFileName: 'pro' }, BY))
    expect(code(trash.restore(id, {}, BY))).toBe('exists')
    must(trash.restore(id, { fileName: 'pro-2' }, BY))
    expect(must(images.show({ ...pro, file: 'pro-2' }, LOCAL))).toMatchObject({
      id: before.id,
      contentId: before.contentId,
      comment: 'kept',
      hasUnattend: true,
    })
    expect(code(trash.restore(id, {}, BY))).toBe('not-found')
    must(images.remove({ ...pro, file: 'pro.wim' }, BY))
    must(images.set(pro, { fileName: 'pro' }, BY))
  })

  test('a name that what is restored does not take is refused; the answer tells the names of now', async () => {
    const { images, groups, trash } = opened.library
    must(groups.create('Old', BY))
    must(groups.remove('Old', {}, BY))
    must(images.remove(pro, BY))
    const idOf = (wanted: string): number => trash.list(LOCAL).find(({ title }) => title === wanted)?.id ?? 0
    const before = opened.snapshot()
    expect(code(trash.restore(idOf('Pro'), { name: 'Other' }, BY))).toBe('bad-request')
    expect(code(trash.restore(idOf('Old'), { fileName: 'other' }, BY))).toBe('bad-request')
    expect(opened.snapshot()).toEqual(before)
    expect(must(trash.restore(idOf('Old'), { name: 'New' }, BY))).toMatchObject({ title: 'New', group: 'New' })
    must(groups.remove('New', {}, BY))
    expect(must(trash.restore(idOf('Pro'), { fileName: 'p2' }, BY))).toMatchObject({ title: 'Pro', fileName: 'p2.wim' })
    must(images.set(pro, { fileName: 'pro' }, BY))
    must(await trash.empty({}, BY))
  })

  test('what was public comes back into a group that is limited by now as what it can be there', () => {
    const { images, groups, trash } = opened.library
    must(set({ isPublic: true }))
    must(images.remove(pro, BY))
    must(groups.set('G', { audience: { roles: ['operator'], machineGroups: [] } }, BY))
    must(trash.restore(trash.list(LOCAL).find(({ title }) => title === 'Pro')?.id ?? 0, {}, BY))
    expect(must(images.show(pro, LOCAL)).isPublic).toBe(false)
    must(groups.set('G', { audience: null }, BY))
  })

  test('of things that are named all go, or none', async () => {
    const { images, groups, trash } = opened.library
    must(groups.create('Sent', BY))
    await opened.imported(writeWim(join(work, 'sent.wim'), ['Sent']), { group: 'Sent' })
    const { contentId } = must(images.show({ name: 'Sent', group: 'Sent' }, LOCAL))
    must(groups.remove('Sent', { withImages: true }, BY))
    must(images.copy(pro, { newName: 'Copy', newFileName: 'copy' }, BY))
    must(images.remove({ name: 'Copy', group: 'G' }, BY))
    // One that has ended, and whose clients still fetch the rest.
    const row = { imageName: 'Sent', description: '', fileName: 'sent.wim', group: 'Sent', name: 'Sent', open: false }
    opened.db
      .insert(transmissions)
      .values({ ...row, kind: 'auto', contentId, audiences: [], createdBy: 'local', createdAtMs: 1, endedAtMs: 2 })
      .run()
    const ids = trash.list(LOCAL).flatMap(({ id, title }) => (title === 'Sent' || title === 'Copy' ? [id] : []))
    const before = opened.snapshot()
    expect(ids).toHaveLength(2)
    expect(code(await trash.empty({ ids }, BY))).toBe('in-use')
    expect(opened.snapshot()).toEqual(before)
    opened.db.delete(transmissions).run()
    expect(must(await trash.empty({ ids }, BY))).toHaveLength(2)
  })

  test('a group goes with its images and comes back with them; emptied, it is gone', async () => {
    const { images, groups, trash } = opened.library
    await opened.imported(writeWim(join(work, 'lab.wim'), ['Lab image']), { group: 'Lab' })
    expect(code(groups.remove('Lab', {}, BY))).toBe('in-use')
    must(groups.remove('Lab', { withImages: true }, BY))
    expect(code(groups.show('Lab', LOCAL))).toBe('not-found')
    expect(must(images.list({ name: 'Lab image' }, LOCAL))).toEqual([])
    must(groups.create('LAB', BY))
    const id = trash.list(LOCAL).find(({ kind }) => kind === 'group')?.id ?? 0
    expect(code(trash.restore(id, {}, BY))).toBe('exists')
    must(trash.restore(id, { name: 'Lab 2' }, BY))
    expect(must(images.show({ name: 'Lab image', group: 'Lab 2' }, LOCAL)).group).toBe('Lab 2')
    must(groups.remove('Lab 2', { withImages: true }, BY))
    const again = trash.list(LOCAL).find(({ kind }) => kind === 'group')?.id ?? 0
    const folders = readdirSync(join(opened.dataDir, 'groups')).length
    expect(must(await trash.empty({ ids: [again] }, { ...BY, dryRun: true }))).toMatchObject([{ id: again }])
    expect(trash.list(LOCAL).some(({ id }) => id === again)).toBe(true)
    must(await trash.empty({ ids: [again] }, BY))
    expect(readdirSync(join(opened.dataDir, 'groups')).length).toBe(folders - 1)
    expect(code(await trash.empty({ ids: [again] }, BY))).toBe('not-found')
  })

  test('what is younger than asked stays', async () => {
    const { images, trash } = opened.library
    must(images.remove({ name: 'Home', group: 'G' }, BY))
    expect(must(await trash.empty({ olderThanDays: 1 }, BY))).toEqual([])
    expect(must(await trash.empty({}, BY)).map(({ title }) => title)).toContain('Home')
    expect(trash.list(LOCAL)).toEqual([])
  })
})

describe('settings', () => {
  test('are parsed, kept, told, and taken back', () => {
    const { settings } = opened
    expect(settings.get('scrub.every')).toBe('weekly')
    must(settings.set('scrub.every', 'daily', operator))
    expect(settings.get('scrub.every')).toBe('daily')
    expect(opened.changes.list({ verb: 'settings' })[0]).toMatchObject({
      who: 'token:op',
      subject: 'scrub.every',
      before: { value: 'weekly' },
      after: { value: 'daily' },
    })
    must(settings.set('scrub.every', undefined, BY))
    expect(settings.get('scrub.every')).toBe('weekly')
  })
  test.each([
    ['not-found', 'nothing', '1'],
    ['not-found', '__proto__', '1'],
    ['bad-request', 'scrub.every', 'hourly'],
    ['bad-request', 'scrub.at', '25:00'],
    ['bad-request', 'compact.at-percent', '0'],
    ['bad-request', 'time-zone', 'Mars/Olympus'],
    ['bad-request', 'space.reserve', 'lots'],
    ['ok', 'time-zone', 'Europe/Berlin'],
    ['ok', 'trash.keep-days', 'off'],
    ['ok', 'space.reserve', '2 GiB'],
  ])('%s: %s = %s', (wanted, key, value) => {
    expect(code(opened.settings.set(key, value, { ...BY, dryRun: true }))).toBe(wanted)
  })
})
