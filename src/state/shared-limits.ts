/**
 * Limits that all nodes share: counted in this node's memory and in Redis.
 *
 * Local first. What this node alone has seen go over a limit is over it in the cluster, so its own tables are charged
 * first, with the full limit, and who is over is refused without a question. The same holds for who was refused by Redis a
 * moment ago: its answer says from when on there is room again, and until then it is not asked. So the cost of refusing
 * a client that keeps coming does not depend on Redis. All others cost one question, whose parts (one for each scope,
 * and what the outbox has to say) go out in one write together with the questions of all clients of that moment.
 *
 * All scopes are asked at once, so a wide limit may have been charged for a client that a narrow one refuses: the answers
 * are read narrow first, and what was charged for nothing is given back with the next write. Until then (a round trip) a wide
 * limit that is just full may refuse somebody it had room for; never the other way round.
 *
 * Redis away or slow: an answer is waited for as long as `timeoutMs`, and while the breaker is open not at all; the node then
 * holds to its share, the limit divided by the nodes last seen alive. Since all nodes do, the cluster stays within the
 * limit: in one window at most the limit and the shares of the nodes that had not let anybody in by Redis's word, which is less
 * than twice. When Redis is back it hears what the limits for everybody, recipients and unknown recipients have counted in
 * the window that is on; what single addresses were let in for meanwhile stays with the node that counted it.
 *
 * Recipients and what the upstreams say of them are counted at once in memory, and told to Redis by the outbox; the answer
 * is kept beside this node's own count (cluster-counts.ts), and the higher of both counts. Open connections are counted by
 * each node alone.
 */
import { LRUCache } from 'lru-cache'
import type { Client } from '../core/client.ts'
import type { LimitName, Rate, Usage, Use } from '../core/usage.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics, RedisUse } from '../telemetry/metrics.ts'
import { Breaker } from './breaker.ts'
import { ClusterCounts } from './cluster-counts.ts'
import { Late, within } from './deadline.ts'
import { type Counted, createSharedCounter } from './limiter.ts'
import { createLimits, isCharged, isRefused, type Limits, type LimitsOptions } from './limits.ts'
import { Nodes } from './nodes.ts'
import { type Account, Outbox } from './outbox.ts'
import type { RedisLink } from './redis.ts'
import { createScopes, EVERYBODY, everybody, type Scope, source } from './scopes.ts'

export interface SharedLimits extends Limits {
  /** Resolves when Redis has answered, or after a moment without: it goes on either way. */
  start(): Promise<void>
  /** Leaves the set of nodes. The link is closed by who opened it. */
  stop(): Promise<void>
  /** Whether limits are those of the cluster now, and not the share of this node. */
  shared(): boolean
  /** Nodes last seen alive, this one included. */
  nodes(): number
}

export interface SharedLimitsOptions extends LimitsOptions {
  readonly link: RedisLink
  /** Of all keys. */
  readonly prefix: string
  readonly timeoutMs: number
  /** The name of this node; no other has it. */
  readonly node: string
  readonly metrics: Metrics
  readonly log: Log
}

/** A limit with its counter in Redis. */
interface Shared extends Scope {
  readonly account: Account
  /** Keys that Redis has refused, until when, and how often they were refused since. */
  readonly refused: LRUCache<string, { readonly until: number; count: number }>
}

interface Charged {
  readonly scope: Shared
  readonly key: string
  /** By this node's own count. */
  readonly used: number
  /** What Redis says; the error where it says nothing of use; undefined where it was late. */
  answer?: Counted | Error
}

/** How long the first answer of Redis is waited for at the start. */
const START_MS = 1000
/** Keys whose refusal is remembered, for each limit; who is forgotten costs one question more. */
const REFUSED = 1 << 16
/** A limit that many share may get room by what others are given back, so it is asked again after so long. */
const ASK_AGAIN_MS = 1000
const ALL_OFF = {
  ip_connections: undefined,
  net_connections: undefined,
  global_connections: undefined,
  ip_messages: undefined,
  global_messages: undefined,
  ip_recipients: undefined,
  unknown_recipients: undefined,
} as const satisfies Record<LimitName, undefined>
const NOTHING: Usage = {}

