/** Bans that nobody may ask for, for tests of other routes. */
const nothing = (): never => {
  throw new Error('not asked for')
}
const list = { latest: nothing, add: nothing, remove: nothing }
export const NO_BANS = { ...list, allowed: list }

/** The same of what the operator says at run time. */
export const NO_ORDERS_GIVEN = {
  upstreams: [],
  drained: { upstreams: [] },
  drain: nothing,
  undrain: nothing,
  pin: nothing,
}
