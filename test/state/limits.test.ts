import { describe, expect, test } from '@jest/globals'
import type { Client } from '../../src/core/client.ts'
import { netOf, sourceOf } from '../../src/core/ip.ts'
import { ALL_OFF, LIMIT_NAMES, LIMITS, type Maximum, type Rates } from '../../src/core/limits.ts'
import type { Usage } from '../../src/core/usage.ts'
import { createLimits, type Limits, type LimitsOptions, ROLE_BUDGET, VERIFY_BUDGET } from '../../src/state/limits.ts'
import { countLocally } from '../../src/state/scopes.ts'

const MINUTE = 60_000
const per = (max: number) => ({ max, windowMs: MINUTE })
const from = (ip: string, standing: Client['standing'] = 'new') =>
  ({ ip, source: sourceOf(ip), net: netOf(ip), standing }) as Client

let at = 0
const limits = (rates: Partial<Rates>, enforced: LimitsOptions['enforced'] = () => true, maximum?: Maximum) => {
  at = 1000 * MINUTE
  return createLimits({
    rates: { ...ALL_OFF, ...rates },
    ...(maximum !== undefined && { maximum }),
    enforced,
    now: () => at,
    seed: new Uint8Array(8),
  })
}

test('where the rates change, a counter is ended if its limit is off or has another window, and no other', () => {
  const ended: string[] = []
  const made: string[] = []
  const all = createLimits({
    rates: { ...ALL_OFF, ip_connections: per(2), ip_messages: per(2), unknown_recipients: per(2) },
    enforced: () => true,
    now: () => at,
    seed: new Uint8Array(8),
    counterOf: (counted) => {
      made.push(counted.name)
      return Object.assign(countLocally(counted), { end: () => void ended.push(counted.name) })
    },
  })
  made.length = 0
  all.change({ ...ALL_OFF, ip_connections: per(9), ip_recipients: per(2), unknown_recipients: { max: 2, windowMs: 1 } })
  expect(made.sort()).toEqual(['asked_recipients', 'ip_recipients', 'unknown_recipients'])
  expect(ended.sort()).toEqual(['asked_recipients', 'ip_messages', 'unknown_recipients'])
})

test('where many nodes are in one process, no limit has tables larger than it is told', () => {
  const octets = (): number => process.memoryUsage().arrayBuffers
  const before = octets()
  const rates = Object.fromEntries(LIMIT_NAMES.map((limit) => [limit, per(2)])) as unknown as Rates
  const all = createLimits({ rates, enforced: () => true, now: () => at, seed: new Uint8Array(8), most: 64 })
  expect(octets() - before).toBeLessThan(1 << 20)
  all.change(ALL_OFF)
})

describe('a retry never counts against the limit that refused it', () => {
  const CHARGED = LIMIT_NAMES.filter((limit) => LIMITS[limit].counts !== 'unknown')
  test.each(CHARGED)('%s', (limit) => {
    const all = limits({ [limit]: per(3) })
    const client = from('192.0.2.1')
    /** Whether a connection, or a message with one recipient, is let in. */
    const isLetIn = (): boolean => {
      const usage = all.take(LIMITS[limit].counts === 'connections' ? 'connect' : 'rcpt', client)
      const use = usage[limit] ?? all.recipient(client, usage)
      return use !== undefined && use.used <= use.max
    }
    const letIn = (tries: number) => Array.from({ length: tries }, isLetIn).filter((each) => each).length
    expect(letIn(3)).toBe(3)
    for (let second = 1; second < 60; second++) {
      at += 1000
      expect(letIn(100)).toBe(0)
    }
    // A sixtieth of what was let in, and nothing of what was refused, is left.
    at += 60_000
    expect(letIn(3)).toBe(2)
  })
})

