/** What a recipient costs whom: nothing where the message is put off anyway, and nobody who has left. */
import { afterEach, describe, expect, test } from '@jest/globals'
import { ALL_OFF, type LimitName, type Rates } from '../../../src/core/limits.ts'
import type { Usage } from '../../../src/core/usage.ts'
import type { Connection } from '../../../src/front/session/context.ts'
import { Conversation } from '../../../src/front/session/conversation.ts'
import { SessionRecord } from '../../../src/front/session-record.ts'
import { createLimits, type Limits } from '../../../src/state/limits.ts'
import { startApp } from '../../support/app.ts'
import type { Client as SmtpClient } from '../../support/client.ts'
import { startUpstream } from '../../support/upstream.ts'
import { client, factsOf, partsWithoutRelay } from './parts.ts'

const HOUR = 3_600_000
let at = 0
const limitsOf = (rates: Partial<Rates>, enforced: (limit: LimitName) => boolean = () => true): Limits => {
  at = 1000 * HOUR
  return createLimits({ rates: { ...ALL_OFF, ...rates }, enforced, now: () => at, seed: new Uint8Array(8) })
}

const CONNECTION: Connection = { tls: undefined, typesSlowly: false }

/** A conversation whose relay must not be reached, and what was told of it. */
function converse(limits: Limits): { conversation: Conversation; told: string[] } {
  const { parts, told } = partsWithoutRelay(limits)
  return { conversation: new Conversation(parts, factsOf(client), new SessionRecord(0), CONNECTION), told }
}
const mail = async (conversation: Conversation): Promise<string> => (await conversation.mail(MAIL)).text
const rcpt = async (conversation: Conversation, line = RCPT): Promise<string> => (await conversation.rcpt(line)).text
const MAIL = 'MAIL FROM:<a@example.org>'
const RCPT = 'RCPT TO:<b@example.net>'

describe('a message that is put off', () => {
  test('costs its client no recipients, so that the retry it is asked for finds room', async () => {
    const limits = limitsOf({ global_messages: { max: 1, windowMs: 1000 }, ip_recipients: { max: 5, windowMs: HOUR } })
    void limits.take('rcpt', { ...client, source: '198.51.100.1' })
    const { conversation } = converse(limits)
    for (let message = 0; message < 2; message++) {
      expect(await mail(conversation)).toMatch(/^250/)
      for (let i = 0; i < 4; i++) expect(await rcpt(conversation)).toMatch(/^451 4\.3\.2/)
      conversation.reset()
    }
    expect(limits.recipient(client, {})?.used).toBe(1)
  })

  test('by its own limit: nor then', async () => {
    const limits = limitsOf({ ip_messages: { max: 1, windowMs: HOUR }, ip_recipients: { max: 5, windowMs: HOUR } })
    void limits.take('rcpt', client)
    const { conversation } = converse(limits)
    await mail(conversation)
    for (let i = 0; i < 8; i++) expect(await rcpt(conversation)).toMatch(/^45[01] /)
    expect(limits.recipient(client, {})?.used).toBe(1)
  })
})

test('a message that had no recipient past our own checks costs its client nothing, nor all of them together', async () => {
  const limits = limitsOf({
    ip_messages: { max: 5, windowMs: HOUR },
    global_messages: { max: 5, windowMs: HOUR },
    ip_recipients: { max: 1, windowMs: HOUR },
  })
  limits.recipient(client, {})
  const { conversation } = converse(limits)
  for (let message = 0; message < 8; message++) {
    await mail(conversation)
    expect(await rcpt(conversation)).toMatch(/^450 4\.7\.28/)
    conversation.reset()
  }
  expect(limits.take('rcpt', client)).toMatchObject({ ip_messages: { used: 1 }, global_messages: { used: 1 } })
})

