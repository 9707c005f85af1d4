/**
 * Speaks SMTP with one client: whose turn it is, for how long, and how it ends. What each command means is commands.ts;
 * sockets, TLS and closing are transport.ts.
 */
import { stackOf } from '../../core/errors.ts'
import { andThen, fenced, type Maybe } from '../../core/maybe.ts'
import type { Facts } from '../../core/policy.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { SessionRecord } from '../outcome.ts'
import { say } from '../reply.ts'
import type { ClientReply } from './client-reply.ts'
import { Commands, type CommandsParts, type Surroundings } from './commands.ts'
import type { ConversationParts } from './context.ts'
import { Conversation } from './conversation.ts'
import type { ProtocolReason } from './replies.ts'
import type { Transport, TransportEvents } from './transport.ts'
import { type State, Turn, type TurnLimits } from './turn.ts'
import type { Watch, Watched } from './watch.ts'
import type { BodySink } from './wire-stream.ts'

export interface ClientSessionParts extends TurnLimits, CommandsParts {
  readonly conversation: ConversationParts
  /** Hears of a client that begins with a PROXY header, although nobody has listed it as a balancer. */
  readonly foreignHeader: (ip: string) => void
  readonly metrics: Pick<Metrics, 'tlsHandshakes'>
}

/** While this node is being stopped, a TLS handshake has this long: within it nobody can be told to come back. */
const LAST_HANDSHAKE_MS = 5000

export class ClientSession implements TransportEvents, Surroundings, Watched {
  readonly over: Promise<void>
  readonly settled: Promise<void>
  readonly #parts: ClientSessionParts
  readonly #watch: Watch
  readonly #ip: string
  readonly #record: SessionRecord
  readonly #transport: Transport
  readonly #conversation: Conversation
  readonly #commands: Commands
  readonly #turn: Turn
  draining = false
  /** Counts commands; while this node is being stopped, one that came meanwhile is answered first. */
  #heard = 0
  #resolveOver: () => void = () => undefined

