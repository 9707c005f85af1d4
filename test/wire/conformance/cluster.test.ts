/** Towards the mail servers: who they are told the client is, when another one is asked, and that nothing is left behind. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { load } from '../../../src/config/load.ts'
import { BALANCER, eventually, startApp, type TestApp } from '../../support/app.ts'
import type { Client } from '../../support/client.ts'
import { type Script, startUpstream } from '../../support/upstream.ts'
import { SERVERS, type Way } from '../servers.ts'
import { type Scripted, startScripted } from './scripted.ts'
import { ANNA, bodyOf, copies, DOMAIN, FROM, OTTO, type Stand, settled, startStand } from './stand.ts'

async function greeted(app: TestApp, from?: string, helo?: string): Promise<Client> {
  const client = await app.client(from)
  await client.hello(helo)
  return client
}

describe.each(SERVERS)('with $name', (kind) => {
  let stand: Stand
  beforeAll(async () => {
    stand = await startStand(kind)
  })
  afterAll(() => stand.stop())
  const telling = kind.ways.filter(({ clientIp }) => clientIp !== 'none')

  test.each(telling)(
    'R36 R38 R39 by $clientIp each message is under the address and the name of its own client, many at once',
    async (way: Way) => {
      const app = await stand.another({ UPSTREAM_MAX_CONNECTIONS: '4' }, undefined, way)
      const people = Array.from({ length: 6 }, (_, i) => ({ ip: `127.0.2.${i + 1}`, helo: `h${i + 1}.client.example` }))
      const mark = (ip: string, i: number): string => `Subject: ${way.clientIp} of ${ip} no ${i}!`
      await Promise.all(
        people.map(async ({ ip, helo }) => {
          const client = await greeted(app, ip, helo)
          for (let i = 0; i < 3; i++) {
            expect(await client.send(FROM, ANNA, `${mark(ip, i)}\r\n\r\nx\r\n`)).toMatch(/^250/)
            // A new name is one the server has to hear, too.
            if (i === 1) expect(await client.command(`EHLO new.${helo}`)).toMatch(/^250/)
          }
          await client.command('QUIT')
        }),
      )
      for (const { ip, helo } of people) {
        for (let i = 0; i < 3; i++) {
          const header = String(await stand.delivered(ANNA, `${mark(ip, i)}\n`)).split('\n\n')[0] as string
          expect(header).toContain(`[${ip}]`)
          expect(header).toMatch(new RegExp(`Received: from [^\\n]*\\b${i === 2 ? 'new\\.' : ''}${helo}`))
          expect(header.match(/127\.0\.2\.\d+/g)?.every((each) => each === ip)).toBe(true)
        }
      }
      // A connection that carried no address is kept for the next client: for five seconds.
      if (way.clientIp !== 'received') await settled(app)
      await app.stop()
    },
  )

  test('R37 R48 the client is who a listed balancer says; from others a header hears 421, and nothing goes upstream', async () => {
    const app = await stand.another({ PROXY_PROTOCOL_FROM: BALANCER })
    const client = await app.clientAs('198.51.100.7')
    await client.hello()
    expect(await client.send(FROM, ANNA, 'Subject: through a balancer!\r\n\r\nx\r\n')).toMatch(/^250/)
    expect(String(await stand.delivered(ANNA, 'Subject: through a balancer!'))).toContain('[198.51.100.7]')
    const other = await app.client('127.0.0.8')
    other.write(
      'PROXY TCP4 198.51.100.8 192.0.2.25 40000 25\r\nEHLO client.example\r\n' +
        `MAIL FROM:<${FROM}>\r\nRCPT TO:<${ANNA}>\r\nDATA\r\n`,
    )
    expect(await other.closed()).toMatch(/^220 [^\n]*\n421 4\.3\.0 mx\.test\.example \[127\.0\.0\.8\] [^\n]*\n$/)
    const line = await app.waitForLog(({ ip }) => ip === '127.0.0.8')
    expect(line).not.toMatchObject({ outcome: 'relayed' })
    await app.stop()
  })

  test('R40 health checks find it well by every way, and are no visits of clients', async () => {
    const finds = async (way: Way): Promise<void> => {
      const app = await stand.another({ UPSTREAM_HEALTH_INTERVAL: '100ms' }, undefined, way)
      const label = `upstream="127.0.0.1:${stand.server.port(way.listener)}"`
      await eventually(
        () => app.metric(`spillway_upstream_health_checks_total{${label},result="ok"}`),
        (count) => (count ?? 0) >= 3,
      )
      for (const result of ['failed', 'timeout', 'refused']) {
        expect(await app.metric(`spillway_upstream_health_checks_total{${label},result="${result}"}`)).toBe(0)
      }
      expect(await app.metric(`spillway_upstream_up{${label}}`)).toBe(1)
      expect(await app.metric(`spillway_upstream_connects_total{${label},result="ok"}`)).toBe(0)
      await app.stop()
    }
    await Promise.all(kind.ways.map(finds))
  })

  describe('and another one that fails', () => {
    const before: Readonly<Record<string, Script>> = {
      'MAIL is answered with 450': (verb) => (verb === 'MAIL' ? '450 4.3.2 later' : 'default'),
      'MAIL is answered with 421': (verb) => (verb === 'MAIL' ? '421 4.3.2 going down' : 'default'),
      'it closes at MAIL': (verb, _, { socket }) => (verb === 'MAIL' && socket.destroy() ? 'silence' : 'default'),
    }
    const behind: Readonly<Record<string, Script>> = {
      'it closes at RCPT': (verb, _, { socket }) => (verb === 'RCPT' && socket.destroy() ? 'silence' : 'default'),
      'RCPT is answered with 421': (verb) => (verb === 'RCPT' ? '421 4.3.2 going down' : 'default'),
      'it closes at DATA': (verb, _, { socket }) => (verb === 'DATA' && socket.destroy() ? 'silence' : 'default'),
      'it closes behind the dot': (verb, _, { socket }) => (verb === 'DOT' && socket.destroy() ? 'silence' : 'default'),
      'the dot is answered with 421': (verb) => (verb === 'DOT' ? '421 4.3.2 going down' : 'default'),
    }

    /** Sends messages until the failing one was asked for some of them. @returns replies by mark, asked ones first */
    async function among(
      fault: Script,
      what: string,
    ): Promise<{ asked: Map<string, string>; spared: Map<string, string> }> {
      const failing = await startScripted({ recipients: [ANNA, OTTO] })
      const way = kind.ways.find(({ clientIp }) => clientIp === 'received') as Way
      const app = await startApp(`127.0.0.1:${failing.port()},127.0.0.1:${stand.server.port(way.listener)}`, {
        UPSTREAM_CLIENT_IP: 'received',
        UPSTREAM_HEALTH_INTERVAL: '1h',
      })
      failing.fault = fault
      const [asked, spared] = [new Map<string, string>(), new Map<string, string>()]
      try {
        for (let i = 0; i < 20 && (asked.size < 1 || i < 2); i++) {
          const [mark, sender] = [`Subject: ${what}, no ${i}!`, `no${i}@sender.example`]
          const client = await greeted(app)
          const reply = await client.send(sender, ANNA, `${mark}\r\n\r\nx\r\n`)
          const isAsked = failing.log().includes(`<${sender}>`)
          ;(isAsked ? asked : spared).set(mark, reply)
          await client.command('QUIT')
        }
        expect(failing.messages(ANNA).map(String).join('')).not.toContain(`Subject: ${what}`)
      } finally {
        await app.stop()
        await failing.stop()
      }
      expect(asked.size).toBeGreaterThanOrEqual(1)
      return { asked, spared }
    }

    test.each(Object.entries(before))('R41 R44 %s: this one is asked, and delivers once', async (what, fault) => {
      const { asked, spared } = await among(fault, what)
      for (const [mark, reply] of [...asked, ...spared]) {
        expect(reply).toMatch(kind.id)
        await stand.delivered(ANNA, mark)
        expect(copies(stand.server, ANNA, mark)).toBe(1)
      }
    })

    test.each(Object.entries(behind))(
      'R41 R30 %s: the client hears 451, and nobody else is asked',
      async (what, fault) => {
        const { asked, spared } = await among(fault, what)
        for (const reply of asked.values()) expect(reply).toMatch(/^451 4\.3\.[0-9] /)
        for (const [mark, reply] of spared) {
          expect(reply).toMatch(kind.id)
          await stand.delivered(ANNA, mark)
        }
        for (const mark of asked.keys()) expect(copies(stand.server, ANNA, mark)).toBe(0)
      },
    )
  })

  test('R42 a storm of clients that leave anywhere: all gauges are 0, and what was accepted is delivered once', async () => {
    const app = await stand.another()
    const session = [
      'EHLO client.example\r\n',
      `MAIL FROM:<${FROM}>\r\n`,
      `RCPT TO:<nobody@${DOMAIN}>\r\n`,
      `RCPT TO:<${OTTO}>\r\n`,
      'DATA\r\n',
      'Subject: storm!\r\n\r\nsome',
      ' text\r\n',
      '.\r\n',
      'QUIT\r\n',
    ]
    const leave: ((client: Client) => void)[] = [
      (client) => client.end(),
      (client) => client.resetConnection(),
      (client) => client.destroy(),
    ]
    await Promise.all(
      Array.from({ length: 54 }, async (_, i) => {
        const client = await app.client(`127.0.3.${1 + (i % 9)}`)
        await client.reply()
        for (const part of session.slice(0, 1 + (i % session.length))) {
          client.write(part)
          // Where a reply is due it is read, so that the next part meets the next state.
          if (part.endsWith('\r\n') && !part.includes('text')) await client.reply()
        }
        leave[i % leave.length]?.(client)
      }),
    )
    await settled(app)
    const client = await greeted(app)
    expect(await client.send(FROM, OTTO, 'Subject: calm!\r\n\r\nx\r\n')).toMatch(/^250/)
    expect(await client.command('QUIT')).toMatch(/^221/)
    expect(await client.closed()).toBe('')
    await stand.delivered(OTTO, 'Subject: calm!')
    const accepted = await app.ofAnybody('spillway_messages_total', 'result="accepted"')
    // Two in nine sent the dot, and all of them read its reply.
    expect(accepted).toBe(13)
    await eventually(
      () => copies(stand.server, OTTO, 'Subject: storm!'),
      (count) => count === 12,
    )
    for (const message of stand.server.messages(OTTO)) expect(['some text\n', 'x\n']).toContain(bodyOf(message))
    await settled(app)
    await app.stop()
  })
})

