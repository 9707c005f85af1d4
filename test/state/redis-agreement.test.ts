/** Nodes that share a Redis and have not set the same limits say so, by the setting's name. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { budgetOf, Findings } from '../../src/cli/doctor/finding.ts'
import { aboutNode } from '../../src/cli/doctor/node.ts'
import { status } from '../../src/cli/status/status.ts'
import { ALL_OFF, type Rates } from '../../src/core/limits.ts'
import { Agreement, settingsText } from '../../src/state/agreement.ts'
import { HOLD_MS } from '../../src/state/nodes.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { eventually, startApp, type TestApp, testSettings } from '../support/app.ts'

describe('two apps on a real Redis', () => {
  let redis: RedisServer
  const running: TestApp[] = []
  beforeEach(async () => {
    redis = await startRedis()
  })
  afterEach(async () => {
    await Promise.all(running.splice(0).map((app) => app.stop()))
    await redis.stop()
  })
  const start = async (settings: Record<string, string> = {}): Promise<TestApp> => {
    const app = await startApp('127.0.0.1:1', {
      REDIS_URL: `redis://127.0.0.1:${redis.port}`,
      REDIS_TIMEOUT: '500ms',
      ...settings,
    })
    running.push(app)
    return app
  }
  const NAME = 'SPILLWAY_LIMIT_IP_CONNECTIONS'
  const warnings = (app: TestApp) => app.log().filter(({ level, setting }) => level === 'warn' && setting !== undefined)
  const announced = (app: TestApp): Promise<number> =>
    app.metric('spillway_redis_commands_total{use="nodes",result="ok"}').then((count) => count ?? 0)

  /** The status page, `spillway status` and `spillway doctor` say it, and which nodes have other settings. */
  async function tellsOf(app: TestApp, words: string): Promise<void> {
    const { hash } = app.running.status().settings
    const others = app.running.status().redis?.differences?.settings
    expect(others).toEqual([
      { nodes: expect.stringMatching(/^mx2?\.test\.example$/), hash: expect.not.stringMatching(hash) },
    ])
    const page = (await app.get('/')).body
    for (const each of [words, `(settings ${others?.[0]?.hash})`]) expect(page).toContain(each)
    const settings = testSettings('127.0.0.1:1', { ADMIN_LISTEN: `127.0.0.1:${app.adminPort}` })
    const told = await status({ settings, warnings: [] } as never, { json: false }, Date.now())
    expect(told.output).toContain(`limits differ: ${words}\n`)
    const found = new Findings('node')
    await aboutNode(settings, found, budgetOf(5000))
    expect(found.all).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ state: 'WARN', subject: 'limits', text: `not the same on all nodes: ${words}` }),
        expect.objectContaining({ state: 'WARN', subject: 'settings', text: expect.stringContaining(hash) }),
      ]),
    )
  }

  test('each warns once, again when the difference changes, and says when it is gone', async () => {
    const first = await start()
    const second = await start({
      LIMIT_IP_CONNECTIONS: '300/1m',
      LIMIT_GLOBAL_MESSAGES: '9000/1m',
      HOSTNAME: 'mx2.test.example',
    })
    const warned = await first.waitForLog(({ setting }) => setting === NAME)
    expect(warned).toMatchObject({ level: 'warn', here: '600/1m', others: [{ value: '300/1m' }] })
    expect(JSON.stringify(warned.others)).toContain('mx2.test.example:')
    expect(warned.msg).toContain(NAME)
    expect(await second.waitForLog(({ setting }) => setting === NAME)).toMatchObject({
      here: '300/1m',
      others: [{ value: '600/1m' }],
    })
    await first.waitForLog(({ setting }) => setting === 'SPILLWAY_LIMIT_GLOBAL_MESSAGES')
    await tellsOf(first, `${NAME} is 600/1m here, 300/1m at mx2.test.example`)
    await tellsOf(second, `${NAME} is 300/1m here, 600/1m at mx.test.example`)
    const before = await announced(first)
    await eventually(
      () => announced(first),
      (count) => count >= before + 2,
    )
    expect(warnings(first).map(({ setting }) => setting)).toEqual([NAME, 'SPILLWAY_LIMIT_GLOBAL_MESSAGES'])

    await second.stop()
    await start({ LIMIT_IP_CONNECTIONS: '200/1m' })
    const again = await eventually(
      () => warnings(first).filter(({ setting }) => setting === NAME),
      (lines) => lines.length === 2,
    )
    expect(again[1]).toMatchObject({ others: [{ value: '200/1m' }] })
    // Of the other one that was with the second, it is told when nobody has come back with it.
    const gone = await first.waitForLog(
      ({ level, setting }) => level === 'info' && setting === 'SPILLWAY_LIMIT_GLOBAL_MESSAGES',
    )
    expect(gone).toMatchObject({ here: 'off' })
  })

  test('nodes that agree say nothing', async () => {
    const [first] = [await start(), await start()]
    const before = await announced(first)
    await eventually(
      () => announced(first),
      (count) => count >= before + 2,
    )
    expect(warnings(first)).toEqual([])
    expect(first.running.status().redis).not.toHaveProperty('differences')
  })
})

