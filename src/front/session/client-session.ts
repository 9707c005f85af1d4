/**
 * Speaks SMTP with one client: whose turn it is, for how long, and how it ends. commands.ts knows what each command means;
 * transport.ts handles sockets, TLS and closing.
 */
import { stackOf } from '../../core/errors.ts'
import { andThen, fenced, type Maybe } from '../../core/maybe.ts'
import type { Facts, Refusal } from '../../core/policy.ts'
import type { SessionRecord } from '../session-record.ts'
import { Banner } from './banner.ts'
import { ClientHandshake, type ClientHandshakeParts } from './client-handshake.ts'
import type { ClientReply } from './client-reply.ts'
import { Commands, type CommandsParts, type Surroundings } from './commands.ts'
import type { ConversationParts } from './context.ts'
import { Conversation } from './conversation.ts'
import type { ProtocolReason } from './replies.ts'
import { type SessionLimits, SessionState, type State } from './session-state.ts'
import type { Transport, TransportEvents } from './transport-interface.ts'
import type { Watch, Watched } from './watch.ts'
import type { BodySink } from './wire-stream.ts'

export interface ClientSessionParts extends SessionLimits, CommandsParts, ClientHandshakeParts {
  readonly conversation: ConversationParts
  /** Called for a client that begins with a PROXY header although it is not listed as a balancer. */
  readonly foreignHeader: (ip: string) => void
}

export class ClientSession implements TransportEvents, Surroundings, Watched {
  readonly #parts: ClientSessionParts
  readonly #watch: Watch
  readonly #ip: string
  readonly #record: SessionRecord
  readonly #transport: Transport
  readonly #handshake: ClientHandshake
  readonly #conversation: Conversation
  readonly #commands: Commands
  readonly #state: SessionState
  readonly #banner: Banner
  readonly #gone = Promise.withResolvers<void>()
  readonly over = this.#gone.promise
  readonly settled = this.over.then(() => this.#conversation.gone())
  draining = false
  isDue = false
  /** Counts commands, to see whether one has come meanwhile. */
  #heard = 0

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
    this.#state = new SessionState(parts)
    this.#handshake = new ClientHandshake(parts, facts.client, record, () => this.#endFor('idle'))
    this.#conversation = new Conversation(parts.conversation, facts, record, this)
    this.#commands = new Commands(parts, this.#conversation, record, this)
    this.#banner = new Banner(parts.conversation.voice.hostname)
  }

