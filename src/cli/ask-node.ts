/** Asks the node that runs with these settings to do something, through its admin port. */
import { request } from 'node:http'
import type { PlainSettings } from '../config/settings.ts'

/** In characters: many times a report with a mistake in every setting. */
const LONGEST_ANSWER = 4 << 20

export interface Answer {
  readonly status: number
  readonly body: string
}

/** An address that a node listens on at all its addresses is reached over loopback. */
const reached = (host: string): string => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host)

/** Rejects if nobody answers within `longestMs`. */
export function postToNode(
  { adminListen: { host, port }, adminToken }: Pick<PlainSettings, 'adminListen' | 'adminToken'>,
  path: string,
  longestMs: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Length': 0, ...(adminToken !== undefined && { Authorization: `Bearer ${adminToken}` }) }
    const options = { host: reached(host), port, method: 'POST', path, headers, agent: false }
    const asking = request({ ...options, signal: AbortSignal.timeout(longestMs) }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        body += text
        if (body.length > LONGEST_ANSWER) response.destroy(new Error('the answer is too long'))
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
      response.on('error', reject)
    })
    asking.on('error', reject)
    asking.end()
  })
}
