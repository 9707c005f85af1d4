/** `spillway simulate`: what other limits would have shed of the sessions of a log, and whom it would have hurt. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, test } from '@jest/globals'
import { parse } from '../../src/cli/args.ts'
import { linesOf, TOO_LONG } from '../../src/cli/log-lines.ts'
import { HORIZON_MS, Schedule } from '../../src/cli/simulate/merge.ts'
import type { Report, RuleReport } from '../../src/cli/simulate/report.ts'
import { sessionIn } from '../../src/cli/simulate/session-line.ts'
import { type SimulateOptions, simulate } from '../../src/cli/simulate/simulate.ts'
import { Peak, Tally } from '../../src/cli/simulate/tally.ts'
import { Program } from '../support/program.ts'
import { stoppedAfterEach } from '../support/started.ts'

const folder = mkdtempSync(join(tmpdir(), 'spillway-simulate-'))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string, text: string | Buffer): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const started = stoppedAfterEach()

/** On the minute, so that windows of a minute begin with it. */
const NOON = Date.parse('2026-11-02T12:00:00Z')
interface Given {
  readonly at?: number
  readonly ip?: string
  readonly standing?: string
  readonly accepted?: number
  readonly more?: object
}
function session({ at = 0, ip = '192.0.2.7', standing = 'known', accepted = 0, more = {} }: Given): string {
  const messages = Array.from({ length: accepted }, () => ({ size: 9, reply: '250 ok', ms: 1, result: 'accepted' }))
  const rcpts = messages.map(() => ({ to: '***@example.net', code: 250 }))
  const told = accepted > 0 && { messages, messageCount: accepted, rcpts, rcptCount: accepted }
  const base = { level: 'info', ts: new Date(NOON + at).toISOString(), ip, standing, ms: { total: 100, upstream: 1 } }
  return `${JSON.stringify({ ...base, ...told, sample: 1, ...more, msg: 'session' })}\n`
}
const many = (count: number, given: (index: number) => Given): string =>
  Array.from({ length: count }, (_, index) => session(given(index))).join('')

async function told(positionals: readonly string[], options: Partial<SimulateOptions> = {}) {
  const { output, code } = await simulate({ env: {}, hostname: 'mx.test.example' }, positionals, {
    json: true,
    ...options,
  })
  return {
    code,
    output,
    report: options.json === false ? undefined : (JSON.parse(output) as Report & { error?: string }),
  }
}
async function rules(log: string, ...positionals: string[]): Promise<(rule: string) => RuleReport> {
  const { report, code, output } = await told(positionals, { log })
  expect({ code, output: code === 0 ? '' : output }).toEqual({ code: 0, output: '' })
  return (name) => report?.rules.find(({ rule }) => rule === name) as RuleReport
}

