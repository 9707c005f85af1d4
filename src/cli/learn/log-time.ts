/** When a line of a log was written. */

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
/** RFC 3164 section 4.1.2, without a year and in local time: `Nov  7 09:15:02`. */
const OLD = /^([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})\b/
/** RFC 3339; Exim writes a blank in the middle and may leave out the zone, as this machine's. */
const NEW = /^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?) ?(Z|[+-][0-9]{2}:?[0-9]{2})?/
/** A clock may be wrong by so much before a date without a year counts as last year's, in ms. */
const AHEAD_MS = 86_400_000
/** From one February 29 to the next it is so many years at most: as from 1896, and from 2096. */
const LEAP_YEARS = 8

export interface Dated {
  /** In ms since the epoch. */
  readonly at: number
  /** What follows the date. */
  readonly text: string
}

/**
 * @param now ms since the epoch: a date without a year is the last one that is not in the future
 * @returns undefined where the line begins with no date
 */
export function dated(line: string, now: number): Dated | undefined {
  const [whole = '', day, time, zone] = NEW.exec(line) ?? []
  if (day !== undefined) {
    const at = Date.parse(`${day}T${time}${zone?.replace(/^(...)(..)$/, '$1:$2') ?? ''}`)
    return Number.isNaN(at) ? undefined : { at, text: line.slice(whole.length).trimStart() }
  }
  const [old = '', name, date, ...clock] = OLD.exec(line) ?? []
  const month = MONTHS.indexOf(name ?? '')
  if (month < 0) return undefined
  const [hours, minutes, seconds] = clock.map(Number)
  const latest = new Date(now + AHEAD_MS).getFullYear()
  for (let year = latest; year >= latest - LEAP_YEARS; year--) {
    const read = new Date(year, month, Number(date), hours, minutes, seconds)
    if (read.getMonth() === month && read.getTime() <= now + AHEAD_MS)
      return { at: read.getTime(), text: line.slice(old.length).trimStart() }
  }
  return undefined
}
