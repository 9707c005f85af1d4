import { afterEach, describe, expect, test } from '@jest/globals'
import type { Server } from '../../../src/relay/pool/server.ts'
import { eventually } from '../../support/app.ts'
import {
  type Script,
  startUpstream,
  type Upstream,
  type UpstreamConnection,
  type UpstreamOptions,
} from '../../support/upstream.ts'
import { MAIL, RCPT, type Relays, type RelaysOptions, read, send, startRelays } from '../relays.ts'

let servers: Upstream[] = []
let relays: Relays
afterEach(async () => {
  await relays.stop()
  await eventually(relays.held, (held) => held === 0)
  await Promise.all(servers.map((server) => server.stop()))
  servers = []
})

async function upstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const server = await startUpstream(options)
  servers.push(server)
  return server
}
async function start(these: Upstream[], options: RelaysOptions = {}): Promise<Relays> {
  relays = await startRelays(these, options)
  return relays
}
const metric = async (series: string): Promise<number | undefined> => {
  const line = (await relays.metrics.registry.metrics()).split('\n').find((each) => each.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}
const isUp = (server: Upstream): boolean => relays.upstreams.isUp(server.address)

/** Somebody else than the one whose slots these tests are about. */
const ELSEWHERE = '203.0.113.9'

describe('slots', () => {
  test('go to the server with the fewest connections', async () => {
    await start([await upstream(), await upstream(), await upstream()])
    const slots = await Promise.all(Array.from({ length: 9 }, () => relays.slot()))
    expect(relays.upstreams.servers().map(({ connections }) => connections)).toEqual([3, 3, 3])
    const freed = slots[4]
    freed?.free()
    const next = await relays.slot()
    expect(next.server).toBe(freed?.server)
    for (const slot of [...slots, next]) slot.free()
    expect(relays.held()).toBe(0)
  })

  test('are freed once, however often that is said', async () => {
    await start([await upstream()])
    const [one, two] = [await relays.slot(), await relays.slot()]
    one.free()
    one.free()
    expect(relays.held()).toBe(1)
    two.free()
    expect(relays.held()).toBe(0)
  })

  test('that are all taken are waited for, in turn, for a bounded time: then 451 upstream_full', async () => {
    await start([await upstream()], { maxConnections: 1, patience: { slotMs: 150 } })
    const taken = await relays.slot(undefined, ELSEWHERE)
    const order: string[] = []
    const wait = (name: string) =>
      relays.slot().then(
        (slot) => {
          order.push(name)
          return slot
        },
        (error: Error) => {
          order.push(`${name}: ${error.message}`)
          return undefined
        },
      )
    const first = wait('first')
    const second = wait('second')
    taken.free()
    await first
    await second
    expect(order).toEqual(['first', 'second: upstream_full'])
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_full')
    ;(await first)?.free()
    expect(await metric('spillway_upstream_slot_wait_seconds_count')).toBe(4)
  })

  test('are not waited for by more than can be served: the next hears 451 at once', async () => {
    await start([await upstream()], { maxConnections: 1, patience: { waiting: 2, slotMs: 60_000 } })
    const taken = await relays.slot(undefined, ELSEWHERE)
    const waiting = [relays.slot(), relays.slot()]
    await expect(relays.slot(undefined, '198.51.100.8')).rejects.toThrow('upstream_full')
    taken.free()
    for (const each of waiting) (await each).free()
  })

  test('a waiter who must not have the free server holds up nobody behind it', async () => {
    await start([await upstream(), await upstream()], { maxConnections: 1, patience: { slotMs: 60_000 } })
    const [one, two] = [await relays.slot(), await relays.slot(undefined, ELSEWHERE)]
    const picky = relays.slot(one.server)
    const easy = relays.slot(undefined, ELSEWHERE)
    one.free()
    const got = await easy
    expect(got.server).toBe(one.server)
    two.free()
    expect((await picky).server).toBe(two.server)
    got.free()
    ;(await picky).free()
  })

  test('those who wait hear 451 at once when the last server goes down', async () => {
    const server = await upstream()
    await start([server], { maxConnections: 1, healthIntervalMs: 30, patience: { slotMs: 60_000 } })
    const taken = await relays.slot()
    const waiting = relays.slot()
    await server.stop()
    await expect(waiting).rejects.toThrow('upstream_down')
    taken.free()
  })
})

describe('R40 health checks', () => {
  test('are the banner, EHLO with our own name, and QUIT; told apart from clients in the metrics', async () => {
    const server = await upstream()
    await start([server], { healthIntervalMs: 30 })
    await eventually(
      () => server.connections.filter(({ closed }) => closed).length,
      (count) => count >= 3,
    )
    expect(server.connections[0]?.lines).toEqual(['EHLO mx.test.example', 'QUIT'])
    expect(await send(relays.client())).toMatch(/^250/)
    const label = `upstream="${server.address}"`
    expect(await metric(`spillway_upstream_health_checks_total{${label},result="ok"}`)).toBeGreaterThanOrEqual(3)
    expect(await metric(`spillway_upstream_connects_total{${label},result="ok"}`)).toBe(1)
    for (const [command, count] of [
      ['connect', 1],
      ['mail', 1],
      ['rcpt', 1],
      ['data', 1],
      ['dot', 1],
    ]) {
      expect(
        await metric(`spillway_upstream_reply_duration_seconds_count{${label.replace('}', '')},command="${command}"}`),
      ).toBe(count)
    }
    expect(await metric(`spillway_upstream_replies_total{${label},class="2xx"}`)).toBe(3)
    expect(await metric(`spillway_upstream_replies_total{${label},class="3xx"}`)).toBe(1)
  })

  const bad: [what: string, options: UpstreamOptions, result: string][] = [
    ['refuses at the greeting', { greeting: '421 4.3.2 stopping' }, 'refused'],
    ['refuses EHLO and HELO', { script: (verb) => (/^(EHLO|HELO)$/.test(verb) ? '550 no' : 'default') }, 'refused'],
    ['greets with garbage', { greeting: 'SSH-2.0-OpenSSH_9.2' }, 'failed'],
    ['does not greet', { greeting: () => undefined }, 'timeout'],
    ['closes', { greeting: ({ socket }) => void socket.destroy() }, 'failed'],
  ]
  test.each(bad)('a server that %s is down, and so is a node with no other: 451', async (_, options, result) => {
    const server = await upstream(options)
    await start([server], { patience: { healthMs: 200 } })
    expect(isUp(server)).toBe(false)
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_down')
    expect(await metric(`spillway_upstream_health_checks_total{upstream="${server.address}",result="${result}"}`)).toBe(
      1,
    )
  })

  test('a server that hangs keeps nobody from starting, and comes in when it is well', async () => {
    let well = false
    const server = await upstream({ greeting: (connection) => well && connection.say('220 at last') })
    const started = performance.now()
    await start([server], { healthIntervalMs: 40, patience: { startMs: 100, healthMs: 150 } })
    expect(performance.now() - started).toBeLessThan(1000)
    expect(isUp(server)).toBe(false)
    well = true
    await eventually(
      () => isUp(server),
      (up) => up,
    )
    expect(await send(relays.client())).toMatch(/^250/)
  })

  test('do not overlap: a slow server is asked once at a time', async () => {
    const server = await upstream({ greeting: () => undefined })
    await start([server], {
      healthIntervalMs: 10,
      patience: { startMs: 20, healthMs: 60_000 },
      dial: { replyTimeoutMs: 60_000 },
    })
    await new Promise((resolve) => setTimeout(resolve, 120))
    expect(server.connections).toHaveLength(1)
  })

  test('a server leaves the rotation after two failures in a row, and is back when it answers', async () => {
    const server = await upstream()
    const other = await upstream()
    await start([server, other], { healthIntervalMs: 40 })
    const { port } = server
    await server.stop()
    await eventually(
      () => isUp(server),
      (up) => !up,
    )
    for (let i = 0; i < 4; i++) expect(await send(relays.client(`c${i}.example`))).toMatch(/^250/)
    expect(other.bodies()).toHaveLength(4)
    const again = await upstream({ port })
    await eventually(
      () => relays.upstreams.isUp(server.address),
      (up) => up,
    )
    for (let i = 0; i < 4; i++) expect(await send(relays.client(`d${i}.example`))).toMatch(/^250/)
    expect(again.bodies().length).toBeGreaterThan(0)
    expect(
      relays.told.filter(({ fields }) => fields.upstream === server.address).map(({ msg }) => msg.slice(0, 16)),
    ).toEqual(['upstream is up', 'upstream is down', 'upstream is up'])
  })

  test('a client’s failed connection counts like a failed check', async () => {
    const server = await upstream()
    await start([server])
    await server.stop()
    for (let i = 0; i < 2; i++) expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    expect(isUp(server)).toBe(false)
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_down')
    expect(await metric(`spillway_upstream_connects_total{upstream="${server.address}",result="failed"}`)).toBe(2)
  })

  test('but one unwelcome client takes no server from all others', async () => {
    // Greeted with a refusal because of the address in its PROXY header, as by postscreen or a limit of connections.
    const server = await upstream({
      header: 'line',
      greeting: (connection) =>
        connection.say(/203\.0\.113\.9/.test(String(connection.header)) ? '421 4.7.0 too many of you' : '220 hello'),
    })
    await start([server], { dial: { clientIp: 'proxy-v1' } })
    for (let i = 0; i < 5; i++) {
      expect(read(await relays.client('bad.example', '203.0.113.9').rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    }
    expect(isUp(server)).toBe(true)
    expect(await send(relays.client())).toMatch(/^250/)
  })

  test.each([
    ['its address', 'proxy-v1'],
    ['its HELO name', 'none'],
  ] as const)('nor does one on which the server hangs up without a word, for %s', async (_, clientIp) => {
    const server = await upstream({
      ...(clientIp === 'proxy-v1' && {
        header: 'line' as const,
        greeting: (connection) => {
          if (String(connection.header).includes('203.0.113.9')) connection.socket.destroy()
          else connection.say('220 hello')
        },
      }),
      script: (_verb, line, { socket }) => {
        if (clientIp === 'none' && line === 'EHLO bad.example') socket.destroy()
        return socket.destroyed ? 'silence' : 'default'
      },
    })
    await start([server], { dial: { clientIp } })
    for (let i = 0; i < 5; i++) {
      expect(read(await relays.client('bad.example', '203.0.113.9').rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    }
    // Asked at once whether it is there for others, and no more than once.
    await eventually(
      () => metric(`spillway_upstream_health_checks_total{upstream="${server.address}",result="ok"}`),
      (count) => count === 2,
    )
    expect(isUp(server)).toBe(true)
    expect(await send(relays.client())).toMatch(/^250/)
  })

  test('nor where it hangs up on our stranger too, as long as other clients are welcome', async () => {
    const unwelcome = /203\.0\.113\.9|192\.0\.2\.1 /
    const server = await upstream({
      header: 'line',
      greeting: (connection) => {
        if (unwelcome.test(String(connection.header))) connection.socket.destroy()
        else connection.say('220 hello')
      },
    })
    await start([server], { dial: { clientIp: 'proxy-v1' }, healthIntervalMs: 200 })
    const until = performance.now() + 1000
    while (performance.now() < until) {
      expect(read(await relays.client('bad.example', '203.0.113.9').rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
      const honest = relays.client()
      expect(await send(honest)).toMatch(/^250/)
      await honest.close()
    }
    expect(relays.told.map(({ msg }) => msg)).toEqual(['upstream is up'])
  })

  test.each([true, false])(
    'R44 one that takes mail by TLS or after a login only is left, told of, and used when it takes it; relay guard: %s',
    async (relayGuard) => {
      let locked = relayGuard
      const server = await upstream({
        script: (verb) => {
          if (verb === 'RCPT') return relayGuard && !locked ? '554 5.7.1 Relay access denied' : 'default'
          return verb === 'MAIL' && locked ? '530 5.7.0 Must issue a STARTTLS command first' : 'default'
        },
      })
      await start([server], { relayGuard, healthIntervalMs: 50, patience: { guardAgainMs: 50 } })
      if (!relayGuard) {
        locked = true
        expect(read(await relays.client().rcpt(MAIL, RCPT))).toMatch(/^451 4\.3\.5/)
      }
      await eventually(
        () => isUp(server),
        (up) => !up,
      )
      expect(relays.told.at(-1)?.msg).toMatch(/^upstream is down: mail: 530 .*SPILLWAY_UPSTREAM_TLS/)
      const told = relays.told.length
      locked = false
      await eventually(
        () => isUp(server),
        (up) => up,
      )
      expect(relays.told.slice(told).map(({ msg }) => msg)).toEqual(['upstream is up'])
    },
  )

  test.each([
    ['refuses the name of', 'none'],
    ['hangs up on', 'proxy-v1'],
  ] as const)('R44 nor one that wants a login of one client, and %s our stranger', async (_, clientIp) => {
    const server = await upstream({
      ...(clientIp === 'proxy-v1' && { header: 'line' as const }),
      greeting: (connection) => {
        if (String(connection.header).includes('192.0.2.1 ')) connection.socket.destroy()
        else connection.say('220 hello')
      },
      script: (verb, line) => {
        if (/^(EHLO|HELO) relay-test/.test(line)) return '550 5.7.1 not with that name'
        return verb === 'MAIL' && line.includes('forged') ? '530 5.7.0 Authentication required' : 'default'
      },
    })
    await start([server], { dial: { clientIp }, healthIntervalMs: 30 })
    const forged = { line: 'MAIL FROM:<forged@example.test>', needs: [] }
    expect(read(await relays.client().rcpt(forged, RCPT))).toMatch(/^451 4\.3\.5/)
    const checks = server.connections.length
    await eventually(
      () => server.connections.length,
      (now) => now > checks + 4,
    )
    expect(await send(relays.client())).toMatch(/^250/)
    expect(relays.told.map(({ msg }) => msg)).toEqual(['upstream is up'])
  })

  test('one that hangs up on everybody is left at once all the same', async () => {
    let broken = false
    const server = await upstream({
      greeting: (connection) => (broken ? connection.socket.destroy() : connection.say('220 hello')),
    })
    await start([server])
    broken = true
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    await eventually(
      () => isUp(server),
      (up) => !up,
    )
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_down')
  })

  test('one that expects no PROXY header is told of so that one knows what to do', async () => {
    // It has greeted before the header came, and takes that for a command.
    const server = await upstream()
    await start([server], { dial: { clientIp: 'proxy-v1' } })
    expect(relays.told.map(({ msg }) => msg).join()).toMatch(/^upstream is down: .*Does it expect a PROXY header/)
  })

  test('not so one that has read it before, and is busy now', async () => {
    let busy = false
    const server = await upstream({
      header: 'line',
      greeting: (connection) => connection.say(busy ? '421 4.3.2 busy' : '220 hello'),
    })
    await start([server], { dial: { clientIp: 'proxy-v1' }, healthIntervalMs: 30 })
    busy = true
    await eventually(
      () => isUp(server),
      (up) => !up,
    )
    expect(relays.told.at(-1)?.msg).toBe('upstream is down: greeting: 421 4.3.2 busy')
  })

  test.each([
    ['hangs up on', (connection: UpstreamConnection) => void connection.socket.destroy()],
    ['never greets', () => undefined],
  ])('one that answers our own checks and %s every client is left for another, and the log says so', async (_, act) => {
    const bad = await upstream({
      header: 'line',
      greeting: (connection) =>
        / 127\.0\.0\.1 /.test(String(connection.header)) ? connection.say('220 hello') : act(connection),
    })
    const good = await upstream({ header: 'line' })
    await start([bad, good], { dial: { clientIp: 'proxy-v1', replyTimeoutMs: 200 } })
    for (let i = 0; i < 20; i++) {
      const client = relays.client('client.example', `203.0.113.${i}`)
      expect(await send(client)).toMatch(/^250/)
      await client.close()
    }
    expect(isUp(bad)).toBe(false)
    expect(bad.connections.filter(({ header }) => String(header).includes('203.0.113.')).length).toBeLessThan(4)
    expect(relays.told.map(({ msg }) => msg).at(-1)).toMatch(/^upstream is down: /)
  })

  test('nor does one whose HELO name is refused: that is its own verdict', async () => {
    const script: Script = (_, line) => (/^(EHLO|HELO) bad/.test(line) ? '550 5.7.1 not with that name' : 'default')
    const server = await upstream({ script })
    await start([server])
    for (let i = 0; i < 5; i++) {
      expect(read(await relays.client('bad.example').rcpt(MAIL, RCPT))).toBe('550 5.7.1 not with that name')
    }
    expect(isUp(server)).toBe(true)
  })

  test('R36 a client that is refused at XCLIENT takes no server from all others; the server is asked once', async () => {
    const server = await upstream({
      extensions: ['XCLIENT NAME ADDR'],
      script: (_, line) => (/^XCLIENT .*203\.0\.113\.9/.test(line) ? '554 5.7.1 Client host rejected' : 'default'),
    })
    await start([server], { dial: { clientIp: 'xclient' } })
    for (let i = 0; i < 5; i++) {
      expect(read(await relays.client('bad.example', '203.0.113.9').rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    }
    const checks = `spillway_upstream_health_checks_total{upstream="${server.address}",result="ok"}`
    await eventually(
      () => metric(checks),
      (count) => count === 2,
    )
    expect(isUp(server)).toBe(true)
    expect(await send(relays.client())).toMatch(/^250/)
    expect(server.connections.flatMap(({ lines }) => lines).filter((line) => /192\.0\.2\.1/.test(line))).toEqual([
      'XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1',
    ])
    expect(await metric(`spillway_upstream_connects_total{upstream="${server.address}",result="refused"}`)).toBe(5)
    expect(relays.told.filter(({ msg }) => /XCLIENT/.test(msg)).map(({ level, msg }) => [level, msg])).toEqual([
      ['warn', 'upstream refused XCLIENT for a client, who hears 451: xclient: 554 5.7.1 Client host rejected'],
    ])
  })

  test.each([
    ['refused to anybody', '550 5.7.0 no'],
    ['not offered any more', undefined],
  ])('R36 but one where XCLIENT is %s is left at once, until it is taken again', async (_, reply) => {
    const extensions = ['XCLIENT NAME ADDR']
    const server = await upstream({ extensions })
    await start([server], { dial: { clientIp: 'xclient' }, healthIntervalMs: 100 })
    expect(await send(relays.client())).toMatch(/^250/)
    server.script = (verb) => {
      if (reply !== undefined) return verb === 'XCLIENT' ? reply : 'default'
      return verb === 'EHLO' ? '250 upstream.example' : 'default'
    }
    expect(await send(relays.client())).toBe('refused: upstream_lost')
    await eventually(
      () => isUp(server),
      (up) => !up,
    )
    // Later rounds ask for it too: that our own EHLO is answered does not bring the server back.
    const rounds = server.connections.length
    await eventually(
      () => server.connections.length,
      (count) => count > rounds + 4,
    )
    expect(relays.told.filter(({ msg }) => msg === 'upstream is up')).toHaveLength(1)
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_down')
    server.script = undefined
    await eventually(
      () => isUp(server),
      (up) => up,
    )
    expect(await send(relays.client())).toMatch(/^250/)
  })

  test('R36 one that does not offer XCLIENT where that was chosen is never used', async () => {
    const server = await upstream()
    await start([server], { dial: { clientIp: 'xclient' } })
    expect(isUp(server)).toBe(false)
    expect(relays.told.map(({ msg }) => msg).join()).toMatch(/XCLIENT is not offered to us/)
  })
})

describe('R15 what is offered is what every server in use offers', () => {
  test('and the smallest SIZE of them; the last known while none is up', async () => {
    const big = await upstream({ extensions: ['SIZE 50000000', '8BITMIME', 'DSN', 'PIPELINING', 'AUTH LOGIN'] })
    const small = await upstream({ extensions: ['SIZE 10000', '8BITMIME', 'SMTPUTF8'] })
    const none = await upstream({ extensions: ['SIZE', '8BITMIME'] })
    await start([big, small, none], { healthIntervalMs: 30 })
    const offer = (): string[] => [...relays.upstreams.offer].map((pair) => pair.join(' ').trim())
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
  const named = async (more: RelaysOptions = {}): Promise<{ hosts: string[]; failing: { now?: Error } }> => {
    const first = await upstream()
    await upstream({ host: '127.0.0.2', port: first.port })
    await upstream({ host: '127.0.0.3', port: first.port })
    const hosts = ['127.0.0.1', '127.0.0.2']
    const failing: { now?: Error } = {}
    await start([], {
      addresses: [{ label: `mail.test:${first.port}`, host: 'mail.test', port: first.port }],
      healthIntervalMs: 30,
      resolve: async () => {
        if (failing.now !== undefined) throw failing.now
        return [...hosts]
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
    await new Promise((resolve) => setTimeout(resolve, 150))
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

describe('the relay guard', () => {
  const forStranger =
    (reply: string): Script =>
    (verb, line) =>
      verb === 'RCPT' && line.includes('example.net') ? reply : 'default'

  test.each([
    [
      'xclient',
      ['EHLO relay-test.example.net', 'XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1', 'EHLO relay-test.example.net'],
    ],
    ['none', ['EHLO relay-test.example.net']],
  ] as const)(
    'asks in the way clients come, by %s, for a stranger and a foreign recipient, and sends nothing',
    async (clientIp, head) => {
      const server = await upstream({ script: forStranger('554 5.7.1 no relaying'), extensions: ['XCLIENT NAME ADDR'] })
      await start([server], { relayGuard: true, dial: { clientIp } })
      await eventually(
        () => server.mailed()[0]?.closed,
        (closed) => closed === true,
      )
      expect(server.mailed().map(({ lines }) => lines)).toEqual([
        [...head, 'MAIL FROM:<>', 'RCPT TO:<relay-test@relay-test.example.net>', 'QUIT'],
      ])
      expect(isUp(server)).toBe(true)
    },
  )

  test('a server that takes the foreign recipient is not used; when it is mended, it soon is', async () => {
    const open = await upstream()
    await start([open], { relayGuard: true, healthIntervalMs: 30, patience: { guardAgainMs: 60 } })
    expect(isUp(open)).toBe(false)
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_down')
    expect(relays.told.filter(({ level }) => level === 'error').map(({ msg }) => msg)).toEqual([
      expect.stringMatching(/open relay/),
    ])
    open.script = forStranger('554 5.7.1 no relaying')
    await eventually(
      () => isUp(open),
      (up) => up,
    )
  })

  test('it is asked again from time to time: one that begins to relay is left', async () => {
    const server = await upstream({ script: forStranger('554 5.7.1 no relaying') })
    await start([server], { relayGuard: true, healthIntervalMs: 30, patience: { guardMs: 60 } })
    expect(isUp(server)).toBe(true)
    server.script = undefined
    await eventually(
      () => isUp(server),
      (up) => !up,
    )
  })

  test('a 4yz tells neither: the server is used meanwhile, and asked again soon', async () => {
    const server = await upstream({ script: forStranger('450 4.7.1 greylisted') })
    await start([server], { relayGuard: true, healthIntervalMs: 30, patience: { guardAgainMs: 60 } })
    expect(isUp(server)).toBe(true)
    server.script = undefined
    await eventually(
      () => isUp(server),
      (up) => !up,
    )
  })

  test('a server that does not even greet the stranger relays nothing for it', async () => {
    const server = await upstream({
      header: 'line',
      greeting: (connection) =>
        connection.say(/192\.0\.2\.1 /.test(String(connection.header)) ? '554 5.7.1 bogon' : '220 hello'),
    })
    await start([server], { relayGuard: true, dial: { clientIp: 'proxy-v1' } })
    expect(isUp(server)).toBe(true)
    expect(await send(relays.client())).toMatch(/^250/)
  })

  test('a server that cannot be asked is not used', async () => {
    const server = await upstream({
      script: (_, line, { socket }) => {
        if (!line.startsWith('MAIL')) return 'default'
        socket.destroy()
        return 'silence'
      },
    })
    await start([server], { relayGuard: true })
    expect(isUp(server)).toBe(false)
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
  const offer = (): string[] => [...relays.upstreams.offer.keys()]

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
