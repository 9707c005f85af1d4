/**
 * The extensions that we may offer clients: those that pass through us unchanged and that every server in use offers (RFC 5321
 * section 4.1.1.1).
 */
import { type Extensions, RELAYABLE } from '../smtp/dial.ts'

export function offerOf(servers: readonly Extensions[]): Extensions {
  const offer = new Map<string, string>()
  for (const keyword of RELAYABLE) {
    if (!servers.every((each) => each.has(keyword))) continue
    offer.set(keyword, keyword === 'SIZE' ? smallestSize(servers) : '')
  }
  return offer
}

/** RFC 1870 section 4: SIZE without a number, or with 0, means no limit. */
function smallestSize(all: readonly Extensions[]): string {
  const limits = all.map((each) => Number(each.get('SIZE') ?? 0)).filter((size) => size > 0)
  return limits.length === 0 ? '0' : String(Math.min(...limits))
}
