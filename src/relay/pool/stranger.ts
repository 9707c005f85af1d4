/**
 * A made-up client, for what a server can only be asked in a client's name: whether it relays for strangers, whether it lets us
 * say who the client is, whether it takes mail at all. The stranger reaches the server in exactly the way that clients do.
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
/** The stranger has no name to look up: a look-up that fails would only delay the answer. */
const NAMELESS: DialSettings['names'] = async () => ({ kind: 'none' })

/** @param deadline a time of `settings.elapsed`, for all phases together. @throws UpstreamError, UpstreamRefusal */
export const dialAsStranger = (server: Target, settings: DialSettings, deadline: number): Promise<Dialed> =>
  dial(server, { ...settings, names: NAMELESS }, STRANGER, deadline)

/** Returns if a client gets any reply from the server, even a refusal. @throws UpstreamError */
export async function askWhetherAnybody(server: Target, settings: DialSettings, deadline: number): Promise<void> {
  try {
    const { smtp } = await dialAsStranger(server, settings, deadline)
    smtp.quit()
  } catch (error) {
    if (!(error instanceof UpstreamRefusal)) throw error
  }
}

/** Returns if the server takes XCLIENT. @throws UpstreamError, UpstreamRefusal */
export async function askWhetherXclient(server: Target, settings: DialSettings, deadline: number): Promise<void> {
  try {
    const { smtp } = await dialAsStranger(server, settings, deadline)
    smtp.quit()
  } catch (error) {
    // The server has just taken our own EHLO, so what it refuses here is the stranger, and not XCLIENT.
    if (!(error instanceof UpstreamRefusal && (error.phase === 'ehlo' || error.phase === 'client'))) throw error
  }
}

/** Returns if the server does not answer MAIL with a demand for TLS or a login. @throws UpstreamError, UpstreamRefusal */
export async function askWhetherMail(server: Target, settings: DialSettings, deadline: number): Promise<void> {
  const { smtp } = await dialAsStranger(server, settings, deadline)
  try {
    const reply = await smtp.command('MAIL FROM:<>', timeLeft(deadline, settings.elapsed(), settings.replyTimeoutMs))
    if (isAboutUs(reply)) throw new UpstreamRefusal('mail', reply)
  } finally {
    smtp.quit()
  }
}
