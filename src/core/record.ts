/** An object with an entry for each key of a closed set. */
export const recordOf = <K extends string, V>(keys: readonly K[], make: (key: K) => V): { readonly [N in K]: V } =>
  Object.fromEntries(keys.map((key) => [key, make(key)])) as { [N in K]: V }
