/**
 * Who may begin a TLS handshake, and when. A handshake costs us a signature, and its client next to nothing, so there is a bound on
 * how many are under way, of one source and in all, and on the CPU time they get (handshake-turns.ts).
 *
 * The bound in all must not become a way to lock others out. When all places are taken, STARTTLS waits for one, and those go first that
 * weigh least: whose source and network have asked for the fewest handshakes lately, not counting those that brought mail. A client that
 * holds a place and sends nothing loses it to those that wait: at once to one that weighs less than it does, and otherwise after two
 * seconds. So does one that does not answer what we say in the handshake, after two seconds.
 *
 * Whoever finds no place, because others have them all, may come back in the clear. It has asked, and is not taken for one that never does
 * (overload/returning.ts). Who has taken all places of its source itself is.
 */
import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Places } from '../../config/places-kind.ts'
import { type Client, isTrusted } from '../../core/client.ts'
import type { Clock } from '../../core/clock.ts'
import type { Maybe } from '../../core/maybe.ts'
import { type Refusal, refusal } from '../../core/policy.ts'
import { WindowTable } from '../../state/table.ts'
import { HandshakeTurns, lightest, type Waiting } from './handshake-turns.ts'

/** How long STARTTLS waits for a place, in ms. */
const WAIT_MS = 5000
/** How long a client that has a place may send nothing while others wait, in ms; and while some wait that weigh less. */
const SILENT_MS = 2000
const SILENT_BESIDE_LIGHTER_MS = 300
/** How often it is looked who has waited, or been silent, for too long, in ms. */
const LOOK_MS = 100
/** How many may wait for each place. */
const WAITING_PER_PLACE = 4
/** Networks are many sources: what one has asked for weighs as much as that many times less from one source. */
const SOURCES_OF_NET = 8
/** Who has found no place is remembered for so long, in ms, as far as there is room. */
const NO_PLACE = { forMs: 600_000, room: 1 << 14 }
const LATELY = { windowMs: 60_000, capacity: 1 << 15 }

/** The handshake of one client, from STARTTLS to its end. */
export interface Handshake {
  /** Undefined: it may begin. A promise: it must wait for a place. */
  readonly granted: Maybe<Refusal | undefined>
  /** The client's first octets are here. @param begin called when it is its turn */
  arrived(begin: () => void): void
  /** It is over, or will never begin. Only the first call counts. */
  over(how: Ending): void
}

/** With a signature, without one because it was resumed, or not at all. */
export type Ending = 'full' | 'resumed' | 'failed'

export interface HandshakesOptions {
  /** As they are set now. */
  readonly places: () => Places
  readonly elapsed: Clock['elapsed']
}

interface Shared {
  readonly turns: HandshakeTurns
  readonly elapsed: Clock['elapsed']
  over(entry: Entry): void
}

class Entry implements Handshake, Waiting {
  readonly source: string
  readonly weight: number
  readonly lose: () => void
  granted: Maybe<Refusal | undefined> = undefined
  /** When it began to wait, was given its place, or had our part of the handshake. */
  since: number
  /** Whether it has a place and it is its client's turn. */
  isSilent = false
  readonly #shared: Shared
  #answer: ((refused: Refusal | undefined) => void) | undefined
  #begin: (() => void) | undefined
  #tookMs: number | undefined
  #isOver = false

  constructor(shared: Shared, source: string, weight: number, lose: () => void) {
    this.#shared = shared
    this.source = source
    this.weight = weight
    this.lose = lose
    this.since = shared.elapsed()
  }

  /** From now on it waits for an answer. */
  wait(): void {
    this.granted = new Promise((resolve) => {
      this.#answer = resolve
    })
  }

  answer(refused: Refusal | undefined): void {
    this.isSilent = refused === undefined
    this.since = this.#shared.elapsed()
    this.#answer?.(refused)
  }

