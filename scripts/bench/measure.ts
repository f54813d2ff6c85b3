/** What the benchmarks share: a command run to its end and timed, and the middle of several figures. */

export type Ran = { readonly stdout: string; readonly tookMs: number }

/** Runs a command; anything but exit code 0 is an error with what it said. */
export async function run(command: readonly string[]): Promise<Ran> {
  const started = performance.now()
  const child = Bun.spawn([...command], { stdout: 'pipe', stderr: 'pipe' })
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  if (child.exitCode !== 0) throw new Error(`${command.join(' ')} failed: ${stderr}`)
  return { stdout, tookMs: performance.now() - started }
}

export function median(figures: readonly number[]): number {
  return figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)] ?? 0
}
