/** A client's transaction as a whole: recipients, and the time it may take. */
import { describe, expect, test } from '@jest/globals'
import { BUDGETS } from '../../../src/relay/transaction/relay.ts'
import type { Script } from '../../support/upstream.ts'
import { MAIL, RCPT, read, send } from '../relays.ts'
import { both, relays, start, stopAfterEach, upstream } from '../scene.ts'

stopAfterEach()

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
  test('as shipped they end before the client gives up: 5 minutes after RCPT, 2 after DATA', () => {
    expect(BUDGETS).toMatchObject({ rcptMs: 270_000, dataMs: 110_000 })
  })

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
    await start([await upstream(silent('DATA'))], { dial: { replyTimeoutMs: 100 } })
    expect(await send(relays.client())).toBe('refused: upstream_lost')
  })
})
