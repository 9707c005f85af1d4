/**
 * Exim's main log (spec.txt chapter 53). Each line names the client by itself, in brackets behind H=, before anything that the client
 * has chosen but its HELO name and its sender; senders with blanks in them are passed over. A name
 * without parentheses is one that Exim has confirmed.
 */
import { isBad, type LogReader, type Observation } from './observation.ts'

const HOST = String.raw`H=(?:([^\s([]\S*) )?(?:\(\S*\) )?\[([0-9a-fA-F.:]+)\]`
const TAKEN = new RegExp(
  `^(?:\\[[0-9]+\\] )?[0-9A-Za-z]+-[0-9A-Za-z]+-[0-9A-Za-z]+ <= [^\\s"]+ (?:R=\\S+ )?(?:U=\\S+ )?${HOST}`,
)
const REFUSED = new RegExp(`^(?:\\[[0-9]+\\] )?(?:[0-9A-Za-z]+-[0-9A-Za-z]+-[0-9A-Za-z]+ )?${HOST}`)
const WHAT = / rejected (RCPT|after DATA)(?: <[^>]*>)?: (.*)$/
const LOGIN = / A=\S+/
const OWN = /^(?:127\.|::1$)/

export class EximReader implements LogReader {
  line(text: string): Observation | undefined {
    const [, name, taken] = TAKEN.exec(text) ?? []
    if (taken !== undefined) return OWN.test(taken) || LOGIN.test(text) ? undefined : { ip: taken, name, isGood: true }
    const [, refusedName, refused] = REFUSED.exec(text) ?? []
    if (refused === undefined || OWN.test(refused) || text.includes('temporarily rejected')) return undefined
    const [, what, words = ''] = WHAT.exec(text) ?? []
    if (what === undefined || !isBad(what === 'RCPT' ? 'rcpt' : 'text', 550, words)) return undefined
    return { ip: refused, name: refusedName, isGood: false }
  }
}
