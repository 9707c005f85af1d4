/** The pool with the values it ships with, and a clock that is moved by hand. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Standing } from '../../../src/core/client.ts'
import { netOf } from '../../../src/core/ip.ts'
import { GROW_MS } from '../../../src/overload/strangers-part.ts'
import type { Holder } from '../../../src/relay/pool/fairness.ts'
import type { NoUpstream } from '../../../src/relay/pool/no-upstream.ts'
import type { Server } from '../../../src/relay/pool/server.ts'
import type { Slot } from '../../../src/relay/pool/slot.ts'
import type { Slots } from '../../../src/relay/pool/slots.ts'
import { Turn } from '../../../src/relay/pool/turn.ts'
import { elapsed, serverAt, slotsOf } from './pool.ts'

beforeEach(() => {
  jest.useFakeTimers()
})
afterEach(() => {
  jest.useRealTimers()
})

let servers: Server[]
let slots: Slots
/** The most connections to each server; may be changed. */
let most: number
/** The share that is kept for whoever is not a stranger; may be changed. */
let kept = 0
function pool(max: number, count = 1, waiting = 1000): void {
  most = max
  kept = 0
  servers = Array.from({ length: count }, (_, i) => serverAt(`192.0.2.${i + 1}`))
  slots = slotsOf({ servers: () => servers, reserve: () => kept, max: () => most, waiting })
}

interface Client extends Holder {
  readonly turn: Turn
  /** Whether it was made to give way. */
  lost: boolean
  slot: Slot | undefined
  /** What came of waiting: the reason of the refusal, or undefined. */
  refused: string | undefined
}
/** Somebody who wants a slot; a pending one is in nobody's way. */
function client(
  source: string,
  { slow = false, standing = 'new' as Standing, avoid = undefined as Server | undefined } = {},
): Client {
  const it: Client = {
    source,
    net: netOf(source),
    slow,
    standing,
    turn: new Turn(elapsed()),
    lost: false,
    slot: undefined,
    refused: undefined,
    giveWay() {
      it.lost = true
      it.slot?.free()
    },
  }
  slots.take(it, avoid).then(
    (slot) => {
      it.slot = slot
    },
    (error: NoUpstream) => {
      it.refused = error.why
    },
  )
  return it
}
const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms)
const has = ({ slot, lost }: Client): boolean => slot !== undefined && !lost
const sources = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `198.51.${100 + (i >> 8)}.${i & 255}`)

/** Sources in as many networks. */
const networks = (count: number): string[] => Array.from({ length: count }, (_, i) => `100.64.${i}.1`)

