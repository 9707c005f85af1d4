/**
 * Rations the transactions in which strangers ask the mail servers about recipients in vain. A directory harvest, and the bounces of a forged
 * sender, end at RCPT with 550: no message is taken, no connection is held for long, and so nothing presses. But each is a transaction
 * that the mail servers begin, with a search of their directory, and a flood has many times as many of them as the cluster has mail.
 *
 *     guess    a message of a stranger (new, suspect, banned) that would be the first to ask the mail servers about a recipient that
 *              none has accepted within 30 days (state/known-recipients.ts), that is not answered from memory, and that no budget lets past (postmaster)
 *     in vain  a guess whose recipients are unknown to the mail servers so far
 *     allowed  guesses in vain a second: a fifth of the connections to the mail servers, and one for every two messages that they accept
 *     share    allowed / (guesses that come × the part of them that is in vain), at most 1
 *
 * Mail of known senders is no guess, nor is mail for whoever has had mail within 30 days, which is nearly all of what is honest. On
 * an ordinary day a tenth of spam is in vain, and one in seventy honest messages, so that all guesses are let in; and on a first day, on which everybody is
 * unknown to us, the mail servers say that most are there. What is allowed grows with the mail, as in retry budgets (Finagle, gRPC). Messages
 * count, and not recipients: those that follow in the same transaction begin nothing, and who names many has limits of its own.
 *
 * Which guesses are let in is decided as under a level (returning.ts, fair-share.ts): what has come back goes first, fairly over networks. So an
 * honest first message for a new mailbox comes in when it comes back. Shares follow within a quarter of a second, without a timer.
 */
import { type Client, isFriend } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import type { Came } from '../core/overload.ts'
import type { Envelope, Returns } from '../state/returns.ts'
import { FairShare } from './fair-share.ts'
import { type Manner, TURNS, turnOf } from './returning.ts'

/** How often the share is found out, at most, in seconds. */
const STEP_S = 0.25
/** What is allowed in vain a second, for each connection, and for each message that is accepted; and the least of it. */
const OF_CONNECTIONS = 0.2
const OF_ACCEPTED = 0.5
const LEAST_ALLOWED = 2
/** How long what comes and what was answered are remembered, in seconds: e-folding times. */
const COMES_S = 1
const ANSWERED_S = 10
/** So many guesses are taken to have found somebody, before any has: a few in vain say nothing. */
const ASSUMED_FOUND = 20

/** Sums of what came lately, of which a part is forgotten each second. */
export interface Lately {
  /** Guesses, over COMES_S. */
  readonly came: number
  /** Those that the mail servers were asked about, and messages that they accepted, over ANSWERED_S. */
  readonly inVain: number
  readonly found: number
  readonly accepted: number
}

/** Which share of guesses is let in, 0 to 1. Pure. @param connections to the mail servers that there may be */
export function shareOfGuesses({ came, inVain, found, accepted }: Lately, connections: number): number {
  const part = inVain / (inVain + found + ASSUMED_FOUND)
  const expected = (came / COMES_S) * part
  const allowed = Math.max(LEAST_ALLOWED, OF_CONNECTIONS * connections) + OF_ACCEPTED * (accepted / ANSWERED_S)
  return expected <= allowed ? 1 : allowed / expected
}

/** Why a guess was put off, for the log. */
export interface NotGuessed {
  readonly share: number
  readonly came: Came
  readonly guess: 'yes'
}

/** One message that may be in vain. */
export interface Guess {
  /** Why it is put off; undefined: it is let in. */
  readonly shed: NotGuessed | undefined
  /** A mail server has answered one of its recipients: it is there, or unknown. */
  heard(isThere: boolean): void
}

export interface GuessesOptions {
  readonly returns: Pick<Returns, 'came' | 'spend'>
  /** Connections to the mail servers that there may be now. */
  readonly connections: () => number
  /** False while nobody is put off for overload. */
  readonly isOn: () => boolean
  readonly clock: Pick<Clock, 'elapsed'>
  /** Eight secret random bytes for the tables of nets. */
  readonly seed: Uint8Array
}

type From = Pick<Client, 'net' | 'domain' | 'standing'>

export class Guesses {
  readonly #options: GuessesOptions
  readonly #fair: FairShare
  readonly #lately = { came: 0, inVain: 0, found: 0, accepted: 0 }
  #share = 1
  #at: number

  constructor(options: GuessesOptions) {
    this.#options = options
    this.#fair = new FairShare(options.seed, TURNS)
    this.#at = options.clock.elapsed()
  }

  /** The share that is let in at present, 0 to 1. */
  get share(): number {
    this.#catchUp()
    return this.#share
  }

  /** How a message comes, should it be a guess: asked before the level lets it in, which uses up that it was put off. */
  came({ net, domain, standing }: From, envelope: Envelope): Came {
    return isFriend({ standing }) || this.share >= 1 ? 'first' : this.#options.returns.came(net, envelope, domain)
  }

  /** A guess is to be let in. @param came what `came` said @param manner asked only while a share is let in */
  ask({ net, domain, standing }: From, envelope: Envelope, came: Came, manner: () => Manner): Guess {
    const { share } = this
    const { returns, clock } = this.#options
    this.#lately.came++
    // While all are let in, nobody has looked who they are: they take nothing from an earlier turn.
    let turn = TURNS - 1
    if (share < 1) {
      const is = manner()
      turn = turnOf(came, { ...is, isDoubtful: is.isDoubtful || standing !== 'new' })
    }
    const isIn = this.#fair.offer(net, clock.elapsed(), turn)
    if (isIn && came !== 'first') returns.spend(net, envelope, domain)
    return { shed: isIn ? undefined : { share, came, guess: 'yes' }, heard: this.#listener() }
  }

  /** A mail server has accepted a message, whosever it is. */
  accepted(): void {
    this.#lately.accepted++
  }

  /** A guess is in vain until one of its recipients is there. */
  #listener(): Guess['heard'] {
    const lately = this.#lately
    let counts: 'inVain' | 'found' | undefined
    return (isThere) => {
      if (counts === 'found' || (counts === 'inVain' && !isThere)) return
      if (counts === 'inVain') lately.inVain = Math.max(0, lately.inVain - 1)
      counts = isThere ? 'found' : 'inVain'
      lately[counts]++
    }
  }

  #catchUp(): void {
    const now = this.#options.clock.elapsed()
    const seconds = (now - this.#at) / 1000
    if (seconds < STEP_S) return
    this.#at = now
    const lately = this.#lately
    const left = Math.exp(-seconds / ANSWERED_S)
    this.#share = this.#options.isOn() ? shareOfGuesses(lately, this.#options.connections()) : 1
    this.#fair.set(this.#share, seconds)
    lately.came *= Math.exp(-seconds / COMES_S)
    lately.inVain *= left
    lately.found *= left
    lately.accepted *= left
  }
}
