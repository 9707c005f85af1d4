/** Which replies to the dot are measured for the overload level, and what is set off. */
import { expect, test } from '@jest/globals'
import { eventually } from '../../support/app.ts'
import type { Script } from '../../support/upstream.ts'
import { BODY, MAIL, RCPT } from '../relays.ts'
import { relays, servers, start, stopAfterEach, upstream } from '../scene.ts'

stopAfterEach()

const COUNT = 20
const LATE_MS = 100
const answersLate =
  (reply: string): Script =>
  async (verb) => {
    if (verb !== 'DOT') return 'default'
    await new Promise((resolve) => setTimeout(resolve, LATE_MS))
    return reply
  }

/** Twenty messages side by side, from as many neighbourhoods. @returns when all have their result */
const sendAll = (body: string): Promise<unknown> =>
  Promise.all(
    Array.from({ length: COUNT }, async (_, i) => {
      const client = relays.client('client.example', `198.51.${i}.7`)
      await client.rcpt(MAIL, RCPT)
      await client.data()
      await client.write(Buffer.from(body))
      return client.end()
    }),
  )
/** In milliseconds. @param mayTakeMs how long a reply may take before those that wait count */
const dotMs = (mayTakeMs = 60_000): number | undefined => relays.upstreams.slots.load(mayTakeMs).servers[0]?.dotMs

test('messages that were accepted count, with the time from their dot to the reply', async () => {
  await start([await upstream(answersLate('250 2.0.0 queued'))])
  await sendAll(BODY.toString())
  expect(dotMs()).toBeGreaterThanOrEqual(LATE_MS - 5)
})

test('the time that a large message may take is set off', async () => {
  await start([await upstream(answersLate('250 2.0.0 queued'))])
  // Half a second for half a megabyte.
  await sendAll(`${'x'.repeat(76)}\r\n`.repeat(6500))
  expect(dotMs()).toBeLessThan(LATE_MS)
}, 20_000)

test.each(['550 5.7.1 spam', '451 4.7.1 later'])('a refusal does not count: %s', async (reply) => {
  await start([await upstream(answersLate(reply))])
  await sendAll(BODY.toString())
  expect(dotMs()).toBeUndefined()
})

test('messages that wait for a server that says nothing count, until their connection is gone', async () => {
  let dots = 0
  await start([
    await upstream((verb) => {
      if (verb !== 'DOT') return 'default'
      dots++
      return 'silence'
    }),
  ])
  const all = sendAll(BODY.toString())
  await eventually(
    () => dots,
    (count) => count === COUNT,
  )
  expect(dotMs(0)).toBeGreaterThanOrEqual(0)
  for (const { socket } of servers[0]?.mailed() ?? []) socket.destroy()
  await all
  expect(dotMs(0)).toBeUndefined()
})
