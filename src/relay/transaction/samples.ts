/** What a client's connection shows of its mail server: for the metrics, and for how many connections the server can make use of. */
import type { UpstreamCommand } from '../../telemetry/metrics.ts'
import { connectResult, type Server } from '../pool/server.ts'
import { UpstreamRefusal } from '../smtp/dial.ts'
import { isDrop, type Reply } from '../smtp/reply.ts'
import { UpstreamError } from '../smtp/upstream-error.ts'

/** Whose connection it is: the neighbourhood of the client. */
type Net = string

/** The connection is ready for MAIL. */
export function connected(server: Server, net: Net, ms: number): void {
  server.series.connects.ok.value++
  server.series.durations.connect.observe(ms / 1000)
  server.load.replied('connect', ms, 0, net, server.connections)
}

export function notConnected(server: Server, net: Net, error: unknown): void {
  server.series.connects[connectResult(error)].value++
  unanswered(server, net, error)
}

export interface Answered {
  readonly command: Exclude<UpstreamCommand, 'connect'>
  readonly reply: Reply
  readonly ms: number
  /** Size of the message, if the reply is about one. */
  readonly octets: number
}

export function answered(server: Server, net: Net, { command, reply, ms, octets }: Answered): void {
  server.series.durations[command].observe(ms / 1000)
  server.series.replies(reply.code).value++
  if (isDrop(reply, command)) dropped(server, net)
  else if (reply.code < 300 && (command === 'rcpt' || command === 'dot')) {
    server.load.replied(command, ms, octets, net, server.connections)
    if (command === 'dot') server.breaker.accepted()
  }
}

/** A connection, or the reply to a command, did not come. */
export function unanswered(server: Server, net: Net, error: unknown): void {
  if (isSignOfLoad(error)) dropped(server, net)
}

function dropped(server: Server, net: Net): void {
  server.load.dropped(net, server.connections)
  server.breaker.failed(net)
}

/** Whether a server failed because it has more than it can do: no connection, no answer in time, or a reply that says so. */
function isSignOfLoad(error: unknown): boolean {
  if (error instanceof UpstreamRefusal) return isDrop(error.reply, error.phase === 'greeting' ? 'greeting' : 'ehlo')
  return error instanceof UpstreamError && (error.fault === 'timeout' || (error.fault === 'lost' && !error.connected))
}
