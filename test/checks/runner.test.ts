import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Policy } from '../../src/checks/index.ts'
import { CHECK_DEADLINE_MS, createRunner, modeOf } from '../../src/checks/runner.ts'
import { ACCEPT, type Check, type Facts, type Mode, refusal, type Verdict } from '../../src/core/policy.ts'
import type { Log } from '../../src/telemetry/log.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'

const facts = (standing: string) => ({ client: { standing }, open: {}, usage: {} }) as unknown as Facts['connect']
const DENIED = refusal('denied')

function setUp(checks: readonly Check<'connect'>[], mode: Mode = 'enforce') {
  const metrics = createMetrics({ version: '0', upstreams: [] })
  const errors: unknown[] = []
  const log = { error: (fields: unknown) => errors.push(fields) } as unknown as Log
  const none = { uncounted: [], counted: [], foreign: [] }
  const policy: Policy = { connect: { uncounted: checks, counted: [], again: [] }, helo: none, mail: none, rcpt: none }
  const observed: string[] = []
  const runner = createRunner({ policy, mode: () => mode, metrics, log })
  const run = (standing = 'new') =>
    runner.run('connect', 'uncounted', facts(standing), (stage, { reason }) => observed.push(`${stage} ${reason}`))
  return { run, failures: () => metrics.checkFailures.of('denied').value, metrics, errors, observed }
}
const check = (judge: Check<'connect'>['judge'], more: Partial<Check<'connect'>> = {}): Check<'connect'> => ({
  name: 'denied',
  stage: 'connect',
  sparesTrusted: true,
  judge,
  ...more,
})

describe('the runner', () => {
  test('a check that answers at once is never waited for', () => {
    expect(setUp([check(() => ACCEPT), check(() => DENIED)]).run()).toEqual(DENIED)
    expect(setUp([check(() => ACCEPT)]).run()).toEqual(ACCEPT)
  })

  test('the first refusal counts, and what stands behind it is not asked', () => {
    const second = jest.fn(() => refusal('size'))
    expect(setUp([check(() => DENIED), check(second)]).run()).toEqual(DENIED)
    expect(second).not.toHaveBeenCalled()
  })

  test('a check that throws lets the client pass, is counted and logged', () => {
    const broken = check(() => {
      throw new Error('broken')
    })
    const { run, failures, errors } = setUp([broken, check(() => DENIED)])
    expect(run()).toEqual(DENIED)
    expect(failures()).toBe(1)
    expect(errors).toEqual([{ check: 'denied', err: expect.stringContaining('broken') }])
  })

  test('observe: the refusal is told and then dropped, and the next check is asked', () => {
    const { run, observed } = setUp([check(() => DENIED), check(() => refusal('size'))], 'observe')
    expect(run()).toEqual(ACCEPT)
    expect(observed).toEqual(['connect denied', 'connect size'])
  })

  test('clients on the allow list are asked only by what guards capacity', () => {
    expect(setUp([check(() => DENIED)]).run('trusted')).toEqual(ACCEPT)
    expect(setUp([check(() => DENIED, { sparesTrusted: false })]).run('trusted')).toEqual(DENIED)
  })

  test('one judgement in 64 is timed', () => {
    const { run, metrics } = setUp([check(() => ACCEPT)])
    for (let i = 0; i < 128; i++) void run()
    expect(metrics.checkDuration.of('denied').count).toBe(2)
  })

  test('modes are by name, or all', () => {
    expect(modeOf('size', ['size', 'denied'])).toBe('observe')
    expect(modeOf('domains', ['size'])).toBe('enforce')
    expect(modeOf('domains', 'all')).toBe('observe')
  })
})

describe('a check that waits', () => {
  beforeEach(() => {
    jest.useFakeTimers()
  })
  afterEach(() => {
    jest.useRealTimers()
  })

  test('is waited for, and then the next is asked', async () => {
    const slow = check(() => new Promise((resolve) => setTimeout(() => resolve(ACCEPT), 500)), { waits: true })
    const running = setUp([slow, check(() => DENIED)]).run()
    await jest.advanceTimersByTimeAsync(500)
    expect(await running).toEqual(DENIED)
    expect(jest.getTimerCount()).toBe(0)
  })

  test('lets the client pass when it is late, is told to stop, and is counted', async () => {
    let stopped = false
    const judge: Check<'connect'>['judge'] = (_, signal) => {
      signal.addEventListener('abort', () => {
        stopped = true
      })
      return new Promise<Verdict>(() => undefined)
    }
    const { run, failures } = setUp([check(judge, { waits: true })])
    const running = run()
    await jest.advanceTimersByTimeAsync(CHECK_DEADLINE_MS)
    expect(await running).toEqual(ACCEPT)
    expect(stopped).toBe(true)
    expect(failures()).toBe(1)
  })

  test('lets the client pass when it fails', async () => {
    const { run, failures } = setUp([check(() => Promise.reject(new Error('no')), { waits: true })])
    expect(await run()).toEqual(ACCEPT)
    expect(failures()).toBe(1)
  })

  test('in observe mode is told and dropped', async () => {
    const { run, observed } = setUp([check(() => Promise.resolve(DENIED), { waits: true })], 'observe')
    expect(await run()).toEqual(ACCEPT)
    expect(observed).toEqual(['connect denied'])
  })
})
