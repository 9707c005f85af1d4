// One command to a Redis, on a connection of its own, without a process for it: tests ask many times a second.

import { createConnection } from 'node:net'
import { connect as connectTls } from 'node:tls'

export interface RedisLogin {
  readonly user?: string
  readonly password: string
}

export interface RedisAccess {
  readonly port: number
  readonly isTls?: boolean
  readonly login?: RedisLogin
}

interface Reply {
  /** As `redis-cli` prints it into a pipe: the elements of arrays in lines, and nothing for what is not there. */
  readonly text: string
  readonly isError: boolean
  /** Where the next one begins. */
  readonly end: number
}

/** Reads one reply of RESP 2; undefined where it is not whole. */
function read(data: Buffer, at: number): Reply | undefined {
  const lineEnd = data.indexOf('\r\n', at)
  if (lineEnd < 0) return undefined
  const type = String.fromCharCode(data[at] as number)
  const line = data.toString('utf8', at + 1, lineEnd)
  const end = lineEnd + 2
  const count = Number(line)
  if (type === '$' && count >= 0) {
    if (data.length < end + count + 2) return undefined
    return { text: data.toString('utf8', end, end + count), isError: false, end: end + count + 2 }
  }
  if (type === '*' && count >= 0) {
    const texts: string[] = []
    let next = end
    for (let i = 0; i < count; i++) {
      const each = read(data, next)
      if (each === undefined) return undefined
      texts.push(each.text)
      next = each.end
    }
    return { text: texts.join('\n'), isError: false, end: next }
  }
  return { text: type === '$' || type === '*' ? '' : line, isError: type === '-', end }
}

const encode = (words: readonly string[]): string =>
  `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`

/** @returns the answer as redis-cli prints it. Rejects with what Redis says where it refuses, and where it says nothing for `ms`. */
export function callRedis(
  { port, isTls = false, login }: RedisAccess,
  command: readonly string[],
  ms = 15_000,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const at = { host: '127.0.0.1', port }
    const socket = isTls ? connectTls({ ...at, rejectUnauthorized: false }) : createConnection(at)
    const fail = (why: string): void => {
      socket.destroy()
      reject(new Error(`Redis, asked for ${command.join(' ').slice(0, 200)}: ${why}`))
    }
    socket.setTimeout(ms, () => fail(`no answer in ${ms} ms`))
    socket.on('error', ({ message }) => fail(message))
    socket.on('close', () => fail('the connection was closed'))
    if (login !== undefined) socket.write(encode(['auth', ...(login.user ? [login.user] : []), login.password]))
    socket.write(encode(command))
    let data = Buffer.alloc(0)
    socket.on('data', (chunk: Buffer) => {
      data = Buffer.concat([data, chunk])
      // Whether the login holds, the answer to the command tells.
      const greeted = login === undefined ? 0 : read(data, 0)?.end
      const reply = greeted === undefined ? undefined : read(data, greeted)
      if (reply === undefined) return
      if (reply.isError) return fail(reply.text)
      resolve(reply.text.trim())
      socket.destroy()
    })
  })
}
