/** How a server is found that takes MAIL, and what the client hears where none does. */
import { describe, expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import type { Script } from '../../support/upstream.ts'
import { MAIL, RCPT, read, send } from '../relays.ts'
import { both, countAll, relays, start, stopAfterEach, upstream } from '../scene.ts'

stopAfterEach()

describe('R44 what MAIL is answered with', () => {
  test.each([
    ['550 5.7.1 not from you', '550 5.7.1 not from you'],
    ['550-5.7.1 not\r\n550 5.7.1 from you', '550 5.7.1 not 5.7.1 from you'],
  ])('5yz is the reply to every recipient: %j', async (reply, heard) => {
    await start(await both((verb) => (verb === 'MAIL' ? reply : verb === 'RCPT' ? '503 5.5.1 no MAIL' : 'default')))
    const client = relays.client()
    expect(read(await client.rcpt(MAIL, RCPT))).toBe(heard)
    expect(read(await client.rcpt(MAIL, 'RCPT TO:<otto@example.test>'))).toBe(heard)
    expect(countAll(/^MAIL/)).toBe(1)
    expect(client.accepted).toBe(0)
  })

  test('5yz counts also where the server hangs up behind it', async () => {
    await start(
      await both((verb, _, connection) => {
        if (verb !== 'MAIL') return 'default'
        connection.socket.end('554 5.7.1 go away\r\n')
        return 'silence'
      }),
    )
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('554 5.7.1 go away')
    expect(countAll(/^MAIL/)).toBe(1)
  })

  const refuses: Record<string, Script> = {
    '451': (verb) => (verb === 'MAIL' ? '451 4.3.0 not now' : verb === 'RCPT' ? '503 no' : 'default'),
    '421': (verb, _, { socket }) => {
      if (verb !== 'MAIL') return 'default'
      socket.end('421 4.3.2 stopping\r\n')
      return 'silence'
    },
    'a close': (verb, _, { socket }) => {
      if (verb !== 'MAIL') return 'default'
      socket.destroy()
      return 'silence'
    },
    silence: (verb) => (verb === 'MAIL' || verb === 'RCPT' ? 'silence' : 'default'),
    garbage: (verb) => (verb === 'MAIL' ? 'what?' : 'default'),
  }
  const dial = { replyTimeoutMs: 200 }
  test.each(Object.keys(refuses))('%s is tried at another upstream', async (what) => {
    const bad = await upstream(refuses[what])
    const good = await upstream()
    await start([bad, good], { dial })
    // Until the bad one has been asked, whichever comes first in the turn.
    for (let i = 0; i < 4 && bad.mailed().length === 0; i++) {
      expect(await send(relays.client(`client${i}.example`))).toMatch(/^250/)
    }
    expect(bad.mailed()).toHaveLength(1)
    expect(good.bodies().length).toBeGreaterThan(0)
  })

  test.each(Object.keys(refuses))('%s from every upstream is 451 and never 421; asked are two', async (what) => {
    const script = refuses[what] as Script
    await start([await upstream(script), await upstream(script), await upstream(script)], { dial })
    const heard = read(await relays.client().rcpt(MAIL, RCPT))
    expect(heard).toMatch(/^451 4\.3\.|^refused: upstream_lost/)
    expect(countAll(/^MAIL/)).toBe(2)
    await eventually(relays.held, (held) => held === 0)
  })

  const locked: Script = (verb) => (verb === 'MAIL' ? '530 5.7.0 Must issue a STARTTLS command first' : 'default')

  test('530 is about our connection and no verdict: another upstream is asked', async () => {
    const [bad, good] = [await upstream(locked), await upstream()]
    await start([bad, good])
    for (let i = 0; i < 4 && bad.mailed().length === 0; i++) {
      expect(await send(relays.client(`client${i}.example`))).toMatch(/^250/)
    }
    expect(bad.mailed().length).toBeGreaterThan(0)
    expect(good.bodies().length).toBeGreaterThan(0)
  })

  test('530 from all there are is 451; to one recipient it is a verdict like any other', async () => {
    const server = await upstream(locked)
    await start([server])
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toMatch(/^451 4\.3\.5 /)
    await relays.stop()
    server.script = (verb) => (verb === 'RCPT' ? '530 5.7.0 Authentication required for this list' : 'default')
    await start([server])
    expect(await send(relays.client())).toBe('530 5.7.0 Authentication required for this list')
  })

  test('4yz is told at once, also where the RCPT behind it is never answered', async () => {
    const script: Script = (verb) => (verb === 'MAIL' ? '451 4.3.0 not now' : verb === 'RCPT' ? 'silence' : 'default')
    const [bad, good] = [await upstream(script), await upstream()]
    await start([bad, good], { dial: { replyTimeoutMs: 60_000 } })
    for (let i = 0; i < 4 && bad.mailed().length === 0; i++) {
      expect(await send(relays.client(`client${i}.example`))).toMatch(/^250/)
    }
    expect(bad.mailed()).toHaveLength(1)
  })

  test.each(Object.keys(refuses))('%s from the only upstream is 451', async (what) => {
    await start([await upstream(refuses[what])], { dial })
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toMatch(/^451 4\.3\.|^refused: upstream_lost/)
    expect(countAll(/^MAIL/)).toBe(1)
  })

  test.each([
    ['with PIPELINING', ['PIPELINING', '8BITMIME']],
    ['without', ['8BITMIME']],
  ])('R41 where MAIL was taken no other upstream is asked, %s', async (_, extensions) => {
    await start(
      await both(
        (verb, __, { socket }) => {
          if (verb !== 'RCPT') return 'default'
          socket.destroy()
          return 'silence'
        },
        { extensions },
      ),
    )
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    expect(countAll(/^MAIL/)).toBe(1)
  })

  test('a 421 to RCPT is 451 for it and for all that follow', async () => {
    await start(await both((verb) => (verb === 'RCPT' ? '421 4.7.0 too many errors' : 'default')))
    const client = relays.client()
    expect(read(await client.rcpt(MAIL, RCPT))).toBe('451 4.7.0 too many errors')
    expect(read(await client.rcpt(MAIL, 'RCPT TO:<otto@example.test>'))).toBe('451 4.7.0 too many errors')
    expect(countAll(/^MAIL/)).toBe(1)
    expect(relays.held()).toBe(0)
  })

  test('R15 a message that needs what an upstream does not offer any more goes to another, or is put off', async () => {
    const old = await upstream(undefined, { extensions: ['PIPELINING'] })
    const good = await upstream()
    await start([old, good])
    const needs = { mailLine: 'MAIL FROM:<a@sender.example> BODY=8BITMIME', needs: ['8BITMIME'] }
    for (let i = 0; i < 4; i++) {
      expect(read(await relays.client(`c${i}.example`).rcpt(needs, RCPT))).toMatch(/^250/)
    }
    expect(old.mailed()).toEqual([])
    await good.stop()
    expect(read(await relays.client('last.example').rcpt(needs, RCPT))).toBe('refused: upstream_lost')
  })
})

describe.each(['none', 'xclient'] as const)('R15 an extension that is gone, with UPSTREAM_CLIENT_IP=%s', (clientIp) => {
  const PLAIN = ['PIPELINING', ...(clientIp === 'xclient' ? ['XCLIENT NAME ADDR'] : [])]
  const needs = (parameter: string, keyword: string) => ({
    mailLine: `MAIL FROM:<a@sender.example>${parameter}`,
    needs: [keyword],
  })

  test('behind a connection that had to be replaced: every connection is in the count, and closed', async () => {
    let lacks = false
    let mails = 0
    const server = await upstream((verb, _, { socket }) => {
      const offered = lacks ? PLAIN : [...PLAIN, '8BITMIME']
      if (verb === 'EHLO') return ['250-x', ...offered.map((each) => `250-${each}`), '250 HELP'].join('\r\n')
      if (verb !== 'MAIL' || ++mails !== 2) return 'default'
      lacks = true
      socket.end('421 4.3.2 restarting\r\n')
      return 'silence'
    })
    await start([server], { maxConnections: 1, patience: { idleMs: 100 }, dial: { clientIp } })
    const before = server.connections.length
    const client = relays.client()
    const body = needs(' BODY=8BITMIME', '8BITMIME')
    expect(await send(client)).toMatch(/^250/)
    expect(read(await client.rcpt(body, RCPT))).toBe('refused: upstream_lost')
    await client.close()
    await eventually(relays.held, (held) => held === 0)
    await eventually(
      () => server.connections.slice(before).filter(({ closed }) => !closed),
      (open) => open.length === 0,
    )
  })

  test('for a further recipient: 451 for that one, which is not sent on', async () => {
    const server = await upstream(undefined, { extensions: PLAIN })
    await start([server], { dial: { clientIp } })
    const client = relays.client()
    expect(read(await client.rcpt(MAIL, RCPT))).toMatch(/^250/)
    const asked = 'RCPT TO:<otto@example.test> NOTIFY=NEVER'
    expect(read(await client.rcpt(needs('', 'DSN'), asked))).toBe('refused: upstream_lost')
    expect(read(await client.rcpt(MAIL, 'RCPT TO:<emma@example.test>'))).toMatch(/^250/)
    expect(countAll(/NOTIFY/)).toBe(0)
  })
})

test.each([
  [' x\r\n', true],
  ['\rx\r\n', true],
  ['. x\r\n', true],
  ['.\r\r\n', true],
  ['.\tx\r\n', true],
  ['..x\r\n', false],
  ['.x\r\n', false],
  ['x\r\n', false],
])(
  'R35 a message that begins with %j stands apart from our Received line: %s; whole, and octet by octet',
  async (body, is) => {
    const server = await upstream()
    await start([server], { settings: { trace: true } })
    for (const parts of [[body], [...body]]) {
      const client = relays.client()
      expect(read(await client.rcpt(MAIL, RCPT))).toMatch(/^250/)
      expect(read(await client.data())).toMatch(/^354/)
      for (const part of parts) await client.write(Buffer.from(part, 'latin1'))
      expect(read((await client.end()).answer)).toMatch(/^250/)
    }
    const [whole, octets] = server
      .bodies()
      .map((each) => each.toString('latin1').replace(/^Received: (.*\r\n\t){2}.*\r\n/, ''))
    expect(whole).toBe(`${is ? '\r\n' : ''}${body.replace(/\r(?!\n)/, ' ')}`)
    expect(octets).toBe(whole)
  },
)