  tease(): void {
    this.isDue = false
    if (this.#state.current === 'greeting') this.#transport.write(this.#banner.first())
  }

  greet(early = false): void {
    if (this.#state.current !== 'greeting') return
    this.#conversation.signs.early = early
    this.#watch.begin(this)
    this.#enter('command')
    this.#transport.listen()
    this.#transport.write(this.#banner.last())
    if (this.draining) this.#leaveWhenIdle()
  }

  get pastDot(): boolean {
    return this.#state.isPastDot
  }

  get tls(): Transport['tls'] {
    return this.#transport.tls
  }

  get typesSlowly(): boolean {
    return this.#state.typesSlowly
  }

  get unread(): boolean {
    return this.#state.isOurs && this.#transport.isPaused
  }

  secure(): Maybe<Refusal | undefined> {
    return this.#handshake.ask()
  }

  touch(): void {
    this.#transport.touch()
  }

  drain(): void {
    this.draining = true
    if (this.#state.current === 'greeting' && !this.isDue) this.#endFor('draining')
    else if (this.#state.current === 'handshake') this.#handshake.hurry()
    else this.#leaveWhenIdle()
  }

  dismiss(): void {
    this.draining = true
    if (!this.pastDot) this.#endFor('draining')
  }

  cut(): void {
    if (this.#state.current === 'closed') return
    if (this.#state.current === 'handshake') this.#handshake.failed('cut off')
    else if (!this.pastDot && !this.#state.isEnding) this.#write(this.#conversation.replies.because('draining'))
    this.#conversation.cut()
    this.#transport.cut()
    this.#enter('closed')
  }

  line(line: Buffer, isWhole: boolean, next: () => void, isBare = false): void {
    if (this.#state.current !== 'command') {
      next()
      return
    }
    this.#heard++
    if (isBare) this.#conversation.signs.bareNewline = true
    this.#enter('reply')
    const last = this.#state.hasLasted ? this.#conversation.replies.because('session_time') : undefined
    this.#answerWith(last ?? this.#commands.obey(line, isWhole, this.#transport.hasMore), next)
  }

  typing(): void {
    if (this.#state.current === 'command' && this.#state.typing()) this.#endFor('idle')
  }

  foreignHeader(): void {
    this.#parts.foreignHeader(this.#ip)
    this.#endFor('proxy_unlisted')
  }

  silent(): void {
    if (this.#state.isOurs) this.#arm()
    else this.#endFor('idle')
  }

  secured(): void {
    if (this.#state.current !== 'handshake') return
    this.#handshake.done(this.#transport)
    this.#conversation.forgetHello()
    this.#record.stage = 'connect'
    this.#enter('command')
    this.#arm()
    if (this.draining) this.#leaveWhenIdle()
  }

  /** A client that closes its side before the reply to its dot counts as gone, unless it has pipelined more, as Exim does. */
  ended(): void {
    if (this.#state.current === 'dot' && this.#transport.isFinished) this.#enter('left')
  }

  finished(): void {
    if (this.#state.isEnding) return
    this.#enter('closing')
    this.#transport.close()
  }

  closed(error: string | undefined): void {
    this.#handshake.closed(this.#state.current === 'handshake', error)
    this.#enter('closed')
  }

  #enter(state: State): void {
    this.#state.goTo(state)
    if (state === 'closed') {
      this.#watch.end(this)
      this.#handshake.gone()
    }
    if (this.#state.isOver) this.#gone.resolve()
  }

  #arm(): void {
    this.#transport.arm(this.#state.patienceMs)
  }

  #write({ text }: ClientReply): void {
    if (text !== '') this.#transport.write(this.#banner.owed() + text)
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
    if (this.#state.isEnding) {
      next()
      return
    }
    const reply = this.#commands.count(made)
    if (reply.next === 'close' || reply.next === 'drop') this.#farewell(reply)
    else this.#follow(reply, reply.next)
    this.#transport.whenWritten(() => {
      next()
      if (this.draining) this.#leaveWhenIdle()
    })
  }

  #follow(reply: ClientReply, next: Exclude<ClientReply['next'], 'close' | 'drop'>): void {
    const before = this.#state.current
    this.#write(reply)
    if (next === 'handshake') {
      this.#enter('handshake')
      this.#handshake.begin(this.#transport)
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
    if (reply.next === 'drop') this.#transport.cut()
  }

  #endFor(reason: ProtocolReason): void {
    if (this.#state.isEnding) return
    if (this.#state.current !== 'handshake') {
      if (reason === 'draining') this.#commands.leave()
      this.#farewell(this.#conversation.replies.because(reason))
      return
    }
    // During a handshake nothing can be said.
    this.#handshake.failed(reason === 'idle' ? 'timeout' : 'cut off')
    this.#enter('closing')
    this.#transport.destroy()
  }

  /** While this node is being stopped: ends the session if nothing is under way once all that has come is answered. */
  #leaveWhenIdle(): void {
    const heard = this.#heard
    const leave = (): void => {
      const isIdle = this.#state.current === 'command' && heard === this.#heard && this.#transport.isIdle
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
    if (this.#state.current !== 'text') return undefined
    const late = this.#state.part(chunk.length)
    const wait = late === undefined ? this.#conversation.write(chunk, dots) : this.#conversation.replies.because(late)
    if (wait === undefined) return undefined
    if (!(wait instanceof Promise)) return void this.#farewell(wait)
    this.#enter('backlog')
    return wait.then(() => {
      if (this.#state.current !== 'backlog') return
      this.#enter('text')
      this.#arm()
    })
  }

  #dot(resume: () => void): void {
    if (this.#state.current !== 'text') {
      resume()
      return
    }
    this.#enter('dot')
    this.#answerWith(this.#commands.dot(), resume)
    // The client may have closed its side before all that it had sent was dealt with.
    this.ended()
  }
}
