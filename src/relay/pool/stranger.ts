/**
 * A client that nobody is, for what a server can only be asked in a client's name: whether it relays for strangers,
 * whether it lets us say who the client is, whether it takes mail at all. It comes in the very way that clients come.
 */

import type { ClientAttributes } from '../smtp/client-attributes.ts'
import { type Dialed, type DialSettings, dial, type Target, timeLeft, UpstreamRefusal } from '../smtp/dial.ts'
import { isAboutUs } from '../smtp/reply.ts'

/** TEST-NET-1 and example.net (RFC 5737, RFC 2606): nobody's address, nobody's name. */
const STRANGER: ClientAttributes = {
  client: {
    id: 'relay-guard',
    ip: '192.0.2.1',
    port: 25_000,
    family: 4,
    source: '192.0.2.1',
    net: '192.0.2.0/24',
    local: { ip: '192.0.2.2', port: 25 },
  },
  helo: 'relay-test.example.net',
  esmtp: true,
  tls: undefined,
}
/** Not asked of the DNS: a look-up that fails would only delay the answer. */
const NAMELESS: DialSettings['names'] = async () => ({ kind: 'none' })

/** @param deadline of `settings.elapsed`, over all phases. @throws UpstreamError, UpstreamRefusal */
export const dialAsStranger = (server: Target, settings: DialSettings, deadline: number): Promise<Dialed> =>
  dial(server, { ...settings, names: NAMELESS }, STRANGER, deadline)

/** Returns where somebody who comes as clients do hears anything at all. @throws UpstreamError */
export async function askWhetherAnybody(server: Target, settings: DialSettings, deadline: number): Promise<void> {
  try {
    const { smtp } = await dialAsStranger(server, settings, deadline)
    smtp.quit()
  } catch (error) {
    if (!(error instanceof UpstreamRefusal)) throw error
  }
}

/** Returns where XCLIENT is taken. @throws UpstreamError, UpstreamRefusal */
export async function askWhetherXclient(server: Target, settings: DialSettings, deadline: number): Promise<void> {
  try {
    const { smtp } = await dialAsStranger(server, settings, deadline)
    smtp.quit()
  } catch (error) {
    // Our own EHLO the server took just before: what it refuses here is the stranger, and no XCLIENT.
    if (!(error instanceof UpstreamRefusal && (error.phase === 'ehlo' || error.phase === 'client'))) throw error
  }
}

/** Returns where MAIL is not met with a wish for TLS or a login. @throws UpstreamError, UpstreamRefusal */
export async function askWhetherMail(server: Target, settings: DialSettings, deadline: number): Promise<void> {
  const { smtp } = await dialAsStranger(server, settings, deadline)
  try {
    const reply = await smtp.command('MAIL FROM:<>', timeLeft(deadline, settings.elapsed(), settings.replyTimeoutMs))
    if (isAboutUs(reply)) throw new UpstreamRefusal('mail', reply)
  } finally {
    smtp.quit()
  }
}
