/** What the operator says at run time, told to all workers of a node, and to each that takes the place of another one. */
import { NO_ORDERS, type Orders } from '../../core/orders.ts'
import type { Hand } from './hand.ts'

export class CrewOrders {
  readonly #hands: () => readonly Hand[]
  #orders: Orders = NO_ORDERS

  /** @param hands all workers that there are */
  constructor(hands: () => readonly Hand[]) {
    this.#hands = hands
  }

  /** A worker begins with these. */
  get value(): Orders {
    return this.#orders
  }

  give(orders: Orders): void {
    this.#orders = orders
    for (const hand of this.#hands()) this.#tell(hand)
  }

  /** One that does not listen to its parent yet hears of it as soon as it does. */
  #tell(hand: Hand): void {
    if (hand.serves) hand.obey(this.#orders)
    else
      hand.listening.then(
        () => hand.obey(this.#orders),
        () => undefined,
      )
  }
}
