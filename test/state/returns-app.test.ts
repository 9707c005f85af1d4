/** Two apps with one Redis, at level 3: a stranger that one has put off goes first at the other, with the settings that are shipped. */
import { afterEach, expect, jest, test } from '@jest/globals'
import { eventually, type TestApp } from '../support/app.ts'
import { deliver, startPair } from '../support/pair.ts'
import { stoppedAfterEach } from '../support/started.ts'

const started = stoppedAfterEach()
afterEach(() => {
  jest.restoreAllMocks()
})

/** Waits until a node has had so many more answers. @returns how many it has had */
const commands = (app: TestApp, before: number, more = 0): Promise<number> =>
  eventually(
    async () => (await app.metric('spillway_redis_commands_total{use="returns",result="ok"}')) ?? 0,
    (count) => count >= before + more,
  )

const rationed = (app: TestApp, came: string, result: string) =>
  app.metric(`spillway_rationed_messages_total{came="${came}",result="${result}"}`)

test('what was put off at one node comes back at another', async () => {
  let now = Date.now()
  jest.spyOn(Date, 'now').mockImplementation(() => now)
  // The share follows the pressure, and the event loop is that of the test, too.
  const { a, b } = await startPair(started, { OVERLOAD: '3', OVERLOAD_EVENT_LOOP: '10s' })
  expect(await deliver(a, '198.51.100.7')).toMatch(/^451/)
  now += 61_000
  // Once a second all is told and heard: a command of the first node tells it, and the second command of the other one after that
  // was begun when it was there.
  await commands(a, await commands(a, 0), 2)
  await commands(b, await commands(b, 0), 2)
  expect(await deliver(b, '198.51.100.9')).toMatch(/^250/)
  expect(await rationed(b, 'back', 'let_in')).toBe(1)
  expect(await rationed(a, 'first', 'put_off')).toBe(1)
  expect(await b.metric('spillway_redis_commands_total{use="returns",result="failed"}')).toBe(0)
  const line = await a.waitForLog(({ msg }) => msg === 'session')
  expect(line).toMatchObject({ reason: 'overload', came: 'first', standing: 'new', share: 0.05 })
})
