/** What speaks the protocol of Redis and answers what it is told to: for answers that no Redis gives. */
import { createServer, type Socket } from 'node:net'

/** What a command is for, by what is in it. */
export type FakeUse = 'add' | 'nodes' | 'other'

export interface FakeRedis {
  readonly port: number
  /** The answer to each use, as it goes over the wire; undefined: as a Redis would answer. */
  readonly answers: { [U in FakeUse]?: string | undefined }
  /** How many commands of each use were answered. */
  readonly answered: Record<FakeUse, number>
  stop(): Promise<void>
}

/** The answer to an amount: what all nodes have let in of the key, and the ms that are left of the window. */
export const counted = (current: number, previous: number, leftMs: number): string =>
  `*2\r\n:${current * 2 ** 26 + previous}\r\n:${leftMs}\r\n`

const RIGHT: Readonly<Record<FakeUse, string>> = {
  add: counted(1, 0, 1000),
  nodes: '*1\r\n:4\r\n',
  other: '+OK\r\n',
}

function useOf(command: readonly string[]): FakeUse {
  const [verb = '', , , key = ''] = command
  if (!/^eval/i.test(verb)) return 'other'
  if (key.endsWith(':nodes')) return 'nodes'
  return key.includes(':l:') ? 'add' : 'other'
}

/** The commands that are whole, and how much of the text they were. */
function read(text: string): { commands: string[][]; length: number } {
  const commands: string[][] = []
  let at = 0
  for (;;) {
    const head = /^\*(\d+)\r\n/.exec(text.slice(at))
    if (head === null) return { commands, length: at }
    let next = at + head[0].length
    const words: string[] = []
    for (let i = 0; i < Number(head[1]); i++) {
      const size = /^\$(\d+)\r\n/.exec(text.slice(next))
      if (size === null) return { commands, length: at }
      const begin = next + size[0].length
      next = begin + Number(size[1]) + 2
      if (next > text.length) return { commands, length: at }
      words.push(text.slice(begin, next - 2))
    }
    commands.push(words)
    at = next
  }
}

export async function startFakeRedis(): Promise<FakeRedis> {
  const answers: FakeRedis['answers'] = {}
  const answered = { add: 0, nodes: 0, other: 0 }
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let text = ''
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      const { commands, length } = read(text)
      text = text.slice(length)
      for (const command of commands) {
        const use = useOf(command)
        answered[use]++
        socket.write(answers[use] ?? RIGHT[use], 'latin1')
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    answers,
    answered,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
