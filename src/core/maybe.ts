/** A value that is usually known at once and sometimes only later. No promise is made where none is needed. */
export type Maybe<T> = T | Promise<T>

export const andThen = <T, U>(value: Maybe<T>, next: (value: T) => Maybe<U>): Maybe<U> =>
  value instanceof Promise ? value.then(next) : next(value)

/** Calls `make`. If it throws or rejects, the result is that of `failed`. */
export function fenced<T>(make: () => Maybe<T>, failed: (error: unknown) => T): Maybe<T> {
  try {
    const value = make()
    return value instanceof Promise ? value.catch(failed) : value
  } catch (error) {
    return failed(error)
  }
}
