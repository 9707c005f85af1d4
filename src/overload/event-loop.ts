/** How late the event loop is, as Node measures it: a timer that should fire every ten milliseconds, and when it does. */
import { monitorEventLoopDelay } from 'node:perf_hooks'

const RESOLUTION_MS = 10
const NS_PER_MS = 1e6

export interface LoopDelay {
  /**
   * The mean delay since the last call, in milliseconds. A mean, because one long pause in a second (a scrape, a collection of
   * garbage) is no load; a loop that is late each time is. @param lateMs how late the caller's own timer was
   */
  read(lateMs: number): number
  stop(): void
}

export function watchLoop(): LoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  histogram.enable()
  return {
    read(lateMs) {
      const { count, mean } = histogram
      histogram.reset()
      // Node counts from one firing to the next. A loop that stood still all the time has none.
      return count === 0 ? Math.max(0, lateMs) : Math.max(0, mean / NS_PER_MS - RESOLUTION_MS)
    },
    stop() {
      histogram.disable()
    },
  }
}
