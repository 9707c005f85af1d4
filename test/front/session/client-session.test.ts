/** Whose turn it is in a session and how it ends, by a clock of the test and with the times that are shipped. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { ClientSession, type ClientSessionParts } from '../../../src/front/session/client-session.ts'
import { Handshakes } from '../../../src/front/session/handshakes.ts'
import { Sessions } from '../../../src/front/session/session.ts'
import type { Transport } from '../../../src/front/session/transport-interface.ts'
import { Watch } from '../../../src/front/session/watch.ts'
import { SessionRecord } from '../../../src/front/session-record.ts'
import type { Limits } from '../../../src/state/limits.ts'
import type { Log } from '../../../src/telemetry/log.ts'
import { createMetrics } from '../../../src/telemetry/metrics.ts'
import { loadWith } from '../../config/given.ts'
import { connectClient } from '../../support/client.ts'
import { client, factsOf, partsWithoutRelay } from './parts.ts'

/** As they are shipped. */
const { idleTimeout, minDataRate, sessionMaxTime, sessionMaxMessages, tlsHandshakes } = loadWith({}).settings
const SECOND = 1000
let at = 0

function partsOf(changed: Partial<ClientSessionParts> = {}) {
  const { parts: conversation } = partsWithoutRelay({} as Limits)
  const errors: unknown[] = []
  const parts: ClientSessionParts = {
    conversation,
    offersTls: true,
    idleMs: idleTimeout,
    minDataRate,
    sessionMs: sessionMaxTime,
    maxMessages: sessionMaxMessages,
    foreignHeader: () => undefined,
    metrics: createMetrics({ version: 'test', upstreams: [] }),
    log: { error: (facts: unknown) => errors.push(facts) } as unknown as Log,
    handshakes: new Handshakes({ places: () => tlsHandshakes, elapsed: () => at }),
    elapsed: () => at,
    ...changed,
  }
  return { parts, errors }
}

/** A session over a connection of which only what it is told to do is known. */
function session(changed: Partial<ClientSessionParts> = {}) {
  const { parts, errors } = partsOf(changed)
  const done: string[] = []
  const armed: number[] = []
  const act = (name: string) => () => void done.push(name)
  const transport: Transport = {
    tls: undefined,
    isResumed: false,
    isIdle: true,
    isFinished: true,
    hasMore: false,
    isPaused: true,
    listen: act('listen'),
    arm: (ms) => void armed.push(ms),
    write: (text) => void done.push(text.slice(0, 3)),
    whenWritten: (next) => next(),
    startTls: act('startTls'),
    startText: act('startText'),
    touch: act('touch'),
    close: act('close'),
    cut: act('cut'),
    destroy: act('destroy'),
  }
  const record = new SessionRecord(0)
  const made = new ClientSession(parts, new Watch(), factsOf(client), record, () => transport)
  const say = (line: string): void => made.line(Buffer.from(line), true, act('next'))
  let isOver = false
  void made.over.then(() => {
    isOver = true
  })
  return { session: made, record, done, armed, errors, say, isOver: () => isOver }
}

test('who speaks in the clear could have had TLS, but not if all places were taken when it asked lately', () => {
  const isClear = [false, true].map((foundNoPlace) => {
    const handshakes = new Handshakes({ places: () => tlsHandshakes, elapsed: () => at })
    handshakes.foundNoPlace = () => foundNoPlace
    const { session: greeted, record, say } = session({ handshakes })
    greeted.greet()
    say('EHLO client.example')
    return record.isClear
  })
  expect(isClear).toEqual([true, false])
})

