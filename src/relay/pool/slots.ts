/**
 * Who may open a connection to which server. A transaction takes a slot at the server with the fewest connections, waits for one
 * for a bounded time (waiting-room.ts; queue.ts has the order), and frees it itself. Slow servers are used only if no other has
 * room. While clients wait for slots, others may have to give way, by the rules in fairness.ts. A connection that may serve
 * another client stays idle for a moment (idle.ts). It holds its slot meanwhile, and is the first to be given away.
 *
 * Clients that type more slowly than any machine does never hold more than a quarter of the slots together. The last tenth of the
 * slots is closed to a source that already has its share of the others, even if no other source is there: mail that waits for the
 * reply to its dot cannot be evicted, and the next source must not find every slot held that way. Strangers together never hold
 * more than overload/reserve.ts leaves them, and at a server no more than overload/strangers-part.ts does; those of one neighbourhood
 * no more than half of what the others leave of that (shares.ts).
 */
import { isFriend, type Standing } from '../../core/client.ts'
import type { PoolSample } from '../../overload/pressure.ts'
import type { Dialed } from '../smtp/dial.ts'
import { Claims } from './claims.ts'
import { contentionOf, type Wait } from './contention.ts'
import { type Holder, toGiveWay } from './fairness.ts'
import { Idle } from './idle.ts'
import { isProbeDue, mayHaveMore, serverSamples, wantedIn } from './load.ts'
import { NoUpstream } from './no-upstream.ts'
import type { Order } from './queue.ts'
import type { Server } from './server.ts'
import { areFull, connectionsOf, isCrowd, isLeftForOthers, withheld } from './shares.ts'
import type { Slot } from './slot.ts'
import type { SlotsOptions } from './slots-options.ts'
import { WaitingRoom } from './waiting-room.ts'

/** The share of all slots that slow clients may hold together; at least one slot. */
const SLOW_SHARE = 0.25

export class Slots {
  readonly #options: SlotsOptions
  readonly #idle: Idle
  readonly #waiting: WaitingRoom<Slot>
  readonly #holders = new Map<Holder, Server>()
  readonly #claims = new Claims()
  /** Slots that friends hold, and that strangers do, by neighbourhood. */
  readonly #nets = { friends: new Claims(), strangers: new Claims() }
  #rotation = 0
  #stopped = false

  constructor(options: SlotsOptions) {
    this.#options = options
    this.#idle = new Idle(options.idleMs, () => this.serve())
    this.#waiting = new WaitingRoom({ ...options, claims: this.#claims, look: () => this.#look() })
  }

