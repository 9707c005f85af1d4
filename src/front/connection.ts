/**
 * The life of a connection, from accept to the last line in the log. All other files only serve this one.
 *
 *     identify   who the client is: address, PROXY header of a listed balancer,        gate/identify.ts
 *                standing
 *     gate       checks of stage connect; a refusal costs one write and one close,     checks/index.ts
 *                and no SMTP object exists yet
 *     greeting   220, at once or after a moment, and who speaks before it              gate/greeting.ts
 *     session    SMTP: checks of helo, mail, rcpt; the relay from the first            session/, relay/transaction/
 *                recipient on that passed them
 *     outcome    counters and one log line                                             outcome.ts
 *
 * What a client takes or is charged on the way, where this happens, and who is exempt:
 *
 *     gate         a seat, until the client is gone      MAX_CONNECTIONS; nobody is exempt. Strangers have a part of it
 *                                                        (overload/reserve.ts), and so has each neighbourhood
 *                                                        (state/seats.ts); trusted clients are exempt from this last rule
 *     gate         a connection: to its source, to its   limits.take('connect') below; trusted clients are exempt
 *                  network, to all clients together
 *     STARTTLS     a place for its TLS handshake, until  TLS_HANDSHAKES; a trusted client may have more than one address may
 *                  that is over
 *     first RCPT   a message: to its source, to all      limits.take('rcpt') in session/; trusted clients are exempt.
 *                                                        postmaster, abuse and verifications by a null sender are charged
 *                                                        to a budget of their own, and to the limits all clients share
 *     each RCPT    a recipient: to its source            limits.recipient() in session/; exempt as above
 *     first RCPT   a slot: one of the connections that   relay/pool/ decides who gets the next one, by shares of sources;
 *     that passed  the mail servers may have             nobody is exempt. Strangers have a part of them
 */
import type { Socket } from 'node:net'
import type { Runner } from '../checks/runner.ts'
import type { Client, OpenCounts } from '../core/client.ts'
import { stackOf } from '../core/errors.ts'
import { andThen, fenced, type Maybe } from '../core/maybe.ts'
import { type Refusal, refusal, type Stage, type Verdict } from '../core/policy.ts'
import { NO_USAGE } from '../core/usage.ts'
import type { Limits } from '../state/limits.ts'
import { crowdOf, type Seat, type Seats } from '../state/seats.ts'
import type { Log } from '../telemetry/log.ts'
import type { BalancerWarnings } from './gate/balancer-warnings.ts'
import { type Greeting, waited } from './gate/greeting.ts'
import type { Identify, Identity } from './gate/identify.ts'
import type { Linger } from './gate/linger.ts'
import type { NatWatch } from './gate/nat-watch.ts'
import { answerProbe } from './gate/probe.ts'
import type { Outcomes } from './outcome.ts'
import type { Voice } from './reply.ts'
import type { Session, Sessions } from './session/session.ts'
import type { SessionRecord } from './session-record.ts'

export interface ConnectionParts {
  readonly identify: Identify
  readonly seats: Seats
  readonly maxConnections: () => number
  /** How many of them strangers may hold together. */
  readonly strangersMost: () => number
  readonly limits: Limits
  /** Those in force. */
  readonly checks: () => Runner
  readonly greeting: Greeting
  /** Begin to ask the DNS about a client that was let in. Nobody waits for the answer here. */
  readonly asking: readonly { ask(client: Client): void }[]
  readonly sessions: Sessions
  readonly outcomes: Outcomes
  readonly voice: Voice
  readonly linger: Linger
  readonly natWatch: NatWatch
  readonly warnings: Pick<BalancerWarnings, 'mailOnProbe'>
  readonly log: Log
  /** The sessions under way, for whoever has to end them. */
  readonly live: { add(session: Session): void; delete(session: Session): void }
}

interface OpenConnection {
  readonly socket: Socket
  readonly client: Client
  readonly record: SessionRecord
  /** With this one. */
  readonly open: OpenCounts
}

const nothing = (): void => undefined

/**
 * Serves one accepted socket (paused, half-open allowed) to its end. Never throws or rejects.
 * @returns undefined if the connection is over at once: no promise is made for a client that is refused
 */
