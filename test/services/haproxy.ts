// A real HAProxy for one test, in front of one SMTP server: private, on a loopback port of its own, gone without a trace
// afterwards.
//
//     const haproxy = await startHAProxy({ to: app.port, from: BALANCER, send: 'send-proxy-v2' })
//     await haproxy.waitForCheck((check) => check.status === 'UP')
//     await haproxy.stop()
//
// It checks the server with `option smtpchk`, and passes connections on also while the check fails, so that a test can see
// both sides.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onFreePorts, PortTaken } from './mail-server.ts'
import { freePorts } from './ports.ts'
import { startServer, waitUntil } from './processes.ts'

export interface HAProxyOptions {
  /** The port of 127.0.0.1 that the server listens on. */
  readonly to: number
  /** The address it connects to the server from. */
  readonly from: string
  /** How it tells the server who the client is; not at all, unless told. */
  readonly send?: 'send-proxy' | 'send-proxy-v2'
}

/** What it says of the server, by `show stat` (section 9.1 of its management guide). */
export interface Check {
  /** `UP`, `DOWN`, or on the way to one of them, as in `DOWN 1/2`. */
  readonly status: string
  /** Of the last check: `L7OK`, `L7STS` (a reply it does not want), `L7RSP`, `L4CON` …, with `* ` in front while one runs. */
  readonly result: string
  /** The code of the reply that decided it. */
  readonly code: string
  /** How often it was taken out of service. */
  readonly downs: number
}

export interface HAProxy {
  /** Where clients connect. */
  readonly port: number
  check(name?: string): Promise<Check>
  /** Resolves when what it says of the server fits. */
  waitForCheck(fits: (check: Check) => boolean, ms?: number, name?: string): Promise<Check>
  stop(): Promise<void>
}

/** Starts it and resolves when it answers. Rejects with what HAProxy says is wrong. */
export const startHAProxy = (options: HAProxyOptions): Promise<HAProxy> =>
  startHAProxyAs((port) => configOf(port, options), 'checked')

/**
 * The same with a configuration of one's own.
 * @param config made for the port of 127.0.0.1 where clients connect; its section `global` is made longer
 * @param checked the name of the server that `check` tells of, unless told
 */
export const startHAProxyAs = (config: (port: number) => string, checked: string): Promise<HAProxy> =>
  onFreePorts(() => startOnce(config, checked))

const configOf = (port: number, { to, from, send }: HAProxyOptions): string => `global
  nbthread 1
listen smtp
  mode tcp
  bind 127.0.0.1:${port}
  timeout connect 5s
  # Without it a check would have no longer than the time between two of them.
  timeout check 5s
  timeout client 1m
  timeout server 1m
  option smtpchk EHLO balancer.example
  server checked 127.0.0.1:${to} check inter 100 fall 1 rise 1 source ${from} ${send ?? ''}
  server always 127.0.0.1:${to} backup source ${from} ${send ?? ''}
`

async function startOnce(config: (port: number) => string, checked: string): Promise<HAProxy> {
  const port = (await freePorts(1))[0] as number
  const directory = mkdtempSync(join(tmpdir(), 'haproxy-'))
  const admin = join(directory, 'admin')
  const text = config(port).replace(/^global\n/m, `global\n  stats socket ${admin} mode 600\n`)
  writeFileSync(join(directory, 'haproxy.cfg'), text)
  const server = startServer('haproxy', ['-db', '-f', 'haproxy.cfg'], directory)

  const check = async (name = checked): Promise<Check> => {
    const [head = '', ...rows] = (await ask(admin, 'show stat')).split('\n')
    const names = head.replace(/^# /, '').split(',')
    const row = rows.map((line) => line.split(',')).find((fields) => fields[names.indexOf('svname')] === name)
    const field = (name: string): string => row?.[names.indexOf(name)] ?? ''
    return {
      status: field('status'),
      result: field('check_status'),
      code: field('check_code'),
      downs: Number(field('chkdown')),
    }
  }
  const waitForCheck = async (fits: (check: Check) => boolean, ms = 10_000, name = checked): Promise<Check> => {
    let last: Check | undefined
    return waitUntil(
      async () => {
        if (!server.running()) {
          if (/cannot bind socket/i.test(server.output())) throw new PortTaken(server.output())
          throw new Error(`HAProxy has ended: ${server.output()}`)
        }
        last = await check(name).catch(() => undefined)
        return last !== undefined && fits(last) ? last : undefined
      },
      ms,
      () => `HAProxy says of its server: ${JSON.stringify(last)}\n${server.output()}`,
    )
  }

  try {
    await waitForCheck(({ status }) => status !== '')
  } catch (error) {
    await server.stop()
    throw error
  }
  return { port, check, waitForCheck, stop: () => server.stop() }
}

/** One command on its administration socket. */
function ask(path: string, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = ''
    createConnection(path)
      .on('error', reject)
      .on('data', (chunk) => (answer += chunk))
      .on('end', () => resolve(answer))
      .end(`${command}\n`)
  })
}
