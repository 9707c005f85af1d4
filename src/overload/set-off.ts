/** What is set off for the size of a message: a filter that reads a megabyte a second is no slow server. */
const OCTETS_PER_MS = 1000

/** How long the reply to a dot took, without what it takes to look through the message, in ms. */
export const setOff = (ms: number, octets: number): number => Math.max(0, ms - octets / OCTETS_PER_MS)
