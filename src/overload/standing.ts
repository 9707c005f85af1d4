/**
 * Who a client is to us: its standing. It is decided once, at accept, from the client's address: that of the socket, or
 * the one in the PROXY header of a listed balancer. Every check, limit, log line and metric goes by it. A new client's is looked
 * at once more before each message is judged, at MAIL and at its recipient (front/gate/identify.ts), because the DNS may have told whose address it is by then.
 *
 * The evidence, from the strongest to the weakest; the first that applies decides:
 *
 *     1. the allow list        the operator's own decision                                                  -> trusted
 *     2. the relays list       it carries everybody's mail: good and bad say nothing about it               -> seen
 *     3. the operator's ban    as long as it lasts                                                          -> banned
 *     4. its own good mail     at least KNOWN_AFTER good messages over at least KNOWN_DAYS days, and of
 *                              the latest messages at least 80 % good; and its neighbourhood has not turned,
 *                              or it is spared (below)                                                      -> known
 *     5. a ban                 that came by itself, as long as it lasts (state/offences.ts)                 -> banned
 *     6. a turned network      as 4, but its neighbourhood has turned, and it is not spared                 -> seen
 *     7. its own bad mail      of the latest messages more bad than good, and more than one bad             -> suspect
 *     8. bad neighbours        more than three bad addresses in its neighbourhood lately, and less than
 *                              20 % good ones (state/neighbourhoods.ts)                                     -> suspect
 *     9. a little good mail    a good message, but not enough for 4; two of them, if an address of its
 *                              neighbourhood was bad within a day and less than 20 % were good ones          -> seen
 *    10. good neighbours       addresses of its neighbourhood were good five times over at least KNOWN_DAYS
 *                              days, each once a day, and of those heard lately at least 80 % were good, and
 *                              it has not turned                                                            -> seen
 *    11. a good domain         it has sent nothing bad, its neighbourhood has not turned, and addresses whose
 *                              forward-confirmed names are of the same organisation have sent good mail
 *                              twenty times, from three networks or more, over at least a week, and of those
 *                              heard lately at least 80 % were good                                         -> seen
 *    12. none                                                                                               -> new
 *
 * "Over at least so many days" means: from the first good message to the last it is so many days of 24 hours, less one
 * day and four hours. With 2 days that is 20 hours, so that a mail server that sends once a day counts two days on the
 * second of them, and one that sends just before and just after midnight does not. With 1 day, any time will do.
 *
 * A good message that turned out to be none keeps its place in the count and loses its weight (state/past.ts). So 4 also asks that
 * the latest messages have enough good ones: KNOWN_AFTER, or half of those that a client is judged by. And 9 asks for any.
 *
 * Bad neighbours never take anybody's own good standing away (4 comes before 5 and 8), and a neighbourhood in which a fifth of the
 * addresses are good ones is no evidence against any of them: so a big provider's pool never turns suspect as a whole.
 * An address with one or two messages that got through is not spared by 9 among bad neighbours: that is what
 * a spammer with a whole network has. And a single one says nothing where a neighbour has just been bad.
 *
 * A neighbourhood has turned (snowshoe) while of the latest messages that came from known clients of it at least six are bad, from
 * three addresses or more, and more than half are bad (state/latest-mail.ts): six in a row cost one friend its standing. Each of its
 * addresses has a good past to spend, so without this a /24 would bring the spam of all of them. While it lasts they share the limits of
 * one client (sharesLimits), so that together they bring no more than one known sender that turns bad. They are seen, and not suspect:
 * some of them may be somebody else's. It is over within minutes, or when most of the latest mail is good again. A provider's pool whose
 * mail is mostly good never turns, however much spam is in it, and the spam of those who are not known turns nobody. Spared is an
 * address that has sent three good messages within these minutes and no bad one since: whoever sends that many for one bad message
 * gains no more by it than by the half that would keep the network from turning.
 *
 * A domain lends less than a neighbourhood, because more can get into it. Nobody can forge one: the name must point back to the
 * address. But whoever rents a machine may get a name of its hoster, and a spammer may register a domain, send wanted mail from
 * it for a week, and then have a thousand machines named in it. So a name that the owner of the network gave to the address says
 * nothing about who sends from there (dns/organisation.ts). A domain makes nobody known, and it helps nobody who has sent bad mail or
 * sits among bad neighbours or in a network that has turned. Its own history must be long, wide and mostly good. A thousand such machines are seen until
 * twenty-three of them have sent something bad: of the latest hundred addresses less than 80 % are good then. A domain never makes
 * anybody suspect. So nobody is hurt by sharing it with others: without its help a client is what it was.
 *
 * The deny list is not evidence: it is a check of its own (checks/denied.ts), which an operator may only observe.
 */
