/**
 * Licences of what the executable carries. The list of npm packages closes NOTICE; the full texts go beside the build.
 * usage: notice.ts write | check | texts
 */
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { unreachable } from '../../src/base/result.ts'
import { bundledPackages, type LockedPackage } from './lock.ts'

const NOTICE = 'NOTICE'
const HEADING = 'npm packages\n------------\n'
const TEXTS = /^(licen[sc]e|copying|copyrightnotice|notice)(\.|$)/i

async function licenseOf(one: LockedPackage): Promise<string> {
  const { license } = await Bun.file(join(one.folder, 'package.json')).json()
  if (typeof license !== 'string') throw new Error(`${one.name} names no licence`)
  return license
}

/** NOTICE as it should be: its own text, and the packages of today. Versions are left to the manifest. */
async function notice(): Promise<string> {
  const text = await Bun.file(NOTICE).text()
  const own = text.slice(0, text.indexOf(HEADING) + HEADING.length)
  const lines = await Promise.all(bundledPackages().map(async (one) => `${one.name}: ${await licenseOf(one)}`))
  return `${own}${[...new Set(lines)].join('\n')}\n`
}

async function texts(): Promise<string> {
  const parts: string[] = []
  const add = async (name: string, path: string) => parts.push(`==== ${name}\n\n${await Bun.file(path).text()}`)
  await add('wimcast', 'LICENSE')
  await add('Bun', 'node_modules/bun-types/docs/project/license.mdx')
  // Debian's base-files; the licences of wimlib, and of what Bun links.
  for (const name of ['LGPL-3', 'GPL-3', 'LGPL-2.1', 'LGPL-2']) {
    const path = `/usr/share/common-licenses/${name}`
    if (existsSync(path)) await add(name, path)
  }
  for (const one of bundledPackages()) {
    for (const file of (await readdir(one.folder)).filter((file) => TEXTS.test(file)).sort()) {
      await add(`${one.name} ${one.version}`, join(one.folder, file))
    }
  }
  return parts.join('\n\n')
}

type Task = 'write' | 'check' | 'texts'
const task = process.argv[2] as Task
switch (task) {
  case 'write':
    await Bun.write(NOTICE, await notice())
    break
  case 'check':
    if ((await notice()) !== (await Bun.file(NOTICE).text())) {
      throw new Error('NOTICE does not name the npm packages of today: run `bun scripts/lib/notice.ts write`')
    }
    break
  case 'texts':
    process.stdout.write(await texts())
    break
  default:
    unreachable(task)
}
