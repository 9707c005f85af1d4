/** Clients of all six standings at each level of overload: what they hear at the banner and at RCPT, and how much they may. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { STANDINGS, type Standing } from '../../src/core/client.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { LEVELS, type Level } from '../../src/core/overload.ts'
import { Overload } from '../../src/overload/overload.ts'
import type { Sample } from '../../src/overload/pressure.ts'
import { Returns } from '../../src/state/returns.ts'
import { startApp } from '../support/app.ts'
import { makeCertificate } from '../support/certificates.ts'
import type { Client } from '../support/client.ts'
import { startFront, type TestFront } from '../support/front.ts'
import { putOff } from '../support/overload.ts'
import { type Script, startUpstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const SAMPLE: Sample = {
  pool: { slots: 1, wanted: [], servers: [] },
  ...{ reported: new Map(), connections: [], maxConnections: 1, loopMs: 0, memory: 0, globalLimits: 0 },
}
const SEED = new Uint8Array(8)
const LOG = { debug() {}, info() {}, warn() {}, error() {}, flush() {} }

/** Each standing has an address of its own. */
const addressOf = (standing: Standing): string => `127.0.0.${10 + STANDINGS.indexOf(standing)}`

/** @param at the time, in milliseconds */
const nothingPutOff = (at = { ms: 0 }): Returns =>
  new Returns({ secret: () => 's', afterMs: () => 60_000, now: () => at.ms, seed: SEED, sets: 16 })

/** The domains of addresses that the DNS has told by now; all have sent good mail. */
const told = new Map<string, string>()
afterEach(() => told.clear())

async function pinned(
  mode: Level,
  settings: Record<string, string> = {},
  returns = nothingPutOff(),
  script: Script = () => 'default',
  before: (overload: Overload) => void = () => undefined,
): Promise<TestFront> {
  const upstream = await startUpstream({ script })
  ends.push(() => upstream.stop())
  const overload = new Overload({
    settings: { mode, latencyMs: 1, loopMs: 1, reserve: 0, maxConnections: 1, isEnforced: true },
    ...{ sample: () => SAMPLE, returns, counted: () => undefined, clock: SYSTEM_CLOCK, seed: SEED, log: LOG },
  })
  overload.tick()
  before(overload)
  const standingOf = ({ ip }: { ip: string }): Standing =>
    STANDINGS.find((each) => addressOf(each) === ip) ?? (told.has(ip) ? 'seen' : 'new')
  const node = await startFront(
    upstream.address,
    settings,
    {},
    (right) => ({
      ...{ ...right, overload, domains: Object.assign(right.domains, { of: (ip: string) => told.get(ip) }) },
      policy: Object.create(right.policy, { standingOf: { value: standingOf } }),
    }),
    overload,
  )
  ends.push(() => node.stop())
  return node
}

/** The code that turns the client away, or 250 for its recipient. */
async function heard(node: TestFront, standing: Standing): Promise<string> {
  const client = await node.client(addressOf(standing))
  const banner = await client.reply()
  if (!banner.startsWith('220')) return `${banner.slice(0, 9)} at the banner`
  await client.command('EHLO client.example')
  await client.command('MAIL FROM:<a@example.org>')
  const reply = await client.command('RCPT TO:<b@example.net>')
  client.end()
  return reply.startsWith('250') ? '250' : reply.slice(0, 9)
}

const BANNER = '421 4.3.2 at the banner'
const HEARD: Readonly<Record<Level, Readonly<Record<Standing, string>>>> = {
  0: { trusted: '250', known: '250', seen: '250', new: '250', suspect: '250', banned: '250' },
  1: { trusted: '250', known: '250', seen: '250', new: '250', suspect: '250', banned: '250' },
  2: { trusted: '250', known: '250', seen: '250', new: '250', suspect: BANNER, banned: BANNER },
  3: { trusted: '250', known: '250', seen: '250', new: '451 4.3.2', suspect: BANNER, banned: BANNER },
  4: { trusted: '250', known: '250', seen: '250', new: BANNER, suspect: BANNER, banned: BANNER },
}

test.each(LEVELS)('level %i: the banner and RCPT', async (level) => {
  const node = await pinned(level)
  for (const standing of STANDINGS) {
    expect([standing, await heard(node, standing)]).toEqual([standing, HEARD[level][standing]])
  }
})

