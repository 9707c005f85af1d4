// The same bytes to every server there is, through Spillway: each sees one message for each 250 and none otherwise, and
// what it stores is what was sent. `npm run fuzz` goes on where this ends; how it is judged is test/fuzz/compare.ts.

import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { compare } from '../fuzz/compare.ts'
import { FORMS, SMUGGLED } from '../fuzz/forms.ts'
import { hunt } from '../fuzz/hunt.ts'
import { hasBareNewline } from '../fuzz/newline-rule.ts'
import { SENDERS, type Sender } from '../fuzz/senders.ts'
import type { Session } from '../fuzz/session.ts'
import { type Stage, startStage } from '../fuzz/stage.ts'
import type { Target } from '../fuzz/target.ts'
import { TARGETS } from '../fuzz/targets.ts'

const SEED = 20_261_122

/** One message, in one write or byte by byte. */
function sessionOf(message: string, cut: 'whole' | 'bytes'): Session {
  const line = (text: string) => ({ parts: [text], wait: true, ifAsked: false })
  const body = `${message}.\r\n`
  return {
    pieces: [
      line('EHLO client.example\r\n'),
      line('MAIL FROM:<sender@example.org>\r\n'),
      line('RCPT TO:<anna@example.test>\r\n'),
      line('DATA\r\n'),
      { parts: cut === 'whole' ? [body] : [...body], wait: true, ifAsked: true },
      line('QUIT\r\n'),
    ],
    leave: undefined,
  }
}

const smuggling = Object.values(FORMS).map((form) => `first${form}${SMUGGLED}`)
const SMUGGLERS = smuggling.flatMap((text, index) => [
  sessionOf(`X-Mark: whole-${index}\r\n\r\n${text}`, 'whole'),
  sessionOf(`X-Mark: bytes-${index}\r\n\r\n${text}`, 'bytes'),
])

/** With another header than the one that spares them the comparison with what the server makes of them directly. */
const BODIES = [
  '',
  '\r\n',
  '..\r\n',
  '..\r\n..\r\n',
  '..x\r\n.x\r\n',
  'From me\r\n',
  '\r\nFrom me\r\n',
  'caf\xe9 \xff\x80\r\n',
  'a\0b\r\n',
  '.\0\r\n..\0\r\n',
  ' blank\r\n\ttab \r\n\r\n\r\n',
  `${'l'.repeat(998)}\r\n`,
  `${'l'.repeat(999)}\r\n${'.'.repeat(2000)}\r\n${'l'.repeat(4097)}\r\n`,
].map((body) => `From: a@example.org\r\nSubject: direct\r\n\r\n${body}`)

describe.each(Object.entries(TARGETS))('%s', (name, startTarget) => {
  let target: Target
  const stages: Partial<Record<'normalize' | 'reject', Stage>> = {}
  const stageOf = (bareNewline: 'normalize' | 'reject'): Stage => stages[bareNewline] as Stage
  beforeAll(async () => {
    target = await startTarget()
    for (const bareNewline of ['normalize', 'reject'] as const) {
      stages[bareNewline] = await startStage(target, { bareNewline, clientIp: 'none', highWaterMark: 65_536 })
    }
  })
  afterAll(async () => {
    for (const stage of Object.values(stages)) await stage.abort()
    await target.stop()
  })

  test.each(['normalize', 'reject'] as const)(
    'R26 R27 %s: each smuggling form is one message or none, and never a second one',
    async (bareNewline) => {
      const { findings, transactions, accepted } = await compare(stageOf(bareNewline), SMUGGLERS)
      expect(findings).toEqual([])
      expect(transactions).toBe(SMUGGLERS.length)
      const taken = smuggling.filter((text) => bareNewline === 'normalize' || !hasBareNewline(text))
      // The scripted one refuses some, by lot.
      if (name !== 'scripted') expect(accepted).toBe(2 * taken.length)
      else expect(accepted).toBeGreaterThan(taken.length)
    },
  )

  test('R28 a message is stored as it is when it comes directly', async () => {
    const sessions = BODIES.flatMap((body) => [sessionOf(body, 'whole'), sessionOf(body, 'bytes')])
    const { findings, transactions, bodies } = await compare(stageOf('normalize'), sessions)
    expect(findings).toEqual([])
    expect(transactions).toBe(sessions.length)
    expect(bodies).toBeGreaterThan(sessions.length / 2)
  })

  test.each(Object.entries(SENDERS))(
    'R26 forms that %s has queued: one message for each 250 it hears',
    async (...given) => {
      const [, startSender] = given
      const stage = stageOf('normalize')
      const sender: Sender = await startSender(stage.port)
      try {
        const queued = await sender.queue(smuggling)
        expect(queued).toBeGreaterThanOrEqual(smuggling.length)
        const heard = (await sender.send(queued)).map((reply) => target.idOf(reply))
        await target.settled()
        const delivered = target.collect().map(({ id }) => id)
        expect(delivered.sort()).toEqual(heard.filter((id) => id !== undefined).sort())
        if (name !== 'scripted') expect(delivered).toHaveLength(queued)
        expect((await stage.results()).accepted).toBe(delivered.length)
      } finally {
        await sender.stop()
      }
    },
  )

  test('any sessions at all', async () => {
    let accepted = 0
    const found = await hunt({
      seed: SEED,
      runs: 5,
      target,
      variant: { bareNewline: 'normalize', clientIp: 'received', highWaterMark: 16 },
      shrinkMs: 5000,
      done: (_, comparison) => {
        accepted += comparison.accepted
      },
      first: () => undefined,
      stopped: () => false,
    })
    expect(found).toBeUndefined()
    expect(accepted).toBeGreaterThan(0)
  })
})
