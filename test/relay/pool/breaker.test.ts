/** A mail server that answers, and accepts nothing: through the relay, with the values it ships with, by a clock that is moved. */
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Standing } from '../../../src/core/client.ts'
import { SYSTEM_CLOCK } from '../../../src/core/clock.ts'
import { netOf } from '../../../src/core/ip.ts'
import { Breaker, FAULT, NETS, OPENS_MS, PROBE_MS } from '../../../src/relay/pool/breaker.ts'
import type { Server } from '../../../src/relay/pool/server.ts'
import type { Slot } from '../../../src/relay/pool/slot.ts'
import type { Slots } from '../../../src/relay/pool/slots.ts'
import { Turn } from '../../../src/relay/pool/turn.ts'
import type { Script, Upstream } from '../../support/upstream.ts'
import { send } from '../relays.ts'
import { relays, start, stopAfterEach, upstream } from '../scene.ts'
import { elapsed, serverAt, slotsOf } from './pool.ts'

describe('a breaker', () => {
  let now: number
  let changes: boolean[]
  let breaker: Breaker
  let isAnotherWell: boolean
  beforeEach(() => {
    now = 0
    changes = []
    isAnotherWell = true
    breaker = new Breaker({
      now: () => 1e12 + now,
      elapsed: () => now,
      changed: (isOpen) => changes.push(isOpen),
      isAnotherWell: () => isAnotherWell,
    })
  })
  const fail = (nets: number): void => {
    for (let i = 0; i < nets; i++) breaker.failed(`198.51.${i}.0/24`)
  }

  test('opens when clients of five neighbourhoods were put off over ten seconds', () => {
    fail(NETS)
    now = OPENS_MS - 1
    fail(NETS)
    expect([breaker.isOpen, breaker.fault]).toEqual([false, undefined])
    now = OPENS_MS
    fail(1)
    fail(1)
    expect(changes).toEqual([true])
    expect(breaker.fault).toEqual({ since: 1e12 + OPENS_MS, error: FAULT })
  })

  test('is opened by no fewer, however often they come', () => {
    for (now = 0; now < 10 * OPENS_MS; now += 1000) fail(NETS - 1)
    expect(changes).toEqual([])
  })

  test('stays closed while anything is accepted, and closes with the first message that is', () => {
    for (now = 0; now < 10 * OPENS_MS; now += 1000) {
      fail(NETS)
      if (now % 9000 === 0) breaker.accepted()
    }
    expect(changes).toEqual([])
    now += 1000
    fail(1)
    now += OPENS_MS
    fail(NETS)
    breaker.accepted()
    breaker.accepted()
    fail(NETS)
    expect([changes, breaker.isOpen, breaker.fault]).toEqual([[true, false], false, undefined])
  })

  test('is in force while another server is well', () => {
    fail(NETS)
    expect(breaker.isInForce).toBe(false)
    now = OPENS_MS
    fail(NETS)
    expect([breaker.isOpen, breaker.isInForce]).toEqual([true, true])
    isAnotherWell = false
    now += PROBE_MS
    expect([breaker.isOpen, breaker.isInForce, breaker.isDue]).toEqual([true, false, false])
  })

  test('is due for a probe after five seconds, and wants a friend after ten', () => {
    fail(NETS)
    now = OPENS_MS
    fail(NETS)
    const wants = () => [breaker.isDue, breaker.wants(false), breaker.wants(true)]
    now += PROBE_MS - 1
    expect(wants()).toEqual([false, false, false])
    now++
    expect(wants()).toEqual([true, true, false])
    now += PROBE_MS
    expect(wants()).toEqual([true, true, true])
    breaker.probed()
    expect(wants()).toEqual([false, false, false])
  })
})

