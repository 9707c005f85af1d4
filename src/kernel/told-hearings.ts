/**
 * What clients hear at a process that does not keep the kernel's table itself, for the one that does: told once a second, so that a refusal
 * costs no message between processes.
 */
import type { Hearing } from '../core/kernel.ts'

const TELL_MS = 1000
/** Sources a second. Whoever is beyond that hears it once more. */
const MOST = 8192

export class ToldHearings {
  readonly #heard = new Map<string, Hearing>()
  #timer: NodeJS.Timeout | undefined
  #tell: (hearings: readonly Hearing[]) => void = () => undefined

  onHeard(tell: (hearings: readonly Hearing[]) => void): void {
    this.#tell = tell
    this.#timer ??= setInterval(() => this.#flush(), TELL_MS).unref()
  }

  heard({ source, of, times }: Hearing): void {
    const before = this.#heard.get(source)
    if (before === undefined && this.#heard.size >= MOST) return
    this.#heard.set(source, { source, of, times: times + (before?.of === of ? before.times : 0) })
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #flush(): void {
    if (this.#heard.size === 0) return
    const all = [...this.#heard.values()]
    this.#heard.clear()
    this.#tell(all)
  }
}
