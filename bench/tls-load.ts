// The TLS clients of bench/handshakes.ts, in processes of their own: honest ones that bring mail with or without TLS, and attackers
// that do nothing but handshakes. An attacker has one ClientHello ready and computes nothing, as the cheapest attack would.
//
// bench/handshakes.ts gives them orders over the IPC channel; they end when that channel closes.

import { createConnection, type Socket } from 'node:net'
import { setPriority } from 'node:os'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import { addressAt } from './measure.ts'

export interface TlsOrder {
  readonly port: number
  readonly first: string
  /** Source addresses, used in turn, each in a network (/24) of its own. */
  readonly sources: number
  /**
   * mail: a message at an even rate. visits: EHLO, STARTTLS, EHLO, QUIT, or without TLS EHLO, NOOP, EHLO, QUIT. attack: handshakes
   * without end, for `seconds`, or without TLS nothing but connections.
   */
  readonly kind: 'mail' | 'visits' | 'attack'
  readonly tls: boolean
  /** All but the first resume the TLS session of the first. */
  readonly resumes?: boolean
  /** Of visits and mail. */
  readonly count?: number
  /** Of mail and attacks; without it, as many as there can be. */
  readonly perSecond?: number
  /** Of visits and attacks: how many at once. */
  readonly concurrency?: number
  readonly seconds?: number
}

export interface TlsTally {
  /** How long each mail took, in ms, those that failed left out. */
  readonly took: readonly number[]
  readonly failed: number
  /** TLS sessions that were resumed. */
  readonly resumed: number
  /** Of attackers: what was said to STARTTLS, and the handshakes that the server answered with its key. */
  readonly codes: Readonly<Record<string, number>>
  readonly answered: number
  readonly ms: number
}

const BODY = `Subject: bench\r\n\r\n${'The quick brown fox jumps over the lazy dog.\r\n'.repeat(90)}.\r\n`
const MAIL = ['MAIL FROM:<a@example.org>', 'RCPT TO:<anna@example.test>', 'DATA', BODY.slice(0, -2), 'QUIT']
const TIMEOUT_MS = 30_000

/** Says the lines in turn, each after the reply to the one before. @returns the code of the last reply but that to QUIT */
function talk(socket: Socket, lines: readonly string[], isGreeted: boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    let next = 0
    const say = (): void => {
      const line = lines[next++]
      if (line !== undefined) socket.write(`${line}\r\n`, 'latin1')
    }
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1')
      const last = /(?:^|\n)([0-9]{3}) [^\n]*\n$/.exec(text)
      if (last === null) return
      const code = last[1] as string
      text = ''
      if (code >= '400' || next >= lines.length) {
        socket.off('data', onData)
        resolve(code)
      } else say()
    }
    socket.on('data', onData)
    socket.once('close', () => reject(new Error('closed')))
    if (isGreeted) say()
  })
}

function open(port: number, localAddress: string): Socket {
  const socket = createConnection({ port, host: '127.0.0.1', localAddress, noDelay: true })
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy())
  socket.on('error', () => undefined)
  return socket
}

/** The TLS session that is resumed, and how often it was. */
interface Ticket {
  session: Buffer | undefined
  used: number
}

async function session(order: TlsOrder, from: string, lines: readonly string[], ticket?: Ticket): Promise<boolean> {
  const { port, tls } = order
  const plain = open(port, from)
  try {
    const code = await talk(plain, tls ? ['EHLO client.example', 'STARTTLS'] : ['EHLO client.example', ...lines], false)
    if (!tls) return code === '221'
    if (code !== '220') return false
    const secure = await new Promise<TLSSocket>((resolve, reject) => {
      const { session } = ticket ?? {}
      const options = { socket: plain, rejectUnauthorized: false, ...(session !== undefined && { session }) }
      const made = connect(options, () => resolve(made))
      made.on('error', reject)
      plain.once('close', () => reject(new Error('closed')))
    })
    if (ticket !== undefined) {
      if (secure.isSessionReused()) ticket.used++
      secure.on('session', (made) => {
        ticket.session ??= made
      })
    }
    return (await talk(secure, ['EHLO client.example', ...lines], true)) === '221'
  } catch {
    return false
  } finally {
    plain.destroy()
  }
}

/** What a client of TLS 1.3 says first. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const line = new Duplex({
      read: () => undefined,
      write: (chunk, _, done) => {
        resolve(chunk)
        done()
      },
    })
    connect({ socket: line, rejectUnauthorized: false }).on('error', () => undefined)
  })
}

async function attack(order: TlsOrder): Promise<TlsTally> {
  // Attackers have machines of their own: these get only what the server leaves over.
  setPriority(19)
  const hello = await clientHello()
  const codes: Record<string, number> = {}
  let answered = 0
  let next = 0
  const began = performance.now()
  const one = async (): Promise<void> => {
    const index = next++
    const early = order.perSecond === undefined ? 0 : began + (index * 1000) / order.perSecond - performance.now()
    if (early > 0) await sleep(early)
    const socket = open(order.port, addressAt(order.first, 256 * (index % order.sources)))
    let code = 'lost'
    try {
      code = await talk(socket, order.tls ? ['STARTTLS'] : ['NOOP'], false)
      if (code === '220') {
        await new Promise<void>((resolve) => {
          socket.once('data', () => {
            answered++
            resolve()
          })
          socket.once('close', () => resolve())
          socket.write(hello)
        })
      }
    } catch {
      // closed by the server
    }
    codes[code] = (codes[code] ?? 0) + 1
    socket.resetAndDestroy()
  }
  const lane = async (): Promise<void> => {
    while (performance.now() - began < (order.seconds ?? 1) * 1000) await one()
  }
  await Promise.all(Array.from({ length: order.concurrency ?? 1 }, lane))
  return { took: [], failed: 0, resumed: 0, codes, answered, ms: performance.now() - began }
}

async function sessions(order: TlsOrder): Promise<TlsTally> {
  const { count = 1, perSecond, concurrency = 1 } = order
  const lines = order.kind === 'mail' ? MAIL : order.tls ? ['QUIT'] : ['NOOP', 'EHLO client.example', 'QUIT']
  const ticket: Ticket | undefined = order.resumes === true ? { session: undefined, used: 0 } : undefined
  const took: number[] = []
  let failed = 0
  let next = 0
  const one = async (): Promise<void> => {
    const from = performance.now()
    if (await session(order, addressAt(order.first, 256 * (next++ % order.sources)), lines, ticket))
      took.push(performance.now() - from)
    else failed++
  }
  if (ticket !== undefined) await one()
  const began = performance.now()
  if (perSecond === undefined) {
    const lane = async (): Promise<void> => {
      while (next < count) await one()
    }
    await Promise.all(Array.from({ length: concurrency }, lane))
  } else {
    const all: Promise<void>[] = []
    for (let index = 0; index < count; index++) {
      const early = began + (index * 1000) / perSecond - performance.now()
      if (early > 0) await sleep(early)
      all.push(one())
    }
    await Promise.all(all)
  }
  return { took, failed, resumed: ticket?.used ?? 0, codes: {}, answered: 0, ms: performance.now() - began }
}

process.on('message', (order: TlsOrder) => {
  void (order.kind === 'attack' ? attack(order) : sessions(order)).then((tally) => process.send?.(tally))
})
process.on('disconnect', () => process.exit(0))
