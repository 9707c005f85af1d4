/**
 * What is handed to the kernel (SPILLWAY_KERNEL_OFFLOAD): sources whose connections it drops for a while, because they have heard
 * often enough that they are refused. The parts are in kernel/.
 */
import type { ReasonName } from './reasons.ts'

/** Why the kernel drops packets of a source: the closed label set of a metric. */
export const KERNEL_REASONS = ['banned', 'denied'] as const satisfies readonly ReasonName[]
export type KernelReason = (typeof KERNEL_REASONS)[number]
export const isKernelReason = (reason: ReasonName): reason is KernelReason => reason === 'banned' || reason === 'denied'

/** That a source has heard that it is refused. */
export interface Hearing {
  /** An IPv4 address, or an IPv6 /64 (`2001:db8:1:2::/64`). */
  readonly source: string
  /** What it was refused for: a refusal for something else counts from one again. */
  readonly of: string
  readonly times: number
}

/** Why a source is turned away whatever it does, and until when, in milliseconds since the epoch. */
export interface Sentence {
  readonly reason: KernelReason
  readonly until: number
}
