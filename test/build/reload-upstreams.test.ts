/** A reload that adds and removes mail servers, on a running node: no message is lost by it, and none delivered twice. */
import { describe, expect, test } from '@jest/globals'
import { eventually, type TestApp, turn } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { stoppedAfterEach } from '../support/started.ts'
import type { Script, Upstream } from '../support/upstream.ts'

const { upstream, app } = stoppedAfterEach()
const listOf = (...servers: readonly Upstream[]): { UPSTREAMS: string } => ({
  UPSTREAMS: servers.map(({ address }) => address).join(),
})
interface Told {
  readonly upstream: string
  readonly state: string
  readonly up: boolean
  readonly connections: number
}
const told = async (node: TestApp): Promise<Told[]> => {
  const { body } = await node.get('/api/v1/status')
  return (JSON.parse(body) as { upstreams: Told[] }).upstreams
}
const stateOf = async (node: TestApp, { address }: Upstream): Promise<string | undefined> =>
  (await told(node)).find(({ upstream: label }) => label === address)?.state
const until = (node: TestApp, server: Upstream, state: string | undefined): Promise<unknown> =>
  eventually(
    () => stateOf(node, server),
    (now) => now === state,
  )
/** Lines of the metrics that name a server. */
const series = async (node: TestApp, { address }: Upstream): Promise<string[]> =>
  (await node.get('/metrics')).body.split('\n').filter((line) => line.includes(`upstream="${address}"`))
const greeted = async (node: TestApp): Promise<Client> => {
  const client = await node.client()
  await client.hello()
  return client
}
const send = (client: Client, subject: string): Promise<string> =>
  client.send('a@sender.example', 'anna@example.test', `Subject: ${subject}\r\n\r\nhello\r\n`)
/** A client whose 354 has come, with the first part of its text on the way. */
async function begin(node: TestApp, subject: string): Promise<Client> {
  const client = await greeted(node)
  for (const line of ['MAIL FROM:<a@sender.example>', 'RCPT TO:<anna@example.test>']) {
    expect(await client.command(line)).toMatch(/^250/)
  }
  expect(await client.command('DATA')).toMatch(/^354/)
  client.write(`Subject: ${subject}\r\n\r\nthe first part\r\n`)
  return client
}
const subjectsAt = (server: Upstream): string[] =>
  server.bodies().map((body) => /^Subject: (.*)\r\n/.exec(body.toString())?.[1] ?? 'none')

