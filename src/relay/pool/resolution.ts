/** Finds the addresses of the mail servers. Names are asked for again in each round of health checks, one question at a time. */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { UpstreamAddress } from '../../config/address-kinds.ts'
import { messageOf } from '../../core/errors.ts'
import type { Log } from '../../telemetry/log.ts'
import type { Condition } from './server.ts'

export interface ResolutionOptions {
  readonly resolve: (name: string) => Promise<readonly string[]>
  /** Whether a server with this label is still among the settings. */
  readonly isWanted: (label: string) => boolean
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

export const systemResolve = async (name: string): Promise<readonly string[]> =>
  (await lookup(name, { all: true })).map(({ address }) => address)

export class Resolution {
  readonly #options: ResolutionOptions
  /** Labels whose name is being resolved. */
  readonly #asking = new Set<string>()
  /** The condition of each name that does not resolve at present, by label. */
  readonly #failed = new Map<string, Condition>()

  constructor(options: ResolutionOptions) {
    this.#options = options
  }

  /** What is wrong with the name of this server; undefined if nothing is, or it has not been asked for yet. */
  failure(label: string): Condition | undefined {
    return this.#failed.get(label)
  }

  /** Forgets the servers that are no longer wanted. */
  forget(): void {
    for (const label of this.#failed.keys()) if (!this.#options.isWanted(label)) this.#failed.delete(label)
  }

  /** All addresses of a server. Undefined: its name does not resolve, or is being asked for already. */
  async addressesOf({ label, host }: UpstreamAddress): Promise<readonly string[] | undefined> {
    if (isIP(host) !== 0) return [host]
    if (this.#asking.has(label)) return undefined
    const { resolve, isWanted } = this.#options
    this.#asking.add(label)
    try {
      const addresses = [...new Set(await resolve(host))]
      if (addresses.length === 0) throw new Error('it has no address')
      this.#failed.delete(label)
      return addresses
    } catch (error) {
      if (isWanted(label)) this.#fail(label, messageOf(error))
      return undefined
    } finally {
      this.#asking.delete(label)
    }
  }

  /** The addresses found earlier stay good: they are used and checked as before. */
  #fail(label: string, why: string): void {
    const { log, now } = this.#options
    const error = `name of upstream not resolved: ${why}`
    const before = this.#failed.get(label)
    if (before?.error !== error) log.warn({ upstream: label }, error)
    this.#failed.set(label, { state: 'down', since: before?.since ?? now(), error, lastSuccess: undefined })
  }
}
