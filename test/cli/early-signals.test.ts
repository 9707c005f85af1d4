/** Signals that come while the program starts. */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { EarlySignals, SAME_PRESS_MS } from '../../src/cli/early-signals.ts'

let early: EarlySignals
let exits: unknown[]
beforeEach(() => {
  jest.useFakeTimers()
  exits = []
  jest.spyOn(process, 'exit').mockImplementation(((code: unknown) => void exits.push(code)) as never)
  early = new EarlySignals()
})
afterEach(() => {
  early.end()
  jest.restoreAllMocks()
  jest.useRealTimers()
})
const send = (signal: NodeJS.Signals): boolean => process.emit(signal, signal)

test('are noted, and end nothing', () => {
  send('SIGTERM')
  send('SIGHUP')
  expect([early.has('SIGTERM'), early.has('SIGHUP'), early.has('SIGINT')]).toEqual([true, true, false])
  expect(exits).toEqual([])
})

test('end the program at once if they are repeated: a start may hang', () => {
  send('SIGINT')
  // npm passes on what the program has received already.
  jest.advanceTimersByTime(SAME_PRESS_MS - 1)
  send('SIGINT')
  expect(exits).toEqual([])
  jest.advanceTimersByTime(2)
  send('SIGINT')
  expect(exits).toEqual([1])
})

test('SIGHUP asks for no more than one reload, however often it comes', () => {
  send('SIGHUP')
  jest.advanceTimersByTime(SAME_PRESS_MS + 1)
  send('SIGHUP')
  expect(exits).toEqual([])
})

test('are somebody else’s once the program serves', () => {
  send('SIGTERM')
  jest.advanceTimersByTime(SAME_PRESS_MS + 1)
  early.end()
  send('SIGTERM')
  expect(exits).toEqual([])
})
