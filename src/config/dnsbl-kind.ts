/**
 * DNS lists, as Postfix' postscreen_dnsbl_sites has them: a zone, the answers that count, and what they are worth:
 * `zen.example=127.0.0.[2..11]*3`. An octet is a number, or in brackets several numbers and ranges with semicolons.
 */
import type { ListEntry, Octets } from '../core/dnsbl.ts'
import { shownZone } from '../core/dnsbl.ts'
import { domain } from './address-kinds.ts'
import { type List, type Parsed, type Scalar, scalar } from './kinds.ts'
import { plainList } from './list-kinds.ts'

const ENTRY = /^([^=*]+)(?:=([^*]*))?(?:\*(.*))?$/
const OCTET = String.raw`(\d{1,3}|\[[\d.;]+\])`
const FILTER = new RegExp(`^${Array(4).fill(OCTET).join(String.raw`\.`)}$`)
const RANGE = /^(\d{1,3})(?:\.\.(\d{1,3}))?$/
const MOST_WEIGHT = 1000

function octets(text: string): Octets | undefined {
  const ranges: [number, number][] = []
  for (const part of text.replace(/[[\]]/g, '').split(';')) {
    const [, from = '', to = from] = RANGE.exec(part) ?? []
    if (from === '' || Number(from) > Number(to) || Number(to) > 255) return undefined
    ranges.push([Number(from), Number(to)])
  }
  return ranges
}

function filterOf(text: string): Parsed<ListEntry['filter']> {
  const [, ...parts] = FILTER.exec(text) ?? []
  const [a, b, c, d] = parts.map(octets)
  if (a === undefined || b === undefined || c === undefined || d === undefined)
    return { hint: `${text} is no answer of a list: write an address such as 127.0.0.2, or 127.0.0.[2..11;14]` }
  return a.every(([from, to]) => from === 127 && to === 127)
    ? { value: [a, b, c, d] }
    : { hint: 'lists answer with addresses that begin with 127 (RFC 5782)' }
}

const entry: Scalar<ListEntry> = scalar({
  word: 'DNS list',
  what: 'a zone, the answers that count, and their weight: zen.example.org=127.0.0.[2..11]*3, list.example.org*-2',
  parse(text) {
    const [, name = '', answers, times] = ENTRY.exec(text) ?? []
    const zone = domain.parse(name)
    if ('hint' in zone) return zone
    if (!zone.value.includes('.')) return { hint: `${name} is not the zone of a list` }
    const filter = answers === undefined ? { value: undefined } : filterOf(answers)
    if ('hint' in filter) return filter
    const weight = times === undefined ? 1 : /^-?\d{1,4}$/.test(times) ? Number(times) : Number.NaN
    if (!(Math.abs(weight) <= MOST_WEIGHT) || weight === 0)
      return { hint: `a weight is a whole number from -${MOST_WEIGHT} to ${MOST_WEIGHT}, and not 0` }
    const shown = `${zone.value}${answers === undefined ? '' : `=${answers}`}${weight === 1 ? '' : `*${weight}`}`
    return { value: { zone: zone.value, filter: filter.value, weight, text: shown } }
  },
  show: ({ text }) => text,
})

/** A zone may have a customer's key before its name, which is no one else's affair. */
const masked = (text: string): string =>
  text
    .split(',')
    .map((each) => {
      const zone = each.trim().toLowerCase()
      const shown = shownZone(zone)
      return shown === zone ? each : `***.${shown}`
    })
    .join()

export const dnsLists: List<readonly ListEntry[]> = {
  ...plainList(entry, { word: 'list of DNS lists', empty: 'none', show: entry.show, key: ({ text }) => text }),
  mask: masked,
}