describe('slots', () => {
  test('go to the server with the fewest connections', async () => {
    pool(50, 3)
    const all = sources(9).map((each) => client(each))
    await pass(0)
    expect(servers.map(({ connections }) => connections)).toEqual([3, 3, 3])
    const freed = all[4]?.slot
    freed?.free()
    const next = client('203.0.113.1')
    await pass(0)
    expect(next.slot?.server).toBe(freed?.server)
  })

  test('are to be had at no server that has more connections than it may have by now', async () => {
    pool(4, 2)
    const all = sources(6).map((each) => client(each))
    await pass(0)
    expect(servers.map(({ connections }) => connections)).toEqual([3, 3])
    most = 2
    const beside = slots.takeBeside(servers[0] as Server, {
      source: '203.0.113.1',
      net: '203.0.113.0/24',
      slow: false,
      standing: 'new' as const,
      turn: new Turn(elapsed()),
      giveWay: () => undefined,
    })
    expect(beside).toBeUndefined()
    // One of three comes free where two are the most: still none for the next.
    const next = client('203.0.113.1')
    all[0]?.slot?.free()
    await pass(0)
    expect(next.slot).toBeUndefined()
    for (const each of all.filter(({ slot }) => slot?.server === all[0]?.slot?.server)) each.slot?.free()
    await pass(0)
    expect(next.slot?.server).toBe(all[0]?.slot?.server)
  })

  test('of a slow server are for those who find no room elsewhere', async () => {
    pool(2, 2)
    servers[0]?.become('slow', 'greets after 20 seconds')
    const all = sources(4).map((each) => client(each))
    await pass(0)
    expect(all.map(({ slot }) => slot?.server.host)).toEqual(['192.0.2.2', '192.0.2.2', '192.0.2.1', '192.0.2.1'])
    const [slow, quick] = servers as [Server, Server]
    const nobody = {
      source: '192.0.2.9',
      net: '192.0.2.0/24',
      slow: false,
      standing: 'new' as const,
      turn: new Turn(0),
      giveWay: () => undefined,
    }
    const beside = (server: Server) => slots.takeBeside(server, nobody)
    expect([beside(slow), beside(quick)]).toEqual([undefined, undefined])
    all[0]?.slot?.free()
    all[2]?.slot?.free()
    expect(beside(quick)).toBeUndefined()
    expect(beside(slow)?.server).toBe(quick)
    expect(beside(slow)).toBeUndefined()
  })

  test('are freed once, however often that is said', async () => {
    pool(50)
    const [one, two] = [client('192.0.2.1'), client('192.0.2.1')]
    await pass(0)
    one.slot?.free()
    one.slot?.free()
    expect(servers[0]?.connections).toBe(1)
    two.slot?.free()
    expect(servers[0]?.connections).toBe(0)
  })

  test('that are all taken are waited for, in turn, for ten seconds: then 451 upstream_full', async () => {
    pool(1)
    const taken = client('203.0.113.9')
    const [first, second] = [client('192.0.2.1'), client('192.0.2.2')]
    await pass(9900)
    taken.slot?.free()
    await pass(0)
    expect([has(first), has(second)]).toEqual([true, false])
    await pass(200)
    expect(second.refused).toBe('upstream_full')
  })

  test('a waiter who must not have the free server holds up nobody behind it', async () => {
    pool(1, 2)
    const [one, two] = [client('192.0.2.1'), client('192.0.2.2')]
    await pass(0)
    const picky = client('192.0.2.3', { avoid: one.slot?.server })
    const easy = client('192.0.2.4')
    one.slot?.free()
    await pass(0)
    expect(easy.slot?.server).toBe(one.slot?.server)
    two.slot?.free()
    await pass(0)
    expect(picky.slot?.server).toBe(two.slot?.server)
  })

  test('those who wait hear upstream_down at once when the last server goes', async () => {
    pool(1)
    client('203.0.113.9')
    const waiting = client('192.0.2.1')
    await pass(0)
    servers[0]?.become('down', 'gone')
    slots.serve()
    await pass(0)
    expect(waiting.refused).toBe('upstream_down')
  })

  test('a slot that is not wanted any more is not waited for', async () => {
    pool(1)
    client('203.0.113.9')
    const gone = slots.take(client('203.0.113.9'), undefined, () => AbortSignal.abort('gone'))
    await expect(gone).rejects.toThrow('upstream_full')
  })
})

describe('places to wait', () => {
  test('are bounded, and one source has a quarter of them: the next hears 451 at once', async () => {
    pool(1, 1, 40)
    client('203.0.113.9')
    const greedy = Array.from({ length: 11 }, () => client('203.0.113.66'))
    await pass(0)
    expect(greedy.map(({ refused }) => refused)).toEqual([...Array(10).fill(undefined), 'upstream_full'])
  })

  test('where there are none left, who has the most gives one up for a newcomer', async () => {
    pool(1, 1, 8)
    client('203.0.113.9')
    const crowd = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'].flatMap((each) => [client(each), client(each)])
    const newcomers = sources(5).map((each) => client(each))
    await pass(0)
    expect(crowd.filter(({ refused }) => refused !== undefined)).toHaveLength(4)
    expect(newcomers.map(({ refused }) => refused)).toEqual([...Array(4).fill(undefined), 'upstream_full'])
  })
})

describe('what comes free', () => {
  test('goes to the source that holds the fewest, and among equals to who came first', async () => {
    pool(3)
    const greedy = Array.from({ length: 3 }, () => client('203.0.113.66'))
    const again = client('203.0.113.66')
    const honest = [client('192.0.2.1'), client('192.0.2.2')]
    await pass(0)
    greedy[0]?.slot?.free()
    greedy[1]?.slot?.free()
    await pass(0)
    expect([has(again), ...honest.map(has)]).toEqual([false, true, true])
    greedy[2]?.slot?.free()
    await pass(0)
    expect(has(again)).toBe(true)
  })

  test('of the last tenth, does not go to a source that has its share, even if it is alone', async () => {
    pool(50)
    const greedy = Array.from({ length: 50 }, () => client('203.0.113.66'))
    await pass(0)
    // It waits for its own: past their dot, messages cannot be asked back.
    for (const each of greedy) each.turn.enter('upstream', elapsed())
    expect(greedy.filter(has).length).toBe(45)
    const honest = sources(4).map((each) => client(each))
    await pass(0)
    expect(honest.every(has)).toBe(true)
    greedy[0]?.slot?.free()
    await pass(0)
    expect(greedy.filter(has).length).toBe(45)
  })
})

