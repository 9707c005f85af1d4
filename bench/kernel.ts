// What a connection attempt of a denied client costs once the kernel drops it (SPILLWAY_KERNEL_OFFLOAD), against HAProxy, which
// rejects it as soon as it is accepted (`tcp-request connection reject`), and against Spillway without the offload. All in a network of
// their own, at an even rate.
//
// The cost is all CPU time of the machine that is due to the attempts: that of the server with its children, and that of the client,
// which over loopback includes the work of the receiving kernel, less that of the client for attempts that its own side drops as they
// are sent. Counted by process, so that what else runs on the machine does not matter much.
//
//     npm run bench:kernel

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { startNetwork } from '../test/services/network.ts'
import { command } from '../test/services/packages.ts'
import { startServer } from '../test/services/processes.ts'
import { Program, SERVE_ENV } from '../test/support/program.ts'
import { alternate, cpuMs, judged, median, ratio, table } from './measure.ts'
import { atEnd, benchmark, rounds } from './processes.ts'

const ATTEMPTS = 6_000
const PER_SECOND = 2_000
const TO = '192.0.2.25'
const DENIED = '198.51.100.0/24'
const PORTS = { offload: 2525, plain: 2526, haproxy: 2527, nobody: 2528 } as const
/** Three hearings, and a second until the kernel knows. */
const HEARINGS = 16 * 8

const GOAL_HAPROXY = 0.1

interface Turn {
  /** Of the server and its children, in µs for each attempt. */
  readonly server: number
  /** Of the client. */
  readonly client: number
}

const HAPROXY = `
global
  maxconn 5000
  nbthread 1
defaults
  mode tcp
  timeout client 10s
  timeout connect 10s
  timeout server 10s
frontend mail
  bind 0.0.0.0:${PORTS.haproxy}
  tcp-request connection reject if { src ${DENIED} }
  default_backend nobody
backend nobody
  server nobody 127.0.0.1:1
`

const mean = (turns: readonly Turn[], of: (turn: Turn) => number): number => median(turns.map(of))

await benchmark(async () => {
  const network = await startNetwork(['192.0.2.1/24', '198.51.100.1/24'])
  atEnd(() => network.stop())
  const start = async (port: number, admin: number, offload: string): Promise<number> => {
    const env = {
      ...SERVE_ENV,
      SPILLWAY_LISTEN: `0.0.0.0:${port}`,
      SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${admin}`,
      SPILLWAY_DENY: DENIED,
      SPILLWAY_KERNEL_OFFLOAD: offload,
    }
    const program = new Program(['serve'], { env, within: network.within })
    atEnd(() => program.end())
    await program.logged(offload === 'off' ? 'listening for mail' : "the kernel's table is made")
    return program.child.pid as number
  }
  const offload = await start(PORTS.offload, 9025, 'nftables')
  const plain = await start(PORTS.plain, 9026, 'off')

  const directory = mkdtempSync(join(tmpdir(), 'spillway-bench-'))
  writeFileSync(join(directory, 'haproxy.cfg'), HAPROXY)
  const haproxy = startServer('haproxy', ['-db', '-f', 'haproxy.cfg'], directory, { enter: network.within })
  atEnd(() => haproxy.stop())
  // Attempts that never reach a server: what the client costs by itself.
  await network.nft('add table inet nobody')
  await network.nft('add chain inet nobody out { type filter hook output priority raw; }')
  await network.nft(`add rule inet nobody out tcp dport ${PORTS.nobody} drop`)

  const script = join(import.meta.dirname, 'kernel-visits.py')
  const python = command('python3')
  const [program = '', ...args] = [...network.within, python.path, script]
  const client: ChildProcess = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  atEnd(() => void client.kill())
  const answers = createInterface({ input: client.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  const visits = async (port: number, count: number): Promise<number> => {
    client.stdin?.write(`${JSON.stringify({ to: TO, port, count, perSecond: PER_SECOND })}\n`)
    return Number((await answers.next()).value)
  }
  const turn = (port: number, pids: readonly number[]) => async (): Promise<Turn> => {
    const before = cpuMs(pids)
    const us = await visits(port, ATTEMPTS)
    const server = cpuMs(pids) - before
    return { server: (server * 1000) / ATTEMPTS, client: us / ATTEMPTS }
  }
  const idle = (pids: readonly number[]) => async (): Promise<Turn> => {
    const before = cpuMs(pids)
    await sleep((ATTEMPTS / PER_SECOND) * 1000)
    return { server: ((cpuMs(pids) - before) * 1000) / ATTEMPTS, client: 0 }
  }

  await visits(PORTS.offload, HEARINGS)
  await sleep(2500)
  await visits(PORTS.plain, 10_000)
  const results = await alternate(
    {
      nobody: turn(PORTS.nobody, []),
      offload: turn(PORTS.offload, [offload]),
      idle: idle([offload]),
      plain: turn(PORTS.plain, [plain]),
      haproxy: turn(PORTS.haproxy, haproxy.pids()),
    },
    rounds(),
  )
  const page = await network.ask('GET', 'http://127.0.0.1:9025/metrics')
  const dropped = /^spillway_kernel_dropped_packets_total\{reason="denied"\} (\d+)$/m.exec(page)?.[1]
  const all = (of: 'offload' | 'plain' | 'haproxy'): number[] =>
    results[of].map(({ server, client: us }, i) => {
      const base = of === 'offload' ? (results.idle[i]?.server ?? 0) : 0
      return server - base + us - (results.nobody[i]?.client ?? 0)
    })
  const row = (name: string, of: 'offload' | 'plain' | 'haproxy'): string[] => [
    name,
    mean(results[of], ({ server }) => server).toFixed(1),
    mean(results[of], ({ client: us }) => us).toFixed(1),
    median(all(of)).toFixed(1),
  ]
  console.log(
    table(
      ['µs for each attempt', 'server', 'client', 'all, less the client alone'],
      [
        ['the client alone', '-', mean(results.nobody, ({ client: us }) => us).toFixed(1), '-'],
        ['Spillway that is left alone as long', mean(results.idle, ({ server }) => server).toFixed(1), '-', '-'],
        row('dropped by the kernel', 'offload'),
        row('refused by Spillway', 'plain'),
        row('rejected by HAProxy', 'haproxy'),
      ],
    ),
  )
  const ours = results.offload.map(({ server }, i) => server - (results.idle[i]?.server ?? 0))
  console.log(`\nSpillway's own part of a dropped attempt: ${median(ours).toFixed(2)} µs`)
  console.log(`Machine, against HAProxy: ${judged(ratio(all('offload'), all('haproxy')), { atMost: GOAL_HAPROXY })}`)
  console.log(`${dropped} packets were dropped`)
})
