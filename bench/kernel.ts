// What a connection attempt of a denied client costs once the kernel drops it (SPILLWAY_KERNEL_OFFLOAD), against HAProxy, which
// rejects it as soon as it is accepted (`tcp-request connection reject`), and against Spillway without the offload. All in a network of
// their own, at an even rate.
//
// The cost is all CPU time of the machine that is due to the attempts, counted by process, so that what else runs on the machine does not
// matter much. Of HAProxy and of a refusal it is that of the server, and that of the client (over loopback it includes the work of the
// receiving kernel), less that of the client for attempts that its own side drops as they are sent. Of a dropped attempt it is that of
// a bare frame with its packet, less that of a frame that the kernel throws away unread: what a network card costs is in neither.
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
  const visits = async (port: number, count: number, kind = 'visit'): Promise<number> => {
    client.stdin?.write(`${JSON.stringify({ kind, to: TO, port, count, perSecond: PER_SECOND })}\n`)
    return Number((await answers.next()).value)
  }
  const turn = (port: number, pids: readonly number[], kind?: string) => async (): Promise<Turn> => {
    const before = cpuMs(pids)
    const us = await visits(port, ATTEMPTS, kind)
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
      syn: turn(PORTS.offload, [offload], 'syn'),
      other: turn(PORTS.offload, [], 'other'),
      idle: idle([offload]),
      plain: turn(PORTS.plain, [plain]),
      haproxy: turn(PORTS.haproxy, haproxy.pids()),
    },
    rounds(),
  )
  const page = await network.ask('GET', 'http://127.0.0.1:9025/metrics')
  const dropped = /^spillway_kernel_dropped_packets_total\{reason="denied"\} (\d+)$/m.exec(page)?.[1]
  const clientOf = (of: keyof typeof results): number[] => results[of].map(({ client: us }) => us)
  const serverOf = (of: keyof typeof results): number[] => results[of].map(({ server }) => server)
  const less = (these: readonly number[], those: readonly number[]): number[] =>
    these.map((value, i) => value - (those[i] as number))
  const plus = (these: readonly number[], those: readonly number[]): number[] =>
    these.map((value, i) => value + (those[i] as number))
  const own = (of: 'offload' | 'syn'): number[] => less(serverOf(of), serverOf('idle'))
  const whole = (of: 'plain' | 'haproxy'): number[] => plus(serverOf(of), less(clientOf(of), clientOf('nobody')))
  const packet = plus(less(clientOf('syn'), clientOf('other')), own('syn'))
  const row = (name: string, server: number[], client?: number[], all?: number[]): string[] => [
    name,
    ...[server, client, all].map((each) => (each === undefined ? '-' : median(each).toFixed(1))),
  ]
  console.log(
    table(
      ['µs for each attempt', 'server', 'client', 'machine'],
      [
        row('an attempt that its client drops', serverOf('nobody'), clientOf('nobody')),
        row('dropped by the kernel', own('offload'), clientOf('offload')),
        row('refused by Spillway', serverOf('plain'), clientOf('plain'), whole('plain')),
        row('rejected by HAProxy', serverOf('haproxy'), clientOf('haproxy'), whole('haproxy')),
        row('a frame that is thrown away unread', serverOf('other'), clientOf('other')),
        row('a frame with a packet that is dropped', own('syn'), clientOf('syn'), packet),
      ],
    ),
  )
  console.log(`\nSpillway that is left alone as long: ${median(serverOf('idle')).toFixed(1)} µs`)
  console.log(`Machine, against HAProxy: ${judged(ratio(packet, whole('haproxy')), { atMost: GOAL_HAPROXY })}`)
  console.log(`${dropped} packets were dropped`)
})
