/** `spillway doctor`: what it says of each thing that can be wrong, and what to do, with real servers behind it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { fitsTlsa } from '../../src/cli/doctor/certificates.ts'
import { doctor } from '../../src/cli/doctor/doctor.ts'
import { budgetOf, type Finding, Findings } from '../../src/cli/doctor/finding.ts'
import { aboutMtaSts, fitsMx, policyIn } from '../../src/cli/doctor/mta-sts.ts'
import { aboutNode } from '../../src/cli/doctor/node.ts'
import { readPairs } from '../../src/config/certificates.ts'
import { load } from '../../src/config/load.ts'
import { SettingsError } from '../../src/config/mistakes.ts'
import { freePorts } from '../services/ports.ts'
import { type Postfix, startPostfix } from '../services/postfix.ts'
import { type RedisServer, startRedis } from '../services/redis.ts'
import { startUnbound, type Unbound } from '../services/unbound.ts'
import { BALANCER, eventually, testSources } from '../support/app.ts'
import { DAY_MS, makeCertificate } from '../support/certificates.ts'
import { Program, SERVE_ENV } from '../support/program.ts'
import { stoppedAfterEach } from '../support/started.ts'

const { upstream, app } = stoppedAfterEach()
const folder = mkdtempSync(join(tmpdir(), 'spillway-doctor-'))
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}
const HOST = 'mx.test.example'
const GOOD = makeCertificate({ names: [`DNS:${HOST}`], issuer: makeCertificate() })
/** Relays for whoever comes from anywhere. What it takes goes nowhere. */
const OPEN = {
  mynetworks: '0.0.0.0/0',
  smtpd_relay_restrictions: 'permit_mynetworks, reject_unauth_destination',
}
/** The SHA-256 of nothing that is here. */
const OTHER_KEY = 'ab'.repeat(32)

let postfix: Postfix
let redis: RedisServer
let dns: Unbound
let slow: Program
let slowAt: number

beforeAll(async () => {
  // With the time as it is shipped, while the others are tested.
  const mute = createServer(() => undefined)
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve))
  stops.push(() => new Promise((resolve) => mute.close(resolve)))
  const { port } = mute.address() as { port: number }
  slowAt = performance.now()
  slow = new Program(['doctor', '--json'], {
    env: { ...SERVE_ENV, SPILLWAY_UPSTREAMS: `127.0.0.1:${port}`, SPILLWAY_DNS_SERVERS: `127.0.0.1:${port}` },
    within: ['prlimit', '--nofile=400:400'],
  })
  void slow.exited.then(() => {
    slowAt = performance.now() - slowAt
  })
  ;[postfix, redis, dns] = await Promise.all([
    startPostfix({
      recipients: [`anna@${HOST}`],
      params: { default_transport: 'discard:' },
      listeners: [
        { kind: 'xclient' },
        { kind: 'plain' },
        { kind: 'haproxy' },
        { kind: 'xclient', name: 'open', params: OPEN },
        {
          // Of whom it takes XCLIENT, Postfix counts no connections.
          kind: 'plain',
          name: 'limited',
          params: { smtpd_client_connection_count_limit: 4, smtpd_client_event_limit_exceptions: '' },
        },
      ],
    }),
    startRedis({
      config: ['maxmemory 50mb', 'maxmemory-policy allkeys-lru', 'requirepass hunter2'],
      login: { password: 'hunter2' },
    }),
    startUnbound({
      records: [
        `${HOST}. A 192.0.2.25`,
        `_25._tcp.${HOST}. TLSA 3 1 1 ${OTHER_KEY}`,
        `_mta-sts.${HOST}. TXT "v=STSv1; id=1;"`,
        '1.0.0.127.all.example. A 127.0.0.2',
        '2.0.0.127.all.example. A 127.0.0.2',
        '2.0.0.127.good.example. A 127.0.0.2',
      ],
    }),
  ])
}, 60_000)
const stops: (() => unknown)[] = []
afterAll(async () => {
  await Promise.all([postfix?.stop(), redis?.stop(), dns?.stop(), slow?.end()])
  for (const stop of stops) await stop()
  rmSync(folder, { recursive: true })
})

