/** What becomes of the text of a message: who hears what of its dot, and what is left where either side is gone. */
import { describe, expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import type { Script, UpstreamConnection } from '../../support/upstream.ts'
import { BODY, MAIL, RCPT, read, send } from '../relays.ts'
import { both, countAll, relays, said, servers, start, stopAfterEach, untilSaid, upstream } from '../scene.ts'

stopAfterEach()

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
    await start([server], { maxConnections: 1, patience: { slotMs: 50 } })
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
    // Meanwhile another client waits for the slot, in vain.
    expect(read(await relays.client().rcpt(MAIL, RCPT))).toBe('refused: upstream_full')
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
