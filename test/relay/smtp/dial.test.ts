import { createSecureContext, TLSSocket } from 'node:tls'
import { describe, expect, test } from '@jest/globals'
import { SYSTEM_CLOCK } from '../../../src/core/clock.ts'
import type { Name } from '../../../src/dns/names.ts'
import type { ClientAttributes } from '../../../src/relay/smtp/client-attributes.ts'
import { type Dialed, type DialSettings, dial, UpstreamRefusal } from '../../../src/relay/smtp/dial.ts'
import { SmtpClient } from '../../../src/relay/smtp/smtp-client.ts'
import type { UpstreamError } from '../../../src/relay/smtp/upstream-error.ts'
import { CERT, KEY } from '../../config/pem.ts'
import { eventually } from '../../support/app.ts'
import { stoppedAfterEach } from '../../support/started.ts'
import { startTalker, type Talker } from '../../support/talker.ts'
import { type Script, startUpstream, type Upstream } from '../../support/upstream.ts'
import { attributesOf, dialSettings } from '../relays.ts'

/** Where TLS is required, this certificate is verified; upstream-tls.test.ts has others. */
const trusted = createSecureContext({ ca: CERT })

const { upstream, atEnd } = stoppedAfterEach()
async function reach(
  { port }: { port: number },
  settings: Partial<DialSettings> = {},
  attributes: ClientAttributes | undefined = attributesOf(),
  name: Name = { kind: 'none' },
): Promise<Dialed> {
  const dialed = await dial(
    { host: '127.0.0.1', port, name: 'mx1.example.net' },
    dialSettings({ trusted, ...settings }, name),
    attributes,
    performance.now() + 3000,
  )
  atEnd(() => dialed.smtp.destroy())
  return dialed
}
const failure = (dialled: Promise<unknown>): Promise<UpstreamRefusal | UpstreamError> =>
  dialled.then(
    () => {
      throw new Error('it was dialled')
    },
    (error) => error,
  )
/** Whether the last connection has changed over to TLS. */
const isSecure = ({ connections }: Upstream): boolean => connections.at(-1)?.socket instanceof TLSSocket
const lines = (server: Upstream, at = 0): string[] => server.connections[at]?.lines ?? []

describe('R39 a PROXY header comes first, before the banner', () => {
  test.each([
    ['proxy-v1', attributesOf('h.example', '198.51.100.7'), 'PROXY TCP4 198.51.100.7 192.0.2.25 40123 25\r\n'],
    ['proxy-v1', attributesOf('h.example', '2001:db8::7'), 'PROXY TCP6 2001:db8::7 ::ffff:192.0.2.25 40123 25\r\n'],
    [
      'proxy-v2',
      attributesOf('h.example', '198.51.100.7'),
      '\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x07\xc0\x00\x02\x19\x9c\xbb\x00\x19',
    ],
  ] as const)('%s', async (clientIp, attributes, header) => {
    // It greets only behind the header: who waits for the banner first waits for ever.
    const server = await upstream({ header: clientIp === 'proxy-v1' ? 'line' : header.length })
    await reach(server, { clientIp }, attributes)
    expect(server.connections[0]?.header.toString('latin1')).toBe(header)
    expect(lines(server)).toEqual(['EHLO h.example'])
  })

  test('R40 health checks tell of themselves: version 1 TCP4 with true addresses, version 2 LOCAL', async () => {
    const one = await upstream({ header: 'line' })
    const settings = dialSettings({ clientIp: 'proxy-v1' })
    const target = (port: number) => ({ host: '127.0.0.1', port, name: 'x' })
    const { smtp } = await dial(target(one.port), settings, undefined, performance.now() + 3000)
    const { port } = smtp.local
    expect(String(one.connections[0]?.header)).toBe(`PROXY TCP4 127.0.0.1 127.0.0.1 ${port} ${one.port}\r\n`)
    const two = await upstream({ header: 16 })
    const other = await dial(
      target(two.port),
      { ...settings, clientIp: 'proxy-v2' },
      undefined,
      performance.now() + 3000,
    )
    expect(two.connections[0]?.header.toString('latin1')).toBe('\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00')
    expect(lines(two)).toEqual(['EHLO mx.test.example'])
    smtp.destroy()
    other.smtp.destroy()
  })
})

