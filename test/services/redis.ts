// Real Redis servers for tests: one, a set with Sentinels, or a cluster; on loopback ports of their own, keeping nothing.
//
//     const redis = await startRedis()
//     … 127.0.0.1, redis.port …
//     redis.freeze(); redis.thaw(); await redis.kill(); await redis.restart()
//     await redis.stop()

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePorts } from './ports.ts'
import { type Server, startServer, waitUntil } from './processes.ts'
import { callRedis, type RedisLogin } from './redis-call.ts'

export interface RedisServer {
  readonly port: number
  /** What redis-cli prints for a command. Rejects with what Redis says where it fails. */
  call(...command: readonly string[]): Promise<string>
  /** How often each command was run since the server started, or since CONFIG RESETSTAT. */
  commands(): Promise<Readonly<Record<string, number>>>
  pids(): number[]
  cpuMs(): number
  /** Stops and goes on, as a machine that hangs: connections stay, nothing is answered. */
  freeze(): void
  thaw(): void
  /** Ends it at once; what it held is gone. */
  kill(): Promise<void>
  /** Starts it again on its port, empty. */
  restart(): Promise<void>
  stop(): Promise<void>
}

export interface RedisServerOptions {
  /** On top of what it is started with, as in redis.conf: `['maxmemory 10mb']`. */
  readonly config?: readonly string[]
  /** Of `call`, where the server wants one. */
  readonly login?: RedisLogin
  /** PEM. The server then speaks TLS only. */
  readonly tls?: { readonly cert: string; readonly key: string }
  readonly sentinel?: boolean
}

/** Starts a server that keeps nothing on disk, and resolves when it answers. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  for (let attempt = 1; ; attempt++) {
    const [port] = (await freePorts(1)) as [number]
    try {
      return await startOn(port, options)
    } catch (error) {
      if (attempt === 3 || !/Address already in use/.test((error as Error).message)) throw error
    }
  }
}

async function startOn(port: number, options: RedisServerOptions): Promise<RedisServer> {
  const { config = [], login, tls, sentinel = false } = options
  const access = { port, isTls: tls !== undefined, ...(login && { login }) }
  const launch = async (): Promise<Server> => {
    const directory = mkdtempSync(join(tmpdir(), 'redis-'))
    const lines = ['bind 127.0.0.1', 'daemonize no', `dir ${directory}`]
    if (!sentinel) lines.push('save ""', 'appendonly no')
    if (tls === undefined) lines.push(`port ${port}`)
    else {
      writeFileSync(join(directory, 'cert.pem'), tls.cert)
      writeFileSync(join(directory, 'key.pem'), tls.key, { mode: 0o600 })
      lines.push('port 0', `tls-port ${port}`, 'tls-cert-file cert.pem', 'tls-key-file key.pem', 'tls-auth-clients no')
    }
    writeFileSync(join(directory, 'redis.conf'), `${[...lines, ...config].join('\n')}\n`)
    const server = startServer('redis-server', ['redis.conf', ...(sentinel ? ['--sentinel'] : [])], directory)
    try {
      await waitUntil(
        async () => {
          if (!server.running()) throw new Error(`redis-server has ended: ${server.output()}`)
          // A user who may do little is told so only when it is known.
          return callRedis(access, ['ping']).then(
            () => true as const,
            ({ message }: Error) => (/NOPERM/.test(message) ? true : undefined),
          )
        },
        5_000,
        () => `Redis does not answer: ${server.output()}`,
      )
    } catch (error) {
      await server.stop()
      throw error
    }
    return server
  }

  let server = await launch()
  const call = (...command: readonly string[]): Promise<string> => callRedis(access, command)
  const kill = async (): Promise<void> => {
    server.signal('SIGKILL')
    await server.stop()
  }
  return {
    port,
    call,
    async commands() {
      const rows = (await call('info', 'commandstats')).matchAll(/^cmdstat_(\S+?):calls=(\d+)/gm)
      return Object.fromEntries([...rows].map(([, name, calls]) => [name as string, Number(calls)]))
    },
    pids: () => server.pids(),
    cpuMs: () => server.cpuMs(),
    freeze: () => server.signal('SIGSTOP'),
    thaw: () => server.signal('SIGCONT'),
    kill,
    async restart() {
      // It may have ended by itself.
      await kill()
      server = await launch()
    },
    async stop() {
      server.signal('SIGCONT')
      await server.stop()
    },
  }
}

export interface SentinelSet {
  /** For REDIS_URL. */
  readonly url: string
  readonly servers: readonly RedisServer[]
  /** The server that the Sentinels call the master now. */
  master(): Promise<RedisServer>
  stop(): Promise<void>
}

