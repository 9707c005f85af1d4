/** The response to a request on the admin port. */
import { visible } from '../core/visible.ts'

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

/** Names in it may be as clients chose them, and be looked at on a terminal. */
export const json = (code: number, body: unknown): Response => ({
  code,
  type: 'application/json; charset=utf-8',
  body: visible(`${JSON.stringify(body, null, 2)}\n`),
})
