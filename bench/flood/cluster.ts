// A cluster of fixed capacity, in a process of its own: an SMTP server that takes so many messages a second, as a Postfix
// would (capacity.ts). Each message that reaches its dot needs a worker for a while, also one that is refused there. While all
// workers are busy, dots wait; while all places are taken, greetings wait; when too many wait for a place, the next hear 421.
// It keeps no mail, only which delivery it took and how often. Its one argument is its size as JSON.
//
// Where the size has a `queue` (S18), the dot is quick instead, and what is accepted waits in a queue behind it. Over HTTP the
// cluster then tells how full that is: JSON as SPILLWAY_UPSTREAM_PRESSURE_URL wants it.

import { createServer as createWebServer } from 'node:http'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { QueueBehind, type Size, Workers } from './capacity.ts'
import { DOMAIN, MARK, RECOGNIZED, SLOW_MAILBOX, TURNED } from './names.ts'

export type ClusterOrder =
  /** The load begins: seconds are counted from now on. */
  | { readonly kind: 'begin' }
  | { readonly kind: 'stall'; readonly ms: number }
  | { readonly kind: 'down'; readonly ms: number }
  /** For so long everybody is unknown. */
  | { readonly kind: 'directory'; readonly ms: number }
  /** From now on a message to the slow mailbox takes so long at its dot, and no worker. */
  | { readonly kind: 'mailbox'; readonly ms: number }
  | { readonly kind: 'report' }

export interface ClusterReport {
  /** How often each delivery was taken. */
  readonly arrived: readonly (readonly [string, number])[]
  /** By second: transactions begun (MAIL), those of the sender that has turned bad, and messages that reached their dot. */
  readonly begun: readonly number[]
  readonly turned: readonly number[]
  readonly dots: readonly number[]
  /** By second: how full the queue behind the dot was, as a share of what it may hold; empty where there is none. */
  readonly queue: readonly number[]
}

export interface ClusterPorts {
  readonly port: number
  /** Over HTTP: how full the queue is. */
  readonly web: number
}

export interface ClusterSize extends Size {
  /** How many messages the queue behind the dot may hold. */
  readonly queue?: number
}

/** A dot that is quick takes so long, in ms. */
const QUICK_MS = 10
const SIZE = JSON.parse(process.argv[2] as string) as ClusterSize
const behind = new QueueBehind(SIZE.perSecond)
const fullness = (): number => (SIZE.queue === undefined ? 0 : behind.length(performance.now()) / SIZE.queue)
const fullnesses: number[] = []
let directoryBackAt = Number.NEGATIVE_INFINITY
let mailboxMs = 0
const workers = new Workers(SIZE)
const arrived = new Map<string, number>()
const counts = { begun: [] as number[], turned: [] as number[], dots: [] as number[] }
let began = performance.now()
const sockets = new Set<Socket>()
const waiting: (() => void)[] = []
let places = 0

function count(what: keyof typeof counts): void {
  const second = Math.floor((performance.now() - began) / 1000)
  counts[what][second] = (counts[what][second] ?? 0) + 1
}

/** Calls back once a worker has had the message for as long as one needs. */
function work(isSlow: boolean, done: () => void): void {
  count('dots')
  const now = performance.now()
  if (isSlow || SIZE.queue !== undefined) {
    setTimeout(() => afterStall(done), isSlow ? mailboxMs : QUICK_MS)
    return
  }
  setTimeout(() => afterStall(done), workers.dot(now) - now)
}

function afterStall(done: () => void): void {
  const left = workers.stalledFor(performance.now())
  if (left > 0) setTimeout(() => afterStall(done), left)
  else done()
}

const EHLO = [`250-${DOMAIN}`, '250-PIPELINING', '250-SIZE 10000000', '250-8BITMIME', '250 ENHANCEDSTATUSCODES'].join(
  '\r\n',
)
const DOT = Buffer.from('\r\n.\r\n')

function refusalOf(to: string): string | undefined {
  if (!to.endsWith(`@${DOMAIN}`)) return `554 5.7.1 relay access denied ${MARK}`
  if (performance.now() < directoryBackAt) return `550 5.1.1 no such user ${MARK}`
  return /^(u|postmaster@)/i.test(to) ? undefined : `550 5.1.1 no such user ${MARK}`
}

/** Of one message the cluster always thinks the same. */
const isRecognized = (id: string): boolean =>
  id.startsWith('s') && (Math.imul(Number(id.slice(1)) + 1, 0x9e3779b1) >>> 0) / 2 ** 32 < RECOGNIZED

