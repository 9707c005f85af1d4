/** An hour of the week as Redis and the file have it: the hour since the epoch, connections, senders and messages a minute, and ? if it is doubtful. */
import type { LearntHour } from './week.ts'

/** What it takes at most; longer text is none. */
export const LONGEST_HOUR = 64
const HOUR = /^(\d{1,9}) (\d{1,9}(?:\.\d{1,3})?) (\d{1,9}(?:\.\d{1,3})?) (\d{1,9}(?:\.\d{1,3})?)( \?)?$/
const MOST = 999_999_999

/** @param times of how many processes like this one the text tells */
export function textOfHour({ hour, isDoubtful, connections, senders, messages }: LearntHour, times = 1): string {
  const rates = [connections, senders, messages].map((rate) =>
    String(Math.round(Math.min(MOST, rate * times) * 1000) / 1000),
  )
  return `${hour} ${rates.join(' ')}${isDoubtful ? ' ?' : ''}`
}

/** @returns undefined: it is none */
export function hourIn(text: string, times = 1): LearntHour | undefined {
  const found = text.length > LONGEST_HOUR ? null : HOUR.exec(text)
  if (found === null) return undefined
  const [hour, connections, senders, messages] = found.slice(1, 5).map(Number) as [number, number, number, number]
  const rates = { connections: connections / times, senders: senders / times, messages: messages / times }
  return { hour, ...rates, isDoubtful: found[5] !== undefined }
}
