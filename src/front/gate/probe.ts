/**
 * A balancer's own health check that a PROXY header of version 2 has told of (LOCAL; haproxy, proxy-protocol.txt section
 * 2.2). It is nobody's connection: it passes no gate and is in no count but its own, since a node that refused it in a
 * flood would be taken out just when every sender should hear it. Some only connect; HAProxy's `option smtpchk` waits
 * for the greeting and says EHLO.
 */
import type { Socket } from 'node:net'
import { say } from '../reply.ts'
import type { Linger } from './linger.ts'

const DEADLINE_MS = 5000
/** A check says EHLO and QUIT. */
const MAX_OCTETS = 2048

/** Talks to it for as long as a check may take. @param socket paused; its errors are listened to */
export function answerProbe(socket: Socket, hostname: string, linger: Linger): void {
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
      else socket.write(say(503, '5.5.1', 'This connection is for health checks: its PROXY header says LOCAL'))
    }
    if (octets > MAX_OCTETS) leave(say(421, '4.7.0', `${hostname} Enough for a health check`))
  }
  socket.on('data', read)
  socket.once('end', () => socket.end())
  socket.write(say(220, undefined, `${hostname} ESMTP Spillway`))
  socket.resume()
}
