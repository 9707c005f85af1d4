/** The stage between the gate and the session: what a client that was let in waits for before it hears 220. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { GREETING_DEADLINE_MS, type Greeting, waited } from '../../../src/front/gate/greeting.ts'
import { eventually } from '../../support/app.ts'
import { startFront, type TestFront } from '../../support/front.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
const ends: (() => Promise<unknown>)[] = []
beforeEach(async () => {
  upstream = await startUpstream()
  ends.push(() => upstream.stop())
})
afterEach(async () => {
  jest.useRealTimers()
  for (const end of ends.splice(0).reverse()) await end()
})

/** Holds greetings back until they are let go. */
function held() {
  const waiting: { readonly ip: string; go(): void; fail(error: Error): void }[] = []
  const greeting: Greeting = ({ ip }) =>
    new Promise((go, fail) => {
      waiting.push({ ip, go: () => go(false), fail })
    })
  const next = async () => {
    await eventually(
      () => waiting.length,
      (count) => count > 0,
    )
    return waiting.shift() as (typeof waiting)[number]
  }
  return { greeting, next }
}

async function front(greeting: Greeting): Promise<TestFront> {
  const started = await startFront(upstream.address, { LOG_SAMPLE: '1' }, { greeting })
  ends.push(() => started.stop())
  return started
}
const session = (node: TestFront) =>
  eventually(
    () => node.lines.find(({ msg }) => msg === 'session'),
    (line) => line !== undefined,
  )

describe('a greeting that waits', () => {
  test('nothing is said before it, and what came early is answered behind it, in order', async () => {
    const { greeting, next } = held()
    const node = await front(greeting)
    const client = await node.client('127.0.0.5')
    client.write('EHLO early.example\r\nNOOP\r\nQUIT\r\n')
    const wait = await next()
    expect(wait.ip).toBe('127.0.0.5')
    // Another one is not held up by the first.
    const other = await node.client('127.0.0.6')
    const otherWait = await next()
    otherWait.go()
    expect(await other.reply()).toMatch(/^220/)
    expect(client.socket.bytesRead).toBe(0)
    wait.go()
    for (const code of ['220', '250', '250', '221']) expect((await client.reply()).slice(0, 3)).toBe(code)
    expect(await client.closed()).toBe('')
    expect(await session(node)).toMatchObject({ helo: 'early.example', outcome: 'none' })
  })

  test('that fails is logged, and the client is greeted', async () => {
    const { greeting, next } = held()
    const node = await front(greeting)
    const client = await node.client()
    ;(await next()).fail(new Error('the DNS is gone'))
    await client.hello()
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    expect(node.lines.filter(({ level }) => level === 'error')).toEqual([
      expect.objectContaining({ msg: 'greeting failed', err: expect.stringContaining('the DNS is gone') }),
    ])
  })

  test.each(['drain', 'cut'] as const)(
    'and is ended meanwhile (%s): it hears 421, behind the greeting if it is only drained, and nothing is left',
    async (how) => {
      const { greeting, next } = held()
      const node = await front(greeting)
      const client = await node.client()
      const wait = await next()
      for (const each of node.live) each[how]()
      if (how === 'drain') {
        wait.go()
        expect(await client.reply()).toMatch(/^220 /)
      }
      expect(await client.reply()).toMatch(/^421 4\.3\.2 /)
      expect(await client.closed()).toBe('')
      wait.go()
      expect(await session(node)).toMatchObject({ reason: 'draining', stage: 'connect', outcome: 'shed' })
      expect(node.open()).toBe(0)
      await eventually(
        () => node.live.size,
        (size) => size === 0,
      )
    },
  )

  test('R42 and whose client is reset meanwhile leaves no seat', async () => {
    const { greeting, next } = held()
    const node = await front(greeting)
    const client = await node.client()
    const wait = await next()
    expect(node.open()).toBe(1)
    client.resetConnection()
    wait.go()
    expect(await session(node)).toMatchObject({ outcome: 'none' })
    expect(node.open()).toBe(0)
    expect(node.live.size).toBe(0)
  })
})

describe('the deadline of a greeting, as shipped', () => {
  test('is ten seconds, whatever is waited for', async () => {
    jest.useFakeTimers()
    expect(GREETING_DEADLINE_MS).toBe(10_000)
    let over = false
    const failed = jest.fn()
    void waited(new Promise(() => undefined), failed).then(() => {
      over = true
    })
    await jest.advanceTimersByTimeAsync(9_999)
    expect(over).toBe(false)
    await jest.advanceTimersByTimeAsync(1)
    expect(over).toBe(true)
    expect(failed).not.toHaveBeenCalled()
  })

  test('leaves no timer where the wait is over before, and a failure behind it hurts nobody', async () => {
    jest.useFakeTimers()
    await waited(Promise.resolve(true), () => undefined)
    expect(jest.getTimerCount()).toBe(0)
    const errors: unknown[] = []
    let fail: (error: Error) => void = () => undefined
    const late = waited(
      new Promise<boolean>((_, reject) => {
        fail = reject
      }),
      (error) => errors.push(error),
    )
    await jest.advanceTimersByTimeAsync(10_000)
    await late
    fail(new Error('too late'))
    await jest.advanceTimersByTimeAsync(0)
    expect(errors).toEqual([new Error('too late')])
  })
})
