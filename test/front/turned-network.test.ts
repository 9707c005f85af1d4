/** Known senders of one network that turn bad together, on the wire, with what is shipped: they are held as one of them. Honest networks are not. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { AddressExplained } from '../../src/admin/explain.ts'
import type { FrontOptions } from '../../src/build/front.ts'
import type { Client as SpillwayClient } from '../../src/core/client.ts'
import { BALANCER, eventually, type TestApp } from '../support/app.ts'
import type { Client } from '../support/client.ts'
import { startFront } from '../support/front.ts'
import { stoppedAfterEach } from '../support/started.ts'
import { startUpstream } from '../support/upstream.ts'

const DAY = 86_400_000
const MINUTE = 60_000
const SPAM = 'spam@bots.example'
const started = stoppedAfterEach()
let now = 0
beforeEach(() => {
  // In the middle of a window of the limits, so that none begins while a test runs.
  now = Math.floor(Date.now() / DAY) * DAY + 5 * MINUTE
  jest.spyOn(Date, 'now').mockImplementation(() => now)
})
afterEach(() => {
  jest.restoreAllMocks()
})

/** The mail server refuses what comes from SPAM, and knows nobody whose name begins with x. */
async function begin(): Promise<TestApp> {
  const upstream = await started.upstream({
    script: (verb, line, { lines }) => {
      if (verb === 'RCPT' && line.includes('<x')) return '550 5.1.1 User unknown'
      if (verb !== 'DOT') return 'default'
      return lines.findLast((each) => each.startsWith('MAIL'))?.includes(SPAM) ? '554 5.7.1 Spam' : 'default'
    },
  })
  return started.app(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER })
}

const address = (net: string, host: number): string => `${net}.${host}`
async function open(app: TestApp, ip: string): Promise<Client> {
  const client = await app.clientAs(ip)
  await client.hello()
  return client
}
async function send(app: TestApp, ip: string, from = 'a@example.org', times = 1): Promise<void> {
  const client = await open(app, ip)
  for (let i = 0; i < times; i++)
    expect(await client.send(from, 'b@example.net')).toMatch(from === SPAM ? /^554/ : /^250/)
  await client.command('QUIT')
  await client.closed()
  // What came of it is learnt by then.
  await eventually(
    () => app.running.status().connectionsOpen,
    (count) => count === 0,
  )
}
/** So many addresses of a network are known after a day. */
async function befriend(app: TestApp, net: string, count: number): Promise<void> {
  const hosts = Array.from({ length: count }, (_, i) => i + 1)
  for (const host of hosts) await send(app, address(net, host), 'a@example.org', 2)
  now += DAY
  for (const host of hosts) await send(app, address(net, host), 'a@example.org', 3)
  // Since then somebody is known by what happened a day ago.
  now += 60 * MINUTE
  expect((await explained(app, address(net, count))).standing).toMatchObject({ is: 'known', by: 'own_good_mail' })
}
const explained = async (app: TestApp, ip: string): Promise<AddressExplained> =>
  JSON.parse((await app.get(`/api/v1/explain?q=${ip}`)).body) as AddressExplained
const standingOf = async (app: TestApp, ip: string): Promise<string> => (await explained(app, ip)).standing.is
/** What each recipient hears. */
async function ask(client: Client, names: readonly string[]): Promise<string[]> {
  await client.command('MAIL FROM:<a@example.org>')
  const codes: string[] = []
  for (const name of names) codes.push((await client.command(`RCPT TO:<${name}@example.net>`)).slice(0, 9))
  await client.command('RSET')
  return codes
}

