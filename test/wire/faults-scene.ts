/** The upstreams of one cell: they take XCLIENT and behave well, but for the fault, which strikes once. */
import type { Socket } from 'node:net'
import { type TestApp, turn } from '../support/app.ts'
import {
  EXTENSIONS,
  type Script,
  startUpstream,
  type Upstream,
  type UpstreamConnection,
  type UpstreamOptions,
} from '../support/upstream.ts'
import { startSilentPort } from './faults-silent-port.ts'
import type { Cell, Fault, Step } from './faults-table.ts'

/** The message that is played with begins like this. */
export const HEAD = 'Subject: half\r\n\r\nthis is the first ha'

const EXTENSIONS_HERE = [...EXTENSIONS, 'XCLIENT NAME ADDR PORT PROTO HELO']
const GREETING = '220 upstream.example ESMTP'
const OFFER = ['upstream.example', ...EXTENSIONS_HERE].map(
  (line, i, { length }) => `250${i < length - 1 ? '-' : ' '}${line}`,
)
/** What a good server says at each step. */
const DUE: Readonly<Partial<Record<Step, string>>> = {
  greeting: GREETING,
  EHLO: OFFER.join('\r\n'),
  XCLIENT: GREETING,
  'second EHLO': OFFER.join('\r\n'),
  MAIL: '250 2.1.0 Ok',
  'first RCPT': '250 2.1.5 Ok',
  'second RCPT': '250 2.1.5 Ok',
  DATA: '354 go ahead',
  'between dot and reply': '250 2.0.0 Ok: queued as SCRIPTED',
}

/** Does it to one end of a connection. */
export function strike(fault: Fault, socket: Socket): void {
  if (fault === 'close') socket.destroy()
  else if (fault === 'reset') socket.resetAndDestroy()
  else if (fault === 'half-close') socket.end()
}

/** From now on each reply goes out in pieces, one behind the other. */
function sayInPieces(connection: UpstreamConnection, pieces: (reply: string) => readonly string[]): void {
  let last = Promise.resolve()
  connection.say = (text) => {
    for (const piece of pieces(/\n$/.test(text) ? text : `${text}\r\n`)) {
      last = last.then(() => {
        connection.socket.write(piece, 'latin1')
        return new Promise((resolve) => setImmediate(resolve))
      })
    }
  }
}

/** Whose turn it is to answer, by what was heard of a client on this connection. */
function stepOf(verb: string, { lines }: UpstreamConnection): Step | undefined {
  const heard = (what: string): number => lines.filter((line) => line.startsWith(what)).length
  if (verb === 'EHLO') return heard('EHLO mx.') > 0 ? undefined : heard('XCLIENT') > 0 ? 'second EHLO' : 'EHLO'
  if (verb === 'RCPT') return heard('RCPT') === 1 ? 'first RCPT' : 'second RCPT'
  if (verb === 'DOT') return 'between dot and reply'
  return verb === 'XCLIENT' || verb === 'MAIL' || verb === 'DATA' ? verb : undefined
}

const hostOf = ({ address }: Upstream): string => address.slice(0, address.lastIndexOf(':'))

export class Scene {
  all: Upstream[] = []
  /** The connection that was struck. */
  struck: UpstreamConnection | undefined
  /** Answers are held back at the step of the client's fault until this resolves. */
  #held: Promise<void> | undefined
  #release: () => void = () => undefined
  readonly #cell: Cell
  #armed = false
  #silentPort: { stop(): Promise<void> } | undefined

  constructor(cell: Cell) {
    this.#cell = cell
  }

  async start(): Promise<void> {
    // On an address of its own, where nobody else takes the port while it is not listened on.
    const bad = await this.#one(this.#unreachable ? { host: '127.7.7.7' } : {})
    // The first client's turn is the second's.
    this.all = this.#cell.failover ? [await this.#one({}), bad] : [bad]
  }

