/**
 * Looks for a batch of sessions that something is wrong with, and makes it small. The same seed draws the same batches in
 * the same order.
 */
import fc from 'fast-check'
import { type Comparison, compare } from './compare.ts'
import { BATCH } from './generate.ts'
import type { Session } from './session.ts'
import { type Stage, startStage, type Variant } from './stage.ts'
import type { Target } from './target.ts'

export interface Found {
  readonly findings: readonly string[]
  readonly sessions: readonly Session[]
}

export interface HuntOptions {
  readonly seed: number
  /** Batches to play. */
  readonly runs: number
  readonly target: Target
  readonly variant: Variant
  /** How long a finding may be made smaller, in milliseconds. */
  readonly shrinkMs: number
  readonly done: (sessions: readonly Session[], comparison: Comparison) => void
  /** Told at once of the first finding, before it is made smaller. */
  readonly first: (findings: readonly string[]) => void
  /** Ends it as soon as it says so. */
  readonly stopped: () => boolean
}

/** @returns undefined where all was well */
export async function hunt(options: HuntOptions): Promise<Found | undefined> {
  const { seed, runs, target, variant, shrinkMs, done, first, stopped } = options
  let stage: Stage | undefined = await startStage(target, variant)
  let found: Found | undefined
  let giveUpAt = Number.POSITIVE_INFINITY
  const property = fc.asyncProperty(BATCH, async (sessions) => {
    if (performance.now() > giveUpAt || stopped()) return
    stage ??= await startStage(target, variant)
    const comparison = await compare(stage, sessions).catch(
      (error: Error): Comparison => ({
        findings: [error.message],
        transactions: 0,
        accepted: 0,
        bodies: 0,
        unheard: 0,
      }),
    )
    if (found === undefined) done(sessions, comparison)
    if (comparison.findings.length === 0) return
    if (found === undefined) {
      giveUpAt = performance.now() + shrinkMs
      first(comparison.findings)
    }
    // Shrinking goes from larger to smaller: the last one that failed is the smallest.
    found = { findings: comparison.findings, sessions }
    // What went wrong may stay wrong: the next one begins anew.
    const spoiled = stage
    stage = undefined
    await spoiled.abort()
    await target.settled().catch(() => undefined)
    target.collect()
    throw new Error(comparison.findings.join('\n'))
  })
  await fc.check(property, { seed, numRuns: runs })
  const left = (await stage?.stop()) ?? []
  if (found === undefined && left.length > 0) return { findings: left, sessions: [] }
  return found
}
