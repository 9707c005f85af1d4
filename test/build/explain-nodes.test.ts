/** An address explained as all nodes see it: nodes of one real Redis, one of them of two worker processes, that tell each other. */
import { expect, test } from '@jest/globals'
import type {
  AddressExplained,
  Explanation,
  NetworkExplained,
  NodeExplained,
  SenderExplained,
} from '../../src/admin/explain.ts'
import type { NodesBansReport, NodesReport } from '../../src/admin/nodes.ts'
import type { Status } from '../../src/admin/status.ts'
import { eventually, type TestApp } from '../support/app.ts'
import { Program, run, SERVE_ENV } from '../support/program.ts'
import { stoppedAfterEach } from '../support/started.ts'
import { site } from './site.ts'

const started = stoppedAfterEach()
const IP = '203.0.113.7'

/** Asks at an admin port. */
const explainAt = async <T extends Explanation>(port: number, q: string): Promise<T> =>
  (await (await fetch(`http://127.0.0.1:${port}/api/v1/explain?q=${encodeURIComponent(q)}`)).json()) as T
const explain = <T extends Explanation = AddressExplained>(app: TestApp, q = IP): Promise<T> =>
  explainAt<T>(app.adminPort, q)

/** Looks until it has answered. */
const answeredBy = (app: TestApp, node: string): Promise<AddressExplained> =>
  eventually(
    () => explain(app),
    ({ nodes = [] }) => nodes.some((each) => each.node === node && each.answered),
  )
const nodeOf = ({ nodes = [] }: AddressExplained, name: string): NodeExplained => {
  const found = nodes.find(({ node }) => node === name)
  if (found?.answered !== true) throw new Error(`${name} has not answered: ${JSON.stringify(nodes)}`)
  return found
}