describe('take', () => {
  test('tells what was used, the attempt included, and nothing of what is off', () => {
    const all = limits({ ip_connections: per(2) })
    expect(all.take('connect', from('192.0.2.1'))).toEqual({ ip_connections: { used: 1, max: 2, windowMs: MINUTE } })
    expect(all.take('rcpt', from('192.0.2.1'))).toEqual({})
  })

  test('what a narrow limit refuses is not charged to the wider ones', () => {
    const all = limits({ ip_connections: per(2), net_connections: per(10), global_connections: per(100) })
    for (let i = 0; i < 50; i++) void all.take('connect', from('192.0.2.1'))
    expect(all.take('connect', from('192.0.2.1'))).not.toHaveProperty('net_connections')
    expect(all.take('connect', from('192.0.2.2'))).toMatchObject({
      ip_connections: { used: 1 },
      net_connections: { used: 3 },
      global_connections: { used: 3 },
    })
    expect(all.utilization('global_connections')).toBe(0.03)
  })

  test('what a wider limit refuses is given back to the narrower ones', () => {
    const all = limits({ ip_connections: per(5), net_connections: per(3) })
    for (let i = 0; i < 3; i++) void all.take('connect', from('192.0.2.1'))
    for (let i = 0; i < 20; i++) {
      expect(all.take('connect', from('192.0.2.2'))).toMatchObject({ ip_connections: { used: 1 } })
    }
    at += 2 * MINUTE
    expect(all.take('connect', from('192.0.2.2'))).toMatchObject({
      ip_connections: { used: 1, max: 5 },
      net_connections: { used: 1 },
    })
  })

  test('a message that no mail server was asked about gives back what it was charged, once', () => {
    const all = limits({ ip_messages: per(2), global_messages: per(3), ip_recipients: per(5) })
    const client = from('192.0.2.1')
    for (let i = 0; i < 10; i++) {
      const usage = all.take('rcpt', client) as Usage
      expect(usage).toMatchObject({ ip_messages: { used: 1 }, global_messages: { used: 1 } })
      expect(all.recipient(client, usage)).toMatchObject({ used: 1 })
      expect(all.recipient(client, usage)).toMatchObject({ used: 2 })
      all.giveBack(client, usage, 2)
    }
    for (let i = 0; i < 2; i++) void all.take('rcpt', client)
    const refused = all.take('rcpt', client) as Usage
    expect(refused.ip_messages?.used).toBeGreaterThan(2)
    all.giveBack(client, refused, 0)
    expect((all.take('rcpt', client) as Usage).ip_messages?.used).toBeGreaterThan(2)
    expect(all.utilization('global_messages')).toBeCloseTo(2 / 3)
  })

  test('what is only observed goes on to the wider limits and is charged there', () => {
    const all = limits({ ip_connections: per(1), net_connections: per(10) }, (limit) => limit !== 'ip_connections')
    for (let i = 1; i <= 4; i++) {
      expect(all.take('connect', from('192.0.2.1'))).toMatchObject({
        ip_connections: { used: i },
        net_connections: { used: i },
      })
    }
  })

  test('an IPv6 client counts by its /64, and its neighbourhood is the /48', () => {
    const all = limits({ ip_connections: per(100), net_connections: per(100) })
    void all.take('connect', from('2001:db8:1:2::1'))
    expect(all.take('connect', from('2001:db8:1:2:ffff::9'))).toMatchObject({ ip_connections: { used: 2 } })
    expect(all.take('connect', from('2001:db8:1:3::1'))).toMatchObject({
      ip_connections: { used: 1 },
      net_connections: { used: 3 },
    })
    expect(all.take('connect', from('2001:db8:2::1'))).toMatchObject({ net_connections: { used: 1 } })
  })

  test('clients on the allow list are charged nothing', () => {
    const all = limits({ ip_connections: per(1), global_connections: per(1), ip_recipients: per(1) })
    for (let i = 0; i < 5; i++) expect(all.take('connect', from('192.0.2.1', 'trusted'))).toEqual({})
    expect(all.recipient(from('192.0.2.1', 'trusted'), {})).toBeUndefined()
    expect(all.take('connect', from('192.0.2.1'))).toMatchObject({ global_connections: { used: 1 } })
  })

  test('a window that has passed is forgotten', () => {
    const all = limits({ ip_connections: per(1) })
    void all.take('connect', from('192.0.2.1'))
    expect(all.take('connect', from('192.0.2.1'))).toMatchObject({ ip_connections: { used: 2 } })
    at += 2 * MINUTE
    expect(all.take('connect', from('192.0.2.1'))).toMatchObject({ ip_connections: { used: 1 } })
  })

  test.each([
    ['less than a window', 30_000],
    ['an hour', 60 * MINUTE],
    ['a year', 525_600 * MINUTE],
  ])('a clock that goes back keeps nobody out for longer than two windows: %s', (_, step) => {
    const all = limits({ ip_connections: per(2), global_connections: per(5) })
    for (let i = 0; i < 9; i++) void all.take('connect', from('192.0.2.1'))
    at -= step
    const next = all.take('connect', from('192.0.2.2')) as Usage
    expect(next.global_connections).toMatchObject({ used: 3 })
    at += 2 * MINUTE + Math.min(step, MINUTE)
    expect(all.take('connect', from('192.0.2.1'))).toMatchObject({ ip_connections: { used: 1 } })
    expect(all.take('connect', from('192.0.2.1'))).toMatchObject({ global_connections: { used: 2 } })
  })

  test('R10 for postmaster only what everybody shares is charged', () => {
    const all = limits({ ip_messages: per(1), global_messages: per(10) })
    for (let i = 1; i <= 5; i++) {
      expect(all.take('rcpt', from('192.0.2.1'), 'everybody')).toEqual({
        global_messages: { used: i, max: 10, windowMs: MINUTE },
      })
    }
    expect(all.take('rcpt', from('192.0.2.1'))).toMatchObject({
      ip_messages: { used: 1 },
      global_messages: { used: 6 },
    })
    expect(all.take('rcpt', from('192.0.2.2'), 'sender')).toEqual({
      ip_messages: { used: 1, max: 1, windowMs: MINUTE },
    })
  })
})

