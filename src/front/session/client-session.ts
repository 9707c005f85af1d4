/**
 * Speaks SMTP with one client: whose turn it is, for how long, and how it ends. commands.ts knows what each command means;
 * transport.ts handles sockets, TLS and closing.
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
  /** Called for a client that begins with a PROXY header although it is not listed as a balancer. */
  readonly foreignHeader: (ip: string) => void
  readonly metrics: Pick<Metrics, 'tlsHandshakes'>
}

/** How long a TLS handshake may go on while this node is being stopped. During a handshake nothing can be said. */
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
  /** Counts commands, to see whether one has come meanwhile. */
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
    this.#conversation = new Conversation(parts.conversation, facts, record, {
      tls: () => this.#transport.tls,
      typesSlowly: () => this.#turn.typesSlowly,
    })
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
   * A client that closes its side between its dot and our reply counts as gone (RFC 5321 section 4.1.1.10 wants QUIT and its
   * answer), and its seat is free from now on. The reply is still written, in case only one direction is closed. A client that
   * has pipelined more is still being served: Exim says QUIT right after the dot, closes its side, and reads the answers.
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

  /** Says a reply and does what follows. @param next passes on what the client sent after its command */
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
      // During a message the patience was longer.
      if (before === 'dot') this.#arm()
    }
  }

  /** Says the last reply. Nothing that was pipelined after it is answered, and a message under way gets no dot. */
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
    // During a handshake nothing can be said.
    this.#handshakeFailed(reason === 'idle' ? 'timeout' : 'cut off')
    this.#enter('closing')
    this.#transport.destroy()
  }

  #handshakeFailed(why: string): void {
    this.#record.tlsError = why
    this.#parts.metrics.tlsHandshakes.inc('failed')
  }

  /** While this node is being stopped: ends the session if nothing is under way once all that has come is answered. */
  #leaveWhenIdle(): void {
    const heard = this.#heard
    const leave = (): void => {
      const isIdle = this.#turn.state === 'command' && heard === this.#heard && this.#transport.isIdle
      if (isIdle && !this.#conversation.inTransaction) this.#endFor('draining')
    }
    // Between the two the event loop reads what has arrived by now.
    setImmediate(() => setImmediate(leave))
  }

  #text(): BodySink {
    return { write: (chunk, dots) => this.#part(chunk, dots), end: (resume) => this.#dot(resume) }
  }

  /** Takes a part of a message. @returns a promise if the mail server must take it before the next part */
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
    // The client may have closed its side before all that it had sent was dealt with.
    this.ended()
  }
}
