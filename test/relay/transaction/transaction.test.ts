import { afterEach, describe, expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import {
  type Script,
  startUpstream,
  type Upstream,
  type UpstreamConnection,
  type UpstreamOptions,
} from '../../support/upstream.ts'
import { BODY, MAIL, RCPT, type Relays, type RelaysOptions, read, send, startRelays } from '../relays.ts'

let servers: Upstream[] = []
let relays: Relays
afterEach(async () => {
  await relays.stop()
  // No test leaves a slot behind, whatever it did.
  await eventually(relays.held, (held) => held === 0)
  await Promise.all(servers.map((server) => server.stop()))
  servers = []
})

async function upstream(script?: Script, options: UpstreamOptions = {}): Promise<Upstream> {
  const server = await startUpstream({ ...options, ...(script && { script }) })
  servers.push(server)
  return server
}
async function start(count: number | Upstream[], options: RelaysOptions = {}): Promise<Relays> {
  const these = typeof count === 'number' ? await Promise.all(Array.from({ length: count }, () => upstream())) : count
  relays = await startRelays(these, options)
  return relays
}
/** Commands of a connection from MAIL on, without what greets. */
const said = (server: Upstream | undefined, at = 0): string[] => server?.mailed()[at]?.lines ?? []
const countAll = (text: RegExp): number =>
  servers.flatMap(({ connections }) => connections.flatMap(({ lines }) => lines)).filter((line) => text.test(line))
    .length

/** Both servers answer as told; whichever is asked. */
const both = async (script: Script, options?: UpstreamOptions): Promise<Upstream[]> => [
  await upstream(script, options),
  await upstream(script, options),
]
const untilSaid = (server: Upstream, text: RegExp): Promise<unknown> =>
  eventually(
    () => server.connections.some(({ lines }) => lines.some((line) => text.test(line))),
    (found) => found,
  )

describe('R33 the client hears 250 only after the upstream', () => {
  test('the words are the upstream’s, all their lines', async () => {
    const server = await upstream((verb) =>
      verb === 'DOT' ? '250-2.0.0 Ok: queued\r\n250 2.0.0 as 4711\r\n' : 'default',
    )
    await start([server])
    expect(await send(relays.client())).toBe('250 2.0.0 Ok: queued 2.0.0 as 4711')
    expect(server.bodies()).toEqual([BODY])
  })

  test.each([
    ['452 4.3.1 disk full', '452 4.3.1 disk full', 'deferred'],
    ['554 5.6.0 no', '554 5.6.0 no', 'rejected'],
    ['421 4.3.2 stopping', '451 4.3.2 stopping', 'deferred'],
    ['354 what', '451 4.3.0 The mail server answered out of turn', 'unknown'],
  ])('a dot answered with %s is %s', async (reply, heard, result) => {
    const server = await upstream((verb) => (verb === 'DOT' ? reply : 'default'))
    await start([server])
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    await client.write(BODY)
    const final = await client.end()
    expect([read(final.answer), final.result]).toEqual([heard, result])
    // The next message goes on, over the same connection where that is still good.
    client.reset()
    server.script = undefined
    expect(await send(client)).toMatch(/^250 /)
    expect(server.mailed()).toHaveLength(/^(421|354)/.test(reply) ? 2 : 1)
  })

  test('a yes before the dot is not believed, a no is', async () => {
    const early = await upstream((verb, _, connection) => {
      if (verb !== 'DATA') return 'default'
      connection.say('354 go\r\n250 2.0.0 queued already')
      return 'silence'
    })
    await start([early])
    expect(await send(relays.client())).toBe('refused: upstream_lost')
    early.script = (verb, _, connection) => {
      if (verb !== 'DATA') return 'default'
      connection.say('354 go\r\n552 5.3.4 too much')
      return 'silence'
    }
    expect(await send(relays.client())).toBe('552 5.3.4 too much')
    expect(early.bodies()).toEqual([])
    // It has been left before anything of the text was sent.
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    expect(read(await client.data())).toMatch(/^354 /)
    await eventually(relays.held, (held) => held === 0)
    await client.write(BODY)
    expect(read((await client.end()).answer)).toBe('552 5.3.4 too much')
  })
  test.each<[how: string, leave: (connection: UpstreamConnection) => void, heard: string, result: string]>([
    ['closes', ({ socket }) => socket.end(), 'refused: upstream_lost', 'deferred'],
    ['is reset', ({ socket }) => socket.resetAndDestroy(), 'refused: upstream_lost', 'deferred'],
    ['refuses for now', (it) => it.say('452 4.3.1 disk full'), '452 4.3.1 disk full', 'deferred'],
    ['refuses for good and closes', (it) => it.socket.end('554 5.6.0 no\r\n'), '554 5.6.0 no', 'rejected'],
    ['says 421 in two pieces', (it) => it.say('421-4.3.2\r\n421 4.3.2 bye'), '451 4.3.2 4.3.2 bye', 'deferred'],
    ['says yes', (it) => it.say('250 2.0.0 queued'), 'refused: upstream_lost', 'deferred'],
  ])('R30 R42 one that %s in the middle of the text is left before the dot, and its slot is free', async (...row) => {
    const [, leave, heard, result] = row
    const server = await upstream()
    await start([server])
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    await client.write(BODY)
    leave(server.mailed()[0] as UpstreamConnection)
    await eventually(relays.held, (held) => held === 0)
    // Whoever is asked, it was this one; and what the client still sends goes nowhere.
    expect(client.upstream).toBe(server.address)
    expect(await client.write(BODY)).toBeUndefined()
    const final = await client.end()
    expect([read(final.answer), final.result]).toEqual([heard, result])
    client.reset()
    expect(server.bodies()).toEqual([])
    expect(await send(client)).toMatch(/^250 /)
    expect(server.mailed()).toHaveLength(2)
  })

  test('R27 R42 a message that is refused for a bare newline leaves its server at once', async () => {
    const server = await upstream()
    await start([server], { settings: { bareNewline: 'reject' } })
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    await client.write(Buffer.from('Subject: test\r\n\r\nbare\nline\r\n'))
    expect(relays.held()).toBe(0)
    await client.write(Buffer.from('more\n'))
    const final = await client.end()
    expect([read(final.answer), final.result]).toEqual(['refused: bare_newline', 'rejected'])
    expect(relays.metrics.bareNewlines.of('lf').value).toBe(1)
    expect(server.bodies()).toEqual([])
  })
})

describe('R29 the client is gone before the dot', () => {
  test('in the middle of the body: the upstream sees no dot and a close', async () => {
    const server = await upstream()
    await start([server])
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    server.script = () => 'silence'
    // The body's own last bytes look like half of an end.
    await client.write(Buffer.from('Subject: half\r\n\r\n..\r\n'))
    await client.close()
    await eventually(
      () => server.mailed()[0]?.closed,
      (closed) => closed === true,
    )
    expect(server.bodies()).toEqual([])
    expect(relays.held()).toBe(0)
  })

  test('while 354 is awaited: nothing follows DATA', async () => {
    const server = await upstream((verb) => (verb === 'DATA' ? 'silence' : 'default'))
    await start([server])
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    const go = client.data()
    await untilSaid(server, /^DATA/)
    await client.close()
    expect(read(await go)).toBe('refused: upstream_lost')
    await eventually(
      () => server.mailed()[0]?.closed,
      (closed) => closed === true,
    )
    expect(said(server).at(-1)).toBe('DATA')
    expect(relays.held()).toBe(0)
  })
})

describe('R30 the upstream is gone', () => {
  test.each([
    ['in the middle of the body', 'body'],
    ['after the dot', 'dot'],
  ])('%s: 451, and never another is asked', async (_, when) => {
    const script: Script = (verb, __, connection) => {
      if (verb === (when === 'body' ? 'DATA' : 'DOT')) {
        if (when === 'body') connection.say('354 go')
        connection.socket.end()
        return 'silence'
      }
      return 'default'
    }
    await start(await both(script))
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    if (when === 'body') {
      await eventually(
        () => servers.flatMap((server) => server.mailed())[0]?.closed,
        (closed) => closed === true,
      )
    }
    await client.write(BODY)
    const { answer, result } = await client.end()
    expect([read(answer), result]).toEqual(['refused: upstream_lost', when === 'dot' ? 'unknown' : 'deferred'])
    expect(countAll(/^MAIL/)).toBe(1)
  })

  test('an answer to the dot that is none: the outcome is unknown', async () => {
    await start([await upstream((verb) => (verb === 'DOT' ? 'thanks!' : 'default'))])
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    await client.write(BODY)
    expect((await client.end()).result).toBe('unknown')
  })

  test('between two recipients: all that follow, and DATA, are 451', async () => {
    const server = await upstream()
    await start([server, await upstream()])
    const client = relays.client()
    const taken = await client.rcpt(MAIL, RCPT)
    for (const { socket } of servers.flatMap((each) => each.mailed())) socket.destroy()
    expect(read(taken)).toMatch(/^250/)
    expect(read(await client.rcpt(MAIL, 'RCPT TO:<otto@example.test>'))).toBe('refused: upstream_lost')
    expect(read(await client.rcpt(MAIL, 'RCPT TO:<emma@example.test>'))).toBe('refused: upstream_lost')
    expect(read(await client.data())).toBe('refused: upstream_lost')
    expect(countAll(/^MAIL/)).toBe(1)
    client.reset()
    expect(await send(client)).toMatch(/^250/)
  })
})

describe('R31 R32 the client is gone after the dot', () => {
  test('the answer is awaited, and the slot held until it is there', async () => {
    let answer: (text: string) => void = () => undefined
    const asked = new Promise<string>((resolve) => {
      answer = resolve
    })
    const server = await upstream((verb) => (verb === 'DOT' ? asked : 'default'))
    await start([server])
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    await client.write(BODY)
    const ending = client.end()
    await eventually(
      () => server.bodies().length,
      (count) => count === 1,
    )
    let left = false
    const leaving = client.close().then(() => {
      left = true
    })
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect([left, relays.held()]).toEqual([false, 1])
    answer('250 2.0.0 Ok: queued after all')
    expect((await ending).result).toBe('accepted')
    await leaving
  })

  test('an upstream that never answers the dot is given up after UPSTREAM_DATA_TIMEOUT', async () => {
    const server = await upstream((verb) => (verb === 'DOT' ? 'silence' : 'default'))
    await start([server], { settings: { dataTimeoutMs: 100 } })
    const client = relays.client()
    await client.rcpt(MAIL, RCPT)
    await client.data()
    await client.write(BODY)
    const { result, ms } = await client.end()
    expect(result).toBe('unknown')
    expect(ms).toBeGreaterThanOrEqual(95)
    expect(relays.held()).toBe(0)
  })
})

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
    const needs = { line: 'MAIL FROM:<a@sender.example> BODY=8BITMIME', needs: ['8BITMIME'] }
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
    line: `MAIL FROM:<a@sender.example>${parameter}`,
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

describe('R12 recipients', () => {
  test('replies map one to one, and a refusal of one leaves the others', async () => {
    const server = await upstream((verb, line) => {
      if (verb !== 'RCPT') return 'default'
      if (line.includes('nobody')) return '550 5.1.1 unknown'
      return line.includes('later') ? '450 4.2.0 greylisted' : 'default'
    })
    await start([server])
    const client = relays.client()
    const heard = []
    for (const name of ['nobody', 'anna', 'later', 'otto', 'nobody2']) {
      heard.push(read(await client.rcpt(MAIL, `RCPT TO:<${name}@example.test>`)).slice(0, 3))
    }
    expect(heard).toEqual(['550', '250', '450', '250', '550'])
    expect(client.accepted).toBe(2)
    expect(read(await client.data())).toMatch(/^354/)
  })

  test.each([
    ['2yz', '250 2.0.0 fine'],
    ['421', '421 4.3.2 stopping'],
  ])('DATA answered with %s is 451', async (_, reply) => {
    const server = await upstream((verb) => (verb === 'DATA' ? reply : 'default'))
    await start([server])
    expect(await send(relays.client())).toMatch(/^451 4\.3\./)
    expect(relays.held()).toBe(0)
  })
})

describe('R45 budgets', () => {
  const silent =
    (verb: string): Script =>
    (said) =>
      said === verb ? 'silence' : 'default'
  test.each(['MAIL', 'RCPT'])(
    'an upstream that does not answer %s costs no more than the budget for RCPT',
    async (verb) => {
      await start(await both(silent(verb)), { budgets: { rcptMs: 200 }, dial: { replyTimeoutMs: 60_000 } })
      const started = performance.now()
      expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
      expect(performance.now() - started).toBeLessThan(1000)
    },
  )

  test('one that does not greet, or drips its greeting, neither', async () => {
    const script: Script = () => 'default'
    const greeting = (connection: { say(text: string): void; socket: { destroyed: boolean } }): void => {
      const timer = setInterval(
        () => (connection.socket.destroyed ? clearInterval(timer) : connection.say('220-hm')),
        20,
      )
    }
    const hangs = await upstream(script, { greeting: '220 ok' })
    await start([hangs], { budgets: { rcptMs: 200 }, dial: { replyTimeoutMs: 60_000 } })
    await hangs.stop()
    await upstream(script, { greeting, port: hangs.port })
    const started = performance.now()
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_lost')
    expect(performance.now() - started).toBeLessThan(1000)
  })

  test('DATA has its own, and UPSTREAM_REPLY_TIMEOUT is obeyed where it is shorter', async () => {
    await start([await upstream(silent('DATA'))], { budgets: { dataMs: 100 }, dial: { replyTimeoutMs: 60_000 } })
    expect(await send(relays.client())).toBe('refused: upstream_lost')
    await relays.stop()
    relays = await startRelays([await upstream(silent('DATA'))], { dial: { replyTimeoutMs: 100 } })
    expect(await send(relays.client())).toBe('refused: upstream_lost')
  })
})

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
      ...[MAIL.line, RCPT, 'DATA'],
      ...[MAIL.line, RCPT],
      ...['RSET', MAIL.line, RCPT, 'DATA'],
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
