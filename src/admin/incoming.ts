/**
 * The octets of one request, as they come in. Only a POST is waited for to the end of its body, and only if that is short
 * and its length is known in advance; a route that needs another body refuses it (body.ts).
 */
import { hopeless, LONGEST_BODY, type Request, readRequest } from './request.ts'
import type { Response } from './response.ts'

export class Incoming {
  /** In Latin-1, as all text here is until somebody knows better. */
  #head = ''
  #request: Request | undefined
  #body = Buffer.alloc(0)
  #got = 0

  /** @returns the request, once it is complete; or the response to what is none */
  add(chunk: Buffer): Request | Response | undefined {
    if (this.#request !== undefined) return this.#addBody(this.#request, chunk)
    // Empty lines before a request are ignored (RFC 9112 section 2.2).
    this.#head = (this.#head + chunk.toString('latin1')).replace(/^[\r\n]+/, '')
    const end = /\r?\n\r?\n/.exec(this.#head)
    const begun = this.#head.slice(0, end?.index)
    const wrong = hopeless(begun)
    if (wrong !== undefined || end === null) return wrong
    const request = readRequest(begun)
    const rest = Buffer.from(this.#head.slice(begun.length + end[0].length), 'latin1')
    this.#head = ''
    if ('code' in request || !isWaitedFor(request)) return request
    this.#request = request
    this.#body = Buffer.alloc(request.length ?? 0)
    return this.#addBody(request, rest)
  }

  #addBody(request: Request, chunk: Buffer): Request | undefined {
    this.#got += chunk.copy(this.#body, this.#got)
    return this.#got < this.#body.length ? undefined : { ...request, body: this.#body }
  }
}

const isWaitedFor = ({ method, length }: Request): boolean =>
  method === 'POST' && length !== undefined && length > 0 && length <= LONGEST_BODY
