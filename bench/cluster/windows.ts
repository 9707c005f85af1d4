// What was let in in a time as long as a window, told from when clients were greeted.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Visit } from '../load.ts'

export const MINUTE = 60_000

/** Waits for the next aligned window where less than `needMs` of this one is left; when it is resolved with ends. */
export async function freshWindow(windowMs: number, needMs: number): Promise<number> {
  const left = () => windowMs - (Date.now() % windowMs)
  if (left() < needMs) await sleep(left() + 50)
  return Date.now() + left()
}

export const count = (visits: readonly Visit[], code: string): number =>
  visits.filter((visit) => visit.code === code).length

export const letIn = (visits: readonly Visit[]): Visit[] => visits.filter(({ code }) => code === '220')

/** The most that were let in in one aligned window, and in any span as long as a window. */
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
