/**
 * Who may open a connection to which server. A transaction takes a slot at the server with the fewest connections, waits
 * for one for a bounded time, and frees it itself. A connection that may serve another client is kept for a moment; it
 * holds its slot meanwhile, and is the first to be given away.
 *
 * A slot costs a client nothing but an envelope, so that one address with many connections could hold them all, and so
 * could many addresses that send a byte a second. While there are not enough, a source that has more than its fair share
 * gets no other; and while somebody waits, the slots of transactions whose clients have fallen silent are taken away, the
 * quietest first, the sooner the more are waiting. With room for all neither rule is felt. Clients that type as slowly as
 * no machine does never hold more than a quarter of the slots together, so that the others find theirs without a wait.
 */
import type { Distribution } from '../../telemetry/series.ts'
import type { Dialed } from '../smtp/dial.ts'
import type { Server } from './server.ts'

export class NoUpstream extends Error {
  readonly why: 'upstream_down' | 'upstream_full'
  constructor(why: NoUpstream['why']) {
    super(why)
    this.name = 'NoUpstream'
    this.why = why
  }
}

/** Who holds a slot, or waits for one. */
export interface Holder {
  /** What fair shares are counted under: Client.source. */
  readonly source: string
  /** Whether its client types as slowly as no machine does. */
  readonly slow: boolean
  /** Of performance.now(): since when its client owes the next step of a transaction. undefined: it owes nothing now. */
  readonly quietSince: number | undefined
  /** Others wait: ends the transaction and frees the slot at once. Only called where `quietSince` is defined. */
  evict(): void
}

/** The right to hold one connection to `server`. */
export interface Slot {
  readonly server: Server
  /** An open connection of an earlier client, where that is allowed. */
  readonly kept: Dialed | undefined
  /** Frees the slot; once. */
  free(): void
  /** Leaves an open connection to the next client; frees the slot when nobody has come for it in time. */
  keep(dialed: Dialed): void
}

export interface SlotsOptions {
  readonly servers: () => readonly Server[]
  /** Connections to each server. */
  readonly max: number
  /** How long a transaction waits, in milliseconds: short beside the client's 5 minutes for RCPT. */
  readonly waitMs: number
  /** Beyond this many, waiting is hopeless and costs memory. */
  readonly waiting: number
  /** How long an idle connection waits for the next client, in milliseconds. */
  readonly idleMs: number
  /** How long a client may be silent in a transaction while others wait, in milliseconds. */
  readonly quietMs: number
  /** Seconds waited. */
  readonly waited: Distribution
}

interface Idle {
  readonly dialed: Dialed
  readonly timer: NodeJS.Timeout
}

interface Waiting {
  readonly holder: Holder
  readonly avoid: Server | undefined
  /** Ends the waiting. */
  settle(outcome: Slot | NoUpstream): void
}

/** Of all slots, what one source may hold and wait for while there are not enough; at least two. */
const FAIR_SHARE = 0.5
/** Of all slots, what slow clients may hold together; at least one. */
const SLOW_SHARE = 0.25
/** While many wait, this long is silence enough, in milliseconds: a lost packet is sent again before that. */
const LEAST_QUIET_MS = 5000
/** While somebody waits: how often those who are silent are looked for, in milliseconds. */
const LOOK_MS = 1000

export class Slots {
  readonly #options: SlotsOptions
  readonly #idle = new Map<Server, Idle[]>()
  readonly #waiting: Waiting[] = []
  readonly #holders = new Set<Holder>()
  /** Runs while somebody waits. */
  #looking: NodeJS.Timeout | undefined
  #turn = 0
  #stopped = false

  constructor(options: SlotsOptions) {
    this.#options = options
  }