describe('what is heard', () => {
  const rates: Rates = { ...ALL_OFF, ip_connections: { max: 600, windowMs: 60_000 } }
  function begin() {
    const state = { at: 0, lines: [] as string[] }
    const say = (level: string) => (fields: unknown) =>
      void state.lines.push(
        `${level} ${(fields as { setting: string }).setting} ${JSON.stringify((fields as { others?: unknown }).others ?? '')}`,
      )
    const log = {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: say('error'),
      flush: () => undefined,
    }
    const agreement = new Agreement({ hash: () => undefined, rates: () => rates, elapsed: () => state.at, log })
    const hear = (...settings: string[]): string[] => {
      agreement.heard(settings.map((each, i) => ({ node: `n${i}`, settings: each })))
      return state.lines.splice(0)
    }
    return { state, hear }
  }

  test('is compared limit by limit, and who else has it makes no difference', () => {
    const { hear } = begin()
    const other = settingsText({ ...rates, ip_connections: { max: 300, windowMs: 60_000 } })
    expect(hear(settingsText(rates))).toEqual([])
    expect(hear(other)).toEqual(['warn SPILLWAY_LIMIT_IP_CONNECTIONS [{"node":"n0","value":"300/1m"}]'])
    expect(hear(settingsText(rates), other)).toEqual([])
    expect(hear(settingsText({ ...rates, ip_connections: { max: 600, windowMs: 600_000 } }))).toHaveLength(1)
    expect(hear(settingsText({ ...ALL_OFF }))).toEqual([
      'warn SPILLWAY_LIMIT_IP_CONNECTIONS [{"node":"n0","value":"off"}]',
    ])
  })

  test('a Redis that has come back empty, and does not know of all nodes yet, is no agreement', () => {
    const { state, hear } = begin()
    const other = 'ip_connections=300/60000'
    expect(hear(other)).toHaveLength(1)
    state.at += HOLD_MS - 1
    expect(hear()).toEqual([])
    expect(hear(other)).toEqual([])
    state.at += HOLD_MS
    expect(hear()).toEqual(['info SPILLWAY_LIMIT_IP_CONNECTIONS ""'])
    expect(hear()).toEqual([])
    expect(hear(other)).toHaveLength(1)
  })

  test.each([
    '',
    'x',
    'ip_connections',
    'ip_connections=',
    'ip_connections=1e9/60000',
    'ip_connections=300/60000\n{"level":"error"}',
    'ip_connections=99999999999999999999/1',
    'a_limit_to_come=5/1000',
    `${'x'.repeat(100)}=off`,
  ])('what is no setting is passed over: %j', (settings) => {
    expect(begin().hear(settings)).toEqual([])
  })
})
