/**
 * What each level of overload means, in one table: the pressure at which it begins and ends, and what it does. docs/overload.md
 * shows the same table; a test compares them.
 *
 * Whoever is trusted, known or seen is never refused at the banner for load: a mail server that hears 421 there puts off all it
 * has for us, and not only this message.
 */
import type { Standing } from '../core/client.ts'
import { LEVELS, type Level } from '../core/overload.ts'

/** Bounds of a share of messages, 0 to 1. */
export interface Bounds {
  readonly least: number
  readonly most: number
}

export interface LevelRow {
  /** The level begins when the pressure has stayed at or above this. */
  readonly up: number
  /** How long it must have stayed there, in milliseconds. */
  readonly riseMs: number
  /** The level ends, for the one below it, when the pressure has stayed below this. */
  readonly down: number
  /** Whether LIMIT_STRESS_FACTOR applies. */
  readonly shrinks: boolean
  /** How long those whom HURRIED names may be silent, in sessions that begin at this level, in milliseconds, if that is less than IDLE_TIMEOUT. */
  readonly idleMs: number | undefined
  /** The part of GREETING_DELAY that strangers wait, 0 to 1: whoever waits holds a connection. */
  readonly delay: number
  /** Who hears 421 at the banner. */
  readonly refused: readonly Standing[]
  /** The share of the messages of a standing that is let in at RCPT; the others hear 451. Absent: all. */
  readonly letIn: { readonly [S in Standing]?: Bounds }
}

/** A short spike, such as one slow message or a reload, raises nothing. */
export const RISE_MS = 3000
/** The last level turns strangers away who might bring first contacts. Level 3 must have had the time to show that it is not enough. */
export const LAST_RISE_MS = 10_000

/** Whose sessions are shorter while a level has `idleMs`. */
const HURRIED: readonly Standing[] = ['new', 'suspect', 'banned']

const ALL: Bounds = { least: 1, most: 1 }
const NONE: Bounds = { least: 0, most: 0 }
/** What is let in however hard pressed the mail servers are: it shows when they can take more. */
const A_FEW = 0.01

export const LEVEL_TABLE: Readonly<Record<Level, LevelRow>> = {
  0: { up: 0, riseMs: 0, down: 0, shrinks: false, idleMs: undefined, delay: 1, refused: [], letIn: {} },
  1: { up: 0.8, riseMs: RISE_MS, down: 0.6, shrinks: true, idleMs: undefined, delay: 1, refused: [], letIn: {} },
  2: {
    up: 1,
    riseMs: RISE_MS,
    down: 0.8,
    shrinks: true,
    idleMs: 60_000,
    delay: 0.5,
    refused: ['suspect', 'banned'],
    letIn: { new: { least: A_FEW, most: 1 }, suspect: NONE, banned: NONE },
  },
  3: {
    up: 1.2,
    riseMs: RISE_MS,
    down: 1,
    shrinks: true,
    idleMs: 30_000,
    delay: 0.25,
    refused: ['suspect', 'banned'],
    letIn: { new: { least: A_FEW, most: 0.05 }, suspect: NONE, banned: NONE },
  },
  4: {
    up: 1.4,
    riseMs: LAST_RISE_MS,
    down: 1.2,
    shrinks: true,
    idleMs: 15_000,
    delay: 0.25,
    refused: ['new', 'suspect', 'banned'],
    letIn: { seen: { least: 0.2, most: 1 }, new: NONE, suspect: NONE, banned: NONE },
  },
}

/** The share of the messages of this standing that a level lets in. */
export const boundsOf = (level: Level, standing: Standing): Bounds => LEVEL_TABLE[level].letIn[standing] ?? ALL

export const isRefusedAtBanner = (level: Level, standing: Standing): boolean =>
  LEVEL_TABLE[level].refused.includes(standing)

/** How long a client may be silent in a session that begins now, in milliseconds. @param usual IDLE_TIMEOUT */
export function idleMsAt(level: Level, standing: Standing, usual: number): number {
  const { idleMs } = LEVEL_TABLE[level]
  return idleMs === undefined || !HURRIED.includes(standing) ? usual : Math.min(usual, idleMs)
}

/** The levels above 0, from the lowest up. */
export const RISEN = LEVELS.slice(1)

/** How long strangers wait for the greeting, in milliseconds. @param usual GREETING_DELAY */
export const delayAt = (level: Level, usual: number): number => Math.ceil(usual * LEVEL_TABLE[level].delay)