import type { BannedBy } from '../core/bans.ts'
import type { Remembered, Standing } from '../core/client.ts'
import { GOOD_ADDRESSES, GOOD_NETS, netsOf } from '../state/domains.ts'
import type { Latest } from '../state/latest-mail.ts'
import { HOURS_A_DAY, OWN_MEMORY, type Past } from '../state/past.ts'

/** A client's address and the keys it is counted under; see Client in core/client.ts. */
export interface ClientAddress {
  readonly ip: string
  readonly source: string
  readonly net: string
  /** See Client in core/client.ts. */
  readonly domain?: string | undefined
}

export interface Evidence {
  /** Whether the operator has it on the allow list. */
  readonly isAllowed: boolean
  /** Whether the operator has it on the list of relays. */
  readonly isRelay?: boolean
  /** Who has banned it, if anybody. */
  readonly banned?: BannedBy | undefined
  /** Of its source, as it weighs now. */
  readonly own: Past
  /** Of its neighbourhood, as it weighs now. It counts addresses, each once a day, where `own` counts messages. */
  readonly net: Past
  /** Of its domain, as it weighs now; undefined: it has none, or none is known. It counts addresses, too. */
  readonly domain?: Past | undefined
  /** What its neighbourhood, and it, have sent within the last minutes; absent: nothing. */
  readonly latest?: Latest | undefined
}

/** KNOWN_AFTER and KNOWN_DAYS. */
export interface Needs {
  readonly after: number
  readonly days: number
}

const GOOD_SHARE = 0.8
/** So many good ones among the latest messages are enough, whatever KNOWN_AFTER is. */
const ENOUGH = OWN_MEMORY / 2
/** More than these are evidence: two bad messages are, until a day later they weigh no more than one. */
const BAD_MESSAGES = 1
const BAD_NEIGHBOURS = 3
/** What mail servers let a bot get away with now and then. */
const ONE_MESSAGE = 1
/** So many are a doubt: one bad address, until a day later it weighs less. */
const DOUBTFUL_NEIGHBOURS = 0.5
/** So many or more are evidence. */
const GOOD_NEIGHBOURS = 5
/** A neighbourhood with this share of good addresses is no evidence against the others. */
const POOL_SHARE = 0.2
/** A domain has so many days behind it at least, whatever KNOWN_DAYS is: registering one costs little. */
const DOMAIN_DAYS = 7
/** More than this of its own bad mail, and nobody helps: one bad message weighs as much a day later. */
const BAD_OF_ITS_OWN = 0.5
/** At least so many bad messages, from so many addresses, and more than this share of all: the network has turned. Six within seconds are enough. */
const TURNED_MESSAGES = 5.5
const TURNED_ADDRESSES = 3
const TURNED_SHARE = 0.5
/** Three within minutes weigh more than this, since each has lost a little by then. */
const SPARED_GOOD = 2
/** A daily sender is not always on time. */
const EARLY_HOURS = 4

/** What decides a standing, in the order above, and what it makes of a client. */
export const STANDING_BY = {
  allow_list: 'trusted',
  relays_list: 'seen',
  operators_ban: 'banned',
  own_good_mail: 'known',
  automatic_ban: 'banned',
  turned_network: 'seen',
  own_bad_mail: 'suspect',
  bad_neighbours: 'suspect',
  a_little_good_mail: 'seen',
  good_neighbours: 'seen',
  good_domain: 'seen',
  nothing: 'new',
} as const satisfies Readonly<Record<string, Standing>>
export type DecidedBy = keyof typeof STANDING_BY

export const standingOf = (evidence: Evidence, needs: Needs): Standing => STANDING_BY[decidedBy(evidence, needs)]