describe('clients that type slowly', () => {
  test('S7 never hold more than a quarter of the slots together; the others find theirs without a wait', async () => {
    pool(20)
    const slow = sources(6).map((each) => client(each, { slow: true }))
    const fast = Array.from({ length: 15 }, (_, i) => client(`192.0.2.${i}`))
    await pass(0)
    expect(slow.filter(has).length).toBe(5)
    expect(slow[5]?.refused).toBe('upstream_full')
    expect(fast.every(has)).toBe(true)
  })

  test('S7 are one at least, also where there is one slot only', async () => {
    pool(1)
    const [one, two] = [client('192.0.2.1', { slow: true }), client('192.0.2.2', { slow: true })]
    await pass(0)
    expect([has(one), two.refused]).toEqual([true, 'upstream_full'])
  })
})

describe('with the shipped values and 50 slots', () => {
  const sendsAt = (rate: number) => {
    return (each: Client): void => {
      if (!has(each)) return
      if (each.turn.textMs(elapsed()) === undefined) {
        each.turn.startText()
        each.turn.enter('client', elapsed())
      } else each.turn.part(rate / 20, elapsed())
    }
  }
  /** Time passes, and in each 50 ms `each` is done with every holder. */
  const goOn = async (ms: number, all: readonly Client[], each: (client: Client) => void): Promise<void> => {
    for (let at = 0; at < ms; at += 50) {
      all.forEach(each)
      await pass(50)
    }
  }

  test.each([
    ['one address, 520 octets a second each', 1, 520],
    ['25 addresses, 260 octets a second each', 25, 260],
    ['50 addresses, 520 octets a second each', 50, 520],
    ['200 addresses that come back, 4000 octets a second each', 200, 4000],
    ['one address, at full speed and without an end', 1, 1_000_000],
  ])('S7 slots held in DATA by %s: an honest client is served in time', async (_, addresses, rate) => {
    pool(50)
    const from = sources(addresses)
    const attackers = Array.from({ length: 50 }, (_, i) => client(from[i % addresses] as string))
    await goOn(5000, attackers, sendsAt(rate))
    let comesBack = 50
    for (let i = 0; i < 20; i++) {
      const honest = client(`192.0.2.${i}`)
      const started = elapsed()
      while (!has(honest) && elapsed() - started < 4000) {
        await goOn(50, attackers, sendsAt(rate))
        for (const each of attackers.splice(0)) {
          const isGone = each.lost || each.refused !== undefined
          attackers.push(isGone ? client(from[comesBack++ % addresses] as string) : each)
        }
      }
      expect(elapsed() - started).toBeLessThanOrEqual(2000)
      await pass(100)
      honest.slot?.free()
    }
  })

  test('ten addresses whose mail servers do not answer RCPT leave room for others in time', async () => {
    pool(50)
    const from = sources(10)
    const held = Array.from({ length: 50 }, (_, i) => client(from[i % 10] as string))
    await pass(0)
    for (const each of held) each.turn.enter('envelope', elapsed())
    await pass(6000)
    const honest = Array.from({ length: 20 }, (_, i) => client(`192.0.2.${i}`))
    await pass(1000)
    expect(honest.every(has)).toBe(true)
    // No more than what is wanted: the others keep theirs.
    expect(held.filter(({ lost }) => lost).length).toBeLessThanOrEqual(20)
  })

  test('one that toggles MAIL, RCPT, 4 s, RSET on four connections holds up nobody for more than a second', async () => {
    pool(2)
    const toggler = Array.from({ length: 4 }, () => client('203.0.113.66'))
    await pass(0)
    const silent = (): void => {
      for (const each of toggler) if (has(each) && each.turn.state === 'ours') each.turn.enter('client', elapsed())
    }
    for (let i = 0; i < 10; i++) {
      silent()
      await pass(1300)
      const honest = client('192.0.2.1')
      await pass(500)
      expect(has(honest)).toBe(true)
      honest.slot?.free()
      toggler.splice(0, 4, ...toggler.map((each) => (has(each) || !each.lost ? each : client('203.0.113.66'))))
      await pass(0)
    }
  })
})