describe('R36 XCLIENT', () => {
  const offers = (attributes: string) => ({ extensions: ['PIPELINING', `XCLIENT ${attributes}`] })
  const ALL = 'NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT'
  test.each([
    [
      ALL,
      attributesOf(),
      { kind: 'name', name: 'mail.sender.example' },
      'NAME=mail.sender.example ADDR=198.51.100.7 PORT=40123 PROTO=ESMTP HELO=client.example',
    ],
    [
      ALL,
      attributesOf('[IPv6:2001:db8::7]', '2001:db8::7', { esmtp: false }),
      { kind: 'none' },
      'NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::7 PORT=40123 PROTO=SMTP HELO=[IPv6:2001:db8::7]',
    ],
    [
      ALL,
      attributesOf('a=b+c\xfc(d).example'),
      { kind: 'unanswered' },
      'NAME=[TEMPUNAVAIL] ADDR=198.51.100.7 PORT=40123 PROTO=ESMTP HELO=a+3Db+2Bc+FC(d).example',
    ],
    ['ADDR NAME', attributesOf(), { kind: 'none' }, 'NAME=[UNAVAILABLE] ADDR=198.51.100.7'],
    ['addr name helo', attributesOf(), { kind: 'none' }, 'NAME=[UNAVAILABLE] ADDR=198.51.100.7 HELO=client.example'],
  ] as const)('where %s is offered, for %j', async (offered, attributes, name, told) => {
    const server = await upstream(offers(offered))
    await reach(server, { clientIp: 'xclient' }, attributes, name)
    expect(lines(server)).toEqual([`EHLO ${attributes.helo}`, `XCLIENT ${told}`, `EHLO ${attributes.helo}`])
  })

  test.each(['250 2.0.0 Ok', '421 4.7.0 no', '501 5.5.4 no', '550 5.7.0 no'])(
    'only a 220 counts, not %s',
    async (reply) => {
      const server = await upstream({ ...offers(ALL), script: (verb) => (verb === 'XCLIENT' ? reply : 'default') })
      const error = await failure(reach(server, { clientIp: 'xclient' }))
      expect(error).toBeInstanceOf(UpstreamRefusal)
      expect((error as UpstreamRefusal).phase).toBe('xclient')
      expect(lines(server).at(-1)).toMatch(/^XCLIENT/)
    },
  )

  test.each([undefined, 'HELO PROTO', 'ADDR HELO'])(
    'it is never left out: with %s offered there is no connection',
    async (offered) => {
      const server = await upstream(offered === undefined ? {} : offers(offered))
      expect(((await failure(reach(server, { clientIp: 'xclient' }))) as UpstreamRefusal).phase).toBe('xclient')
      expect(lines(server).filter((line) => /^(XCLIENT|MAIL)/.test(line))).toEqual([])
    },
  )
})

