/** The body of a request that writes: one JSON object. */
import { LONGEST_BODY, type Request } from './request.ts'
import { type Response, text } from './response.ts'

/** @param example of a right body, for a caller who sent something else */
export function objectIn(
  { length, body }: Request,
  example: string,
): { readonly fields: Readonly<Record<string, unknown>> } | Response {
  if (length === undefined) return text(411, 'send a body of a known length (Content-Length)')
  if (length > LONGEST_BODY) return text(413, `the body is longer than ${LONGEST_BODY} octets`)
  let read: unknown
  try {
    read = JSON.parse(body.toString('utf8'))
  } catch {
    // It is no object either.
  }
  if (typeof read !== 'object' || read === null || Array.isArray(read)) {
    return text(400, `the body is a JSON object, such as ${example}`)
  }
  return { fields: { ...read } }
}