test('what another node has in its memory is told, and what differs comes first', async () => {
  const { redis, node } = await site(started)
  const [a, b] = await Promise.all([
    node('mx1.example.org'),
    node('mx2.example.org', {
      OVERLOAD: '3',
      BAN_AFTER: '10',
      TONGUE: 'defer',
      LIMIT_IP_CONNECTIONS: '60/1m',
      DENY: '203.0.113.200',
    }),
  ])
  const held = await b.clientAs('203.0.113.8')
  await held.reply()
  const bot = await b.clientAs(IP)
  await bot.reply()
  await bot.command('GET / HTTP/1.1')
  await bot.closed()
  const told = await eventually(
    () => explain(a),
    (each) => each.nodes?.[1]?.answered === true && each.nodes[1].points.now > 4,
  )
  expect(Object.keys(told).slice(0, 4)).toEqual(['kind', 'verdict', 'differences', 'change'])
  expect(told).toMatchObject({
    ...{ nodesAsked: { redis: 'asked' }, points: { now: 0 }, now: { overloadLevel: 0 } },
    nodes: [
      { node: 'mx1.example.org', here: true, answered: true, standing: { is: 'new' }, now: { overloadLevel: 0 } },
      { node: 'mx2.example.org', here: false, answered: true, standing: { is: 'new' }, now: { overloadLevel: 3 } },
    ],
  })
  const other = nodeOf(told, 'mx2.example.org')
  expect(other.verdict).toMatch(/at level 3 of overload about 5 % of its messages are let in/)
  // Redis has not heard of so little.
  expect(other.limits.find(({ limit }) => limit === 'ip_connections')).toMatchObject({ used: 1, windowSeconds: 60 })
  expect(told.limits.find(({ limit }) => limit === 'ip_connections')).toMatchObject({ used: 0 })
  const [outcome, ...rest] = told.differences ?? []
  expect(outcome).toMatch(
    /^mx2\.example\.org would put off about 95 % of its messages, at level 3; mx1\.example\.org would let it in, at level 0\.$/,
  )
  expect(rest).toContain(
    'The level of overload is 0 at mx1.example.org; the level of overload is 3 at mx2.example.org.',
  )
  expect(rest).toContainEqual(expect.stringMatching(/^Points towards a ban: 0, .* mx1.*; 5 of 10 at mx2/))
  expect(rest.at(-1)).toMatch(/^Not the same maximum at all nodes: .*ip_connections, /)
  // In words, and of a sender by the address that its last session came from.
  const client = await a.clientAs(IP)
  await client.hello()
  expect(await client.send('carol@b.example', 'bob@ours.example')).toMatch(/^250/)
  await client.command('QUIT')
  const sender = await eventually(
    () => explain<SenderExplained>(a, 'carol@b.example'),
    ({ served }) => served.length > 0,
  )
  expect(sender.differences).toEqual(sender.address?.differences)
  expect(sender.address?.nodes).toHaveLength(2)
  const env = { ...SERVE_ENV, SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${a.adminPort}` }
  const { code, output } = await run(['explain', IP], { env })
  expect(code).toBe(0)
  expect(output).toMatch(/^203\.0\.113\.7 is (seen|new), .*\nmx2\.example\.org would /)
  expect(output).toMatch(/\nmx2\.example\.org says: 203[\s\S]*\n {2}points {4}[\d.]+ of 10 towards a ban\n/)
  expect(output).toContain('All nodes that share this Redis were asked.')
  // As a page.
  const { body: page } = await a.get(`/explain?q=${IP}`)
  expect(page).toContain('Now at mx1.example.org: let in')
  expect(page).toMatch(
    /<li>mx2\.example\.org would put off about 95 % [\s\S]*<summary><strong>mx2\.example\.org<\/strong> says: 203/,
  )
  // A network, which the status page links to.
  const network = await eventually(
    () => explain<NetworkExplained>(a, '203.0.113.0/24'),
    ({ nodes = [] }) => nodes[1]?.answered === true,
  )
  expect(network).toMatchObject({
    ...{ kind: 'network', nodesAsked: { redis: 'asked' }, overloadLevel: 0 },
    nodes: [
      { node: 'mx1.example.org', here: true, overloadLevel: 0, lists: { deny: false } },
      { node: 'mx2.example.org', here: false, overloadLevel: 3, lists: { deny: true } },
    ],
  })
  expect(network.differences?.[0]).toBe(
    'At mx1.example.org it is on no list; at mx2.example.org it is on SPILLWAY_DENY.',
  )
  // A page that is loaded over and over asks nobody more than once a second or two.
  const questions = async (): Promise<number> => (await redis.commands()).zremrangebyscore ?? 0
  await eventually(
    () => explain(a, '203.0.113.99'),
    ({ nodes = [] }) => nodes.length === 2,
  )
  const before = await questions()
  const took = performance.now()
  for (let i = 0; i < 30; i++) expect((await explain(a, '203.0.113.99')).nodes).toHaveLength(2)
  const seconds = (performance.now() - took) / 1000
  // Two for each announcement of either node every two seconds, and three for each question.
  expect((await questions()) - before).toBeLessThanOrEqual(4 + 2 * seconds + 3 * (1 + seconds))
  for (const app of [a, b])
    expect(await app.metric('spillway_redis_commands_total{use="explain",result="failed"}')).toBe(0)
  // Where Redis does not answer, that is said.
  await redis.kill()
  await eventually(
    () => a.running.status().redis?.state,
    (state) => state === 'away',
  )
  const alone = await explain(a, '203.0.113.98')
  expect(alone).toMatchObject({ nodesAsked: { redis: 'away' }, nodes: [{ here: true }] })
  expect(alone.differences).toEqual([expect.stringMatching(/^Redis does not answer: what other nodes would say/)])
})

test('workers are one node, and whoever hangs is named, also when it no longer counts as a node', async () => {
  const { redis, upstream, node } = await site(started)
  const a = await node('mx1.example.org')
  const program = new Program(['serve'], {
    env: {
      ...SERVE_ENV,
      ...{ SPILLWAY_UPSTREAMS: upstream, SPILLWAY_RELAY_GUARD: 'off', SPILLWAY_WORKERS: '2', SPILLWAY_OVERLOAD: 'off' },
      ...{ SPILLWAY_HOSTNAME: 'mx3.example.org', SPILLWAY_REDIS_URL: `redis://127.0.0.1:${redis.port}` },
    },
  })
  started.atEnd(() => program.end())
  const port = (await program.logged('listening for the operator')).port as number
  await program.logged('all workers serve')
  expect((await answeredBy(a, 'mx3.example.org')).nodes).toMatchObject([
    { node: 'mx1.example.org', here: true },
    { node: 'mx3.example.org', here: false, answered: true },
  ])
  const there = await explainAt<AddressExplained>(port, IP)
  expect(there.nodes).toMatchObject([
    { node: 'mx3.example.org', here: true, answered: true },
    { node: 'mx1.example.org', here: false, answered: true },
  ])
  expect(there.nodes).toHaveLength(2)
  // How the nodes are: the workers are one of them, asked or asking.
  for (const [at, names] of [
    [port, ['mx3.example.org', 'mx1.example.org']],
    [a.adminPort, ['mx1.example.org', 'mx3.example.org']],
  ] as const) {
    const { nodes } = (await (await fetch(`http://127.0.0.1:${at}/api/v1/nodes`)).json()) as NodesReport
    expect(nodes.map((each) => [each.node, each.answered && each.level])).toEqual(names.map((name) => [name, 0]))
    const { differences } = (await (await fetch(`http://127.0.0.1:${at}/api/v1/nodes/bans`)).json()) as NodesBansReport
    expect(differences).toEqual([])
  }
  const status = (await (await fetch(`http://127.0.0.1:${port}/api/v1/status`)).json()) as Status
  const pids = (status.workers ?? []).map(({ pid }) => pid as number)
  expect(pids).toHaveLength(2)
  started.atEnd(() => pids.forEach(goOn))
  const stopped = 'did not answer within 1 s: what it would say is not known'
  const silent = (note: string) =>
    eventually(
      () => explain(a),
      ({ nodes = [] }) => nodes.some((each) => !each.answered && each.note === note),
    )
  process.kill(pids[1] as number, 'SIGSTOP')
  const half = await silent(`one of its processes ${stopped}`)
  expect(half.nodes?.map(({ node: name, answered }) => [name, answered])).toEqual([
    ['mx1.example.org', true],
    ['mx3.example.org', true],
    ['mx3.example.org', false],
  ])
  process.kill(pids[0] as number, 'SIGSTOP')
  const whole = await silent(`2 of its processes ${stopped}`)
  expect(whole.differences).toContain(`mx3.example.org: 2 of its processes ${stopped}.`)
  // As after six seconds, when it is no node any more.
  for (const member of (await redis.call('zrange', 'spillway:nodes', '0', '-1')).split('\n'))
    if (member.startsWith('mx3.')) await redis.call('zrem', 'spillway:nodes', member)
  const gone = await eventually(
    () => explain(a),
    ({ differences = [] }) => differences.some((each) => /mx3.* was last heard of \d+ s ago, and did not/.test(each)),
  )
  expect(gone.nodes).toHaveLength(2)
  // One that leaves properly is not missed.
  pids.forEach(goOn)
  await answeredBy(a, 'mx3.example.org')
  program.child.kill('SIGTERM')
  expect(await program.exited).toBe(0)
  const left = await eventually(
    () => explain(a),
    ({ nodes = [] }) => nodes.length === 1,
  )
  expect(left.differences).toEqual([])
})

