/** An answer that is awaited only for so long. */

/** The rejection when an answer is late. */
export class Late extends Error {
  override readonly name = 'Late'
}

/**
 * Resolves or rejects as `answer` does, or rejects with Late after `ms`. If the process itself was held up, an answer that has
 * arrived meanwhile still counts: timers run before sockets are read, so the deadline takes effect only after that.
 */
export function within<T>(answer: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    let over = false
    const timer = setTimeout(() => {
      setImmediate(() => {
        if (!over) reject(new Late(`no answer within ${ms} ms`))
      })
    }, ms)
    const end = <V>(settle: (value: V) => void): ((value: V) => void) => {
      return (value) => {
        over = true
        clearTimeout(timer)
        settle(value)
      }
    }
    answer.then(end(resolve), end(reject))
  })
}