describe('limits', () => {
  test('per address: what is shed, what of it was accepted, by standing, by source, and what would have hurt nobody', async () => {
    // Within one minute: a known sender 30 times with one message each, and two strangers 50 times each with none.
    const log = file(
      'ip.log',
      many(30, (i) => ({ at: 1000 * i, accepted: 1 })) +
        many(100, (i) => ({ at: 30_000 + 100 * i, ip: `198.51.100.${i % 2}`, standing: 'new' })),
    )
    const of = await rules(log, 'LIMIT_IP_CONNECTIONS=20/1m', 'SPILLWAY_LIMIT_KNOWN_FACTOR=1')
    const { shed, accepted, standings, hurt, top, peak, suggested } = of('ip_connections')
    expect(shed).toEqual({ sessions: 10 + 30 + 30, unnamed: 0, messages: 0, recipients: 0 })
    expect(accepted).toEqual({ sessions: 10, messages: 10, share: 10 / 70 })
    expect(standings).toMatchObject({ known: 10, new: 60 })
    expect(hurt).toMatchObject({ known: 10, new: 0 })
    expect(top).toEqual([{ source: '192.0.2.7', standing: 'known', sessions: 10, accepted: 10 }])
    expect([peak, suggested]).toEqual([{ used: 30, source: '192.0.2.7' }, '45/1m'])
    // What is suggested hurts nobody who is known, and sheds strangers all the same.
    const better = (await rules(log, `LIMIT_IP_CONNECTIONS=${suggested}`, 'LIMIT_KNOWN_FACTOR=1'))('ip_connections')
    expect(better.shed.sessions).toBe(10)
    expect(better.accepted.sessions).toBe(0)
    // A known sender has its factor, also in what is suggested.
    const factor = (await rules(log, 'LIMIT_IP_CONNECTIONS=20/1m', 'LIMIT_KNOWN_FACTOR=10'))('ip_connections')
    expect([factor.accepted.sessions, factor.peak?.used]).toEqual([0, 3])
  })

  test('as shipped, nothing of a quiet day is shed', async () => {
    const log = file(
      'quiet.log',
      many(100, (i) => ({ at: 1000 * i, ip: `192.0.2.${i}`, standing: 'seen', accepted: 2 })),
    )
    const { report } = await told([], { log })
    for (const { shed } of report?.rules ?? []) expect(shed.sessions + shed.unnamed).toBe(0)
  })

  test('windows follow the time of the log, in whatever order the files are named', async () => {
    const early = many(20, (i) => ({ at: 100 * i, accepted: 1 }))
    // Longer than sessions are held back: read first, it would leave the early ones its own last minute.
    const late = many(20, (i) => ({ at: 600_000 + 100 * i, accepted: 1 })) + session({ at: 3_600_000 })
    const first = file('1.log', early)
    const second = file('2.log.gz', gzipSync(late))
    for (const [a, b] of [
      [first, second],
      [second, first],
    ] as const)
      expect(
        (await rules(a, b, 'LIMIT_IP_CONNECTIONS=20/1m', 'LIMIT_KNOWN_FACTOR=1'))('ip_connections').shed.sessions,
      ).toBe(0)
    // Of two nodes at the same time.
    const other = file('3.log', early)
    expect(
      (await rules(first, other, 'LIMIT_IP_CONNECTIONS=20/1m', 'LIMIT_KNOWN_FACTOR=1'))('ip_connections').shed.sessions,
    ).toBe(20)
  })

  test('neighbourhoods, open connections, messages, recipients and unknown recipients', async () => {
    const stranger = { standing: 'new' }
    const crowd = file(
      'net.log',
      many(50, (i) => ({ ...stranger, at: 100 * i, ip: `192.0.2.${i}` })),
    )
    expect(
      (await rules(crowd, 'LIMIT_NET_CONNECTIONS=40/1m', 'LIMIT_IP_CONNECTIONS=40/1m'))('net_connections').shed
        .sessions,
    ).toBe(10)
    const long = file(
      'open.log',
      many(9, (i) => ({ ...stranger, at: 10_000 + i, more: { ms: { total: 9000 } } })),
    )
    expect((await rules(long, 'LIMIT_IP_CONCURRENCY=4'))('ip_concurrency').shed.sessions).toBe(5)
    const short = file(
      'closed.log',
      many(9, (i) => ({ ...stranger, at: 10_000 + 200 * i })),
    )
    expect((await rules(short, 'LIMIT_IP_CONCURRENCY=4'))('ip_concurrency').shed.sessions).toBe(0)
    const mail = file(
      'mail.log',
      many(4, (i) => ({ ...stranger, at: 100 * i, accepted: 10 })),
    )
    const messages = (await rules(mail, 'LIMIT_IP_MESSAGES=25/1m'))('ip_messages')
    expect([messages.shed.sessions, messages.shed.messages, messages.accepted.messages]).toEqual([2, 15, 15])
    const list = (await rules(mail, 'LIMIT_IP_RECIPIENTS=30/1m'))('ip_recipients')
    expect([list.shed.recipients, list.accepted.messages]).toEqual([10, 10])
    const unknown = { rcpts: Array.from({ length: 5 }, () => ({ to: '***@example.net', code: 550 })), rcptCount: 5 }
    const harvest = file(
      'harvest.log',
      many(4, (i) => ({ ...stranger, at: 100 * i, more: unknown })),
    )
    expect((await rules(harvest, 'LIMIT_IP_UNKNOWN_RECIPIENTS=8/1m'))('unknown_recipients').shed.recipients).toBe(12)

    // Five at each of six addresses of one network: no address is over its own limit, and none counts for more than a fifth.
    const spread = file(
      'spread.log',
      many(6, (i) => ({ ...stranger, ip: `192.0.2.${i}`, at: 100 * i, more: unknown })) +
        session({ ip: '192.0.2.99', standing: 'known', at: 900, accepted: 1 }),
    )
    const ofNet = await rules(spread, 'LIMIT_IP_UNKNOWN_RECIPIENTS=8/1m', 'LIMIT_NET_UNKNOWN_RECIPIENTS=20/1m')
    expect(ofNet('unknown_recipients').shed.recipients).toBe(0)
    // Four of each of five addresses count; the sixth is put off, and the known sender of that network is not.
    expect(ofNet('net_unknown_recipients').shed).toMatchObject({ sessions: 1 + 1, recipients: 1 + 5 })
    expect(ofNet('net_unknown_recipients').hurt.known).toBe(0)
    // A recipient that one limit puts off is not counted as put off by the other one too.
    const both = await rules(harvest, 'LIMIT_IP_UNKNOWN_RECIPIENTS=8/1m', 'LIMIT_NET_UNKNOWN_RECIPIENTS=2/1m')
    expect(both('unknown_recipients').shed.recipients + both('net_unknown_recipients').shed.recipients).toBeLessThan(20)
  })

  test('lists: who would be denied, whose domain is missing, who would be spared', async () => {
    const log = file(
      'lists.log',
      many(10, (i) => ({ at: 100 * i, ip: `192.0.2.${i % 2}`, accepted: 1 })),
    )
    const denied = (await rules(log, 'DENY=192.0.2.1'))('denied')
    expect([denied.shed.sessions, denied.accepted.messages]).toEqual([5, 5])
    expect((await rules(log, 'DENY=192.0.2.1', 'ALLOW=192.0.2.0/24'))('denied').shed.sessions).toBe(0)
    const domains = (await rules(log, 'RCPT_DOMAINS=example.com'))('rcpt_domain')
    expect([domains.shed.recipients, domains.accepted.messages]).toEqual([10, 10])
    expect((await rules(log, 'RCPT_DOMAINS=example.net'))('rcpt_domain').shed.recipients).toBe(0)
  })

  test('a sampled line counts for all its sessions where all share a limit, and elsewhere it is told that nobody knows', async () => {
    const more = { sample: 50, reason: 'ip_connections' }
    const log = file(
      'sampled.log',
      many(4, (i) => ({ at: 100 * i, standing: 'new', more })),
    )
    const limits = ['LIMIT_GLOBAL_CONNECTIONS=120/1m', 'LIMIT_IP_CONNECTIONS=60/1m', 'LIMIT_NET_CONNECTIONS=60/1m']
    const { report, output } = await told(limits, { log })
    const of = (name: string): RuleReport => report?.rules.find(({ rule }) => rule === name) as RuleReport
    const { sessions, unnamed } = of('global_connections').shed
    expect(sessions + unnamed).toBe(80)
    expect(of('ip_connections').shed.sessions).toBe(0)
    expect(of('ip_connections').letIn).toBeGreaterThan(0)
    expect(report?.sessions).toMatchObject({ named: 4, sampled: 4, unnamed: 196 })
    expect(output).toContain('196 sessions have no line of their own')
  })
})

