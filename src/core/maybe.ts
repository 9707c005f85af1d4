/** For what is nearly always known at once and sometimes later: no promise is made where none is needed. */
export type Maybe<T> = T | Promise<T>

export const andThen = <T, U>(value: Maybe<T>, next: (value: T) => Maybe<U>): Maybe<U> =>
  value instanceof Promise ? value.then(next) : next(value)