describe('the maximum is asked for each client, at every call', () => {
  const RATES: Partial<Rates> = {
    ip_connections: per(2),
    net_connections: per(100),
    ip_recipients: per(2),
    unknown_recipients: per(2),
  }

  test('one that changes between two calls holds at once', () => {
    let max = 2
    const all = limits(
      RATES,
      () => true,
      () => max,
    )
    const client = from('192.0.2.1')
    const connects = (): unknown => (all.take('connect', client) as Usage).ip_connections
    const names = (): unknown => all.recipient(client, {})
    for (let i = 0; i < 3; i++) void [connects(), names(), all.heard(client, `u${i}@example.net`, true)]
    expect(connects()).toEqual({ used: 4, max: 2, windowMs: MINUTE })
    max = 5
    expect(connects()).toEqual({ used: 3, max: 5, windowMs: MINUTE })
    expect(names()).toEqual({ used: 3, max: 5, windowMs: MINUTE })
    expect(all.lately(client)?.unknown).toEqual({ used: 3, max: 5, windowMs: MINUTE })
    max = 1
    expect(connects()).toMatchObject({ max: 1 })
    expect((connects() as { used: number }).used).toBeGreaterThan(1)
    expect(all.recipient(client, {})).toMatchObject({ max: 1 })
    expect(all.lately(client)?.unknown).toEqual({ used: 3, max: 1, windowMs: MINUTE })
  })

  test('one client may have more than its neighbour', () => {
    const all = limits(
      RATES,
      () => true,
      (limit, { standing }) => (limit === 'ip_connections' ? (standing === 'known' ? 4 : 2) : 9),
    )
    const use = (ip: string, standing: Client['standing']): unknown =>
      (all.take('connect', from(ip, standing)) as Usage).ip_connections
    for (let i = 1; i <= 3; i++) expect(use('192.0.2.1', 'new')).toMatchObject({ used: i, max: 2 })
    for (let i = 1; i <= 4; i++) expect(use('192.0.2.2', 'known')).toMatchObject({ used: i, max: 4 })
  })

  test('it is asked with the moment, and by default it is what the operator has set', () => {
    const asked: unknown[] = []
    const all = limits(
      RATES,
      () => true,
      (limit, client, when) => asked.push([limit, client.ip, when]),
    )
    void all.take('connect', from('192.0.2.1'))
    expect(asked).toEqual([
      ['ip_connections', '192.0.2.1', at],
      ['net_connections', '192.0.2.1', at],
    ])
    expect(limits(RATES).take('connect', from('192.0.2.1'))).toMatchObject({ ip_connections: { max: 2 } })
  })
})

describe('recipients', () => {
  const over = { ...per(1), used: 2 }

  test('of a message that is refused anyway are not counted', () => {
    const all = limits({ ip_recipients: per(5) })
    for (const usage of [{ ip_messages: over }, { global_messages: over }]) {
      expect(all.recipient(from('192.0.2.1'), usage)).toBeUndefined()
    }
    expect(all.recipient(from('192.0.2.1'), { global_messages: { ...per(1), used: 1 } })).toMatchObject({
      used: 1,
      max: 5,
    })
  })

  test('of one that is only observed to be over are', () => {
    const all = limits({ ip_recipients: per(5) }, (limit) => limit !== 'ip_messages')
    expect(all.recipient(from('192.0.2.1'), { ip_messages: over })).toMatchObject({ used: 1 })
  })
})

