/**
 * A client that nobody is, for what a server can only be asked in a client's name: whether it relays for strangers, and
 * whether it lets us say who the client is. It comes in the very way that clients come.
 */
import { type Dialed, type DialSettings, dial, type Target } from './dial.ts'
import type { Visitor } from './visitor.ts'

/** TEST-NET-1 and example.net (RFC 5737, RFC 2606): nobody's address, nobody's name. */
const STRANGER: Visitor = {
  client: {
    id: 'relay-guard',
    ip: '192.0.2.1',
    port: 25_000,
    family: 4,
    source: '192.0.2.1',
    local: { ip: '192.0.2.2', port: 25 },
  },
  helo: 'relay-test.example.net',
  esmtp: true,
  tls: undefined,
}
/** Not asked of the DNS: a look-up that fails would only delay the answer. */
const NAMELESS: DialSettings['names'] = async () => ({ kind: 'none' })

/** @param deadline of performance.now(), over all phases. @throws UpstreamError, UpstreamRefusal */
export const dialAsStranger = (server: Target, settings: DialSettings, deadline: number): Promise<Dialed> =>
  dial(server, { ...settings, names: NAMELESS }, STRANGER, deadline)
