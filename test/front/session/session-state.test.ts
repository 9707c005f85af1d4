import { describe, expect, test } from '@jest/globals'
import { SessionState, type State } from '../../../src/front/session/session-state.ts'

let at = 0
const session = (idleMs = 300_000): SessionState =>
  new SessionState({ idleMs, minDataRate: 500, sessionMs: 7_200_000, elapsed: () => at })

describe('what is read off a state', () => {
  const STATES: [State, Partial<Record<'isOurs' | 'isPastDot' | 'isEnding' | 'isOver', true>>][] = [
    ['greeting', {}],
    ['command', {}],
    ['reply', { isOurs: true }],
    ['handshake', {}],
    ['text', {}],
    ['backlog', { isOurs: true }],
    ['dot', { isOurs: true, isPastDot: true }],
    ['left', { isOurs: true, isPastDot: true, isOver: true }],
    ['closing', { isEnding: true }],
    ['closed', { isEnding: true, isOver: true }],
  ]
  test.each(STATES)('%s', (state, expected) => {
    const now = session()
    now.goTo(state)
    const { isOurs, isPastDot, isEnding, isOver } = now
    const none = { isOurs: false, isPastDot: false, isEnding: false, isOver: false }
    expect({ isOurs, isPastDot, isEnding, isOver }).toEqual({ ...none, ...expected })
  })
})

test.each([
  [300_000, 'command', 300_000],
  [300_000, 'text', 300_000],
  [10_000, 'command', 10_000],
  [10_000, 'text', 60_000],
  [10_000, 'backlog', 60_000],
  [10_000, 'dot', 10_000],
] as const)('R34 with IDLE_TIMEOUT of %i ms, the patience in state %s is %i ms', (idleMs, state, expected) => {
  const now = session(idleMs)
  now.goTo(state)
  expect(now.patienceMs).toBe(expected)
})

describe('R13 the pace of a message', () => {
  test('begins with its text, and is not charged what the mail server takes', () => {
    at = 0
    const now = session()
    now.goTo('text')
    at = 299_000
    expect(now.part(1)).toBeUndefined()
    now.goTo('backlog')
    at = 3_000_000
    now.goTo('text')
    expect(now.part(1)).toBeUndefined()
    at = 3_002_000
    expect(now.part(1)).toBe('slow_data')
  })

  test('is that of one message: the next one has all of its time', () => {
    at = 0
    const now = session()
    for (let message = 0; message < 3; message++) {
      now.goTo('text')
      at += 299_000
      expect(now.part(1)).toBeUndefined()
      now.goTo('dot')
      at += 600_000
      now.goTo('command')
      now.goTo('reply')
    }
  })

  test('ends with the session', () => {
    at = 0
    const now = session()
    now.goTo('text')
    at = 7_200_001
    expect(now.part(10_000_000)).toBe('session_time')
  })
})

test('S7 a line that took longer than 5 s from its first part to its end is remembered', () => {
  at = 0
  const now = session()
  now.goTo('command')
  now.typing()
  at = 5001
  expect(now.typesSlowly).toBe(false)
  now.goTo('reply')
  expect(now.typesSlowly).toBe(true)
})
