// The clients of the benchmarks. They run in a process of their own, so that their CPU time is not counted as a
// server's. One process serves all contenders in turn: it does the same for each, and is in the same state for each.
//
// bench/processes.ts starts it and gives it orders over the IPC channel; it ends when that channel closes.

import { createConnection, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { addressAt } from './measure.ts'

/** Source addresses: `count` of them, from `first` (dotted IPv4) on, used in turn. */
export interface Sources {
  readonly first: string
  readonly count: number
  /** The distance from one to the next; 1 by default. */
  readonly step?: number
}

export interface Visits {
  readonly kind: 'visits'
  readonly port: number
  readonly sources: Sources
  readonly count: number
  readonly concurrency: number
}

export interface Messages {
  readonly kind: 'messages'
  readonly port: number
  readonly sources: Sources
  readonly count: number
  readonly concurrency: number
  /** Octets of each message, including the header and the line ends. */
  readonly size: number
}

export interface Hold {
  readonly kind: 'hold'
  readonly port: number
  readonly sources: Sources
  readonly count: number
  readonly concurrency: number
}

/** Visits at an even rate, whether or not earlier ones have been answered, as clients arrive in reality. */
export interface Arrivals {
  readonly kind: 'arrivals'
  /** Visited in turn. */
  readonly ports: readonly number[]
  readonly sources: Sources
  readonly count: number
  readonly perSecond: number
}

/** Messages at an even rate, one per connection, whether or not earlier ones have been answered. */
export interface Mail {
  readonly kind: 'mail'
  readonly port: number
  readonly sources: Sources
  readonly count: number
  readonly perSecond: number
  readonly size: number
}

/**
 * Opens sessions in which one client in three is silent and the others type one octet a second, until they are
 * released.
 */
export interface Slow {
  readonly kind: 'slow'
  readonly port: number
  readonly sources: Sources
  readonly count: number
  readonly concurrency: number
}

/** Closes the sessions that are held open. */
export interface Release {
  readonly kind: 'release'
}

export type Order = Visits | Messages | Hold | Arrivals | Mail | Slow | Release

/** One of the arrivals. */
export interface Visit {
  readonly port: number
  /** When it began to connect, in ms since the epoch. */
  readonly at: number
  /** From connecting until the first reply was read, in ms. */
  readonly waitedMs: number
  /** From connecting until the connection was closed, in ms. */
  readonly tookMs: number
  /** Undefined: the connection was lost. */
  readonly code: string | undefined
}

export interface Tally {
  /** Connections that ended in good order, by the code of the last complete reply they read. */
  readonly codes: Readonly<Record<string, number>>
  /** Connections that were reset, timed out, or ended in the middle of a reply. */
  readonly lost: number
  /** Octets read from the server in total. */
  readonly octets: number
  readonly ms: number
  /** Each of the arrivals or mails; empty for orders that keep nothing about single connections. */
  readonly visits: readonly Visit[]
}

const TIMEOUT_MS = 60_000

interface Answer {
  /** Undefined: the connection was lost. */
  readonly code: string | undefined
  readonly octets: number
  /** From connecting to the end of the first reply, in ms. */
  readonly waitedMs: number
  /** From connecting until the connection is closed, in ms. */
  readonly tookMs: number
}

/** Runs `one` `count` times, `concurrency` at a time. */
async function many(
  order: { readonly count: number; readonly concurrency: number },
  one: (index: number) => Promise<Answer>,
): Promise<Tally> {
  const codes: Record<string, number> = {}
  let lost = 0
  let octets = 0
  let next = 0
  const started = performance.now()
  const lane = async (): Promise<void> => {
    while (next < order.count) {
      const { code, octets: read } = await one(next++)
      octets += read
      if (code === undefined) lost++
      else codes[code] = (codes[code] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: Math.min(order.concurrency, order.count) }, lane))
  return { codes, lost, octets, ms: performance.now() - started, visits: [] }
}

/** @returns a function that gives the source address of a connection by its index */
const addresses =
  ({ first, count, step = 1 }: Sources) =>
  (index: number): string =>
    addressAt(first, (index % count) * step)

interface Dialogue {
  readonly port: number
  readonly localAddress: string
  /** What to send after each reply, in turn. QUIT is sent after a code of 400 or more, unless it is 421 or the greeting. */
  readonly lines: readonly (string | Buffer)[]
  /** Called at the last reply if the connection is to stay open; its end is then not waited for. */
  readonly stay?: (socket: Socket) => void
}

/** Talks to a server until it closes. The answer's code is that of its last reply but the one to QUIT. */
function talk({ port, localAddress, lines, stay }: Dialogue): Promise<Answer> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: '127.0.0.1', localAddress, noDelay: true })
    let text = ''
    let octets = 0
    let said = 0
    let code: string | undefined
    let ended = false
    let waitedMs = Number.POSITIVE_INFINITY
    const started = performance.now()
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy())
    socket.on('data', (chunk) => {
      octets += chunk.length
      text += chunk.toString('latin1')
      if (!text.endsWith('\r\n')) return
      const last = text.slice(text.lastIndexOf('\n', text.length - 3) + 1)
      // A line with a hyphen after the code is not the last of its reply (RFC 5321 section 4.2.1).
      if (last[3] === '-') return
      text = ''
      waitedMs = Math.min(waitedMs, performance.now() - started)
      if (!(code !== undefined && last.startsWith('221'))) code = last.slice(0, 3)
      if (Number(last.slice(0, 3)) >= 400) {
        if (said > 0 && code !== '421') socket.write('QUIT\r\n')
        return
      }
      const line = lines[said++]
      if (line !== undefined) socket.write(line)
      else if (stay !== undefined) {
        socket.setTimeout(0)
        stay(socket)
        resolve({ code, octets, waitedMs, tookMs: performance.now() - started })
      }
    })
    socket.on('end', () => {
      ended = true
    })
    socket.on('error', () => {
      code = undefined
    })
    socket.on('close', () =>
      resolve({
        code: ended && text === '' ? code : undefined,
        octets,
        waitedMs,
        tookMs: performance.now() - started,
      }),
    )
  })
}

