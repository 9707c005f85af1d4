/** Waits that end. */
import { setImmediate } from 'node:timers'

/** The rejection when an answer is late. */
export class Late extends Error {
  override readonly name = 'Late'
}

/**
 * Settles as `answer` does, or after `ms` as `late` says: with what it returns, or with what it throws. By default that
 * is Late. If the process itself was held up, an answer that has arrived meanwhile still counts: timers run before
 * sockets are read, so the deadline takes effect only after that.
 */
export function within<T, L = never>(
  answer: Promise<T>,
  ms: number,
  late: () => L = () => {
    throw new Late(`no answer within ${ms} ms`)
  },
): Promise<T | L> {
  return new Promise((resolve, reject) => {
    let isOver = false
    const expire = (): void => {
      if (isOver) return
      try {
        resolve(late())
      } catch (error) {
        reject(error)
      }
    }
    const timer = setTimeout(() => setImmediate(expire), ms)
    const end = <V>(settle: (value: V) => void): ((value: V) => void) => {
      return (value) => {
        isOver = true
        clearTimeout(timer)
        settle(value)
      }
    }
    answer.then(end(resolve), end(reject))
  })
}

const AGAIN_MS = 100
const PATIENCE_MS = 10_000

/** Tries again for ten seconds. Rejects as the last attempt does. */
export async function patiently<T>(attempt: () => Promise<T>): Promise<T> {
  const until = performance.now() + PATIENCE_MS
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (performance.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
    }
  }
}
