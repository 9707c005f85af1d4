/**
 * The log of sendmail. `from=` names the client of a message before a milter has judged it, so a message counts as taken when it
 * was first delivered.
 *
 * Words that a client has chosen may be anything between quotes: expressions are anchored at the beginning of the line, the relay of
 * `from=` at its end, and a recipient with anything in it that could hold a blank is passed over.
 */
import { isBad, type LogReader, MOST_UNDER_WAY, type Observation } from './observation.ts'
import { UnderWay } from './under-way.ts'

/** The host, which may be missing, and the program. */
const LINE = /^(?:[^\s[]+ )?(?:sendmail|sm-mta|sm-msp)\[[0-9]+\]: (?:([0-9A-Za-z]{10,}): )?(.*)$/
const FROM = /^from=.*, nrcpts=([0-9]+),.* relay=([^\s[]*) ?\[((?:IPv6:)?[0-9a-fA-F.:]+)\]( \(may be forged\))?$/
const REFUSED =
  /^ruleset=check_rcpt, arg1=<[^\s<>"()\\]*>, relay=([^\s[]*) ?\[((?:IPv6:)?[0-9a-fA-F.:]+)\]( \(may be forged\))?, reject=([0-9]{3}) (.*)$/
const BY_MILTER = /^Milter: (?:data|header|body|eom).*reject=([0-9]{3})/
const LOGIN = /, authid=|, auth=/
const OWN = /^(?:127\.|::1$|IPv6:::1$)/

/** A name that may be forged is none. */
const clientOf = (ip: string, name: string | undefined, forged: string | undefined) => ({
  ip: ip.replace(/^IPv6:/, ''),
  name: forged === undefined ? name : undefined,
})

const refusalIn = ([, name, ip = '', forged, code, words = '']: RegExpExecArray): Observation | undefined =>
  isBad('rcpt', Number(code), words) && !OWN.test(ip) ? { ...clientOf(ip, name, forged), isGood: false } : undefined

export class SendmailReader implements LogReader {
  readonly #clients = new UnderWay(MOST_UNDER_WAY)

  line(text: string): Observation | undefined {
    const [, id = '', rest] = LINE.exec(text) ?? []
    if (rest === undefined) return undefined
    const begun = FROM.exec(rest)
    if (begun !== null) return this.#begin(id, rest, begun)
    const refused = REFUSED.exec(rest)
    if (refused !== null) return refusalIn(refused)
    const judged = BY_MILTER.exec(rest)?.[1]
    if (judged !== undefined) return this.#settle(id, judged.startsWith('5') ? false : undefined)
    return rest.startsWith('to=') && rest.includes('stat=Sent') ? this.#settle(id, true) : undefined
  }

  #begin(id: string, rest: string, [, recipients, name, ip = '', forged]: RegExpExecArray): undefined {
    if (recipients !== '0' && !OWN.test(ip) && !LOGIN.test(rest)) this.#clients.begin(id, clientOf(ip, name, forged))
  }

  #settle(id: string, isGood: boolean | undefined): Observation | undefined {
    const client = this.#clients.end(id)
    return client === undefined || isGood === undefined ? undefined : { ...client, isGood }
  }
}
