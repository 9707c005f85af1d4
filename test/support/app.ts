/** Starts the app that the program starts, from environment-like settings, on ports of its own. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Running, start } from '../../src/app.ts'
import { load, type Sources } from '../../src/config/load.ts'
import { type ReloadReport, readingWith, rereadOf } from '../../src/config/reload.ts'
import type { Settings } from '../../src/config/settings.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { type Client, connectClient } from './client.ts'
import { removeFolder, temporaryFolder } from './folders.ts'
import { OF_PROCESS } from './of-process.ts'

export interface TestApp {
  readonly running: Running
  readonly port: number
  readonly adminPort: number
  /** Connects a client; `from`: its source address. */
  client(from?: string): Promise<Client>
  /** Connects as any client there is, by a PROXY header from BALANCER; needs PROXY_PROTOCOL_FROM to list that. */
  clientAs(ip: string): Promise<Client>
  /** Those that were connected so far. */
  readonly clients: readonly Client[]
  /** Lines of the log so far, parsed. */
  log(): Record<string, unknown>[]
  /** The same as it stands in the file. */
  logText(): string
  /** The first line that fits, waited for. */
  waitForLog(fits: (line: Record<string, unknown>) => boolean, ms?: number): Promise<Record<string, unknown>>
  get(path: string): Promise<{ status: number; body: string }>
  /** Value of one series, by name and labels as Prometheus prints them; undefined where there is none. */
  metric(series: string): Promise<number | undefined>
  /** Of all standings together: clients of one test may have sent mail before. @param labels as Prometheus prints them, without `standing` */
  ofAnybody(name: string, labels: string): Promise<number>
  /** Reloads, as if the operator had changed the settings to these. */
  reload(settings: Record<string, string>): Promise<ReloadReport>
  stop(): Promise<void>
  /** Stops it. @returns the lines of the log, to the last one */
  ended(): Promise<Record<string, unknown>[]>
}

/** What changes something over the admin port needs a token: these settings have one, and a request with these fields has it too. */
export const WITH_TOKEN = { ADMIN_TOKEN: 'the-token-of-the-operator' } as const
export const AS_OPERATOR = { Authorization: `Bearer ${WITH_TOKEN.ADMIN_TOKEN}` } as const

/** Where balancers of these tests connect from. */
export const BALANCER = '127.0.0.9'

/**
 * Waits for a condition with a deadline; for what cannot be waited for by an event. Deadlines here are there for what is
 * broken: they are long enough for a machine that stands still for some seconds.
 */
export async function eventually<T>(read: () => T | Promise<T>, fits: (value: T) => boolean, ms = 20_000): Promise<T> {
  const deadline = performance.now() + ms
  for (let pause = 5; ; ) {
    const begun = performance.now()
    const value = await read()
    if (fits(value)) return value
    const now = performance.now()
    if (now > deadline) throw new Error(`not in ${ms} ms; last: ${JSON.stringify(value)}`)
    // What is dear to look at (a scrape, say) is looked at less often: looking must not be what the machine is busy with.
    pause = Math.min(pause * 1.25, 50)
    await new Promise((resolve) => setTimeout(resolve, Math.max(pause, Math.min(4 * (now - begun), 100))))
  }
}

/** App and test are one process: what the kernel held for either before these has been read behind them. */
export async function turn(app: TestApp): Promise<void> {
  for (let i = 0; i < 2; i++) await app.get('/livez')
}

/**
 * @param upstreams `host:port,…`
 * @param settings by their names, with or without the prefix
 */
export const testSettings = (upstreams: string, settings: Record<string, string> = {}): Settings =>
  load(testSources(upstreams, settings)).settings

/** What the settings are read from. */
export function testSources(upstreams: string, settings: Record<string, string> = {}): Sources {
  const env: Record<string, string> = {
    SPILLWAY_UPSTREAMS: upstreams,
    SPILLWAY_UPSTREAM_CLIENT_IP: 'none',
    SPILLWAY_RELAY_GUARD: 'off',
    // There is no DNS that knows the clients of tests.
    SPILLWAY_HISTORY_DOMAINS: 'off',
    SPILLWAY_LISTEN: '127.0.0.1:0',
    SPILLWAY_ADMIN_LISTEN: '127.0.0.1:0',
    SPILLWAY_HOSTNAME: 'mx.test.example',
    SPILLWAY_UPSTREAM_HEALTH_INTERVAL: '250ms',
    SPILLWAY_MAX_CONNECTIONS: '2000',
    // Clients and mail servers of a test are in the same process, and a machine that runs many tests is slow: what a test sees
    // must not depend on that. Tests of the level, and the honest day, have it as it is shipped.
    SPILLWAY_OVERLOAD: 'off',
  }
  for (const [name, value] of Object.entries(settings)) {
    env[name.startsWith('SPILLWAY_') ? name : `SPILLWAY_${name}`] = value
  }
  return { env, readFile: (path) => readFileSync(path, 'utf8'), hostname: 'test.example', openFiles: 20_000 }
}

