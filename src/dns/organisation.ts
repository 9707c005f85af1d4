/**
 * Whose name it is that a client's address has: the organisational domain, which is what somebody has registered under a public
 * suffix (publicsuffix.org; the home of tldts). Private suffixes count too: what a hoster or a cloud lists there is divided
 * among its customers, who have nothing in common.
 *
 * Not every name says who sends. Anybody may let an address of theirs point to any name, so only forward-confirmed ones are asked about (names.ts).
 * And most names that are confirmed were given to an address by whoever owns the network, without knowing who would use it:
 * `p5483a1c2.dip.isp.example` is a customer of the ISP, `host123.hoster.example` anybody who has rented a machine. These must not share a
 * history, so such a name has no organisation here. It is known by the address that stands in it, in any of the usual ways, by a word for
 * such names, or by a serial number right before the domain: `vmi1234567.contaboserver.net`. Whoever is wronged by that is treated as one
 * without a name. A mail server of a big provider has neither: `mail-ed1-f47.google.com`.
 */
import { getDomain } from 'tldts'
import { groups, octets } from '../core/ip-bytes.ts'

/** Of a part of a name, without digits at its end. */
const ASSIGNED = new Set(
  (
    'adsl sdsl vdsl xdsl dsl dyn dynamic dynip dhcp ppp pppoe pppox pool pools dial dialup dialin dip cable catv broadband bb ' +
    'ftth fttx fttb fiber fibre wifi wlan wimax lte gprs umts mobile nat cgn cgnat res residential home cust customer ' +
    'customers client clients user users subscriber subscribers static host hosts hosted vps vm vds vserver instance ' +
    'compute colo dedi dedicated unassigned unused rev reverse'
  ).split(' '),
)
/** A machine that is for rent, as its hoster counts them. Those of a mail provider are numbered differently: `mail-40131.protonmail.ch`. */
const SERIAL = /^[a-z]{0,3}[0-9]{5,}\.$/
const OPTIONS = { allowPrivateDomains: true, extractHostname: false } as const
/** So many parts of an address in a row are no accident. */
const OCTETS = 3
const GROUPS = 3

/** @param name forward-confirmed for this address @param ip canonical @returns in lower case; undefined: it says of nobody */
export function organisationOf(name: string, ip: string): string | undefined {
  const host = name.toLowerCase().replace(/\.$/, '')
  const domain = getDomain(host, OPTIONS)
  if (domain === null) return undefined
  const own = host.slice(0, -domain.length)
  // Under a private suffix the first part is the customer's, and it may be the address.
  const hasAddress = ip.includes(':') ? hasIPv6(host, ip) : hasIPv4(host, ip)
  return hasAddress || hasWord(own) || SERIAL.test(own) ? undefined : domain
}

/** @param own what stands before the domain */
const hasWord = (own: string): boolean => own.split(/[.-]/).some((part) => ASSIGNED.has(part.replace(/[0-9]+$/, '')))

function hasIPv4(host: string, ip: string): boolean {
  const bytes = octets(ip)
  const hex = bytes.toString('hex')
  const back = Buffer.from(bytes).reverse()
  if (host.includes(hex) || host.includes(back.toString('hex'))) return true
  const padded = (each: Buffer): string => [...each].map((byte) => String(byte).padStart(3, '0')).join('')
  if (host.includes(padded(bytes)) || host.includes(padded(back))) return true
  const numbers = (host.match(/[0-9]+/g) ?? []).map(Number)
  return hasRow(numbers, [...bytes], OCTETS) || hasRow(numbers, [...back], OCTETS)
}

function hasIPv6(host: string, ip: string): boolean {
  const digits = groups(ip).toString('hex')
  const back = [...digits].reverse().join('')
  const joined = host.replace(/[.-]/g, '')
  // The half that says which machine it is, unless it is nearly nothing, as in ::25.
  const half = digits.slice(16)
  const isTelling = /[1-9a-f].{4}/.test(half)
  if (joined.includes(digits) || joined.includes(back)) return true
  if (isTelling && (joined.includes(half) || joined.includes(back.slice(0, 16)))) return true
  const parts = (host.match(/[0-9a-f]+/g) ?? []).map((part) => Number.parseInt(part, 16))
  const words = digits.match(/.{4}/g)!.map((word) => Number.parseInt(word, 16))
  return hasRow(parts, words, GROUPS) || hasRow(parts, [...words].reverse(), GROUPS)
}

/** Whether so many of `wanted`, one after the other and not all of them 0, stand one after the other in `numbers`. */
function hasRow(numbers: readonly number[], wanted: readonly number[], count: number): boolean {
  for (let at = 0; at + count <= numbers.length; at++) {
    for (let from = 0; from + count <= wanted.length; from++) {
      const row = wanted.slice(from, from + count)
      if (row.some((each) => each !== 0) && row.every((each, i) => numbers[at + i] === each)) return true
    }
  }
  return false
}
