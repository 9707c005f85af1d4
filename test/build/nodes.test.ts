/** How all nodes of one real Redis are, in whom they have banned they differ, and what is said where too much is asked at once. */
import { expect, test } from '@jest/globals'
import type { AddressExplained } from '../../src/admin/explain.ts'
import { type NodesBansReport, type NodesReport, nodeStateOf } from '../../src/admin/nodes.ts'
import type { Status } from '../../src/admin/status.ts'
import { buildNodesParts } from '../../src/build/nodes.ts'
import { bansPartIn, bansPartOf, MOST_BANS, statePartIn, statesTogether } from '../../src/build/nodes-part.ts'
import { nodeLines, worstOf } from '../../src/cli/status/nodes.ts'
import { status as statusVerb } from '../../src/cli/status/status.ts'
import type { Loaded } from '../../src/config/load.ts'
import type { Ban } from '../../src/core/bans.ts'
import { NO_ORDERS } from '../../src/core/orders.ts'
import { SERIES } from '../../src/telemetry/traffic/report.ts'
import { eventually, type TestApp, testSettings } from '../support/app.ts'
import { run, SERVE_ENV } from '../support/program.ts'
import { stoppedAfterEach } from '../support/started.ts'
import { site } from './site.ts'

const started = stoppedAfterEach()
const AUTO = { OVERLOAD: 'auto' }

