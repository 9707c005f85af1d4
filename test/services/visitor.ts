// Runs within a network of network.ts: does one thing for each line it reads, in turn, and answers with a line.

import { connect } from 'node:net'
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

async function ask({ url, method, body }: Extract<Asked, { do: 'ask' }>): Promise<{ text: string }> {
  const headers = body === undefined ? {} : { 'Content-Type': 'application/json' }
  const response = await fetch(url, { method, headers, ...(body !== undefined && { body }) })
  return { text: await response.text() }
}

console.log('here')
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line) as Asked
  console.log(JSON.stringify(asked.do === 'visit' ? await visit(asked) : await ask(asked)))
}
