// Runs within a network of network.ts: does one thing for each line it reads, in turn, and answers with a line.

import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import type { Asked } from './network.ts'

const CONNECT_MS = 300
const REPLY_MS = 20_000

function visit({ from, to, port, says }: Extract<Asked, { do: 'visit' }>): Promise<{ replies?: string[] }> {
  return new Promise((resolve) => {
    const replies: string[] = []
    const socket = connect({ host: to, port, localAddress: from })
    const end = (answer: { replies?: string[] }): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(answer)
    }
    let timer = setTimeout(() => end({}), CONNECT_MS)
    const left = [...says]
    // A balancer speaks first.
    const say = (): void => {
      const next = left.shift()
      if (next === undefined) end({ replies })
      else socket.write(`${next}\r\n`)
    }
    let text = ''
    socket.once('connect', () => {
      clearTimeout(timer)
      timer = setTimeout(() => end({ replies: [...replies, 'nothing'] }), REPLY_MS)
      if (left[0]?.startsWith('PROXY ')) say()
    })
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      for (let at = text.indexOf('\r\n'); at >= 0; at = text.indexOf('\r\n')) {
        const line = text.slice(0, at)
        text = text.slice(at + 2)
        if (line[3] !== ' ') continue
        replies.push(line)
        say()
      }
    })
    socket.on('end', () => end({ replies }))
    socket.on('error', ({ message }) => end({ replies: [...replies, message] }))
  })
}

let held: Socket | undefined
const saidTo = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    setTimeout(() => resolve('nothing'), 2000).unref()
    socket.once('data', (chunk) => resolve(chunk.toString('latin1').trim()))
    socket.once('close', () => resolve('closed'))
  })

function open({ from, to, port }: Extract<Asked, { do: 'open' }>): Promise<string> {
  held = connect({ host: to, port, localAddress: from })
  held.on('error', () => undefined)
  return saidTo(held)
}

function noop(): Promise<string> {
  const socket = held as Socket
  const said = saidTo(socket)
  socket.write('NOOP\r\n')
  return said
}

async function ask({ url, method, body, fields }: Extract<Asked, { do: 'ask' }>): Promise<{ text: string }> {
  const headers = { ...fields, ...(body !== undefined && { 'Content-Type': 'application/json' }) }
  const response = await fetch(url, { method, headers, ...(body !== undefined && { body }) })
  return { text: await response.text() }
}

function done(asked: Asked): Promise<unknown> {
  switch (asked.do) {
    case 'visit':
      return visit(asked)
    case 'open':
      return open(asked)
    case 'noop':
      return noop()
    case 'ask':
      return ask(asked)
  }
}

console.log('here')
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await done(JSON.parse(line) as Asked)))
}