describe('budgets of their own', () => {
  test.each([
    ['role', ROLE_BUDGET.max],
    ['verify', VERIFY_BUDGET.max],
  ] as const)('R10 R11 %s: %i a minute for each source, and no more', (budget, max) => {
    const all = limits({})
    const results = Array.from({ length: max + 5 }, () => all.spare(budget, from('192.0.2.1')))
    expect(results.filter(Boolean)).toHaveLength(max)
    expect(results.slice(max)).not.toContain(true)
    expect(all.spare(budget, from('192.0.2.2'))).toBe(true)
    at += 2 * MINUTE
    expect(all.spare(budget, from('192.0.2.1'))).toBe(true)
  })

  test('strangers get past a level of overload 120 times a minute, all together; friends always', () => {
    const all = limits({})
    const strangers = Array.from({ length: 200 }, (_, i) => all.sparesLevel('verify', from(`192.0.2.${i}`)))
    expect([strangers.filter(Boolean).length, strangers.lastIndexOf(true)]).toEqual([120, 119])
    expect(all.sparesLevel('role', from('192.0.2.1'))).toBe(true)
    expect(all.sparesLevel('verify', { ...from('192.0.2.1'), standing: 'seen' })).toBe(true)
    at += 2 * MINUTE
    expect(all.sparesLevel('verify', from('192.0.2.1'))).toBe(true)
  })
})

test('each of several processes has its part of that, and one of very many has one', () => {
  for (const [processes, expected] of [
    [1, 120],
    [7, 17],
    [500, 1],
  ] as const) {
    const one = createLimits({
      rates: ALL_OFF,
      enforced: () => true,
      now: () => at,
      seed: new Uint8Array(8),
      processes,
    })
    const strangers = Array.from({ length: 200 }, (_, i) => one.sparesLevel('role', from(`192.0.2.${i}`)))
    expect(strangers.filter(Boolean)).toHaveLength(expected)
  }
})

