/** S16: an honest day, with an empty history and default settings, refuses no one. Compressed: the clock is ours. */
import { afterEach, expect, jest, test } from '@jest/globals'
import { STANDINGS } from '../../src/core/client.ts'
import { BALANCER, eventually, startApp } from '../support/app.ts'
import { startUpstream } from '../support/upstream.ts'

afterEach(() => {
  jest.restoreAllMocks()
})

test('S16 a big provider, a pool of changing addresses and a list of 20,000 recipients: nobody is refused', async () => {
  let now = Date.now()
  jest.spyOn(Date, 'now').mockImplementation(() => now)
  const upstream = await startUpstream()
  const app = await startApp(upstream.address, { PROXY_PROTOCOL_FROM: BALANCER, OVERLOAD: 'auto' })
  const bad: string[] = []
  const expectCode = (reply: string, code: string): void => {
    if (!reply.startsWith(code)) bad.push(reply)
  }
  /** Sessions that brought mail. */
  const byStanding = async (): Promise<Map<string, number>> => {
    const counts = new Map<string, number>()
    for (const standing of STANDINGS) {
      const count = await app.metric(`spillway_sessions_total{outcome="relayed",standing="${standing}"}`)
      counts.set(standing, count ?? 0)
    }
    return counts
  }
  /** One connection with one message, pipelined as mail servers do it. */
  const deliver = async (ip: string, from: string, recipients: readonly string[]): Promise<void> => {
    const client = await app.clientAs(ip)
    expectCode(await client.reply(), '220')
    expectCode(await client.command('EHLO mail.example.org'), '250')
    const rcpts = recipients.map((to) => `RCPT TO:<${to}>\r\n`).join('')
    client.write(`MAIL FROM:<${from}>\r\n${rcpts}DATA\r\n`)
    for (let i = 0; i <= recipients.length; i++) expectCode(await client.reply(), '250')
    expectCode(await client.reply(), '354')
    client.write('Subject: honest\r\n\r\nmail\r\n.\r\nQUIT\r\n')
    expectCode(await client.reply(), '250')
    expectCode(await client.reply(), '221')
    await client.closed()
  }
  try {
    for (let round = 0; round < 40; round++) {
      // Four minutes of the list: 5 messages of 100 recipients; 10 of the provider, 15 of the pool, all at once.
      const list = Array.from({ length: 5 }, (_, i) =>
        deliver(
          '198.51.100.9',
          'bounces@list.example',
          Array.from({ length: 100 }, (_, j) => `u${round}-${i}-${j}@example.net`),
        ),
      )
      const provider = Array.from({ length: 10 }, (_, i) =>
        deliver(`2001:db8:5:1::${round.toString(16)}:${i + 1}`, `p${i}@provider.example`, [`u${i}@example.net`]),
      )
      const pool = Array.from({ length: 15 }, (_, i) =>
        deliver(`203.0.${(round * 15 + i) % 256}.${1 + ((round * 7) % 250)}`, i % 5 === 0 ? '' : `s${i}@pool.example`, [
          `u${i}@example.net`,
        ]),
      )
      await Promise.all([...list, ...provider, ...pool])
      now += 4 * 60_000
    }
    expect(bad).toEqual([])
    expect(upstream.bodies()).toHaveLength(1200)
    await eventually(
      async () => [...(await byStanding()).values()].reduce((all, count) => all + count, 0),
      (count) => count === 1200,
    )
    // Within one day everybody's good mail is seen, and nobody is known by it.
    expect([...(await byStanding())].flatMap(([standing, count]) => (count > 0 ? [standing] : []))).toEqual([
      'seen',
      'new',
    ])
    const { body } = await app.get('/metrics')
    const refused = body.split('\n').filter((line) => /^spillway_refusals_total/.test(line) && !line.endsWith(' 0'))
    expect(refused).toEqual([])
    expect(await app.metric('spillway_recipients_total{result="accepted"}')).toBe(20_000 + 1000)
  } finally {
    await upstream.stop()
    await app.stop()
  }
})
