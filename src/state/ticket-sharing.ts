/**
 * Agrees over Redis on the secret for TLS session tickets, so that a session made at one node is resumed at another. No handshake
 * waits for this: a node begins with a secret of its own, and takes that of the others when it hears it. A Redis that is away, or
 * answers nonsense, leaves it the one it has.
 *
 * There is a secret for each day, which the first node puts into Redis and which Redis forgets a day after its own. What was encrypted
 * under it cannot be read after that.
 */
import { randomBytes } from 'node:crypto'
import { DAY_MS } from '../core/time.ts'
import { Nonsense } from './limiter.ts'
import { redisMessageOf } from './redis.ts'
import type { SharingOptions } from './sharing.ts'

/** ARGV: a new secret, expiry in ms. Returns the secret to use. */
const AGREE = `
local held = redis.call('HMGET', KEYS[1], 'secret')[1]
if held then return held end
redis.call('HSET', KEYS[1], 'secret', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return ARGV[1]
`
const EXPIRY_MS = 2 * DAY_MS
/** How often it is looked whether there is something to ask, and how often Redis is asked, in ms. */
const LOOK_MS = 1000
const EVERY_MS = 60_000
const SECRET = /^[0-9a-f]{64}$/

export interface TicketSharingOptions extends Omit<SharingOptions, 'elapsed'> {
  /** Called with each secret that is new. */
  readonly adopt: (secret: string) => void
}

export class TicketSharing {
  readonly #options: TicketSharingOptions
  #timer: NodeJS.Timeout | undefined
  #secret: string | undefined
  #askedAt = Number.NEGATIVE_INFINITY
  #day = Number.NaN
  #up: number | undefined
  #isBusy = false

  constructor(options: TicketSharingOptions) {
    this.#options = options
  }

  /** Starts in the background. */
  start(): void {
    this.#timer ??= setInterval(() => void this.#look(), LOOK_MS).unref()
    void this.#look()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Asks Redis if it is another day, if Redis has been away, or if it has not been asked for a minute. Never rejects. */
  async #look(): Promise<void> {
    const { upSince, now, log } = this.#options
    const up = upSince()
    const at = now()
    const day = Math.floor(at / DAY_MS)
    const isDue = day !== this.#day || up !== this.#up || Math.abs(at - this.#askedAt) >= EVERY_MS
    if (up === undefined || !isDue || this.#isBusy) return
    this.#isBusy = true
    this.#askedAt = at
    this.#up = up
    // If that fails, it is asked again in a minute.
    this.#day = day
    try {
      await this.#agree(day)
    } catch (error) {
      log.debug({ err: redisMessageOf(error) }, 'the key of TLS session tickets is not shared')
    } finally {
      this.#isBusy = false
    }
  }

  async #agree(day: number): Promise<void> {
    const { client, prefix, watched, adopt } = this.#options
    const own = randomBytes(32).toString('hex')
    const secret = await watched(
      'tickets',
      client.eval(AGREE, 1, `${prefix}tickets:${day}`, own, EXPIRY_MS).then(secretIn),
    )
    if (secret === this.#secret) return
    this.#secret = secret
    adopt(secret)
  }
}

/** The error does not show the answer, which may contain a secret. */
function secretIn(answer: unknown): string {
  if (typeof answer !== 'string' || !SECRET.test(answer)) throw new Nonsense('no secret for tickets')
  return answer
}
