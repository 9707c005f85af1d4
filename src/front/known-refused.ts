/**
 * Counts the sessions of known senders that brought nothing because of us: the harm that this program is to prevent, and that a list, a
 * check or a ban of the operator's may do all the same. What the mail servers refuse is their affair.
 */
import { type Client, isKnown } from '../core/client.ts'
import type { Refusal } from '../core/policy.ts'
import { knownRefusedOf, type Metrics, type Outcome } from '../telemetry/metrics.ts'
import type { Traffic } from '../telemetry/traffic/traffic.ts'

export interface KnownRefusedOptions {
  readonly metrics: Pick<Metrics, 'knownRefused'>
  readonly traffic: Pick<Traffic, 'knownRefused'>
  /** Whether a client's own history alone makes it known; absent: nobody's does. */
  readonly isKnownAlone?: ((ip: string) => boolean) | undefined
}

/** @param refusal the last that the session heard of us; undefined: it heard none */
export function countKnownRefused(
  { metrics, traffic, isKnownAlone }: KnownRefusedOptions,
  client: Client,
  refusal: Refusal | undefined,
  outcome: Outcome,
): void {
  if (refusal === undefined || outcome !== (refusal.code < 500 ? 'shed' : 'rejected')) return
  // The operator's ban comes before all history: but for it, the client might be known.
  const isBannedForGood = client.standing === 'banned' && refusal.code >= 500
  if (!isKnown(client) && !(isBannedForGood && isKnownAlone?.(client.ip))) return
  metrics.knownRefused.of(refusal.reason, knownRefusedOf(refusal.code)).value++
  traffic.knownRefused(client, refusal.reason)
}
