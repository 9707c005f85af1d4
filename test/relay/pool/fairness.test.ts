import { describe, expect, test } from '@jest/globals'
import { netOf } from '../../../src/core/ip.ts'
import { type Contention, type Holder, leastPace, shareOf, toGiveWay } from '../../../src/relay/pool/fairness.ts'
import { type State, Turn } from '../../../src/relay/pool/turn.ts'

const NOW = 100_000

interface Told {
  readonly source?: string
  readonly state?: State
  /** Milliseconds since its turn began. */
  readonly ms?: number
  /** In a text for so long, at so many octets a second. */
  readonly text?: { readonly ms: number; readonly pace: number }
}

function holder({ source = '203.0.113.66', state = 'client', ms = 0, text }: Told): Holder {
  const turn = new Turn(0)
  if (text === undefined) turn.enter(state, NOW - ms)
  else {
    turn.startText()
    turn.enter('client', NOW - text.ms)
    for (let at = NOW - text.ms; at <= NOW; at += 50) turn.part(text.pace / 20, at)
    if (state !== 'client') turn.enter(state, NOW)
  }
  return { source, net: netOf(source), slow: false, standing: 'new', turn, giveWay: () => undefined }
}

/** Who gives way, by their place in the list. */
function giveWay(holders: readonly Holder[], more: Partial<Contention> = {}): readonly number[] {
  const held = (source: string): number => holders.filter((each) => each.source === source).length
  const chosen = toGiveWay({
    holders,
    held,
    share: 1,
    waiting: 1,
    waitingBelowShare: more.waiting ?? 1,
    waitedMs: 0,
    now: NOW,
    ...more,
  })
  return chosen.map((each) => holders.indexOf(each))
}

describe('a connection that is only kept', () => {
  test('R49 goes at once to whoever waits, whoever that is; the one kept longest first, no more than are waited for', () => {
    const all = [
      holder({ state: 'parked', ms: 10 }),
      holder({ state: 'parked', ms: 30 }),
      holder({ state: 'parked', ms: 20 }),
    ]
    expect(giveWay(all, { share: 50, waitingBelowShare: 0 })).toEqual([1])
    expect(giveWay(all, { share: 50, waiting: 2, waitingBelowShare: 0 })).toEqual([1, 2])
    expect(giveWay(all, { share: 50, waiting: 9, waitingBelowShare: 0 })).toEqual([1, 2, 0])
  })
})

describe('a source that holds more than its share', () => {
  const silent = (ms: number): Holder => holder({ ms })
  const sending = (pace: number, ms = 300): Holder => holder({ text: { ms, pace } })

  test('gives back what is over it, the slowest first', () => {
    const all = [sending(520), silent(300), sending(260), silent(400)]
    expect(giveWay(all, { share: 3 })).toEqual([3])
    expect(giveWay(all, { share: 1, waiting: 9 })).toEqual([3, 1, 2])
  })

  test('gives back what a mail server is long about before the text, after five seconds, and what is past its dot never', () => {
    const asked = (ms: number): Holder => holder({ state: 'envelope', ms })
    expect(giveWay([asked(4900), asked(4900)])).toEqual([])
    expect(giveWay([asked(5000), asked(5100)])).toEqual([1])
    expect(giveWay([asked(300_000)], { share: 1 })).toEqual([])
    expect(giveWay([holder({ state: 'upstream', ms: 300_000 }), holder({ state: 'ours', ms: 300_000 })])).toEqual([])
  })

  test('only where somebody waits who has less than that', () => {
    expect(giveWay([silent(300), silent(400)], { waitingBelowShare: 0 })).toEqual([])
  })

  test('not before a client had the time of a round trip, and a good pace is borne for five seconds', () => {
    expect(giveWay([silent(200), sending(520, 200), sending(100_000, 3000)])).toEqual([])
    expect(giveWay([silent(200), sending(520, 200), sending(100_000, 5000)])).toEqual([2])
  })

  test('however quick its commands are, its transaction ends', () => {
    const quick: Holder = {
      source: '203.0.113.66',
      net: '203.0.113.0/24',
      slow: false,
      standing: 'new',
      turn: new Turn(0),
      giveWay: () => undefined,
    }
    for (let at = NOW - 6000; at < NOW; at += 200) {
      quick.turn.enter('client', at)
      quick.turn.enter('ours', at + 190)
    }
    quick.turn.enter('client', NOW - 10)
    expect(giveWay([quick, silent(0)])).toEqual([0])
  })

  test('what waits for the mail server or for us is never taken back', () => {
    const all = (['upstream', 'ours'] as const).flatMap((state) => [
      holder({ state, ms: 90_000 }),
      holder({ state, text: { ms: 60_000, pace: 1 } }),
    ])
    expect(giveWay(all, { waiting: 9, waitedMs: 9000 })).toEqual([])
  })
})

