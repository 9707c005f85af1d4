/**
 * Shares bans, and what the operator allows, over Redis (bans.ts): all nodes hear of a ban, and of its end, within a second or two, and a
 * restarted node finds it there. No client ever waits for this: twice a second, in the background, a node writes what it has made, and asks
 * what has changed.
 *
 * A hash holds an entry for each network, the operator's apart from those that came by themselves. Of two for the same network the
 * later stays. A node remembers the number of the last change that it has heard, and asks for later ones. The whole has a random
 * name. If that is another one than before, Redis has lost what it had, or the last of it: every node hears all once more, and
 * writes all that it remembers. So it does when Redis was away, because a replica that was behind may have taken over.
 *
 * Entries that are forgotten are removed a few at a time, at each writing. When the hash is full, a ban that comes by itself stays
 * with the node that has made it. For the operator's words there is room besides, so that bots cannot keep them from other nodes.
 */
import { randomBytes } from 'node:crypto'
import {
  BAN_REASONS,
  type Ban,
  LONGEST_AUTOMATIC_MS,
  LONGEST_BAN_MS,
  LONGEST_REASON,
  NARROWEST_BITS,
  WIDEST_BITS,
} from '../core/bans.ts'
import { within } from '../core/deadline.ts'
import { type Network, parseNetwork } from '../core/ip.ts'
import { type Bans, MOST_ALLOWED, MOST_OF_OPERATOR, REMEMBERED_MS } from './bans.ts'
import { isCount, Nonsense } from './limiter.ts'
import { Rounds } from './rounds.ts'
import type { SharingOptions } from './sharing.ts'
import { SharingFailures } from './sharing-failures.ts'

/**
 * KEYS: the hash, its fields by the number of their last change, what is known about both. ARGV: the name that is known, the
 * number of the last change heard, another name. Redis that has lost the latest changes, which would get their numbers again, is
 * named anew. A number that is lost is the highest that is there.
 */
const READ = `
local held = redis.call('HMGET', KEYS[3], 'name', 'seq')
local top = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
local name, seq = held[1], math.max(tonumber(held[2] or '0') or 0, tonumber(top or '0') or 0)
if name == ARGV[1] and tonumber(ARGV[2]) > seq then
  name = ARGV[3]
  redis.call('HSET', KEYS[3], 'name', name)
end
`
/**
 * ARGV: as READ, then how many entries have room, and with the operator's; expiry in ms; then for each entry its field, its time,
 * when it is forgotten, and its text.
 */
const TELL = `${READ}
name = name or ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, field in ipairs(redis.call('HRANDFIELD', KEYS[1], 10)) do
  local entry = redis.call('HMGET', KEYS[1], field)[1]
  local forgetAt = tonumber(entry and string.match(entry, '^%d+ (%d+) ') or '0')
  if not forgetAt or forgetAt <= now then
    redis.call('HDEL', KEYS[1], field)
    redis.call('ZREM', KEYS[2], field)
  end
end
for i = 7, #ARGV, 4 do
  local field = ARGV[i]
  local room = tonumber(string.sub(field, 1, 9) == 'operator ' and ARGV[5] or ARGV[4])
  local entry = redis.call('HMGET', KEYS[1], field)[1]
  local at = tonumber(entry and string.match(entry, '^(%d+) ') or '-1') or -1
  if tonumber(ARGV[i + 1]) > at and (entry or redis.call('HLEN', KEYS[1]) < room) then
    seq = seq + 1
    redis.call('HSET', KEYS[1], field, ARGV[i + 1] .. ' ' .. ARGV[i + 2] .. ' ' .. ARGV[i + 3])
    redis.call('ZADD', KEYS[2], seq, field)
  end
end
redis.call('HSET', KEYS[3], 'name', name, 'seq', string.format('%d', seq))
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[6]) end
return 1
`
/** ARGV: as READ, then how many. Returns the name, the number up to which all is told, and the entries. */
const NEWS = `${READ}
if not name then return {'', '0'} end
local from = name == ARGV[1] and ARGV[2] or '0'
local found = redis.call('ZRANGE', KEYS[2], '(' .. from, '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
local answer = {name, #found > 0 and found[#found] or from}
for i = 1, #found, 2 do answer[#answer + 1] = redis.call('HMGET', KEYS[1], found[i])[1] or '' end
return answer
`
/** How often a node tells and asks: a ban is everywhere within twice this, and what Redis takes. */
export const EVERY_MS = 500
export const MOST_IN_REDIS = 100_000
const MOST_WITH_OPERATOR = MOST_IN_REDIS + MOST_OF_OPERATOR + MOST_ALLOWED
/** Entries in one command: it takes Redis less than a millisecond. */
const BATCH = 250
/** Questions in a row: after these all has been heard. */
const MOST_ASKED = Math.ceil(MOST_WITH_OPERATOR / BATCH) + 1
/** What waits to be told while Redis is away. What is more is told when it is asked for anew. */
const MOST_UNTOLD = 10_000
const EXPIRY_MS = LONGEST_BAN_MS + 2 * REMEMBERED_MS
/** How long a starting node waits for what others know. */
const FILL_MS = 1000
/** How far the clock of another node may be ahead. */
const CLOCKS_APART_MS = 60_000
const MOST_BEFORE = 1_000_000

export interface BansSharingOptions extends SharingOptions {
  readonly bans: Bans
}

export class BansSharing {
  readonly #options: BansSharingOptions
  readonly #rounds: Rounds
  /** By field. */
  readonly #untold = new Map<string, Ban>()
  #name = ''
  #heard = '0'
  #up: number | undefined