describe('one mail server is replaced by another', () => {
  test('under load: nothing is lost, refused or delivered twice, and what is under way goes on to its end', async () => {
    const [old, fresh] = [await upstream(), await upstream()]
    // As shipped: nothing here waits for the next round of health checks.
    const shipped = { UPSTREAM_HEALTH_INTERVAL: '5s' }
    const node = await app(old.address, shipped)
    const long = await begin(node, 'long')
    const replies: string[] = []
    const before: string[] = []
    const after: string[] = []
    let begunIn = before
    const load = async (who: number): Promise<void> => {
      for (let session = 0; after.length < 40; session++) {
        const client = await greeted(node)
        // Some sessions bring one message, others several over a connection that is parked meanwhile.
        for (let i = 0; i <= who; i++) {
          const subject = `${who}.${session}.${i}`
          begunIn.push(subject)
          replies.push(await send(client, subject))
        }
        client.end()
      }
    }
    const loads = [0, 1, 2, 3].map(load)
    await eventually(
      () => old.bodies().length,
      (count) => count > 40,
    )
    expect(await node.reload({ ...shipped, ...listOf(fresh) })).toMatchObject({
      result: 'ok',
      changed: [{ setting: 'SPILLWAY_UPSTREAMS' }],
    })
    begunIn = after
    await eventually(
      async () => (await told(node)).find(({ upstream: label }) => label === old.address)?.connections,
      (connections) => connections === 1,
    )
    const seen = old.connections.length
    await Promise.all(loads)
    expect([...new Set(replies)]).toEqual(['250 2.0.0 Ok: queued as SCRIPTED'])
    expect([...subjectsAt(old), ...subjectsAt(fresh)].sort()).toEqual([...before, ...after].sort())
    expect(after.filter((subject) => subjectsAt(old).includes(subject))).toEqual([])
    expect(await stateOf(node, old)).toBe('draining')
    expect(await series(node, old)).not.toEqual([])
    long.write('the last part\r\n.\r\n')
    expect(await long.reply()).toMatch(/^250/)
    expect(old.bodies().at(-1)?.toString()).toContain('the last part')
    await until(node, old, undefined)
    expect(await series(node, old)).toEqual([])
    expect(old.connections).toHaveLength(seen)
    await eventually(
      () => old.connections.every(({ closed }) => closed),
      (closed) => closed,
    )
    // Not even for the next message of a session that was there before.
    expect(await send(long, 'the next')).toMatch(/^250/)
    expect(subjectsAt(fresh)).toContain('the next')
  })

  test('while none is known to be up: clients wait for the new one to be checked, and no longer', async () => {
    let greet: (() => void) | undefined
    const old = await upstream()
    const fresh = await upstream({
      greeting: (connection) => {
        if (greet === undefined) greet = () => connection.say('220 at last')
        else connection.say('220 at once')
      },
    })
    const node = await app(old.address)
    await node.reload(listOf(fresh))
    expect(await stateOf(node, fresh)).toBe('unknown')
    const client = await greeted(node)
    const sent = send(client, 'waiting')
    await eventually(
      () => greet !== undefined,
      (isAsked) => isAsked,
    )
    await turn(node)
    expect(fresh.bodies()).toEqual([])
    greet?.()
    expect(await sent).toMatch(/^250/)
    expect(subjectsAt(fresh)).toEqual(['waiting'])
    expect(old.bodies()).toEqual([])
  })

  test('a server that would relay for strangers is not used, as at the start', async () => {
    const old = await upstream()
    const relays = await upstream({ extensions: ['PIPELINING', 'XCLIENT NAME ADDR'] })
    const guarded = { UPSTREAM_CLIENT_IP: 'xclient', RELAY_GUARD: 'on' }
    const refuses: Script = (verb, line) =>
      verb === 'RCPT' && line.includes('relay-test') ? '554 5.7.1 no' : 'default'
    old.script = refuses
    const node = await app(old.address, { ...guarded, UPSTREAM_CLIENT_IP: 'none' })
    expect(await stateOf(node, old)).toBe('up')
    await node.reload({ ...guarded, UPSTREAM_CLIENT_IP: 'none', ...listOf(old, relays) })
    await until(node, relays, 'down')
    expect(
      await node.waitForLog(({ msg }) => /^upstream not used: it takes mail for foreign/.test(String(msg))),
    ).toMatchObject({
      upstream: relays.address,
    })
    expect(await send(await greeted(node), 'one')).toMatch(/^250/)
    expect(subjectsAt(old)).toEqual(['one'])
  })

  test('idle and parked connections are closed at once', async () => {
    const [old, fresh] = [await upstream(), await upstream()]
    const node = await app(old.address)
    const [stays, leaves] = [await greeted(node), await greeted(node)]
    expect(await send(stays, 'one')).toMatch(/^250/)
    expect(await send(leaves, 'two')).toMatch(/^250/)
    expect(await leaves.command('QUIT')).toMatch(/^221/)
    await turn(node)
    expect((await told(node)).map(({ connections }) => connections)).toEqual([2])
    await node.reload(listOf(fresh))
    expect(await stateOf(node, old)).toBeUndefined()
    expect(await send(stays, 'three')).toMatch(/^250/)
    expect(subjectsAt(fresh)).toEqual(['three'])
  })

  test('a client that waits gets a slot at the new server', async () => {
    const [old, fresh] = [await upstream(), await upstream()]
    const node = await app(old.address, { UPSTREAM_MAX_CONNECTIONS: '1' })
    const holds = await begin(node, 'holds')
    const waits = await greeted(node)
    await waits.command('MAIL FROM:<a@sender.example>')
    waits.write('RCPT TO:<anna@example.test>\r\n')
    await turn(node)
    await node.reload({ UPSTREAM_MAX_CONNECTIONS: '1', ...listOf(fresh) })
    expect(await waits.reply()).toMatch(/^250/)
    expect(fresh.mailed()).toHaveLength(1)
    expect(old.mailed()).toHaveLength(1)
    holds.write('.\r\n')
    expect(await holds.reply()).toMatch(/^250/)
    await until(node, old, undefined)
  })
})