describe('a source within its share', () => {
  const others = (told: Omit<Told, 'source'>): Holder[] =>
    [1, 2, 3].map((i) => holder({ ...told, source: `192.0.2.${i}` }))

  test('keeps a transaction whose client is no later than a lost packet makes it', () => {
    expect(giveWay(others({ ms: 2400 }))).toEqual([])
    expect(giveWay(others({ ms: 2600 }))).toEqual([0])
  })

  test('gives nothing back to those who have their share and wait all the same', () => {
    const all = others({ ms: 60_000 })
    expect(giveWay(all, { waiting: 20, waitingBelowShare: 0, waitedMs: 9000 })).toEqual([])
    expect(giveWay(all, { waiting: 20, waitingBelowShare: 1, waitedMs: 9000 })).toEqual([0])
  })

  test('is done with its envelope after twenty seconds of its client, however quick each command is', () => {
    const steady = (commands: number): Holder => {
      const turn = new Turn(0)
      for (let i = 0; i < commands; i++) {
        turn.enter('client', NOW - (commands - i) * 450)
        turn.enter('upstream', NOW - (commands - i - 1) * 450)
      }
      turn.enter('client', NOW)
      return { source: '192.0.2.1', net: '192.0.2.0/24', slow: false, standing: 'new', turn, giveWay: () => undefined }
    }
    expect(giveWay([steady(44)])).toEqual([])
    expect(giveWay([steady(45)])).toEqual([0])
  })

  test('has two seconds for the first part of a text', () => {
    const silentText = (ms: number): Holder => {
      const turn = new Turn(0)
      turn.startText()
      turn.enter('client', NOW - ms)
      return { source: '192.0.2.1', net: '192.0.2.0/24', slow: false, standing: 'new', turn, giveWay: () => undefined }
    }
    expect(giveWay([silentText(1900)])).toEqual([])
    expect(giveWay([silentText(2000)])).toEqual([0])
  })

  test('keeps a text at the pace of a slow line, however long others wait', () => {
    expect(giveWay(others({ text: { ms: 20_000, pace: 10_000 } }), { waitedMs: 60_000 })).toEqual([])
  })

  test.each([
    [520, 0, 200],
    [1000, 350, 700],
    [4000, 1350, 1700],
  ])('a text of %i octets a second is not too slow after %i ms of waiting, and is after %i', (pace, kept, lost) => {
    const all = others({ text: { ms: 20_000, pace } })
    expect(giveWay(all, { waitedMs: kept })).toEqual([])
    expect(giveWay(all, { waitedMs: lost })).toEqual([0])
  })

  test('is not judged in the first second of its text', () => {
    expect(giveWay(others({ text: { ms: 900, pace: 10 } }), { waitedMs: 10_000 })).toEqual([])
  })
})

test('shares and paces', () => {
  expect([shareOf(50, 1), shareOf(50, 26), shareOf(50, 100), shareOf(0, 0)]).toEqual([50, 1, 1, 1])
  expect([0, 500, 1000, 2000, 60_000].map(leastPace)).toEqual([512, 1024, 2048, 8192, 8192])
})
