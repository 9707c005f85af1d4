/** How often /metrics is rendered, and who shares it, on a clock of the test's own. */
import { beforeEach, expect, test } from '@jest/globals'
import { Rendering } from '../../src/admin/rendering.ts'

class FakeClock {
  at = 0
  readonly #waiting: { until: number; wake: () => void }[] = []

  readonly elapsed = (): number => this.at

  readonly wait = (ms: number): Promise<void> =>
    new Promise((wake) => void this.#waiting.push({ until: this.at + ms, wake }))

  get waits(): number[] {
    return this.#waiting.map(({ until }) => until - this.at)
  }

  async pass(ms: number): Promise<void> {
    this.at += ms
    for (const each of this.#waiting.splice(0)) {
      if (each.until <= this.at) each.wake()
      else this.#waiting.push(each)
    }
    await settled()
  }
}

/** All that can go on without time going on has gone on. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

let clock: FakeClock
let rendered: number
let takes: number
let rendering: Rendering<number>
beforeEach(() => {
  clock = new FakeClock()
  rendered = 0
  takes = 20
  rendering = new Rendering(
    async () => {
      clock.at += takes
      rendered++
      return rendered
    },
    clock,
    clock.wait,
  )
})

test('who asks a quiet node has a rendering of his own, at once', async () => {
  for (let i = 1; i <= 5; i++) {
    expect(await rendering.get()).toBe(i)
    await clock.pass(15_000)
  }
})

test('all who ask at the same time share one', async () => {
  const asked = Array.from({ length: 400 }, () => rendering.get())
  expect(new Set(await Promise.all(asked)).size).toBe(1)
  expect(rendered).toBe(1)
})

test('who asks right after a rendering shares the next, 50 ms later', async () => {
  expect(await rendering.get()).toBe(1)
  const soon = [rendering.get()]
  await clock.pass(30)
  soon.push(rendering.get())
  expect(rendered).toBe(1)
  await clock.pass(20)
  expect(await Promise.all(soon)).toEqual([2, 2])
})

test('under an onslaught a tenth of the time goes into it, and the wait is as long as that takes', async () => {
  let longest = 0
  const ask = async (): Promise<void> => {
    const since = clock.at
    await rendering.get()
    longest = Math.max(longest, clock.at - since)
  }
  const begun = clock.at
  const askers: Promise<void>[] = []
  while (clock.at < begun + 60_000) {
    askers.push(ask())
    await settled()
    await clock.pass(10)
  }
  const all = Promise.all(askers)
  for (let i = 0; i < 200; i++) await clock.pass(10)
  await all
  // 200 ms of credit, and a tenth of a minute and two seconds; one more may have begun.
  expect(rendered * takes).toBeLessThanOrEqual(200 + 6200 + takes)
  expect(rendered).toBeGreaterThan(250)
  expect(longest).toBeLessThanOrEqual(200 + takes + 10)
})

test('Prometheus servers that scrape every second are never made to wait, with 20 ms a rendering', async () => {
  for (let i = 1; i <= 120; i++) {
    expect(await rendering.get()).toBe(2 * i - 1)
    await clock.pass(500)
    expect(await rendering.get()).toBe(2 * i)
    await clock.pass(500)
  }
})

test('one that takes longer than it should is waited for no longer than two seconds either', async () => {
  takes = 5000
  await rendering.get()
  const next = rendering.get()
  await settled()
  expect(clock.waits).toEqual([2000])
  await clock.pass(2000)
  expect(await next).toBe(2)
})

test('who asks while others wait is told nothing older than his question, but where many wait', async () => {
  takes = 300
  expect(await rendering.get()).toBe(1)
  const many = Array.from({ length: 16 }, () => rendering.get())
  await settled()
  expect(await rendering.get()).toBe(1)
  await clock.pass(2000)
  expect(await Promise.all(many)).toEqual(Array.from({ length: 16 }, () => 2))
})

test('one that fails fails for those who share it, and for nobody after them', async () => {
  let broken = true
  const failing = new Rendering(
    async () => {
      if (broken) throw new Error('broken')
      return 'well'
    },
    clock,
    clock.wait,
  )
  const both = await Promise.allSettled([failing.get(), failing.get()])
  expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  broken = false
  await clock.pass(50)
  expect(await failing.get()).toBe('well')
})
