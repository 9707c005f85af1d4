/** An answer that nobody waits for longer than so long. */

/** Rejected with this where the answer is late. */
export class Late extends Error {
  override readonly name = 'Late'
}

/**
 * Resolves or rejects as `answer` does, or rejects with Late after `ms`. Where the process itself was held up, answers that lie
 * read in the socket are taken before the deadline holds: timers run before the sockets are read, so it is looked at once more
 * after that.
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