describe('limits of messages', () => {
  /** Messages that are let in, of thirty. */
  async function messages(node: TestFront, standing: Standing): Promise<number> {
    const client = await node.client(addressOf(standing))
    await client.hello()
    let count = 0
    for (let i = 0; i < 30; i++) {
      await client.command('MAIL FROM:<a@example.org>')
      if ((await client.command('RCPT TO:<b@example.net>')).startsWith('250')) count++
      await client.command('RSET')
    }
    return count
  }

  test.each([
    [0, { trusted: 30, known: 20, seen: 10, new: 10, suspect: 10, banned: 10 }],
    [1, { trusted: 30, known: 20, seen: 5, new: 5, suspect: 5, banned: 5 }],
  ] as const)('level %i', async (level, expected) => {
    const limits = { LIMIT_IP_MESSAGES: '10/1h', LIMIT_KNOWN_FACTOR: '2', LIMIT_STRESS_FACTOR: '0.5' }
    const node = await pinned(level, limits)
    for (const standing of STANDINGS) {
      expect([standing, await messages(node, standing)]).toEqual([standing, expected[standing]])
    }
  })
})

test('strangers do not get past level 3 as a flood to postmaster, nor of null senders, each with a budget of its own', async () => {
  const node = await pinned(3)
  let next = 0
  const postmaster = async (from: string, to: string): Promise<string> => {
    const client = await node.client(`127.0.2.${++next}`)
    await client.hello()
    await client.command(`MAIL FROM:<${from}>`)
    const reply = await client.command(`RCPT TO:<${to}>`)
    client.end()
    return reply.slice(0, 3)
  }
  // A user whom others have written to.
  const friend = await node.client(addressOf('known'))
  await friend.hello()
  expect(await friend.send('a@example.org', 'b@example.net')).toMatch(/^250/)
  for (const [from, to] of [
    ['a@example.org', 'postmaster@example.net'],
    ['', 'b@example.net'],
  ] as const) {
    const heard: string[] = []
    for (let i = 0; i < 125; i++) heard.push(await postmaster(from, to))
    expect(heard).toEqual([...Array(120).fill('250'), ...Array(5).fill('451')])
  }
  const client = await node.client(addressOf('seen'))
  await client.hello()
  await client.command('MAIL FROM:<>')
  expect(await client.command('RCPT TO:<postmaster@example.net>')).toMatch(/^250/)
})

test('what another check refuses takes nothing of what strangers get past the level with', async () => {
  const node = await pinned(3, { RCPT_DOMAINS: 'example.net' })
  let next = 0
  const postmaster = async (domain: string): Promise<string> => {
    const client = await node.client(`127.0.3.${++next}`)
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    const reply = await client.command(`RCPT TO:<postmaster@${domain}>`)
    client.end()
    return reply.slice(0, 3)
  }
  for (let i = 0; i < 125; i++) expect(await postmaster('elsewhere.example')).toBe('550')
  expect(await postmaster('example.net')).toBe('250')
})

describe('a stranger is doubtful, as shipped,', () => {
  const unknown: Script = (verb) => (verb === 'RCPT' ? '550 5.1.1 No such user' : 'default')

  /** @returns the log line of the session */
  async function sessionOf(node: TestFront, ip: string, helo: string): Promise<unknown> {
    const client = await node.client(ip)
    // Who speaks before the greeting is doubtful, too.
    await client.reply()
    await client.command(`EHLO ${helo}`)
    await client.command('MAIL FROM:<a@example.org>')
    await client.command('RCPT TO:<b@example.net>')
    await client.command('QUIT')
    await client.closed()
    const line = () => node.lines.findLast((each) => each.msg === 'session' && each.ip === ip)
    while (line() === undefined) await nextTurn()
    return line()
  }

  test('where a test that is only observed speaks against it', async () => {
    const node = await pinned(3)
    expect(await sessionOf(node, '127.0.4.1', 'localhost')).toMatchObject({ reason: 'overload', doubtful: 'yes' })
    expect(await sessionOf(node, '127.0.5.1', 'client.example')).not.toHaveProperty('doubtful')
  })

  test('where an address of its network has been bad', async () => {
    const node = await pinned(3, {}, nothingPutOff(), unknown)
    const neighbour = addressOf('seen')
    expect(await sessionOf(node, neighbour, 'client.example')).toMatchObject({ outcome: 'rejected' })
    expect(await sessionOf(node, '127.0.0.99', 'client.example')).toMatchObject({ doubtful: 'yes' })
    expect(await sessionOf(node, '127.0.5.1', 'client.example')).not.toHaveProperty('doubtful')
  })

  test.each([
    ['its neighbours alone, is let in when it comes back', 'client.example', 'rejected'],
    ['a test, is not', 'localhost', 'shed'],
  ])('and by %s', async (_, helo, outcome) => {
    const at = { ms: 1_700_000_000_000 }
    const node = await pinned(3, {}, nothingPutOff(at), unknown)
    await sessionOf(node, addressOf('seen'), 'client.example')
    expect(await sessionOf(node, '127.0.0.99', helo)).toMatchObject({ doubtful: 'yes', outcome: 'shed' })
    at.ms += 61_000
    node.lines.length = 0
    expect(await sessionOf(node, '127.0.0.99', helo)).toMatchObject({ outcome })
  })
})

