/**
 * Parses the head of one HTTP request (RFC 9112), strictly. A malformed request is answered with 4xx and a sentence,
 * and nothing that a caller sends makes the parser throw. How its octets come in is in incoming.ts.
 *
 * We have our own parser because of what a single caller can do to node:http. It parses and queues all pipelined
 * requests of a 64 KiB chunk, about 2,400 of them, even if maxRequestsPerSocket is 1: 64 connections took 300 MB and
 * blocked the event loop for 10 ms each. Here a connection costs at most one head of 8 KiB and a body of 4 KiB.
 */
import { type Response, text } from './response.ts'

/** In octets. */
export const LONGEST_HEAD = 8192

const METHODS = ['GET', 'HEAD', 'POST', 'DELETE'] as const
const isMethod = (method: string): method is Request['method'] => METHODS.some((each) => each === method)

export interface Request {
  readonly method: (typeof METHODS)[number]
  readonly path: string
  readonly query: URLSearchParams
  /** The Host field; undefined only in HTTP/1.0. */
  readonly host: string | undefined
  readonly authorization: string | undefined
  /** The page that made a browser send this; undefined for other programs. */
  readonly origin: string | undefined
  /** Whether a page of another site made a browser send this for itself, and not by a link that was followed (W3C Fetch Metadata). */
  readonly isOfOtherSite: boolean
  /**
   * Whether a page of another site has led a browser's window here by itself, or has had the answer fetched ahead: nobody has followed a
   * link, as far as is known. (Sec-Fetch-User, Sec-Purpose.)
   */
  readonly isLed: boolean
  /** How long its body is, in octets; undefined: that is not known before its end. */
  readonly length: number | undefined
  /** Empty unless it is a POST with a body of at most LONGEST_BODY octets. */
  readonly body: Buffer
}

/** In octets. */
export const LONGEST_BODY = 4096
const NO_BODY = Buffer.alloc(0)

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([!-~]+) HTTP/1\\.([01])$`)
// No space before the colon, and no continuation lines (RFC 9112 section 5).
const FIELD = new RegExp(`^(${TOKEN}):([\\t -~\\x80-\\xff]*)$`)

/** The response to a head that is wrong already before it is complete; undefined if it may still become right. */
export function hopeless(begun: string): Response | undefined {
  if (begun.length > LONGEST_HEAD) return text(431, `the header is longer than ${LONGEST_HEAD} octets`)
  // A TLS handshake begins with the octet 0x16, and the caller would wait for our part of it.
  return /^[A-Za-z]|^$/.test(begun) ? undefined : text(400, 'this is plain HTTP, and that is no request')
}

/** In Sec-Fetch-Site: a page of another port of this host is of the same site, and may be anybody's all the same. */
const OTHERS: ReadonlySet<string | undefined> = new Set(['cross-site', 'same-site'])

/** @param head in Latin-1, without the empty line that ends it */
export function readRequest(head: string): Request | Response {
  const [line = '', ...rest] = head.split(/\r?\n/)
  const [, method, target = '', minor] = REQUEST_LINE.exec(line) ?? []
  if (method === undefined) {
    return / HTTP\/[2-9]/.test(line) ? text(505, 'HTTP/1.1 only') : text(400, 'the first line is no request line')
  }
  const fields = new Map<string, string[]>()
  for (const each of rest) {
    const [, name, value = ''] = FIELD.exec(each) ?? []
    if (name === undefined) return text(400, 'a line of the header is no field')
    const lower = name.toLowerCase()
    const same = fields.get(lower)
    if (same === undefined) fields.set(lower, [value.trim()])
    else same.push(value.trim())
  }
  const hosts = fields.get('host') ?? []
  if (hosts.length > 1 || (hosts.length === 0 && minor === '1')) return text(400, 'one Host field, please')
  if (!isMethod(method)) return text(405, 'only GET, HEAD, POST and DELETE', `Allow: ${METHODS.join(', ')}`)
  const lengths = fields.get('content-length') ?? ['0']
  const length = fields.has('transfer-encoding') ? undefined : Number(lengths[0])
  if (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0] ?? '')) return text(400, 'one Content-Length, in digits')
  if (!target.startsWith('/')) return text(400, 'the request target is a path, such as /metrics; this is no proxy')
  const [path = '', query = ''] = target.split(/\?(.*)/, 2)
  const isFromOther = OTHERS.has(fields.get('sec-fetch-site')?.[0])
  const isDocument = fields.get('sec-fetch-dest')?.[0] === 'document'
  const isFollowed = fields.get('sec-fetch-user')?.[0] === '?1' && !fields.has('sec-purpose')
  return {
    method,
    path,
    query: new URLSearchParams(query),
    host: hosts[0],
    authorization: fields.get('authorization')?.[0],
    origin: fields.get('origin')?.[0],
    isOfOtherSite: isFromOther && !isDocument,
    isLed: isFromOther && isDocument && !isFollowed,
    length,
    body: NO_BODY,
  }
}
