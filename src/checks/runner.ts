/**
 * Runs the checks of a stage. This is the one place that handles a check's mode, its deadline and its failure. When a
 * check throws or is late, the client is let through and the failure is counted. A check that answers at once is not
 * awaited.
 */
import { isTrusted } from '../core/client.ts'
import { within } from '../core/deadline.ts'
import { stackOf } from '../core/errors.ts'
import {
  ACCEPT,
  type Check,
  type Facts,
  heardBy,
  type Mode,
  type Refusal,
  type Stage,
  type Verdict,
} from '../core/policy.ts'
import { CHECK_NAMES, type CheckName } from '../core/reasons.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Distribution } from '../telemetry/series.ts'
import type { Policy } from './index.ts'

/** How long a check that waits for something may take, in milliseconds. */
export const CHECK_DEADLINE_MS = 2000
/** One synchronous judgement in this many is timed, because reading the clock costs as much as most of them. */
const TIMED_ONE_IN = 64

/** Called with what a check in observe mode would have refused. */
export type Observer = (stage: Stage, refusal: Refusal) => void

export interface Runner {
  /** Of its own. Whoever wants to know later whether the policy is still this one keeps this, and none of its lists with it. */
  readonly edition: symbol
  run<S extends keyof Policy>(
    stage: S,
    part: keyof Policy[S],
    facts: Facts[S],
    observed: Observer,
  ): Verdict | Promise<Verdict>
}

/** @param observe the names of checks that judge and count without refusing, or all */
export const modeOf = (name: CheckName, observe: 'all' | readonly CheckName[]): Mode =>
  observe === 'all' || observe.includes(name) ? 'observe' : 'enforce'

export interface RunnerParts {
  readonly policy: Policy
  readonly mode: (name: CheckName) => Mode
  readonly metrics: Pick<Metrics, 'checkDuration' | 'checkFailures'>
  readonly log: Log
}

export const createRunner = (parts: RunnerParts): Runner => new PolicyRunner(parts)

const NEVER = new AbortController().signal

class PolicyRunner implements Runner {
  readonly edition = Symbol('policy')
  readonly #parts: RunnerParts
  readonly #durations: ReadonlyMap<CheckName, Distribution>
  readonly #modes: ReadonlyMap<CheckName, Mode>
  #judged = 0

  constructor(parts: RunnerParts) {
    const { metrics, mode } = parts
    this.#parts = parts
    this.#durations = new Map(CHECK_NAMES.map((name) => [name, metrics.checkDuration.of(name)]))
    this.#modes = new Map(CHECK_NAMES.map((name) => [name, mode(name)]))
  }

  run<S extends keyof Policy>(
    stage: S,
    part: keyof Policy[S],
    facts: Facts[S],
    observed: Observer,
  ): Verdict | Promise<Verdict> {
    return this.#from(this.#parts.policy[stage][part] as readonly Check<S>[], 0, facts, observed)
  }

  #from<S extends keyof Policy>(
    checks: readonly Check<S>[],
    first: number,
    facts: Facts[S],
    observed: Observer,
  ): Verdict | Promise<Verdict> {
    for (let i = first; i < checks.length; i++) {
      const check = checks[i] as Check<S>
      if (check.sparesTrusted && isTrusted(facts.client)) continue
      const timed = this.#judged++ % TIMED_ONE_IN === 0
      const started = timed ? performance.now() : 0
      const stop = check.waits === true ? new AbortController() : undefined
      let answer: Verdict | Promise<Verdict>
      try {
        answer = check.judge(facts, stop?.signal ?? NEVER)
      } catch (error) {
        answer = this.#failed(check.name, error)
      }
      if (answer instanceof Promise) {
        const since = timed ? started : performance.now()
        return this.#wait(check.name, since, answer, stop ?? new AbortController()).then((verdict) => {
          const weighed = this.#weigh(check, facts, verdict, observed)
          return weighed.action === 'accept' ? this.#from(checks, i + 1, facts, observed) : weighed
        })
      }
      if (timed) this.#durations.get(check.name)?.observe((performance.now() - started) / 1000)
      if (answer.action !== 'accept') {
        const weighed = this.#weigh(check, facts, answer, observed)
        if (weighed.action !== 'accept') return weighed
      }
    }
    return ACCEPT
  }

  /** The verdict to act on: a refusal by a check in observe mode is reported and then dropped. */
  #weigh(
    { name, stage }: { name: CheckName; stage: Stage },
    { client }: Facts['connect'],
    verdict: Verdict,
    observed: Observer,
  ): Verdict {
    if (verdict.action === 'accept') return verdict
    const heard = heardBy(client, verdict)
    if (this.#modes.get(name) === 'enforce') return heard
    observed(stage, heard)
    return ACCEPT
  }

  async #wait(name: CheckName, started: number, answer: Promise<Verdict>, stop: AbortController): Promise<Verdict> {
    const late = (): never => {
      stop.abort()
      throw new Error(`no verdict within ${CHECK_DEADLINE_MS} ms`)
    }
    try {
      return await within(answer, CHECK_DEADLINE_MS, late)
    } catch (error) {
      return this.#failed(name, error)
    } finally {
      this.#durations.get(name)?.observe((performance.now() - started) / 1000)
    }
  }

  #failed(name: CheckName, error: unknown): Verdict {
    const { metrics, log } = this.#parts
    metrics.checkFailures.inc(name)
    log.error({ check: name, err: stackOf(error) }, 'check failed, client let pass')
    return ACCEPT
  }
}
