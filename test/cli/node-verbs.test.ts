/** The verbs that ask a running node: what they print, their exit codes, and what they say where something is wrong. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { verdictOf } from '../../src/admin/nagios.ts'
import type { Status } from '../../src/admin/status.ts'
import { allow } from '../../src/cli/bans.ts'
import { drain } from '../../src/cli/drain.ts'
import { level } from '../../src/cli/level.ts'
import { figuresIn } from '../../src/cli/status/figures.ts'
import { status } from '../../src/cli/status/status.ts'
import { load } from '../../src/config/load.ts'
import type { SettingsError } from '../../src/config/mistakes.ts'
import { eventually, startApp, type TestApp, testSources } from '../support/app.ts'
import { run, SERVE_ENV } from '../support/program.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const TOKEN = 'a-token-of-some-length'
const words = { json: false }
const NOW = Date.parse('2026-11-28T09:00:00Z')
let upstream: Upstream
let app: TestApp
let env: Record<string, string>
const loadedWith = (more: Record<string, string> = {}) =>
  load(testSources('127.0.0.1:1', { ADMIN_LISTEN: `127.0.0.1:${app.adminPort}`, ADMIN_TOKEN: TOKEN, ...more }))
const mistaken = (): SettingsError => {
  try {
    load(testSources('127.0.0.1:1', { BAN_TIME: '5' }))
  } catch (error) {
    return error as SettingsError
  }
  throw new Error('no mistake was found')
}

beforeAll(async () => {
  upstream = await startUpstream()
  app = await startApp(upstream.address, { ADMIN_TOKEN: TOKEN, OVERLOAD: 'auto', OVERLOAD_EVENT_LOOP: '10s' })
  env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${app.adminPort}`, SPILLWAY_ADMIN_TOKEN: TOKEN }
  await eventually(
    async () => JSON.parse((await app.get('/api/v1/status')).body) as Status,
    ({ upstreams }) => upstreams[0]?.state === 'up',
  )
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

test('the line of docs/commands.md for systemd is all that a shell needs, also for what wants the token', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-shell-'))
  mkdirSync(join(folder, 'spillway'))
  const { SPILLWAY_ADMIN_TOKEN: token = '', ...settings } = env
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`)
  writeFileSync(join(folder, 'spillway/spillway.env'), lines.filter((line) => line.startsWith('SPILLWAY_')).join(''))
  writeFileSync(join(folder, 'spillway/admin-token'), token)
  const page = readFileSync(new URL('../../docs/commands.md', import.meta.url), 'utf8')
  const [, exported = ''] = /^ {4}export (SPILLWAY_.*)$/m.exec(page) ?? []
  const shell = Object.fromEntries(exported.split(' ').map((each) => each.replace('/etc', folder).split('=')))
  expect(Object.keys(shell)).toHaveLength(2)
  const allowed = ['allow', 'add', '192.0.2.99', '--time', '1h']
  expect(await run(allowed, { env: shell })).toMatchObject({ code: 0 })
  expect(await run(['allow', 'remove', '192.0.2.99'], { env: shell })).toMatchObject({ code: 0 })
  const tokenless = await run(allowed, { env: { SPILLWAY_ENV_FILE: shell.SPILLWAY_ENV_FILE as string } })
  expect(tokenless).toEqual({ code: 1, output: expect.stringContaining('wants a token') })
  rmSync(folder, { recursive: true })
})

test('from the command line, on a pipe: words, JSON, codes, and no colours', async () => {
  const verb = (...args: string[]) => run(args, { env })
  const unasked = await verb('drain', upstream.address)
  expect(unasked).toEqual({ code: 1, output: expect.stringContaining(`spillway drain ${upstream.address} --force`) })
  const drained = await verb('drain', upstream.address, '--force')
  expect(drained).toEqual({
    code: 0,
    output: `The node is not drained.\nDrained mail servers, which get no new mail: ${upstream.address}.\n`,
  })
  const shown = await verb('status')
  expect(shown.code).toBe(2)
  expect(shown.output).toMatch(
    /^CRITICAL: No mail server is up: every sender is told to come back later, .* \| level=0;/,
  )
  expect(shown.output).toContain(`\nwhat to do: spillway undrain ${upstream.address}\n`)
  expect(shown.output).not.toContain('\u001b')
  expect(await verb('undrain', upstream.address, '--json')).toEqual({
    code: 0,
    output: '{\n  "upstreams": []\n}\n',
  })
  expect((await verb('status', 'now')).code).toBe(64)
  expect(await verb('healthcheck')).toEqual({ code: 0, output: '/livez: ok\n' })
})

describe('drain and undrain', () => {
  test('without a mail server they are about the node', async () => {
    const told = await drain('drain', loadedWith(), [], words)
    expect(told.output).toMatch(
      /^The node is drained since 20.*Z: \/readyz says 503, and whoever still comes is served\.\n/,
    )
    expect((await app.get('/readyz')).status).toBe(503)
    const { output, code } = await status(loadedWith(), words, Date.now())
    expect([code, output]).toEqual([
      1,
      expect.stringMatching(/^WARNING: The operator has drained this node: balancers send it no clients/),
    ])
    await drain('undrain', loadedWith(), [], words)
    expect((await app.get('/readyz')).status).toBe(200)
  })

  test('of one that is not there: it says which there are', async () => {
    const { output, code } = await drain('drain', loadedWith(), ['mail9:25'], words)
    expect([code, output]).toEqual([1, `upstream: one of ${upstream.address}, as SPILLWAY_UPSTREAMS has it\n`])
  })
})

describe('level', () => {
  test('shows the level, each signal, and who is let in', async () => {
    const { output, code } = await level(loadedWith(), [], words)
    expect(code).toBe(0)
    expect(output).toMatch(/^level 0 since 20.*; it follows the pressure \(SPILLWAY_OVERLOAD\)\n/)
    for (const each of ['upstream_slots', 'event_loop', 'the level lets everybody in: limits'])
      expect(output).toContain(each)
    expect(JSON.parse((await level(loadedWith(), [], { json: true })).output)).toMatchObject({ level: 0, mode: 'auto' })
  })

  test('pins it for half an hour, or as long as it is told to', async () => {
    const told = await level(loadedWith(), ['2'], { json: true })
    const { mode, until } = JSON.parse(told.output) as { mode: number; until: string }
    expect(mode).toBe(2)
    expect(Math.abs(Date.parse(until) - Date.now() - 30 * 60_000)).toBeLessThan(60_000)
    expect((await level(loadedWith(), [], words)).output).toMatch(/^level 2 .* pinned to 2 \(spillway level, until 20/)
    expect((await level(loadedWith(), ['off'], { ...words, time: '1h' })).output).toMatch(
      /^The overload of this node is off until/,
    )
    expect(await level(loadedWith(), ['auto'], words)).toEqual({
      code: 0,
      output: 'Nothing is pinned: SPILLWAY_OVERLOAD is auto.\n',
    })
  })

  test.each([
    [['5'], {}, 'There is no level 5: auto, off, 0, 1, 2, 3, 4.', 64],
    [[], { time: '1h' }, '--time is for a level: spillway level 2 --time 30m.', 64],
    [['1'], { time: '8d' }, 'at most 7d', 1],
  ] as const)('%j %j', async (args, more, said, code) => {
    const told = await level(loadedWith(), args, { ...words, ...more })
    expect([told.code, told.output]).toEqual([code, expect.stringContaining(said)])
  })
})

describe('allow', () => {
  test('adds, lists and removes, and tells a ban in its way', async () => {
    const verb = (args: string[], more = {}) => allow(loadedWith(), args, { ...words, ...more })
    expect((await verb([])).output).toMatch(/^Nobody is allowed at run time\./)
    const added = await verb(['add', '192.0.2.0/24'], { time: '6h', reason: 'a newsletter' })
    expect(added.output).toMatch(/^192\.0\.2\.0\/24 is allowed until 20.*Z\. /)
    expect((await verb(['list'])).output).toMatch(/^192\.0\.2\.0\/24 +operator +20.* until 20.* a newsletter\n$/)
    const list = JSON.parse((await verb(['list'], { json: true })).output) as object
    expect(list).toMatchObject({ total: 1, allowed: [{ network: '192.0.2.0/24', reason: 'a newsletter' }] })
    expect(app.running.bans.add({ network: '192.0.0.0/16' })).toMatchObject({
      mistake: expect.stringContaining('spillway allow remove 192.0.2.0/24'),
    })
    expect(await verb(['remove', '192.0.2.7'])).toEqual({
      code: 1,
      output: '192.0.2.7/32 is not in the list by itself, 192.0.2.0/24 is: remove that\n',
    })
    expect((await verb(['remove', '192.0.2.0/24'])).output).toBe('192.0.2.0/24 is no longer allowed (a newsletter).\n')
    expect((await verb(['remove', '192.0.2.0/24'])).code).toBe(1)
    expect((await verb(['permit'])).output).toBe('There is no permit of allow: list, add and remove.\n')
    expect((await verb(['add', '0.0.0.0/0'])).output).toContain('SPILLWAY_OBSERVE=all')
  })
})

describe('status', () => {
  test('a node that is well: 0, performance data, and the rest', async () => {
    const { output, code } = await status(loadedWith(), words, Date.now())
    const [first = '', ...rest] = output.split('\n')
    expect(code).toBe(0)
    expect(first).toMatch(/^OK: All is well: .* \| level=0;2;;0;4 pressure=[\d.]+;1;;0 upstreams_up=1;;1:;0;1 /)
    expect(first).toMatch(/ bans=0;;;0 .*sessions_relayed=\d+c/)
    const text = rest.join('\n')
    for (const each of [
      'node mx.test.example, Spillway 0.0.0-test',
      `upstream ${upstream.address}: up since`,
      'Redis is not set',
      'STARTTLS is not offered',
      'sessions since the start: relayed',
    ])
      expect(text).toContain(each)
    // A bar would begin performance data once more.
    expect(text).not.toContain('|')
    expect(JSON.parse((await status(loadedWith(), { json: true }, Date.now())).output)).toMatchObject({
      verdict: { severity: 'ok' },
      status: { ready: true },
      figures: { bans: 0 },
    })
    const all = await status(loadedWith(), { json: false, all: true }, Date.now())
    expect(all.output).toContain('\nThere is no Redis (SPILLWAY_REDIS_URL): this is what the node says that was asked.')
    expect(JSON.parse((await status(loadedWith(), { json: true, all: true }, Date.now())).output)).toMatchObject({
      nodes: [{ node: 'mx.test.example', here: true, severity: 'ok', ready: true }],
      nodesAsked: { redis: 'none' },
    })
  })

  test.each<[Record<string, string>, RegExp, number]>([
    [{ ADMIN_LISTEN: '127.0.0.1:1' }, /^CRITICAL: Nothing listens at 127\.0\.0\.1:1/, 2],
    [{ ADMIN_LISTEN: '127.0.0.1:0' }, /^UNKNOWN: Which port/, 3],
  ])('%j', async (more, first, code) => {
    const told = await status(loadedWith(more), words, NOW)
    expect([told.code, told.output]).toEqual([code, expect.stringMatching(first)])
  })

  test('mistakes in the settings are unknown', async () => {
    expect(await status(mistaken(), words, NOW)).toMatchObject({
      code: 3,
      output: expect.stringMatching(/^UNKNOWN: there are mistakes in the settings\n[\s\S]*SPILLWAY_BAN_TIME=5/),
    })
  })
})

describe('the verdict', () => {
  const condition = (state: string, up = state === 'up') => ({
    ...{ upstream: `${state}:25`, address: `${state}:25`, state, up, since: '2026-11-28T08:00:00.000Z' },
    ...{ connections: 0, limit: 50 },
  })
  const WELL = {
    ...{ ready: true, connectionsOpen: 3, unknownGuard: false, upstreams: [condition('up'), condition('up')] },
    overload: { level: 0, signal: 'memory' },
  } as unknown as Status
  const inDays = (days: number) => new Date(NOW + days * 86_400_000).toISOString()
  const certificate = (days: number) => ({
    tls: { certificates: [{ name: 'mx', expires: inDays(days), warnings: [], doubts: [] }] },
  })

  test.each<[string, object, string, string]>([
    ['all is well', {}, 'ok', 'level 0, 2 of 2 upstreams up, 3 connections'],
    [
      'one is down',
      { upstreams: [condition('up'), condition('down')] },
      'warning',
      'upstream down:25 is down; level 0, 1 of 2 upstreams up, 3 connections',
    ],
    ['one is slow', { upstreams: [condition('slow', true)] }, 'warning', 'upstream slow:25 is slow; '],
    ['one is removed', { upstreams: [condition('up'), condition('draining')] }, 'ok', 'level 0, '],
    ['none is up', { upstreams: [condition('drained')] }, 'critical', 'no upstream is up; '],
    ['it sheds a little', { overload: { level: 2, signal: 'memory' } }, 'ok', 'level 2, '],
    [
      'it sheds much',
      { overload: { level: 3, signal: 'memory', mode: 'auto' } },
      'warning',
      'nearly all mail of new senders is put off (memory); level 3',
    ],
    [
      'it is told to',
      { overload: { level: 4, signal: 'memory', mode: 4 } },
      'warning',
      'nearly all mail of new senders is put off (pinned); ',
    ],
    ['it is drained', { ready: false, drainedSince: inDays(0) }, 'warning', 'drained by the operator; '],
    ['it stops', { ready: false }, 'critical', 'not listening, or stopping; '],
    ['Redis is away', { redis: { up: false } }, 'warning', 'Redis is away; '],
    ['the directory fails', { unknownGuard: true }, 'critical', 'recipients that were accepted lately'],
    ['a certificate has long', certificate(15), 'ok', 'level 0'],
    ['a certificate has days', certificate(13.5), 'warning', 'The certificate mx expires in 13 days; '],
    ['a certificate has hours', certificate(2.5), 'critical', 'The certificate mx expires in 2 days; '],
    ['a certificate is over', certificate(-1), 'critical', 'The certificate mx has expired '],
    ['a worker hangs', { workers: [{ up: true }, { up: false }] }, 'warning', '1 of 2 workers do not answer; '],
    [
      'the worst comes first',
      { redis: { up: false }, upstreams: [] },
      'critical',
      'no upstream is up; Redis is away; ',
    ],
    ['the node says it', { verdict: { severity: 'warn', text: 'so so' } }, 'warning', 'so so'],
    [
      'the node says it is well, and a certificate is not',
      { verdict: { severity: 'ok', text: 'fine' }, ...certificate(1) },
      'critical',
      'The certificate mx expires in 1 day; level 0, 2 of 2 upstreams up, 3 connections; fine',
    ],
  ])('%s', (_, change, severity, summary) => {
    const verdict = verdictOf({ ...WELL, ...change }, NOW)
    expect(verdict).toEqual({
      severity,
      summary: expect.stringMatching(new RegExp(`^${summary.replace(/[()]/g, '\\$&')}`)),
    })
  })

  test('has the advice of the node, which is told in a line of its own', () => {
    const verdict = { severity: 'critical', text: 'a flood', do: 'add a node' } as const
    expect(verdictOf({ ...WELL, verdict }, NOW)).toEqual({
      ...{ severity: 'critical', summary: 'a flood', advice: 'add a node' },
    })
  })

  test('figures are sums over the labels that do not matter', () => {
    const page = [
      '# HELP spillway_sessions_total x',
      'spillway_sessions_total{outcome="relayed",standing="new"} 3',
      'spillway_sessions_total{outcome="relayed",standing="known"} 4',
      'spillway_refusals_total{stage="helo",reason="helo",action="defer",mode="observe"} 2',
      'spillway_refusals_total{stage="helo",reason="helo",action="defer",mode="enforce"} 9',
      'spillway_bans_active 5',
    ].join('\n')
    expect(figuresIn(page)).toEqual({ sessions: { relayed: 7 }, bans: 5, observed: { helo: 2 } })
  })
})