describe('of slots, where one server is broken', () => {
  let servers: readonly [Server, Server]
  let used: readonly Server[]
  let slots: Slots
  beforeEach(() => {
    jest.useFakeTimers()
    used = []
    servers = [serverAt('192.0.2.1', () => used), serverAt('192.0.2.2', () => used)]
  })
  afterEach(() => {
    slots.stop()
    jest.useRealTimers()
  })
  const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms)
  /** The first server breaks. */
  async function broken(those: readonly Server[]): Promise<void> {
    used = those
    slots = slotsOf({ servers: () => used, max: ({ limit }) => limit * 10, reserve: () => 0, waiting: 1000 })
    await breaks()
  }
  async function breaks(): Promise<void> {
    for (const ms of [0, OPENS_MS]) {
      await pass(ms)
      for (let i = 0; i < NETS; i++) servers[0].breaker.failed(`203.0.${i}.0/24`)
    }
  }
  let clients = 0
  /** Where a client came to; undefined: it waits, or was refused. */
  function client(standing: Standing): { slot?: Slot } {
    const source = `198.51.${clients++ % 256}.1`
    const it: { slot?: Slot } = {}
    const turn = new Turn(elapsed())
    slots.take({ source, net: netOf(source), slow: false, standing, turn, giveWay: () => undefined }).then(
      (slot) => {
        it.slot = slot
      },
      () => undefined,
    )
    return it
  }
  async function hostsOf(...standings: readonly Standing[]): Promise<(string | undefined)[]> {
    const all = standings.map((standing) => client(standing))
    await pass(0)
    return all.map(({ slot }) => slot?.server.host)
  }

  test('it gets one stranger each five seconds, and a friend only after ten', async () => {
    await broken(servers)
    expect(await hostsOf('new', 'new', 'known')).toEqual(['192.0.2.2', '192.0.2.2', '192.0.2.2'])
    await pass(PROBE_MS)
    expect(await hostsOf('known', 'new', 'new')).toEqual(['192.0.2.2', '192.0.2.1', '192.0.2.2'])
    // Whichever of the two is looked at first.
    for (const others of [0, 1]) {
      await pass(PROBE_MS)
      await hostsOf(...new Array<Standing>(others).fill('known'))
      expect(await hostsOf('new', 'new')).toEqual(['192.0.2.1', '192.0.2.2'])
    }
    await pass(2 * PROBE_MS)
    expect(await hostsOf('seen', 'new')).toEqual(['192.0.2.1', '192.0.2.2'])
  })

  test('nobody goes there from a server that hangs', async () => {
    await broken(servers)
    await pass(2 * PROBE_MS)
    const holder = { source: '198.51.100.1', net: '198.51.100.0/24', slow: false, standing: 'new' as const }
    const turn = new Turn(0)
    expect(slots.takeBeside(servers[1], { ...holder, turn, giveWay: () => undefined })).toBeUndefined()
  })

  test('where no other is well, nobody is kept from it', async () => {
    await broken([servers[0]])
    expect(await hostsOf('new', 'known', 'new')).toEqual(new Array(3).fill('192.0.2.1'))
    used = servers
    expect(await hostsOf('new', 'known')).toEqual(new Array(2).fill('192.0.2.2'))
    servers[1].become('down', 'it hangs')
    expect(await hostsOf('new', 'known')).toEqual(new Array(2).fill('192.0.2.1'))
  })

  /** The other server has no room. */
  async function full(): Promise<void> {
    await broken(servers)
    expect(await hostsOf(...new Array<Standing>(10).fill('known'))).not.toContain('192.0.2.1')
  }

  test('where the other is full, one that waits goes there, even if the probe before it still hangs', async () => {
    await full()
    const all = [client('new'), client('known'), client('new')]
    const served = (): number => all.filter(({ slot }) => slot !== undefined).length
    await pass(PROBE_MS - 200)
    expect(served()).toBe(0)
    await pass(400)
    expect([served(), all[1]?.slot?.server.host]).toEqual([1, '192.0.2.1'])
    const next = client('new')
    await pass(PROBE_MS)
    expect([served(), next.slot?.server.host]).toEqual([1, '192.0.2.1'])
    servers[0].breaker.accepted()
    expect(await hostsOf('new', 'new', 'new')).toEqual(['192.0.2.1', '192.0.2.1', '192.0.2.1'])
  })

  test('nobody who comes just when a probe is due gets it before those who wait', async () => {
    await full()
    // The queue is looked at every 100 ms from here on, and so not when the probe is due.
    await pass(50)
    const known = client('known')
    await pass(PROBE_MS - 50)
    expect(servers[0].breaker.isDue).toBe(true)
    const late = client('new')
    await pass(0)
    expect([known, late].map(({ slot }) => slot?.server.host)).toEqual(['192.0.2.1', undefined])
  })

  describe('and a part is kept for friends', () => {
    const CONNECTIONS = 10
    const keep = (): void => {
      used = servers
      const max = ({ breaker }: Server): number => (breaker.isInForce ? 1 : CONNECTIONS)
      slots = slotsOf({ servers: () => used, max, reserve: () => 0.3, waiting: 1000 })
    }

    test('strangers whose probes hang keep no other stranger from finding that it is back', async () => {
      keep()
      await hostsOf(...new Array<Standing>(14).fill('new'))
      await breaks()
      for (let i = 0; i < 3; i++) {
        const next = client('new')
        await pass(PROBE_MS)
        expect(next.slot?.server.host).toBe('192.0.2.1')
      }
    })

    test.each<[string, () => unknown, number]>([
      // Of its one connection and ten others they may hold seven.
      ['broken', breaks, 6],
      ['down', () => servers[0].become('down', 'it hangs'), 7],
    ])(
      'what strangers hold of a server that is %s is not taken from their part of another',
      async (_, happens, most) => {
        keep()
        const hanging = Array.from({ length: 14 }, () => client('new'))
        await pass(0)
        await happens()
        for (const { slot } of hanging) if (slot?.server === servers[1]) slot.free()
        expect([servers[0].strangers.held, servers[1].strangers.held]).toEqual([7, 0])
        const served = await hostsOf(...new Array<Standing>(20).fill('new'))
        expect(served.filter((host) => host !== undefined)).toHaveLength(most)
        expect(await hostsOf('known')).toEqual(['192.0.2.2'])
      },
    )
  })
})

