/** How many connections one server can make use of: what it shows in serving clients, and the limit that follows from it. */
import type { Bounds } from '../../config/connections-kind.ts'
import {
  afterWindow,
  enoughFor,
  firstState,
  type LimitState,
  restarted,
  within,
} from '../../overload/adaptive-limit.ts'
import { setOff } from '../../overload/set-off.ts'
import { type Timed, Window } from '../../overload/window.ts'

export interface ServerLoadOptions {
  /** As they are set now. */
  readonly bounds: () => Bounds
  readonly elapsed: () => number
}

export class ServerLoad {
  readonly #options: ServerLoadOptions
  readonly #window: Window
  #state: LimitState

  constructor(options: ServerLoadOptions) {
    this.#options = options
    this.#window = new Window(options.elapsed())
    this.#state = firstState(options.bounds())
  }

  /** The most connections there may be now; at least 1. */
  get max(): number {
    return Math.max(1, Math.floor(within(this.#state.limit, this.#options.bounds())))
  }

  /** @param octets size of the message that the reply is about @param inUse connections at this moment */
  replied(command: Timed, ms: number, octets: number, net: string, inUse: number): void {
    if (this.#isFixed) return
    this.#window.replied(command, setOff(ms, octets), net, inUse)
    this.#look()
  }

  /** It turned a client away because of itself, or did not answer. */
  dropped(net: string, inUse: number): void {
    if (this.#isFixed) return
    this.#window.dropped(net, inUse)
    this.#look()
  }

  /** The server is back after an outage. */
  restart(): void {
    if (this.#isFixed) return
    this.#window.end(this.#options.elapsed())
    this.#state = restarted(this.#state, this.#options.bounds())
  }

  get #isFixed(): boolean {
    const { floor, ceiling } = this.#options.bounds()
    return floor === ceiling
  }

  #look(): void {
    const now = this.#options.elapsed()
    if (this.#window.isOver(now, enoughFor(this.#state)))
      this.#state = afterWindow(this.#state, this.#window.end(now), this.#options.bounds())
  }
}
