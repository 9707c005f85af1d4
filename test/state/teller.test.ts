/** How Redis is told: when, together, one pipeline at a time, again what was not answered, and bounded in everything. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { Account } from '../../src/state/account.ts'
import type { Heard } from '../../src/state/limiter.ts'
import { Teller, type When } from '../../src/state/teller.ts'

const TIMEOUT = 50
const WINDOW = 60_000

interface Command {
  readonly key: string
  readonly amount: number
  readonly batch: number
  answer(): void
  fail(why: string): void
}

let commands: Command[]
let outcomes: (string | undefined)[]
/** Of each command. */
let results: string[]
let isOpen: boolean
let isUp: boolean
let teller: Teller
beforeEach(() => {
  jest.useFakeTimers({ now: 10 * WINDOW })
  commands = []
  outcomes = []
  results = []
  isOpen = true
  isUp = true
  teller = new Teller({
    timeoutMs: TIMEOUT,
    now: () => Date.now(),
    elapsed: () => performance.now(),
    isOpen: () => isOpen,
    isUp: () => isUp,
    outcome: (_, failure) => void results.push(failure === undefined ? 'ok' : (failure as Error).message),
    told: (failure) => void outcomes.push(failure),
  })
})
afterEach(() => {
  jest.useRealTimers()
})

const accountOf = (key: string): Account =>
  new Account({
    key,
    windowMs: WINDOW,
    counter: {
      add: (of, amount, batch) =>
        new Promise<Heard>((resolve, reject) => {
          const answer = (): void => resolve({ current: 1, previous: 0, leftMs: WINDOW })
          commands.push({ key: of, amount, batch, answer, fail: (why) => reject(new Error(why)) })
        }),
    },
  })
const letIn = (account: Account, amount = 1, when: When = 'soon'): void => {
  account.add(amount, Date.now())
  teller.tell(account, when)
}
const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms)
const sent = (): string[] => commands.map(({ key, amount }) => `${key} ${amount}`)
const answerAll = async (): Promise<void> => {
  for (const command of commands.splice(0)) command.answer()
  await pass(0)
}
/** One that Redis has answered on before, so that nothing but its amounts is told. */
async function known(key: string): Promise<Account> {
  const account = accountOf(key)
  letIn(account, 1, 'now')
  await pass(1)
  await answerAll()
  return account
}

describe('a counter that is used no more', () => {
  test.each(['waiting', 'on its way', 'on its way, and fails', 'failed', 'asked with every pipeline'])(
    'is told of nothing more: %s',
    async (state) => {
      const [ended, other] = [await known('ended'), await known('other')]
      if (state === 'asked with every pipeline') teller.refresh(ended)
      else letIn(ended)
      if (state.startsWith('on its way') || state === 'failed') await pass(10)
      // A part of it came after the report had gone out.
      if (state === 'on its way') ended.add(1, Date.now())
      if (state === 'failed') await pass(TIMEOUT)
      teller.forget(ended.counter)
      if (state.endsWith('fails')) await pass(TIMEOUT)
      letIn(ended)
      const told: string[] = []
      for (let i = 0; i < 5; i++) {
        await answerAll()
        letIn(other)
        await pass(40)
        told.push(...commands.map(({ key }) => key))
      }
      await answerAll()
      expect(told).toEqual(['other', 'other', 'other', 'other', 'other'])
      expect(teller.isIdle).toBe(true)
    },
  )
})

