/**
 * A network of namespaces: a bridge, a sender (10.77.0.1) and receivers (10.77.0.11 …), joined by veth. Frames are 1500
 * bytes and single (gso_max_segs 1), as on a wire: otherwise super-packets would cross the veth whole and one lost
 * "frame" would be 44 packets. Needs root, iproute2 and nftables.
 */
import { openSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'

export type Lab = AsyncDisposable & {
  /** In memory (tmpfs); goes with the lab. */
  readonly dir: string
  readonly sender: string
  readonly receivers: readonly string[]
  readonly senderAddress: string
  /** Starts a command in a namespace; its output goes to the file. Killed with the lab if it still runs. */
  readonly start: (namespace: string, command: readonly string[], logPath: string) => Bun.Subprocess
  /** Loses this share of the UDP packets that come to the receivers, at random. */
  readonly lose: (percent: number) => Promise<void>
  /** Runs a command in a namespace to its end; throws when it fails. */
  readonly run: (namespace: string, command: readonly string[], input?: string) => Promise<string>
}

async function run(command: readonly string[], input?: string): Promise<string> {
  const child = Bun.spawn([...command], { stdin: input === undefined ? 'ignore' : Buffer.from(input), stderr: 'pipe' })
  const [out, errors, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  if (code !== 0) throw new Error(`${command.join(' ')}: ${errors.trim()}`)
  return out
}

export async function openLab(receiverCount: number): Promise<Lab> {
  const base = `wc${process.pid}`
  const bridge = `${base}b`
  const sender = `${base}s`
  const receivers = Array.from({ length: receiverCount }, (_, index) => `${base}r${index + 1}`)
  const children: Bun.Subprocess[] = []
  const made: string[] = []

  const dir = await mkdtemp('/dev/shm/wimcast-lab-')
  let closing: Promise<void> | undefined
  /** Once, whoever asks first: the end of a run, or a signal in the middle of it. */
  function close(): Promise<void> {
    closing ??= (async () => {
      for (const child of children) child.kill('SIGKILL')
      await Promise.all(children.map((child) => child.exited))
      const removed = await Promise.allSettled(made.map((namespace) => run(['ip', 'netns', 'del', namespace])))
      await rm(dir, { recursive: true, force: true })
      for (const result of removed) if (result.status === 'rejected') throw result.reason
    })()
    return closing
  }

  async function namespace(name: string): Promise<void> {
    await run(['ip', 'netns', 'add', name])
    made.push(name)
    await run(['ip', '-n', name, 'link', 'set', 'lo', 'up'])
  }

  async function attach(name: string, address: string, port: string): Promise<void> {
    await namespace(name)
    await run(['ip', '-n', bridge, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name])
    await run(['ip', '-n', bridge, 'link', 'set', port, 'gso_max_segs', '1', 'master', 'br0', 'up'])
    await run(['ip', '-n', name, 'link', 'set', 'eth0', 'gso_max_segs', '1'])
    await run(['ip', '-n', name, 'addr', 'add', `${address}/24`, 'brd', '+', 'dev', 'eth0'])
    await run(['ip', '-n', name, 'link', 'set', 'eth0', 'up'])
    await run(['ip', '-n', name, 'route', 'add', '224.0.0.0/4', 'dev', 'eth0'])
  }

  try {
    await namespace(bridge)
    await run(['ip', '-n', bridge, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0'])
    await run(['ip', '-n', bridge, 'link', 'set', 'br0', 'up'])
    // Where br_netfilter is loaded (Docker does), each frame would pass iptables three times: no bridge of a site does.
    const filter = '/proc/sys/net/bridge/bridge-nf-call-iptables'
    await run(['ip', 'netns', 'exec', bridge, 'sh', '-c', `[ ! -e ${filter} ] || echo 0 > ${filter}`])
    await attach(sender, '10.77.0.1', 'ps')
    for (const [index, name] of receivers.entries()) await attach(name, `10.77.0.${11 + index}`, `pr${index + 1}`)
  } catch (error) {
    await close()
    throw error
  }

  // An interrupted run leaves nothing behind either.
  const interrupted = () => void close().finally(() => process.exit(130))
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, interrupted)

  return {
    dir,
    sender,
    receivers,
    senderAddress: '10.77.0.1',
    start(inside, command, logPath) {
      const log = openSync(logPath, 'w')
      const full = ['ip', 'netns', 'exec', inside, ...command]
      const child = Bun.spawn(full, { stdin: 'ignore', stdout: log, stderr: log })
      children.push(child)
      return child
    },
    async lose(percent) {
      for (const name of receivers) {
        await run(['ip', 'netns', 'exec', name, 'nft', 'flush', 'ruleset'])
        if (percent === 0) continue
        const rule = `meta l4proto udp numgen random mod 1000 < ${Math.round(percent * 10)} drop`
        const table = `table inet loss {\n chain in {\n type filter hook input priority 0\n ${rule}\n }\n}\n`
        await run(['ip', 'netns', 'exec', name, 'nft', '-f', '-'], table)
      }
    },
    run: (inside, command, input) => run(['ip', 'netns', 'exec', inside, ...command], input),
    async [Symbol.asyncDispose]() {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, interrupted)
      await close()
    },
  }
}

/** Waits until `look` finds something; looks often, and gives up by an error. */
export async function until<T>(
  what: string,
  limitMs: number,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const endMs = performance.now() + limitMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > endMs) throw new Error(`${what}: not within ${limitMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
