/**
 * What is going on, in one sentence, and what to do about it. One pure function of the status; the order of evidence is that of the
 * table at its end, and the first that speaks is the verdict:
 *
 *  1. This node takes no clients: no worker answers, or it is starting or stopping, and figures mean little.
 *  2. No mail server is up: nobody's mail goes on, whatever else there is.
 *  3. Senders that are known do not come through: of those that came in the last ten minutes (at least KNOWN_LEAST), and were not
 *     refused by the mail servers, fewer than KNOWN_WELL (harm.ts). That is the harm that this program is to prevent, so it comes
 *     before its cause, which is named in the same sentence.
 *     After it, a certificate that has expired or is about to, and known senders that Spillway refuses for good, few as they may be:
 *     their mail bounces.
 *  4. A flood: connections are FLOOD times normal or more. What is normal is known of the hour of the week, or else of the hours
 *     so far; while nothing is known, the quiet quarter of the last hour stands for it, and the sentence says so.
 *  5. A mail server is slow while inbound is no flood: then the level has risen because of it, and limits help nobody. It comes
 *     after the flood because a flood makes servers slow, and is named there as well.
 *  6. The overload level is 2 or more for another reason: the signal is named.
 *     After it, nobody gets through although there is no flood and no pressure: a limit is far too low, or a balancer is not listed.
 *  7. What is broken and harms nobody yet: a mail server down, a worker down, Redis away, other limits on another node, the kernel's
 *     table, certificates.
 *  8. What the operator has said and may have forgotten: the node or a mail server drained, a pinned level, overload off, checks
 *     that are only observed.
 *  9. A limit turns away most of those who come, and some get through. Bots do that on an ordinary day, and so does a limit that is too
 *     low: the figures cannot tell which, so it is said, and no warning. So it is with a few connections that were all refused.
 * 10. All is well.
 */
import { certificatesEnd, certificateTrouble } from './certificates.ts'
import {
  capital,
  inboundClause,
  knownClause,
  minutes,
  SIGNAL_WORDS,
  slowClause,
  slowOf,
  times,
  troubleOf,
  type Upstream,
  unpin,
} from './clauses.ts'
import { differs } from './differences.ts'
import type { Evidence, Verdict } from './evidence.ts'
import { harmed, refusedForGood } from './harm.ts'
import { inboundOf } from './inbound.ts'
import type { Status } from './status.ts'
import { fewRefused, mostLimited, nobody } from './turned-away.ts'

/** Below this share of connections that are turned away, a flood is only much mail. */
const SHED_LEAST = 0.01

const NOTHING = 'nothing to do'

/** While they begin for the first time, none answers either. */
const noWorker: Evidence = ({ workers = [] }) => {
  const haveBegun = workers.some(({ restarts, uptimeSeconds }) => restarts > 0 || uptimeSeconds !== undefined)
  if (workers.some(({ up }) => up) || !haveBegun) return undefined
  return {
    severity: 'critical',
    text: 'No worker answers: nobody is served, and no mail is lost',
    do: 'look at the log: each worker that died is started again',
  }
}

/** One that the operator has drained serves whoever still comes: for those, all that follows is as true as ever. */
const notReady: Evidence = ({ ready, drainedSince, connectionsOpen }) =>
  ready || drainedSince !== undefined
    ? undefined
    : {
        severity: 'warn',
        text: `This node takes no new clients: it is stopping or has not begun; ${connectionsOpen} connections are open`,
        do: 'wait for its end, or look at its log',
      }

const isDrained = ({ state }: Upstream): boolean => state === 'drained'

const noUpstream: Evidence = ({ upstreams }) => {
  if (upstreams.some(({ up }) => up)) return undefined
  const hasDrained = upstreams.find(isDrained)
  const first = upstreams.find(({ error }) => error !== undefined)
  const trouble = first && troubleOf(first)
  const why = first === undefined ? '' : `; ${first.upstream}: ${trouble?.why}`
  return {
    severity: 'critical',
    text: `No mail server is up: every sender is told to come back later, and no mail is lost${why}`,
    do:
      hasDrained === undefined
        ? (trouble?.cure ?? 'bring a mail server back; spillway doctor says what to do')
        : `spillway undrain ${hasDrained.upstream}`,
  }
}

const flood: Evidence = (status) => {
  const inbound = inboundOf(status.traffic)
  if (!inbound.isFlood || inbound.times === undefined) return undefined
  const { connections = [], shed = [] } = status.traffic?.minutes ?? {}
  const isShed = (shed.at(-1) ?? 0) >= SHED_LEAST * (connections.at(-1) ?? 0)
  const level = status.overload?.level ?? 0
  const what = `flood ${times(inbound.times)} times ${inbound.than} for ${minutes(inbound.forMinutes)}`
  const slow = slowClause(status)
  const rest = [knownClause(status), ...(slow === undefined ? [] : [slow])].join('; ')
  if (!isShed && level < 2)
    return {
      severity: 'ok',
      text: `${capital(inboundClause(status))} for ${minutes(inbound.forMinutes)}, and all of it is let in; ${rest}`,
      do: NOTHING,
    }
  return {
    severity: 'warn',
    text: `${level >= 3 ? 'Shedding new senders' : 'Shedding'}: ${what}; ${rest}`,
    do: NOTHING,
  }
}