describe('one message counts once for everybody', () => {
  const ends: (() => Promise<unknown>)[] = []
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end()
  })
  const one = async (smtp: SmtpClient, ...to: string[]): Promise<string[]> => {
    await smtp.command(MAIL)
    const replies: string[] = []
    for (const each of to) replies.push((await smtp.command(`RCPT TO:<${each}>`)).slice(0, 3))
    await smtp.command('RSET')
    return replies
  }

  test.each([
    ['abuse first', ['abuse@example.net', 'b@example.net', 'postmaster@example.net']],
    ['abuse last', ['b@example.net', 'abuse@example.net', 'c@example.net']],
  ])('%s', async (_, to) => {
    const upstream = await startUpstream()
    ends.push(() => upstream.stop())
    const app = await startApp(upstream.address, { LIMIT_GLOBAL_MESSAGES: '3/1h', LIMIT_IP_MESSAGES: 'off' })
    ends.push(() => app.stop())
    const smtp = await app.client()
    await smtp.hello()
    for (let i = 0; i < 3; i++) expect(await one(smtp, ...to)).toEqual(['250', '250', '250'])
    expect(await one(smtp, ...to)).toEqual(['451', '451', '451'])
  })

  test('one that was refused for postmaster is asked for again with the next recipient, and still costs nothing', async () => {
    const limits = limitsOf({ ip_messages: { max: 5, windowMs: HOUR }, global_messages: { max: 1, windowMs: HOUR } })
    void limits.take('rcpt', { ...client, source: '198.51.100.1' })
    const { conversation } = converse(limits)
    await mail(conversation)
    expect(await rcpt(conversation, 'RCPT TO:<postmaster@example.net>')).toMatch(/^451 4\.3\.2/)
    expect(await rcpt(conversation)).toMatch(/^451 4\.3\.2/)
    expect(limits.take('rcpt', client, 'sender')).toMatchObject({ ip_messages: { used: 1 } })
  })
})

describe('a client that leaves while its recipient is being judged', () => {
  const use = (used: number) => ({ used, max: 1, windowMs: HOUR })
  const CASES: [string, string, Usage][] = [
    ['a user, over the limit', RCPT, { global_messages: use(2) }],
    ['a user, within it', RCPT, { global_messages: use(1) }],
    ['postmaster, over the limit', 'RCPT TO:<postmaster@example.net>', { global_messages: use(2) }],
    ['postmaster, within it', 'RCPT TO:<postmaster@example.net>', { global_messages: use(1) }],
  ]
  /** Notes what is charged and given back. @param taken called when the message has been charged */
  function watch(usage: Usage, taken: () => void = () => undefined) {
    const charged: string[] = []
    const back: unknown[] = []
    const others = limitsOf({})
    const limits: Partial<Limits> = {
      spare: (budget, who) => others.spare(budget, who),
      sparesLevel: () => true,
      take() {
        charged.push('message')
        taken()
        return usage
      },
      giveBack: (who, given, count) => void back.push([who, given, count]),
      recipient() {
        charged.push('recipient')
        return undefined
      },
    }
    return { ...converse(limits as Limits), charged, back }
  }

  test.each(CASES)('before it is counted, is not refused, counted or relayed: %s', async (_, line, usage) => {
    const { conversation, told, charged, back } = watch(usage)
    await mail(conversation)
    const reply = rcpt(conversation, line)
    await conversation.gone()
    expect(await reply).toBe('')
    expect([told, charged, back]).toEqual([[], [], []])
  })

  test.each(CASES)(
    'right after that, is not refused or relayed, and its charges are given back: %s',
    async (_, line, usage) => {
      let gone: Promise<unknown> | undefined
      const { conversation, told, charged, back } = watch(usage, () =>
        queueMicrotask(() => {
          gone = conversation.gone()
        }),
      )
      await mail(conversation)
      expect(await rcpt(conversation, line)).toBe('')
      expect(gone).toBeDefined()
      await gone
      expect(told).toEqual([])
      expect(charged.filter((each) => each === 'message')).toHaveLength(1)
      expect(back).toEqual([[client, usage, 0]])
    },
  )
})