describe('R38 the client’s own HELO name is what the upstream hears', () => {
  test('also where it said HELO', async () => {
    const server = await upstream()
    await reach(server, {}, attributesOf('MiXed.example', '198.51.100.7', { esmtp: false }))
    expect(lines(server)).toEqual(['EHLO MiXed.example'])
  })

  test('a server that knows only HELO is greeted by it, and offers nothing', async () => {
    const script: Script = (verb) => (verb === 'EHLO' ? '502 5.5.1 what?' : 'default')
    const server = await upstream({ script })
    const { extensions } = await reach(server)
    expect(lines(server)).toEqual(['EHLO client.example', 'HELO client.example'])
    expect([...extensions]).toEqual([])
  })

  test('a refusal for now is told as that', async () => {
    const server = await upstream({ script: (verb) => (verb === 'EHLO' ? '421 4.3.2 busy' : 'default') })
    const error = (await failure(reach(server))) as UpstreamRefusal
    expect([error.phase, error.reply.code]).toEqual(['ehlo', 421])
    expect(lines(server)).toEqual(['EHLO client.example'])
  })

  test('R47 a refusal for good is about the name only where the server takes another one', async () => {
    const script: Script = (_, line) => (/O client\.example$/.test(line) ? '550 5.7.1 not you' : 'default')
    const server = await upstream({ script })
    const error = (await failure(reach(server))) as UpstreamRefusal
    expect([error.phase, error.reply.code]).toEqual(['ehlo', 550])
    expect(lines(server)).toEqual(['EHLO client.example', 'HELO client.example', 'EHLO mx.test.example'])
  })

  test('R47 one that takes no name refuses us', async () => {
    const script: Script = (verb) => (/^(EHLO|HELO)$/.test(verb) ? '554 5.3.2 not now' : 'default')
    const server = await upstream({ script })
    const error = (await failure(reach(server))) as UpstreamRefusal
    expect([error.phase, error.reply.code]).toEqual(['greeting', 554])
  })

  test('R47 one that takes no name behind XCLIENT refuses the client, whoever it says it is', async () => {
    let told = false
    const script: Script = (verb) => {
      if (verb === 'XCLIENT') told = true
      return told && /^(EHLO|HELO)$/.test(verb) ? '554 5.7.1 not from there' : 'default'
    }
    const server = await upstream({ script, extensions: ['XCLIENT NAME ADDR'] })
    const error = (await failure(reach(server, { clientIp: 'xclient' }))) as UpstreamRefusal
    expect([error.phase, error.reply.code]).toEqual(['client', 554])
  })

  test.each(['554 5.3.2 no', '421 4.3.2 no', '250 odd'])('a greeting of %s is a refusal', async (greeting) => {
    const error = (await failure(reach(await upstream({ greeting })))) as UpstreamRefusal
    expect(error.phase).toBe('greeting')
  })
})