describe('a doubtful stranger that nothing would get in', () => {
  const at = { ms: 1_700_000_000_000 }
  /** A hundred messages of other strangers have come back, and take the share whole. */
  const pressed = (overload: Overload): void => {
    const from = (i: number) => ({ standing: 'new', net: `net ${i}`, domain: undefined }) as const
    const letter = (i: number) => ({ from: 'a@example.org', to: `${i}@example.net` })
    for (let i = 0; i < 100; i++) putOff(overload, from(i), letter(i))
    at.ms += 61_000
    for (let i = 0; i < 100; i++) overload.atRcpt(from(i), letter(i))
    overload.tick()
  }
  async function say(node: TestFront, helo: string, from: string, to: string): Promise<string[]> {
    const client = await node.client('127.0.6.1')
    await client.reply()
    await client.command(`EHLO ${helo}`)
    const heard = [(await client.command(`MAIL FROM:<${from}>`)).slice(0, 9)]
    if (heard[0]?.startsWith('250')) heard.push((await client.command(`RCPT TO:<${to}>`)).slice(0, 9))
    await client.command('QUIT')
    await client.closed()
    return heard
  }

  test('is put off at MAIL; if it comes back, it reaches postmaster', async () => {
    const node = await pinned(3, {}, nothingPutOff(at), undefined, pressed)
    const postmaster = 'postmaster@example.net'
    expect(await say(node, 'localhost', 'b@example.org', postmaster)).toEqual(['451 4.3.2'])
    while (node.lines.at(-1)?.msg !== 'session') await nextTurn()
    expect(node.lines.at(-1)).toMatchObject({ stage: 'mail', doubtful: 'yes' })
    // Too soon, and from another sender.
    expect(await say(node, 'localhost', 'b@example.org', postmaster)).toEqual(['451 4.3.2'])
    at.ms += 61_000
    expect(await say(node, 'localhost', 'c@example.org', postmaster)).toEqual(['451 4.3.2'])
    expect(await say(node, 'localhost', 'b@example.org', postmaster)).toEqual(['250 2.1.0', '250 2.1.5'])
  })

  test('and has pipelined many recipients behind that, is heard of again when it comes back', async () => {
    const node = await pinned(3, {}, nothingPutOff(at), undefined, pressed)
    const client = await node.client('127.0.6.1')
    await client.reply()
    await client.command('EHLO localhost')
    const recipients = Array.from({ length: 100 }, (_, i) => `RCPT TO:<${i}@example.net>\r\n`)
    client.write(`MAIL FROM:<b@example.org>\r\n${recipients.join('')}DATA\r\n`)
    expect(await client.reply()).toMatch(/^451 4\.3\.2/)
    for (let i = 0; i <= recipients.length; i++) expect(await client.reply()).toMatch(/^451 4\.5\.1/)
    expect(await client.command('QUIT')).toMatch(/^221/)
    await client.closed()
    at.ms += 61_000
    expect(await say(node, 'localhost', 'b@example.org', 'b@example.net')).toEqual(['250 2.1.0', '451 4.3.2'])
  })

  test('is heard of again with the first two hundred of its messages in one session', async () => {
    const node = await pinned(3, {}, nothingPutOff(at), undefined, pressed)
    const client = await node.client('127.0.6.1')
    await client.reply()
    await client.command('EHLO localhost')
    for (let i = 0; i < 202; i++) expect(await client.command(`MAIL FROM:<${i}@example.org>`)).toMatch(/^451 4\.3\.2/)
    await client.command('QUIT')
    await client.closed()
    at.ms += 61_000
    expect(await say(node, 'localhost', '199@example.org', 'b@example.net')).toEqual(['250 2.1.0', '451 4.3.2'])
    expect(await say(node, 'localhost', '200@example.org', 'b@example.net')).toEqual(['451 4.3.2'])
  })

  test('is not heard of again with what was refused at MAIL for good', async () => {
    const node = await pinned(3, { MESSAGE_MAX_SIZE: '1MB' }, nothingPutOff(at), undefined, pressed)
    const client = await node.client('127.0.6.1')
    await client.reply()
    await client.command('EHLO localhost')
    expect(await client.command('MAIL FROM:<b@example.org> SIZE=2000000')).toMatch(/^552/)
    await client.command('QUIT')
    await client.closed()
    at.ms += 61_000
    expect(await say(node, 'localhost', 'b@example.org', 'b@example.net')).toEqual(['451 4.3.2'])
  })

  test('gets to its recipient if the DNS has told by MAIL that its domain is a good one', async () => {
    const node = await pinned(3, {}, nothingPutOff(at), undefined, pressed)
    const client = await node.client('127.0.6.1')
    await client.reply()
    await client.command('EHLO localhost')
    told.set('127.0.6.1', 'provider.example')
    expect(await client.command('MAIL FROM:<b@example.org>')).toMatch(/^250/)
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^250/)
  })

  test('hears no sooner than others that its bounce, or its message that is not doubtful, is put off', async () => {
    const node = await pinned(3, {}, nothingPutOff(at), undefined, pressed)
    expect(await say(node, 'localhost', '', 'b@example.net')).toEqual(['250 2.1.0', '451 4.3.2'])
    expect(await say(node, 'client.example', 'b@example.org', 'b@example.net')).toEqual(['250 2.1.0', '451 4.3.2'])
  })

  test('gets to its recipient where the check is only observed', async () => {
    const node = await pinned(3, { OBSERVE: 'overload' }, nothingPutOff(at), undefined, pressed)
    expect(await say(node, 'localhost', 'b@example.org', 'b@example.net')).toEqual(['250 2.1.0', '250 2.1.5'])
  })
})

