/**
 * Plays one fault against the whole app, with scripted upstreams that take XCLIENT, and tells what everybody saw of it:
 * the client, the upstream, the counters. What they should see stands in faults-client.ts and faults-upstream.ts.
 */
import { eventually, startApp, type TestApp, turn } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import type { UpstreamConnection } from '../support/upstream.ts'
import { HEAD, Scene, strike } from './faults-scene.ts'
import type { Cell, Fault, Seen, Step } from './faults-table.ts'
import { SHORT_BLOCK_MS, Wait } from './faults-waits.ts'

const COMMANDS: readonly (readonly [Step, string])[] = [
  ['EHLO', 'EHLO client.example'],
  ['MAIL', 'MAIL FROM:<a@sender.example>'],
  ['first RCPT', 'RCPT TO:<anna@example.test>'],
  ['second RCPT', 'RCPT TO:<otto@example.test>'],
  ['DATA', 'DATA'],
]
const TAIL = 'lf, and this the second\r\n'
/** More than what all buffers on the way hold of an upstream that does not read. */
const LARGE = `${'x'.repeat(998)}\r\n`.repeat(9000)

/** `250 2.1.5` of `250 2.1.5 Ok`; the code alone where none stands behind it. */
const codeOf = (reply: string): string =>
  /^[0-9]{3}(?: [245]\.[0-9]+\.[0-9]+)?/.exec(reply.replace(/^(...)-/, '$1 '))?.[0] ?? reply

/** Every reply from now on until the server closes, and how it closes. */
async function listen(client: Client): Promise<string> {
  const text = await client.closed()
  const replies = text.split('\r\n').filter((line) => /^[0-9]{3}( |$)/.test(line))
  return [...replies.map(codeOf), client.wasReset ? 'reset' : 'close'].join(', ')
}

const verbsOf = ({ lines }: UpstreamConnection): string =>
  lines.map((line) => line.slice(0, line.indexOf(' ') < 0 ? undefined : line.indexOf(' '))).join(' ')

const messageOf = ({ bodies, partial }: UpstreamConnection): Seen['message'] =>
  bodies.length > 0 ? 'complete' : partial.length > 0 ? 'truncated' : 'none'

/** Waits until the upstream has so many octets of the body. */
const untilPartial = (scene: Scene, octets: number): Promise<unknown> =>
  eventually(
    () => scene.mailed()?.partial.length ?? 0,
    (length) => length >= octets,
  )

/** The client's steps at which an upstream's reply is held back. */
const AWAITS_UPSTREAM: readonly Step[] = ['XCLIENT', 'first RCPT', 'second RCPT', 'DATA']

async function playClient(cell: Cell, app: TestApp, scene: Scene, wait: Wait): Promise<Heard> {
  const { step } = cell
  const fault = cell.fault as Fault
  const client = await app.client()
  await walk(client, step, app, scene)
  strike(fault, client.socket)
  // The reply to a step is given only when this has been seen, so that it is not what ends it.
  if (fault === 'reset' && AWAITS_UPSTREAM.includes(step)) await free(app, 0)
  if (fault === 'reset' && step === 'while the upstream does not read') await free(app, 0, SHORT_BLOCK_MS - 500)
  if (fault !== 'stall' && step === 'between dot and reply') await free(app, 1)
  scene.release()
  const [hears] = await Promise.all([
    fault === 'close' || fault === 'reset' ? '' : listen(client),
    fault === 'stall' ? endSilence(client, app, wait) : undefined,
  ])
  await free(app, 0)
  return { hears, counted: await counted(app) }
}

/** Until the server closes: it may still be busy with what the client said last, and begin to wait anew. */
async function endSilence(client: Client, app: TestApp, wait: Wait): Promise<void> {
  while (!client.socket.destroyed) {
    await turn(app)
    wait.end()
  }
}

/** Waits until no seat is taken, and so many slots. */
const free = (app: TestApp, slots: number, ms?: number): Promise<unknown> =>
  eventually(
    () => app.running.status(),
    (now) =>
      now.connectionsOpen === 0 && now.upstreams.reduce((sum, { connections }) => sum + connections, 0) === slots,
    ms,
  )

/** Talks up to a step: as far as the command was sent and the upstream, where it is asked, has heard it. */
async function walk(client: Client, step: Step, app: TestApp, scene: Scene): Promise<void> {
  if (step === 'connect') return
  await client.reply()
  if (step === 'greeting') return
  for (const [name, line] of COMMANDS) {
    client.write(`${line}\r\n`)
    // The first recipient brings it about.
    const isDue = step === name || (step === 'XCLIENT' && name === 'first RCPT')
    if (isDue && (name === 'EHLO' || name === 'MAIL')) return
    if (isDue) {
      const awaited = step === 'XCLIENT' ? step : line
      await eventually(
        () => scene.connections().some(({ lines }) => lines.some((heard) => heard.startsWith(awaited))),
        (heard) => heard,
      )
      return
    }
    await client.reply()
  }
  client.write(HEAD)
  await untilPartial(scene, HEAD.length)
  if (step === 'middle of the body') return
  if (step === 'while the upstream does not read') {
    await block(client, app, scene)
    return
  }
  client.write(TAIL)
  await untilPartial(scene, HEAD.length + TAIL.length - 2)
  if (step === 'before the dot') return
  client.write('.\r\n')
  await eventually(
    () => scene.complete(),
    (count) => count === 1,
  )
  if (step === 'between dot and reply') return
  await client.reply()
}

