/** The one sentence: a table of what is so and what is said. */
import { expect, test } from '@jest/globals'
import { pageOf } from '../../src/admin/page/page.ts'
import type { OverloadStatus, Status } from '../../src/admin/status.ts'
import { verdictOf } from '../../src/admin/verdict.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { SIGNALS } from '../../src/core/overload.ts'
import { recordOf } from '../../src/core/record.ts'
import type { TrafficReport } from '../../src/telemetry/traffic/report.ts'

const SIGNALS_AT_REST = recordOf(SIGNALS, () => 0)
const SINCE = '2026-11-21T21:00:00.000Z'
const up = (upstream: string, more = {}) => ({
  ...{ upstream, address: `${upstream}:25`, up: true, state: 'up', since: SINCE, connections: 3, limit: 20 },
  ...more,
})
const down = (upstream: string) => up(upstream, { up: false, state: 'down', error: 'connect ECONNREFUSED' })

const drained = up('mail2', { up: false, state: 'drained', error: 'the operator has drained it' })

const hour = (each: number, last: readonly number[] = []): number[] => [
  ...Array.from({ length: 60 - last.length }, () => each),
  ...last,
]

function traffic(change: Partial<TrafficReport['minutes']> = {}, more: Partial<TrafficReport> = {}): TrafficReport {
  return {
    minutes: {
      ...{ connections: hour(110), shed: hour(0), messages: hour(50), deferred: hour(0) },
      ...{ known: hour(30), known_shed: hour(0), known_refused: hour(0), senders: hour(40), ...change },
    },
    normal: { basis: 'week', hours: 168, connections: 100, senders: 40, messages: 50 },
    hoursLearnt: 168,
    top: { network: [], helo: [], domain: [] },
    reasons: [],
    knownRefused: [],
    ...more,
  }
}

const overload = (change: Partial<OverloadStatus> = {}): OverloadStatus => ({
  ...{
    level: 0,
    since: SINCE,
    mode: 'auto',
    setting: 'auto',
    signal: 'connections',
    pressure: 0.1,
    latencyTargetSeconds: 5,
  },
  signals: {} as OverloadStatus['signals'],
  admission: {} as OverloadStatus['admission'],
  ...change,
})

const status = (change: Partial<Status> = {}): Status => ({
  ...{ version: 'x', node: 'mx', ready: true, uptimeSeconds: 1, connectionsOpen: 7, unknownGuard: false },
  clients: { new: 0, suspect: 0, seen: 0, known: 0 },
  settings: { hash: 'abc', needsRestart: [] },
  upstreams: [up('mail1'), up('mail2')],
  overload: overload(),
  traffic: traffic(),
  ...change,
})

const FLOOD = hour(110, Array(12).fill(3800))
const unknown = ({ normal: _, ...rest }: TrafficReport): TrafficReport => rest
const slow = [up('mail1'), up('mail2', { dotSeconds: 9.04 })]
const redis = { up: false, nodes: 2, state: 'down', since: SINCE, error: 'ECONNREFUSED' }

const NOW = Date.parse('2026-11-21T22:00:00.000Z')
const inDays = (days: number): string => new Date(NOW + days * 86_400_000).toISOString()
const certificate = (days: number, ...doubts: readonly { readonly what: string; readonly cure: string }[]) => ({
  certificates: [{ name: 'mx', expires: inDays(days), warnings: doubts.map(() => 'in one sentence'), doubts }],
})

