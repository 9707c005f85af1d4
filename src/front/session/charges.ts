/**
 * What one message is charged. If it ends without a mail server having been asked about it, all of that is given back: the
 * client was told to try again, and the retry must not count twice.
 */
import type { Client } from '../../core/client.ts'
import { GLOBAL_MESSAGE_LIMITS } from '../../core/limits.ts'
import type { Usage, Use } from '../../core/usage.ts'
import type { Limits, Part } from '../../state/limits.ts'

type MessageLimits = Pick<Limits, 'take' | 'recipient' | 'giveBack'>

export class Charges {
  readonly #limits: MessageLimits
  readonly #client: Client
  /** Charged once, with the first recipient that is not exempt from the limits of its sender. */
  #message: Usage | undefined
  /** Charged if an exempt recipient comes first: only what all clients share. */
  #shared: Usage | undefined
  /** What each call has charged; each is given back by itself. */
  readonly #taken: Usage[] = []
  #recipients = 0
  /** Undefined until the message is over. */
  #end: 'stands' | 'given back' | undefined

  constructor(limits: MessageLimits, client: Client) {
    this.#limits = limits
    this.#client = client
  }

  /** For an exempt recipient, which pays only what all clients share. */
  shared(): Usage {
    const shared = sharedPart(this.#message)
    if (shared !== undefined) return shared
    if (this.#shared !== undefined) return this.#shared
    this.#shared = this.#take('everybody')
    return this.#shared
  }

  /** For any other recipient. A message counts once against what all clients share, whether postmaster or a user came first. */
  message(): Usage {
    if (this.#message !== undefined) return this.#message
    const shared = sharedPart(this.#shared)
    const isCounted = shared !== undefined && Object.values(shared).every(({ used, max }) => used <= max)
    const usage = this.#take(isCounted ? 'sender' : 'all')
    this.#message = isCounted ? { ...usage, ...shared } : usage
    return this.#message
  }

  /** Charges one more recipient. @param message what `message` returned */
  recipient(message: Usage): Use | undefined {
    const use = this.#limits.recipient(this.#client, message)
    if (use !== undefined && use.used <= use.max) this.#recipients++
    return use
  }

  /** The message is over. @param asked whether a mail server was asked about it */
  end(asked: boolean): void {
    if (this.#end !== undefined) return
    this.#end = asked ? 'stands' : 'given back'
    if (asked) return
    // Recipients are charged only after their message, which is what was charged last.
    this.#taken.forEach((usage, i) => {
      this.#limits.giveBack(this.#client, usage, i === this.#taken.length - 1 ? this.#recipients : 0)
    })
  }

  #take(part: Part): Usage {
    const usage = this.#limits.take('rcpt', this.#client, part)
    this.#taken.push(usage)
    return usage
  }
}

/** What a usage holds of the limits that all clients share; undefined if it holds nothing of them. */
function sharedPart(usage: Usage | undefined): Usage | undefined {
  let part: Usage | undefined
  for (const limit of GLOBAL_MESSAGE_LIMITS) {
    const use = usage?.[limit]
    if (use !== undefined) part = { ...part, [limit]: use }
  }
  return part
}