describe('through the relay', () => {
  stopAfterEach()
  const DISK_FULL = '452 4.3.1 Insufficient system storage'

  test('mail goes to the other server; the broken one is asked now and then, and is back with the first message that it takes', async () => {
    let isFull = true
    const script: Script = (verb) => (verb === 'DOT' && isFull ? DISK_FULL : 'default')
    const [bad, good] = [await upstream(script), await upstream()] as [Upstream, Upstream]
    let later = 0
    await start([bad, good], { clock: { ...SYSTEM_CLOCK, elapsed: () => SYSTEM_CLOCK.elapsed() + later } })
    let count = 0
    /** So many clients of as many neighbourhoods, one after the other; what they heard, and how many of them at the bad server. */
    async function mail(clients: number): Promise<{ heard: string[]; atBad: number }> {
      const before = bad.mailed().length
      const heard: string[] = []
      for (let i = 0; i < clients; i++) {
        const relay = relays.client('mx.sender.example', `198.51.${count++}.1`)
        heard.push((await send(relay)).slice(0, 3))
        await relay.close()
      }
      return { heard, atBad: bad.mailed().length - before }
    }
    const stateOf = ({ address }: Upstream): unknown =>
      relays.upstreams.conditions().find(({ upstream: label }) => label === address)

    const first = await mail(2 * NETS + 2)
    expect(first.atBad).toBeGreaterThan(NETS)
    later += OPENS_MS
    await mail(2)
    expect(stateOf(bad)).toMatchObject({ limit: 1, condition: { state: 'slow', error: FAULT } })
    expect(await mail(8)).toEqual({ heard: new Array(8).fill('250'), atBad: 0 })

    later += PROBE_MS
    expect(await mail(4)).toMatchObject({ heard: expect.arrayContaining(['452']), atBad: 1 })
    isFull = false
    later += PROBE_MS
    expect(await mail(1)).toEqual({ heard: ['250'], atBad: 1 })
    expect(stateOf(bad)).toMatchObject({ limit: 50, condition: { state: 'up', error: undefined } })
    const told = relays.told.filter(({ fields }) => fields.upstream === bad.address).map(({ msg }) => msg)
    expect(told.slice(-2)).toEqual([`upstream broken: ${FAULT}`, 'upstream accepts messages again'])
  })
})