/** A master with one replica, watched by three Sentinels who take it for dead after half a second. */
export async function startSentinelSet(): Promise<SentinelSet> {
  const started: RedisServer[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((each) => each.stop()))
  }
  try {
    const atOnce = 'repl-diskless-sync-delay 0'
    const master = await startRedis({ config: [atOnce] })
    started.push(master)
    const replica = await startRedis({ config: [`replicaof 127.0.0.1 ${master.port}`, atOnce] })
    started.push(replica)
    // Sentinels ask the master for its replicas at once, and then every ten seconds.
    await waitUntil(
      async () => (/slave0:.*state=online/.test(await master.call('info', 'replication')) ? true : undefined),
      10_000,
      () => 'the replica does not find its master',
    )
    const config = [
      `sentinel monitor mymaster 127.0.0.1 ${master.port} 2`,
      'sentinel down-after-milliseconds mymaster 500',
      // Where their votes were split they try again after twice this.
      'sentinel failover-timeout mymaster 1000',
    ]
    const sentinels = await Promise.all([1, 2, 3].map(() => startRedis({ sentinel: true, config })))
    started.push(...sentinels)
    const [first] = sentinels as [RedisServer]
    await waitUntil(
      async () => {
        const told = (await Promise.all(sentinels.map((each) => each.call('sentinel', 'master', 'mymaster')))).map(
          (text) => /num-slaves\n1\nnum-other-sentinels\n2\n/.test(text),
        )
        return told.every(Boolean) ? true : undefined
      },
      10_000,
      () => 'the Sentinels do not know each other and the replica',
    )
    const servers = [master, replica]
    return {
      url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/mymaster`,
      servers,
      async master() {
        const told = await first.call('sentinel', 'get-master-addr-by-name', 'mymaster')
        const port = Number(told.split('\n')[1])
        return servers.find((each) => each.port === port) as RedisServer
      },
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

export interface RedisCluster {
  /** For REDIS_URL. */
  readonly url: string
  /** Each has a third of the slots. */
  readonly masters: readonly RedisServer[]
  stop(): Promise<void>
}

const SLOTS = 16_384

/** Three masters without replicas. `config` as for startRedis, e.g. `cluster-require-full-coverage no`. */
export async function startRedisCluster(config: readonly string[] = []): Promise<RedisCluster> {
  const masters: RedisServer[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(masters.map((each) => each.stop()))
  }
  try {
    const buses = await freePorts(3)
    const started = await Promise.allSettled(
      buses.map((bus) =>
        startRedis({ config: ['cluster-enabled yes', `cluster-port ${bus}`, 'cluster-node-timeout 500', ...config] }),
      ),
    )
    for (const each of started) if (each.status === 'fulfilled') masters.push(each.value)
    for (const each of started) if (each.status === 'rejected') throw each.reason
    const third = Math.ceil(SLOTS / 3)
    const [first, ...others] = masters as [RedisServer, RedisServer, RedisServer]
    await Promise.all(
      masters.map((each, index) => {
        const last = Math.min(SLOTS, (index + 1) * third) - 1
        return each.call('cluster', 'addslotsrange', String(index * third), String(last))
      }),
    )
    for (const [index, each] of others.entries()) {
      await first.call('cluster', 'meet', '127.0.0.1', String(each.port), String(buses[index + 1]))
    }
    await waitUntil(
      async () => {
        const told = await Promise.all(masters.map((each) => each.call('cluster', 'info')))
        return told.every((text) => /cluster_state:ok[\s\S]*cluster_known_nodes:3/.test(text)) ? true : undefined
      },
      10_000,
      () => 'the cluster does not come together',
    )
    return { url: `redis+cluster://${masters.map(({ port }) => `127.0.0.1:${port}`).join(',')}`, masters, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