/** Sends to an upstream that does not read, until nothing moves any more. */
async function block(client: Client, app: TestApp, scene: Scene): Promise<void> {
  scene.mailed()?.socket.pause()
  client.write(LARGE)
  for (let before = -1; before !== client.socket.writableLength; await turn(app)) before = client.socket.writableLength
}

interface Heard {
  readonly hears: string
  readonly counted: string
}

async function playUpstream(cell: Cell, app: TestApp, scene: Scene, wait: Wait): Promise<Heard> {
  const { step, fault } = cell
  const isInside = step === 'middle of the body' || step === 'while the upstream does not read'
  const [heard] = await Promise.all([
    talk(cell, app, scene, isInside),
    fault === 'stall' && !isInside ? endStall(scene, app, wait) : undefined,
  ])
  await free(app, 0)
  return heard
}

/** A whole message, whatever the upstream does, then another in the same session. */
async function talk({ step, fault }: Cell, app: TestApp, scene: Scene, isInside: boolean): Promise<Heard> {
  const client = await app.client()
  await client.hello()
  const heard: string[] = []
  for (const [, line] of COMMANDS.slice(1)) {
    const reply = codeOf(await client.command(line))
    if (/^[45]/.test(reply)) heard.push(reply)
  }
  if (heard.length === 0) {
    client.write(HEAD)
    if (isInside) await untilPartial(scene, HEAD.length)
    if (step === 'while the upstream does not read') await block(client, app, scene)
    if (isInside) await scene.strikeNow(app)
    client.write(step === 'middle of the body' && fault === 'stall' ? LARGE : TAIL)
    if (step === 'before the dot') {
      await untilPartial(scene, HEAD.length + TAIL.length - 2)
      await scene.strikeNow(app)
    }
    client.write('.\r\n')
    // That it has left is no matter of patience.
    heard.push(codeOf(await client.reply(isInside && fault !== 'stall' ? SHORT_BLOCK_MS - 500 : undefined)))
    if (step === 'after the reply') await scene.strikeNow(app)
  }
  const result = { hears: heard.join(', '), counted: await counted(app) }
  await scene.mend()
  await client.command('RSET')
  await well(client, 'the session')
  client.end()
  await client.closed()
  return result
}

/** Once the struck upstream is waited for. */
async function endStall(scene: Scene, app: TestApp, wait: Wait): Promise<void> {
  await eventually(
    () => scene.isStriking && wait.isOn,
    (stalls) => stalls,
  )
  await turn(app)
  wait.end()
}

/** Mail goes on. */
async function well(client: Client, whose: string): Promise<void> {
  const reply = await client.send('a@sender.example', 'emma@example.test')
  if (!reply.startsWith('250')) throw new Error(`${whose} does not go on: ${reply}`)
}

/** One metric as it is scraped. */
const scraped = (app: TestApp, name: string): Promise<string> =>
  app.running.metrics.registry.getSingleMetricAsString(name)

/** Messages by result, each as often as it was counted. */
async function counted(app: TestApp): Promise<string> {
  const cells = async (name: string): Promise<string[]> =>
    [...(await scraped(app, name)).matchAll(/result="(\w+)".*\} ([0-9]+)$/gm)].flatMap(([, result = '', count]) =>
      Array.from({ length: Number(count) }, () => result),
    )
  const left = await cells('spillway_messages_client_left_total')
  return [...(await cells('spillway_messages_total')), ...left.map((result) => `client left: ${result}`)].join(', ')
}

/** Seats and slots that are taken. */
async function held(app: TestApp): Promise<number> {
  const gauges = await Promise.all(
    ['spillway_connections_open', 'spillway_upstream_connections_open'].map((name) => scraped(app, name)),
  )
  return [...gauges.join('\n').matchAll(/\} ([0-9]+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0)
}

const failedConnects = async (app: TestApp): Promise<boolean> =>
  /result="(failed|timeout)"\} [1-9]/.test(await scraped(app, 'spillway_upstream_connects_total'))

/** @throws where anything is left behind, or mail does not go on */
export async function play(cell: Cell): Promise<Seen> {
  const scene = new Scene(cell)
  const wait = new Wait(cell)
  await scene.start()
  const app = await startApp(
    scene.all.map(({ address }) => address).join(','),
    {
      UPSTREAM_CLIENT_IP: 'xclient',
      UPSTREAM_HEALTH_INTERVAL: '1h',
      DNS_SERVERS: '127.0.0.1:1',
      SHUTDOWN_TIMEOUT: '1s',
    },
    (settings) => ({ ...settings, ...wait.settings }),
  )
  try {
    // The start waits for one of them, and not for long.
    await eventually(
      () => app.running.status().upstreams.every(({ up }) => up),
      (all) => all,
    )
    await scene.arm()
    const heard = await (cell.side === 'client' ? playClient : playUpstream)(cell, app, scene, wait)
    if ((await held(app)) !== 0) throw new Error('a gauge is not back at 0')
    if (cell.side === 'upstream' && scene.struck === undefined && !(await failedConnects(app))) {
      throw new Error('the fault has struck nobody')
    }
    // Of the client's faults: its own connection to the upstream, if it came so far.
    const struck = scene.struck ?? (cell.side === 'client' ? scene.connections()[0] : undefined)
    const other = await app.client()
    await other.hello()
    await well(other, 'the next client')
    return {
      ...heard,
      saw: struck === undefined ? '' : verbsOf(struck),
      message: struck === undefined ? 'none' : messageOf(struck),
      delivered: scene.complete(),
    }
  } finally {
    await app.stop()
    await scene.stop()
  }
}