const ROWS: readonly [string, Status, string, string, string][] = [
  ['normal', status(), 'ok', 'All is well: inbound is 1.1 times normal; known senders 100 % through', 'nothing to do'],
  [
    'a flood that is handled',
    status({
      traffic: traffic({ connections: FLOOD, shed: hour(0, Array(12).fill(3600)), known_shed: hour(0, [0, 1]) }),
      overload: overload({ level: 3 }),
    }),
    'warn',
    'Shedding new senders: flood 38 times normal for 12 minutes; known senders 99.6 % through',
    'nothing to do',
  ],
  [
    'a flood that harms known senders',
    status({
      traffic: traffic(
        { connections: FLOOD, shed: FLOOD, known_shed: hour(10) },
        {
          // What strangers hear most is not why known senders wait.
          reasons: [{ reason: 'overload', mode: 'enforce', lastMinute: 9000, lastHour: 90_000 }],
          knownRefused: [
            { reason: 'ip_connections', result: 'put_off', lastTenMinutes: 9, lastHour: 900 },
            { reason: 'global_connections', result: 'put_off', lastTenMinutes: 90, lastHour: 90, latest: '192.0.2.7' },
          ],
        },
      ),
    }),
    'critical',
    'Known senders are held up: 75.0 % through; inbound is 38 times normal; most of them are refused for global_connections',
    'look at SPILLWAY_LIMIT_GLOBAL_CONNECTIONS, and spillway explain 192.0.2.7',
  ],
  [
    'known senders that the deny list refuses, most of them',
    status({
      overload: overload({ mode: 2, level: 2 }),
      traffic: traffic(
        { known_refused: hour(10) },
        {
          knownRefused: [
            { reason: 'denied', result: 'for_good', lastTenMinutes: 100, lastHour: 600, latest: '192.0.2.7' },
          ],
        },
      ),
    }),
    'critical',
    'Known senders are refused for good: 75.0 % through; inbound is 1.1 times normal; most by SPILLWAY_DENY (denied)',
    'look at SPILLWAY_DENY, and spillway explain 192.0.2.7',
  ],
  ...(
    [
      ['denied', 'SPILLWAY_DENY'],
      ['rcpt_domain', 'SPILLWAY_RCPT_DOMAINS'],
      ['dnsbl', 'SPILLWAY_DNSBL_ZONES'],
      ['helo', 'SPILLWAY_HELO'],
      ['banned', 'a ban of the operator (spillway bans)'],
    ] as const
  ).map(([reason, setting]): (typeof ROWS)[number] => [
    `a few known senders that are refused for good: ${reason}, in a flood`,
    status({
      traffic: traffic(
        { connections: FLOOD, shed: FLOOD, known_refused: hour(0, [1]) },
        { knownRefused: [{ reason, result: 'for_good', lastTenMinutes: 1, lastHour: 3 }] },
      ),
    }),
    'warn',
    `Known senders are refused for good by ${setting}: 3 sessions in the last hour; known senders 99.6 % through`,
    `look at ${setting}`,
  ]),
  [
    'two sessions of known senders refused for good, one put off, and messages that are too large',
    status({
      traffic: traffic(
        {},
        {
          knownRefused: [
            { reason: 'denied', result: 'for_good', lastTenMinutes: 2, lastHour: 2 },
            { reason: 'ip_messages', result: 'put_off', lastTenMinutes: 1, lastHour: 9 },
            { reason: 'size', result: 'for_good', lastTenMinutes: 5, lastHour: 50 },
          ],
        },
      ),
    }),
    'ok',
    'All is well: inbound is 1.1 times normal; known senders 100 % through',
    'nothing to do',
  ],
  [
    'a certificate that has expired, in a flood',
    status({
      traffic: traffic({ connections: FLOOD, shed: FLOOD }),
      tls: certificate(-1, { what: 'it expired', cure: 'Renew it' }),
    }),
    'critical',
    `The certificate mx has expired (${inDays(-1).replace('.000', '')}): senders that verify it bring no mail`,
    'renew it; its files are read again by themselves',
  ],
  [
    'a certificate that soon expires',
    status({ tls: certificate(13.5) }),
    'warn',
    'The certificate mx expires in 13 days',
    'renew it; its files are read again by themselves',
  ],
  [
    'certificate files that cannot be used',
    status({ tls: { ...certificate(90), error: '/etc/tls/key.pem: it is the key of another certificate' } }),
    'warn',
    'Certificate files cannot be used, and those read before stay in use: /etc/tls/key.pem: it is the key of another certificate',
    'correct the files; they are read again by themselves',
  ],
  [
    'a certificate without its chain: path and cure are said once',
    status({
      tls: certificate(90, {
        what: '/etc/tls/mx.pem. No issuer: senders stay away',
        cure: 'Put the whole chain into the file',
      }),
    }),
    'warn',
    'A certificate needs a look: /etc/tls/mx.pem. No issuer: senders stay away',
    'Put the whole chain into the file',
  ],
  [
    'a level pinned where SPILLWAY_OVERLOAD is not auto: what it says ends the pin',
    status({ overload: overload({ mode: 2, level: 2, setting: 'off', pinnedUntil: SINCE }) }),
    'warn',
    `The overload level is pinned at 2 until ${SINCE}, whatever the pressure; known senders 100 % through`,
    'spillway level off when you are done',
  ],
  [
    'nobody gets through, because of a setting',
    status({
      traffic: traffic(
        { connections: hour(40), shed: hour(40), messages: hour(0), known: hour(0) },
        { reasons: [{ reason: 'proxy_unlisted', mode: 'enforce', lastMinute: 40, lastHour: 2400 }] },
      ),
    }),
    'warn',
    'Nobody gets through: 40 of 40 connections of the last minute were turned away, most for proxy_unlisted (SPILLWAY_PROXY_PROTOCOL_FROM)',
    'spillway doctor, and a look at SPILLWAY_PROXY_PROTOCOL_FROM',
  ],
  [
    'a limit turns most away, and some get through: told, and no warning',
    status({
      traffic: traffic(
        { connections: hour(40), shed: hour(39), messages: hour(1), known: hour(0) },
        { reasons: [{ reason: 'ip_connections', mode: 'enforce', lastMinute: 39, lastHour: 2340 }] },
      ),
    }),
    'ok',
    'No flood, and 39 of 40 connections of the last minute were turned away, most for ip_connections (SPILLWAY_LIMIT_IP_CONNECTIONS); no known sender came lately',
    'spillway top says who they are: if they are honest senders, raise SPILLWAY_LIMIT_IP_CONNECTIONS',
  ],
  [
    'three connections by hand, all refused for good',
    status({
      traffic: traffic(
        { connections: hour(0, [3]), messages: hour(0), known: hour(0) },
        { reasons: [{ reason: 'denied', mode: 'enforce', lastMinute: 3, lastHour: 3 }] },
      ),
    }),
    'ok',
    'No mail came through in the last minute: 3 connections, 3 refusals, for denied (SPILLWAY_DENY); no known sender came lately',
    'nothing, if these are bots; if it is you or an honest sender, spillway explain ADDRESS says why, and SPILLWAY_DENY decides',
  ],
  [
    'one connection, refused for what no setting governs',
    status({
      traffic: traffic(
        { connections: hour(0, [1]), messages: hour(0) },
        {
          reasons: [
            { reason: 'junk', mode: 'enforce', lastMinute: 1, lastHour: 3 },
            { reason: 'helo', mode: 'observe', lastMinute: 9, lastHour: 9 },
          ],
        },
      ),
    }),
    'ok',
    'No mail came through in the last minute: 1 connection, 1 refusal, for junk; known senders 100 % through',
    'nothing, if these are bots; if it is you or an honest sender, spillway explain ADDRESS says why',
  ],
  ...(
    [
      ['one of three left by itself', [3], 2, 0],
      ['mail came through', [3], 3, 1],
      ['nobody came, and an older session was refused something', [0], 3, 0],
      ['more came', [20], 20, 0],
    ] as const
  ).map(([name, came, lastMinute, messages]): (typeof ROWS)[number] => [
    `a few are refused, but ${name}`,
    status({
      traffic: traffic(
        { connections: hour(100, came), messages: hour(messages) },
        { reasons: [{ reason: 'denied', mode: 'enforce', lastMinute, lastHour: 3 }] },
      ),
    }),
    'ok',
    expect.stringMatching(/^All is well: /) as unknown as string,
    'nothing to do',
  ]),
  [
    'what mail servers and load put off is no matter of limits',
    status({
      traffic: traffic(
        { connections: hour(40), shed: hour(39), messages: hour(1), known: hour(0) },
        { reasons: [{ reason: 'upstream_full', mode: 'enforce', lastMinute: 39, lastHour: 2340 }] },
      ),
    }),
    'ok',
    'All is well: inbound is 0.4 times normal; no known sender came lately',
    'nothing to do',
  ],
  [
    'much mail, all of it let in',
    status({ traffic: traffic({ connections: FLOOD }) }),
    'ok',
    'Inbound is 38 times normal for 12 minutes, and all of it is let in; known senders 100 % through',
    'nothing to do',
  ],
  [
    'a slow mail server while inbound is normal',
    status({ upstreams: slow, overload: overload({ level: 3, signal: 'upstream_latency' }) }),
    'warn',
    'Inbound is 1.1 times normal: this is no flood; known senders 100 % through; mail2: its dot takes 9 s',
    'look at mail2',
  ],
  [
    'a slow mail server in a flood',
    status({ upstreams: slow, traffic: traffic({ connections: FLOOD, shed: FLOOD }) }),
    'warn',
    'Shedding: flood 38 times normal for 12 minutes; known senders 100 % through; mail2: its dot takes 9 s',
    'nothing to do',
  ],
  [
    'no mail server is up',
    status({ upstreams: [down('mail1'), down('mail2')], redis }),
    'critical',
    'No mail server is up: every sender is told to come back later, and no mail is lost; mail1: connect ECONNREFUSED',
    'bring mail1 back; spillway doctor says what to do',
  ],
  [
    'no mail server takes XCLIENT from us',
    status({
      upstreams: [
        {
          ...down('mail1'),
          error: 'as the log has it; with Postfix, do something',
          xclient: 'XCLIENT is not offered to us',
        },
      ],
    }),
    'critical',
    'No mail server is up: every sender is told to come back later, and no mail is lost; mail1: XCLIENT is not offered to us',
    'let mail1 take XCLIENT from this node: with Postfix, add the address of this node to smtpd_authorized_xclient_hosts in main.cf, then postfix reload',
  ],
  [
    'the name of the mail server does not resolve',
    status({
      upstreams: [{ ...down('mail1:25'), error: 'name of upstream not resolved: getaddrinfo ENOTFOUND mail1' }],
    }),
    'critical',
    'No mail server is up: every sender is told to come back later, and no mail is lost; mail1:25: name of upstream not resolved: getaddrinfo ENOTFOUND mail1',
    'correct the name of mail1:25 in SPILLWAY_UPSTREAMS, or let the DNS of this machine resolve it; spillway doctor says what it finds',
  ],
  ...(
    [
      ['proxy_unlisted', 'list the network of your balancer in SPILLWAY_PROXY_PROTOCOL_FROM: the log has the address'],
      [
        'proxy_header',
        'let your balancer send the PROXY header, or take its network off SPILLWAY_PROXY_PROTOCOL_FROM: the log has the address',
      ],
    ] as const
  ).map(([reason, cure]): (typeof ROWS)[number] => [
    `a balancer, tried out with a few connections: ${reason}`,
    status({
      traffic: traffic(
        { connections: hour(0, [6]), messages: hour(0) },
        { reasons: [{ reason, mode: 'enforce', lastMinute: 6, lastHour: 6 }] },
      ),
    }),
    'ok',
    `No mail came through in the last minute: 6 connections, 6 refusals, for ${reason} (SPILLWAY_PROXY_PROTOCOL_FROM); known senders 100 % through`,
    cure,
  ]),
  [
    'one mail server refuses XCLIENT',
    status({ upstreams: [up('mail1'), { ...down('mail2'), xclient: 'XCLIENT is refused: 550 5.5.0 XCLIENT denied' }] }),
    'warn',
    'mail2 is not up (XCLIENT is refused: 550 5.5.0 XCLIENT denied); the other mail servers take the mail; known senders 100 % through',
    'let mail2 take XCLIENT from this node: with Postfix, add the address of this node to smtpd_authorized_xclient_hosts in main.cf, then postfix reload',
  ],
  [
    'one mail server is down',
    status({ upstreams: [up('mail1'), down('mail2')], redis }),
    'warn',
    'mail2 is not up (connect ECONNREFUSED); the other mail servers take the mail; known senders 100 % through',
    'bring mail2 back; spillway doctor says what to do',
  ],
  [
    'Redis is down',
    status({ redis }),
    'warn',
    'Redis does not answer: each node counts alone and enforces its share of every limit; known senders 100 % through',
    'bring Redis back (ECONNREFUSED)',
  ],
  [
    'another node has other limits',
    status({
      redis: {
        ...{ up: true, nodes: 2, state: 'up', since: SINCE },
        differences: {
          limits: [
            { setting: 'SPILLWAY_LIMIT_IP_CONNECTIONS', here: '600/1m', others: [{ nodes: 'mx2', value: '5/1m' }] },
          ],
          settings: [{ nodes: 'mx2', hash: 'abc' }],
        },
      },
    }),
    'warn',
    'Limits are not the same on all nodes: SPILLWAY_LIMIT_IP_CONNECTIONS is 600/1m here, 5/1m at mx2; each node holds clients to its own',
    'give all nodes the same limits: spillway reload, on those that have the old ones',
  ],
  [
    'stopping',
    status({ ready: false, upstreams: [] }),
    'warn',
    'This node takes no new clients: it is stopping or has not begun; 7 connections are open',
    'wait for its end, or look at its log',
  ],
  [
    'the operator has drained the node',
    status({ ready: false, drainedSince: '2026-11-28T03:00:00Z' }),
    'warn',
    'The operator has drained this node: balancers send it no clients, and whoever comes is served; 7 connections are open',
    'spillway undrain, when you are done',
  ],
  [
    'the operator has drained a mail server',
    status({ upstreams: [up('mail1'), { ...down('mail2'), state: 'drained' }] }),
    'warn',
    'The operator has drained mail2: no new mail goes there; known senders 100 % through',
    'spillway undrain mail2, when you are done',
  ],
  [
    'the operator has drained the only mail server',
    status({ upstreams: [{ ...down('mail1'), state: 'drained', error: 'drained' }] }),
    'critical',
    'No mail server is up: every sender is told to come back later, and no mail is lost; mail1: drained',
    'spillway undrain mail1',
  ],
  [
    'observe mode',
    status({ observing: ['ip-connections', 'overload'] }),
    'warn',
    'Observe mode: ip-connections, overload refuse nobody, and only count; inbound is 1.1 times normal',
    'look at what they would refuse, then take them out of SPILLWAY_OBSERVE',
  ],
  [
    'a pinned level',
    status({ overload: overload({ mode: 2, level: 2 }) }),
    'warn',
    'The overload level is pinned at 2, whatever the pressure; known senders 100 % through',
    'set SPILLWAY_OVERLOAD=auto when you are done',
  ],
  [
    'a pinned level that holds up known senders',
    status({ overload: overload({ mode: 4, level: 4 }), traffic: traffic({ known_shed: hour(30) }) }),
    'critical',
    'Known senders are held up: 50.0 % through; inbound is 1.1 times normal; the overload level is pinned at 4',
    'set SPILLWAY_OVERLOAD=auto',
  ],
  [
    'a level that the operator has pinned for a while',
    status({ overload: overload({ mode: 2, level: 2, pinnedUntil: SINCE }) }),
    'warn',
    `The overload level is pinned at 2 until ${SINCE}, whatever the pressure; known senders 100 % through`,
    'spillway level auto when you are done',
  ],
  [
    'a drained node whose known senders are held up',
    status({ ready: false, drainedSince: SINCE, traffic: traffic({ known_shed: hour(30) }) }),
    'critical',
    'Known senders are held up: 50.0 % through; inbound is 1.1 times normal; the mail servers defer them',
    'look at the replies in the log',
  ],
  [
    'a drained mail server, and the other one down',
    status({ upstreams: [down('mail1'), drained] }),
    'critical',
    'No mail server is up: every sender is told to come back later, and no mail is lost; mail1: connect ECONNREFUSED',
    'spillway undrain mail2',
  ],
  [
    "the kernel's table cannot be kept",
    status({ kernel: { state: 'failing', since: SINCE, error: 'it takes CAP_NET_ADMIN', held: 0 } }),
    'warn',
    'Clients cannot be handed to the kernel (it takes CAP_NET_ADMIN): they are refused over SMTP meanwhile',
    'put that right, or set SPILLWAY_KERNEL_OFFLOAD=off',
  ],
  [
    'overload off',
    status({ overload: overload({ mode: 'off' }) }),
    'warn',
    'Overload is off: a flood is held back by the limits alone; inbound is 1.1 times normal',
    'set SPILLWAY_OVERLOAD=auto unless you mean it',
  ],
  [
    'pressed by something else',
    status({ overload: overload({ level: 2, signal: 'memory' }) }),
    'warn',
    'Overload level 2: memory runs short; inbound is 1.1 times normal; known senders 100 % through',
    'look at the pressure below',
  ],
  [
    'no normal known yet',
    status({ traffic: unknown(traffic()) }),
    'ok',
    'All is well: inbound is 1.0 times the quiet quarter of the last hour (normal not known yet); known senders 100 % through',
    'nothing to do',
  ],
  [
    'no normal known yet, in a flood',
    status({ traffic: unknown(traffic({ connections: FLOOD, shed: FLOOD })) }),
    'warn',
    'Shedding: flood 35 times the quiet quarter of the last hour (normal not known yet) for 12 minutes; known senders 100 % through',
    'nothing to do',
  ],
  [
    'just begun',
    status({ traffic: unknown(traffic({ connections: [5], known: [], known_shed: [] })) }),
    'ok',
    'All is well: normal not known yet; no known sender came lately',
    'nothing to do',
  ],
  [
    'no worker answers any more',
    status({
      ...{ ready: false, upstreams: [] },
      workers: [
        { worker: 1, up: false, restarts: 3 },
        { worker: 2, up: false, restarts: 0, uptimeSeconds: 9 },
      ],
    }),
    'critical',
    'No worker answers: nobody is served, and no mail is lost',
    'look at the log: each worker that died is started again',
  ],
  [
    'workers that begin',
    status({ ...{ ready: false, upstreams: [] }, workers: [{ worker: 1, up: false, restarts: 0 }] }),
    'warn',
    'This node takes no new clients: it is stopping or has not begun; 7 connections are open',
    'wait for its end, or look at its log',
  ],
  [
    'a worker that does not answer',
    status({
      workers: [
        { worker: 1, up: true, restarts: 0 },
        { worker: 2, up: false, restarts: 3 },
      ],
    }),
    'warn',
    'Worker 2 of 2 does not answer; the others serve',
    'look at the log',
  ],
]

