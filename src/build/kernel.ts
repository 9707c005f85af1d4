/** Builds what hands clients to the kernel (kernel/), as SPILLWAY_KERNEL_OFFLOAD says. */
import type { PlainSettings } from '../config/settings.ts'
import type { Client } from '../core/client.ts'
import type { Hearing } from '../core/kernel.ts'
import type { Refusal } from '../core/policy.ts'
import { createNft } from '../kernel/nft.ts'
import { KernelOffload, type KernelReport } from '../kernel/offload.ts'
import type { Listening } from '../kernel/ruleset.ts'
import { ToldHearings } from '../kernel/told-hearings.ts'
import type { Bans } from '../state/bans.ts'
import type { Log } from '../telemetry/log.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { BuiltPolicy } from './policy.ts'

/** What processes of one node tell each other. */
export interface KernelControl {
  /** Takes what clients have heard at other processes. */
  take(hearings: readonly Hearing[]): void
  /** Called with what clients hear here, where another process keeps the kernel's table. */
  onHeard(listener: (hearings: readonly Hearing[]) => void): void
}

export interface BuiltKernel {
  /** A client that connected itself has heard that it is refused; undefined: nobody wants to know. */
  readonly turnedAway: ((client: Client, refusal: Refusal) => void) | undefined
  readonly control: KernelControl
  readonly start: (listening: readonly Listening[]) => void
  readonly stop: () => Promise<void>
  /** Undefined: no table is kept here. */
  readonly report: () => KernelReport | undefined
}

export interface KernelSources {
  /** As at the start: a reload does not change it. */
  readonly settings: Pick<PlainSettings, 'kernelOffload'>
  /** Whether this process keeps the table of the node. */
  readonly isKeeper: boolean
  readonly policy: () => Pick<BuiltPolicy, 'settings' | 'sentenceOf'>
  readonly bans: Pick<Bans, 'words'>
  readonly metrics: Pick<Metrics, 'kernelDropped'>
  readonly log: Log
  readonly now: () => number
}

const nothing = (): void => undefined
const OFF: BuiltKernel = {
  turnedAway: undefined,
  control: { take: nothing, onHeard: nothing },
  start: nothing,
  stop: async () => undefined,
  report: () => undefined,
}

const hearingOf = ({ source }: Client, { reason, facts }: Refusal): Hearing => ({
  source,
  of: `${reason} ${facts.bannedUntil ?? ''}`,
  times: 1,
})

export function buildKernel(sources: KernelSources): BuiltKernel {
  const { settings, isKeeper, policy, bans, metrics, log, now } = sources
  if (settings.kernelOffload === 'off') return OFF
  if (!isKeeper) {
    const told = new ToldHearings()
    return {
      ...OFF,
      turnedAway: (client, refusal) => told.heard(hearingOf(client, refusal)),
      control: { take: nothing, onHeard: (listener) => told.onHeard(listener) },
      stop: async () => told.stop(),
    }
  }
  let seen: readonly [unknown, number] | undefined
  const offload = new KernelOffload({
    nft: createNft(),
    sentenceOf: (source) => policy().sentenceOf(source),
    isChanged() {
      const before = seen
      seen = [policy().settings, bans.words]
      return before === undefined || before[0] !== seen[0] || before[1] !== seen[1]
    },
    dropped: { banned: metrics.kernelDropped.of('banned'), denied: metrics.kernelDropped.of('denied') },
    log,
    now,
  })
  return {
    turnedAway: (client, refusal) => offload.heard(hearingOf(client, refusal)),
    control: {
      take(hearings) {
        for (const each of hearings) offload.heard(each)
      },
      onHeard: nothing,
    },
    start: (listening) => offload.start(listening),
    stop: () => offload.stop(),
    report: () => offload.report(),
  }
}