describe('slots that are kept for friends', () => {
  const stranger = (source: string): Client => client(source)
  const friend = (source: string): Client => client(source, { standing: 'known' })

  test('strangers never hold more than the rest, however many they are, and friends find theirs at once', async () => {
    pool(10)
    kept = 0.3
    const strangers = networks(20).map(stranger)
    await pass(0)
    expect(strangers.filter(has)).toHaveLength(7)
    const friends = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map(friend)
    await pass(0)
    expect(friends.every(has)).toBe(true)
    // What a friend gives back goes to a friend.
    friends[0]?.slot?.free()
    await pass(0)
    expect(strangers.filter(has)).toHaveLength(7)
    const late = friend('192.0.2.4')
    await pass(0)
    expect(has(late)).toBe(true)
    // What a stranger gives back goes to the next stranger.
    strangers.find(has)?.slot?.free()
    await pass(0)
    expect(strangers.filter(({ slot }) => slot !== undefined)).toHaveLength(8)
  })

  test('strangers of one network hold half of what the others leave, and those of another find theirs at once', async () => {
    pool(50)
    kept = 0.3
    const crowd = sources(40).map(stranger)
    await pass(0)
    expect(crowd.filter(has)).toHaveLength(17)
    const others = networks(5).map(stranger)
    await pass(0)
    expect(others.every(has)).toBe(true)
    expect(slots.takeBeside(servers[0] as Server, crowd[0] as Client)).toBeUndefined()
    // It has 15 by now; what it gives back beyond that goes to nobody of it.
    crowd[0]?.slot?.free()
    await pass(0)
    expect(crowd.filter(({ slot }) => slot !== undefined)).toHaveLength(17)
    // As it is shipped, nothing is kept while no friend is known, and so nothing is kept from one provider's network.
    kept = 0
    others[0]?.slot?.free()
    await pass(0)
    expect(crowd.filter(({ slot }) => slot !== undefined)).toHaveLength(40)
  })

  test('a crowd that only waits for itself has its lifeless clients give way', async () => {
    pool(10)
    kept = 0.3
    const crowd = sources(4).map(stranger)
    await pass(0)
    expect(crowd.filter(has)).toHaveLength(3)
    for (const each of crowd.slice(0, 3)) each.turn.enter('client', elapsed())
    await pass(3000)
    expect(crowd.map(has)).toEqual([false, true, true, true])
  })

  test('a stranger gets none beside the server that keeps it waiting, while strangers hold theirs', async () => {
    pool(10, 2)
    kept = 0.3
    const strangers = networks(20).map(stranger)
    await pass(0)
    expect(strangers.filter(has)).toHaveLength(14)
    const [one] = strangers
    expect(slots.takeBeside(servers[0] as Server, one as Client)).toBeUndefined()
    const [late] = ['192.0.2.1'].map(friend)
    await pass(0)
    expect(slots.takeBeside(servers[0] as Server, late as Client)).toBeDefined()
  })

  test('a friend is not held up by a stranger of its own network that came before it', async () => {
    pool(2)
    kept = 0.5
    const [holds, known] = [stranger('198.51.100.1'), friend('192.0.2.1')]
    await pass(0)
    const waits = [stranger('2001:db8::/48'), friend('2001:db8::/48')] as const
    known.slot?.free()
    await pass(0)
    expect([holds, ...waits].map(has)).toEqual([true, false, true])
  })

  test('friends may hold all of them, and strangers then hear that there is none', async () => {
    pool(4)
    kept = 0.3
    const friends = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'].map(friend)
    const late = stranger('198.51.100.1')
    await pass(10_000)
    expect(friends.every(has)).toBe(true)
    expect(late.refused).toBe('upstream_full')
  })

  test('what strangers of its network hold does not put a friend behind other strangers', async () => {
    pool(10)
    kept = 0.3
    const beside = [...sources(2), ...networks(5)].map(stranger)
    const friends = ['192.0.2.1', '192.0.2.2', '192.0.2.3'].map(friend)
    await pass(0)
    expect([...beside, ...friends].every(has)).toBe(true)
    const [known] = [friend('198.51.100.200'), stranger('203.0.113.1')]
    beside[0]?.slot?.free()
    await pass(0)
    expect(known.slot).toBeDefined()
  })

  test('a stranger gets the one slot there is', async () => {
    pool(1)
    kept = 0.3
    const only = stranger('198.51.100.1')
    await pass(0)
    expect(has(only)).toBe(true)
  })

  /** Messages of known senders show that what strangers hold of this server slows them down. */
  function slowDown({ strangers }: Server): void {
    const dots = (): ReturnType<typeof strangers.sent>[] =>
      Array.from({ length: 20 }, (_, i) => strangers.sent(`198.18.${i}.0/24`))
    const { held } = strangers
    strangers.held = 0
    for (const dot of dots()) strangers.accepted(dot, 0)
    strangers.held = held
    const late = dots()
    jest.advanceTimersByTime(1000)
    for (const dot of late) strangers.accepted(dot, 0)
  }

  test('where strangers slow known senders down they hold no more than a few, and friends what they want', async () => {
    pool(50)
    kept = 0.3
    const first = networks(35).map(stranger)
    await pass(0)
    expect(first.filter(has)).toHaveLength(35)
    slowDown(servers[0] as Server)
    await pass(500)
    const late = networks(40).slice(35).map(stranger)
    for (const each of first.slice(0, 27)) each.slot?.free()
    await pass(100)
    expect(late.filter(has)).toHaveLength(0)
    // What they may not hold is no capacity at present: 50 − (35 − 8).
    expect(slots.load(5000).slots).toBe(23)
    const friends = sources(10).map((_, i) => friend(`203.0.113.${i}`))
    await pass(0)
    expect(friends.every(has)).toBe(true)
    first[27]?.slot?.free()
    await pass(0)
    expect(late.filter(has)).toHaveLength(1)
    // With time they may hold more, also if nothing comes free.
    await pass(GROW_MS - 700)
    expect(late.filter(has)).toHaveLength(1)
    await pass(200)
    expect(late.filter(has)).toHaveLength(5)
  })

  test('they wait, and no friend that is parked gives way to them', async () => {
    pool(50)
    kept = 0.3
    const parked = friend('192.0.2.1')
    const strangers = networks(35).map(stranger)
    await pass(0)
    parked.turn.enter('parked', elapsed())
    for (const each of strangers) each.turn.enter('upstream', elapsed())
    strangers.pop()?.slot?.free()
    slowDown(servers[0] as Server)
    const late = stranger('198.51.200.1')
    await pass(2000)
    expect([parked.lost, has(late), late.refused]).toEqual([false, false, undefined])
  })

  test('they go to the server that they do not slow down, whatever else has room', async () => {
    pool(50, 2)
    kept = 0.3
    const strangers = networks(40).map(stranger)
    await pass(0)
    const [slowed, other] = servers as [Server, Server]
    slowDown(slowed)
    for (const each of strangers) if (each.slot?.server === slowed) each.slot.free()
    const late = networks(60).slice(40).map(stranger)
    await pass(0)
    expect(late.filter(has)).toHaveLength(20)
    expect([slowed, other].map(({ strangers: { held } }) => held)).toEqual([5, 35])
    const [one] = late as [Client]
    expect(slots.takeBeside(other, one)).toBeUndefined()
    // While nothing is kept for friends, nothing is kept from strangers.
    kept = 0
    expect(slots.takeBeside(other, one)).toBeDefined()
  })

  test('a friend that is parked does not give way to strangers who could not use its slot', async () => {
    pool(4)
    kept = 0.5
    const parked = friend('192.0.2.1')
    const strangers = networks(3).map(stranger)
    await pass(0)
    parked.turn.enter('parked', elapsed())
    for (const each of strangers) each.turn.enter('upstream', elapsed())
    await pass(2000)
    expect(parked.lost).toBe(false)
    expect(strangers.filter(has)).toHaveLength(2)
    // Once a friend waits, it does.
    const friends = ['192.0.2.2', '192.0.2.3'].map(friend)
    await pass(200)
    expect(parked.lost).toBe(true)
    expect(friends.every(has)).toBe(true)
  })

  test('how busy the pool is: by neighbourhood, slots in use without the parked ones, and clients that wait', async () => {
    pool(3, 2)
    const all = [...sources(7), '203.0.113.1'].map(stranger)
    await pass(0)
    const wanted = (): number[] => [...slots.load(5000).wanted]
    expect(slots.load(5000).slots).toBe(6)
    expect(wanted()).toEqual([7, 1])
    expect(slots.load(5000).servers).toEqual([
      { upstream: servers[0]?.label, slots: 3, dotMs: undefined },
      { upstream: servers[1]?.label, slots: 3, dotMs: undefined },
    ])
    all[0]?.turn.enter('parked', elapsed())
    expect(wanted()).toEqual([6, 1])
    for (const each of all) each.slot?.free()
    await pass(0)
    expect(wanted()).toEqual([1, 1])
    servers[0]?.become('down', 'gone')
    expect(slots.load(5000).servers).toHaveLength(1)
  })
})
