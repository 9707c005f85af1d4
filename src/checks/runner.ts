/**
 * Runs the checks of a stage: the one place where a check's mode, its deadline and its failure are dealt with. A check
 * that throws or is late lets the client pass and is counted. A check that answers at once is never waited for.
 */
import { stackOf } from '../core/errors.ts'
import { ACCEPT, type Check, type Facts, type Mode, type Refusal, type Stage, type Verdict } from '../core/policy.ts'
import { CHECK_NAMES, type CheckName } from '../core/reasons.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Distribution } from '../telemetry/series.ts'
import type { Policy } from './index.ts'

/** How long a check that has to wait for something may take, in milliseconds. */
export const CHECK_DEADLINE_MS = 2000
/** One synchronous judgement in so many is timed: reading the clock costs as much as most of them. */
const TIMED_ONE_IN = 64

/** Hears of what an observed check would have refused. */
export type Observer = (stage: Stage, refusal: Refusal) => void

export interface Runner {
  run<S extends keyof Policy>(
    stage: S,
    part: keyof Policy[S],
    facts: Facts[S],
    observed: Observer,
  ): Verdict | Promise<Verdict>
}

/** @param observe names of checks to judge and count without refusing, or all */
export const modeOf = (name: CheckName, observe: 'all' | readonly CheckName[]): Mode =>
  observe === 'all' || observe.includes(name) ? 'observe' : 'enforce'

export interface RunnerParts {
  readonly policy: Policy
  readonly mode: (name: CheckName) => Mode
  readonly metrics: Pick<Metrics, 'checkDuration' | 'checkFailures'>
  readonly log: Log
}

export function createRunner({ policy, mode, metrics, log }: RunnerParts): Runner {
  const durations = new Map<CheckName, Distribution>(CHECK_NAMES.map((name) => [name, metrics.checkDuration.of(name)]))
  const modes = new Map<CheckName, Mode>(CHECK_NAMES.map((name) => [name, mode(name)]))
  let judged = 0

  const failed = (name: CheckName, error: unknown): Verdict => {
    metrics.checkFailures.inc(name)
    log.error({ check: name, err: stackOf(error) }, 'check failed, client let pass')
    return ACCEPT
  }

  /** The verdict that counts: a refusal by a check in observe mode is told and then dropped. */
  const weigh = (check: Check, stage: Stage, verdict: Verdict, observed: Observer): Verdict => {
    if (verdict.action === 'accept' || modes.get(check.name) === 'enforce') return verdict
    observed(stage, verdict)
    return ACCEPT
  }

  const wait = async (
    check: Check,
    started: number,
    answer: Promise<Verdict>,
    stop: AbortController,
  ): Promise<Verdict> => {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`no verdict within ${CHECK_DEADLINE_MS} ms`))
        stop.abort()
      }, CHECK_DEADLINE_MS)
    })
    try {
      return await Promise.race([answer, late])
    } catch (error) {
      return failed(check.name, error)
    } finally {
      clearTimeout(timer)
      durations.get(check.name)?.observe((performance.now() - started) / 1000)
    }
  }

  const NEVER = new AbortController().signal

  const from = <S extends keyof Policy>(
    checks: readonly Check<S>[],
    first: number,
    facts: Facts[S],
    observed: Observer,
  ): Verdict | Promise<Verdict> => {
    for (let i = first; i < checks.length; i++) {
      const check = checks[i] as Check<S>
      if (modes.get(check.name) === 'off') continue
      if (check.sparesTrusted && facts.client.standing === 'trusted') continue
      const timed = judged++ % TIMED_ONE_IN === 0
      const started = timed ? performance.now() : 0
      const stop = check.waits === true ? new AbortController() : undefined
      let answer: Verdict | Promise<Verdict>
      try {
        answer = check.judge(facts, stop?.signal ?? NEVER)
      } catch (error) {
        answer = failed(check.name, error)
      }
      if (answer instanceof Promise) {
        const since = timed ? started : performance.now()
        return wait(check as unknown as Check, since, answer, stop ?? new AbortController()).then((verdict) => {
          const weighed = weigh(check as unknown as Check, check.stage, verdict, observed)
          return weighed.action === 'accept' ? from(checks, i + 1, facts, observed) : weighed
        })
      }
      if (timed) durations.get(check.name)?.observe((performance.now() - started) / 1000)
      if (answer.action !== 'accept') {
        const weighed = weigh(check as unknown as Check, check.stage, answer, observed)
        if (weighed.action !== 'accept') return weighed
      }
    }
    return ACCEPT
  }

  return {
    run: (stage, part, facts, observed) =>
      from(policy[stage][part] as readonly Check<typeof stage>[], 0, facts, observed),
  }
}
