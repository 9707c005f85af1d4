/** What the doctor has found of one thing: how it is, and what to do about it. */
import { visible } from '../../telemetry/log.ts'

export const STATES = ['OK', 'WARN', 'FAIL'] as const
export type State = (typeof STATES)[number]

export const AREAS = ['settings', 'listen', 'node', 'upstream', 'redis', 'dns', 'certificate', 'machine'] as const
export type Area = (typeof AREAS)[number]

export interface Finding {
  readonly state: State
  readonly area: Area
  /** What was looked at: `mail1.example.net:25 client address`. */
  readonly subject: string
  /** How it is, in one line. */
  readonly text: string
  /** What to do about it, in one line. There where the state is not OK. */
  readonly cure?: string
}

/** What a server, the DNS or a file says may be long, and made to look like more than one line. */
const LONGEST = 300

/** One line, without what a terminal obeys or does not show. */
export function line(text: string): string {
  const flat = text.replace(/[\r\n\t ]+/g, ' ').trim()
  const short = flat.length > LONGEST ? `${flat.slice(0, LONGEST)}…` : flat
  return visible(short)
}

/** Findings of one area. Whatever they say is made safe to show here. */
export class Findings {
  readonly #area: Area
  readonly all: Finding[] = []

  constructor(area: Area) {
    this.#area = area
  }

  ok(subject: string, text: string): void {
    this.#add('OK', subject, text)
  }

  warn(subject: string, text: string, cure: string): void {
    this.#add('WARN', subject, text, cure)
  }

  fail(subject: string, text: string, cure: string): void {
    this.#add('FAIL', subject, text, cure)
  }

  #add(state: State, subject: string, text: string, cure?: string): void {
    const safe = { state, area: this.#area, subject: line(subject), text: line(text) }
    // A cure is ours but for a few words, and may be longer: a command is not cut off.
    this.all.push(cure === undefined ? safe : { ...safe, cure: visible(cure.replace(/[\r\n]+/g, ' ')) })
  }
}

/** The time that is left of the whole examination. */
export interface Budget {
  /** A time of `performance.now()`. */
  readonly deadline: number
  /** Milliseconds, at least 1 and at most `most`. */
  left(most?: number): number
}

export function budgetOf(ms: number): Budget {
  const deadline = performance.now() + ms
  return { deadline, left: (most = ms) => Math.max(1, Math.min(most, deadline - performance.now())) }
}
