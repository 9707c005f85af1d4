// What a reload costs those who wait for a reply: the longest wait for a greeting in windows with a reload of a
// deny list of 100,000 networks, and in windows without one, in turn, while messages are relayed and others are refused.
//
//     npm run build && npm run bench:reload

import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startSink } from '../test/services/sink.ts'
import { alternate, judged, median, table } from './measure.ts'
import { AS_OPERATOR, atEnd, benchmark, need, rounds, type Spillway, startLoad, startSpillway } from './processes.ts'
import { WIDE_LIMITS } from './turn.ts'

const EVERY_MS = 4
/** Longer than it takes to read the list. */
const WINDOW_MS = 3000
const MOST_MS = 25
const NETWORKS = 100_000
const MESSAGES = { kind: 'mail', perSecond: 100, size: 4096, sources: { first: '127.64.0.1', count: 256 } } as const
const VISITS = { kind: 'arrivals', perSecond: 300, sources: { first: '127.16.0.0', count: 4096 } } as const

/** Clients that want to be greeted, one after the other. */
class Visitors {
  #longest = 0
  readonly #port: number
  readonly #open = new Map<Socket, number>()

  constructor(port: number) {
    this.#port = port
  }

  visit(): void {
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true })
    const since = performance.now()
    this.#open.set(socket, since)
    socket.once('data', () => {
      this.#longest = Math.max(this.#longest, performance.now() - since)
      this.#open.delete(socket)
      socket.end('QUIT\r\n')
    })
  }

  /** The longest wait in ms; of who still waits, until now. */
  longest(): number {
    return Math.max(this.#longest, ...[...this.#open.values()].map((since) => performance.now() - since))
  }
}

await benchmark(async () => {
  need({ postfix: false })
  const sink = await startSink()
  atEnd(() => sink.stop())
  const folder = mkdtempSync(join(tmpdir(), 'spillway-bench-reload-'))
  atEnd(() => rmSync(folder, { recursive: true }))
  const list = join(folder, 'deny')
  const networks = Array.from(
    { length: NETWORKS },
    (_, i) => `${11 + (i % 100)}.${(i >> 8) & 255}.${i & 255}.${(i * 7) & 255}`,
  )
  writeFileSync(list, `127.16.0.0/12\n${networks.join('\n')}\n`)
  const start = (workers: number) =>
    startSpillway({
      ...{ ...WIDE_LIMITS, UPSTREAMS: `127.0.0.1:${sink.port}`, UPSTREAM_CLIENT_IP: 'none', RELAY_GUARD: 'off' },
      ...{ DENY: `@${list}`, WORKERS: workers },
    })
  const [one, two] = [await start(1), await start(2)]
  const load = startLoad()
  const flood = startLoad()
  let changes = 0
  const reload = async ({ admin }: Spillway): Promise<void> => {
    appendFileSync(list, `198.51.100.${changes++ % 250}\n`)
    const response = await fetch(`http://127.0.0.1:${admin}/api/v1/reload`, { method: 'POST', headers: AS_OPERATOR })
    if (response.status !== 200) throw new Error(`the reload has failed: ${await response.text()}`)
  }
  const window = (node: Spillway, isReloaded: boolean) => async () => {
    const seconds = WINDOW_MS / 1000
    const busy = Promise.all([
      load.order({ ...MESSAGES, port: node.port, count: MESSAGES.perSecond * seconds }),
      flood.order({ ...VISITS, ports: [node.port], count: VISITS.perSecond * seconds }),
    ])
    await sleep(200)
    const visitors = new Visitors(node.port)
    const timer = setInterval(() => visitors.visit(), EVERY_MS)
    const done = isReloaded ? reload(node) : Promise.resolve()
    await sleep(WINDOW_MS - 500)
    await done
    clearInterval(timer)
    const longest = visitors.longest()
    await busy
    return longest
  }
  const results = await alternate(
    {
      without: window(one, false),
      with: window(one, true),
      withoutTwo: window(two, false),
      withTwo: window(two, true),
    },
    rounds(),
  )
  const ms = (values: readonly number[]) =>
    `${median(values).toFixed(1)} ms (at most ${Math.max(...values).toFixed(1)} ms)`
  const row = (name: string, without: readonly number[], reloaded: readonly number[]) => {
    const cost = reloaded.map((each, i) => each - (without[i] as number))
    return [name, ms(without), ms(reloaded), judged(median(cost), { atMost: MOST_MS }, 1, ' ms')]
  }
  console.log(
    table(
      ['longest wait for a greeting', 'without a reload', 'with a reload of 100,000 networks', 'the reload costs'],
      [row('one process', results.without, results.with), row('two workers', results.withoutTwo, results.withTwo)],
    ),
  )
})
