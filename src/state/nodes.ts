/**
 * How many nodes share the limits. Every node puts its name with an expiry into one sorted set, and counts the names in it. The
 * count is needed when Redis is away, to know one's share, so the last one is kept then. Times are those of Redis's own clock:
 * nodes whose clocks differ do not push each other out. Where that clock goes back, names that it would keep for as long as
 * the step are removed, and who is alive puts itself back within EVERY_MS.
 *
 * A Redis that comes back empty hears the nodes one after the other, and the first would take itself for the only one. So
 * a count that falls is believed when it has stayed low for HOLD_MS, and the time that Redis was away is no part of that.
 *
 * Beside its name each node says what it has set (agreement.ts), and hears of those who have set something else.
 */
import { isCount, Nonsense } from './limiter.ts'
import type { RedisClient } from './redis.ts'

/** ARGV: name, settings, expiry in ms, how many to tell. Returns the count, then members whose settings are others. */
const ANNOUNCE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = string.format('%d', now + ARGV[3])
redis.call('ZADD', KEYS[1], last, ARGV[1] .. ' ' .. ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. last, '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local settings, members = {}, {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local set = string.match(member, ' (.+)$')
  if set and set ~= ARGV[2] and not members[set] then
    members[set] = member
    table.insert(settings, set)
  end
end
table.sort(settings)
local told = {redis.call('ZCARD', KEYS[1])}
for i = 1, math.min(#settings, tonumber(ARGV[4])) do told[i + 1] = members[settings[i]] end
return told
`
const EVERY_MS = 2000
/** A node that has missed two announcements is still counted, one that has missed three is not. */
const EXPIRY_MS = 6000
/** Longer than all nodes need to connect again and to announce themselves. */
export const HOLD_MS = 10_000
/** Different settings that are told of at once. */
const TOLD = 8
const MOST_NODES = 1_000_000
const LONGEST = 2000

export interface NodesOptions {
  readonly client: RedisClient
  /** Of all keys. */
  readonly prefix: string
  /** The name of this node; no other has it. Without spaces. */
  readonly node: string
  /** What it has set, in a form that is the same for the same settings. */
  readonly settings: string
  /** In ms, of a clock that never goes back. */
  readonly elapsed: () => number
  /** Told of what each announcement came to. */
  readonly announced: (started: number, failure: unknown) => void
  /** Hears after each announcement of nodes that have set something else: one of those that have set the same. */
  readonly others: (nodes: readonly { readonly node: string; readonly settings: string }[]) => void
}

export class Nodes {
  readonly #options: NodesOptions
  readonly #key: string
  #count = 1
  /** Until when `#count` holds against a lower one, and when Redis was heard last. */
  #holdsUntil = Number.NEGATIVE_INFINITY
  #heardAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined

  constructor(options: NodesOptions) {
    this.#options = options
    this.#key = `${options.prefix}nodes`
  }

  /** Nodes alive when Redis was heard last, this one included: the most it has said within HOLD_MS; at least 1. */
  get count(): number {
    return this.#count
  }

  /** Announces from now on, without waiting for it. */
  start(): void {
    this.#timer ??= setInterval(() => void this.announce(), EVERY_MS).unref()
  }

  /** Says that this node is there, and learns how many are. Never rejects. */
  async announce(): Promise<void> {
    const { client, node, settings, elapsed, announced, others } = this.#options
    const started = elapsed()
    try {
      const answer = await client.eval(ANNOUNCE, 1, this.#key, node, settings, EXPIRY_MS, TOLD)
      const [count, ...members] = Array.isArray(answer) ? (answer as unknown[]) : []
      if (!isCount(count, MOST_NODES) || count === 0 || members.length > TOLD || !members.every(isMember)) {
        throw new Nonsense(answer)
      }
      this.#learn(count, elapsed())
      announced(started, undefined)
      others(members.map(split))
    } catch (error) {
      announced(started, error ?? new Error('no answer'))
    }
  }

  /** Leaves, so that others need not wait for its expiry. Never rejects. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    const { client, node, settings } = this.#options
    await client.zrem(this.#key, `${node} ${settings}`).catch(() => undefined)
  }

  #learn(count: number, at: number): void {
    // Redis was away in between, and may have come back empty: what was known then is as good as heard now.
    if (at - this.#heardAt > 2 * EVERY_MS) this.#holdsUntil = at + HOLD_MS
    this.#heardAt = at
    if (count < this.#count && at < this.#holdsUntil) return
    this.#count = count
    this.#holdsUntil = at + HOLD_MS
  }
}

const isMember = (member: unknown): member is string => typeof member === 'string' && member.length <= LONGEST
const split = (member: string): { node: string; settings: string } => {
  const space = member.indexOf(' ')
  return { node: member.slice(0, space), settings: member.slice(space + 1) }
}
