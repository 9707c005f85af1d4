// A network of a test's own, in which nobody else's packets are, with a kernel's packet filter of its own: see
// network_namespaces(7). A process in it connects and asks for the test.

import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { command } from './packages.ts'
import { runProgram } from './processes.ts'

/** What the process in the network is asked to do. */
export type Asked =
  | { readonly do: 'visit'; readonly from: string; readonly to: string; readonly port: number; readonly says: string[] }
  | { readonly do: 'open'; readonly from: string; readonly to: string; readonly port: number }
  | { readonly do: 'noop' }
  | {
      readonly do: 'ask'
      readonly url: string
      readonly method: string
      readonly body?: string
      readonly fields?: Readonly<Record<string, string>>
    }

export interface Network {
  /** The words that run a command in it when they are put before it. */
  readonly within: readonly string[]
  /**
   * Connects, and says a line for each reply that comes.
   * @returns the replies, their first lines; undefined if the connection was not answered within 300 ms
   */
  visit(from: string, to: string, port: number, ...says: string[]): Promise<string[] | undefined>
  /** Connects, and stays. @returns what the server says to the NOOP of this client later; 'nothing' after two seconds */
  open(from: string, to: string, port: number): Promise<() => Promise<string>>
  ask(method: string, url: string, body?: unknown, fields?: Readonly<Record<string, string>>): Promise<string>
  /** Runs nft in it. Rejects if it fails. */
  nft(...args: string[]): Promise<string>
  stop(): Promise<void>
}

const VISITOR = fileURLToPath(new URL('visitor.ts', import.meta.url))

/** @param addresses networks whose addresses are all there, on loopback: `192.0.2.0/24` */
export async function startNetwork(addresses: readonly string[]): Promise<Network> {
  const up = [
    'ip link set lo up',
    ...addresses.map((each) => `ip addr add ${each} dev lo${each.includes(':') ? ' nodad' : ''}`),
  ]
  const script = `${up.join('; ')}; exec "$@"`
  const args = ['--net', 'sh', '-ec', script, 'sh', process.execPath, VISITOR]
  const child: ChildProcess = spawn('unshare', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const waiting: ((line: string) => void)[] = []
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => waiting.shift()?.(line))
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const asked = (what?: Asked): Promise<string> =>
    new Promise((resolve, reject) => {
      waiting.push(resolve)
      void exited.then(() => reject(new Error('the network is gone')))
      if (what !== undefined) child.stdin?.write(`${JSON.stringify(what)}\n`)
    })
  // Its first line says that it is there.
  await asked()
  const within = ['nsenter', `--net=/proc/${child.pid}/ns/net`]
  const nft = command('nft')
  return {
    within,
    async visit(from, to, port, ...says) {
      const answer = JSON.parse(await asked({ do: 'visit', from, to, port, says })) as { replies?: string[] }
      return answer.replies
    },
    async open(from, to, port) {
      await asked({ do: 'open', from, to, port })
      return async () => JSON.parse(await asked({ do: 'noop' })) as string
    },
    async ask(method, url, body, fields = {}) {
      const text = body === undefined ? {} : { body: JSON.stringify(body) }
      return (JSON.parse(await asked({ do: 'ask', method, url, fields, ...text })) as { text: string }).text
    },
    async nft(...words) {
      const { code, output } = await runProgram([...within, nft.path, ...words], {
        env: { ...process.env, ...nft.env },
      })
      if (code !== 0) throw new Error(output)
      return output
    },
    async stop() {
      child.kill()
      await exited
    },
  }
}