export function createSharedLimits(options: SharedLimitsOptions): SharedLimits {
  const { rates, enforced, now, seed, link, prefix, timeoutMs, metrics, log } = options
  const { client } = link
  const scopes = createScopes(rates, seed)
  // Postmaster's budget and the like are each node's own.
  const own = createLimits({ rates: ALL_OFF, enforced, now, seed })

  const result = (use: RedisUse, failure: unknown): void =>
    metrics.redisCommands.inc(use, failure === undefined ? 'ok' : isLate(failure) ? 'timeout' : 'failed')
  const took = (use: RedisUse, started: number): void =>
    metrics.redisCommandDuration.of(use).observe((performance.now() - started) / 1000)
  /** Counts what comes of one command. */
  const watched = <T>(use: RedisUse, answer: Promise<T>): Promise<T> => {
    const started = performance.now()
    answer.then(
      () => {
        took(use, started)
        result(use, undefined)
      },
      (error: unknown) => result(use, error),
    )
    return answer
  }

  const nodes = new Nodes({
    client,
    prefix,
    node: options.node,
    announced(started, failure) {
      result('nodes', failure)
      if (failure === undefined) took('nodes', started)
    },
  })
  // Sixteen keys, so that of a cluster that has lost a part not always the same part is looked at.
  const probed = createSharedCounter({ client, prefix, name: 'probe', rate: { max: 1, windowMs: 1000 } })
  let probes = 0
  const breaker = new Breaker({
    timeoutMs,
    probe: () =>
      link.connected()
        ? watched('probe', probed.add(String(probes++ % 16), 1))
        : Promise.reject(new Error('no connection')),
    changed(closed, reason) {
      metrics.redisUp.of().value = closed ? 1 : 0
      metrics.redisFallback.of().value = closed ? 0 : 1
      if (closed) {
        log.info({ nodes: nodes.count }, 'Redis answers: limits are counted for all nodes together')
        void nodes.announce()
        outbox.flush()
      } else {
        log.warn(
          { err: reason, nodes: nodes.count },
          'Redis does not answer: this node goes on with its share of each limit',
        )
      }
    },
  })
  const outbox = new Outbox({
    now,
    open: () => breaker.closed,
    sent: (answer) => void watched('add', answer).catch(() => undefined),
  })
  metrics.redisFallback.of().value = 1

  const share = ({ max }: Rate): number => (breaker.closed ? max : Math.max(1, Math.floor(max / nodes.count)))
  const account = (name: string, { rate }: Scope, heard: Account['heard']): Account => ({
    counter: createSharedCounter({ client, prefix, name, rate }),
    windowMs: rate.windowMs,
    heard,
  })

  /** The last word of Redis on the limits for everybody. */
  const told = new Map<LimitName, { used: number; until: number }>()
  const hear = ({ limit, rate }: Scope, key: string, used: number): void => {
    if (key === EVERYBODY) told.set(limit, { used: Math.min(used, rate.max), until: now() + rate.windowMs })
  }
  const shared = (scope: Scope): Shared => ({
    ...scope,
    account: account(scope.limit, scope, (key, used) => hear(scope, key, used)),
    refused: new LRUCache({ max: scope.key === everybody ? 1 : REFUSED }),
  })
  const stages = { connect: scopes.connect.map(shared), rcpt: scopes.rcpt.map(shared) }

  /** A count of this node, with what the cluster has said of it, at most `most`. */
  const gathered = (name: string, scope: Scope | undefined, most: number) => {
    if (scope === undefined) return undefined
    const cluster = new ClusterCounts(scope.rate.windowMs)
    return {
      ...scope,
      cluster,
      account: account(name, scope, (key, used) => cluster.heard(key, Math.min(used, most), now())),
    }
  }
  const recipients = gathered('ip_recipients', scopes.recipients, rates.ip_recipients?.max ?? 0)
  const unknown = gathered('unknown_recipients', scopes.unknown, Number.MAX_SAFE_INTEGER)
  const asked = gathered('asked_recipients', scopes.asked, Number.MAX_SAFE_INTEGER)

  /** How many times, this one included, a client came since Redis refused it; 0 where it may be let in again. */
  const refusedSince = ({ refused }: Shared, key: string, at: number): number => {
    const known = refused.get(key)
    if (known === undefined) return 0
    if (at < known.until) return ++known.count
    refused.delete(key)
    return 0
  }

  const ask = async (charged: readonly Charged[], usage: { [L in LimitName]?: Use }, at: number): Promise<Usage> => {
    outbox.flush()
    const started = performance.now()
    const answers = charged.map(async (one) => {
      one.answer = await one.scope.account.counter.charge(one.key).catch((error: Error) => error)
    })
    await within(Promise.all(answers), timeoutMs).catch(() => undefined)
    took('take', started)
    for (const { answer } of charged) {
      result('take', answer === undefined ? new Late() : answer instanceof Error ? answer : undefined)
    }
    const failed = charged.filter(({ answer }) => answer === undefined || answer instanceof Error)
    if (failed.length < charged.length) breaker.succeeded()
    else {
      const reason = failed[0]?.answer
      breaker.failed(reason instanceof Error ? reason.message : `no answer within ${timeoutMs} ms`)
    }
    return conclude(charged, usage, at)
  }

  /** Reads the answers narrow first; of all that was charged nothing is left where one limit refuses. */
  const conclude = (charged: readonly Charged[], usage: { [L in LimitName]?: Use }, at: number): Usage => {
    let refusal: Charged | undefined
    const kept: Charged[] = []
    for (const one of charged) {
      const { scope, key, answer } = one
      const { limit, rate, table } = scope
      if (answer !== undefined && !(answer instanceof Error)) {
        hear(scope, key, answer.used)
        if (answer.used > rate.max) {
          const wait = scope.key === source ? answer.waitMs : Math.min(answer.waitMs, ASK_AGAIN_MS)
          scope.refused.set(key, { until: now() + wait, count: 1 })
        }
      }
      if (refusal !== undefined) {
        delete usage[limit]
        kept.push(one)
        continue
      }
      const use = useOf(one)
      usage[limit] = use
      if (use.used <= use.max) {
        kept.push(one)
        if (answer instanceof Error && key === EVERYBODY) outbox.add(scope.account, key, 1)
        continue
      }
      if (enforced(limit)) refusal = one
      table.refund(key, at)
    }
    if (refusal === undefined) return usage
    for (const { scope, key } of kept) scope.table.refund(key, at)
    for (const { scope, key, answer } of charged) {
      const isTaken = answer !== undefined && !(answer instanceof Error) && answer.used <= scope.rate.max
      if (isTaken) outbox.add(scope.account, key, -1)
    }
    return usage
  }

  /** By Redis where it has answered, else by this node's own count against its share. */
  const useOf = ({ scope: { rate }, answer, used }: Charged): Use => {
    if (answer !== undefined && !(answer instanceof Error)) return { ...rate, used: answer.used }
    return { windowMs: rate.windowMs, max: Math.max(1, Math.floor(rate.max / nodes.count)), used }
  }

  const count = (to: ReturnType<typeof gathered>, who: Client): void => {
    if (to === undefined) return
    to.table.charge(who.source, now(), Number.MAX_SAFE_INTEGER)
    to.cluster.add(who.source, 1)
    outbox.add(to.account, who.source, 1)
  }

  /** This node's count against its share, or the cluster's against the whole limit: whichever has come further. */
  const furthest = ({ table, cluster, rate }: NonNullable<ReturnType<typeof gathered>>, of: string): Use => {
    const [own, known] = [table.peek(of, now()), cluster.used(of, now())]
    const max = share(rate)
    return own / max >= known / rate.max ? { ...rate, used: own, max } : { ...rate, used: known }
  }

  link.onLost(() => breaker.open('the connection is lost'))

  return {
    ...own,
    take(stage, who, part = 'all') {
      if (who.standing === 'trusted') return NOTHING
      const at = now()
      const usage: { [L in LimitName]?: Use } = {}
      const charged: Charged[] = []
      const away = !breaker.closed
      for (const scope of stages[stage]) {
        if (!isCharged(scope, part)) continue
        const { limit, rate, table } = scope
        const key = scope.key(who)
        const max = share(rate)
        const since = away ? 0 : refusedSince(scope, key, at)
        const used = since > 0 ? max + since : table.charge(key, at, max)
        usage[limit] = { used, max, windowMs: rate.windowMs }
        if (used <= max) charged.push({ scope, key, used })
        else if (enforced(limit)) {
          for (const narrow of charged) narrow.scope.table.refund(narrow.key, at)
          return usage
        }
      }
      if (charged.length === 0) return usage
      if (!away) return ask(charged, usage, at)
      for (const { scope, key } of charged) if (key === EVERYBODY) outbox.add(scope.account, key, 1)
      return usage
    },
    recipient(who, message) {
      if (recipients === undefined || who.standing === 'trusted' || isRefused(message, enforced)) return undefined
      const { table, rate, cluster } = recipients
      const at = now()
      // The cluster's count is held against the whole limit, also while this node has only a share of it.
      const known = cluster.used(who.source, at)
      if (known >= rate.max) {
        // Nothing is within 0: refused, and counted only as that.
        const refused = table.charge(who.source, at, 0) - table.peek(who.source, at)
        return { ...rate, used: known + refused }
      }
      const max = share(rate)
      const used = table.charge(who.source, at, max)
      if (used > max) return { used, max, windowMs: rate.windowMs }
      cluster.add(who.source, 1)
      outbox.add(recipients.account, who.source, 1)
      return { used: Math.min(max, Math.max(used, known + 1)), max, windowMs: rate.windowMs }
    },
    giveBack(who, usage, amount) {
      // What was refused was given back then.
      if (isRefused(usage, enforced)) return
      const at = now()
      for (const { limit, key, table, account } of stages.rcpt) {
        const use = usage[limit]
        if (use === undefined || use.used > use.max) continue
        table.refund(key(who), at)
        outbox.add(account, key(who), -1)
      }
      if (recipients === undefined || amount === 0) return
      recipients.table.refund(who.source, at, amount)
      recipients.cluster.add(who.source, -amount)
      outbox.add(recipients.account, who.source, -amount)
    },
    heard(who, isUnknown) {
      count(asked, who)
      if (isUnknown) count(unknown, who)
    },
    lately(of) {
      if (unknown === undefined || asked === undefined) return undefined
      return { unknown: furthest(unknown, of), asked: furthest(asked, of).used }
    },
    tracked: () => scopes.connect[0]?.table.size(now()) ?? 0,
    utilization(limit) {
      const scope = [...scopes.connect, ...scopes.rcpt].find((each) => each.limit === limit)
      if (scope === undefined) return 0
      const last = told.get(limit)
      const cluster = breaker.closed && last !== undefined && now() < last.until ? last.used : 0
      return Math.max(cluster / scope.rate.max, scope.table.peek(EVERYBODY, now()) / share(scope.rate))
    },
    async start() {
      await breaker.start(START_MS)
      if (!breaker.closed) {
        log.warn({}, 'Redis does not answer yet: this node goes on with its own count of each limit')
      } else await within(nodes.announce(), timeoutMs).catch(() => undefined)
      nodes.start()
    },
    async stop() {
      breaker.stop()
      outbox.stop()
      await within(nodes.stop(), timeoutMs).catch(() => undefined)
    },
    shared: () => breaker.closed,
    nodes: () => nodes.count,
  }
}

const isLate = (error: unknown): boolean =>
  error instanceof Late || (error instanceof Error && error.message === 'Command timed out')
