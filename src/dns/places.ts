/** How many may be asked about at once: in all, and of one network, whose owner decides how slowly the DNS answers. */
export class Places {
  readonly #most: number
  readonly #mostOfNet: number
  readonly #ofNets = new Map<string, number>()
  #taken = 0

  constructor(most: number, mostOfNet: number) {
    this.#most = most
    this.#mostOfNet = mostOfNet
  }

  /** @returns what frees it, to be called once; undefined if there is none */
  take(net: string): (() => void) | undefined {
    const ofNet = this.#ofNets.get(net) ?? 0
    if (this.#taken >= this.#most || ofNet >= this.#mostOfNet) return undefined
    this.#taken++
    this.#ofNets.set(net, ofNet + 1)
    return () => {
      this.#taken--
      const left = (this.#ofNets.get(net) ?? 1) - 1
      if (left === 0) this.#ofNets.delete(net)
      else this.#ofNets.set(net, left)
    }
  }
}
