/** Spillway in one of the ways it can be set up, in front of a target. */
import { getDefaultHighWaterMark, setDefaultHighWaterMark } from 'node:stream'
import { eventually, startApp, type TestApp } from '../support/app.ts'
import type { Target } from './target.ts'

export interface Variant {
  readonly bareNewline: 'normalize' | 'reject'
  readonly clientIp: 'none' | 'received' | 'xclient' | 'proxy-v2'
  /** How much may wait in a connection's buffer before whoever writes to it is told to wait, in octets. */
  readonly highWaterMark: number
}

export const nameOf = ({ bareNewline, clientIp, highWaterMark }: Variant): string =>
  `${bareNewline}/${clientIp}/${highWaterMark}`
const USUAL_MARK = getDefaultHighWaterMark(false)
const HIGH_WATER_MARKS = [1024, 1, USUAL_MARK] as const

/** All there are for a target, those that normalize twice: in an order in which the first few are of all sorts. */
export function variantsOf({ listeners }: Target): Variant[] {
  const ways = (['none', 'received', 'xclient', 'proxy-v2'] as const).filter((way) => listeners[way] !== undefined)
  const odd = (index: number): boolean => index % 2 === 1
  const even = (index: number): boolean => index % 2 === 0
  const never = (): boolean => false
  return [odd, even, never].flatMap((rejects, pass) =>
    ways.map((clientIp, index) => ({
      bareNewline: rejects(index) ? 'reject' : 'normalize',
      clientIp,
      highWaterMark: HIGH_WATER_MARKS[(index + pass) % HIGH_WATER_MARKS.length] as number,
    })),
  )
}

/** What became of messages, as the metrics or the log have it. */
export type Results = Readonly<Record<'accepted' | 'deferred' | 'rejected' | 'aborted' | 'unknown', number>>

export interface SessionLine {
  readonly messages: readonly { readonly result: keyof Results; readonly reply: string; readonly size: number }[]
  readonly messageCount: number
}

export interface Stage {
  readonly target: Target
  readonly variant: Variant
  readonly port: number
  readonly connectionsOpen: () => number
  /** The lines of sessions that ended, waited for until there are `count` of them since the last time. */
  sessions(count: number): Promise<SessionLine[]>
  /** Since the last time. */
  results(): Promise<Results>
  /** Log lines since the last time that tell of a fault of Spillway itself. */
  faults(): string[]
  /** Ends it; says what gauges did not come back to 0. */
  stop(): Promise<string[]>
  /** Ends it as it is. */
  abort(): Promise<void>
}

const NO_LIMITS = Object.fromEntries(
  [
    'IP_CONNECTIONS',
    'IP_CONCURRENCY',
    'NET_CONNECTIONS',
    'IP_MESSAGES',
    'IP_RECIPIENTS',
    'IP_UNKNOWN_RECIPIENTS',
    'NET_UNKNOWN_RECIPIENTS',
  ].map((name) => [`LIMIT_${name}`, 'off']),
)
const RESULTS = ['accepted', 'deferred', 'rejected', 'aborted', 'unknown'] as const
/** A connection that may serve another client is kept for some seconds. */
const KEPT_MS = 15_000
const ERROR = 50

export async function startStage(target: Target, variant: Variant): Promise<Stage> {
  const address = target.listeners[variant.clientIp]
  if (address === undefined) throw new Error(`${target.name} cannot be reached by ${variant.clientIp}`)
  setDefaultHighWaterMark(false, variant.highWaterMark)
  const app: TestApp = await startApp(address, {
    ...NO_LIMITS,
    UPSTREAM_CLIENT_IP: variant.clientIp,
    BARE_NEWLINE: variant.bareNewline,
    UPSTREAM_HEALTH_INTERVAL: '2s',
    LOG_SAMPLE: '1',
    // Nobody answers there: names of clients are not what this is about.
    DNS_SERVERS: '127.0.0.1:9',
    UPSTREAM_TLS: 'off',
  })
  let told = 0
  let faulty = 0
  let before = await read(app)
  const log = (): Record<string, unknown>[] => {
    try {
      return app.log()
    } catch (error) {
      // The last line is still being written.
      if (error instanceof SyntaxError) return []
      throw error
    }
  }
  const lines = (): SessionLine[] =>
    log()
      .filter(({ msg }) => msg === 'session')
      .map(({ messages = [], messageCount = 0 }) => ({ messages, messageCount }) as SessionLine)
  const end = async (): Promise<void> => {
    await app.stop()
    setDefaultHighWaterMark(false, USUAL_MARK)
  }
  return {
    target,
    variant,
    port: app.port,
    connectionsOpen: () => app.running.status().connectionsOpen,
    async sessions(count) {
      const all = await eventually(lines, (found) => found.length >= told + count, 20_000)
      const found = all.slice(told)
      told = all.length
      return found
    },
    async results() {
      const now = await read(app)
      const since = Object.fromEntries(RESULTS.map((name) => [name, now[name] - before[name]]))
      before = now
      return since as Results
    },
    faults() {
      const all = log().filter(({ level }) => Number(level) >= ERROR)
      const found = all.slice(faulty).map((line) => JSON.stringify(line))
      faulty = all.length
      return found
    },
    async stop() {
      const gauges = [
        'spillway_connections_open{family="ipv4"}',
        `spillway_upstream_connections_open{upstream="${address}"}`,
      ]
      const left: string[] = []
      for (const gauge of gauges) {
        const value = await eventually(
          () => app.metric(gauge),
          (found) => found === 0,
          KEPT_MS,
        ).catch((error: Error) => error.message)
        if (value !== 0) left.push(`${gauge}: ${value}`)
      }
      if (left.length > 0) await app.running.abort()
      await end()
      return left
    },
    async abort() {
      await app.running.abort()
      await end()
    },
  }
}

/** Sums over the label that says what is known of a client. */
async function read(app: TestApp): Promise<Results> {
  const { body } = await app.get('/metrics')
  const sums: Record<string, number> = Object.fromEntries(RESULTS.map((name) => [name, 0]))
  for (const [, result, value] of body.matchAll(/^spillway_messages_total\{result="(\w+)"[^}]*\} (\d+)$/gm)) {
    sums[result as string] = (sums[result as string] ?? 0) + Number(value)
  }
  return sums as unknown as Results
}
