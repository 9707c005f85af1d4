// How much was let in within a span as long as a window, according to when clients were greeted.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Visit } from '../load.ts'

export const MINUTE = 60_000

/**
 * Waits for the next aligned window if less than `needMs` remains of this one.
 * @returns when the window ends, in ms since the epoch
 */
export async function freshWindow(windowMs: number, needMs: number): Promise<number> {
  const remaining = () => windowMs - (Date.now() % windowMs)
  if (remaining() < needMs) await sleep(remaining() + 50)
  return Date.now() + remaining()
}

export const count = (visits: readonly Visit[], code: string): number =>
  visits.filter((visit) => visit.code === code).length

export const letIn = (visits: readonly Visit[]): Visit[] => visits.filter(({ code }) => code === '220')

/** The largest number let in within one aligned window, and within any span as long as a window. */
export function mostIn(visits: readonly Visit[], windowMs: number): { readonly aligned: number; readonly any: number } {
  const times = letIn(visits)
    .map(({ at, waitedMs }) => at + waitedMs)
    .toSorted((a, b) => a - b)
  const windows = new Map<number, number>()
  let any = 0
  let first = 0
  for (const [index, time] of times.entries()) {
    const window = Math.floor(time / windowMs)
    windows.set(window, (windows.get(window) ?? 0) + 1)
    while (time - (times[first] as number) >= windowMs) first++
    any = Math.max(any, index - first + 1)
  }
  return { aligned: Math.max(0, ...windows.values()), any }
}