describe('a stranger that is put off is in the clear', () => {
  /** @returns the log line of a session in which a message is put off */
  async function line(settings: Record<string, string>, hello: string, tls: boolean): Promise<unknown> {
    const upstream = await startUpstream()
    ends.push(() => upstream.stop())
    const app = await startApp(upstream.address, { OVERLOAD: '3', OVERLOAD_EVENT_LOOP: '10s', ...settings })
    ends.push(() => app.stop())
    const client = await app.client()
    await client.reply()
    await client.command(hello)
    if (tls) {
      await client.startTls()
      await client.command(hello)
    }
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451/)
    await client.command('QUIT')
    return app.waitForLog(({ msg }) => msg === 'session')
  }

  test('if it could have had TLS, whether it says EHLO or HELO', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'spillway-clear-'))
    ends.push(async () => rmSync(directory, { recursive: true }))
    const files = { TLS_CERT: join(directory, 'cert'), TLS_KEY: join(directory, 'key') }
    const { cert, key } = makeCertificate({ names: ['DNS:mx.test.example'] })
    writeFileSync(files.TLS_CERT, cert)
    writeFileSync(files.TLS_KEY, key)
    expect(await line(files, 'EHLO client.example', false)).toMatchObject({ reason: 'overload', clear: 'yes' })
    expect(await line(files, 'HELO client.example', false)).toMatchObject({ reason: 'overload', clear: 'yes' })
    const secured = await line(files, 'EHLO client.example', true)
    expect(secured).toMatchObject({ reason: 'overload' })
    expect(secured).not.toHaveProperty('clear')
    expect(await line({}, 'EHLO client.example', false)).not.toHaveProperty('clear')
  })
})

