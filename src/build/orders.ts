/** Hands what the operator says at run time on to the parts of a node that obey it. */
import { StandingOrders } from '../admin/orders.ts'
import type { Clock } from '../core/clock.ts'
import type { Orders } from '../core/orders.ts'
import type { OverloadMode } from '../core/overload.ts'
import type { Pin } from '../overload/pin.ts'
import type { Upstreams } from '../relay/pool/upstreams.ts'
import type { Log } from '../telemetry/log.ts'
import type { BuiltPolicy } from './policy.ts'

export interface OrdersParts {
  /** That in force. */
  readonly policy: () => Pick<BuiltPolicy, 'settings'>
  readonly upstreams: Pick<Upstreams, 'drained'>
  readonly pin: Pick<Pin, 'set'>
  readonly clock: Clock
  readonly log: Log
}

export interface BuiltOrders {
  /** For the admin port. */
  readonly orders: StandingOrders
  obey(orders: Orders): void
  /** Since when balancers are told to send no clients here. */
  drainedSince(): number | undefined
}

/** @param first what holds already, as in a worker that takes the place of another one */
export function buildOrders(
  { policy, upstreams, pin, clock, log }: OrdersParts,
  first: Orders | undefined,
): BuiltOrders {
  let drainedSince: number | undefined
  const obey = (next: Orders): void => {
    drainedSince = next.drainedSince
    upstreams.drained.set(next.drained)
    pin.set(next.pin)
  }
  if (first !== undefined) obey(first)
  const orders = new StandingOrders({
    upstreams: () => policy().settings.upstreams.map(({ label }) => label),
    overload: () => policy().settings.overload as OverloadMode,
    ...{ obey, now: clock.now, log },
  })
  return { orders, obey, drainedSince: () => drainedSince }
}
