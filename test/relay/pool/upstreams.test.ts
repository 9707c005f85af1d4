/** Names and addresses of the servers, and what all of them offer. */
import { describe, expect, test } from '@jest/globals'
import type { Server } from '../../../src/relay/pool/server.ts'
import { eventually } from '../../support/app.ts'
import type { Script, Upstream, UpstreamConnection } from '../../support/upstream.ts'
import { MAIL, RCPT, type RelaysOptions, read, send } from '../relays.ts'
import { relays, servers, start, stopAfterEach, upstreamWith as upstream } from '../scene.ts'

stopAfterEach()
const metric = async (series: string): Promise<number | undefined> => {
  const line = (await relays.metrics.registry.metrics()).split('\n').find((each) => each.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}
const isUp = (server: Upstream): boolean => relays.upstreams.isUp(server.address)

describe('R15 what is offered is what every server in use offers', () => {
  test('and the smallest SIZE of them; the last known while none is up', async () => {
    const big = await upstream({ extensions: ['SIZE 50000000', '8BITMIME', 'DSN', 'PIPELINING', 'AUTH LOGIN'] })
    const small = await upstream({ extensions: ['SIZE 10000', '8BITMIME', 'SMTPUTF8'] })
    const none = await upstream({ extensions: ['SIZE', '8BITMIME'] })
    await start([big, small, none], { healthIntervalMs: 30 })
    const offer = (): string[] => [...(relays.upstreams.offer ?? [])].map((pair) => pair.join(' ').trim())
    expect(offer()).toEqual(['SIZE 10000', '8BITMIME'])
    await Promise.all([small.stop(), none.stop()])
    await eventually(offer, (offered) => offered.length === 3)
    expect(offer()).toEqual(['SIZE 50000000', '8BITMIME', 'DSN'])
    await big.stop()
    await eventually(
      () => relays.upstreams.servers().some(({ up }) => up),
      (up) => !up,
    )
    expect(offer()).toEqual(['SIZE 50000000', '8BITMIME', 'DSN'])
  })
})

describe('names', () => {
  interface Names {
    readonly hosts: string[]
    /** Fails where `now` is set; `asked`: how often it has failed. */
    readonly failing: { now?: Error; asked: number }
  }
  const named = async (more: RelaysOptions = {}): Promise<Names> => {
    const first = await upstream()
    await upstream({ host: '127.0.0.2', port: first.port })
    await upstream({ host: '127.0.0.3', port: first.port })
    const hosts = ['127.0.0.1', '127.0.0.2']
    const failing: Names['failing'] = { asked: 0 }
    await start([], {
      addresses: [{ label: `mail.test:${first.port}`, host: 'mail.test', port: first.port }],
      healthIntervalMs: 30,
      resolve: async () => {
        if (failing.now === undefined) return [...hosts]
        failing.asked++
        throw failing.now
      },
      ...more,
    })
    return { hosts, failing }
  }
  const addresses = (): string[] => relays.upstreams.servers().map(({ host }) => host)

  test('every address of one is used, and one gauge stands for them all', async () => {
    await named()
    expect(addresses()).toEqual(['127.0.0.1', '127.0.0.2'])
    await Promise.all(Array.from({ length: 4 }, (_, i) => send(relays.client(`c${i}.example`))))
    expect(servers.map((server) => server.bodies().length)).toEqual([2, 2, 0])
    const label = `mail.test:${servers[0]?.port}`
    expect(relays.upstreams.connections(label)).toBe(4)
    expect(relays.upstreams.isUp(label)).toBe(true)
  })

  test('are asked anew at each round: new addresses come in, old ones go when their last client has', async () => {
    const { hosts } = await named()
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    const held = relays.upstreams.servers().find(({ connections }) => connections > 0) as Server
    hosts.splice(hosts.indexOf(held.host), 1, '127.0.0.3')
    await eventually(addresses, (list) => list.includes('127.0.0.3'))
    expect(addresses()).toContain(held.host)
    // The message under way is not disturbed, and nobody new is sent there.
    expect(held.up).toBe(false)
    expect(read(await client.data())).toMatch(/^354/)
    await client.close()
    await eventually(addresses, (list) => !list.includes(held.host))
  })

  test('that cannot be resolved for a while keep the addresses they had; that is said once', async () => {
    const { failing } = await named()
    failing.now = new Error('EAI_AGAIN')
    await eventually(
      () => failing.asked,
      (count) => count >= 4,
    )
    expect(addresses()).toEqual(['127.0.0.1', '127.0.0.2'])
    expect(await send(relays.client())).toMatch(/^250/)
    expect(relays.told.filter(({ msg }) => /not resolved/.test(msg))).toHaveLength(1)
  })

  test('that take long hold up no health check', async () => {
    const server = await upstream()
    let asked = 0
    await start([], {
      addresses: [
        { label: 'slow.test:25', host: 'slow.test', port: 25 },
        { label: server.address, host: '127.0.0.1', port: server.port },
      ],
      healthIntervalMs: 20,
      patience: { startMs: 50 },
      resolve: () => {
        asked++
        return new Promise(() => undefined)
      },
    })
    await eventually(
      () => server.connections.length,
      (count) => count > 4,
    )
    expect(asked).toBe(1)
    expect(await send(relays.client())).toMatch(/^250/)
  })
})

describe('R15 a server that offers clients less than us', () => {
  const ours = ['PIPELINING', 'SIZE 1000', '8BITMIME', 'DSN', 'XCLIENT NAME ADDR']
  const lessFor = (who: RegExp): Script => {
    const known = new WeakSet<UpstreamConnection>()
    return (verb, line, connection) => {
      if (verb === 'XCLIENT' && who.test(line)) known.add(connection)
      if (verb !== 'EHLO' || !known.has(connection)) return 'default'
      return '250-x\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250 8BITMIME'
    }
  }
  const offer = (): string[] => [...(relays.upstreams.offer?.keys() ?? [])]

  test('is found out by the first of them, and what it withholds is offered no more', async () => {
    const server = await upstream({ extensions: ours, script: lessFor(/./) })
    await start([server], { dial: { clientIp: 'xclient' }, healthIntervalMs: 50 })
    expect(offer()).toEqual(['SIZE', '8BITMIME', 'DSN'])
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toMatch(/^250/)
    await eventually(offer, (now) => !now.includes('DSN'))
    expect(offer()).toEqual(['SIZE', '8BITMIME'])
    // Checks of our own, which are offered all, do not bring it back.
    const checks = server.connections.length
    await eventually(
      () => server.connections.length,
      (now) => now > checks + 3,
    )
    expect(offer()).toEqual(['SIZE', '8BITMIME'])
    expect(server.connections.filter(({ lines }) => lines.includes('EHLO relay-test.example.net'))).toHaveLength(1)
  })

  test('but what it withholds from one client is offered to all others, until it withholds it from all', async () => {
    const server = await upstream({ extensions: ours, script: lessFor(/203\.0\.113\.9/) })
    await start([server], { dial: { clientIp: 'xclient' }, healthIntervalMs: 50, patience: { guardAgainMs: 500 } })
    for (let i = 0; i < 3; i++) {
      expect(read(await relays.client('odd.example', '203.0.113.9').rcpt(MAIL, RCPT))).toMatch(/^250/)
    }
    await eventually(
      () => server.connections.filter(({ lines }) => lines.includes('EHLO relay-test.example.net')).length,
      (asked) => asked === 1,
    )
    const checks = server.connections.length
    await eventually(
      () => server.connections.length,
      (now) => now > checks + 3,
    )
    expect(offer()).toEqual(['SIZE', '8BITMIME', 'DSN'])
    server.script = lessFor(/./)
    await eventually(
      async () => {
        const client = relays.client()
        await client.rcpt(MAIL, RCPT)
        await client.close()
        return offer()
      },
      (now) => !now.includes('DSN'),
    )
  })

  test('and where it has no word for a stranger nothing is learned of it, nor is it left', async () => {
    const less = lessFor(/./)
    const server = await upstream({
      extensions: ours,
      script: (verb, line, connection) => {
        if (verb === 'XCLIENT' && /192\.0\.2\.1$/.test(line)) connection.socket.destroy()
        return less(verb, line, connection)
      },
    })
    await start([server], { dial: { clientIp: 'xclient' }, healthIntervalMs: 50 })
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toMatch(/^250/)
    await eventually(
      () => server.connections.filter(({ lines }) => lines.some((line) => /192\.0\.2\.1$/.test(line))).length,
      (asked) => asked === 1,
    )
    const checks = server.connections.length
    await eventually(
      () => server.connections.length,
      (now) => now > checks + 3,
    )
    expect([offer(), isUp(server)]).toEqual([['SIZE', '8BITMIME', 'DSN'], true])
    expect(await metric(`spillway_upstream_health_checks_total{upstream="${server.address}",result="failed"}`)).toBe(0)
  })
})
