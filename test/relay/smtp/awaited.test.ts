/** Deadlines of the replies that are awaited on one connection. */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { AwaitedReplies } from '../../../src/relay/smtp/awaited.ts'
import { UpstreamError } from '../../../src/relay/smtp/upstream-error.ts'

const OK = { code: 250, lines: ['Ok'] }

let late: number[]
let awaited: AwaitedReplies
beforeEach(() => {
  jest.useFakeTimers()
  late = []
  awaited = new AwaitedReplies(
    () => performance.now(),
    (timeoutMs) => late.push(timeoutMs),
  )
})
afterEach(() => {
  jest.useRealTimers()
})

test('each reply is late in its own time, also behind one that may take longer', () => {
  void awaited.wait(1000)
  void awaited.wait(100)
  jest.advanceTimersByTime(99)
  expect(late).toEqual([])
  jest.advanceTimersByTime(1)
  expect(late).toEqual([100])
})

test('a deadline holds when the timer was set for an earlier reply, which came', async () => {
  const first = awaited.wait(100)
  awaited.answer(OK)
  await expect(first).resolves.toBe(OK)
  jest.advanceTimersByTime(50)
  void awaited.wait(300)
  jest.advanceTimersByTime(299)
  expect(late).toEqual([])
  jest.advanceTimersByTime(1)
  expect(late).toEqual([300])
})

test('replies that come in time share one timer, and leave none behind', () => {
  const timers = jest.spyOn(globalThis, 'setTimeout')
  for (let i = 0; i < 100; i++) {
    void awaited.wait(300_000 - i)
    awaited.answer(OK)
    jest.advanceTimersByTime(1)
  }
  expect(timers).toHaveBeenCalledTimes(1)
  jest.advanceTimersByTime(300_000)
  expect(jest.getTimerCount()).toBe(0)
  expect(late).toEqual([])
})

test('after a failure nobody is late, and whoever waits then is late in time', async () => {
  const reply = awaited.wait(100)
  awaited.fail(() => new UpstreamError('lost', 'gone'))
  await expect(reply).rejects.toThrow('gone')
  expect(jest.getTimerCount()).toBe(0)
  jest.advanceTimersByTime(1000)
  expect(late).toEqual([])
  void awaited.wait(150)
  jest.advanceTimersByTime(150)
  expect(late).toEqual([150])
})