describe('when', () => {
  test('what is not urgent goes after 10 ms, all of it together; what is urgent at once, and takes the rest along', async () => {
    const [a, b] = [await known('a'), await known('b')]
    letIn(a)
    await pass(5)
    letIn(b, 2)
    letIn(a)
    await pass(4)
    expect(sent()).toEqual([])
    await pass(1)
    expect(sent()).toEqual(['a 2', 'b 2'])
    await answerAll()
    letIn(a)
    letIn(b, 3, 'now')
    await pass(1)
    expect(sent()).toEqual(['a 1', 'b 3'])
  })

  test('what may go later goes after 50 ms, and with anything that goes sooner', async () => {
    const [a, b] = [await known('a'), await known('b')]
    letIn(a, 1, 'later')
    await pass(49)
    expect(sent()).toEqual([])
    await pass(1)
    expect(sent()).toEqual(['a 1'])
    await answerAll()
    letIn(a, 2, 'later')
    await pass(5)
    letIn(b)
    letIn(a, 3, 'later')
    await pass(9)
    expect(sent()).toEqual([])
    await pass(1)
    expect(sent()).toEqual(['a 5', 'b 1'])
  })

  test('what comes while a pipeline is under way may go later as well', async () => {
    const a = await known('a')
    letIn(a, 1, 'now')
    await pass(1)
    letIn(a, 2, 'later')
    await answerAll()
    await pass(49)
    expect(sent()).toEqual([])
    await pass(1)
    expect(sent()).toEqual(['a 2'])
  })

  test('one pipeline at a time: what comes meanwhile goes with the next', async () => {
    const a = await known('a')
    letIn(a, 1, 'now')
    await pass(1)
    letIn(a, 5, 'now')
    await pass(20)
    expect(sent()).toEqual(['a 1'])
    await answerAll()
    await pass(1)
    expect(sent()).toEqual(['a 5'])
  })

  test('what all clients share goes with every pipeline, and is no reason for one', async () => {
    const everybody = await known('*')
    teller.refresh(everybody)
    await pass(1000)
    expect(sent()).toEqual([])
    letIn(await known('a'))
    await answerAll()
    await pass(10)
    expect(sent()).toEqual(['a 1', '* 0'])
  })

  test('what is to be fresh is asked for again and again, for 10 ms, and while Redis answers', async () => {
    const everybody = await known('*')
    teller.refresh(everybody)
    teller.keepFresh()
    let count = 0
    for (let i = 0; i < 100; i++) {
      await pass(1)
      count += commands.length
      expect(sent()).toEqual(Array.from({ length: commands.length }, () => '* 0'))
      await answerAll()
    }
    expect(count).toBeGreaterThanOrEqual(5)
    expect(count).toBeLessThanOrEqual(10)
    isUp = false
    teller.keepFresh()
    await pass(100)
    expect(sent()).toEqual([])
  })

  test('however many clients come before it is due, what is to be asked is put off for none of them', async () => {
    const everybody = await known('*')
    teller.refresh(everybody)
    const timers = jest.spyOn(globalThis, 'setTimeout')
    for (let i = 0; i < 50; i++) teller.keepFresh()
    expect(timers).toHaveBeenCalledTimes(1)
    await pass(1)
    expect(sent()).toEqual(['* 0'])
  })

  test('given back before it was told, it is not told at all', async () => {
    const a = await known('a')
    letIn(a)
    letIn(a, -1)
    await pass(20)
    expect(sent()).toEqual([])
    expect(teller.isIdle).toBe(true)
  })

  test('500 keys go at once, the rest behind them', async () => {
    const all = Array.from({ length: 700 }, (_, i) => accountOf(`k${i}`))
    for (const each of all) letIn(each)
    await pass(10)
    expect(commands).toHaveLength(500)
    await answerAll()
    await pass(10)
    expect(commands).toHaveLength(200)
    await answerAll()
    expect(teller.isIdle).toBe(true)
  })
})

