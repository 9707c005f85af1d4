/** The connection of one client: kept, used again, given back, and never lost. */
import { describe, expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import type { Script, Upstream, UpstreamConnection } from '../../support/upstream.ts'
import { MAIL, RCPT, read, send } from '../relays.ts'
import { both, countAll, relays, said, servers, start, stopAfterEach, untilSaid, upstream } from '../scene.ts'

stopAfterEach()

describe('one connection, many messages', () => {
  test('a session keeps its upstream connection; RSET begins anew on it', async () => {
    await start(1)
    const [server] = servers
    const client = relays.client()
    expect(await send(client)).toMatch(/^250/)
    await client.rcpt(MAIL, RCPT)
    client.reset()
    expect(await send(client)).toMatch(/^250/)
    expect(said(server)).toEqual([
      'EHLO client.example',
      ...[MAIL.mailLine, RCPT, 'DATA'],
      ...[MAIL.mailLine, RCPT],
      ...['RSET', MAIL.mailLine, RCPT, 'DATA'],
    ])
    expect(server?.bodies()).toHaveLength(2)
  })

  test('what nobody asks for any more is given back after a while', async () => {
    await start(1, { budgets: { parkMs: 50 }, patience: { idleMs: 50 } })
    await send(relays.client())
    expect(relays.held()).toBe(1)
    await eventually(relays.held, (held) => held === 0)
    await eventually(
      () => said(servers[0]).at(-1),
      (line) => line === 'QUIT',
    )
  })

  test('R36 with the client’s address given, no other client ever uses the connection', async () => {
    const server = await upstream(undefined, { extensions: ['PIPELINING', 'XCLIENT NAME ADDR PORT PROTO HELO'] })
    await start([server], { dial: { clientIp: 'xclient' } })
    for (const ip of ['198.51.100.1', '198.51.100.2']) {
      const client = relays.client('same.example', ip)
      expect(await send(client)).toMatch(/^250/)
      await client.close()
    }
    expect(server.mailed().map(({ lines }) => lines.filter((line) => /XCLIENT/.test(line)).length)).toEqual([1, 1])
    expect(relays.held()).toBe(0)
  })

  test('without it, a clean one serves the next client, who is greeted for by name', async () => {
    await start(1)
    for (const helo of ['one.example', 'one.example', 'two.example']) {
      const client = relays.client(helo)
      expect(await send(client)).toMatch(/^250/)
      await client.close()
    }
    expect(said(servers[0]).filter((line) => /^(EHLO|RSET)/.test(line))).toEqual([
      'EHLO one.example',
      'EHLO two.example',
    ])
    expect(servers[0]?.mailed()).toHaveLength(1)
  })

  test('but not after 5 s idle', async () => {
    await start(1, { patience: { idleMs: 50 } })
    const client = relays.client()
    await send(client)
    await client.close()
    await eventually(relays.held, (held) => held === 0)
    expect(await send(relays.client())).toMatch(/^250/)
    expect(servers[0]?.mailed()).toHaveLength(2)
  })

  test.each([
    [
      'a refused recipient',
      (verb: string, line: string) => (verb === 'RCPT' && /nobody/.test(line) ? '550 5.1.1 no' : ''),
    ],
    ['a deferred message', (verb: string) => (verb === 'DOT' ? '451 4.3.0 later' : '')],
    ['an open transaction', () => ''],
  ])('and not after %s', async (what, refuse) => {
    const server = await upstream((verb, line) => refuse(verb, line) || 'default')
    await start([server])
    const client = relays.client()
    if (what === 'a refused recipient') await client.rcpt(MAIL, 'RCPT TO:<nobody@example.test>')
    if (what === 'an open transaction') await client.rcpt(MAIL, RCPT)
    else await send(client)
    await client.close()
    expect(relays.held()).toBe(0)
    await send(relays.client())
    expect(server.mailed()).toHaveLength(2)
  })

  test('a client that leaves between its RCPT and the reply leaves no reply to the next client', async () => {
    const server = await upstream((verb) => (verb === 'MAIL' || verb === 'RCPT' ? 'silence' : 'default'))
    await start([server])
    const client = relays.client()
    const asked = client.rcpt(MAIL, RCPT)
    await untilSaid(server, /^RCPT/)
    await client.close()
    expect(read(await asked)).toBe('refused: upstream_lost')
    server.script = undefined
    expect(await send(relays.client())).toMatch(/^250/)
    expect(server.mailed()).toHaveLength(2)
  })

  test.each([
    ['died', (socket: { destroy(): unknown; end(text: string): unknown }) => socket.destroy()],
    ['said 421', (socket: { destroy(): unknown; end(text: string): unknown }) => socket.end('421 4.4.2 idle\r\n')],
  ])('one that %s while it was idle is replaced by a fresh one to the same upstream', async (_, die) => {
    await start(2)
    const client = relays.client()
    await send(client)
    const used = servers.find((server) => server.mailed().length > 0) as Upstream
    die((used.mailed()[0] as UpstreamConnection).socket)
    await eventually(
      () => used.mailed()[0]?.closed,
      (closed) => closed === true,
    )
    expect(await send(client)).toMatch(/^250/)
  })

  test.each([
    ['dies', undefined],
    ['says 421', '421 4.7.0 too many messages in this connection\r\n'],
  ])('one that %s at the very MAIL of the next message is replaced, once, at the same upstream', async (_, text) => {
    let mails = 0
    const script: Script = (verb, __, { socket }) => {
      if (verb !== 'MAIL' || ++mails !== 2) return 'default'
      if (text === undefined) socket.destroy()
      else socket.end(text)
      return 'silence'
    }
    const [one, two] = (await both(script)) as [Upstream, Upstream]
    await start([one, two])
    const client = relays.client()
    expect(await send(client)).toMatch(/^250/)
    expect(await send(client)).toMatch(/^250/)
    expect([one.mailed().length, two.mailed().length].sort()).toEqual([0, 2])
  })

  test('one that falls silent while it was idle is replaced in time, also where there is one upstream only', async () => {
    let mails = 0
    const server = await upstream((verb) => {
      if (verb === 'MAIL') mails++
      return mails === 2 && verb !== 'EHLO' ? 'silence' : 'default'
    })
    await start([server], { budgets: { rcptMs: 800 }, dial: { replyTimeoutMs: 60_000 } })
    const client = relays.client()
    expect(await send(client)).toMatch(/^250/)
    expect(await send(client)).toMatch(/^250/)
    expect(mails).toBe(3)
  })

  test.each([
    ['with PIPELINING', ['PIPELINING']],
    ['without', []],
  ])(
    'one that does not forget the last transaction is replaced: its MAIL would be the old one, %s',
    async (_, offers) => {
      let open = false
      const server = await upstream(
        (verb) => {
          if (verb === 'RSET') return '452 4.3.1 not now'
          if (verb === 'EHLO') open = false
          if (verb === 'MAIL' && open) return '503 5.5.1 nested MAIL command'
          open ||= verb === 'MAIL'
          return 'default'
        },
        { extensions: offers },
      )
      await start([server])
      const client = relays.client()
      expect(read(await client.rcpt(MAIL, RCPT))).toMatch(/^250/)
      client.reset()
      expect(await send(client)).toMatch(/^250/)
      expect(server.mailed()).toHaveLength(2)
    },
  )

  test('and one that refuses RSET and takes MAIL all the same is not believed, nor is another asked', async () => {
    await start(await both((verb) => (verb === 'RSET' ? '500 what?' : 'default')))
    const client = relays.client()
    expect(read(await client.rcpt(MAIL, RCPT))).toMatch(/^250/)
    client.reset()
    expect(await send(client)).toBe('refused: upstream_lost')
    expect(countAll(/^MAIL/)).toBe(2)
    client.reset()
    expect(await send(client)).toMatch(/^250/)
  })

  test('and where that one dies too, it is 451', async () => {
    let mails = 0
    const server = await upstream((verb, _, { socket }) => {
      if (verb !== 'MAIL' || ++mails === 1) return 'default'
      socket.destroy()
      return 'silence'
    })
    await start([server])
    const client = relays.client()
    expect(await send(client)).toMatch(/^250/)
    expect(await send(client)).toBe('refused: upstream_lost')
    expect(mails).toBe(3)
  })
})

describe('R42 a client that leaves at any point leaves no slot behind', () => {
  test.each(['greeting', 'EHLO', 'XCLIENT', 'MAIL', 'RCPT', 'DATA'])(
    'while the upstream’s reply to %s is awaited',
    async (verb) => {
      const silent: Script = (said, line, connection) => {
        const own = verb === 'EHLO' ? line === 'EHLO gone.example' : said === verb
        return own && connection.lines.includes('EHLO mx.test.example') === false ? 'silence' : 'default'
      }
      const server: Upstream = await upstream(silent, {
        extensions: ['XCLIENT NAME ADDR'],
        greeting: (connection) => {
          if (verb !== 'greeting' || server.connections.length === 1) connection.say('220 upstream.example')
        },
      })
      await start([server], { dial: { clientIp: 'xclient', replyTimeoutMs: 60_000 } })
      const client = relays.client('gone.example')
      let answered: Promise<unknown>
      if (verb === 'DATA') {
        await client.rcpt(MAIL, RCPT)
        answered = client.data()
      } else answered = client.rcpt(MAIL, RCPT)
      if (verb === 'greeting') {
        await eventually(relays.held, (held) => held === 1)
      } else await untilSaid(server, verb === 'EHLO' ? /^EHLO gone/ : new RegExp(`^${verb}`))
      await client.close()
      await answered
      expect(relays.held()).toBe(0)
      await eventually(
        () => server.connections.every(({ closed }) => closed),
        (closed) => closed,
      )
      // It is not held against the server.
      expect(relays.upstreams.servers().some(({ up }) => up)).toBe(true)
      expect(countAll(/^MAIL/)).toBeLessThanOrEqual(1)
    },
  )

  test('while a slot is awaited: its place in the queue is free at once', async () => {
    await start(1, { maxConnections: 1, patience: { waiting: 1, slotMs: 60_000 } })
    const first = relays.client()
    await first.rcpt(MAIL, RCPT)
    const second = relays.client()
    const asked = second.rcpt(MAIL, RCPT)
    await Promise.resolve()
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_full')
    await second.close()
    expect(read(await asked)).toBe('refused: upstream_lost')
    const third = relays.client().rcpt(MAIL, RCPT)
    await first.close()
    expect(read(await third)).toMatch(/^250/)
  })

  test('a hundred clients at once that leave at odd moments', async () => {
    const server = await upstream(async () => {
      await new Promise((resolve) => setImmediate(resolve))
      return 'default'
    })
    await start([server], { maxConnections: 7 })
    await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const client = relays.client(`c${i % 3}.example`)
        const sending = send(client).catch((error: unknown) => String(error))
        if (i % 4 !== 0) {
          await new Promise((resolve) => setTimeout(resolve, i % 23))
          await client.close()
        }
        await sending
        await client.close()
      }),
    )
    expect(await send(relays.client('after.example'))).toMatch(/^250/)
    expect(relays.told.filter(({ level }) => level === 'error')).toEqual([])
  })
})
