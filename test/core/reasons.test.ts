import { describe, expect, test } from '@jest/globals'
import { ACCEPT, refusal, STAGES, verdictOn } from '../../src/core/policy.ts'
import { CHECK_NAMES, formOf, formsOf, REASON_NAMES, reasonOf } from '../../src/core/reasons.ts'

/** What operators and outside tools rely on: each reason's check, where it may come up, and its reply. */
const CONTRACT: Readonly<Record<string, readonly [check: string | undefined, stages: string, reply: string]>> = {
  denied: ['denied', 'connect rcpt', 'drop 554 5.7.1, reject 550 5.7.1'],
  ip_concurrency: ['ip-concurrency', 'connect', 'drop 421 4.7.0'],
  ip_connections: ['ip-connections', 'connect', 'drop 421 4.7.28'],
  net_connections: ['net-connections', 'connect', 'drop 421 4.7.28'],
  global_connections: ['global-connections', 'connect', 'drop 421 4.3.2'],
  ip_messages: ['ip-messages', 'rcpt', 'defer 450 4.7.28'],
  global_messages: ['global-messages', 'rcpt', 'defer 451 4.3.2'],
  ip_recipients: ['ip-recipients', 'rcpt', 'defer 450 4.7.28'],
  unknown_recipients: ['unknown-recipients', 'rcpt', 'defer 450 4.7.1'],
  recipients: ['recipients', 'rcpt', 'defer 452 4.5.3'],
  rcpt_domain: ['domains', 'rcpt', 'reject 550 5.7.1'],
  size: ['size', 'mail data', 'reject 552 5.3.4'],
  max_connections: [undefined, 'connect', 'drop 421 4.3.2'],
  proxy_header: [undefined, 'connect', 'drop 421 4.3.0'],
  idle: [undefined, STAGES.join(' '), 'drop 421 4.4.2'],
  junk: [undefined, STAGES.join(' '), 'drop 421 4.7.0'],
  line_too_long: [undefined, STAGES.join(' '), 'reject 500 5.5.2'],
  bare_newline: [undefined, 'data', 'reject 550 5.5.2'],
  upstream_down: [undefined, 'rcpt data', 'defer 451 4.3.2'],
  upstream_full: [undefined, 'rcpt data', 'defer 451 4.3.2'],
  upstream_lost: [undefined, 'rcpt data', 'defer 451 4.3.0'],
  unknown_guard: [undefined, 'rcpt', 'defer 451 4.3.0'],
  draining: [undefined, STAGES.join(' '), 'drop 421 4.3.2'],
  internal: [undefined, STAGES.join(' '), 'defer 451 4.3.0'],
  slow_data: [undefined, 'data', 'drop 421 4.4.2'],
  session_time: [undefined, STAGES.join(' '), 'drop 421 4.4.2'],
  session_messages: [undefined, 'mail', 'drop 421 4.7.0'],
  proxy_unlisted: [undefined, 'connect', 'drop 421 4.3.0'],
  tongue: ['tongue', 'helo', 'reject 554 5.5.1, drop 421 4.7.0'],
  tls_limit: [undefined, 'connect', 'drop 421 4.3.0'],
  overload: ['overload', 'connect mail rcpt', 'drop 421 4.3.2, defer 451 4.3.2'],
  net_concurrency: [undefined, 'connect', 'drop 421 4.7.0'],
  banned: ['banned', 'connect rcpt', 'drop 421 4.7.0, defer 450 4.7.1, drop 554 5.7.1, reject 550 5.7.1'],
  dnsbl: ['dnsbl', 'mail rcpt', 'reject 554 5.7.1, defer 451 4.7.1'],
  pregreet: ['pregreet', 'helo', 'reject 554 5.5.0, defer 450 4.5.0'],
  pipelining: ['pipelining', 'helo mail', 'reject 554 5.5.0, defer 450 4.5.0'],
  helo: ['helo', 'helo', 'reject 550 5.7.1, defer 450 4.7.1'],
  command_newline: ['command-newline', 'helo mail', 'reject 554 5.5.2, defer 450 4.5.2'],
  net_unknown_recipients: ['net-unknown-recipients', 'rcpt', 'defer 450 4.7.1'],
}

describe('reasons', () => {
  test('the table is the contract: check, stages, action and reply of each', () => {
    const table = REASON_NAMES.map((name) => {
      const { check, stages } = reasonOf(name)
      const replies = formsOf(name).map(({ action, code, enhanced }) => `${action} ${code} ${enhanced}`)
      return [name, [check, stages.join(' '), replies.join(', ')]]
    })
    expect(Object.fromEntries(table)).toEqual(CONTRACT)
  })

  test('numbers are those that ids in the world already have', () => {
    const order = Object.keys(CONTRACT)
    expect(REASON_NAMES.map((name) => reasonOf(name).number)).toEqual(order.map((_, i) => i + 1))
    for (const name of REASON_NAMES) expect(reasonOf(name).number).toBeLessThan(1024)
  })

  test.each(REASON_NAMES)(
    'R1 R6 %s: load is 4yz, the class is the first digit, drop is for 421, and for 554 in place of the greeting',
    (name) => {
      const { load, stages } = reasonOf(name)
      for (const stage of stages) {
        const { code, enhanced, action } = formOf(name, stage)
        if (load) expect(Math.floor(code / 100)).toBe(4)
        expect(enhanced).toMatch(/^[45]\.\d\.\d{1,2}$/)
        expect(enhanced[0]).toBe(String(code)[0])
        // RFC 7504: 521 and 556 say never. R2: 421 closes, R3: 450 to 452 do not.
        expect([521, 556]).not.toContain(code)
        const isLast = code === 421 || (code === 554 && stage === 'connect')
        expect(action).toBe(isLast ? 'drop' : code < 500 ? 'defer' : 'reject')
      }
    },
  )

  test('every check has exactly one reason, and no reason a check that is not there', () => {
    const given = REASON_NAMES.flatMap((name) => reasonOf(name).check ?? [])
    expect([...given].sort()).toEqual([...CHECK_NAMES].sort())
    expect(new Set(given).size).toBe(CHECK_NAMES.length)
  })

  test.each(REASON_NAMES)('%s: its words are short, plain ASCII, and for the reader they are for', (name) => {
    const { wire, operator } = reasonOf(name)
    expect(wire).toMatch(/^[ -~]{10,110}$/)
    expect(wire).not.toMatch(/SPILLWAY_|Spillway|redis/i)
    expect(wire).not.toMatch(/[()[\]\r\n]/)
    expect(operator.length).toBeGreaterThan(10)
    expect(name).toMatch(/^[a-z_]+$/)
  })
})

describe('policy', () => {
  test('over a limit is more than its maximum, and the facts say how far', () => {
    expect(verdictOn('ip_connections', undefined)).toBe(ACCEPT)
    expect(verdictOn('ip_connections', { used: 5, max: 5, windowMs: 60_000 })).toBe(ACCEPT)
    const over = verdictOn('ip_connections', { used: 6, max: 5, windowMs: 60_000 })
    expect(over).toEqual(refusal('ip_connections', { used: 6, max: 5, windowMs: 60_000 }))
    expect(verdictOn('recipients', { used: 2, max: 1 })).toMatchObject({ facts: { used: 2, max: 1 } })
  })
})
