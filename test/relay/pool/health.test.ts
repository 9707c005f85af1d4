/** Whether a server is in rotation: what checks and clients' connections show. */
import { describe, expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import type { Script, Upstream, UpstreamConnection, UpstreamOptions } from '../../support/upstream.ts'
import { MAIL, RCPT, read, send } from '../relays.ts'
import { relays, start, stopAfterEach, upstreamWith as upstream } from '../scene.ts'

stopAfterEach()
const metric = async (series: string): Promise<number | undefined> => {
  const line = (await relays.metrics.registry.metrics()).split('\n').find((each) => each.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}
const isUp = (server: Upstream): boolean => relays.upstreams.isUp(server.address)

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
    await start([server], { patience: { healthMs: 600 } })
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
    const other = await upstream()
    await start([server, other], {
      healthIntervalMs: 10,
      patience: { startMs: 20, healthMs: 60_000 },
      dial: { replyTimeoutMs: 60_000 },
    })
    // Each is asked at each round.
    await eventually(
      () => other.connections.length,
      (rounds) => rounds >= 6,
    )
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
    const forged = { mailLine: 'MAIL FROM:<forged@example.test>', needs: [] }
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
    expect(relays.upstreams.servers()[0]?.state).not.toBe('up')
    expect(bad.connections.filter(({ header }) => String(header).includes('203.0.113.')).length).toBeLessThan(4)
    expect(relays.told.map(({ msg }) => msg).at(-1)).toMatch(/^upstream is (down|slow)/)
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
