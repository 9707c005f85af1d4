/**
 * Answers a balancer's own health check, which front/gate/identify.ts recognizes. It belongs to no client, so it passes
 * no gate and is in no count but its own: if a node refused it in a flood, the balancer would take the node out of
 * service just when every sender needs an answer. Some checks only connect; HAProxy's `option smtpchk` waits for the
 * greeting and says EHLO.
 *
 * Nobody can tell whose mail would come this way, so it is deferred with 4yz and a warning: the balancer is
 * misconfigured, and the mail must not bounce for that.
 */
import type { Socket } from 'node:net'
import { say } from '../reply.ts'
import type { Linger } from './linger.ts'

const DEADLINE_MS = 5000
/** Many times what EHLO and QUIT need. */
const MAX_OCTETS = 2048

/**
 * Talks to the balancer for as long as a check may take.
 * @param socket paused, with a listener for its errors @param mailTried called if the balancer says MAIL
 */
export function answerProbe(socket: Socket, hostname: string, linger: Linger, mailTried: () => void): void {
  if (socket.readableEnded || socket.destroyed) {
    socket.destroy()
    return
  }
  const timer = setTimeout(() => socket.destroy(), DEADLINE_MS)
  timer.unref()
  socket.once('close', () => clearTimeout(timer))
  let line = ''
  let octets = 0
  const leave = (reply: string): void => {
    socket.off('data', read)
    linger.farewell(socket, reply)
  }
  const read = (chunk: Buffer): void => {
    octets += chunk.length
    const lines = (line + chunk.toString('latin1')).split('\n')
    line = lines.pop() ?? ''
    for (const each of lines) {
      const verb = each.trim().slice(0, 4).toUpperCase()
      if (verb === 'QUIT') {
        leave(say(221, '2.0.0', `${hostname} closing connection`))
        return
      }
      if (verb === 'EHLO' || verb === 'HELO') socket.write(say(250, undefined, hostname))
      else if (verb === 'NOOP' || verb === 'RSET') socket.write(say(250, '2.0.0', 'Ok'))
      else {
        if (verb === 'MAIL') mailTried()
        socket.write(
          say(451, '4.3.0', `${hostname} A health check: the PROXY header of this connection names no client`),
        )
      }
    }
    if (octets > MAX_OCTETS) leave(say(421, '4.7.0', `${hostname} Enough for a health check`))
  }
  socket.on('data', read)
  socket.once('end', () => socket.end())
  socket.write(say(220, undefined, `${hostname} ESMTP Spillway`))
  socket.resume()
}
