/** Bans that nobody may ask for, for tests of other routes. */
const nothing = (): never => {
  throw new Error('not asked for')
}
export const NO_BANS = { latest: nothing, add: nothing, remove: nothing }
