/** The mail servers that transcripts run against, as one table: what is true on the wire is true in front of each. */
import { startExim } from '../services/exim.ts'
import type { MailServer } from '../services/mail-server.ts'
import { startOpenSmtpd } from '../services/opensmtpd.ts'
import { startPostfix } from '../services/postfix.ts'
import { startScripted } from './conformance/scripted.ts'
import type { SERVER_NAMES } from './conformance-report.ts'

export interface Wanted {
  /** Whom it has a mailbox for. Others in their domains are unknown, other domains are refused. */
  readonly recipients: readonly string[]
  /** The largest message, in octets, that it takes and announces. */
  readonly sizeLimit?: number
  /** Extensions, as they stand in the reply to EHLO, that the scripted one does not have. */
  readonly unsaid?: readonly string[]
}

/** What a transcript needs of a server. */
export type Behind = Pick<MailServer, 'port' | 'log' | 'messages' | 'waitForMessages' | 'stop'>

/** A way the server learns the client's address, and its listener that is for it. */
export interface Way {
  readonly clientIp: 'xclient' | 'proxy-v1' | 'proxy-v2' | 'received' | 'none'
  readonly listener: string | undefined
}

export interface ServerKind {
  readonly name: (typeof SERVER_NAMES)[number]
  /** The first is the one to use where nothing else is said. */
  readonly ways: readonly Way[]
  /** The listener that takes any client, to ask the server directly. */
  readonly plain: string | undefined
  /** In a reply of 250 to the dot: the name under which it has the message, which stands in the message as well. */
  readonly id: RegExp
  /** How it stores a body that has no bare newlines (see test/services for all that each of them changes). */
  stored(body: string): string
  start(wanted: Wanted): Promise<Behind>
}

const without = (clientIp: 'received' | 'none', listener?: string): Way => ({ clientIp, listener })

const asItIs = (body: string): string => body

export const SERVERS: readonly ServerKind[] = [
  {
    name: 'the scripted upstream',
    ways: [{ clientIp: 'xclient', listener: undefined }, without('received'), without('none')],
    plain: undefined,
    id: /queued as (S\d+)/,
    stored: asItIs,
    start: startScripted,
  },
  {
    name: 'Postfix',
    ways: [
      { clientIp: 'xclient', listener: 'xclient' },
      { clientIp: 'proxy-v1', listener: 'haproxy' },
      { clientIp: 'proxy-v2', listener: 'haproxy' },
      without('received', 'plain'),
      without('none', 'plain'),
    ],
    plain: 'plain',
    id: /queued as ([0-9A-Za-z]+)/,
    stored: asItIs,
    start: (wanted) =>
      startPostfix({
        ...wanted,
        listeners: [{ kind: 'xclient' }, { kind: 'haproxy' }, { kind: 'plain' }],
        // It would wait a second with each new message while more are begun than delivered, as in tests of envelopes.
        params: { in_flow_delay: 0 },
      }),
  },
  {
    name: 'Exim',
    ways: [
      { clientIp: 'proxy-v2', listener: 'haproxy' },
      { clientIp: 'proxy-v1', listener: 'haproxy' },
      without('received', 'plain'),
      without('none', 'plain'),
    ],
    plain: 'plain',
    id: /OK id=(\S+)/,
    stored: asItIs,
    start: startExim,
  },
  {
    name: 'OpenSMTPD',
    ways: [{ clientIp: 'proxy-v2', listener: 'haproxy' }, without('received', 'plain'), without('none', 'plain')],
    plain: 'plain',
    id: /2\.0\.0 ([0-9a-f]+) Message accepted/,
    stored: (body) => body.replace(/\0[^\n]*/g, ''),
    start: startOpenSmtpd,
  },
]