  /** Whether it is for want of somebody who listens that nobody answers. */
  get #unreachable(): boolean {
    const { side, step, fault } = this.#cell
    return side === 'upstream' && step === 'connect' && (fault === 'close' || fault === 'stall')
  }

  #one(place: Pick<UpstreamOptions, 'host' | 'port'>): Promise<Upstream> {
    const { step, fault, side } = this.#cell
    const greeting = (connection: UpstreamConnection): void => {
      if (typeof fault !== 'string' && fault.pieces !== undefined) sayInPieces(connection, fault.pieces)
      if (!this.#armed || side === 'client' || (step !== 'connect' && step !== 'greeting')) {
        connection.say(GREETING)
        return
      }
      if (step === 'greeting' && typeof fault === 'string') connection.socket.write(GREETING.slice(0, 9))
      const said = this.#strike(connection)
      if (said !== undefined) connection.say(said)
    }
    const script: Script = async (verb, _, connection) => {
      if (connection === this.struck && this.#isMute) return undefined
      if (stepOf(verb, connection) !== step) return 'default' as never
      if (side === 'client') {
        await this.#held
        return 'default' as never
      }
      return this.#armed ? this.#strike(connection) : ('default' as never)
    }
    return startUpstream({ extensions: EXTENSIONS_HERE, greeting, script, ...place })
  }

  /** @returns what is still to be said, if anything */
  #strike(connection: UpstreamConnection): string | undefined {
    const { fault, step } = this.#cell
    this.#armed = false
    this.struck = connection
    if (typeof fault === 'string') {
      strike(fault, connection.socket)
      return undefined
    }
    const said = fault.says?.(DUE[step] ?? '') ?? DUE[step] ?? ''
    if (fault.after !== 'closes') return said
    connection.socket.end(`${said}\r\n`, 'latin1')
    return undefined
  }

  /** Whether nothing more is said by whoever was struck. */
  get #isMute(): boolean {
    const { fault } = this.#cell
    return typeof fault === 'string' || fault.after !== 'goes on'
  }

  /** From now on: the health checks of the start are over. */
  async arm(): Promise<void> {
    const { side, fault } = this.#cell
    this.#armed = !this.#unreachable
    if (side === 'client') {
      this.#held = new Promise((resolve) => {
        this.#release = resolve
      })
    } else if (this.#unreachable) {
      const bad = this.all.at(-1) as Upstream
      await bad.stop()
      if (fault === 'stall') this.#silentPort = await startSilentPort(hostOf(bad), bad.port)
    }
  }

  /** Whether the fault has struck, or nobody listens. */
  get isStriking(): boolean {
    return this.struck !== undefined || this.#silentPort !== undefined
  }

  release(): void {
    this.#release()
  }

  /** A fault while nobody waits for a reply: in a body, or behind everything. */
  async strikeNow(app: TestApp): Promise<void> {
    const connection = this.mailed() as UpstreamConnection
    if (this.#cell.fault === 'stall') connection.socket.pause()
    const said = this.#strike(connection)
    if (said !== undefined) connection.say(said)
    await turn(app)
  }

  /** All is well again. */
  async mend(): Promise<void> {
    if (!this.#unreachable) return
    await this.#silentPort?.stop()
    const bad = this.all.pop() as Upstream
    this.all.push(await this.#one({ host: hostOf(bad), port: bad.port }))
  }

  connections(): UpstreamConnection[] {
    return this.all
      .flatMap(({ connections }) => connections)
      .filter(({ lines }) => !lines.includes('EHLO mx.test.example'))
  }

  /** The first that heard MAIL. */
  mailed(): UpstreamConnection | undefined {
    return this.all.flatMap((upstream) => upstream.mailed())[0]
  }

  /** How often the message that is played with has come, with its dot. */
  complete(): number {
    return this.all.flatMap((upstream) => upstream.bodies()).filter((body) => body.includes(HEAD)).length
  }

  async stop(): Promise<void> {
    this.#release()
    await this.#silentPort?.stop()
    await Promise.all(this.all.map((upstream) => upstream.stop()))
  }
}
