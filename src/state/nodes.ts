/**
 * How many nodes share the limits: every node puts its name with an expiry into one sorted set, and counts the names in
 * it. It is needed when Redis is away, to know one's share, so the last count is kept then. Times are Redis's own: nodes
 * whose clocks differ do not push each other out.
 */
import type { RedisClient } from './redis.ts'

const ANNOUNCE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
`
const EVERY_MS = 2000
/** A node that has missed two announcements is still counted, one that has missed three is not. */
const EXPIRY_MS = 6000

export interface NodesOptions {
  readonly client: RedisClient
  /** Of all keys. */
  readonly prefix: string
  /** The name of this node; no other has it. */
  readonly node: string
  /** Told of what each announcement came to. */
  readonly announced: (started: number, failure: unknown) => void
}

export class Nodes {
  readonly #options: NodesOptions
  readonly #key: string
  #count = 1
  #timer: NodeJS.Timeout | undefined

  constructor(options: NodesOptions) {
    this.#options = options
    this.#key = `${options.prefix}nodes`
  }

  /** Nodes that were alive when Redis was last asked, this one included; at least 1. */
  get count(): number {
    return this.#count
  }

  /** Announces from now on, without waiting for it. */
  start(): void {
    this.#timer ??= setInterval(() => void this.announce(), EVERY_MS).unref()
  }

  /** Says that this node is there, and learns how many are. Never rejects. */
  async announce(): Promise<void> {
    const { client, node, announced } = this.#options
    const started = performance.now()
    try {
      const count = await client.eval(ANNOUNCE, 1, this.#key, node, EXPIRY_MS)
      this.#count = Math.max(1, Number(count) || 1)
      announced(started, undefined)
    } catch (error) {
      announced(started, error ?? new Error('no answer'))
    }
  }

  /** Leaves, so that the others' share grows at once. Never rejects. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.#options.client.zrem(this.#key, this.#options.node).catch(() => undefined)
  }
}