const told = async <T>(app: TestApp, path: string): Promise<T> => JSON.parse((await app.get(path)).body) as T
const nodesOf = (app: TestApp): Promise<NodesReport> => told<NodesReport>(app, '/api/v1/nodes')
const verb = (app: TestApp, ...args: string[]) =>
  run(args, { env: { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${app.adminPort}` } })
/** Looks until the other one has answered. */
const both = (app: TestApp) =>
  eventually(
    () => nodesOf(app),
    ({ nodes }) => nodes.length === 2 && nodes.every(({ answered }) => answered),
  )

test('status is as bad as the worst node, names the one that does not answer, and tells one alone if asked to', async () => {
  const { redis, node, nodeAt } = await site(started)
  const [a, b] = await Promise.all([
    node('mx1.example.org', AUTO),
    nodeAt('127.0.0.1:1', 'mx2.example.org', { OVERLOAD: '3' }),
  ])
  await eventually(
    () => b.running.status().upstreams,
    ([one]) => one?.state === 'down',
  )
  await both(a)
  const { nodes, nodesAsked } = await nodesOf(a)
  expect(nodesAsked.redis).toBe('asked')
  const version = a.running.status().version
  expect(nodes).toMatchObject([
    { node: 'mx1.example.org', here: true, severity: 'ok', level: 0, ready: true, version },
    { node: 'mx2.example.org', here: false, severity: 'critical', level: 3, ready: true, version },
  ])

  const words = await verb(a, 'status', '--all')
  expect(words.code).toBe(2)
  const [first, ...lines] = words.output.split('\n')
  expect(first).toMatch(
    /^CRITICAL: mx2\.example\.org: No mail server is up.*; mx1\.example\.org: All is well.* \| level=0;.* nodes=2;;;0 nodes_silent=0;;;0$/,
  )
  const line = (of: string): string => lines.find((each) => each.startsWith(`node ${of}`)) ?? ''
  expect(line('mx1.example.org (asked)')).toMatch(/: OK; level 0; not drained; version \S+; up since \S+ \S+Z$/)
  expect(line('mx2.example.org')).toMatch(/: CRITICAL; level 3; not drained; .*; No mail server is up/)
  const one = await verb(a, 'status')
  expect(one.code).toBe(0)
  expect(one.output).toMatch(/^OK: All is well/)
  expect(one.output).not.toContain('node mx2')
  expect(one.output).toMatch(/^Redis: up since \S+ \S+Z; nodes: 2 \(spillway status --all asks each\)$/m)
  const asJson = JSON.parse((await verb(a, 'status', '--all', '--json')).output)
  expect(asJson).toMatchObject({
    ...{ verdict: { severity: 'critical' }, status: { node: 'mx1.example.org' }, figures: { bans: 0 } },
    ...{ nodes: [{ here: true }, { here: false }], nodesAsked: { redis: 'asked' } },
  })
  expect(Object.keys(JSON.parse((await verb(a, 'status', '--json')).output))).toEqual(['verdict', 'status', 'figures'])

  // One that is drained says so; one that hangs is named, and is a warning.
  await b.stop()
  const c = await node('mx3.example.org', AUTO)
  c.running.obey({ ...NO_ORDERS, drainedSince: Date.now() })
  await eventually(
    () => nodesOf(a),
    ({ nodes: all }) => all.some((each) => each.answered && each.drainedSince !== undefined),
  )
  const warned = await eventually(
    async () => {
      // Within what a node says of itself; what is said for longer is removed.
      await redis.call('zadd', 'spillway:nodes', String(Date.now() + 5000), 'mx9.example.org:00000000000a x')
      return verb(a, 'status', '--all')
    },
    ({ output }) => output.includes('mx9'),
  )
  expect(warned.code).toBe(1)
  expect(warned.output).toMatch(
    /^WARNING: mx3\.example\.org: The operator has drained this node.*; also mx9\.example\.org \(WARNING\); mx1/,
  )
  expect(warned.output).toMatch(/\nnode mx3\.example\.org: WARNING; level 0; drained since \S+ \S+Z; /)
  expect(warned.output).toContain('\nnode mx9.example.org: it did not answer within 1 s: ')
}, 60_000)

test('a node that has not heard of a ban is named, and so is one that has a ban of its own', async () => {
  const { node } = await site(started)
  const [a, b] = await Promise.all([node('mx1.example.org'), node('mx2.example.org')])
  await both(a)
  a.running.bans.add({ network: '192.0.2.0/24', reason: 'harvest', forMs: 600_000 })
  await eventually(
    () => b.running.bans.list().length,
    (count) => count === 1,
  )
  const bansOf = () => told<NodesBansReport>(a, '/api/v1/nodes/bans')
  expect(await bansOf()).toMatchObject({ differences: [], nodes: [{ here: true }, { missing: [], more: [] }] })
  expect((await verb(a, 'bans', 'list', '--all')).output).toMatch(
    /^192\.0\.2\.0\/24 .*\n\nAll 2 nodes have heard of the latest bans\.\n$/,
  )
  // As if the way over Redis were cut: what is taken like this, nobody else is told of.
  const lately = Date.now() - 60_000
  const ban = (network: string): Ban => ({
    ...{ network, kind: 'ban', by: 'operator', reason: 'x', since: lately, until: lately + 600_000, before: 0 },
  })
  a.running.bans.take([ban('198.51.100.0/24')])
  b.running.bans.take([ban('203.0.113.0/24')])
  const { nodes, differences } = await eventually(bansOf, (each) => each.differences.length > 1)
  expect(nodes).toMatchObject([
    { node: 'mx1.example.org', here: true, total: 2 },
    { node: 'mx2.example.org', here: false, total: 2, missing: ['198.51.100.0/24'], more: ['203.0.113.0/24'] },
  ])
  expect(differences).toEqual([
    'Not banned at mx2.example.org, and banned at mx1.example.org: 198.51.100.0/24.',
    'Banned at mx2.example.org, and not banned at mx1.example.org: 203.0.113.0/24.',
  ])
  const { output } = await verb(a, 'bans', 'list', '--all')
  for (const each of differences) expect(output).toContain(`\n${each}\n`)
  expect((await verb(a, 'bans', 'list')).output).not.toContain('mx2')
  expect(await verb(a, 'bans', 'remove', '192.0.2.0/24', '--all')).toEqual({ output: '--all is for list.\n', code: 64 })
  expect(JSON.parse((await verb(a, 'bans', 'list', '--all', '--json')).output)).toMatchObject({
    ...{ total: 2, bans: [{}, {}], nodesAsked: { redis: 'asked' }, differences },
  })
}, 60_000)

test('where too much is asked at once that is said, the rest is told, and asking again in a moment helps', async () => {
  const { node } = await site(started)
  const [a] = await Promise.all([node('mx1.example.org', AUTO), node('mx2.example.org', AUTO)])
  await both(a)
  const explain = (ip: string) => told<AddressExplained>(a, `/api/v1/explain?q=${ip}`)
  let burst = 0
  /** Other addresses each time: what was asked just now is no question. */
  const many = async () => {
    burst++
    const asking = Array.from({ length: 12 }, (_, i) => explain(`192.0.${burst}.${i}`))
    const [page, status, all] = await Promise.all([
      a.get(`/explain?q=192.0.${burst}.99`),
      nodesOf(a),
      Promise.all(asking),
    ])
    return { busy: all.find(({ nodesAsked }) => nodesAsked?.redis === 'busy'), page: page.body, status }
  }
  const note = 'Too much was asked at once: what other nodes would say is not known. Ask again in a moment.'
  const { busy, page, status } = await eventually(
    many,
    (each) => each.busy !== undefined && each.page.includes(note) && each.status.nodesAsked.redis === 'busy',
  )
  expect(busy).toMatchObject({ differences: [note], nodes: [{ here: true }], nodesAsked: { redis: 'busy', note } })
  // The page says it too, and that a node is well does not change by it.
  expect(page).toContain('Now: let in')
  expect(status).toMatchObject({ nodes: [{ here: true, severity: 'ok' }] })
  expect(worstOf({ severity: 'ok', summary: 'well' }, status)).toEqual({ severity: 'ok', summary: 'well' })
  // A command asks again by itself: checks of many nodes begin in the same second.
  const checked = await eventually(
    async () => {
      const settings = testSettings('127.0.0.1:1', { ADMIN_LISTEN: `127.0.0.1:${a.adminPort}` })
      const [seen, { output }] = await Promise.all([
        many(),
        statusVerb({ settings } as Loaded, { json: true, all: true }, Date.now()),
      ])
      return { busy: seen.status.nodesAsked.redis === 'busy', told: JSON.parse(output) as NodesReport }
    },
    (each) => each.busy,
  )
  expect(checked.told.nodesAsked.redis).toBe('asked')
  const again = await eventually(
    () => explain('198.51.100.78'),
    ({ nodesAsked }) => nodesAsked?.redis === 'asked',
  )
  expect(again.nodes).toHaveLength(2)
}, 60_000)

test('what is told of a node is checked, clipped and escaped, and workers are one node', () => {
  const state = {
    severity: 'ok',
    summary: 'well',
    version: '1',
    upSince: '2026-01-02T00:00:00.000Z',
    ready: true,
    level: 1,
  }
  const minute = { connections: 5, shed: 2, messages: 1 }
  expect(
    statePartIn({ ...state, summary: '\u001b[2J\n'.repeat(999), level: 9, lastMinute: { ...minute, shed: -1 } }),
  ).toEqual({
    ...{ severity: 'ok', version: '1', upSince: state.upSince, ready: true },
    summary: '\\u001b[2J '.repeat(100),
  })
  for (const wrong of [{ severity: 'fine' }, { severity: 'unknown' }, { version: 1 }, { upSince: 'lately' }])
    expect(statePartIn({ ...state, ...wrong })).toBeUndefined()
  const one = statePartIn({ ...state, lastMinute: minute })
  const other = statePartIn({
    ...{ ...state, severity: 'warning', summary: 'slow', level: 0, ready: false, lastMinute: minute },
    upSince: '2026-01-01T00:00:00.000Z',
  })
  if (one === undefined || other === undefined) throw new Error('no state')
  expect(statesTogether([one, other])).toEqual({
    ...{ severity: 'warning', summary: 'slow', version: '1', ready: true, level: 1 },
    ...{ upSince: '2026-01-01T00:00:00.000Z', lastMinute: { connections: 10, shed: 4, messages: 2 } },
  })
  const bans = { total: 1, latest: [{ network: 'everybody', by: 'operator', since: 1, until: 2 }, 'x', null] }
  expect(bansPartIn(bans)).toEqual({ total: 1, latest: [] })
  expect(bansPartIn({ total: 1 })).toBeUndefined()
})

test('the last minute is told as far as there is one', () => {
  const status = (minutes: readonly number[]): Status =>
    ({
      ...{ version: '1', uptimeSeconds: 60, ready: true, upstreams: [], connectionsOpen: 0 },
      traffic: {
        minutes: Object.fromEntries(SERIES.map((series) => [series, minutes])),
        reasons: [],
        knownRefused: [],
      },
    }) as unknown as Status
  const at = Date.parse('2026-01-01T00:01:00Z')
  const state = nodeStateOf(status([7, 5]), at)
  expect(state).toMatchObject({
    ...{ severity: 'critical', upSince: '2026-01-01T00:00:00.000Z' },
    lastMinute: { connections: 5, shed: 5, messages: 5 },
  })
  expect(nodeStateOf(status([]), at)).not.toHaveProperty('lastMinute')
  const line = nodeLines({
    nodes: [
      { node: 'mx1', answered: true, here: true, ...state },
      { node: 'mx2', answered: true, here: false, ...state, ready: false },
    ],
    nodesAsked: { redis: 'asked', note: 'All were.' },
  })
  expect(line[1]).toMatch(
    /^node mx2: CRITICAL; level unknown; takes no clients; .*last minute: 5 in, 5 shed, 5 messages relayed; /,
  )
  expect(line.at(-1)).toBe('All were.')
})

test('of very many bans the latest are compared, and only as far back as both have told', async () => {
  const now = 10_000_000
  const ban = (i: number): Ban => ({
    ...{ network: `10.${i >> 8}.${i & 255}.0/24`, kind: 'ban', by: 'automatic', reason: 'junk', before: 0 },
    ...{ since: i, until: now + 600_000 },
  })
  const here = Array.from({ length: 5000 }, (_, i) => ban((i * 1237) % 5000))
  const there = here.filter(({ since }) => since !== 4990 && since !== 100)
  const part = bansPartOf(here)
  expect(part.total).toBe(5000)
  expect(part.latest.map(({ since }) => since)).toEqual(Array.from({ length: MOST_BANS }, (_, i) => 4999 - i))
  const nodes = buildNodesParts({
    ...{ status: () => Promise.reject(new Error('not asked')), host: () => 'mx1', now: () => now, bans: () => part },
    others: async () => ({
      ...{ redis: 'asked', silent: [], more: 0 },
      nodes: [{ node: 'mx2', answered: true, here: false, ...bansPartOf(there) }],
    }),
  })
  expect((await nodes.bans()).nodes[1]).toEqual({
    ...{ node: 'mx2', answered: true, here: false, total: 4998 },
    ...{ missing: [ban(4990).network], more: [] },
  })
})