const goOn = (pid: number): void => {
  try {
    process.kill(pid, 'SIGCONT')
  } catch {
    // It is over.
  }
}

const ALIVE_MS = 5000
const ANSWER = {
  ...{ asked: IP, crew: '0123456789ab', verdict: '\u001b[2Jall is well', points: { now: 3 } },
  standing: { is: 'suspect', by: 'own_bad_mail', own: { good: 1, recentGood: 0, recentBad: 2 } },
  now: { overloadLevel: 2, connect: { observed: [] }, rcpt: { observed: ['helo', 'nonsense'], share: 0.5 } },
  limits: [
    { limit: 'ip_messages', setting: 'SPILLWAY_EVIL', per: 'everybody', used: 3, max: 4, windowSeconds: 60 },
    { limit: 'ip_messages', used: 1, max: 1 },
    { limit: 'no_limit', used: 1, max: 1 },
    { limit: 'ip_recipients', used: -1, max: 'x' },
  ],
  ban: { network: 'everybody', by: 'operator', reason: 'x', since: '2026-01-01', until: '2027-01-01' },
}

test('answers that are none are not believed, and questions that are none are not answered', async () => {
  const { redis, node } = await site(started)
  const a = await node('mx1.example.org')
  const forged: Record<string, string> = {
    'mx4:000000000004': JSON.stringify(ANSWER),
    'mx5:000000000005': 'nonsense',
    'mx6:000000000006': JSON.stringify({ ...ANSWER, asked: '203.0.113.8' }),
    'mx7:000000000007': JSON.stringify({ ...ANSWER, verdict: 'x'.repeat(9000) }),
    'mx8:000000000008': JSON.stringify({ ...ANSWER, now: { ...ANSWER.now, overloadLevel: 99 } }),
    '\u001b[2Jmx9:000000000009': 'null',
  }
  const open = async (): Promise<string> => (await redis.call('zrange', 'spillway:{explain}', '0', '-1')).trim()
  /** They are nodes that are alive, and answer at once, unless the machine stands still for a second. */
  const forging = async () => {
    const alive = Object.keys(forged).flatMap((name) => [String(Date.now() + ALIVE_MS), `${name} x`])
    await redis.call('zadd', 'spillway:nodes', ...alive)
    let isOver = false
    const asked = explain(a).finally(() => {
      isOver = true
    })
    const [id = '', about] = (await eventually(open, (text) => text !== '' || isOver)).split(' ')
    await redis.call('hset', `spillway:{explain}:${id}`, ...Object.entries(forged).flat())
    return { told: await asked, id, about }
  }
  const { told, id, about } = await eventually(forging, (each) => each.told.nodes?.[1]?.answered === true)
  expect(about).toBe(IP)
  const none = 'gave an answer that is none: '
  expect(told.nodes).toMatchObject([
    { node: 'mx1.example.org', here: true },
    {
      ...{ node: 'mx4', verdict: '\\u001b[2Jall is well', points: { now: 3 }, now: { overloadLevel: 2 } },
      standing: { is: 'suspect', because: expect.stringContaining('more were bad than good') },
    },
    ...['\\u001b[2Jmx9', 'mx5', 'mx6', 'mx7', 'mx8'].map((name) => ({
      ...{ node: name, answered: false },
      note: expect.stringContaining(none),
    })),
  ])
  const believed = nodeOf(told, 'mx4')
  expect(believed.ban).toBeUndefined()
  expect(believed.now.rcpt.observed).toEqual(['helo'])
  expect(believed.limits).toEqual([
    {
      ...{ limit: 'ip_messages', setting: 'SPILLWAY_LIMIT_IP_MESSAGES', per: 'source' },
      ...{ used: 3, max: 4, windowSeconds: 60 },
    },
  ])
  // Nothing is left of it.
  await eventually(open, (text) => text === '')
  expect(Number(await redis.call('exists', `spillway:{explain}:${id}`))).toBe(0)

  const soon = () => String(Date.now() + 900)
  const questions = [
    'nonsense',
    '0123456789abcde0 fe80::1%eth0',
    `0123456789abcde1 ${'x'.repeat(99)}`,
    '0123456789abcde2 alice@b.example',
  ]
  for (const each of [...questions, `0123456789abcdef ${IP}`])
    await redis.call('zadd', 'spillway:{explain}', soon(), each)
  const keys = async (): Promise<string[]> =>
    (await redis.call('keys', 'spillway:{explain}:0*')).split('\n').filter(Boolean)
  await eventually(keys, (all) => all.length > 0)
  expect(await keys()).toEqual(['spillway:{explain}:0123456789abcdef'])
  expect(Number(await redis.call('pttl', 'spillway:{explain}:0123456789abcdef'))).toBeLessThanOrEqual(3000)
})
