// What all senders of a run share: its clock, its nodes, its random numbers, and the record of every delivery.

import type { Socket } from 'node:net'
import { below, type Random, seeded } from '../../src/cli/senders/random.ts'
import { type Done, perform, type Visit } from '../../src/cli/senders/visit.ts'
import { Meetings } from './early.ts'
import type { Order } from './generator.ts'
import type { Delivery } from './ledger.ts'
import { toldAs } from './names.ts'
import type { Scenario } from './scenarios.ts'

/** Sockets of the flood at once; more do not fit into one process's files. Visits beyond are counted, and make no result. */
const MOST_OPEN = 8000
/** What connecting says where this machine is at its end, and not the server. */
const OUR_FAULTS = ['EMFILE', 'ENFILE', 'EADDRNOTAVAIL', 'EADDRINUSE', 'ENOBUFS', 'ENOMEM']

export class World {
  readonly scenario: Scenario
  readonly scale: number
  readonly seed: number
  readonly random: Random
  readonly deliveries: Delivery[] = []
  readonly meetings = new Meetings()
  readonly ports: readonly number[]
  readonly #isProxied: boolean
  readonly #open: Set<Socket>
  #began = performance.now()
  #isOver = false
  #messages = 0
  mostOpen = 0
  visits = 0
  /** Visits under way, but for those of bots that hang: these end when somebody loses patience. */
  unanswered = 0
  /** Visits that were to be made, and were not. */
  dropped = 0

  constructor({ scenario, scale, seed, ports, isProxied }: Order, open: Set<Socket>) {
    this.scenario = scenario
    this.scale = scale
    this.seed = seed
    this.random = seeded(seed)
    this.ports = ports
    this.#isProxied = isProxied
    this.#open = open
  }

  begin(): void {
    this.#began = performance.now()
  }

  /** Nothing new is begun from here on. */
  end(): void {
    this.#isOver = true
  }

  /** Since the load began, in ms. */
  now(): number {
    return this.since(performance.now())
  }

  /** @param atMs of `performance.now()` @returns in ms since the load began */
  since(atMs: number): number {
    return atMs - this.#began
  }

  /** Whether one more visit of the flood can be made. One that cannot is counted. */
  hasRoom(): boolean {
    if (this.#open.size < MOST_OPEN) return true
    this.dropped++
    return false
  }

  /** A name for a message; names of spam begin with s, as the cluster must know what to recognize. */
  name(kind: 'h' | 's'): string {
    return `${kind}${this.#messages++}`
  }

  /** Does something after so many ms of model time. */
  after(modelMs: number, act: () => void): void {
    setTimeout(() => !this.#isOver && act(), modelMs / this.scenario.k)
  }

  anyPort(): number {
    return below(this.random, this.ports.length)
  }

  /** The address of a sender, as Spillway is told it. */
  told(ip: string): string {
    return this.#isProxied ? toldAs(ip) : ip
  }

  /** @param kinds what it is counted as (early.ts) @param from an address; where PROXY headers tell addresses, any, and otherwise one of 127.0.0.0/8 */
  visit(port: number, visit: Visit, done: Done, kinds: readonly string[] = []): void {
    const family = visit.from.includes(':') ? 'TCP6' : 'TCP4'
    const to = family === 'TCP6' ? '::1' : '127.0.0.1'
    const proxied = { ...visit, from: '127.0.0.1', preface: `PROXY ${family} ${toldAs(visit.from)} ${to} 4000 25\r\n` }
    // Without a header, an IPv6 network is one IPv4 address.
    const direct = family === 'TCP6' ? { ...visit, from: '127.15.0.1' } : visit
    const isAwaited = visit.hangsAfter === undefined
    if (isAwaited) this.unanswered++
    const socket = perform({ host: '127.0.0.1', port }, this.#isProxied ? proxied : direct, (answers, refused) => {
      if (isAwaited) this.unanswered--
      this.meetings.count(kinds, refused)
      done(answers, refused)
    })
    this.visits++
    this.#open.add(socket)
    this.mostOpen = Math.max(this.mostOpen, this.#open.size)
    socket.on('close', () => this.#open.delete(socket))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => {
      if (OUR_FAULTS.includes(code ?? '')) this.dropped++
    })
  }
}
