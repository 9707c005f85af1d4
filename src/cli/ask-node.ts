/** Asks the node that runs with these settings to do something, through its admin port. */
import { createRequire } from 'node:module'
import type { PlainSettings } from '../config/settings.ts'
import { messageOf } from '../core/errors.ts'
import { reached } from './reached.ts'

export type Admin = Pick<PlainSettings, 'adminListen' | 'adminToken'>

/** Not by `import`: admin/http.ts says why. */
const { request } = createRequire(import.meta.url)('node:http') as typeof import('node:http')

/** In characters: more than a list of all bans. */
const LONGEST_ANSWER = 32 << 20

export interface Answer {
  readonly status: number
  readonly body: string
}

export interface Question {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  /** JSON. */
  readonly body?: string
  readonly longestMs: number
}

/** Why a socket in the file system cannot be used, where the port may be. */
const CLOSED = ['ENOENT', 'ECONNREFUSED', 'EACCES']

/** Asks over the socket in the file system where there is one, or else over the port. Rejects if nobody answers in time. */
export async function askNode({ adminListen, adminToken }: Admin, question: Question): Promise<Answer> {
  const { host, port, socket } = adminListen
  if (socket !== undefined) {
    try {
      return await asked({ socketPath: socket }, undefined, question)
    } catch (error) {
      if (!CLOSED.includes((error as NodeJS.ErrnoException).code ?? '')) throw error
    }
  }
  return asked({ host: reached(host), port }, adminToken, question)
}

function asked(
  at: { readonly socketPath: string } | { readonly host: string; readonly port: number },
  adminToken: string | undefined,
  { method, path, body = '', longestMs }: Question,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      'Content-Length': Buffer.byteLength(body),
      ...(adminToken !== undefined && { Authorization: `Bearer ${adminToken}` }),
    }
    const options = { ...at, method, path, headers, agent: false }
    const asking = request({ ...options, signal: AbortSignal.timeout(longestMs) }, (response) => {
      let answer = ''
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        answer += text
        if (answer.length > LONGEST_ANSWER) response.destroy(new Error('the answer is too long'))
      })
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: answer }))
      response.on('error', reject)
    })
    asking.on('error', reject)
    asking.end(body)
  })
}

/** Why the node did not answer, and what to do. @param at where it was asked @param asked completes "It may still be" and "Its log tells" */
export function whyNoAnswer(
  error: NodeJS.ErrnoException,
  at: string,
  asked: { readonly doing: string; readonly tells: string },
): string {
  switch (error.code) {
    case 'ECONNREFUSED':
      return `Nothing listens at ${at} (SPILLWAY_ADMIN_LISTEN). Is Spillway running, and was it started with these settings? Give the same environment, and --env-file if it has one.`
    case 'ECONNRESET':
      return `The node at ${at} has closed the connection without an answer. It may still be ${asked.doing}.`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `The host of ${at} (SPILLWAY_ADMIN_LISTEN) does not resolve.`
    case 'ABORT_ERR':
      return `The node at ${at} has not answered. Its log tells ${asked.tells}.`
    default:
      return `The node at ${at} cannot be asked: ${messageOf(error)}.`
  }
}

/** Why the node refuses to answer; undefined: by the status alone that is not known. */
export function whyRefused(status: number, at: string, token: string | undefined): string | undefined {
  switch (status) {
    case 401:
      return token === undefined
        ? `The node at ${at} wants a token: set SPILLWAY_ADMIN_TOKEN, or SPILLWAY_ADMIN_TOKEN_FILE, to the one that it has.`
        : `The node at ${at} does not take the token of SPILLWAY_ADMIN_TOKEN. If it was changed just now, the node still has the one before: send it SIGHUP instead, or ask it with that one.`
    case 403:
      return `The node at ${at} has no token, and without one it changes nothing over that port. Set SPILLWAY_ADMIN_TOKEN_FILE and send it SIGHUP, or restart it with a socket in SPILLWAY_ADMIN_LISTEN, such as 127.0.0.1:9025,unix:/run/spillway/admin.sock.`
    case 421:
      return `The node at ${at} does not answer to that name: list it in SPILLWAY_ADMIN_HOSTS, or give an address in SPILLWAY_ADMIN_LISTEN.`
    default:
      return undefined
  }
}
