/** Plays a session over TCP, and reads what came of it. */
import { connect } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Reader } from './reader.ts'
import type { Session } from './session.ts'
import { SIZE_LIMIT } from './target.ts'

/** Nothing in here takes longer, unless somebody waits for ever. */
const DEADLINE_MS = 15_000
const REPLY = /^(?:[0-9]{3}-[^\n]*\n)*[0-9]{3}(?: [^\n]*)?\n/

export interface Played {
  readonly reader: Reader
  /** It left in a way that replies may be lost on. */
  readonly vanished: boolean
  readonly replies: readonly string[]
}

/** Resolves when the connection is closed. */
export async function play(session: Session, port: number): Promise<Played> {
  const reader = new Reader(SIZE_LIMIT)
  const replies: string[] = []
  let text = ''
  let closed = false
  let failure: Error | undefined
  let wake = (): void => undefined
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  socket.setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    text += chunk
    for (let whole = REPLY.exec(text); whole !== null; whole = REPLY.exec(text)) {
      text = text.slice(whole[0].length)
      const reply = whole[0].trimEnd()
      replies.push(reply)
      reader.heard(reply)
      if (!whole[0].endsWith('\r\n')) reader.problems.push(`a reply without CRLF: ${JSON.stringify(whole[0])}`)
    }
    wake()
  })
  let finished = false
  socket.on('end', () => {
    finished = true
    socket.end()
    wake()
  })
  socket.on('error', (error) => {
    failure = error
  })
  socket.on('close', () => {
    closed = true
    wake()
  })
  const deadline = performance.now() + DEADLINE_MS
  const until = async (done: () => boolean): Promise<void> => {
    while (!done() && !closed) {
      const left = deadline - performance.now()
      if (left <= 0) {
        reader.problems.push(`nothing more was said in ${DEADLINE_MS} ms; the last was ${replies.at(-1)}`)
        socket.destroy()
        return
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  const quiet = (): boolean => finished || reader.over || !reader.owed
  await until(quiet)
  for (const piece of session.pieces) {
    if (closed || finished || reader.over) break
    if (piece.ifAsked && !reader.inBody) continue
    for (const part of piece.parts) {
      if (closed || finished) break
      socket.write(part, 'latin1')
      reader.sent(part)
      await nextTurn()
    }
    if (piece.wait) await until(quiet)
  }
  const vanished = session.leave === 'reset' || session.leave === 'close'
  if (session.leave === 'reset') socket.resetAndDestroy()
  else if (session.leave === 'close') socket.destroy()
  else if (session.leave === 'fin') socket.end()
  else {
    await until(quiet)
    if (!reader.over) socket.end()
  }
  await until(() => closed)
  // A server that had said its last word may reset a client that is still writing; before that, it may not.
  if (!vanished && !reader.over) {
    if (failure !== undefined) reader.problems.push(`the connection failed: ${failure.message}`)
    if (reader.owed) reader.problems.push(`closed without a reply; the last was ${replies.at(-1)}`)
  }
  if (text !== '') reader.problems.push(`half a reply: ${JSON.stringify(text)}`)
  return { reader, vanished, replies }
}