describe('R34 with the times that are shipped', () => {
  test('they are five minutes for a command, 500 octets a second for a message, two hours in all', () => {
    expect([idleTimeout, minDataRate, sessionMaxTime]).toEqual([300 * SECOND, 500, 7200 * SECOND])
  })

  test('a command that is typed for five minutes hears 421, and not before', () => {
    at = 0
    const { session: typist, done } = session()
    typist.greet()
    at = 299 * SECOND
    typist.typing()
    expect(done).toEqual(['listen', '220'])
    at = 300 * SECOND
    typist.typing()
    expect(done).toEqual(['listen', '220', '421', 'close'])
  })

  test('the time of a command begins anew with each reply', () => {
    at = 0
    const { session: typist, done, say } = session()
    typist.greet()
    at = 200 * SECOND
    say('NOOP')
    at = 499 * SECOND
    typist.typing()
    expect(done).toEqual(['listen', '220', '250', 'next'])
    at = 500 * SECOND
    typist.typing()
    expect(done.slice(-2)).toEqual(['421', 'close'])
  })

  test('a session of more than two hours hears 421 at its next command', () => {
    at = 0
    const { session: long, done, say } = session()
    long.greet()
    at = 7200 * SECOND
    say('NOOP')
    at += 1
    say('NOOP')
    say('NOOP')
    expect(done).toEqual(['listen', '220', '250', 'next', '421', 'close', 'next', 'next'])
  })

  describe('a TLS handshake', () => {
    beforeEach(() => {
      jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] })
    })
    afterEach(() => {
      jest.useRealTimers()
    })
    const begun = async () => {
      const metrics = createMetrics({ version: 'test', upstreams: [] })
      const made = session({ metrics })
      made.session.greet()
      made.say('EHLO client.example')
      await new Promise(setImmediate)
      made.say('STARTTLS')
      await new Promise(setImmediate)
      expect(made.done).toContain('startTls')
      const results = async (result: string) =>
        (await metrics.registry.getSingleMetricAsString('spillway_tls_handshakes_total')).includes(
          `{result="${result}"} 1`,
        )
      return { ...made, results }
    }

    test('has ten seconds, though a command has five minutes', async () => {
      const { done, results } = await begun()
      jest.advanceTimersByTime(9999)
      expect(done).not.toContain('destroy')
      expect(await results('timeout')).toBe(false)
      jest.advanceTimersByTime(1)
      expect(done.at(-1)).toBe('destroy')
      expect(await results('timeout')).toBe(true)
    })

    test('has five seconds from the moment that this node is being stopped', async () => {
      const { session: late, done } = await begun()
      jest.advanceTimersByTime(3000)
      late.drain()
      jest.advanceTimersByTime(4999)
      expect(done).not.toContain('destroy')
      jest.advanceTimersByTime(1)
      expect(done.at(-1)).toBe('destroy')
    })

    test('that is done in time ends no session later', async () => {
      const { session: secure, done } = await begun()
      jest.advanceTimersByTime(9999)
      const before = [...done]
      secure.secured()
      jest.advanceTimersByTime(60_000)
      expect(done).toEqual(before)
    })
  })

  test('who is silent while we are waited for is not idle', async () => {
    const { session: waiting, done, armed, say } = session()
    waiting.greet()
    say('EHLO client.example')
    waiting.silent()
    expect(armed).toEqual([300 * SECOND])
    expect(done).toEqual(['listen', '220'])
    await new Promise(setImmediate)
    waiting.silent()
    expect(done).toEqual(['listen', '220', '250', 'next', '421', 'close'])
  })
})

describe('its end', () => {
  test('R51 where nothing was said yet, a stop is told in place of the greeting, and there is none behind it', () => {
    const { session: early, done } = session()
    early.drain()
    early.greet()
    expect(done).toEqual(['421', 'close'])
  })

  test('R8 is said once, whatever else would end it', async () => {
    const { session: ended, done, say, isOver } = session()
    ended.greet()
    ended.dismiss()
    ended.drain()
    ended.dismiss()
    ended.silent()
    ended.typing()
    ended.finished()
    say('NOOP')
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    expect(done).toEqual(['listen', '220', '421', 'close', 'next'])
    expect(isOver()).toBe(false)
    ended.closed(undefined)
    await ended.over
  })

  test('R22 within a handshake nothing is said, not even by who cuts it off', async () => {
    const { session: secret, done, say } = session()
    secret.greet()
    say('STARTTLS')
    secret.dismiss()
    secret.cut()
    await secret.over
    expect(done).toEqual(['listen', '220', '220', 'startTls', 'next', 'destroy', 'cut'])
  })

  test('what goes wrong in a command is 451, its stack is in the log, and the session goes on', async () => {
    const { parts } = partsOf()
    const broken = (): never => {
      throw new Error('no words')
    }
    const { maxSize, voice } = { maxSize: broken, voice: { ...parts.conversation.voice, relayed: broken } }
    const upstreams = { offer: { has: broken } } as unknown as typeof parts.conversation.relay.upstreams
    const relay = { ...parts.conversation.relay, upstreams }
    const {
      session: one,
      done,
      errors,
      say,
    } = session({
      conversation: { ...parts.conversation, relay, maxSize, voice },
    })
    one.greet()
    // AUTH goes wrong at once, EHLO later.
    for (const line of ['AUTH LOGIN', 'EHLO x', 'NOOP']) {
      say(line)
      await new Promise(setImmediate)
    }
    expect(done.slice(2)).toEqual(['451', 'next', '451', 'next', '250', 'next'])
    expect(errors).toMatchObject(Array(2).fill({ err: expect.stringContaining('no words') }))
  })
})

test('R42 a socket that was reset before it came here is over at once, greeted or told of a stop', async () => {
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { parts } = partsOf()
  const sessions = new Sessions({ ...parts, rules: () => ({ ...parts, tls: undefined }) })
  const gone = async (): Promise<Socket> => {
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const other = await connectClient((server.address() as { port: number }).port)
    const [socket] = await accepted
    other.destroy()
    socket.destroy()
    await once(socket, 'close')
    return socket
  }
  const [greeted, told] = [await gone(), await gone()].map((socket) =>
    sessions.open(socket, factsOf(client), new SessionRecord(0)),
  )
  greeted?.greet()
  told?.drain()
  await Promise.all([greeted?.over, told?.over])
  server.close()
})
