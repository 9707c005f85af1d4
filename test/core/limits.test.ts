/** A limit is declared once: whatever there is of it elsewhere follows from its row. */
import { describe, expect, test } from '@jest/globals'
import { policy } from '../../src/checks/index.ts'
import { SETTINGS, type SettingName } from '../../src/config/settings.ts'
import { LIMIT_NAMES, LIMITS, limitsThatCount } from '../../src/core/limits.ts'
import { REASONS, reasonOf } from '../../src/core/reasons.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { loadWith, mistakesOf } from '../config/given.ts'

const STAGE = { connections: 'connect', messages: 'rcpt', recipients: 'rcpt', unknown: 'rcpt' } as const

describe.each(LIMIT_NAMES)('%s', (limit) => {
  test('has a reason that is 4yz and for load, with a check, at the stage where it is charged', () => {
    expect(REASONS[limit]).toMatchObject({ load: true, stages: [STAGE[LIMITS[limit].counts]] })
    expect(REASONS[limit].code).toBeLessThan(500)
  })

  test('has a setting that is a rate or off, which its reason names', () => {
    const { setting } = LIMITS[limit]
    expect(SETTINGS[setting].kind.word).toBe('rate, or `off`')
    expect(reasonOf(limit).operator).toContain(setting)
  })
})

test('every setting that is a rate is that of a limit', () => {
  const rates = (Object.keys(SETTINGS) as SettingName[]).filter((name) => SETTINGS[name].kind.word.startsWith('rate'))
  expect(rates.sort()).toEqual(LIMIT_NAMES.map((limit) => LIMITS[limit].setting as string).sort())
})

test('every limit on connections, messages or recipients is compared, narrow before wide', () => {
  const { connect, rcpt } = policy({
    isDenied: () => false,
    banOf: () => undefined,
    denyStage: 'connect',
    concurrency: () => undefined,
    overloaded: () => undefined,
    tongue: 'reject',
    commandNewline: 'reject',
    pregreet: 'reject',
    pipelining: 'reject',
    helo: 'off',
    hostname: 'mx.test.example',
    domains: [],
    recipientsPerMessage: 100,
    unknownLately: () => undefined,
    dnsbl: { scoreOf: () => ({ score: 0, zones: [] }), isPressed: () => false, threshold: 1, rejects: false },
  })
  const checks = (...counts: ('connections' | 'messages' | 'recipients')[]) =>
    counts.flatMap((each) => limitsThatCount(each)).map((limit) => REASONS[limit].check)
  expect(connect.counted.map(({ name }) => name)).toEqual(checks('connections'))
  expect(rcpt.counted.map(({ name }) => name)).toEqual(checks('messages', 'recipients'))
  expect(checks('connections')).toEqual(['ip-connections', 'net-connections', 'global-connections'])
})

test('every limit that all clients share shows how much of it is in use', async () => {
  const text = await createMetrics({ version: 'test', upstreams: [] }).registry.metrics()
  const shown = [...text.matchAll(/^spillway_limit_utilization_ratio\{limit="(\w+)"\}/gm)].map(([, limit]) => limit)
  expect(shown).toEqual(LIMIT_NAMES.filter((limit) => LIMITS[limit].per === 'everybody'))
})

test.each(LIMIT_NAMES.filter((limit) => LIMITS[limit].per !== 'everybody'))(
  'a narrow limit above the widest of its kind is a mistake: %s',
  (narrow) => {
    const { counts } = LIMITS[narrow]
    const wide = LIMIT_NAMES.find((limit) => LIMITS[limit].counts === counts && LIMITS[limit].per === 'everybody')
    if (wide === undefined) return expect(['recipients', 'unknown']).toContain(counts)
    const given = { [LIMITS[narrow].setting]: '11/1m', [LIMITS[wide].setting]: '10/1m' }
    expect(mistakesOf(given)).toMatchObject([{ name: LIMITS[narrow].setting }])
    expect(loadWith({ ...given, [LIMITS[wide].setting]: '11/1m' }).settings).toBeDefined()
  },
)