describe('the log', () => {
  test('lines that are not ours are counted and told; of a log of something else nothing is told', async () => {
    const good = session({ accepted: 1 })
    const broken = ['{"msg":"session"', '{"msg":"session","ts":"x"}', 'x'.repeat((1 << 20) + 1), '[]', '7'].join('\n')
    const program = '{"level":"info","ts":"2026-11-02T12:00:00Z","msg":"listening"}\n'
    const { report } = await told([], { log: file('mixed.log', good.repeat(9) + program + broken) })
    expect(report?.lines).toEqual({ lines: 15, sessions: 9, other: 1, bad: 5 })
    expect(
      (await told([], { log: file('foreign.log', 'Nov  7 09:15:02 mx postfix/smtpd[1]: connect\n') })).report?.error,
    ).toMatch(/^None of 1 lines is of a session of Spillway/)
    expect((await told([], { log: file('cut.gz', gzipSync(good.repeat(999)).subarray(0, 60)) })).report?.error).toMatch(
      /cannot be read/,
    )
    expect((await told([], { log: join(folder, 'none') })).report?.error).toMatch(/cannot be read: .*ENOENT/)
  })

  test('a line that is too long for one of ours is passed over, whatever follows', async () => {
    const lines: string[] = []
    const text = `a\n${'x'.repeat((1 << 20) + 1)}\nb\n${'y'.repeat(1 << 20)}`
    for await (const line of linesOf(file('long.log', text))) lines.push(line.slice(0, 2))
    expect(lines).toEqual(['a', TOO_LONG, 'b', 'yy'])
  })

  test.each([
    ['no address', { ip: 'x' }],
    ['no standing', { standing: 'friend' }],
    ['a weight that would take for ever', { sample: 1e12 }],
    ['a negative count', { messageCount: -1 }],
    ['a count beyond all', { rcptCount: 1e9 }],
  ])('a line with %s is bad', (_, more) => expect(sessionIn(session({ more }))).toBe('bad'))

  test('sessions come in the order in which they began, and what waits is bounded', () => {
    const schedule = new Schedule()
    const seen: number[] = []
    for (const at of [30, 10, 20]) schedule.add(at, () => seen.push(at))
    schedule.reach(30)
    expect(seen).toEqual([])
    schedule.reach(20 + HORIZON_MS)
    expect(seen).toEqual([10, 20])
    for (let i = 0; i < 250_000; i++) {
      schedule.add(40, () => seen.push(40))
      schedule.reach(40)
    }
    expect(seen.length).toBeGreaterThan(100_000)
  })

  test('of a million sources the heaviest are told', () => {
    const tally = new Tally()
    const client = (source: string) => ({ client: { source, standing: 'seen' } as never })
    for (let i = 0; i < 50_000; i++) {
      tally.session(client(`light ${i}`), 1)
      if (i % 100 === 0) tally.session(client('heavy'), 5)
    }
    expect(tally.top()[0]).toMatchObject({ source: 'heavy', accepted: 2500 })
    expect(tally.top()).toHaveLength(10)
    const peak = new Peak()
    peak.reach(203, 'a')
    expect(peak.suggested).toBe(310)
  })

  test('the log that a node writes is understood', async () => {
    const server = await started.upstream()
    const node = await started.app(server.address)
    for (let i = 0; i < 3; i++) {
      const client = await node.client()
      await client.hello()
      await client.send('anna@example.org', 'bob@example.net')
      await client.command('QUIT')
    }
    const lines = (await node.ended()).map((line) => JSON.stringify(line)).join('\n')
    const of = await rules(file('own.log', lines), 'LIMIT_IP_CONNECTIONS=2/1h', 'RCPT_DOMAINS=example.com')
    expect(of('ip_connections').accepted).toMatchObject({ sessions: 1, messages: 1 })
    expect(of('rcpt_domain').accepted.messages).toBe(2)
  })
})