  /**
   * A slot at the server with the fewest connections, another than `avoid`.
   * @param given aborted when it is not wanted any more
   * @throws NoUpstream when none is up, or none came free in time; at once where its source has more than its fair share
   */
  async take(holder: Holder, avoid?: Server, given?: AbortSignal): Promise<Slot> {
    const started = performance.now()
    try {
      if (holder.slow) this.#refuseSlow()
      if (this.#waiting.length > 0) this.#refuseGreedy(holder)
      return await (this.#free(holder, avoid) ?? this.#wait(holder, avoid, given))
    } finally {
      this.#options.waited.observe((performance.now() - started) / 1000)
    }
  }

  /** Room may have come where there was none. In the order they came, but nobody waits behind one who must avoid it. */
  serve(): void {
    if (this.#waiting.length === 0) return
    const full = new Set<Server | undefined>()
    for (const waiting of [...this.#waiting]) {
      if (full.has(waiting.avoid)) continue
      let outcome: Slot | NoUpstream | undefined
      try {
        outcome = this.#free(waiting.holder, waiting.avoid)
      } catch {
        outcome = new NoUpstream('upstream_down')
      }
      if (outcome !== undefined) waiting.settle(outcome)
      else if (waiting.avoid === undefined) return
      else full.add(waiting.avoid)
    }
  }

  /** Closes the connections that are kept to a server, or `only` that one. */
  dropIdle(server: Server, only?: Dialed): void {
    const idle = this.#idle.get(server) ?? []
    const [drop, stay] = [
      idle.filter(({ dialed }) => (only ?? dialed) === dialed),
      idle.filter(({ dialed }) => (only ?? dialed) !== dialed),
    ]
    if (stay.length === 0) this.#idle.delete(server)
    else this.#idle.set(server, stay)
    for (const { dialed, timer } of drop) {
      clearTimeout(timer)
      dialed.smtp.quit()
      server.connections--
    }
    this.serve()
  }

  stop(): void {
    this.#stopped = true
    for (const server of [...this.#idle.keys()]) this.dropIdle(server)
    for (const waiting of [...this.#waiting]) waiting.settle(new NoUpstream('upstream_down'))
  }

  /** @throws NoUpstream when none is up. @returns undefined when all are full */
  #free(holder: Holder, avoid: Server | undefined): Slot | undefined {
    const usable = this.#options.servers().filter((server) => server.up && server !== avoid)
    if (usable.length === 0) throw new NoUpstream('upstream_down')
    this.#turn++
    let best: Server | undefined
    let least = Number.POSITIVE_INFINITY
    for (let i = 0; i < usable.length; i++) {
      const server = usable[(i + this.#turn) % usable.length] as Server
      const idle = this.#idle.get(server)?.length ?? 0
      const busy = server.connections - idle
      if ((idle === 0 && server.connections >= this.#options.max) || busy >= least) continue
      best = server
      least = busy
    }
    return best && this.#slotAt(best, holder)
  }

  /** A connection that is kept and still good; those that are not are closed. */
  #kept(server: Server): Dialed | undefined {
    const idle = this.#idle.get(server)
    for (let last = idle?.pop(); last !== undefined; last = idle?.pop()) {
      clearTimeout(last.timer)
      if (last.dialed.smtp.settled) return last.dialed
      last.dialed.smtp.destroy()
      server.connections--
    }
    return undefined
  }

  #slotAt(server: Server, holder: Holder): Slot {
    const kept = this.#kept(server)
    if (kept === undefined) server.connections++
    let held = true
    this.#holders.add(holder)
    const release = (act: () => void): void => {
      if (!held) return
      held = false
      this.#holders.delete(holder)
      act()
      this.serve()
    }
    return {
      server,
      kept,
      free: () => release(() => server.connections--),
      keep: (dialed) => release(() => this.#keep(server, dialed)),
    }
  }

  #keep(server: Server, dialed: Dialed): void {
    if (!dialed.smtp.settled || !server.up || this.#stopped) {
      dialed.smtp.quit()
      server.connections--
      return
    }
    const timer = setTimeout(() => this.dropIdle(server, dialed), this.#options.idleMs)
    timer.unref()
    const idle = this.#idle.get(server)
    if (idle === undefined) this.#idle.set(server, [{ dialed, timer }])
    else idle.push({ dialed, timer })
  }

  /** A share of the slots of all servers that are up. */
  #share(ratio: number, least: number): number {
    const slots = this.#options.max * this.#options.servers().filter(({ up }) => up).length
    return Math.max(least, Math.floor(slots * ratio))
  }

  #refuseSlow(): void {
    let left = this.#share(SLOW_SHARE, 1)
    for (const { slow } of this.#holders) if (slow) left--
    for (const { holder } of this.#waiting) if (holder.slow) left--
    if (left <= 0) throw new NoUpstream('upstream_full')
  }

  /** Counted when it is needed, which is only when there are not enough. */
  #refuseGreedy({ source }: Holder): void {
    let left = this.#share(FAIR_SHARE, 2)
    for (const holder of this.#holders) if (holder.source === source) left--
    for (const { holder } of this.#waiting) if (holder.source === source) left--
    if (left <= 0) throw new NoUpstream('upstream_full')
  }

  /** Takes slots from those who were silent for longest, no more than are waited for. */
  #evictQuiet(): void {
    const { quietMs } = this.#options
    const enough = Math.max(Math.min(quietMs, LEAST_QUIET_MS), quietMs / this.#waiting.length)
    const before = performance.now() - enough
    const quiet: { readonly holder: Holder; readonly since: number }[] = []
    for (const holder of this.#holders) {
      const since = holder.quietSince
      if (since !== undefined && since <= before) quiet.push({ holder, since })
    }
    quiet.sort((a, b) => a.since - b.since)
    for (const { holder } of quiet.slice(0, this.#waiting.length)) holder.evict()
  }

  /** @throws NoUpstream where waiting is hopeless, unfair or not wanted any more */
  #wait(holder: Holder, avoid: Server | undefined, given: AbortSignal | undefined): Promise<Slot> {
    this.#refuseGreedy(holder)
    if (given?.aborted || this.#waiting.length >= this.#options.waiting) throw new NoUpstream('upstream_full')
    if (this.#waiting.length === 0) {
      this.#looking = setInterval(() => this.#evictQuiet(), Math.min(LOOK_MS, this.#options.quietMs))
    }
    return new Promise((resolve, reject) => {
      const settle = (outcome: Slot | NoUpstream): void => {
        clearTimeout(timer)
        given?.removeEventListener('abort', giveUp)
        const at = this.#waiting.indexOf(waiting)
        if (at >= 0) this.#waiting.splice(at, 1)
        if (this.#waiting.length === 0) clearInterval(this.#looking)
        if (outcome instanceof NoUpstream) reject(outcome)
        else resolve(outcome)
      }
      const giveUp = (): void => settle(new NoUpstream('upstream_full'))
      const timer = setTimeout(giveUp, this.#options.waitMs)
      given?.addEventListener('abort', giveUp)
      const waiting: Waiting = { holder, avoid, settle }
      this.#waiting.push(waiting)
    })
  }
}