/** Reads the first reply, sends QUIT if it was a greeting, and reads to the end. */
const visits = (order: Visits): Promise<Tally> => {
  const from = addresses(order.sources)
  return many(order, (index) => talk({ port: order.port, localAddress: from(index), lines: ['QUIT\r\n'] }))
}

/** One connection per message, without pipelining, as smtp-source(1) does it. */
const messages = (order: Messages): Promise<Tally> => {
  const from = addresses(order.sources)
  const lines = sending(order.size)
  return many(order, (index) => talk({ port: order.port, localAddress: from(index), lines }))
}

const sending = (size: number): readonly (string | Buffer)[] => [
  'EHLO client.example\r\n',
  'MAIL FROM:<sender@example.org>\r\n',
  'RCPT TO:<anna@example.test>\r\n',
  'DATA\r\n',
  message(size),
  'QUIT\r\n',
]

function message(size: number): Buffer {
  const head = 'From: sender@example.org\r\nTo: anna@example.test\r\nSubject: bench\r\n\r\n'
  const line = `${'The quick brown fox jumps over the lazy dog. '.repeat(2).slice(0, 76)}\r\n`
  const rest = size - head.length
  const tail = rest % line.length
  const last = tail >= 2 ? `${'x'.repeat(tail - 2)}\r\n` : ''
  return Buffer.from(`${head}${line.repeat(Math.floor(rest / line.length))}${last}.\r\n`, 'latin1')
}

const held: Socket[] = []

/** Opens sessions, sends EHLO in each, and leaves them open. */
const hold = (order: Hold): Promise<Tally> => {
  const from = addresses(order.sources)
  return many(order, (index) =>
    talk({
      port: order.port,
      localAddress: from(index),
      lines: ['EHLO client.example\r\n'],
      stay: (socket) => held.push(socket),
    }),
  )
}

/**
 * What a slow client types. It reaches RCPT after half a minute and DATA some seconds later, but never the final dot.
 */
const TYPED = 'EHLO s\r\nMAIL FROM:<a@b>\r\nRCPT TO:<anna@example.test>\r\nDATA\r\n'
const TYPING_MS = 1000
/** The clients take turns, so that the octets of one second are spread over it. */
const TURNS = 500

interface Typist {
  readonly socket: Socket
  at: number
}
const typists: Typist[] = []
let typing: NodeJS.Timeout | undefined

function typeOn(): void {
  let turn = 0
  typing ??= setInterval(() => {
    turn = (turn + 1) % TURNS
    for (let i = turn; i < typists.length; i += TURNS) {
      const typist = typists[i] as Typist
      if (typist.socket.writable) typist.socket.write(TYPED[typist.at++] ?? 'x')
    }
  }, TYPING_MS / TURNS)
}

const slow = (order: Slow): Promise<Tally> => {
  const from = addresses(order.sources)
  typeOn()
  return many(order, (index) =>
    talk({
      port: order.port,
      localAddress: from(index),
      lines: [],
      stay: (socket) => {
        held.push(socket)
        if (index % 3 > 0) typists.push({ socket, at: 0 })
      },
    }),
  )
}

const arrivals = ({ ports, ...order }: Arrivals): Promise<Tally> =>
  evenly(order, (index) => ports[index % ports.length] as number, ['QUIT\r\n'])

const mail = ({ port, size, ...order }: Mail): Promise<Tally> => evenly(order, () => port, sending(size))

async function evenly(
  { sources, count, perSecond }: { sources: Sources; count: number; perSecond: number },
  portOf: (index: number) => number,
  lines: Dialogue['lines'],
): Promise<Tally> {
  const from = addresses(sources)
  const all: Promise<Answer & Omit<Visit, 'code'>>[] = []
  const started = performance.now()
  for (let index = 0; index < count; index++) {
    const early = started + (index * 1000) / perSecond - performance.now()
    if (early > 0) await sleep(early)
    const port = portOf(index)
    const at = Date.now()
    const answer = talk({ port, localAddress: from(index), lines })
    all.push(answer.then((each) => ({ port, at, ...each })))
  }
  const answers = await Promise.all(all)
  const codes: Record<string, number> = {}
  for (const { code } of answers) if (code !== undefined) codes[code] = (codes[code] ?? 0) + 1
  return {
    codes,
    lost: answers.filter(({ code }) => code === undefined).length,
    octets: answers.reduce((sum, { octets }) => sum + octets, 0),
    ms: performance.now() - started,
    visits: answers.map(({ port, at, waitedMs, tookMs, code }) => ({ port, at, waitedMs, tookMs, code })),
  }
}

async function obey(order: Order): Promise<Tally> {
  switch (order.kind) {
    case 'visits':
      return visits(order)
    case 'messages':
      return messages(order)
    case 'hold':
      return hold(order)
    case 'arrivals':
      return arrivals(order)
    case 'mail':
      return mail(order)
    case 'slow':
      return slow(order)
    case 'release':
      clearInterval(typing)
      typing = undefined
      typists.length = 0
      for (const socket of held.splice(0)) socket.destroy()
      return { codes: {}, lost: 0, octets: 0, ms: 0, visits: [] }
  }
}

process.on('message', (order: Order) => {
  obey(order).then(
    (tally) => process.send?.(tally),
    (error: unknown) => {
      console.error(error)
      process.exit(1)
    },
  )
})
process.on('disconnect', () => process.exit(0))