class Session {
  readonly #socket: Socket
  #unread: Buffer = Buffer.alloc(0)
  #body: Buffer[] | undefined
  #busy = true
  #recipients: string[] = []

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#unread = this.#unread.length === 0 ? chunk : Buffer.concat([this.#unread, chunk])
      this.#go()
    })
  }

  greet(): void {
    afterStall(() => this.#reply(`220 ${DOMAIN} ESMTP`))
  }

  #reply(text: string): void {
    if (!this.#socket.destroyed) this.#socket.write(`${text}\r\n`)
    this.#busy = false
    this.#go()
  }

  #go(): void {
    while (!this.#busy) {
      if (this.#body !== undefined) {
        if (!this.#read(this.#body)) return
        continue
      }
      const end = this.#unread.indexOf('\r\n')
      if (end < 0) return
      const line = this.#unread.toString('latin1', 0, end)
      this.#unread = this.#unread.subarray(end + 2)
      this.#busy = true
      afterStall(() => this.#obey(line))
    }
  }

  /** @returns whether the message is complete */
  #read(body: Buffer[]): boolean {
    // The end may lie across two chunks, so the last octets stay where they are until more comes.
    const end = this.#unread.indexOf(DOT)
    if (end < 0) {
      const kept = Math.max(0, this.#unread.length - DOT.length + 1)
      if (kept > 0) {
        if (body.length === 0) body.push(Buffer.from(this.#unread.subarray(0, Math.min(kept, 4096))))
        this.#unread = this.#unread.subarray(kept)
      }
      return false
    }
    if (body.length === 0) body.push(Buffer.from(this.#unread.subarray(0, Math.min(end, 4096))))
    this.#unread = this.#unread.subarray(end + DOT.length)
    this.#body = undefined
    this.#busy = true
    const id = /X-Flood: (\S+)/.exec((body[0] as Buffer).toString('latin1'))?.[1] ?? ''
    const recipients = this.#recipients
    work(mailboxMs > 0 && recipients.includes(SLOW_MAILBOX), () => {
      if (isRecognized(id)) {
        this.#reply(`550 5.7.1 this is spam ${MARK}`)
        return
      }
      behind.add(performance.now())
      for (const to of recipients) {
        const delivery = `${id} ${to}`
        arrived.set(delivery, (arrived.get(delivery) ?? 0) + 1)
      }
      this.#reply('250 2.0.0 Ok: queued')
    })
    return true
  }

  #obey(line: string): void {
    switch (line.slice(0, 4).toUpperCase()) {
      case 'EHLO':
        this.#reply(EHLO)
        return
      case 'HELO':
      case 'RSET':
      case 'NOOP':
        this.#recipients = []
        this.#reply('250 2.0.0 Ok')
        return
      case 'MAIL': {
        this.#recipients = []
        count('begun')
        if (line.includes(TURNED)) count('turned')
        this.#reply('250 2.1.0 Ok')
        return
      }
      case 'RCPT': {
        const to = /<([^>]*)>/.exec(line)?.[1] ?? ''
        const refusal = refusalOf(to)
        if (refusal === undefined) this.#recipients.push(to)
        this.#reply(refusal ?? '250 2.1.5 Ok')
        return
      }
      case 'DATA':
        if (this.#recipients.length === 0) {
          this.#reply(`554 5.5.1 no valid recipients ${MARK}`)
          return
        }
        this.#body = []
        this.#reply('354 go ahead')
        return
      case 'QUIT':
        this.#socket.end('221 2.0.0 Bye\r\n')
        return
      default:
        this.#reply(`500 5.5.2 what? ${MARK}`)
        return
    }
  }
}

const server = createServer({ noDelay: true }, (socket) => {
  sockets.add(socket)
  socket.on('error', () => undefined)
  const session = new Session(socket)
  const begin = (): void => {
    places++
    socket.once('close', () => {
      places--
      waiting.shift()?.()
    })
    session.greet()
  }
  socket.on('close', () => {
    sockets.delete(socket)
    const at = waiting.indexOf(begin)
    if (at >= 0) waiting.splice(at, 1)
  })
  if (places < SIZE.places) begin()
  else if (waiting.length < SIZE.places) waiting.push(begin)
  else socket.end(`421 4.3.2 all servers are busy ${MARK}\r\n`)
})

const whole = (perSecond: readonly number[]): number[] => Array.from(perSecond, (each) => each ?? 0)

function obey(order: ClusterOrder, port: number): void {
  switch (order.kind) {
    case 'begin':
      for (const each of [...Object.values(counts), fullnesses]) each.length = 0
      began = performance.now()
      break
    case 'stall':
      workers.stall(performance.now(), order.ms)
      break
    case 'down':
      server.close()
      for (const socket of sockets) socket.resetAndDestroy()
      setTimeout(() => server.listen(port, '127.0.0.1', 511), order.ms)
      break
    case 'directory':
      directoryBackAt = performance.now() + order.ms
      break
    case 'mailbox':
      mailboxMs = order.ms
      break
    case 'report':
      process.send?.({
        arrived: [...arrived],
        begun: whole(counts.begun),
        turned: whole(counts.turned),
        dots: whole(counts.dots),
        queue: fullnesses,
      } satisfies ClusterReport)
      break
  }
}

process.on('disconnect', () => process.exit(0))
if (SIZE.queue !== undefined) setInterval(() => fullnesses.push(fullness()), 1000)
server.listen(0, '127.0.0.1', 511, () => {
  const { port } = server.address() as AddressInfo
  const web = createWebServer((_, answer) => answer.end(JSON.stringify({ [`127.0.0.1:${port}`]: fullness() })))
  web.listen(0, '127.0.0.1', () => {
    process.send?.({ port, web: (web.address() as AddressInfo).port } satisfies ClusterPorts)
    process.on('message', (order: ClusterOrder) => obey(order, port))
  })
})
