/**
 * How many nodes share the limits. Every node puts its name with an expiry into one sorted set and counts the names in
 * it. The last count is kept while Redis is away, because a node's share depends on it. Expiry times are by Redis's
 * clock, so that nodes whose clocks differ do not push each other out. If that clock goes back, names would be kept for
 * the length of the step. Such names are removed, and nodes that are alive put themselves back within EVERY_MS.
 *
 * A Redis that comes back empty hears from the nodes one after the other, and the first would take itself for the only
 * one. So a lower count is believed only after HOLD_MS, which starts again whenever Redis was away.
 *
 * Along with its name each node announces its limits (agreement.ts), and it learns which nodes have different ones.
 */
import { isCount, Nonsense } from './limiter.ts'
import type { RedisClient } from './redis.ts'

/**
 * ARGV: name, limits, expiry in ms, how many members to return, how many names each may have. Returns the count, then for each set of
 * different limits the names of nodes that have it, and the set.
 */
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
  local name, set = string.match(member, '^(.-) (.+)$')
  if set and set ~= ARGV[2] then
    if not members[set] then
      members[set] = {}
      table.insert(settings, set)
    end
    if #members[set] < tonumber(ARGV[5]) then table.insert(members[set], name) end
  end
end
table.sort(settings)
local told = {redis.call('ZCARD', KEYS[1])}
for i = 1, math.min(#settings, tonumber(ARGV[4])) do 
  told[i + 1] = table.concat(members[settings[i]], ' ') .. ' ' .. settings[i]
end
return told
`
const EVERY_MS = 2000
const SOON_MS = 100
/** A node that has missed two announcements still counts; one that has missed three does not. */
const EXPIRY_MS = 6000
/** Longer than it takes all nodes to reconnect and to announce themselves. */
export const HOLD_MS = 10_000
/** The most members returned, one for each different set of limits. */
const TOLD = 8
/** The most nodes that are named of those that have the same. */
const NAMED = 4
const MOST_NODES = 1_000_000
const LONGEST = 4000

export interface NodesOptions {
  readonly client: RedisClient
  /** The prefix of all keys. */
  readonly prefix: string
  /** The name of this node, which no other node has. It contains no spaces. */
  readonly node: string
  /** How many nodes there are at least, until Redis has said; 1 by default. */
  readonly expected?: number | undefined
  /** The node's limits as text, as they are set now. Equal limits give equal texts. */
  readonly settings: () => string
  /** Milliseconds of a clock that never goes back. */
  readonly elapsed: () => number
  /** Called after each announcement. @param started by `elapsed` @param failure undefined if it succeeded */
  readonly announced: (started: number, failure: unknown) => void
  /** Called after each announcement with the nodes that have other settings, their names separated by spaces, once for each set. */
  readonly others: (nodes: readonly { readonly node: string; readonly settings: string }[]) => void
}

export class Nodes {
  readonly #options: NodesOptions
  readonly #key: string
  #count: number
  /** Until when `#count` holds against a lower one, and when Redis last answered. */
  #holdsUntil = Number.NEGATIVE_INFINITY
  #heardAt = Number.NEGATIVE_INFINITY
  /** What this node has last announced of itself. */
  #member: string | undefined
  #timer: NodeJS.Timeout | undefined
  #soon: NodeJS.Timeout | undefined

  constructor(options: NodesOptions) {
    this.#options = options
    this.#key = `${options.prefix}nodes`
    this.#count = options.expected ?? 1
  }

  /** The number of live nodes, including this one: the highest count of the last HOLD_MS, or what was expected. */
  get count(): number {
    return this.#count
  }

  /** Starts announcing in the background. */
  start(): void {
    // Nodes that start together see each other soon.
    this.#soon ??= setTimeout(() => void this.announce(), SOON_MS).unref()
    this.#timer ??= setInterval(() => void this.announce(), EVERY_MS).unref()
  }

  /** Announces this node and learns how many there are. Never rejects. */
  async announce(): Promise<void> {
    const { client, node, elapsed, announced, others } = this.#options
    const settings = this.#options.settings()
    const member = `${node} ${settings}`
    const started = elapsed()
    try {
      // With other limits this node would count twice, until what it announced before has expired.
      if (this.#member !== undefined && this.#member !== member) await client.zrem(this.#key, this.#member)
      this.#member = member
      const answer = await client.eval(ANNOUNCE, 1, this.#key, node, settings, EXPIRY_MS, TOLD, NAMED)
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

  /** Removes this node, so that the others need not wait until its name expires. Never rejects. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    clearTimeout(this.#soon)
    if (this.#member !== undefined) await this.#options.client.zrem(this.#key, this.#member).catch(() => undefined)
  }

  #learn(count: number, at: number): void {
    // Redis was away in the meantime and may have come back empty, so the old count is treated as heard just now.
    if (at - this.#heardAt > 2 * EVERY_MS) this.#holdsUntil = at + HOLD_MS
    this.#heardAt = at
    if (count < this.#count && at < this.#holdsUntil) return
    this.#count = count
    this.#holdsUntil = at + HOLD_MS
  }
}

const isMember = (member: unknown): member is string => typeof member === 'string' && member.length <= LONGEST
const split = (member: string): { node: string; settings: string } => {
  const space = member.lastIndexOf(' ')
  return { node: member.slice(0, space), settings: member.slice(space + 1) }
}