interface Told {
  readonly code: number
  readonly output: string
  readonly findings: readonly Finding[]
  /** State, words and cure of the one about this. */
  readonly of: (subject: string) => string
}

async function examine(upstreams: string, settings: Record<string, string> = {}, probesMs = 4000): Promise<Told> {
  const sources = testSources(upstreams, { DNS_SERVERS: dns.address, ...settings })
  const { output, code } = await doctor(load(sources), { json: true, probesMs })
  const { findings } = JSON.parse(output) as { findings: Finding[] }
  const of = (subject: string): string => {
    const found = findings.filter((each) => each.subject === subject)
    return found.map(({ state, text, cure = '' }) => `${state}: ${text} -> ${cure}`).join('\n')
  }
  return { code, output, findings, of }
}

const at = (listener: string): string => `127.0.0.1:${postfix.port(listener)}`

describe('mail servers', () => {
  test('by XCLIENT: a good one, one that does not take it, an open relay, and four that cannot be used', async () => {
    const [dead] = await freePorts(1)
    const mute = await upstream({ greeting: () => undefined })
    const rude = await upstream({ greeting: '554 \x1b[2J\u009bgo away' })
    const all = [at('xclient'), at('plain'), at('open'), `127.0.0.1:${dead}`, mute.address, rude.address]
    const { of, code, output } = await examine([...all, 'nosuch.invalid:25'].join(), { UPSTREAM_CLIENT_IP: 'xclient' })
    expect(code).toBe(2)
    const good = at('xclient')
    expect(of(good)).toMatch(/^OK: it greets/)
    expect(of(`${good} client address`)).toMatch(/^OK: it takes what we say by xclient/)
    expect(of(`${good} open relay`)).toMatch(/^OK: it refuses a stranger/)
    expect(of(`${good} limit per client`)).toMatch(
      /^OK: it takes 10 connections of ours at once; whether it takes 50 .* cannot be seen from here: look at smtpd_client_connection_count_limit/,
    )
    expect(of(`${at('plain')} client address`)).toMatch(
      /^FAIL: XCLIENT .* is not offered to us -> main\.cf: smtpd_authorized_xclient_hosts = 127\.0\.0\.1; then postfix reload$/,
    )
    expect(of(`${at('open')} open relay`)).toMatch(
      /^FAIL: through us it relays .* SPILLWAY_RELAY_GUARD is off.* -> main\.cf: smtpd_relay_restrictions/,
    )
    expect(of(`127.0.0.1:${dead}`)).toMatch(/^FAIL: connect ECONNREFUSED .* -> start the mail server/)
    expect(of(mute.address)).toMatch(/^FAIL: it takes the connection, and then says nothing -> it hangs/)
    expect(of(rude.address)).toContain('FAIL: it greets us with 554 \\u001b[2J')
    expect(output.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
    expect(of('nosuch.invalid:25')).toMatch(/^FAIL: the name does not resolve .* -> getent ahosts nosuch\.invalid/)
    // Nothing was sent, and whoever was asked was left in peace.
    expect(postfix.log()).not.toMatch(/\bDATA\b|cleanup\[/)
  })

  test('by PROXY: one that expects the header, and one that does not', async () => {
    const { of } = await examine(`${at('haproxy')},${at('plain')}`, { UPSTREAM_CLIENT_IP: 'proxy-v2' })
    expect(of(`${at('haproxy')} client address`)).toMatch(/^OK: it takes what we say by proxy-v2/)
    expect(of(`${at('haproxy')} open relay`)).toMatch(/^OK/)
    expect(of(`${at('plain')} client address`)).toMatch(
      /^FAIL: it greets before it has read a PROXY header.* -> master\.cf: -o smtpd_upstream_proxy_protocol=haproxy on a port/,
    )
  })

  test('without either: that it sees us, a limit on our connections, and that it relays for us', async () => {
    const { of } = await examine(`${at('plain')},${at('limited')}`, { UPSTREAM_CLIENT_IP: 'none' })
    expect(of(`${at('plain')} client address`)).toMatch(/^WARN: it takes 127\.0\.0\.1 for the client of all mail/)
    expect(of(`${at('limited')} limit per client`)).toMatch(
      /^FAIL: of 10 connections at once it took 4; it greets us with 421 .* -> main\.cf: smtpd_client_event_limit_exceptions = 127\.0\.0\.1/,
    )
    await postfix.reconfigure(OPEN)
    expect((await examine(at('plain'), { UPSTREAM_CLIENT_IP: 'none' })).of(`${at('plain')} open relay`)).toMatch(
      /^FAIL: .* -> take 127\.0\.0\.1 out of mynetworks/,
    )
  })

  test('with verified TLS: an expired certificate, and one for another name', async () => {
    const issuer = makeCertificate({ subject: 'The CA' })
    const past = makeCertificate({
      names: ['DNS:localhost'],
      issuer,
      from: Date.now() - 9 * DAY_MS,
      until: Date.now() - DAY_MS,
    })
    const other = makeCertificate({ names: ['DNS:a.example'], issuer })
    const good = makeCertificate({ names: ['DNS:localhost'], issuer })
    const servers = await Promise.all([past, other, good].map((tls) => upstream({ tls })))
    const names = servers.map(({ port }) => `localhost:${port}`)
    const { of, findings } = await examine(names.join(), {
      UPSTREAM_TLS: 'required',
      UPSTREAM_TLS_CA: file('ca', issuer.cert),
    })
    const ofServer = (index: number): string =>
      findings
        .filter(({ subject }) => subject.includes(`127.0.0.1:${servers[index]?.port}`))
        .map(({ subject }) => of(subject))
        .join('\n')
    expect(ofServer(0)).toMatch(/FAIL: .*its certificate has expired.* -> renew the certificate of the mail server/)
    expect(ofServer(1)).toMatch(
      /FAIL: .*other names \(a\.example\), not for localhost -> write the name that its certificate is for/,
    )
    expect(ofServer(2)).toMatch(/OK: its certificate is verified/)
  })
})

describe('Redis', () => {
  const url = (password = 'hunter2'): Record<string, string> => ({
    REDIS_URL: `redis://:${password}@127.0.0.1:${redis.port}`,
  })

  test('one that evicts is told of, with the rest of it, and leaves no key behind', async () => {
    const { of, code, output } = await examine('127.0.0.1:1', url())
    expect(code).toBe(2)
    expect(of('eviction')).toMatch(
      /^WARN: allkeys-lru: when it is full it throws away .* -> CONFIG SET maxmemory-policy noeviction/,
    )
    expect(of('scripts')).toMatch(/^OK/)
    expect(of('latency')).toMatch(/^OK: \d/)
    expect(of('version')).toMatch(/^OK: \d/)
    expect(of('clock')).toMatch(/^OK: that of Redis/m)
    expect(output).not.toContain('hunter2')
    await eventually(
      () => redis.call('dbsize'),
      (size) => size === '0',
    )
  })

  test('one that is away, that wants another password, or hangs', async () => {
    const [dead] = await freePorts(1)
    const away = await examine('127.0.0.1:1', { REDIS_URL: `redis://:hunter2@127.0.0.1:${dead}` }, 1500)
    expect(away.of('redis')).toMatch(/^FAIL: 127\.0\.0\.1:\d+ cannot be used: .*ECONNREFUSED.* -> start Redis/)
    const wrong = await examine('127.0.0.1:1', url('swordfish'), 1500)
    expect(wrong.of('redis')).toMatch(/^FAIL: .* -> correct the user and the password/)
    expect(away.output + wrong.output).not.toMatch(/hunter2|swordfish/)
    redis.freeze()
    const frozen = await examine('127.0.0.1:1', url(), 1500)
    redis.thaw()
    expect(frozen.of('redis') + frozen.of('latency')).toMatch(/^FAIL/)
  })
})

describe('certificates', () => {
  const withFiles = ({ cert, key }: { cert: string; key: string }): Record<string, string> => {
    return { TLS_CERT: file('cert', cert), TLS_KEY: file('key', key) }
  }

  test('an expired one, one for another name, and a TLSA record that fits none', async () => {
    const until = Date.now() - DAY_MS
    const past = makeCertificate({ names: ['DNS:other.example'], from: until - DAY_MS, until })
    const { of } = await examine('127.0.0.1:1', withFiles(past))
    expect(of('other.example')).toMatch(/^FAIL: .*expired at .* -> renew it/)
    expect(of('name')).toMatch(/^WARN: no certificate is for SPILLWAY_HOSTNAME \(mx\.test\.example\)/)
    expect(of('TLSA')).toMatch(/^FAIL: no record at _25\._tcp\.mx\.test\.example fits .* -> publish a record/)
    // What to do is told once.
    expect(of('other.example')).not.toContain('Renew it')
    const alone = makeCertificate({ names: ['DNS:alone.example'], issuer: makeCertificate({ subject: 'A CA. Inc' }) })
    const ofAlone = await examine('127.0.0.1:1', withFiles(alone))
    expect(ofAlone.of('settings')).not.toContain('issuer')
    expect(ofAlone.of('alone.example')).toMatch(
      /^WARN: .* not that of its issuer .*stay away -> put the whole chain into the file.*itself$/,
    )
    const good = await examine('127.0.0.1:1', withFiles(GOOD))
    expect(good.of('name')).toMatch(/^OK/)
    expect(good.of(HOST)).toMatch(/^OK: the name of this host has 192\.0\.2\.25/)
  })

  test('TLSA: by key or as a whole, as a hash or in full', () => {
    const { pairs } = readPairs([file('c', GOOD.cert)], [file('k', GOOD.key)], () => ({ text: '' }))
    expect(pairs).toEqual([])
    const found = readPairs(['c'], ['k'], (path) => ({ text: path === 'c' ? GOOD.cert : GOOD.key }))
    const leaf = found.pairs[0]?.leaf as NonNullable<(typeof found.pairs)[0]>['leaf']
    const spki = leaf.publicKey.export({ type: 'spki', format: 'der' })
    const record = (selector: number, match: number, data: Uint8Array) =>
      fitsTlsa({ certUsage: 3, selector, match, data: new Uint8Array(data).buffer }, leaf)
    expect(record(1, 0, spki)).toBe(true)
    expect(record(0, 0, leaf.raw)).toBe(true)
    expect(record(0, 0, spki)).toBe(false)
    expect(record(0, 1, Buffer.from(leaf.fingerprint256.replaceAll(':', ''), 'hex'))).toBe(true)
    expect(record(1, 1, Buffer.from(OTHER_KEY, 'hex'))).toBe(false)
    expect(record(1, 9, spki)).toBe(false)
  })

  test.each([
    ['enforce', HOST, true, 'OK'],
    ['enforce', '*.test.example', true, 'OK'],
    ['enforce', 'elsewhere.example', true, 'FAIL'],
    ['testing', 'elsewhere.example', true, 'WARN'],
    ['enforce', HOST, false, 'FAIL'],
    ['none', 'elsewhere.example', true, 'OK'],
  ])('MTA-STS: mode %s, mx %s, certificate %s: %s', async (mode, mx, hasCertificate, state) => {
    const { settings } = load(testSources('127.0.0.1:1', { DNS_SERVERS: dns.address, RCPT_DOMAINS: HOST }))
    const { pairs } = readPairs(['c'], ['k'], (path) => ({ text: path === 'c' ? GOOD.cert : GOOD.key }))
    const found = new Findings('certificate')
    const policy = async (): Promise<string> => `version: STSv1\r\nmode: ${mode}\r\nmx: ${mx}\r\nmax_age: 86400\r\n`
    await aboutMtaSts(settings, hasCertificate ? pairs : [], found, budgetOf(5000), policy)
    expect(found.all).toEqual([expect.objectContaining({ state, subject: `MTA-STS of ${HOST}` })])
  })

  test('a wildcard stands for one label', () => {
    expect(fitsMx('*.example.net', 'mx.example.net')).toBe(true)
    expect(fitsMx('*.example.net', 'a.mx.example.net')).toBe(false)
    expect(fitsMx('*.example.net', 'example.net')).toBe(false)
    expect(policyIn('mode: enforce\nmx: A.example\nmx: b.example')).toEqual({
      mode: 'enforce',
      mx: ['a.example', 'b.example'],
    })
  })
})

describe('ports and the node', () => {
  let taken: Server
  afterAll(() => void taken?.close())

  test('a port that another program has, and one that is free', async () => {
    taken = createServer((socket) => socket.end('220 other.example\r\n'))
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as { port: number }
    const [free, admin] = (await freePorts(2)) as [number, number]
    const settings = { LISTEN: `127.0.0.1:${port},127.0.0.1:${free}`, ADMIN_LISTEN: `127.0.0.1:${admin}` }
    const { of } = await examine('127.0.0.1:1', settings)
    expect(of(`127.0.0.1:${port}`)).toMatch(
      new RegExp(
        `^FAIL: node .*\\(pid ${process.pid}\\) listens there, and it is no node .* -> another program listens`,
      ),
    )
    expect(of(`127.0.0.1:${free}`)).toMatch(/^OK: free/)
    expect(of('node')).toMatch(/^OK: none runs/)
  })

  test('beside its own node the port is well, and a balancer without a header is told of', async () => {
    const [port, admin] = (await freePorts(2)) as [number, number]
    const settings = {
      ...{ LISTEN: `127.0.0.1:${port}`, ADMIN_LISTEN: `127.0.0.1:${admin}`, ADMIN_TOKEN: 'a-token-of-some-length' },
      PROXY_PROTOCOL_FROM: BALANCER,
    }
    const node = await app('127.0.0.1:1', settings)
    const before = await examine('127.0.0.1:1', settings)
    expect(before.of(`127.0.0.1:${port}`)).toMatch(/^OK: in the hands of the node that runs/)
    expect(before.of('node')).toMatch(/^OK: it runs and takes clients: version 0\.0\.0-test/)
    expect(before.of('balancer')).toBe('')
    expect(before.output).not.toContain('a-token')
    const { socket } = await node.client(BALANCER)
    socket.write('EHLO client.example\r\n')
    await eventually(
      () => node.metric('spillway_balancer_errors_total'),
      (count) => count === 1,
    )
    expect((await examine('127.0.0.1:1', settings)).of('balancer')).toMatch(/^WARN: 1 connections .* too wide/)
    // From an address that is not listed, with a header all the same.
    const unlisted = await node.client()
    unlisted.write('PROXY TCP4 192.0.2.9 192.0.2.10 4444 25\r\n')
    await unlisted.closed()
    expect((await examine('127.0.0.1:1', settings)).of('balancer')).toMatch(
      /\nWARN: 1 of \d connections brought a PROXY header/,
    )
    // A refusal for good does not name the node.
    await node.reload({ ...settings, DENY: '127.0.0.0/8' })
    expect((await examine('127.0.0.1:1', settings)).of(`127.0.0.1:${port}`)).toMatch(
      /^OK: in the hands of the node that runs, which turns away whoever comes from here: 554 5\.7\.1 \[127/,
    )
    const stranger = await examine('127.0.0.1:1', { ...settings, ADMIN_TOKEN: 'another-token-of-length' })
    expect(stranger.of('node')).toMatch(/^(OK|WARN)/)
  })

  test('connections that are turned away are told of, few as they are', async () => {
    const minutes = { connections: [3], shed: [0], messages: [0], known: [0], known_shed: [0], known_refused: [0] }
    const reasons = [{ reason: 'denied', mode: 'enforce', lastMinute: 3, lastHour: 3 }]
    const traffic = { minutes, reasons, knownRefused: [], hoursLearnt: 0 }
    const told = { version: 'x', ready: true, upstreams: [], settings: { hash: 'abc', needsRestart: [] }, traffic }
    const answering = createHttpServer((_, response) => response.end(JSON.stringify(told)))
    await new Promise<void>((resolve) => answering.listen(0, '127.0.0.1', resolve))
    const { port } = answering.address() as { port: number }
    const found = new Findings('node')
    const { settings } = load(testSources('127.0.0.1:1', { ADMIN_LISTEN: `127.0.0.1:${port}` }))
    await aboutNode(settings, found, budgetOf(4000))
    answering.close()
    expect(found.all.find(({ subject }) => subject === 'refusals')).toMatchObject({
      state: 'OK',
      text: expect.stringMatching(/3 connections, 3 refusals, for denied \(SPILLWAY_DENY\).*spillway explain ADDRESS/),
    })
  })
})

test('DNS: a server that is dead beside one that answers, and lists that speak for everybody or nobody', async () => {
  const [dead] = await freePorts(1)
  const zones = { DNSBL_ZONES: 'good.example,all.example,none.example' }
  const { of } = await examine('127.0.0.1:1', { DNS_SERVERS: `${dns.address},127.0.0.1:${dead}`, ...zones })
  expect(of(dns.address)).toMatch(/^OK: it answers/)
  expect(of(`127.0.0.1:${dead}`)).toMatch(/^WARN: .* -> take it out of SPILLWAY_DNS_SERVERS/)
  expect(of('good.example')).toMatch(/^OK/)
  expect(of('all.example')).toMatch(/^WARN: .*it would list everybody/)
  expect(of('none.example')).toMatch(/^WARN: .*it lists nobody/)
})

test('from the command line it ends within ten seconds whatever hangs, and tells of a low limit of open files', async () => {
  expect(await slow.exited).toBe(2)
  expect(slowAt).toBeLessThan(12_000)
  const { seconds, state, findings } = JSON.parse(slow.out) as { seconds: number; state: string; findings: Finding[] }
  expect(seconds).toBeLessThan(10)
  expect(state).toBe('FAIL')
  const files = findings.find(({ subject }) => subject === 'open files')
  expect(files).toMatchObject({ state: 'WARN', text: expect.stringContaining('the open-file limit is 400') })
  expect(files?.cure).toMatch(/^Raise it: ulimit -n \d+ \(systemd: LimitNOFILE=\)$/)
  for (const { state: each, cure } of findings) expect(each === 'OK' || (cure ?? '').length > 10).toBe(true)
}, 30_000)

test('it is told in words too; mistakes in the settings are told as `check` tells them, with 78', async () => {
  const wrong = [
    { name: 'SPILLWAY_LISTEN', value: 'x', origin: 'environment', expected: 'host:port', default: undefined },
  ]
  const { output, code } = await doctor(new SettingsError(wrong, []), { json: false })
  expect(code).toBe(78)
  expect(output).toMatch(/SPILLWAY_LISTEN[\s\S]*Nothing was examined\.\n$/)
  const words = await doctor(load(testSources('127.0.0.1:1', { DNS_SERVERS: dns.address })), {
    json: false,
    probesMs: 1500,
  })
  expect(words.output).toMatch(
    /^FAIL {2}upstream {5}127\.0\.0\.1:1: connect ECONNREFUSED.*\n +-> start the mail server/m,
  )
  expect(words.output).toMatch(/\n\n\d+ failed, \d+ warnings, \d+ well, in \d+\.\d s\n$/)
})