  /** Slots at all servers that are up. */
  get connections(): number {
    return connectionsOf(this.#options.servers(), this.#options.max)
  }

  /** Whether any client waits. A connection is then given back instead of being parked. */
  get wanted(): boolean {
    return this.#waiting.length > 0
  }

  /** How many clients of this standing wait. */
  waiting(standing: Standing): number {
    return this.#waiting.count(standing)
  }

  /** How busy the servers are. @param mayTakeMs how long the reply to a dot may take */
  load(mayTakeMs: number): PoolSample {
    const { servers, max, reserve, elapsed } = this.#options
    return {
      slots: this.connections - withheld(servers(), max, reserve()),
      wanted: wantedIn(this.#holders, this.#waiting),
      servers: serverSamples(servers(), max, elapsed(), mayTakeMs),
    }
  }

  /** A slot at a server in state `up`, other than `server`, if there is one at once. */
  takeBeside(server: Server, holder: Holder): Slot | undefined {
    if (this.#isBarred(holder)) return undefined
    let best: Server | undefined
    for (const each of this.#options.servers()) {
      if (each === server || each.state !== 'up' || each.breaker.isInForce || this.#room(each) === 0) continue
      if (this.#isClosedTo(holder, each)) continue
      if (best === undefined || this.#room(each) > this.#room(best)) best = each
    }
    return best && this.#slotAt(best, holder)
  }

  /**
   * A slot at the server with the fewest connections, other than `avoid`.
   * @param signal called if there is a wait; its signal is aborted when the slot is no longer wanted
   * @throws NoUpstream if no server is up, or no slot came free in time; at once if waiting is hopeless
   */
  async take(holder: Holder, avoid?: Server, signal?: () => AbortSignal): Promise<Slot> {
    const started = this.#options.elapsed()
    try {
      if (holder.slow) this.#refuseSlow()
      this.#serveByTime()
      const slot = this.#find(holder, avoid)
      if (slot === 'down') throw new NoUpstream('upstream_down')
      return typeof slot === 'string' ? await this.#wait(holder, avoid, signal?.()) : slot
    } finally {
      this.#options.waited.observe((this.#options.elapsed() - started) / 1000)
    }
  }

  /** Slots may have come free. They go to those who wait, in the order of queue.ts. */
  serve(): void {
    const full = new Set<Server | undefined>()
    const passed = new Set<string>()
    const held = (source: string): number => this.#claims.of(source).held
    const heldByNet: Order['heldByNet'] = (net, whose) => this.#nets[whose].of(net).held
    while (this.#waiting.length > 0) {
      const isClosed = this.#isClosedToStrangers() && !isProbeDue(this.#options.servers())
      const mayBeServed = ({ avoid, holder }: Wait): boolean =>
        !full.has(avoid) && !passed.has(holder.source) && !(isClosed && !isFriend(holder)) && !this.#isCrowd(holder)
      const next = this.#waiting.next({ held, heldByNet, connections: this.connections, mayBeServed })
      if (next === undefined) return
      const found = this.#find(next.holder, next.avoid)
      if (found === 'down') next.settle(new NoUpstream('upstream_down'))
      else if (found === 'reserved') passed.add(next.holder.source)
      else if (found !== 'full') this.#waiting.serve(next, found)
      else if (next.avoid === undefined) return
      else full.add(next.avoid)
    }
  }

  /** Closes the idle connections to a server. */
  dropIdle(server: Server): void {
    this.#idle.drop(server)
    this.serve()
  }

  /** Closes the connections to a server that no transaction is under way on: the parked and the idle ones. */
  letGo(server: Server): void {
    for (const [holder, at] of [...this.#holders]) if (at === server && holder.turn.state === 'parked') holder.giveWay()
    this.dropIdle(server)
  }

  stop(): void {
    this.#stopped = true
    this.#idle.stop()
    this.#waiting.close()
  }

  /** `down`: no server is up, or may be in a moment. */
  #find(holder: Holder, avoid: Server | undefined): Slot | 'down' | 'full' | 'reserved' {
    const servers = this.#options.servers()
    this.#rotation++
    let isAny = false
    let room = 0
    let isClosed = false
    let best: Server | undefined
    for (let i = 0; i < servers.length; i++) {
      const server = servers[(i + this.#rotation) % servers.length] as Server
      if (server === avoid) continue
      // A server that is being checked for the first time may be up in a moment.
      if (server.up || server.state === 'unknown') isAny = true
      if (!server.up) continue
      const here = this.#room(server)
      room += here
      if (here > 0 && this.#isClosedTo(holder, server)) isClosed = true
      else if (here > 0 && (best === undefined || this.#isBetter(server, best, holder))) best = server
    }
    if (!isAny) return this.#options.isAnyExpected() ? 'full' : 'down'
    if (best === undefined) return isClosed ? 'reserved' : 'full'
    // A probe may be a stranger, however many of those before it still hang.
    const isClosedNow = !best.breaker.isInForce && this.#isBarred(holder)
    return isClosedNow || this.#isLeftForOthers(holder.source, room) ? 'reserved' : this.#slotAt(best, holder)
  }

  /** How many connections can be had at a server, idle ones included. */
  #room(server: Server): number {
    if (server.breaker.isInForce) return server.breaker.isDue ? 1 : 0
    return Math.max(0, this.#options.max(server) - server.connections + this.#idle.count(server))
  }

  /**
   * Of servers with room: one whose breaker is in force comes first if it wants this client as a probe, and last otherwise. One that
   * is well is better than a slow one. Of two alike, the one with fewer connections in use is better.
   */
  #isBetter(one: Server, other: Server, holder: Holder): boolean {
    if (one.breaker.isInForce) return one.breaker.wants(isFriend(holder))
    if (other.breaker.isInForce) return !other.breaker.wants(isFriend(holder))
    const isSlow = one.state === 'slow'
    return isSlow === (other.state === 'slow') ? this.#room(one) > this.#room(other) : !isSlow
  }

  /** Whether strangers hold all the slots that they may. */
  #isClosedToStrangers(): boolean {
    const { servers, max, reserve } = this.#options
    if (reserve() === 0) return false
    if (areFull(servers(), max, reserve())) return true
    const withRoom = servers().filter((server) => server.up && this.#room(server) > 0)
    return withRoom.length > 0 && withRoom.every(({ strangers }) => strangers.isFull)
  }

  /** Whether this holder is a stranger who may have no more, wherever there is room. */
  #isBarred(holder: Holder): boolean {
    return (!isFriend(holder) && this.#isClosedToStrangers()) || this.#isCrowd(holder)
  }

  /** Whether it is a stranger, and those of its neighbourhood hold all the slots that they may. */
  #isCrowd(holder: Holder): boolean {
    const { servers, max, reserve } = this.#options
    const { net } = holder
    return !isFriend(holder) && isCrowd(this.#nets.strangers.of(net).held, servers(), max, reserve())
  }

  /** Whether this holder is a stranger, and strangers hold all the slots at this server that they may. */
  #isClosedTo(holder: Holder, { strangers }: Server): boolean {
    return !isFriend(holder) && this.#options.reserve() > 0 && strangers.isFull
  }

  #isLeftForOthers(source: string, room: number): boolean {
    const { held } = this.#claims.of(source)
    return held > 0 && isLeftForOthers({ held, room, all: this.connections, sources: this.#claims.size })
  }

  #slotAt(server: Server, holder: Holder): Slot {
    if (server.breaker.isOpen) server.breaker.probed()
    const idle = this.#idle.take(server)
    if (idle === undefined) server.connections++
    let held = true
    this.#holders.set(holder, server)
    const count = (by: 1 | -1): void => {
      this.#claims.hold(holder.source, by)
      this.#nets[isFriend(holder) ? 'friends' : 'strangers'].hold(holder.net, by)
      if (!isFriend(holder)) server.strangers.held += by
    }
    count(1)
    const release = (act: () => void): void => {
      if (!held) return
      held = false
      this.#holders.delete(holder)
      count(-1)
      act()
      this.#options.released(server)
      this.serve()
    }
    return {
      server,
      idle,
      free: () => release(() => server.connections--),
      handOn: (dialed) =>
        release(() => {
          if (this.#isKept(server, dialed)) return this.#idle.add(server, dialed)
          dialed.smtp.quit()
          server.connections--
        }),
    }
  }

  #isKept(server: Server, dialed: Dialed): boolean {
    const { max, isUsable } = this.#options
    return dialed.smtp.settled && server.up && !this.#stopped && server.connections <= max(server) && isUsable(dialed)
  }

  #refuseSlow(): void {
    let left = Math.max(1, Math.floor(this.connections * SLOW_SHARE))
    for (const { slow } of this.#holders.keys()) if (slow) left--
    for (const { holder } of this.#waiting) if (holder.slow) left--
    if (left <= 0) throw new NoUpstream('upstream_full')
  }

  /** Called now and then while any client waits. */
  #look(): void {
    this.#waiting.dismissLate()
    this.#serveByTime()
    this.#makeRoom()
  }

  /** A server may take more with time. Those who wait get it before whoever comes just then. */
  #serveByTime(): void {
    if (this.wanted && this.#options.servers().some(mayHaveMore)) this.serve()
  }

  /** Makes the clients that must give way free their slots, which then go to those that wait. */
  #makeRoom(): void {
    const [first, ...others] = this.#waiting
    if (first === undefined) return
    const contention = contentionOf({
      waiting: [first, ...others],
      holders: this.#holders,
      claims: this.#claims,
      servers: this.#options.servers(),
      connections: this.connections,
      isClosedToStrangers: this.#isClosedToStrangers(),
      isCrowd: (holder) => this.#isCrowd(holder),
      now: this.#options.elapsed(),
    })
    for (const holder of toGiveWay(contention)) holder.giveWay()
  }

  /** @throws NoUpstream if waiting is hopeless, or no longer wanted */
  #wait(holder: Holder, avoid: Server | undefined, signal: AbortSignal | undefined): Promise<Slot> {
    const waited = this.#waiting.enter(holder, avoid, signal)
    this.#makeRoom()
    return waited
  }
}
