/**
 * A proxy that hides the client makes the mail server behind it an open relay: the server takes a stranger for a trusted
 * neighbour. So each server is asked, in exactly the way that clients reach it, whether it accepts a recipient that is not ours.
 */

import { type DialSettings, type Target, timeLeft, UpstreamRefusal } from '../smtp/dial.ts'
import { isAboutUs, type Reply } from '../smtp/reply.ts'
import { dialAsStranger } from './stranger.ts'

/** RFC 2606: nobody's mailbox. */
const FOREIGN_RECIPIENT = '<relay-test@relay-test.example.net>'

/** `put-off`: a 4yz, such as greylisting gives every stranger, tells us neither. The server has to be asked again. */
export type RelayAnswer = 'relays' | 'refuses' | 'put-off'

const answerOf = ({ code }: Reply): RelayAnswer => (code < 300 ? 'relays' : code < 500 ? 'put-off' : 'refuses')

/** @throws UpstreamError, UpstreamRefusal if the server could not be asked */
export async function askWhetherRelay(server: Target, settings: DialSettings, deadline: number): Promise<RelayAnswer> {
  try {
    const { smtp } = await dialAsStranger(server, settings, deadline)
    try {
      const mail = await smtp.command('MAIL FROM:<>', timeLeft(deadline, settings.elapsed(), settings.replyTimeoutMs))
      // The server takes nothing from us at all, so its refusal says nothing about relaying.
      if (isAboutUs(mail)) throw new UpstreamRefusal('mail', mail)
      if (mail.code >= 300) return answerOf(mail)
      return answerOf(
        await smtp.command(
          `RCPT TO:${FOREIGN_RECIPIENT}`,
          timeLeft(deadline, settings.elapsed(), settings.replyTimeoutMs),
        ),
      )
    } finally {
      smtp.quit()
    }
  } catch (error) {
    // The server may refuse that address at once, which is an answer too: it has just taken our own connection.
    const turnedAway = error instanceof UpstreamRefusal && ['greeting', 'ehlo', 'client'].includes(error.phase)
    if (turnedAway && settings.clientIp !== 'none' && settings.clientIp !== 'received') return answerOf(error.reply)
    throw error
  }
}