test.each(ROWS)('%s', (_, given, severity, text, act) => {
  expect(verdictOf(given, NOW)).toEqual({ severity, text, do: act })
})

test('a few known senders who are held up make no alarm, and a quiet site no flood', () => {
  const few = { known: hour(0), known_shed: hour(0, [19]) }
  expect(verdictOf(status({ traffic: traffic(few) }), NOW).severity).toBe('ok')
  const quiet = { normal: { basis: 'week', hours: 168, connections: 1, senders: 1, messages: 1 } } as const
  expect(
    verdictOf(status({ traffic: traffic({ connections: hour(1, [50]), shed: hour(50) }, quiet) }), NOW).severity,
  ).toBe('ok')
})

test('the page is there while no worker answers, and says that it does not know who is banned', async () => {
  const latest = async () => {
    throw new Error('no worker answers at the moment')
  }
  const list = { latest, add: latest, remove: latest }
  const kernel = { state: 'up', since: SINCE, held: 12 }
  const pinned = overload({ level: 2, mode: 2, pinnedUntil: SINCE, signals: SIGNALS_AT_REST })
  const given = status({ kernel, overload: pinned })
  const page = await pageOf(
    { status: () => given, bans: { ...list, allowed: list }, clock: SYSTEM_CLOCK },
    { explains: false },
  )
  expect(page.code).toBe(200)
  expect(String(page.body)).toContain('Who is banned is not known: no worker answers.')
  // What the kernel drops is in none of its figures.
  expect(String(page.body)).toContain('its table is up; it drops what comes from 12 sources')
  // It says as well what decides about the level.
  expect(String(page.body)).toContain(`stressed</strong> (spillway level 2, until ${SINCE})`)
})
