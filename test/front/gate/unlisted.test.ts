/**
 * R48: a balancer that sends a PROXY header and is not listed. Answered as the commands it is not, it would shift every
 * reply that the client behind it hears by one; so it hears one 421, and the operator hears of it.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { BalancerWarnings } from '../../../src/front/gate/balancer-warnings.ts'
import { proxyV2, proxyV2Local } from '../../../src/relay/smtp/proxy-header.ts'
import { eventually, startApp, type TestApp } from '../../support/app.ts'
import { startUpstream, type Upstream } from '../../support/upstream.ts'

let upstream: Upstream
let app: TestApp
beforeAll(async () => {
  upstream = await startUpstream()
  // 127.0.0.9 is a listed one; the others are not.
  app = await startApp(upstream.address, { LOG_SAMPLE: '1', PROXY_PROTOCOL_FROM: '127.0.0.9' })
})
afterAll(async () => {
  await app.stop()
  await upstream.stop()
})

const V1 = Buffer.from('PROXY TCP4 203.0.113.5 192.0.2.25 4711 25\r\n')
const V2 = proxyV2({ source: { ip: '203.0.113.5', port: 4711 }, destination: { ip: '192.0.2.25', port: 25 } })
const CLIENT = Buffer.from('EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nQUIT\r\n')
const SERIES = 'spillway_refusals_total{stage="connect",reason="proxy_unlisted",action="drop",mode="enforce"}'

const sum = async (name: string): Promise<number> => {
  const { body } = await app.get('/metrics')
  const rows = body.split('\n').filter((line) => line.startsWith(`${name}{`))
  return rows.reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

/** Writes each piece by itself, and lets it be read before the next. */
async function inPieces(ip: string, pieces: readonly Buffer[]): Promise<string> {
  const client = await app.client(ip)
  for (const piece of pieces) {
    client.write(piece)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return client.closed()
}

const HEARD =
  /^220 mx\.test\.example ESMTP Spillway\r\n421 4\.3\.0 mx\.test\.example \[127\.0\.0\.\d+\] A PROXY header, [^\n]*\([0-9A-Z]{13}\)\r\n$/

describe.each([
  ['version 1', V1],
  ['version 2', V2],
  ['version 2 LOCAL', proxyV2Local()],
])('R48 %s from an address that is not listed', (_, header) => {
  test.each([
    ['alone', () => [header]],
    ['with what its client sends behind it', () => [Buffer.concat([header, CLIENT])]],
    ['and its client behind it', () => [header, CLIENT]],
    ['byte by byte', () => [...Buffer.concat([header, CLIENT])].map((byte) => Buffer.from([byte]))],
  ])('%s: 220, one 421, and nothing more', async (_how, pieces) => {
    const before = (await app.metric(SERIES)) as number
    expect(await inPieces('127.0.0.8', pieces())).toMatch(HEARD)
    expect(await app.metric(SERIES)).toBe(before + 1)
    const line = await app.waitForLog(({ ip, reason }) => ip === '127.0.0.8' && reason === 'proxy_unlisted')
    expect(line).toMatchObject({ outcome: 'shed', stage: 'connect', code: 421, sample: 1 })
    expect(line).not.toHaveProperty('helo')
  })

  test('cut in two anywhere', async () => {
    for (let cut = 1; cut < 16; cut++) {
      expect({ cut, heard: await inPieces('127.0.0.8', [header.subarray(0, cut), header.subarray(cut)]) }).toEqual({
        cut,
        heard: expect.stringMatching(HEARD),
      })
    }
  })
})

test('R48 behind the header of a listed balancer a second one is as foreign', async () => {
  const client = await app.client('127.0.0.9')
  client.write(Buffer.concat([V1, V1, CLIENT]))
  expect(await client.closed()).toMatch(/^220 [^\n]*\n421 4\.3\.0 [^\n]*\[203\.0\.113\.5\] A PROXY header/)
})

test('the operator is told once, with the address and the setting; every session is counted', async () => {
  for (let i = 0; i < 5; i++) expect(await inPieces('127.0.0.7', [V1])).toMatch(HEARD)
  const warned = app.log().filter(({ level, ip }) => level === 'warn' && ip === '127.0.0.7')
  expect(warned).toEqual([
    expect.objectContaining({
      setting: 'SPILLWAY_PROXY_PROTOCOL_FROM',
      msg: expect.stringContaining('not listed in SPILLWAY_PROXY_PROTOCOL_FROM'),
    }),
  ])
  // The client has closed when its session counts as ended.
  await eventually(
    () => sum('spillway_connections_open'),
    (open) => open === 0,
  )
  expect(await sum('spillway_sessions_total')).toBe(await sum('spillway_connections_total'))
  const told = app.log().filter(({ reason }) => reason === 'proxy_unlisted')
  expect(told.length).toBe(await app.metric(SERIES))
})

describe('what only looks like the beginning of one is read as before', () => {
  test.each([
    ['an empty line', '\r\n', 'EHLO x\r\nQUIT\r\n', [/^500 5\.5\.2/, /^250/, /^221/]],
    ['two empty lines', '\r\n\r\n', 'QUIT\r\n', [/^500 5\.5\.2/, /^500 5\.5\.2/, /^221/]],
    ['the verb alone', 'PROXY', '\r\nQUIT\r\n', [/^500 5\.5\.2/, /^221/]],
    ['another verb', 'P', 'ING\r\nQUIT\r\n', [/^500 5\.5\.2/, /^221/]],
    ['the verb in lower case', 'proxy ', 'x\r\nQUIT\r\n', [/^500 5\.5\.2/, /^221/]],
    ['not the first line', 'NOOP\r\nPROXY TCP4 ', '1.2.3.4 1.2.3.4 1 2\r\nQUIT\r\n', [/^250/, /^500 5\.5\.2/, /^221/]],
  ])('%s', async (_, first, second, replies) => {
    const client = await app.client('127.0.0.6')
    expect(await client.reply()).toMatch(/^220/)
    client.write(first)
    await new Promise((resolve) => setImmediate(resolve))
    client.write(second)
    for (const reply of replies) expect(await client.reply()).toMatch(reply)
  })

  test.each([
    ['an empty line', '\r\n', 1],
    ['two', '\r\n\r\n', 2],
  ])(
    '%s and silence behind it are answered within two seconds, and what comes then as well',
    async (_, text, lines) => {
      const client = await app.client('127.0.0.6')
      expect(await client.reply()).toMatch(/^220/)
      const started = performance.now()
      client.write(text)
      for (let i = 0; i < lines; i++) expect(await client.reply()).toMatch(/^500 5\.5\.2/)
      expect(performance.now() - started).toBeLessThan(2000)
      client.write('EHLO x\r\nQUIT\r\n')
      expect(await client.closed()).toMatch(/250 [^\n]*\n221 [^\n]*\n$/)
    },
  )

  test('an empty line is answered at once where the client closes its side behind it', async () => {
    const client = await app.client('127.0.0.6')
    client.write('\r\n')
    client.end()
    expect(await client.closed()).toMatch(/^220 [^\n]*\n500 5\.5\.2 [^\n]*\n$/)
  })

  test('R34 the beginning of the verb and silence behind it: idle as anybody', async () => {
    const quick = await startApp(upstream.address, {}, (settings) => ({ ...settings, idleTimeout: 100 }))
    try {
      const client = await quick.client()
      client.write('PROX')
      expect(await client.closed()).toMatch(/^220 [^\n]*\n421 4\.4\.2 /)
    } finally {
      await quick.stop()
    }
  })
})

describe('warnings about balancers', () => {
  const HOUR = 3_600_000
  const warnings = () => {
    const lines: { fields: Record<string, unknown>; msg: string }[] = []
    const time = { at: 10_000_000 }
    const log = { warn: (fields: object, msg: string) => lines.push({ fields: { ...fields }, msg }) }
    return { lines, time, told: new BalancerWarnings(log as never, () => time.at) }
  }
  const ips = (lines: { fields: Record<string, unknown> }[]) => lines.map(({ fields }) => fields.ip)

  test('one an hour for each address, of each kind', () => {
    const { lines, time, told } = warnings()
    for (let i = 0; i < 1000; i++) told.unlisted('192.0.2.1')
    told.unlisted('192.0.2.2')
    told.noHeader('192.0.2.1', 'no PROXY header')
    told.mailOnProbe('192.0.2.1')
    expect(ips(lines)).toEqual(['192.0.2.1', '192.0.2.2', '192.0.2.1', '192.0.2.1'])
    expect(new Set(lines.map(({ msg }) => msg)).size).toBe(3)
    time.at += HOUR - 1
    told.unlisted('192.0.2.1')
    expect(lines).toHaveLength(4)
    time.at += 1
    for (let i = 0; i < 10; i++) told.unlisted('192.0.2.1')
    expect(lines).toHaveLength(5)
  })

  test('a flood of addresses writes no flood of lines, and does not keep a balancer of our own from being named', () => {
    const { lines, time, told } = warnings()
    const flood = () => {
      for (let i = 0; i < 100_000; i++) told.unlisted(`203.${i & 127}.${(i >> 7) & 255}.7`)
      // One address in all of a /64.
      for (let i = 0; i < 1000; i++) told.unlisted(`2001:db8::${(i + 1).toString(16)}`)
    }
    flood()
    expect(lines).toHaveLength(64)
    told.unlisted('10.0.0.9')
    expect(ips(lines).at(-1)).toBe('10.0.0.9')
    time.at += HOUR
    flood()
    expect(lines).toHaveLength(2 * 64 + 1)
  })
})
