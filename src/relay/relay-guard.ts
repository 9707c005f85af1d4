/**
 * A proxy that hides the client makes the server behind it an open relay: it sees a trusted neighbour where a stranger
 * is. So each server is asked, in the very way clients reach it, whether it takes a recipient that is not ours.
 */
import { type DialSettings, dial, type Target, timeLeft, UpstreamRefusal } from './dial.ts'
import type { Reply } from './smtp-client.ts'
import type { Visitor } from './visitor.ts'

/** TEST-NET-1 and example.net (RFC 5737, RFC 2606): nobody's address, nobody's mailbox. */
const STRANGER_IP = '192.0.2.1'
const FOREIGN_RECIPIENT = '<relay-test@relay-test.example.net>'

/** `put-off`: a 4yz, such as greylisting says to every stranger, tells neither; it has to be asked again. */
export type RelayAnswer = 'relays' | 'refuses' | 'put-off'

const answerOf = ({ code }: Reply): RelayAnswer => (code < 300 ? 'relays' : code < 500 ? 'put-off' : 'refuses')

/** @throws UpstreamError, UpstreamRefusal where the server could not be asked */
export async function askWhetherRelay(server: Target, settings: DialSettings, deadline: number): Promise<RelayAnswer> {
  const stranger: Visitor = {
    client: {
      id: 'relay-guard',
      ip: STRANGER_IP,
      port: 25_000,
      family: 4,
      local: { ip: '192.0.2.2', port: 25 },
    },
    helo: 'relay-test.example.net',
    esmtp: true,
    tls: undefined,
  }
  // Nobody's name need be asked for: a look-up that fails would only delay the start.
  const names: DialSettings['names'] = async () => ({ kind: 'none' })
  try {
    const { smtp } = await dial(server, { ...settings, names }, stranger, deadline)
    try {
      const mail = await smtp.command('MAIL FROM:<>', timeLeft(deadline, settings.replyTimeoutMs))
      if (mail.code >= 300) return answerOf(mail)
      return answerOf(await smtp.command(`RCPT TO:${FOREIGN_RECIPIENT}`, timeLeft(deadline, settings.replyTimeoutMs)))
    } finally {
      smtp.quit()
    }
  } catch (error) {
    // A server may have no word for that address at all, which is an answer. Our own connection it took just before.
    const turnedAway = error instanceof UpstreamRefusal && (error.phase === 'greeting' || error.phase === 'ehlo')
    if (turnedAway && settings.clientIp !== 'none' && settings.clientIp !== 'received') return answerOf(error.reply)
    throw error
  }
}