describe('from the command line', () => {
  test('in words, by a pipe, with the setting that was tried', async () => {
    const log = file(
      'words.log',
      many(30, (i) => ({ at: 1000 * i, accepted: 1, ...(i === 0 && { more: { helo: '\u001b[2J' } }) })),
    )
    const { output } = await told(['LIMIT_IP_CONNECTIONS=20/1m', 'LIMIT_KNOWN_FACTOR=1'], { log, json: false })
    expect(output).toContain('30 lines: 30 of sessions')
    expect(output).toMatch(
      /SPILLWAY_LIMIT_IP_CONNECTIONS=20\/1m \(tried\)\n {2}would have shed {2}something of 10 sessions \(10 known\)\n {2}accepted then {4}10 of these sessions \(100\.0 %\), 10 messages \(10 known\)\n {2}hurt most {8}192\.0\.2\.7 known 10\n {2}suggested {8}45\/1m: 1\.5 times/,
    )
    expect(output).toContain('The log covers less than a week')
    const program = new Program(['simulate', '--log', log, '--json', 'LIMIT_IP_CONNECTIONS=20/1m'], {
      env: { SPILLWAY_LOG_LEVEL: 'info' },
    })
    expect(await program.exited).toBe(0)
    expect((JSON.parse(program.out) as Report).sessions.named).toBe(30)
  })

  test.each<[string[], Partial<SimulateOptions>, number, RegExp]>([
    [[], {}, 64, /^simulate needs --log/],
    [
      ['LISTEN=0.0.0.0:25'],
      { log: 'x' },
      64,
      /^LISTEN cannot be replayed from a log\. What can be: LIMIT_IP_CONNECTIONS, /,
    ],
    [['DENY=a', 'SPILLWAY_DENY=b'], { log: 'x' }, 64, /given twice/],
    [
      ['LIMIT_IP_CONNECTIONS=60'],
      { log: 'x' },
      78,
      /SPILLWAY_LIMIT_IP_CONNECTIONS=60[\s\S]*write 60\/1m[\s\S]*Nothing was replayed/,
    ],
  ])('%j %j: %i', async (positionals, options, code, words) => {
    const { output, code: seen } = await told(positionals, { ...options, json: false })
    expect(seen).toBe(code)
    expect(output).toMatch(words)
  })

  test('--log - is stdin, and settings may be many', () => {
    expect(parse(['simulate', '--log', '-', 'A=1', 'B=2', 'c.log'])).toMatchObject({
      verb: 'simulate',
      options: { log: '-' },
      positionals: ['A=1', 'B=2', 'c.log'],
    })
  })
})
