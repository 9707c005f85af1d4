/** The response to a request on the admin port. */

export interface Response {
  readonly code: number
  readonly type: string
  readonly body: string | Buffer
  /** Further header fields, each as one line. */
  readonly fields?: readonly string[]
}

/** @param fields further header fields, such as `Allow: GET, HEAD` */
export const text = (code: number, body: string, ...fields: readonly string[]): Response => ({
  code,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
  fields,
})

export const json = (code: number, body: unknown): Response => ({
  code,
  type: 'application/json; charset=utf-8',
  body: `${JSON.stringify(body, null, 2)}\n`,
})
