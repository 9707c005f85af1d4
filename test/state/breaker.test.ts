/** When Redis is no longer asked, and when it is asked again. */
import { afterEach, expect, jest, test } from '@jest/globals'
import { Breaker } from '../../src/state/breaker.ts'

const TIMEOUT_MS = 50
let breaker: Breaker | undefined
afterEach(() => {
  breaker?.stop()
  jest.useRealTimers()
})

/** Closed, with a fake clock. */
async function closed(probe: () => Promise<unknown> = async () => 'ok') {
  jest.useFakeTimers()
  const changes: boolean[] = []
  breaker = new Breaker({
    probe,
    timeoutMs: TIMEOUT_MS,
    elapsed: () => performance.now(),
    changed: (now) => changes.push(now),
  })
  const started = breaker.start(1000)
  await jest.advanceTimersByTimeAsync(20)
  await started
  return { breaker, changes }
}

test('questions of one moment that fail together are one failure: one stall does not open it', async () => {
  const { breaker } = await closed()
  for (let i = 0; i < 100; i++) breaker.failed('late')
  expect(breaker.closed).toBe(true)
})

test('failures one after the other open it, and a question that is answered begins the count anew', async () => {
  let away = false
  const { breaker, changes } = await closed(async () => {
    if (away) throw new Error('away')
  })
  away = true
  for (const last of [true, false]) {
    for (let i = 0; i < 2; i++) {
      breaker.failed('late')
      await jest.advanceTimersByTimeAsync(TIMEOUT_MS)
      expect(breaker.closed).toBe(true)
    }
    if (last) breaker.succeeded()
  }
  breaker.failed('late')
  expect(breaker.closed).toBe(false)
  expect(changes).toEqual([true, false])
})

test('a lost connection opens it at once, and the first probe answered in time closes it', async () => {
  let away = false
  const { breaker } = await closed(async () => {
    if (away) throw new Error('away')
  })
  away = true
  breaker.open('the connection is lost')
  await jest.advanceTimersByTimeAsync(1000)
  expect(breaker.closed).toBe(false)
  away = false
  await jest.advanceTimersByTimeAsync(300)
  expect(breaker.closed).toBe(true)
})