describe('without an answer', () => {
  test('a pipeline counts as lost after the timeout, and is told again under its number', async () => {
    const a = await known('a')
    letIn(a, 3, 'now')
    await pass(1)
    const [first] = commands
    await pass(TIMEOUT)
    expect(outcomes.at(-1)).toBe('no answer within 50 ms')
    letIn(a, 2)
    await pass(20)
    expect(sent()).toEqual(['a 3', 'a 3'])
    expect(commands[1]?.batch).toBe(first?.batch)
    commands.splice(0)[1]?.answer()
    await pass(10)
    expect(outcomes.at(-1)).toBeUndefined()
    expect(sent()).toEqual(['a 2'])
  })

  test('one that is answered in part has been answered: only the rest is told again', async () => {
    const [a, b] = [await known('a'), await known('b')]
    letIn(a)
    letIn(b)
    await pass(10)
    commands[0]?.answer()
    commands[1]?.fail('CLUSTERDOWN')
    commands.length = 0
    await pass(20)
    expect(outcomes.at(-1)).toBeUndefined()
    expect(sent()).toEqual(['b 1'])
  })

  test('an answer to what is only asked is no acknowledgement: a full Redis reads, and takes nothing', async () => {
    const everybody = await known('*')
    teller.refresh(everybody)
    const a = await known('a')
    commands.length = 0
    letIn(a)
    await pass(10)
    expect(sent()).toEqual(['a 1', '* 0'])
    commands[0]?.fail('OOM')
    commands[1]?.answer()
    await pass(0)
    expect(outcomes.at(-1)).toBe('OOM')
  })

  test('keys that fail again and again are sent ever more seldom, whatever comes of them, and others do not wait for them', async () => {
    const [lost, other] = [await known('lost'), await known('other')]
    let ofLost = 0
    for (let i = 0; i < 1000; i++) {
      letIn(lost)
      letIn(other)
      await pass(10)
      expect(sent().filter((each) => each.startsWith('other'))).toEqual(['other 1'])
      for (const command of commands.splice(0)) {
        if (command.key === 'other') command.answer()
        else {
          ofLost++
          command.fail('CLUSTERDOWN')
        }
      }
      await pass(0)
    }
    // After 20 ms, 40, 80, … and then every two seconds, for ten seconds.
    expect(ofLost).toBeGreaterThanOrEqual(8)
    expect(ofLost).toBeLessThanOrEqual(13)
    expect(teller.hasFailed).toBe(true)
    // What is well again is told at once from then on.
    for (let i = 0; i < 210; i++) {
      await pass(10)
      await answerAll()
    }
    expect(teller.isIdle).toBe(true)
    letIn(lost)
    await pass(10)
    expect(sent()).toEqual(['lost 1'])
  })

  test('an answer that comes too late still counts', async () => {
    const a = await known('a')
    letIn(a, 3, 'now')
    await pass(1)
    await pass(TIMEOUT)
    await answerAll()
    await pass(100)
    expect(sent()).toEqual([])
    expect(teller.isIdle).toBe(true)
    // It is counted as late, and as nothing else.
    expect(results).toEqual(['ok', 'no answer within 50 ms'])
  })

  test('while Redis is away it is asked ever more seldom, and not at all without a connection', async () => {
    const a = await known('a')
    isUp = false
    letIn(a, 1, 'now')
    for (let i = 0; i < 1000; i++) {
      await pass(10)
      for (const command of commands) command.fail('OOM')
    }
    expect(commands.length).toBeGreaterThanOrEqual(8)
    expect(commands.length).toBeLessThanOrEqual(13)
    isOpen = false
    commands.length = 0
    await pass(2000)
    expect(commands).toEqual([])
    isOpen = true
    isUp = true
    teller.flush()
    await pass(0)
    expect(sent()).toEqual(['a 1'])
  })

  test('keys that wait are bounded', async () => {
    isOpen = false
    for (let i = 0; i < 70_000; i++) teller.tell(accountOf(`k${i}`), 'soon')
    isOpen = true
    let count = 0
    for (let i = 0; i < 200; i++) {
      teller.flush()
      await pass(0)
      count += commands.length
      await answerAll()
    }
    expect(count).toBe(1 << 16)
  })
})

describe('at the end', () => {
  test('what waits is told once more, and nothing after that', async () => {
    const a = await known('a')
    letIn(a, 4)
    const stopped = teller.stop()
    await pass(0)
    expect(sent()).toEqual(['a 4'])
    await answerAll()
    await stopped
    letIn(a, 1, 'now')
    await pass(1000)
    expect(sent()).toEqual([])
  })

  test('a pipeline under way is waited for, and no longer than its timeout', async () => {
    const a = await known('a')
    letIn(a, 1, 'now')
    await pass(1)
    let isStopped = false
    void teller.stop().then(() => {
      isStopped = true
    })
    await pass(2 * TIMEOUT + 10)
    expect(isStopped).toBe(true)
  })
})
