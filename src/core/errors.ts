/** How a thrown value is reported; it need not be an Error. */

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** With the stack where there is one; for the log. */
export const stackOf = (error: unknown): string =>
  error instanceof Error ? (error.stack ?? error.message) : String(error)