describe('a list that changes', () => {
  test('a server that stays keeps its counts and its connections, whatever the order', async () => {
    const [first, second, third] = [await upstream(), await upstream(), await upstream()]
    const node = await app(listOf(first, second).UPSTREAMS)
    const long = await begin(node, 'long')
    const [busy, other] = first.mailed().length > 0 ? [first, second] : [second, first]
    const accepted = (): Promise<number | undefined> =>
      node.metric(`spillway_upstream_connects_total{upstream="${busy.address}",result="ok"}`)
    expect(await accepted()).toBe(1)
    const checks = other.connections.length
    await node.reload(listOf(second, third, first))
    await until(node, third, 'up')
    expect((await told(node)).map(({ upstream: label }) => label)).toEqual(
      [second, third, first].map(({ address }) => address),
    )
    expect(await accepted()).toBe(1)
    expect((await told(node)).map(({ state }) => state)).toEqual(['up', 'up', 'up'])
    expect(other.connections.length).toBeGreaterThanOrEqual(checks)
    expect(await node.metric(`spillway_upstream_up{upstream="${third.address}"}`)).toBe(1)
    long.write('.\r\n')
    expect(await long.reply()).toMatch(/^250/)
    expect(node.log().filter(({ msg }) => /^upstream removed/.test(String(msg)))).toEqual([])
  })

  test('a server that is removed and added again while a message is under way is used again, and both connections count', async () => {
    const [server, other] = [await upstream(), await upstream()]
    const node = await app(server.address)
    const long = await begin(node, 'long')
    await node.reload(listOf(other))
    expect(await stateOf(node, server)).toBe('draining')
    expect(await node.metric(`spillway_upstream_up{upstream="${server.address}"}`)).toBeUndefined()
    await node.reload(listOf(server))
    await until(node, server, 'up')
    await until(node, other, undefined)
    expect((await told(node)).map(({ connections }) => connections)).toEqual([1])
    expect(await send(await greeted(node), 'again')).toMatch(/^250/)
    expect(subjectsAt(server)).toEqual(['again'])
    long.write('.\r\n')
    expect(await long.reply()).toMatch(/^250/)
    expect(subjectsAt(server)).toEqual(['again', 'long'])
    expect(await stateOf(node, server)).toBe('up')
  })

  test('a server that is removed in the middle of a health check is asked and told of no more', async () => {
    const slow = await upstream({ greeting: () => undefined })
    const other = await upstream()
    const node = await app(listOf(slow, other).UPSTREAMS)
    await eventually(
      () => slow.connections.length,
      (count) => count === 1,
    )
    await node.reload(listOf(other))
    await eventually(
      () => slow.connections.every(({ closed }) => closed),
      (closed) => closed,
    )
    expect(await stateOf(node, slow)).toBeUndefined()
    const lines = node.log().length
    const checks = other.connections.length
    await eventually(
      () => other.connections.length,
      (count) => count > checks + 2,
    )
    expect(slow.connections).toHaveLength(1)
    expect(node.log().slice(lines)).toEqual([])
  })

  test('the same server twice, or Spillway itself, leaves everything as it was', async () => {
    const server = await upstream()
    const taken = await upstream()
    await taken.stop()
    const node = await app(server.address, { LISTEN: taken.address })
    const twice = await node.reload({ UPSTREAMS: `${server.address},${server.address}` })
    expect(twice).toMatchObject({ result: 'failed', mistakes: [{ name: 'SPILLWAY_UPSTREAMS' }] })
    // Each value is right by itself: the loop is with the port that is in use until a restart.
    const loop = await node.reload({ ...listOf(taken), LISTEN: '127.0.0.1:2', DENY: '127.0.0.5' })
    expect(loop).toMatchObject({
      result: 'failed',
      changed: [],
      error: expect.stringMatching(/is Spillway itself until a restart/),
    })
    const denied = await node.client('127.0.0.5')
    await denied.hello()
    expect(await send(denied, 'one')).toMatch(/^250/)
    expect(subjectsAt(server)).toEqual(['one'])
  })
})