describe('with the scripted upstream that tells', () => {
  let stand: Stand
  let listed: TestApp
  const scripted = (): Scripted => stand.server as Scripted
  beforeAll(async () => {
    stand = await startStand({ ...(SERVERS[0] as (typeof SERVERS)[number]), start: startScripted })
    listed = await stand.another({ PROXY_PROTOCOL_FROM: BALANCER })
    // See the last test about it.
  })
  afterAll(() => stand.stop())

  test.each(['250 2.0.0 Ok', '421 4.7.0 no', '501 5.5.4 Bad NAME', '550 5.7.0 Not authorized'])(
    'R36 XCLIENT is answered with %s: no MAIL goes that way, the client hears 451, and it is counted',
    async (said) => {
      const app = await stand.another()
      const before = scripted().upstream.mailed().length
      scripted().fault = (verb) => (verb === 'XCLIENT' ? said : 'default')
      const client = await greeted(app)
      await client.command(`MAIL FROM:<${FROM}>`)
      expect(await client.command(`RCPT TO:<${ANNA}>`)).toMatch(/^451 4\.3\.[0-9] mx\.test\.example /)
      scripted().fault = undefined
      expect(scripted().upstream.mailed()).toHaveLength(before)
      const refused = `spillway_upstream_connects_total{upstream="127.0.0.1:${scripted().port()}",result="refused"}`
      expect(await app.metric(refused)).toBeGreaterThan(0)
      await app.stop()
    },
  )

  test('R36 there is no default for how the client is told, and none of the ways is silently left out', () => {
    const given = (settings: Record<string, string>) =>
      load({
        env: { SPILLWAY_UPSTREAMS: '127.0.0.1:25', ...settings },
        readFile: () => '',
        hostname: 'mx.test.example',
        openFiles: 20_000,
      }).settings
    expect(() => given({})).toThrow(/SPILLWAY_UPSTREAM_CLIENT_IP/)
    expect(given({ SPILLWAY_UPSTREAM_CLIENT_IP: 'none' })).toMatchObject({ upstreamClientIp: 'none' })
  })

  test('R36 a server that does not offer XCLIENT is not used where that was chosen: 451, and nothing is sent', async () => {
    const server = await startScripted({ recipients: [ANNA], unsaid: ['XCLIENT NAME ADDR PORT PROTO HELO'] })
    const app = await startApp(`127.0.0.1:${server.port()}`, { UPSTREAM_CLIENT_IP: 'xclient' })
    try {
      const client = await greeted(app)
      expect(await client.send(FROM, ANNA)).toMatch(/^451 4\.3\.[0-9] /)
      expect(server.upstream.mailed()).toEqual([])
    } finally {
      await app.stop()
      await server.stop()
    }
  })

  test('R36 XCLIENT says all that was offered, once a connection, and EHLO behind it', async () => {
    const client = await greeted(stand.app, '127.0.2.77', 'we+ird=h\xfc.example')
    for (let i = 0; i < 2; i++) expect(await client.send(FROM, ANNA)).toMatch(/^250/)
    const lines = scripted().upstream.lastMailed()?.lines as string[]
    expect(lines.slice(0, 4)).toEqual([
      'EHLO we+ird=h\xfc.example',
      `XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.2.77 PORT=${client.port} PROTO=ESMTP HELO=we+2Bird+3Dh+FC.example`,
      'EHLO we+ird=h\xfc.example',
      `MAIL FROM:<${FROM}>`,
    ])
    expect(lines.filter((line) => line.startsWith('XCLIENT'))).toHaveLength(1)
    expect(lines.filter((line) => line.startsWith('MAIL'))).toHaveLength(2)
  })

  test('R36 R39 the PROXY header is the first thing it reads, and it greets behind it', async () => {
    const upstream = await startUpstream({ header: 'line' })
    const app = await startApp(upstream.address, { UPSTREAM_CLIENT_IP: 'proxy-v1' })
    try {
      const client = await greeted(app, '127.0.2.78')
      expect(await client.send(FROM, ANNA)).toMatch(/^250/)
      const header = `PROXY TCP4 127.0.2.78 127.0.0.1 ${client.port} ${app.port}\r\n`
      expect(upstream.connections.map((each) => String(each.header))).toContain(header)
    } finally {
      await app.stop()
      await upstream.stop()
    }
  })

  test('R40 a health check is EHLO with our own name and QUIT, and nothing else', async () => {
    const before = scripted().upstream.connections.length
    await eventually(
      () => scripted().upstream.connections.length,
      (count) => count > before + 2,
    )
    const checks = scripted().upstream.connections.slice(before, before + 2)
    expect(checks.map(({ lines }) => lines)).toEqual(Array(2).fill(['EHLO mx.test.example', 'QUIT']))
  })

  test.each(['EHLO', 'XCLIENT', 'MAIL', 'RCPT', 'DATA'])(
    'R45 it is silent at %s: 451 when its time is up',
    async (when) => {
      const app = await stand.another({ UPSTREAM_REPLY_TIMEOUT: '300ms' })
      // A health check has no more time than that either, on a machine that may be busy.
      await eventually(
        () => app.metric(`spillway_upstream_up{upstream="127.0.0.1:${scripted().port()}"}`),
        (up) => up === 1,
      )
      const client = await greeted(app)
      scripted().fault = (verb) => (verb === when ? 'silence' : 'default')
      const started = performance.now()
      const reply = await client.send(FROM, ANNA)
      const took = performance.now() - started
      scripted().fault = undefined
      expect(reply).toMatch(/^451 4\.3\.[0-9] mx\.test\.example /)
      expect(took).toBeGreaterThan(290)
      expect(took).toBeLessThan(3000)
      expect(await client.command('NOOP')).toMatch(/^250/)
      await settled(app)
      await app.stop()
    },
  )

  test('R37 a listed balancer without a valid header hears 421; one that closes at once is a probe', async () => {
    const count = async (of: 'errors' | 'probes') => (await listed.metric(`spillway_balancer_${of}_total`)) as number
    const [errors, probes] = [await count('errors'), await count('probes')]
    const wrong = await listed.client(BALANCER)
    wrong.write('EHLO client.example\r\n')
    expect(await wrong.reply()).toMatch(/^421 4\.3\.0 mx\.test\.example /)
    expect(await wrong.closed()).toBe('')
    // The warning comes once an hour for each address; the session's line always says why.
    await listed.waitForLog(({ msg, ip, why }) => msg === 'session' && ip === BALANCER && why === 'no PROXY header')
    expect(await count('errors')).toBe(errors + 1)
    const connections = await listed.metric('spillway_connections_total{family="ipv4"}')
    const probe = await listed.client(BALANCER)
    probe.end()
    expect(await probe.closed()).toBe('')
    await eventually(
      () => count('probes'),
      (all) => all === probes + 1,
    )
    expect(await count('errors')).toBe(errors + 1)
    expect(await listed.metric('spillway_connections_total{family="ipv4"}')).toBe(connections)
  })

  test('R37 one that says nothing is closed after five seconds', async () => {
    const silent = await listed.client(BALANCER)
    expect(await silent.closed(6000)).toMatch(/^421 4\.3\.0 mx\.test\.example /)
  })
})
