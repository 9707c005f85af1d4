// A real DNS server for tests, on a loopback port of its own, which knows the records that it is given and nothing else.
//
//     const dns = await startUnbound({ records: ['7.100.51.198.in-addr.arpa. PTR mail.a.example.'] })
//     … SPILLWAY_DNS_SERVERS: dns.address …
//     dns.freeze(); dns.thaw()
//     await dns.stop()

import { Resolver } from 'node:dns/promises'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from './ports.ts'
import { type Server, startServer, waitUntil } from './processes.ts'

export interface Unbound {
  /** ip:port, as SPILLWAY_DNS_SERVERS has it. */
  readonly address: string
  /** How many questions have come so far, by what is in them: `1.2.0.192.in-addr.arpa. PTR`. */
  asked(text?: string): number
  /** Stops and goes on, as a server that hangs. */
  freeze(): void
  thaw(): void
  stop(): Promise<void>
}

export interface UnboundOptions {
  /** As in a zone file; what is not there does not exist. */
  readonly records?: readonly string[]
  /** Zones, and what becomes of questions for them: `refuse`, `deny` (silence), or the address of a server that is asked, `127.0.0.1@5300`. */
  readonly zones?: Readonly<Record<string, string>>
}

export async function startUnbound(options: UnboundOptions = {}): Promise<Unbound> {
  for (let attempt = 1; ; attempt++) {
    const [port] = (await freePorts(1)) as [number]
    try {
      return await startOn(port, options)
    } catch (error) {
      if (attempt === 3 || !/in use/.test((error as Error).message)) throw error
    }
  }
}

function configOf(port: number, { records = [], zones = {} }: UnboundOptions): string {
  const own = Object.entries(zones).filter(([, then]) => !then.includes('@'))
  const passed = Object.entries(zones).filter(([, then]) => then.includes('@'))
  return [
    'server:',
    ...['interface: 127.0.0.1', `port: ${port}`, 'do-daemonize: no', 'username: ""', 'chroot: ""', 'directory: "."'],
    ...['pidfile: ""', 'use-syslog: no', 'log-queries: yes', 'verbosity: 1', 'do-not-query-localhost: no'],
    ...['module-config: "iterator"', 'max-udp-size: 512', 'num-threads: 1', 'msg-cache-size: 1m'],
    'local-zone: "." static',
    ...own.map(([zone, then]) => `local-zone: "${zone}" ${then}`),
    ...passed.map(([zone]) => `local-zone: "${zone}" transparent`),
    ...records.map((record) => `local-data: '${record}'`),
    'remote-control:',
    'control-enable: no',
    ...passed.flatMap(([zone, to]) => ['forward-zone:', `name: "${zone}"`, `forward-addr: ${to}`]),
    '',
  ].join('\n')
}

async function startOn(port: number, options: UnboundOptions): Promise<Unbound> {
  const directory = mkdtempSync(join(tmpdir(), 'unbound-'))
  writeFileSync(join(directory, 'unbound.conf'), configOf(port, options))
  const server: Server = startServer('unbound', ['-d', '-c', 'unbound.conf'], directory)
  const stop = async (): Promise<void> => {
    server.signal('SIGCONT')
    await server.stop()
    rmSync(directory, { recursive: true, force: true })
  }
  const address = `127.0.0.1:${port}`
  const resolver = new Resolver({ timeout: 200, tries: 1 })
  resolver.setServers([address])
  try {
    await waitUntil(
      async () => {
        if (!server.running()) throw new Error(`unbound has ended: ${server.output()}`)
        const { code } = await resolver.resolve4('nothing.invalid').then(
          () => ({ code: '' }),
          (error: NodeJS.ErrnoException) => error,
        )
        return code === 'ENOTFOUND' ? true : undefined
      },
      10_000,
      () => `unbound does not answer: ${server.output()}`,
    )
  } catch (error) {
    await stop()
    throw error
  }
  return {
    address,
    asked: (text = ' ') =>
      server
        .output()
        .split('\n')
        .filter(
          (line) => line.includes(' info: 127.0.0.1 ') && line.includes(text) && !line.includes('nothing.invalid'),
        ).length,
    freeze: () => server.signal('SIGSTOP'),
    thaw: () => server.signal('SIGCONT'),
    stop,
  }
}