export function serve(socket: Socket, parts: ConnectionParts): Promise<void> | undefined {
  socket.on('error', nothing)
  const served = fenced(
    () => andThen(parts.identify(socket), (identity) => identified(socket, identity, parts)),
    (error) => failed(socket, error, parts),
  )
  return served instanceof Promise ? served : undefined
}

function identified(socket: Socket, identity: Identity | undefined, parts: ConnectionParts): Maybe<void> {
  if (identity === undefined) {
    socket.destroy()
    return
  }
  if (identity.kind === 'probe') {
    answerProbe(socket, parts.voice.hostname, parts.linger, () => parts.warnings.mailOnProbe(identity.ip))
    return
  }
  const { client } = identity
  if (identity.kind === 'client' && client.isDirect) parts.natWatch.seen(client.ip)
  const connection = { socket, client, record: parts.outcomes.begin(client), open: parts.seats.peek(client) }
  const why = identity.kind === 'bad' ? identity.why : undefined
  const verdict = why === undefined ? judged(connection, parts) : refusal('proxy_header', { why })
  // Whoever is refused at once is gone before anybody else could find its seat taken.
  if (!(verdict instanceof Promise)) {
    return verdict.action === 'accept'
      ? talk(connection, parts.seats.take(client), parts)
      : turnAway(connection, verdict, parts)
  }
  const seat = parts.seats.take(client)
  return verdict.then((late) => {
    if (late.action === 'accept') return talk(connection, seat, parts)
    // This comes first, so that the seat is freed whatever goes wrong below.
    seat.free()
    return turnAway(connection, late, parts)
  })
}

/** The gate's verdict. If the gate itself fails, the client still gets a reply and may come back. */
function judged(connection: OpenConnection, parts: ConnectionParts): Maybe<Verdict> {
  return fenced(
    () => gate(connection, parts),
    (error) => {
      parts.log.error({ err: stackOf(error) }, 'gate failed')
      return refusal('internal')
    },
  )
}

/** Decides whether the client gets in. A refusal before anything is charged uses up nobody's budget. */
function gate({ client, record, open }: OpenConnection, parts: ConnectionParts): Maybe<Verdict> {
  const { limits, outcomes } = parts
  const max = parts.maxConnections()
  const checks = parts.checks()
  if (open.total > max) return refusal('max_connections', { used: open.total, max })
  const crowd = crowdOf(client, open, max, parts.strangersMost)
  if (crowd !== undefined) return refusal('net_concurrency', crowd)
  const observed = (stage: Stage, seen: Refusal): void => outcomes.observed(record, stage, seen)
  return andThen(checks.run('connect', 'uncounted', { client, open, usage: NO_USAGE }, observed), (first) => {
    if (first.action !== 'accept') return first
    return checks.run('connect', 'counted', { client, open, usage: limits.take('connect', client) }, observed)
  })
}

function turnAway({ socket, client, record }: OpenConnection, verdict: Refusal, parts: ConnectionParts): void {
  const { outcomes, linger, voice } = parts
  outcomes.refused(record, client, 'connect', verdict)
  linger.farewell(socket, voice.refusal(client, verdict))
  outcomes.end(record, client)
  outcomes.tell(record, client)
}

async function talk({ socket, client, record }: OpenConnection, seat: Seat, parts: ConnectionParts): Promise<void> {
  const { greeting, asking, sessions, live, outcomes, log } = parts
  let session: Session | undefined
  try {
    // Not earlier: for a refused client the system call would be wasted.
    socket.setNoDelay(true)
    session = sessions.open(socket, { client, open: seat.open, usage: NO_USAGE }, record)
    live.add(session)
    for (const each of asking) each.ask(client)
    session.isDue = true
    const wait = greeting(client, socket, () => session?.tease())
    const failed = (error: unknown): void => log.error({ err: stackOf(error) }, 'greeting failed')
    session.greet(wait !== undefined && (await waited(wait, failed)))
    await session.over
  } finally {
    seat.free()
    outcomes.end(record, client)
    if (session !== undefined) {
      await session.settled
      live.delete(session)
    }
    // Not earlier: the dot of a client that has left may still have been answered.
    outcomes.tell(record, client)
  }
}

function failed(socket: Socket, error: unknown, parts: ConnectionParts): void {
  parts.log.error({ err: stackOf(error) }, 'connection failed')
  socket.destroy()
}