  arrived(begin: () => void): void {
    if (this.#isOver) return
    this.isSilent = false
    this.#begin = begin
    this.#shared.turns.wait(this)
  }

  begin(): void {
    this.isSilent = true
    this.since = this.#shared.elapsed()
    this.#begin?.()
  }

  /** How long it may be silent while others wait, in ms. @param least what the lightest of those weighs */
  patienceMs(least: number): number {
    return this.#begin === undefined && this.weight > least ? SILENT_BESIDE_LIGHTER_MS : SILENT_MS
  }

  took(ms: number): void {
    this.#tookMs = ms
  }

  over(how: Ending): void {
    if (this.#isOver) return
    this.#isOver = true
    const { turns } = this.#shared
    turns.leave(this)
    // Not if it was resumed: that took what it took.
    if (this.#tookMs !== undefined && how !== 'resumed') turns.over(this.#tookMs, how === 'full')
    this.#shared.over(this)
  }
}

export class Handshakes {
  readonly #places: () => Places
  readonly #shared: Shared
  readonly #lately: WindowTable
  readonly #bySource = new Map<string, number>()
  readonly #underWay = new Set<Entry>()
  readonly #waiting = new Set<Entry>()
  /** Sources, and when they found no place. */
  readonly #noPlace = new LRUCache<string, number>({ max: NO_PLACE.room })
  #timer: NodeJS.Timeout | undefined

  constructor({ places, elapsed }: HandshakesOptions) {
    this.#places = places
    this.#shared = { elapsed, turns: new HandshakeTurns(elapsed), over: (entry) => this.#over(entry) }
    this.#lately = new WindowTable({ ...LATELY, seed: randomBytes(8) })
  }

  /** A client has said STARTTLS. @param lose called if it loses its place because it sends nothing */
  ask(client: Pick<Client, 'source' | 'net' | 'standing'>, lose: () => void): Handshake | Refusal {
    const { source } = client
    const { ofOne, ofAll } = this.#places()
    const used = (this.#bySource.get(source) ?? 0) + 1
    if (used > ofOne && !isTrusted(client)) return refusal('tls_limit', { used, max: ofOne })
    const entry = new Entry(this.#shared, source, this.#weigh(client), lose)
    this.#bySource.set(source, used)
    if (this.#waiting.size === 0 && this.#underWay.size < ofAll) {
      this.#underWay.add(entry)
      entry.answer(undefined)
      return entry
    }
    entry.wait()
    this.#waiting.add(entry)
    if (this.#waiting.size > ofAll * WAITING_PER_PLACE) this.#refuse(heaviest(this.#waiting))
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref()
    return entry
  }

  /** What a client's source and network have asked for lately; less goes first. */
  #weigh(client: Pick<Client, 'source' | 'net' | 'standing'>): number {
    if (isTrusted(client)) return -1
    const now = this.#shared.elapsed()
    const count = (key: string): number => this.#lately.charge(key, now, Number.MAX_SAFE_INTEGER)
    return Math.max(count(client.source), count(client.net) / SOURCES_OF_NET)
  }

  /** A handshake of this client has brought mail that was taken, so it weighs nothing. */
  forgive({ source, net }: Pick<Client, 'source' | 'net'>): void {
    const now = this.#shared.elapsed()
    for (const key of [source, net]) this.#lately.refund(key, now)
  }

  /** Whether others had all places when its source asked lately. */
  foundNoPlace({ source }: Pick<Client, 'source'>): boolean {
    const at = this.#noPlace.get(source)
    return at !== undefined && this.#shared.elapsed() - at < NO_PLACE.forMs
  }

  #over(entry: Entry): void {
    const left = (this.#bySource.get(entry.source) as number) - 1
    if (left === 0) this.#bySource.delete(entry.source)
    else this.#bySource.set(entry.source, left)
    this.#waiting.delete(entry)
    if (this.#underWay.delete(entry)) this.#serve()
  }

  #serve(): void {
    while (this.#underWay.size < this.#places().ofAll) {
      const next = lightest(this.#waiting)
      if (next === undefined) return
      this.#waiting.delete(next)
      this.#underWay.add(next)
      next.answer(undefined)
    }
  }

  #refuse(entry: Entry): void {
    const { ofAll } = this.#places()
    this.#noPlace.set(entry.source, this.#shared.elapsed())
    entry.answer(refusal('tls_limit', { used: this.#underWay.size + this.#waiting.size, max: ofAll }))
    entry.over('failed')
  }

  #look(): void {
    const now = this.#shared.elapsed()
    for (const entry of this.#waiting) if (now - entry.since >= WAIT_MS) this.#refuse(entry)
    let wanted = this.#waiting.size
    const least = lightest(this.#waiting)?.weight ?? 0
    for (const entry of this.#underWay) {
      if (wanted === 0) break
      if (!entry.isSilent || now - entry.since < entry.patienceMs(least)) continue
      wanted--
      entry.lose()
    }
    if (this.#waiting.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

/** The last of those that weigh most. */
function heaviest(all: Iterable<Entry>): Entry {
  let found: Entry | undefined
  for (const each of all) if (found === undefined || each.weight >= found.weight) found = each
  return found as Entry
}
