import { describe, expect, test } from '@jest/globals'
import { Turn } from '../../../src/relay/pool/turn.ts'

describe('how late a client is with its commands', () => {
  test('only on its own turn, and only by what is more than a round trip needs', () => {
    const turn = new Turn(0)
    expect(turn.lateMs(60_000)).toBe(0)
    turn.enter('client', 1000)
    expect([turn.lateMs(1500), turn.lateMs(1600), turn.lateMs(4000)]).toEqual([0, 100, 2500])
    turn.enter('upstream', 4000)
    expect(turn.lateMs(90_000)).toBe(0)
  })

  test('what each command took too long adds up, until the transaction is over', () => {
    const turn = new Turn(0)
    for (let command = 0; command < 5; command++) {
      turn.enter('client', command * 1000)
      turn.enter('ours', command * 1000 + 900)
    }
    turn.enter('client', 5000)
    expect(turn.lateMs(5000)).toBe(2000)
    expect(turn.clientMs(5100)).toBe(4600)
    turn.reset()
    expect([turn.lateMs(5400), turn.clientMs(5100)]).toEqual([0, 100])
  })

  test('a client that is quick with every one of many commands is never late', () => {
    const turn = new Turn(0)
    for (let command = 0; command < 1000; command++) {
      turn.enter('client', command * 500)
      expect(turn.lateMs(command * 500 + 400)).toBe(0)
      turn.enter('upstream', command * 500 + 400)
    }
  })
})

describe('the pace of a text', () => {
  const started = (): Turn => {
    const turn = new Turn(0)
    turn.startText()
    turn.enter('client', 0)
    return turn
  }

  test.each([520, 8192, 1_000_000])(
    'of %i octets a second is told as that, soon and for as long as it lasts',
    (rate) => {
      const turn = started()
      for (let ms = 50; ms <= 60_000; ms += 50) {
        turn.part(rate / 20, ms)
        if (ms >= 250) expect(turn.pace(ms) / rate).toBeGreaterThan(0.9)
        if (ms >= 250) expect(turn.pace(ms) / rate).toBeLessThan(1.2)
      }
    },
  )

  test('fades when nothing more comes: a burst is no lasting life', () => {
    const turn = started()
    turn.part(65_536, 10)
    expect(turn.pace(1000)).toBeGreaterThan(20_000)
    expect(turn.pace(5000)).toBeLessThan(600)
    expect(turn.pace(10_000)).toBeLessThan(5)
  })

  test('the time that the mail server takes is not the client’s', () => {
    const turn = started()
    for (let ms = 100; ms <= 2000; ms += 100) turn.part(1000, ms)
    const before = turn.pace(2000)
    turn.enter('upstream', 2000)
    expect(turn.pace(30_000)).toBeCloseTo(before)
    turn.enter('client', 30_000)
    expect(turn.pace(30_000)).toBeCloseTo(before)
    expect(turn.textMs(31_000)).toBe(3000)
  })

  test('there is none without a text, nor in its first moment', () => {
    expect(new Turn(0).pace(1000)).toBe(0)
    expect(started().pace(0)).toBe(0)
    expect(new Turn(0).textMs(1000)).toBeUndefined()
  })
})
