/**
 * The way of a connection, from accept to the last line in the log. Everything else is what this story uses.
 *
 *     identify   who is it: address, PROXY header of a listed balancer, standing
 *     gate       checks of stage connect; a refusal costs one write and one close, no SMTP object exists yet
 *     session    SMTP is spoken; checks of helo, mail, rcpt; from the first recipient on, the relay
 *     outcome    counters and one log line
 */
import type { Socket } from 'node:net'
import type { Runner } from '../checks/runner.ts'
import type { Client } from '../core/client.ts'
import { type Facts, type Refusal, refusal, type Stage, type Verdict } from '../core/policy.ts'
import type { Limits } from '../state/limits.ts'
import type { Seats } from '../state/seats.ts'
import type { Log } from '../telemetry/log.ts'
import type { Identify } from './identify.ts'
import type { Linger } from './linger.ts'
import type { NatWatch } from './nat-watch.ts'
import type { Outcomes, Record } from './outcome.ts'
import type { Voice } from './reply.ts'
import type { Session, Sessions } from './session.ts'

export interface ConnectionParts {
  readonly identify: Identify
  readonly seats: Seats
  readonly maxConnections: number
  readonly limits: Limits
  readonly checks: Runner
  readonly sessions: Sessions
  readonly outcomes: Outcomes
  readonly voice: Voice
  readonly linger: Linger
  readonly natWatch: NatWatch
  readonly log: Log
  /** Sessions that go on, for whoever has to end them. */
  readonly live: Set<Session>
}

/** Serves one accepted socket (paused, half-open allowed) to its end. Never rejects. */
export async function serve(socket: Socket, parts: ConnectionParts): Promise<void> {
  socket.on('error', () => undefined)
  try {
    const asked = parts.identify(socket)
    const identity = asked instanceof Promise ? await asked : asked
    if (identity === undefined || identity.kind === 'probe') {
      socket.destroy()
      return
    }
    const { client } = identity
    if (identity.kind === 'client' && identity.direct) parts.natWatch.seen(client.ip)
    const record = parts.outcomes.begin(client)
    const seat = parts.seats.take(client)
    let session: Session | undefined
    try {
      const facts = { client, open: seat.open, usage: {} }
      const judged = identity.kind === 'bad' ? refusal('proxy_header') : gate(facts, record, parts)
      const verdict = judged instanceof Promise ? await judged : judged
      if (verdict.action !== 'accept') turnAway(socket, client, verdict, record, parts)
      else {
        session = parts.sessions.speak(socket, facts, record)
        parts.live.add(session)
        await session.over
      }
    } finally {
      seat.free()
      const outcome = parts.outcomes.end(record, client)
      if (session !== undefined) {
        await session.settled
        parts.live.delete(session)
      }
      parts.outcomes.tell(record, client, outcome)
    }
  } catch (error) {
    parts.log.error({ err: error instanceof Error ? error.stack : String(error) }, 'connection failed')
    socket.destroy()
  }
}

/** Whether the client gets in. What is refused before anything is counted spends nobody's budget. */
function gate(facts: Facts['connect'], record: Record, parts: ConnectionParts): Verdict | Promise<Verdict> {
  const { client, open } = facts
  const { checks, limits, outcomes } = parts
  if (open.total > parts.maxConnections)
    return refusal('max_connections', { used: open.total, max: parts.maxConnections })
  const observed = (stage: Stage, seen: Refusal): void => outcomes.observed(record, stage, seen)
  const counted = (first: Verdict): Verdict | Promise<Verdict> => {
    if (first.action !== 'accept') return first
    const usage = limits.take('connect', client)
    return usage instanceof Promise
      ? usage.then((known) => checks.run('connect', 'counted', { client, open, usage: known }, observed))
      : checks.run('connect', 'counted', { client, open, usage }, observed)
  }
  const first = checks.run('connect', 'uncounted', facts, observed)
  return first instanceof Promise ? first.then(counted) : counted(first)
}

function turnAway(socket: Socket, client: Client, verdict: Refusal, record: Record, parts: ConnectionParts): void {
  parts.outcomes.refused(record, 'connect', verdict)
  parts.linger.farewell(socket, parts.voice.refusal(client, verdict))
}
