/** The sessions of an explanation: those of several workers, which all have looked in the same Redis, are put together. */
import { expect, test } from '@jest/globals'
import { type SessionReport, SHOWN, sessionsOf, sessionsTogether } from '../../src/admin/sessions.ts'

const report = (id: string, fields: Partial<SessionReport> = {}): SessionReport => ({
  ...{ id, at: '2026-11-28T12:00:00.000Z', host: 'mx', ip: '192.0.2.1', standing: 'new', stage: 'rcpt', ...fields },
})
const AWAY = { redis: 'away', note: '' } as const
const ASKED = { redis: 'asked', note: '' } as const

test('each session is there once, the latest first, and checks in observe mode are counted anew', () => {
  const both = report('5', { observe: ['helo'], messages: [{ result: 'accepted', reply: '250 ok' }] })
  const first = sessionsOf([report('1', { observe: ['helo'] })], [both], AWAY)
  const second = sessionsOf([report('3', { observe: ['denied'] })], [both], ASKED)
  expect(sessionsTogether([first, second])).toEqual({
    refused: [report('3', { observe: ['denied'] }), report('1', { observe: ['helo'] })],
    served: [both],
    observed: [
      { check: 'denied', wouldRefuse: 1, accepted: 0 },
      { check: 'helo', wouldRefuse: 2, accepted: 1 },
    ],
    lookedIn: ASKED,
  })
})

test('no more are shown than of one', () => {
  const of = (begin: number) =>
    sessionsOf(
      Array.from({ length: SHOWN }, (_, i) => report(String(begin + i))),
      [],
      ASKED,
    )
  expect(sessionsTogether([of(100), of(110)]).refused).toHaveLength(SHOWN)
})
