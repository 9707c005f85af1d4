/**
 * Postfix' log. A client is named where its message begins, the queue manager says that the message was taken, and refusals name the client
 * again, with its name, which Postfix confirms (`unknown` if it could not). Our own users (sasl_username) and what a content filter hands
 * back (a client on this machine) are no senders.
 *
 * A line also has words that its client has chosen, or another server in a bounce, and nobody may put another's address there:
 * expressions are anchored at the beginning of the line, and at what the server itself writes next. So refusals by header_checks are
 * passed over, as the header stands before the client.
 */
import { isBad, type LogReader, MOST_UNDER_WAY, type Observation } from './observation.ts'
import { UnderWay } from './under-way.ts'

/** The host, which may be missing, and the program. */
const LINE =
  /^(?:[^\s[]+ )?postfix(?:[-/][a-z0-9_-]+)*\/(?:[a-z]+\/)?(smtpd|cleanup|qmgr|postscreen)\[[0-9]+\]: (NOQUEUE|[0-9A-Za-z]+): (.*)$/
const CLIENT = /^client=([^\s[]*)\[([0-9a-fA-F.:]+)\]/
const LOGIN = /, sasl_(?:method|username)=/
const REFUSED = /^(?:milter-|proxy-)?reject: (RCPT|END-OF-MESSAGE) from ([^\s[]*)\[([0-9a-fA-F.:]+)\][:;](.*)$/
const REPLY = /(?:^ |: )(?:[45][0-9]{2} )?(([45])\.[0-9]+\.[0-9]+ .*)$/
const OWN = /^(?:127\.|::1$|unknown$)/

export class PostfixReader implements LogReader {
  /** Who sends a message, by its queue id. */
  readonly #clients = new UnderWay(MOST_UNDER_WAY)

  line(text: string): Observation | undefined {
    const [, daemon, id, rest] = LINE.exec(text) ?? []
    if (daemon === undefined || id === undefined || rest === undefined) return undefined
    if (daemon === 'smtpd') this.#begun(id, rest)
    const refused = REFUSED.exec(rest)
    if (refused !== null) return this.#refused(id, refused)
    if (daemon !== 'qmgr' || !rest.endsWith('(queue active)')) return undefined
    const client = this.#clients.end(id)
    return client === undefined ? undefined : { ...client, isGood: true }
  }

  #begun(id: string, rest: string): void {
    const [, name, ip] = CLIENT.exec(rest) ?? []
    if (ip !== undefined && !OWN.test(ip) && !LOGIN.test(rest)) this.#clients.begin(id, { ip, name })
  }

  #refused(id: string, [, what = '', name, ip = '', rest = '']: RegExpExecArray): Observation | undefined {
    const [, words = '', digit = ''] = REPLY.exec(rest) ?? []
    const stage = what === 'RCPT' ? 'rcpt' : 'text'
    if (stage === 'text') this.#clients.end(id)
    if (OWN.test(ip) || digit !== '5' || !isBad(stage, 550, words)) return undefined
    return { ip, name, isGood: false }
  }
}