const slowUpstream: Evidence = (status) => {
  const slow = slowClause(status)
  if (slow === undefined) return undefined
  return {
    severity: 'warn',
    text: `${capital(inboundClause(status))}: this is no flood; ${knownClause(status)}; ${slow}`,
    do: `look at ${slowOf(status)[0]?.upstream}`,
  }
}

const pressed: Evidence = (status) => {
  const { overload } = status
  if (overload === undefined || overload.mode !== 'auto' || overload.level < 2) return undefined
  return {
    severity: 'warn',
    text: `Overload level ${overload.level}: ${SIGNAL_WORDS[overload.signal]}; ${inboundClause(status)}; ${knownClause(status)}`,
    do: 'look at the pressure below',
  }
}

const upstreamDown: Evidence = (status) => {
  const down = status.upstreams.filter((each) => !each.up && each.state !== 'draining' && !isDrained(each))
  const [first] = down
  if (first === undefined) return undefined
  const upstreams = [...new Set(down.map(({ upstream }) => upstream))]
  const names = upstreams.join(', ')
  const { why: reason, cure } = troubleOf(first)
  const why = reason === undefined ? '' : ` (${reason})`
  return {
    severity: 'warn',
    text: `${names} ${down.length === 1 ? 'is' : 'are'} not up${why}; the other mail servers take the mail; ${knownClause(status)}`,
    do: upstreams.length === 1 ? cure : `bring ${names} back; spillway doctor says what to do`,
  }
}

const workerDown: Evidence = ({ workers = [] }) => {
  const down = workers.filter(({ up }) => !up)
  if (down.length === 0) return undefined
  const names = down.map(({ worker }) => worker).join(', ')
  return {
    severity: 'warn',
    text: `Worker ${names} of ${workers.length} does not answer; the others serve`,
    do: 'look at the log',
  }
}

const redisDown: Evidence = (status) =>
  status.redis === undefined || status.redis.up
    ? undefined
    : {
        severity: 'warn',
        text: `Redis does not answer: each node counts alone and enforces its share of every limit; ${knownClause(status)}`,
        do: `bring Redis back${status.redis.error === undefined ? '' : ` (${status.redis.error})`}`,
      }

const kernelFails: Evidence = ({ kernel }) =>
  kernel?.state !== 'failing'
    ? undefined
    : {
        severity: 'warn',
        text: `Clients cannot be handed to the kernel${kernel.error === undefined ? '' : ` (${kernel.error})`}: they are refused over SMTP meanwhile`,
        do: 'put that right, or set SPILLWAY_KERNEL_OFFLOAD=off',
      }

const drained: Evidence = (status) => {
  const names = status.upstreams.filter(({ state }) => state === 'drained').map(({ upstream }) => upstream)
  if (status.drainedSince !== undefined)
    return {
      severity: 'warn',
      text: `The operator has drained this node: balancers send it no clients, and whoever comes is served; ${status.connectionsOpen} connections are open`,
      do: 'spillway undrain, when you are done',
    }
  const [first] = names
  if (first === undefined) return undefined
  return {
    severity: 'warn',
    text: `The operator has drained ${[...new Set(names)].join(', ')}: no new mail goes there; ${knownClause(status)}`,
    do: `spillway undrain ${first}, when you are done`,
  }
}

const asSet: Evidence = (status) => {
  const { overload, observing = [] } = status
  const until = overload?.pinnedUntil === undefined ? '' : ` until ${overload.pinnedUntil}`
  if (typeof overload?.mode === 'number')
    return {
      severity: 'warn',
      text: `The overload level is pinned at ${overload.mode}${until}, whatever the pressure; ${knownClause(status)}`,
      do: `${unpin(overload)} when you are done`,
    }
  if (overload?.mode === 'off')
    return {
      severity: 'warn',
      text: `Overload is off${until}: a flood is held back by the limits alone; ${inboundClause(status)}`,
      do: `${unpin(overload)} unless you mean it`,
    }
  if (observing.length === 0) return undefined
  return {
    severity: 'warn',
    text: `Observe mode: ${observing.join(', ')} refuse${observing.length === 1 && observing[0] !== 'all' ? 's' : ''} nobody, and only count; ${inboundClause(status)}`,
    do: 'look at what they would refuse, then take them out of SPILLWAY_OBSERVE',
  }
}

const well = (status: Status): Verdict => ({
  severity: 'ok',
  text: `All is well: ${inboundClause(status)}; ${knownClause(status)}`,
  do: NOTHING,
})

const ORDER: readonly Evidence[] = [
  noWorker,
  notReady,
  noUpstream,
  harmed,
  certificatesEnd,
  refusedForGood,
  flood,
  slowUpstream,
  pressed,
  nobody,
  upstreamDown,
  workerDown,
  redisDown,
  differs,
  kernelFails,
  certificateTrouble,
  drained,
  asSet,
  mostLimited,
  fewRefused,
]

/** @param now in ms since the epoch */
export function verdictOf(status: Status, now: number): Verdict {
  for (const evidence of ORDER) {
    const verdict = evidence(status, now)
    if (verdict !== undefined) return verdict
  }
  return well(status)
}