describe('a stranger that comes back', () => {
  const HERE = '127.0.0.99'
  const ELSEWHERE = '127.0.1.99'
  let at: { ms: number }
  let node: TestFront
  async function say(to: string, ip = HERE, last: 'QUIT' | 'RSET' | 'nothing' = 'QUIT'): Promise<string> {
    const client = await node.client(ip)
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    const reply = await client.command(`RCPT TO:<${to}>`)
    if (last !== 'nothing') await client.command(last)
    if (last !== 'QUIT') client.end()
    await client.closed()
    return reply.slice(0, 3)
  }

  beforeEach(async () => {
    at = { ms: 1_700_000_000_000 }
    node = await pinned(3, {}, nothingPutOff(at))
  })

  test.each([HERE, ELSEWHERE])('from %s is let in, before others, and once', async (ip) => {
    expect(await say('b@example.net')).toBe('451')
    at.ms += 61_000
    expect([await say('c@example.net'), await say('b@example.net', ip)]).toEqual(['451', '250'])
    expect(await say('b@example.net', ip)).toBe('451')
  })

  test('after it has hung up without QUIT is no better than others', async () => {
    expect(await say('b@example.net', HERE, 'nothing')).toBe('451')
    at.ms += 61_000
    expect(await say('b@example.net')).toBe('451')
    at.ms += 61_000
    expect(await say('b@example.net')).toBe('250')
  })

  test('after it has been silent until its time was over is no better than others', async () => {
    const hurry = (overload: Overload) => void Object.assign(overload, { idleMs: () => 500 })
    const impatient = await pinned(3, {}, nothingPutOff(at), undefined, hurry)
    const from = async (): Promise<Client> => {
      const client = await impatient.client(HERE)
      await client.hello()
      await client.command('MAIL FROM:<a@example.org>')
      expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451/)
      return client
    }
    const client = await from()
    expect(await client.reply()).toMatch(/^421 4\.4\.2/)
    await client.closed()
    at.ms += 61_000
    await from()
  })

  test('after it has heard 421 because of all that was put off is let in', async () => {
    const client = await node.client(HERE)
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451/)
    client.write('RSET\r\n'.repeat(101))
    for (let i = 0; i < 100; i++) expect(await client.reply()).toMatch(/^250/)
    expect(await client.reply()).toMatch(/^421 4\.7\.0/)
    await client.closed()
    at.ms += 61_000
    expect(await say('b@example.net')).toBe('250')
  })

  test('after RSET is let in, though its client hangs up then: so does Postfix with a connection that it has kept', async () => {
    expect(await say('b@example.net', HERE, 'RSET')).toBe('451')
    at.ms += 61_000
    expect(await say('b@example.net')).toBe('250')
  })

  test('after the node has ended its session is let in', async () => {
    const client = await node.client(HERE)
    await client.hello()
    await client.command('MAIL FROM:<a@example.org>')
    expect(await client.command('RCPT TO:<b@example.net>')).toMatch(/^451/)
    await client.command('RSET')
    for (const session of node.live) session.drain()
    expect(await client.reply()).toMatch(/^421 4\.3\.2/)
    await client.closed()
    at.ms += 61_000
    expect(await say('b@example.net')).toBe('250')
  })

  test('within a minute is no better than others', async () => {
    for (let seconds = 0; seconds <= 60; seconds += 20) {
      expect(await say('b@example.net')).toBe('451')
      at.ms += 20_000
    }
    expect(await say('b@example.net')).toBe('250')
  })

  test('the log line of a refusal says how the message came', async () => {
    expect(await say('b@example.net')).toBe('451')
    while (node.lines.at(-1)?.msg !== 'session') await nextTurn()
    expect(node.lines.at(-1)).toMatchObject({ reason: 'overload', overloadLevel: 3, share: 0.05, came: 'first' })
  })
})

test.each(['RCPT', 'DATA', 'DOT'])(
  'what the mail server puts off at %s is remembered from level 1 on',
  async (verb) => {
    const at = { ms: 1_700_000_000_000 }
    for (const level of [0, 1] as const) {
      const returns = nothingPutOff(at)
      const node = await pinned(level, {}, returns, (each) => (each === verb ? '451 4.3.0 Later' : 'default'))
      const client = await node.client('127.0.0.99')
      await client.hello()
      expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^45/)
      await client.command('QUIT')
      await client.closed()
      at.ms += 100_000
      const came = returns.came('127.0.0.0/24', { from: 'a@example.org', to: 'b@example.net' })
      expect(came).toBe(level === 0 ? 'first' : 'back')
    }
  },
)
