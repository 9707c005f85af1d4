/** The words of overload: what pressure is made of, and which levels follow from it. The rules are in overload/. */

/** What is measured. Each signal over its target is its pressure; the largest of them is the pressure of the node. */
export const SIGNALS = [
  'upstream_slots',
  'upstream_latency',
  'reported_queue',
  'connections',
  'event_loop',
  'memory',
  'global_limits',
] as const
export type Signal = (typeof SIGNALS)[number]

/** 0 normal, 1 elevated, 2 stressed, 3 shedding new senders, 4 survival. */
export const LEVELS = [0, 1, 2, 3, 4] as const
export type Level = (typeof LEVELS)[number]

/** auto: by pressure. off: level 0, whatever the pressure. A level: this one, whatever the pressure. */
export type OverloadMode = 'auto' | 'off' | Level

/**
 * How a message of a stranger comes. first: for the first time, as far as we know. back: it was put off, and has come back in due
 * time from the same network. elsewhere: the same from another network.
 */
export const CAME = ['first', 'back', 'elsewhere'] as const
export type Came = (typeof CAME)[number]

/** How hard pressed a mail server is, as told by somebody who sees its queue. */
export interface PressureReport {
  /** As the operator wrote it in UPSTREAMS. */
  readonly upstream: string
  /** 1 is at its target. */
  readonly value: number
}

/** How long a report counts, in milliseconds. Whoever sends them has died if no other one has come by then. */
export const REPORT_MS = 60_000

const MOST_PRESSURE = 1_000_000
export const PRESSURE = `a number from 0 to ${MOST_PRESSURE}; 1 is at its target`
export const isPressure = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && value <= MOST_PRESSURE