/**
 * @param upstreams @param settings as for testSettings()
 * @param change for what no operator may set, such as timeouts that a test cannot wait for
 */
export async function startApp(
  upstreams: string,
  settings: Record<string, string> = {},
  change: (settings: Settings) => Settings = (same) => same,
): Promise<TestApp> {
  const directory = temporaryFolder('spillway-test')
  const logFile = join(directory, 'log')
  const loaded = testSettings(upstreams, settings)
  const log = createLog({ level: loaded.logLevel, destination: logFile })
  let sources = testSources(upstreams, settings)
  const running = await start({
    // A test process has hundreds of apps, and the garbage collector counts their tables.
    room: 1 << 12,
    ofProcess: OF_PROCESS,
    ...{
      reading: readingWith({ settings: change(loaded), warnings: [] }, (path) => readFileSync(path, 'utf8')),
      version: '0.0.0-test',
      log,
      machine: 'test',
    },
    reread: async () => rereadOf(sources),
  })
  // It is opened by another thread, which on a busy machine may come to it only when a test looks already.
  await eventually(() => existsSync(logFile), Boolean)
  const port = running.listening[0]?.port as number
  const adminPort = running.admin?.port as number

  const logText = (): string => {
    log.flush()
    try {
      return readFileSync(logFile, 'utf8')
    } catch {
      // nothing was written yet
      return ''
    }
  }
  let parsed: Record<string, unknown>[] = []
  let parsedTo = 0
  const lines = (): Record<string, unknown>[] => {
    const text = logText()
    const whole = text.lastIndexOf('\n') + 1
    if (whole < parsedTo) [parsed, parsedTo] = [[], 0]
    for (const line of text.slice(parsedTo, whole).split('\n'))
      if (line !== '') parsed.push(JSON.parse(line) as Record<string, unknown>)
    parsedTo = whole
    return [...parsed]
  }
  const get = async (path: string): Promise<{ status: number; body: string }> => {
    const response = await fetch(`http://127.0.0.1:${adminPort}${path}`)
    return { status: response.status, body: await response.text() }
  }
  const clients: Client[] = []
  let last: Promise<Record<string, unknown>[]> | undefined
  const end = async (): Promise<Record<string, unknown>[]> => {
    for (const client of clients) client.destroy()
    await running.stop()
    const all = lines()
    removeFolder(directory)
    return all
  }
  const ended = (): Promise<Record<string, unknown>[]> => {
    last ??= end()
    return last
  }
  return {
    running,
    port,
    adminPort,
    clients,
    async client(from) {
      const client = await connectClient(port, from === undefined ? {} : { from })
      clients.push(client)
      return client
    },
    async clientAs(ip) {
      const client = await connectClient(port, { from: BALANCER })
      clients.push(client)
      const [family, own] = ip.includes(':') ? ['TCP6', '2001:db8:ffff::1'] : ['TCP4', '192.0.2.25']
      client.write(`PROXY ${family} ${ip} ${own} 40000 25\r\n`)
      return client
    },
    log: lines,
    logText,
    async waitForLog(fits, ms) {
      const found = await eventually(
        () => lines().find(fits),
        (line) => line !== undefined,
        ms,
      )
      return found as Record<string, unknown>
    },
    get,
    async metric(series) {
      const { body } = await get('/metrics')
      const line = body.split('\n').find((each) => each.startsWith(`${series} `))
      return line === undefined ? undefined : Number(line.slice(series.length + 1))
    },
    async ofAnybody(name, labels) {
      const { body } = await get('/metrics')
      const lines = body.split('\n').filter((each) => each.startsWith(`${name}{${labels},standing="`))
      return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
    },
    async reload(next) {
      sources = testSources(upstreams, next)
      return (await running.reload?.('the test')) as ReloadReport
    },
    async stop() {
      await ended()
    },
    ended,
  }
}
