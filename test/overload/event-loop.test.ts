/** The delay of the event loop, of a real one. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { watchLoop } from '../../src/overload/event-loop.ts'

const block = (ms: number): void => {
  const until = performance.now() + ms
  while (performance.now() < until);
}

test('a loop that is late each time is late on average; one pause among many turns is not', async () => {
  const loop = watchLoop()
  try {
    await sleep(50)
    loop.read(0)
    for (let i = 0; i < 8; i++) {
      block(80)
      await sleep(0)
    }
    const late = loop.read(0)
    expect(late).toBeGreaterThan(40)
    // What was read is not read again.
    await sleep(150)
    expect(loop.read(0)).toBeLessThan(late / 4)
    block(80)
    await sleep(600)
    expect(loop.read(0)).toBeLessThan(late / 2)
  } finally {
    loop.stop()
  }
})

test('a loop that stood still all the time is as late as its timer', () => {
  const loop = watchLoop()
  loop.read(0)
  expect(loop.read(700)).toBe(700)
  expect(loop.read(-5)).toBe(0)
  loop.stop()
})
