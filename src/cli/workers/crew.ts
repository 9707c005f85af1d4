/**
 * All workers of one node: starts them, replaces those that die, and asks them. A worker that dies takes its clients with
 * it and nothing else: the others go on, its seats are free, and what it had counted when it last reported stays counted.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Reading, ReloadReport } from '../../config/reload.ts'
import { notForAll, shareOf } from '../../config/workers.ts'
import { messageOf } from '../../core/errors.ts'
import type { Feedback, FeedbackReport } from '../../core/feedback.ts'
import { NODES } from '../../core/id.ts'
import type { PressureReport } from '../../core/overload.ts'
import type { ListenAddress } from '../../front/gate/listener.ts'
import type { Log } from '../../telemetry/log.ts'
import type { ParentMetrics } from '../../telemetry/parent-metrics.ts'
import { Retired, type Snapshot } from '../../telemetry/together.ts'
import { CrewBans } from './crew-bans.ts'
import { CrewExplain } from './crew-explain.ts'
import { CrewKernel } from './crew-kernel.ts'
import { CrewOrders } from './crew-orders.ts'
import { CrewTallies } from './crew-tallies.ts'
import { type Ending, Hand } from './hand.ts'
import { Place } from './place.ts'
import type { Start, WorkerReport } from './protocol.ts'

const LOOK_MS = 1000
/** A worker that says nothing for so many looks serves nobody. One that only has much to do reports meanwhile. */
const HUNG_LOOKS = 30
/** A worker that is told to end at once writes its log lines first. */
const ABORT_MS = 4000

const STOPPED = 'stopped before all workers served'

/** The exit code of one that the system had no process for. */
const NOT_BEGUN = 1

export interface CrewOptions extends Pick<Start, 'of' | 'version' | 'machine' | 'listenIsDefault' | 'ticketKey'> {
  /** The settings of the whole node, at the start. */
  readonly reading: Reading
  /** The number of the node in the ids of its sessions. Workers have the numbers that follow it. */
  readonly number: number
  /** File descriptors of sockets to listen on, instead of those of LISTEN; all workers take clients from each. */
  readonly sockets: readonly number[]
  readonly metrics: ParentMetrics
  readonly log: Log
}

