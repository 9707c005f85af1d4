/** A server that would be an open relay through us is not used. */
import { describe, expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import type { Script, Upstream } from '../../support/upstream.ts'
import { MAIL, RCPT, read, send } from '../relays.ts'
import { relays, start, stopAfterEach, upstreamWith as upstream } from '../scene.ts'

stopAfterEach()
const isUp = (server: Upstream): boolean => relays.upstreams.isUp(server.address)

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
