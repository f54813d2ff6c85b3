/**
 * The page's files as text. Imported as a Bun macro, so it runs while web/page.ts is compiled: once when the executable is
 * built, once at start when wimcast runs from source. What runs on the target holds the finished text and no bundler.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const at = (file: string): string => join(import.meta.dir, file)

/** A process of its own: a macro that called `Bun.build` would wait for the bundler that waits for it. */
function bundled(entry: string): string {
  const run = Bun.spawnSync([process.execPath, 'build', at(entry), '--target=browser', '--production', '--minify'])
  if (!run.success) throw new Error(`the page does not build: ${run.stderr.toString()}`)
  return run.stdout.toString()
}

export function pageFiles(): { readonly script: string; readonly style: string; readonly icon: string } {
  return {
    script: bundled('client/main.tsx'),
    style: readFileSync(at('page.css'), 'utf8'),
    icon: readFileSync(at('icon.svg'), 'utf8'),
  }
}