export class Crew {
  readonly bans = new CrewBans(() => this.#hands())
  readonly explain = new CrewExplain(
    () => this.#hands(),
    () => this.#reading.settings.hostname,
  )
  readonly kernel = new CrewKernel(() => this.#places[0]?.hand)
  readonly orders = new CrewOrders(() => this.#hands())
  readonly tallies = new CrewTallies(() => this.#hands())
  readonly #options: CrewOptions
  readonly #places: readonly Place[]
  readonly #retired = new Retired()
  /** Other nodes know by it that workers are of one node. */
  readonly #name = randomBytes(6).toString('hex')
  #reading: Reading
  #listening: readonly ListenAddress[] | undefined
  #started = 0
  #stopping = false
  #looking: NodeJS.Timeout | undefined

  constructor(options: CrewOptions) {
    this.#options = options
    this.#reading = options.reading
    this.#places = Array.from({ length: options.of }, (_, i) => new Place(i + 1))
  }

  /** Resolves with the addresses in use when all workers serve. Rejects as Hand.listening does, after ending those that do; also if it is stopped before. */
  async start(): Promise<readonly ListenAddress[]> {
    const [first, ...others] = this.#places as [Place, ...Place[]]
    this.#looking = setInterval(() => this.#look(), LOOK_MS).unref()
    try {
      // The first one finds out the ports that the system chooses for port 0, and whether there is IPv6.
      this.#listening = await this.#begin(first)
      await Promise.all(others.map((place) => this.#begin(place)))
      if (this.#stopping) throw new Error(STOPPED)
    } catch (error) {
      // Those that serve may have clients by now.
      if (!this.#stopping) await this.abort()
      throw error
    }
    for (const place of this.#places) void this.#keep(place, place.hand as Hand)
    return this.#listening
  }

  /** Asks all workers; each that hangs is waited for a second, once. What they say, and what the dead said, is of one moment. */
  async ask(
    metrics: boolean,
  ): Promise<{ readonly workers: readonly WorkerReport[]; readonly retired: readonly Snapshot[] }> {
    const answers = await Promise.all(this.#places.map(({ hand }) => hand?.ask(metrics)))
    const workers = this.#places.map(({ worker, hand, restarts }, i) => {
      const up = answers[i] !== undefined && hand?.serves === true
      this.#options.metrics.up.of(String(worker)).value = up ? 1 : 0
      return { worker, pid: hand?.pid, up, restarts, report: hand?.last }
    })
    return { workers, retired: this.#retired.snapshots }
  }

  /**
   * Puts settings in force in all workers. The first one that answers tries them: if it cannot take them, nothing has
   * changed anywhere and this throws. A worker that cannot take them after that, or does not answer, is replaced by one
   * that has those in force.
   */
  async apply(reading: Reading): Promise<void> {
    const [poor] = notForAll(reading.settings, this.#options.of)
    // It was divided among as many workers as there will be. Until then some of these would have nothing.
    if (poor !== undefined)
      throw new Error(
        `${poor.name}: ${poor.whole} is too little for ${this.#options.of} workers, which are in force until a restart changes SPILLWAY_WORKERS`,
      )
    const asked = new Set<Hand>()
    for (;;) {
      const place = this.#places.find(({ hand }) => hand?.serves && !asked.has(hand))
      if (place?.hand === undefined) throw new Error('no worker answers at the moment')
      const { worker, hand } = place
      asked.add(hand)
      const tried = await this.#give(place, reading)
      if (tried?.result === 'failed') throw new Error(`worker ${worker}: ${tried.error}`)
      if (tried !== undefined) break
      // It may take them yet, whatever becomes of them.
      this.#replace(worker, hand)
    }
    this.#reading = reading
    // Meanwhile some may have died, and others begun to serve. Those that start now are given them when they serve.
    const others = this.#places.filter((place) => place.hand?.serves && place.reading !== reading)
    await Promise.all(others.map((place) => this.#giveOrReplace(place, reading)))
  }

  /** All workers read again the files that they follow by themselves. */
  follow(): void {
    for (const hand of this.#hands()) if (hand.serves) hand.follow()
  }

  /** All workers hear how hard pressed a mail server is. */
  reported(report: PressureReport): void {
    for (const hand of this.#hands()) if (hand.serves) hand.reported(report)
  }

  /**
   * The workers hear what a message was: of a queue id all of them, since one of them knows it; of an address all that learn
   * alone, or one of those that learn together. Rejects if none of them answers.
   * @returns undefined if nobody knows the queue id
   */
  async feedback(feedback: Feedback): Promise<FeedbackReport | undefined> {
    const isTogether = this.#reading.settings.redisUrl !== undefined && 'address' in feedback.of
    const serving = this.#hands().filter(({ serves }) => serves)
    const asked = isTogether ? serving.slice(0, 1) : serving
    const answers = (await Promise.all(asked.map((hand) => hand.feedback(feedback)))).flatMap((each) => each ?? [])
    if (answers.length === 0) throw new Error('no worker answers at the moment')
    return answers.find(({ report }) => report !== undefined)?.report
  }

  /** All workers take no more clients, and end when their sessions have. @returns whether all of them ended well */
  async stop(after: 'signal' | 'handover'): Promise<boolean> {
    this.#stopping = true
    const endings = this.#hands().map(async (hand) => {
      hand.stop(after)
      const { code } = await hand.ended
      // One that has never served had nothing to lose.
      return code === 0 || !hand.hasServed
    })
    const wereWell = await Promise.all(endings)
    clearInterval(this.#looking)
    return wereWell.every(Boolean)
  }

  /** All workers end at once. */
  async abort(): Promise<void> {
    this.#stopping = true
    clearInterval(this.#looking)
    const hands = this.#hands()
    for (const hand of hands) hand.abort()
    const late = setTimeout(() => {
      for (const hand of hands) hand.kill()
    }, ABORT_MS)
    await Promise.all(hands.map((hand) => hand.ended))
    clearTimeout(late)
  }

  #hands(): Hand[] {
    return this.#places.flatMap(({ hand }) => hand ?? [])
  }

  #begin(place: Place): Promise<readonly ListenAddress[]> {
    return this.#stopping ? Promise.reject(new Error(STOPPED)) : this.#launch(place).listening
  }

  #launch(place: Place): Hand {
    const { of, number, version, machine, listenIsDefault, sockets, ticketKey } = this.#options
    const { worker } = place
    // Each has a number of its own, also its predecessor: ids of the same second would otherwise be the same.
    const own = (number + this.#started++) % NODES
    place.reading = this.#reading
    place.startedAt = performance.now()
    const start: Omit<Start, 'sockets'> = {
      kind: 'start',
      reading: this.#shareOf(place, this.#reading),
      listenIsDefault: listenIsDefault && this.#listening === undefined,
      ...{ worker, of, crew: this.#name, number: own, version, machine, ticketKey, orders: this.orders.value },
      leavesTable: this.kernel.waits,
    }
    const hand: Hand = new Hand(
      start,
      sockets,
      (made) => this.bans.spread(made, hand),
      this.kernel.heard,
      (told) => this.bans.spreadOffences(told),
    )
    place.hand = hand
    return hand
  }

  #shareOf({ worker }: Place, reading: Reading): Reading {
    const settings = shareOf(reading.settings, { index: worker - 1, of: this.#options.of })
    const listen = this.#listening ?? settings.listen
    return { ...reading, settings: { ...settings, listen } }
  }

  #give(place: Place, reading: Reading): Promise<ReloadReport | undefined> {
    place.reading = reading
    return (place.hand as Hand).reload(this.#shareOf(place, reading))
  }

  async #giveOrReplace(place: Place, reading: Reading): Promise<void> {
    const { worker, hand } = place
    if ((await this.#give(place, reading))?.result !== 'ok') this.#replace(worker, hand)
  }

  #replace(worker: number, hand: Hand | undefined): void {
    this.#options.log.error({ worker }, 'the worker did not take the new settings: it is replaced')
    hand?.kill()
  }

  /** Replaces the worker whenever it ends, until the node stops. */
  async #keep(place: Place, hand: Hand): Promise<void> {
    const { log, metrics } = this.#options
    const { worker } = place
    for (let current = hand; ; ) {
      const ending = await current.ended
      if (this.#stopping) return
      // Otherwise the system had no process for it, and it was mourned before.
      const hasBegun = place.hand === current
      if (hasBegun && current.last?.metrics !== undefined) this.#retired.add(current.last.metrics)
      place.hand = undefined
      place.restarts++
      metrics.restarts.inc(String(worker))
      const pause = place.pauseAfter(hasBegun ? ending.code : NOT_BEGUN)
      if (hasBegun) this.#mourn(place, current, ending, pause)
      await sleep(pause)
      if (this.#stopping) return
      try {
        current = this.#launch(place)
        await current.listening
        log.info({ worker, pid: current.pid }, 'the worker is replaced')
        void this.bans.teach(current)
        // The settings have changed since it was started.
        if (place.reading !== this.#reading) void this.#giveOrReplace(place, this.#reading)
      } catch (error) {
        if (!this.#stopping) log.error({ worker, err: messageOf(error) }, 'the worker cannot start')
      }
    }
  }

  #mourn({ worker }: Place, { pid, last, hasServed }: Hand, { code, signal }: Ending, pause: number): void {
    const { log } = this.#options
    if (!hasServed) return
    if (code === 0) {
      log.info({ worker, pid }, 'the worker was told to end, and is replaced')
      return
    }
    const { sessions, pastDot: unknown } = last ?? { sessions: 0, pastDot: 0 }
    log.error(
      { worker, pid, ...(signal === null ? { code } : { signal }), sessions, unknown, replacedInMs: pause },
      'a worker died; what became of messages past their final dot is unknown',
    )
  }

  /** Kills workers that hang. Looks are counted, not seconds: while this process is held up, nobody can be heard. */
  #look(): void {
    for (const { worker, hand } of this.#places) {
      if (hand === undefined || hand.look() < HUNG_LOOKS) continue
      this.#options.log.error(
        { worker, pid: hand.pid },
        `the worker has said nothing for ${HUNG_LOOKS} s: it is killed`,
      )
      hand.kill()
    }
  }
}