describe('unknown recipients', () => {
  test('all asked and those not known are told apart, per source', () => {
    const all = limits({ unknown_recipients: { max: 20, windowMs: 10 * MINUTE } })
    for (let i = 0; i < 10; i++) all.heard(from('192.0.2.1'), `u${i}@example.net`, i < 3)
    expect(all.lately(from('192.0.2.1'))).toMatchObject({
      unknown: { used: 3, max: 20, windowMs: 10 * MINUTE },
      asked: 10,
    })
    expect(all.lately(from('192.0.2.2'))).toMatchObject({ unknown: { used: 0 }, asked: 0 })
  })

  describe('a mailbox counts once in a window', () => {
    const rate = { max: 20, windowMs: 10 * MINUTE }
    const client = from('192.0.2.1')

    test('however often it is named, and however it is spelt', () => {
      const all = limits({ unknown_recipients: rate })
      const known = [
        'u@example.net',
        'U@Example.net',
        'u+1@example.net',
        '"\\u"@example.net',
        '@r.example:u@example.net',
      ]
      for (let i = 0; i < 5000; i++) {
        for (const each of known) all.heard(client, each, false)
        all.heard(client, `u+${i}@example.net`, false)
        at += 100
      }
      expect(all.lately(client)?.asked).toBeLessThanOrEqual(2)
      // The same dead address on every message of an honest sender is no guess of its own either.
      for (let i = 0; i < 50; i++) all.heard(client, 'gone@example.net', true)
      expect(all.lately(client)?.unknown.used).toBe(1)
    })

    test('for each source by itself, and again in the next window', () => {
      const all = limits({ unknown_recipients: rate })
      for (const ip of ['192.0.2.1', '192.0.2.2']) all.heard(from(ip), 'u@example.net', false)
      expect([client, from('192.0.2.2')].map((each) => all.lately(each)?.asked)).toEqual([1, 1])
      at = Math.floor(at / rate.windowMs + 1) * rate.windowMs
      all.heard(client, 'u@example.net', false)
      expect(all.lately(client)?.asked).toBe(2)
      all.heard(client, 'u@example.net', false)
      expect(all.lately(client)?.asked).toBe(2)
    })

    test('a handful of known ones hides as many guesses as they are, and no more', () => {
      const all = limits({ unknown_recipients: rate })
      let guesses = 0
      for (let i = 0; i < 1500; i++) {
        for (let k = 0; k < 3; k++) all.heard(client, `known${(3 * i + k) % 9}@example.net`, false)
        const { unknown, asked } = all.lately(client) as NonNullable<ReturnType<typeof all.lately>>
        if (unknown.used >= unknown.max && unknown.used >= 0.3 * asked) continue
        all.heard(client, `guess${i}@example.net`, true)
        guesses++
      }
      expect(guesses).toBe(20)
    })
  })

  describe('of a network', () => {
    const NET = 'net_unknown_recipients'
    const names = (all: Limits, client: Client, who: string, count: number, isUnknown = true): void => {
      for (let i = 0; i < count; i++) all.heard(client, `${who}${i}@example.net`, isUnknown)
    }

    test('no address counts for more than a fifth, also where addresses have no limit of their own', () => {
      const all = limits({ [NET]: { max: 100, windowMs: 10 * MINUTE } })
      names(all, from('192.0.2.1'), 'a', 500)
      expect(all.lately(from('192.0.2.9'), NET)).toMatchObject({ unknown: { used: 20, max: 100 }, asked: 20 })
      for (let host = 2; host <= 6; host++) names(all, from(`192.0.2.${host}`), `b${host}.`, 20)
      expect(all.lately(from('192.0.2.9'), NET)).toMatchObject({ unknown: { used: 120 }, asked: 120 })
      expect(all.lately(from('192.0.3.9'), NET)).toMatchObject({ unknown: { used: 0 }, asked: 0 })
      expect(all.lately(from('192.0.2.9'))).toBeUndefined()
    })

    test('what a known client names in vain is not counted, and what exists is; a mailbox counts once for all', () => {
      const all = limits({ [NET]: { max: 100, windowMs: 10 * MINUTE } })
      names(all, from('192.0.2.1', 'known'), 'gone', 50)
      names(all, from('192.0.2.1', 'known'), 'u', 50, false)
      names(all, from('192.0.2.2'), 'u', 50, false)
      names(all, from('192.0.2.3'), 'x', 5)
      names(all, from('192.0.2.4'), 'x', 5)
      expect(all.lately(from('192.0.2.9'), NET)).toMatchObject({ unknown: { used: 5 }, asked: 55 })
    })

    test('what a known client guesses counts: three that do not exist, and 30 % of what it names', () => {
      const all = limits({ unknown_recipients: { max: 90, windowMs: MINUTE }, [NET]: { max: 100, windowMs: MINUTE } })
      names(all, from('192.0.2.1', 'known'), 'gone', 12)
      expect(all.lately(from('192.0.2.9'), NET)).toMatchObject({ unknown: { used: 10 }, asked: 10 })
      names(all, from('192.0.2.2', 'known'), 'u', 30, false)
      names(all, from('192.0.2.2', 'known'), 'dead', 12)
      expect(all.lately(from('192.0.2.9'), NET)).toMatchObject({ unknown: { used: 10 }, asked: 40 })
    })

    test('what one has guessed itself is told apart from what it bounced', () => {
      const all = limits({ unknown_recipients: { max: 20, windowMs: MINUTE }, [NET]: { max: 100, windowMs: MINUTE } })
      for (let i = 0; i < 6; i++) all.heard(from('192.0.2.1'), `x${i}@example.net`, true, i < 4)
      for (const limit of ['unknown_recipients', NET] as const) {
        expect(all.lately(from('192.0.2.1'), limit)).toMatchObject({ unknown: { used: 6 }, guessed: 2, named: 6 })
      }
    })
  })

  test('off is off', () => {
    const all = limits({})
    all.heard(from('192.0.2.1'), 'x@example.net', true)
    expect(all.lately(from('192.0.2.1'))).toBeUndefined()
    expect(all.utilization('global_messages')).toBe(0)
  })
})

test('what is tracked is about the number of sources', () => {
  const all = limits({ ip_connections: per(5) })
  for (let i = 0; i < 60_000; i++) void all.take('connect', from(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`))
  expect(all.tracked()).toBeGreaterThan(50_000)
  expect(all.tracked()).toBeLessThan(70_000)
})

describe('known clients and the limit of their neighbourhood', () => {
  const all = () => limits({ net_connections: per(6) })
  const lets = (counted: Limits, standing: Client['standing'], tries: number): number => {
    let count = 0
    for (let i = 0; i < tries; i++) {
      const use = counted.take('connect', from(`192.0.2.${i % 250}`, standing)).net_connections
      if (use === undefined || use.used <= use.max) count++
    }
    return count
  }

  test('a busy known client does not use up what its neighbours need', () => {
    const counted = all()
    expect(lets(counted, 'known', 1000)).toBe(1000)
    expect(lets(counted, 'new', 100)).toBe(6)
  })

  test('nor do they what it needs', () => {
    const counted = all()
    expect(lets(counted, 'new', 100)).toBe(6)
    expect(lets(counted, 'known', 100)).toBe(100)
  })
})