  constructor(
    parts: ClientSessionParts,
    watch: Watch,
    facts: Facts['connect'],
    record: SessionRecord,
    connect: (events: TransportEvents) => Transport,
  ) {
    this.#parts = parts
    this.#watch = watch
    this.#ip = facts.client.ip
    this.#record = record
    this.#transport = connect(this)
    this.#turn = new Turn(parts)
    this.#conversation = new Conversation(parts.conversation, facts, record, () => this.#transport.tls)
    this.#commands = new Commands(parts, this.#conversation, record, this)
    this.over = new Promise((resolve) => {
      this.#resolveOver = resolve
    })
    this.settled = this.over.then(() => this.#conversation.gone())
  }

  greet(): void {
    if (this.#turn.state !== 'greeting') return
    this.#watch.begin(this)
    this.#enter('command')
    this.#transport.listen()
    this.#transport.write(say(220, undefined, `${this.#parts.conversation.voice.hostname} ESMTP Spillway`))
  }

  get pastDot(): boolean {
    return this.#turn.isPastDot
  }

  get secure(): boolean {
    return this.#transport.tls !== undefined
  }

  get slow(): boolean {
    return this.#turn.wasSlow
  }

  get unread(): boolean {
    return this.#turn.isOurs && this.#transport.isPaused
  }

  touch(): void {
    this.#transport.touch()
  }

  drain(): void {
    this.draining = true
    if (this.#turn.state === 'greeting') this.#endFor('draining')
    else if (this.#turn.state === 'handshake') this.#transport.arm(Math.min(this.#parts.idleMs, LAST_HANDSHAKE_MS))
    else this.#leaveWhenIdle()
  }

  dismiss(): void {
    this.draining = true
    if (!this.pastDot) this.#endFor('draining')
  }

  cut(): void {
    if (this.#turn.state === 'closed') return
    if (this.#turn.state === 'handshake') this.#handshakeFailed('cut off')
    else if (!this.pastDot && !this.#turn.isEnding) this.#write(this.#conversation.replies.because('draining'))
    this.#conversation.cut()
    this.#transport.cut()
    this.#enter('closed')
  }

  line(line: Buffer, isWhole: boolean, next: () => void): void {
    if (this.#turn.state !== 'command') {
      next()
      return
    }
    this.#heard++
    this.#enter('reply')
    const { hasLasted } = this.#turn
    const { replies } = this.#conversation
    this.#answerWith(hasLasted ? replies.because('session_time') : this.#commands.obey(line, isWhole), next)
  }

  typing(): void {
    if (this.#turn.state === 'command' && this.#turn.typing()) this.#endFor('idle')
  }

  foreignHeader(): void {
    this.#parts.foreignHeader(this.#ip)
    this.#endFor('proxy_unlisted')
  }

  silent(): void {
    if (this.#turn.isOurs) this.#arm()
    else this.#endFor('idle')
  }

  secured(): void {
    if (this.#turn.state !== 'handshake') return
    this.#parts.metrics.tlsHandshakes.inc('ok')
    this.#conversation.forgetHello()
    this.#record.stage = 'connect'
    this.#record.tls = this.#transport.tls?.protocol
    this.#enter('command')
    this.#arm()
    if (this.draining) this.#leaveWhenIdle()
  }

  /**
   * A client that leaves between its dot and our reply is gone (RFC 5321 section 4.1.1.10 wants QUIT and its answer): its
   * seat is free from now on. The reply is still written, to whoever only closed one direction. One that pipelined more
   * before it did so is still being served: Exim says its QUIT right behind the dot, closes its side, and reads the answer.
   */
  ended(): void {
    if (this.#turn.state === 'dot' && this.#transport.isFinished) this.#enter('left')
  }

  finished(): void {
    if (this.#turn.isEnding) return
    this.#enter('closing')
    this.#transport.close()
  }

  closed(error: string | undefined): void {
    if (this.#turn.state === 'handshake') this.#handshakeFailed(error ?? 'the client left')
    this.#enter('closed')
  }

  #enter(state: State): void {
    this.#turn.goTo(state)
    if (state === 'closed') this.#watch.end(this)
    if (this.#turn.isOver) this.#resolveOver()
  }

  #arm(): void {
    this.#transport.arm(this.#turn.patienceMs)
  }

  #write({ text }: ClientReply): void {
    if (text !== '') this.#transport.write(text)
  }

  /** @param reply never rejects @param next see #answer */
  #answerWith(reply: Maybe<ClientReply>, next: () => void): void {
    void fenced(
      () => andThen(reply, (made) => this.#answer(made, next)),
      (error) => {
        this.#parts.log.error({ err: stackOf(error) }, 'session failed')
        this.#transport.destroy()
      },
    )
  }

  /** Says a reply and does what follows. @param next hands on what the client sent behind its command */
  #answer(made: ClientReply, next: () => void): void {
    if (this.#turn.isEnding) {
      next()
      return
    }
    const reply = this.#commands.count(made)
    if (reply.next === 'close') this.#farewell(reply)
    else this.#follow(reply, reply.next)
    this.#transport.whenWritten(() => {
      next()
      if (this.draining) this.#leaveWhenIdle()
    })
  }

  #follow(reply: ClientReply, next: Exclude<ClientReply['next'], 'close'>): void {
    const before = this.#turn.state
    this.#write(reply)
    if (next === 'handshake') {
      this.#enter('handshake')
      this.#transport.startTls()
    } else if (next === 'text') {
      this.#enter('text')
      this.#arm()
      this.#transport.startText(this.#text())
    } else if (before === 'left') {
      this.finished()
    } else {
      this.#enter('command')
      // In a message it had longer.
      if (before === 'dot') this.#arm()
    }
  }

  /** The last reply: nothing that was pipelined behind it is answered, and a message under way has no end. */
  #farewell(reply: ClientReply): void {
    this.#conversation.abandon('cut off')
    this.#write(reply)
    this.finished()
  }

  #endFor(reason: ProtocolReason): void {
    if (this.#turn.isEnding) return
    if (this.#turn.state !== 'handshake') {
      this.#farewell(this.#conversation.replies.because(reason))
      return
    }
    // Nothing that could be read can be said in here.
    this.#handshakeFailed(reason === 'idle' ? 'timeout' : 'cut off')
    this.#enter('closing')
    this.#transport.destroy()
  }

  #handshakeFailed(why: string): void {
    this.#record.tlsError = why
    this.#parts.metrics.tlsHandshakes.inc('failed')
  }

  /** While this node is being stopped, a session ends where nothing is under way; what came before is answered first. */
  #leaveWhenIdle(): void {
    const heard = this.#heard
    const leave = (): void => {
      const isIdle = this.#turn.state === 'command' && heard === this.#heard && this.#transport.isIdle
      if (isIdle && !this.#conversation.inTransaction) this.#endFor('draining')
    }
    // Between the two the event loop reads what has come by now.
    setImmediate(() => setImmediate(leave))
  }

  #text(): BodySink {
    return { write: (chunk, dots) => this.#part(chunk, dots), end: (resume) => this.#dot(resume) }
  }

  /** A part of a message. @returns a promise where the mail server has to take it first */
  #part(chunk: Buffer, dots: number): Promise<void> | undefined {
    if (this.#turn.state !== 'text') return undefined
    const late = this.#turn.part(chunk.length)
    const wait = late === undefined ? this.#conversation.write(chunk, dots) : this.#conversation.replies.because(late)
    if (wait === undefined) return undefined
    if (!(wait instanceof Promise)) {
      this.#farewell(wait)
      return undefined
    }
    this.#enter('backlog')
    return wait.then(() => {
      if (this.#turn.state !== 'backlog') return
      this.#enter('text')
      this.#arm()
    })
  }

  #dot(resume: () => void): void {
    if (this.#turn.state !== 'text') {
      resume()
      return
    }
    this.#enter('dot')
    this.#answerWith(this.#commands.dot(), resume)
    // It may have left before all it had sent was dealt with.
    this.ended()
  }
}