  constructor(options: BansSharingOptions) {
    this.#options = options
    this.#rounds = new Rounds({
      everyMs: EVERY_MS,
      isDue: () => this.#isUp,
      work: () => this.#work(),
      failures: new SharingFailures(options, 'bans are not shared over Redis'),
    })
    options.bans.onMade((ban) => this.#note(ban))
  }

  /** Resolves when all that others know has been heard, or after a moment. */
  async start(): Promise<void> {
    await within(this.#rounds.start(), FILL_MS, () => undefined)
  }

  /** Tells what it can within half a second. */
  stop(): Promise<void> {
    return this.#rounds.stop(async () => {
      if (this.#isUp) await this.#tell()
    })
  }

  /** Tells, and hears all that there is. Never rejects. */
  step(): Promise<void> {
    return this.#rounds.step()
  }

  get #isUp(): boolean {
    return this.#options.upSince() !== undefined
  }

  async #work(): Promise<void> {
    const up = this.#options.upSince()
    if (this.#up !== undefined && up !== this.#up) this.#beginAnew()
    this.#up = up
    await this.#tell()
    for (let asked = 0; asked < MOST_ASKED && !this.#rounds.isStopped && this.#isUp; asked++)
      if (!(await this.#hear())) break
    if (this.#untold.size > 0) await this.#tell()
  }

  #beginAnew(): void {
    this.#heard = '0'
    for (const ban of this.#options.bans.all()) this.#note(ban)
  }

  #note(ban: Ban): void {
    const field = fieldOf(ban)
    if (this.#untold.has(field) || this.#untold.size < MOST_UNTOLD) this.#untold.set(field, ban)
  }

  async #tell(): Promise<void> {
    while (this.#untold.size > 0 && this.#isUp) {
      const batch = [...this.#untold].slice(0, BATCH)
      for (const [field] of batch) this.#untold.delete(field)
      const entries = batch.flatMap(([field, ban]) => [
        field,
        ban.since,
        ban.until + REMEMBERED_MS,
        JSON.stringify(ban),
      ])
      try {
        await this.#run(TELL, [MOST_IN_REDIS, MOST_WITH_OPERATOR, EXPIRY_MS, ...entries])
      } catch (error) {
        // What was made meanwhile for the same network is later.
        for (const [field, ban] of batch) if (!this.#untold.has(field)) this.#untold.set(field, ban)
        throw error
      }
    }
  }

  /** @returns whether there is more */
  async #hear(): Promise<boolean> {
    const { bans, now } = this.#options
    const answer = await this.#run(NEWS, [BATCH])
    if (!isAnswer(answer)) throw new Nonsense('no bans')
    const [name, heard, ...entries] = answer
    if (name !== this.#name) {
      // Redis has lost what it had: it is empty, or another node has begun anew.
      if (name === '' || this.#name !== '') this.#beginAnew()
      this.#name = name
    }
    this.#heard = heard
    for (const entry of entries) {
      const ban = banIn(entry, now())
      if (ban !== undefined) bans.hear(ban)
    }
    return entries.length >= BATCH
  }

  #run(script: string, args: readonly (string | number)[]): Promise<unknown> {
    const { client, prefix, watched } = this.#options
    const key = `${prefix}{bans}`
    const known = [this.#name, this.#heard, randomBytes(8).toString('hex')]
    return watched('bans', client.eval(script, 3, key, `${key}:changes`, `${key}:about`, ...known, ...args))
  }
}

/** What is allowed does not replace a ban of the same network: that holds again afterwards. */
const fieldOf = ({ kind, by, network }: Ban): string => `${by} ${kind === 'allow' ? 'allow ' : ''}${network}`

const isAnswer = (answer: unknown): answer is [string, string, ...string[]] =>
  Array.isArray(answer) &&
  answer.length >= 2 &&
  answer.length <= 2 + BATCH &&
  answer.every((each) => typeof each === 'string') &&
  /^[0-9a-f]{0,16}$/.test(answer[0] as string) &&
  /^\d{1,15}$/.test(answer[1] as string)

function networkIn(text: unknown): Network | undefined {
  try {
    const network = typeof text === 'string' && text.length < 64 ? parseNetwork(text) : undefined
    const { family, bits } = network ?? { family: 4, bits: 0 }
    return network?.text === text && bits >= WIDEST_BITS[family] && bits <= NARROWEST_BITS[family] ? network : undefined
  } catch {
    return undefined
  }
}

/** What another node has written; undefined if it is anything else. */
export function banIn(entry: string, now: number): Ban | undefined {
  let read: Partial<Record<keyof Ban, unknown>>
  try {
    read = JSON.parse(/^\d+ \d+ (\{.*\})$/s.exec(entry)?.[1] ?? '') as typeof read
  } catch {
    return undefined
  }
  const { network, kind, by, reason, since, until, before } = read
  if (networkIn(network) === undefined || typeof reason !== 'string' || reason.length > LONGEST_REASON) return undefined
  if (!isCount(since) || !isCount(until) || !isCount(before, MOST_BEFORE)) return undefined
  const isOperators = by === 'operator' && (kind === 'ban' || kind === 'pardon' || kind === 'allow')
  const isAutomatic = by === 'automatic' && kind === 'ban' && BAN_REASONS.some((each) => each === reason)
  if (!isOperators && !isAutomatic) return undefined
  const longest = isOperators ? LONGEST_BAN_MS : LONGEST_AUTOMATIC_MS
  if (since > now + CLOCKS_APART_MS || until <= since || until - since > longest) return undefined
  return { network, kind, by, reason, since, until, before } as Ban
}
