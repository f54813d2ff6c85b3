/** What a stop left in the folders of the groups: what is doomed goes, what holds nothing goes, all else stays. */
import { expect, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { doomedFiles } from '../../src/db/schema.ts'
import { doomedFolder } from '../../src/library/store/recover.ts'
import { BY, must, openTestLibrary } from '../fixtures/library.ts'

test('folders of groups that are gone, or never came to be', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'wimcast-recover-'))
  const folder = (id: number): string => join(dataDir, 'groups', String(id))
  const put = (id: number, name: string): void => {
    mkdirSync(folder(id), { recursive: true })
    writeFileSync(join(folder(id), name), 'x')
  }
  try {
    {
      await using before = await openTestLibrary({ dataDir })
      // Killed after the commit that emptied the trash, and before the folder went.
      put(11, 'group.json')
      put(11, 'seg-1.wim')
      for (const fileName of ['seg-1.wim', doomedFolder(11)])
        before.db.insert(doomedFiles).values({ fileName, groupId: 11 }).run()
      // Killed between the folder and the row of a new group.
      mkdirSync(folder(12))
      // Not known, as after a restore of an older database.
      put(13, 'seg-2.wim')
      put(14, 'group.json')
    }
    await using after = await openTestLibrary({ dataDir })
    expect([11, 12, 13, 14].map((id) => existsSync(folder(id)))).toEqual([false, false, true, true])
    expect(after.db.select().from(doomedFiles).all()).toEqual([])
    expect(after.log.filter((line) => line.includes('unknown-file'))).toHaveLength(2)
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})

test('a group that goes from the trash dooms its folder by the same commit', async () => {
  await using opened = await openTestLibrary()
  const { library, db } = opened
  const { id } = must(library.groups.create('Old', BY))
  must(library.groups.remove('Old', {}, BY))
  const emptying = library.trash.empty({}, BY)
  let doomed: string[] = []
  // From the commit on, until the folder is gone.
  for (let turn = 0; turn < 1000 && doomed.length === 0; turn += 1) {
    await Promise.resolve()
    doomed = db
      .select()
      .from(doomedFiles)
      .all()
      .map(({ fileName }) => fileName)
  }
  expect(doomed).toEqual([doomedFolder(id)])
  must(await emptying)
  expect(db.select().from(doomedFiles).all()).toEqual([])
  expect(existsSync(join(opened.dataDir, 'groups', String(id)))).toBe(false)
})