describe('TLS towards the upstream', () => {
  const tls = { cert: CERT, key: KEY }
  const plainSince = async (talker: Talker): Promise<string[]> => {
    // The first connection offers STARTTLS and spoils the handshake; the second hears no STARTTLS.
    const first = await talker.next()
    first.say('220 x\r\n')
    await first.until('EHLO')
    first.say('250-x\r\n250 STARTTLS\r\n')
    await first.until('STARTTLS')
    first.say('220 go\r\n')
    // The first byte of a TLS record.
    await first.until('\x16')
    first.say('this is no handshake\r\n')
    const second = await talker.next()
    second.say('220 x\r\n')
    await second.until('EHLO')
    second.say('250-x\r\n250 STARTTLS\r\n')
    return [first.heard, second.heard]
  }

  test.each(['opportunistic', 'required'] as const)(
    '%s: STARTTLS where it is offered, and EHLO again',
    async (mode) => {
      const server = await upstream({ tls })
      const { smtp, extensions } = await reach(server, { tls: mode })
      expect(isSecure(server)).toBe(true)
      expect(lines(server)).toEqual(['EHLO client.example', 'STARTTLS', 'EHLO client.example'])
      expect(extensions.has('STARTTLS')).toBe(false)
      expect((await smtp.command('NOOP', 1000)).code).toBe(250)
      // The end of a TLS connection is noticed like that of another.
      server.connections[0]?.socket.destroy()
      await expect(smtp.reply(2000)).rejects.toThrow()
      expect(smtp.ended).toBe(true)
    },
  )

  test('off: never', async () => {
    const server = await upstream({ tls })
    await reach(server, { tls: 'off' })
    expect(isSecure(server)).toBe(false)
    expect(lines(server)).toEqual(['EHLO client.example'])
  })

  test('required, and not offered: no connection, and no envelope in the clear', async () => {
    const server = await upstream()
    expect(((await failure(reach(server, { tls: 'required' }))) as UpstreamRefusal).phase).toBe('starttls')
    expect(lines(server)).toEqual(['EHLO client.example'])
  })

  test('opportunistic: a broken handshake does not cost the mail', async () => {
    const talker = await startTalker()
    atEnd(() => talker.stop())
    const said = plainSince(talker)
    await reach(talker, { tls: 'opportunistic' })
    // In the clear.
    expect((await said)[1]).toBe('EHLO client.example\r\n')
  })

  test('nor does one that stalls, or a 454', async () => {
    let count = 0
    const script: Script = (verb) => (verb !== 'STARTTLS' ? 'default' : ++count === 1 ? '220 go' : '454 4.7.0 no')
    const server = await upstream({ tls, script })
    const settings = { tls: 'opportunistic', connectTimeoutMs: 50, replyTimeoutMs: 60_000 } as const
    await reach(server, settings)
    expect(isSecure(server)).toBe(false)
    await reach(server, settings)
    expect(isSecure(server)).toBe(false)
    expect(server.connections).toHaveLength(4)
  })

  test('required: with a broken handshake there is no connection', async () => {
    const server = await upstream({
      tls,
      script: (verb) => (verb === 'STARTTLS' ? '220 go\r\ngarbage\r\n' : 'default'),
    })
    await failure(reach(server, { tls: 'required' }))
    expect(server.connections).toHaveLength(1)
  })

  test('R22 replies injected behind the 220 are never believed, in no mode', async () => {
    const script: Script = (verb) => (verb === 'STARTTLS' ? '220 go\r\n250 injected\r\n' : 'default')
    const server = await upstream({ tls, script })
    for (const mode of ['opportunistic', 'required'] as const) {
      expect(await failure(reach(server, { tls: mode }))).toMatchObject({ fault: 'protocol' })
    }
    expect(server.connections).toHaveLength(2)
  })

  test('R22 what was offered in the clear is forgotten, and STARTTLS inside TLS is not taken up', async () => {
    const offer = (secure: boolean): string =>
      secure
        ? '250-upstream.example\r\n250-STARTTLS\r\n250 SIZE 2000'
        : '250-upstream.example\r\n250-STARTTLS\r\n250-SIZE 1000\r\n250-DSN\r\n250 XCLIENT NAME ADDR'
    const script: Script = (verb, _, { socket }) => (verb === 'EHLO' ? offer(socket instanceof TLSSocket) : 'default')
    const server = await upstream({ tls, script })
    const { extensions } = await reach(server, { tls: 'required' })
    expect([extensions.get('SIZE'), extensions.has('DSN'), extensions.has('XCLIENT')]).toEqual(['2000', false, false])
    expect(lines(server)).toEqual(['EHLO client.example', 'STARTTLS', 'EHLO client.example'])
    // Offered by an attacker in the middle only: the client's address is not passed on to him.
    const error = await failure(reach(server, { tls: 'required', clientIp: 'xclient' }))
    expect(error.message).toContain('XCLIENT with ADDR and NAME is not offered')
    expect(lines(server, 1).join()).not.toContain('XCLIENT')
  })

  test('XCLIENT is told in TLS, after the second EHLO', async () => {
    const server = await upstream({ tls, extensions: ['XCLIENT NAME ADDR'] })
    await reach(server, { tls: 'required', clientIp: 'xclient' })
    expect(lines(server).map((line) => line.split(' ')[0])).toEqual(['EHLO', 'STARTTLS', 'EHLO', 'XCLIENT', 'EHLO'])
  })
})

describe('nothing is left open', () => {
  test('by a dial that is given up', async () => {
    const server = await upstream({ greeting: () => undefined })
    const leaving = new AbortController()
    const target = { host: '127.0.0.1', port: server.port, name: 'x' }
    const dialled = dial(
      target,
      dialSettings({ replyTimeoutMs: 60_000 }),
      attributesOf(),
      performance.now() + 60_000,
      leaving.signal,
    )
    const failed = failure(dialled)
    const connected = await eventually(
      () => server.connections[0],
      (connection) => connection !== undefined,
    )
    leaving.abort()
    expect(await failed).toMatchObject({ fault: 'lost' })
    await eventually(
      () => connected?.closed,
      (closed) => closed === true,
    )
  })

  test('by one to a port where nobody listens', async () => {
    const server = await startUpstream()
    await server.stop()
    expect(await failure(reach(server))).toMatchObject({ fault: 'lost' })
    await expect(
      SmtpClient.open({ host: '127.0.0.1', port: server.port }, { timeoutMs: 500, elapsed: SYSTEM_CLOCK.elapsed }),
    ).rejects.toThrow()
  })
})
