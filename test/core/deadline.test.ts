import { afterEach, describe, expect, jest, test } from '@jest/globals'
import { Late, within } from '../../src/core/deadline.ts'

const NEVER = new Promise<never>(() => undefined)

describe('within', () => {
  afterEach(() => {
    jest.useRealTimers()
  })

  test('settles as the answer does, and leaves no timer', async () => {
    jest.useFakeTimers()
    await expect(within(Promise.resolve('yes'), 50)).resolves.toBe('yes')
    await expect(within(Promise.reject(new Error('no')), 50)).rejects.toThrow('no')
    expect(jest.getTimerCount()).toBe(0)
  })

  test('rejects with Late when the time is over, and not before', async () => {
    jest.useFakeTimers()
    const settled = jest.fn()
    const waiting = within(NEVER, 50)
    waiting.catch(settled)
    await jest.advanceTimersByTimeAsync(49)
    expect(settled).not.toHaveBeenCalled()
    await jest.advanceTimersByTimeAsync(1)
    await expect(waiting).rejects.toEqual(new Late('no answer within 50 ms'))
    await expect(waiting).rejects.toBeInstanceOf(Late)
  })

  test.each<[string, () => string]>([
    ['or what is given instead', () => 'nothing'],
    [
      'or what is thrown instead',
      () => {
        throw new Error('nothing')
      },
    ],
  ])('%s, once', async (_, late) => {
    jest.useFakeTimers()
    const called = jest.fn(late)
    const waiting = within(NEVER, 50, called).catch((error: Error) => error.message)
    await jest.advanceTimersByTimeAsync(500)
    expect(await waiting).toBe('nothing')
    expect(called).toHaveBeenCalledTimes(1)
  })

  test('an answer that comes too late changes nothing, whatever it is', async () => {
    jest.useFakeTimers()
    for (const end of ['resolve', 'reject'] as const) {
      const answer = Promise.withResolvers<string>()
      const waiting = within(answer.promise, 50, () => 'nothing')
      await jest.advanceTimersByTimeAsync(50)
      answer[end]('late')
      expect(await waiting).toBe('nothing')
    }
  })

  test('an answer that arrived while the process was held up counts', async () => {
    const answer = new Promise<string>((resolve) => {
      setImmediate(resolve, 'yes')
    })
    const late = jest.fn()
    const waiting = within(answer, 5, late)
    const until = performance.now() + 20
    while (performance.now() < until);
    expect(await waiting).toBe('yes')
    await new Promise((resolve) => setImmediate(resolve))
    expect(late).not.toHaveBeenCalled()
  })
})