/** Which evidence decides. */
export function decidedBy(evidence: Evidence, needs: Needs): DecidedBy {
  const { isAllowed, isRelay = false, banned, own, net } = evidence
  if (isAllowed) return 'allow_list'
  if (isRelay) return 'relays_list'
  if (banned === 'operator') return 'operators_ban'
  const by = standingAlone(own, needs)
  const isOfTurned = isOfTurnedNetwork(evidence)
  if (by === 'known' && (!isOfTurned || isSpared(evidence))) return 'own_good_mail'
  if (banned !== undefined) return 'automatic_ban'
  if (by === 'known') return 'turned_network'
  if (by === 'suspect') return 'own_bad_mail'
  if (isBadNeighbourhood(net)) return 'bad_neighbours'
  if (by === 'seen' && (own.good > ONE_MESSAGE || !hasDoubtfulNeighbours(net))) return 'a_little_good_mail'
  return isOfTurned ? 'nothing' : lentBy(evidence, needs)
}

/** Who has nothing to show of its own. */
function lentBy({ own, net, domain }: Evidence, needs: Needs): DecidedBy {
  if (isGoodNeighbourhood(net, needs)) return 'good_neighbours'
  const isLent = domain !== undefined && own.recentBad <= BAD_OF_ITS_OWN && isGoodDomain(domain, needs)
  return isLent ? 'good_domain' : 'nothing'
}

/**
 * Whether it has no limits of its own, because its network has turned: all its clients that have been good for long enough share those of one
 * client, and those whom their own bad mail has cost their standing as well.
 */
export const sharesLimits = (evidence: Evidence, needs: Needs): boolean =>
  isOfTurnedNetwork(evidence) && hasGoodPast(evidence.own, needs) && decidedBy(evidence, needs) !== 'own_good_mail'

function isOfTurnedNetwork({ isAllowed, isRelay, banned, latest }: Evidence): boolean {
  return latest !== undefined && !isAllowed && !isRelay && banned !== 'operator' && hasTurned(latest)
}

/** Whether a network has turned. */
export function hasTurned({ good, bad, badAddresses }: Latest): boolean {
  return badAddresses >= TURNED_ADDRESSES && bad >= TURNED_MESSAGES && bad > TURNED_SHARE * (good + bad)
}

const isSpared = ({ latest }: Evidence): boolean => (latest?.ownGood ?? 0) > SPARED_GOOD

/** Whether a client has been good for long enough, whatever its latest messages were. */
export const hasGoodPast = (own: Past, { after, days }: Needs): boolean => own.good >= after && lastsFor(own, days)

/** What a client's own history alone makes of it. */
export function standingAlone(own: Past, needs: Needs): Remembered {
  const { recentGood, recentBad } = own
  if (hasGoodPast(own, needs) && recentGood >= Math.min(needs.after, ENOUGH) && isMostlyGood(own)) return 'known'
  if (recentBad > BAD_MESSAGES && recentBad > recentGood) return 'suspect'
  return recentGood > 0 ? 'seen' : 'new'
}

const isMostlyGood = ({ recentGood, recentBad }: Past): boolean => recentGood >= GOOD_SHARE * (recentGood + recentBad)

const lastsFor = ({ first, lastGood }: Past, days: number): boolean =>
  days <= 1 || lastGood - first >= (days - 1) * HOURS_A_DAY - EARLY_HOURS

/**
 * Whether its neighbourhood makes a stranger doubtful (returning.ts): an address of it was bad within a day, and fewer than a fifth of
 * those heard lately were good. More than three make it suspect.
 */
export const hasDoubtfulNeighbours = ({ recentGood, recentBad }: Past): boolean =>
  recentBad >= DOUBTFUL_NEIGHBOURS && recentGood < POOL_SHARE * (recentGood + recentBad)

const isBadNeighbourhood = ({ recentGood, recentBad }: Past): boolean =>
  recentBad > BAD_NEIGHBOURS && recentGood < POOL_SHARE * (recentGood + recentBad)

const isGoodNeighbourhood = (net: Past, { days }: Needs): boolean =>
  net.good >= GOOD_NEIGHBOURS && lastsFor(net, days) && isMostlyGood(net)

const isGoodDomain = (domain: Past, { days }: Needs): boolean =>
  domain.good >= GOOD_ADDRESSES &&
  netsOf(domain) >= GOOD_NETS &&
  lastsFor(domain, Math.max(days, DOMAIN_DAYS)) &&
  isMostlyGood(domain)
