/** What one message is charged, as its recipients are named. */
import type { Client } from '../../core/client.ts'
import type { Maybe } from '../../core/maybe.ts'
import type { Usage, Use } from '../../core/usage.ts'
import type { Limits, Part } from '../../state/limits.ts'

type MessageLimits = Pick<Limits, 'take' | 'recipient'>

export class Charges {
  readonly #limits: MessageLimits
  readonly #client: Client
  /** Charged with the first recipient whose sender is not spared; once. */
  #message: Usage | undefined
  /** Charged where the first recipient is one whose sender is spared: only what all clients share. */
  #shared: Usage | undefined

  constructor(limits: MessageLimits, client: Client) {
    this.#limits = limits
    this.#client = client
  }

  /** For a recipient whose sender is spared: past the sender's own limits, not past what all clients share. */
  shared(): Maybe<Usage> {
    const { global_messages } = this.#message ?? {}
    if (global_messages !== undefined) return { global_messages }
    if (this.#shared !== undefined) return this.#shared
    return this.#take('everybody', (usage) => {
      this.#shared = usage
      return usage
    })
  }

  /** For any other recipient. A message counts once for all clients together, whether postmaster or a user came first. */
  message(): Maybe<Usage> {
    if (this.#message !== undefined) return this.#message
    const { global_messages } = this.#shared ?? {}
    const isCounted = global_messages !== undefined && global_messages.used <= global_messages.max
    return this.#take(isCounted ? 'sender' : 'all', (usage) => {
      this.#message = isCounted ? { ...usage, global_messages } : usage
      return this.#message
    })
  }

  /** One recipient more. @param message what `message` returned */
  recipient(message: Usage): Use | undefined {
    return this.#limits.recipient(this.#client, message)
  }

  #take(part: Part, keep: (usage: Usage) => Usage): Maybe<Usage> {
    const taken = this.#limits.take('rcpt', this.#client, part)
    return taken instanceof Promise ? taken.then(keep) : keep(taken)
  }
}