describe('a network whose known senders turn bad together', () => {
  test('is held as one of them after six messages, until that is minutes ago', async () => {
    const app = await begin()
    const net = '192.0.2'
    await befriend(app, net, 24)
    const early = await open(app, address(net, 24))
    const inBetween = await open(app, address(net, 23))
    await inBetween.command('MAIL FROM:<a@example.org>')
    expect(await inBetween.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
    for (let host = 1; host <= 5; host++) {
      const client = await open(app, address(net, host))
      expect(await client.send(SPAM, 'b@example.net')).toMatch(/^554/)
      await client.command('QUIT')
    }
    expect(await standingOf(app, address(net, 12))).toBe('known')
    const sixth = await open(app, address(net, 6))
    expect(await sixth.send(SPAM, 'b@example.net')).toMatch(/^554/)
    await eventually(
      () => standingOf(app, address(net, 12)),
      (standing) => standing === 'seen',
    )
    const { verdict, change } = await explained(app, address(net, 12))
    expect(verdict).toContain('its network has turned')
    expect(change.join(' ')).toContain('192.0.2.0/24 is held as one client')
    // Twenty unknown recipients are what one address may name, and here they are what all may name.
    for (let host = 7; host <= 11; host++) {
      const client = await open(app, address(net, host))
      const names = Array.from({ length: 4 }, (_, i) => `x${host}-${i}`)
      expect(await ask(client, names)).toEqual(names.map(() => '550 5.1.1'))
    }
    expect(await ask(await open(app, address(net, 20)), ['b'])).toEqual(['450 4.7.1'])
    // So does one that was known when it connected, from its next message on.
    expect(await ask(early, ['b'])).toEqual(['450 4.7.1'])
    // Nor is a message let in whose recipients were taken before. The session goes on.
    expect(await inBetween.command('DATA')).toMatch(/^450 4\.7\.1/)
    expect(await inBetween.command('RCPT TO:<b@example.net>')).toMatch(/^503/)
    expect(await ask(inBetween, ['b'])).toEqual(['450 4.7.1'])
    // Whoever sends elsewhere is none of them, nor is a stranger of the network who has limits of its own.
    expect(await ask(await open(app, '198.51.100.1'), ['b'])).toEqual(['250 2.1.5'])
    expect((await explained(app, address(net, 99))).standing).toMatchObject({ is: 'new', by: 'nothing' })
    now += 20 * MINUTE
    expect(await standingOf(app, address(net, 20))).toBe('known')
    expect(await ask(await open(app, address(net, 20)), ['b'])).toEqual(['250 2.1.5'])
  }, 60_000)

  test('counts as one for what its known senders have named before, too', async () => {
    const app = await begin()
    const net = '192.0.2'
    await befriend(app, net, 24)
    for (let host = 1; host <= 20; host++) {
      const client = await open(app, address(net, host))
      expect(await ask(client, [`x${host}`])).toEqual(['550 5.1.1'])
      await client.command('QUIT')
    }
    const known = await open(app, address(net, 24))
    expect(await ask(known, ['b'])).toEqual(['250 2.1.5'])
    await known.command('QUIT')
    for (let host = 1; host <= 6; host++) await send(app, address(net, host), SPAM)
    expect(await ask(await open(app, address(net, 24)), ['b'])).toEqual(['450 4.7.1'])
  }, 60_000)

  test('spares the address whose own latest messages are good, and none that has sent spam since', async () => {
    const app = await begin()
    const net = '192.0.2'
    await befriend(app, net, 14)
    await send(app, address(net, 13), 'a@example.org', 3)
    await send(app, address(net, 14), 'a@example.org', 3)
    for (let host = 1; host <= 12; host++) await send(app, address(net, host), SPAM)
    expect(await standingOf(app, address(net, 12))).toBe('seen')
    expect(await standingOf(app, address(net, 13))).toBe('known')
    await send(app, address(net, 14), SPAM)
    expect(await standingOf(app, address(net, 14))).toBe('seen')
    expect(await standingOf(app, address(net, 13))).toBe('known')
    // However much of it comes, one line tells of it.
    expect(app.log().filter(({ msg }) => /held as one client/.test(String(msg)))).toEqual([
      expect.objectContaining({ net: '192.0.2.0/24' }),
    ])
  }, 60_000)
})

test('of a network that turns while a known sender waits for a mail server, nothing goes out past the limits that it has now', async () => {
  let greet = (): void => undefined
  const greeted = new Promise<void>((resolve) => {
    greet = resolve
  })
  const upstream = await startUpstream({
    script: async (_, line) => {
      if (line.includes('a.example')) await greeted
      return 'default'
    },
  })
  let parts: FrontOptions | undefined
  const node = await startFront(upstream.address, {}, {}, (right) => {
    parts = right
    return right
  })
  try {
    const { history, latest, limits } = parts as FrontOptions
    const ofNet = (host: number) => ({ ip: `127.61.0.${host}`, source: `127.61.0.${host}`, net: '127.61.0.0/24' })
    history.learn('127.61.0.1', { good: 3, bad: 0 }, now - 3 * DAY)
    history.learn('127.61.0.1', { good: 3, bad: 0 })
    const client = await node.client('127.61.0.1')
    await client.reply()
    await client.command('HELO a.example')
    await client.command('MAIL FROM:<a@example.org>')
    client.write('RCPT TO:<b@example.net>\r\n')
    await eventually(
      () => upstream.connections.some(({ lines }) => lines.some((line) => line.includes('a.example'))),
      (isAsked) => isAsked,
    )
    for (let host = 2; host <= 7; host++) latest.note(ofNet(host), 'bad')
    const other = { ...ofNet(2), standing: 'known' } as unknown as SpillwayClient
    for (let i = 0; i < 20; i++) limits.heard(other, `x${i}@example.net`, true)
    greet()
    expect(await client.reply()).toMatch(/^450 4\.7\.1/)
    expect(await client.command('RCPT TO:<c@example.net>')).toMatch(/^450 4\.7\.1/)
    expect(upstream.mailed()).toEqual([])
    const stranger = await node.client('127.62.0.1')
    await stranger.reply()
    await stranger.command('HELO b.example')
    expect(await stranger.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    // The connection that was there for the other.
    expect(upstream.mailed()).toHaveLength(1)
  } finally {
    await node.stop()
    await upstream.stop()
  }
})

describe('a network is as it was', () => {
  test.each<[string, (app: TestApp, net: string) => Promise<void>]>([
    [
      'whose mail is mostly good, with much spam in it',
      async (app, net) => {
        for (let host = 1; host <= 11; host++) {
          await send(app, address(net, host))
          await send(app, address(net, host), SPAM)
        }
      },
    ],
    [
      'of which two addresses send spam',
      async (app, net) => {
        for (const host of [1, 2]) await send(app, address(net, host), SPAM, 12)
      },
    ],
    [
      'whose strangers send spam',
      async (app, net) => {
        for (let host = 101; host <= 112; host++) await send(app, address(net, host), SPAM, 2)
      },
    ],
    [
      'whose known senders write to users who do not exist, as anybody can make them',
      async (app, net) => {
        for (let host = 1; host <= 11; host++) {
          const client = await open(app, address(net, host))
          expect(await ask(client, [`x${host}`])).toEqual(['550 5.1.1'])
          await client.command('QUIT')
        }
      },
    ],
  ])(
    '%s',
    async (_, happens) => {
      const app = await begin()
      const net = '203.0.113'
      await befriend(app, net, 12)
      await happens(app, net)
      expect((await explained(app, address(net, 12))).standing).toMatchObject({ is: 'known', by: 'own_good_mail' })
    },
    60_000,
  )
})
