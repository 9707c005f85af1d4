// What happens in a run beside the mail: to the cluster, to Redis, to the nodes, and who does nothing but handshakes.

import type { ChildProcess } from 'node:child_process'
import { AS_OPERATOR } from '../processes.ts'
import type { TlsOrder } from '../tls-load.ts'
import type { ClusterOrder } from './cluster.ts'
import type { Nodes } from './nodes.ts'
import type { RedisFault, Scenario } from './scenarios.ts'

/** From the network of the bots, which no honest sender has. */
const FIRST_ATTACKER = '127.160.0.1'
const AT_ONCE = { one: 64, many: 200 }

interface Around {
  readonly nodes: Nodes
  /** The port of a node. */
  readonly port: number
  tell(order: ClusterOrder): void
  /** Starts the attackers of bench/tls-load.ts. */
  attackers(): ChildProcess
}

/** @returns a function that calls off what has not happened yet; it rejects if something could not be done */
export function startFaults(scenario: Scenario, around: Around): () => Promise<void> {
  const timers: NodeJS.Timeout[] = []
  const begun: Promise<unknown>[] = []
  const at = (s: number, act: () => unknown): void => {
    // What fails is heard of at the end.
    const fenced = (): void => {
      const done = Promise.resolve().then(act)
      done.catch(() => undefined)
      begun.push(done)
    }
    timers.push(setTimeout(fenced, s * 1000))
  }
  ofCluster(scenario, around, at)
  ofNodes(scenario, around, at)
  return async () => {
    timers.forEach(clearTimeout)
    await Promise.all(begun)
  }
}

type At = (s: number, act: () => unknown) => void

function ofCluster({ stall, down, directory, slowMailbox = [], k }: Scenario, { tell }: Around, at: At): void {
  if (stall !== undefined) at(stall.atS, () => tell({ kind: 'stall', ms: stall.forS * 1000 }))
  if (down !== undefined) at(down.atS, () => tell({ kind: 'down', ms: (down.min * 60_000) / k }))
  if (directory !== undefined) at(directory.atS, () => tell({ kind: 'directory', ms: directory.forS * 1000 }))
  for (const { atS, dotMs } of slowMailbox) at(atS, () => tell({ kind: 'mailbox', ms: dotMs }))
}

function ofNodes(
  { redis = [], kills = [], handshakes = [] }: Scenario,
  { nodes, port, attackers }: Around,
  at: At,
): void {
  for (const { fault, atS, forS } of redis) {
    at(atS, () => disturb(nodes, fault))
    at(atS + forS, () => restore(nodes, fault))
  }
  // The first node is the one whose level is watched.
  for (const [i, s] of kills.entries()) at(s, () => nodes.kill(1 + (i % Math.max(1, nodes.running.length - 1))))
  for (const { addresses, atS, forS } of handshakes) {
    at(atS, () => {
      const concurrency = addresses === 1 ? AT_ONCE.one : AT_ONCE.many
      const order: TlsOrder = {
        kind: 'attack',
        tls: true,
        port,
        first: FIRST_ATTACKER,
        sources: addresses,
        concurrency,
        seconds: forS,
      }
      attackers().send(order)
    })
  }
}

function disturb({ redis, wire }: Nodes, fault: RedisFault): unknown {
  if (fault === 'frozen') return redis?.freeze()
  if (fault === 'killed') return redis?.kill()
  // A hundred there, a hundred back.
  return wire?.slow(100)
}

function restore({ redis, wire }: Nodes, fault: RedisFault): unknown {
  if (fault === 'frozen') return redis?.thaw()
  if (fault === 'killed') return redis?.restart()
  return wire?.slow(0)
}

/** Somebody who sees the queue tells every node of it by POST /api/v1/pressure, every two seconds. @param web of the cluster */
export function startReporter({ running }: Nodes, { web, port }: { web: number; port: number }): () => void {
  const report = async (): Promise<void> => {
    const told = (await (await fetch(`http://127.0.0.1:${web}/`)).json()) as Record<string, number>
    const upstream = `127.0.0.1:${port}`
    const body = JSON.stringify({ upstream, value: told[upstream] })
    const headers = { ...AS_OPERATOR, 'content-type': 'application/json' }
    for (const { admin } of running) {
      await fetch(`http://127.0.0.1:${admin}/api/v1/pressure`, { method: 'POST', headers, body })
    }
  }
  const timer = setInterval(() => void report().catch(() => undefined), 2000)
  return () => clearInterval(timer)
}
