/**
 * What an address would hear now, for GET /api/v1/explain. At connect the checks in force are run, with what is open and used and one
 * more. At RCPT some checks spend what they ask about, or ask the DNS; so it is put together here, of what is known, for a
 * recipient that is ours and exists.
 */
import type { Runner } from '../checks/runner.ts'
import { unknownRecipients } from '../checks/unknown-recipients.ts'
import type { Client, OpenCounts } from '../core/client.ts'
import { lookup } from '../core/ip.ts'
import { LIMITS, UNKNOWN_LIMITS } from '../core/limits.ts'
import {
  ACCEPT,
  type Facts,
  heardBy,
  type Refusal,
  refusal,
  refusalAt,
  type Verdict,
  verdictOn,
} from '../core/policy.ts'
import { checkOf, patientFormOf } from '../core/reasons.ts'
import { type MutableUsage, NO_USAGE } from '../core/usage.ts'
import type { DnsLists } from '../dns/lists.ts'
import type { Overload } from '../overload/overload.ts'
import { strangersMost } from '../overload/reserve.ts'
import type { Upstreams } from '../relay/pool/upstreams.ts'
import type { Limits, Peeked } from '../state/limits.ts'
import { crowdOf, type Seats } from '../state/seats.ts'
import type { BuiltPolicy } from './policy.ts'

export interface VerdictSources {
  /** That in force. */
  readonly policy: Pick<
    BuiltPolicy,
    | 'settings'
    | 'lists'
    | 'checks'
    | 'mode'
    | 'standingOf'
    | 'decidedBy'
    | 'countedAs'
    | 'banOf'
    | 'isRelay'
    | 'factors'
  >
  readonly overload: Pick<Overload, 'level' | 'enforced' | 'share' | 'reserve'>
  readonly limits: Pick<Limits, 'peek' | 'lately'>
  readonly seats: Pick<Seats, 'peek'>
  readonly dnsLists: Pick<DnsLists, 'peek'>
  readonly relay: { readonly upstreams: Pick<Upstreams, 'isUp'> }
}

interface AtStage {
  readonly refusal: Refusal | undefined
  /** What checks would refuse it for that are only observed. */
  readonly observed: readonly Refusal[]
}

export interface Stages {
  readonly connect: AtStage
  readonly rcpt: AtStage
  /** Of the messages of its standing that the level lets in, 0 to 1. */
  readonly share: number
  /** With one connection more. */
  readonly open: OpenCounts
  readonly peeked: readonly Peeked[]
}

export function judged(client: Client, sources: VerdictSources): Stages {
  const peeked = sources.limits.peek(client)
  const open = sources.seats.peek(client)
  const share = sources.policy.mode('overload') === 'enforce' ? sources.overload.share(client.standing) : 1
  return {
    connect: atConnect(client, open, peeked, sources),
    rcpt: unlessDown(
      client.standing === 'trusted' ? { refusal: undefined, observed: [] } : atRcpt(client, peeked, sources),
      sources,
    ),
    ...{ share: client.standing === 'trusted' ? 1 : share, open, peeked },
  }
}

function atConnect(
  client: Client,
  open: OpenCounts,
  peeked: readonly Peeked[],
  { policy, overload }: VerdictSources,
): AtStage {
  const observed: Refusal[] = []
  const { maxConnections: max } = policy.settings
  if (open.total > max) return { refusal: refusal('max_connections', { used: open.total, max }), observed }
  const crowd = crowdOf(client, open, max, () => strangersMost(max, overload.reserve))
  if (crowd !== undefined) return { refusal: refusal('net_concurrency', crowd), observed }
  const usage: MutableUsage = {}
  for (const { limit, used, max: most, windowMs } of peeked)
    if (LIMITS[limit].counts === 'connections') usage[limit] = { used: used + 1, max: most, windowMs }
  const run = (part: 'uncounted' | 'counted', of: typeof usage): Refusal | undefined =>
    refusedIn(policy.checks.run('connect', part, { client, open, usage: of }, (_, seen) => observed.push(seen)))
  return { refusal: run('uncounted', NO_USAGE) ?? run('counted', usage), observed }
}

/** No check of connect waits for anything. */
const refusedIn = (verdict: ReturnType<Runner['run']>): Refusal | undefined =>
  verdict instanceof Promise || verdict.action === 'accept' ? undefined : verdict

/** In the order of checks/index.ts. */
function atRcpt(
  client: Client,
  peeked: readonly Peeked[],
  { policy, overload, limits, dnsLists }: VerdictSources,
): AtStage {
  const observed: Refusal[] = []
  const facts = { client, exempt: false } as Facts['rcpt']
  const lately = unknownRecipients
  const verdicts: Verdict[] = [
    ...listedAtRcpt(client, policy),
    ...UNKNOWN_LIMITS.map(
      (limit) =>
        lately(limit, (who) => (who.isRelay === true ? undefined : limits.lately(who, limit))).judge(
          facts,
          NEVER,
        ) as Verdict,
    ),
    dnsblOf(client, policy, dnsLists),
    overload.share(client.standing) > 0
      ? ACCEPT
      : refusalAt('rcpt', 'overload', { overloadLevel: overload.level, share: 0 }),
    ...peeked
      .filter(({ limit }) => LIMITS[limit].counts === 'messages' || LIMITS[limit].counts === 'recipients')
      .map(({ limit, used, max, windowMs }) => verdictOn(limit, { used: used + 1, max, windowMs })),
  ]
  for (const verdict of verdicts) {
    if (verdict.action === 'accept') continue
    const heard = heardBy(client, verdict)
    if (policy.mode(checkOf(verdict.reason as Parameters<typeof checkOf>[0])) === 'enforce')
      return { refusal: heard, observed }
    observed.push(heard)
  }
  return { refusal: undefined, observed }
}

/** What passes our checks needs a mail server. */
function unlessDown(at: AtStage, { policy, relay: { upstreams } }: VerdictSources): AtStage {
  const isAnyUp = policy.settings.upstreams.some(({ label }) => upstreams.isUp(label))
  return at.refusal !== undefined || isAnyUp ? at : { ...at, refusal: refusal('upstream_down') }
}

const NEVER = new AbortController().signal

/** SPILLWAY_DENY_STAGE=rcpt. */
function listedAtRcpt(client: Client, { settings, lists, banOf }: VerdictSources['policy']): Verdict[] {
  if (settings.denyStage !== 'rcpt') return []
  const ban = banOf(client)
  const isDenied = lookup(lists.deny)(client.ip) && client.isRelay !== true
  return [
    isDenied ? refusalAt('rcpt', 'denied') : ACCEPT,
    ban === undefined ? ACCEPT : refusalAt('rcpt', 'banned', {}, ban.by === 'operator'),
  ]
}

function dnsblOf(
  { ip, standing }: Client,
  { settings }: VerdictSources['policy'],
  dnsLists: Pick<DnsLists, 'peek'>,
): Verdict {
  const isJudged = standing === 'new' || standing === 'suspect'
  const said = isJudged ? dnsLists.peek(ip) : undefined
  const { dnsblThreshold: max, dnsbl } = settings
  if (said === undefined || said.score < max) return ACCEPT
  const given = refusal('dnsbl', { used: said.score, max, zones: said.zones.join(' ') })
  return dnsbl === 'reject' ? given : { ...given, ...patientFormOf('dnsbl') }
}
