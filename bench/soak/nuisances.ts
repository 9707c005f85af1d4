// Clients that nobody misses: refused, over their limit, slow, and gone with a reset in the middle of everything.

import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

/** How many of each begin in a second. With the honest ones they are 300. */
const RATES = { denied: 60, flood: 80, resets: 80, slow: 10 } as const
type Kind = keyof typeof RATES

/** A network of their own for each kind. That of `denied` is on the deny list. */
const SOURCES: Readonly<Record<Kind, string>> = { denied: '127.9', flood: '127.10', resets: '127.12', slow: '127.13' }
export const DENIED = '127.9.0.0/16'

const STEPS = [
  'EHLO n.example',
  'MAIL FROM:<n@n.example>',
  'RCPT TO:<b@b.example>',
  'DATA',
  'half a text\r\nand',
  '\r\n.',
]
/** The longest that a slow one stays. */
const SLOW_MS = 15_000

/** Where a client leaves: after so many steps, in the middle of one, or in the middle of a TLS handshake. */
function leave(socket: Socket, number: number, step: number): boolean {
  const at = number % (STEPS.length + 3)
  if (at === STEPS.length + 1 && step === 1) {
    socket.write('STARTTLS\r\n')
    socket.once('data', () => {
      socket.removeAllListeners('data')
      connectTls({ socket, rejectUnauthorized: false }).on('error', () => undefined)
      setTimeout(() => socket.resetAndDestroy(), number % 8)
    })
    return true
  }
  if (at !== step) return false
  // Half a line, or nothing, and then the reset: with it, or a moment later.
  if (number % 2 === 0) socket.write((STEPS[step] ?? 'QUIT').slice(0, 4))
  if (number % 3 === 0) socket.resetAndDestroy()
  else setTimeout(() => socket.resetAndDestroy(), number % 20)
  return true
}

function reset(socket: Socket, number: number): void {
  let step = 0
  if (number % 20 === 0) {
    socket.once('connect', () => socket.resetAndDestroy())
    return
  }
  socket.on('data', () => {
    if (leave(socket, number, step)) return
    const line = STEPS[step++]
    if (line === undefined) socket.end('QUIT\r\n')
    else socket.write(`${line}${line.startsWith('half') ? '' : '\r\n'}`)
    // The text is not answered.
    if (line?.startsWith('half') && !leave(socket, number, step)) socket.write(`${STEPS[step++]}\r\n`)
  })
}

/** Types octet by octet: commands, or a text; goes when its time is over. */
function slow(socket: Socket, number: number): void {
  const text = [...STEPS.slice(0, number % 2 === 0 ? 1 : 4), 'x'.repeat(200)].join('\r\n')
  let at = number % 2 === 0 ? 0 : text.indexOf('x'.repeat(10))
  if (at > 0) socket.write(text.slice(0, at))
  const typing = setInterval(() => socket.write(text[at++] ?? 'x'), 250)
  const end = setTimeout(
    () => (number % 3 === 0 ? socket.end() : socket.resetAndDestroy()),
    2_000 + ((number * 977) % (SLOW_MS - 2_000)),
  )
  socket.on('close', () => {
    clearInterval(typing)
    clearTimeout(end)
  })
  socket.resume()
}

const polite = (socket: Socket): unknown => socket.once('data', () => socket.end('QUIT\r\n')).resume()

const BEHAVIOUR: Readonly<Record<Kind, (socket: Socket, number: number) => unknown>> = {
  denied: polite,
  flood: polite,
  resets: reset,
  slow,
}

export class Nuisances {
  readonly #port: number
  readonly #open = new Set<Socket>()
  #timer: NodeJS.Timeout | undefined
  begun = 0

  constructor(port: number) {
    this.#port = port
  }

  start(): void {
    const since = performance.now()
    const counts: Record<Kind, number> = { denied: 0, flood: 0, resets: 0, slow: 0 }
    this.#timer = setInterval(() => {
      const seconds = (performance.now() - since) / 1000
      for (const kind of Object.keys(RATES) as Kind[]) {
        for (; counts[kind] < seconds * RATES[kind]; counts[kind]++) this.#begin(kind, counts[kind])
      }
    }, 10)
  }

  /** All are gone, however far they were. */
  stop(): void {
    clearInterval(this.#timer)
    for (const socket of this.#open) socket.resetAndDestroy()
  }

  #begin(kind: Kind, number: number): void {
    this.begun++
    const own = kind === 'flood' ? '0.1' : `${(number >> 6) & 15}.${1 + (number & 63)}`
    const socket = connect({ host: '127.0.0.1', port: this.#port, localAddress: `${SOURCES[kind]}.${own}` })
    this.#open.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => this.#open.delete(socket))
    BEHAVIOUR[kind](socket, number)
    socket.setTimeout(2 * SLOW_MS, () => socket.destroy())
  }
}
