/**
 * The upstream connection of one client, from taking a slot to giving it back. A client has one at a time. It stays with
 * the client from message to message, and goes to the next one only where no client address was given over it and it
 * never heard a refusal: Postfix takes XCLIENT once, and counts errors by connection.
 *
 * However a client leaves, its slot is freed here, once: nobody else knows that it is taken.
 */

import { messageOf } from '../../core/errors.ts'
import type { UpstreamCommand } from '../../telemetry/metrics.ts'
import { connectResult, type Server } from '../pool/server.ts'
import type { Holder, Slot } from '../pool/slots.ts'
import type { Upstreams } from '../pool/upstreams.ts'
import { type Dialed, type DialSettings, dial, greetAgain, UpstreamRefusal } from '../smtp/dial.ts'
import type { Reply } from '../smtp/reply.ts'
import { UpstreamError } from '../smtp/smtp-client.ts'
import type { Visitor } from '../smtp/visitor.ts'

/** A connection that is ready for MAIL, in its slot. */
export interface Link extends Dialed {
  readonly slot: Slot
  /** Whether no 4yz or 5yz was heard on it. */
  clean: boolean
  /** A transaction is open on it that the next one must end by RSET. */
  open: boolean
  /** It has served a message before. */
  reused: boolean
}

/** No connection came about. `cause`: UpstreamError or UpstreamRefusal. */
export class DialFailure extends Error {
  override readonly cause: unknown
  readonly server: Server
  constructor(cause: unknown, server: Server) {
    super(messageOf(cause))
    this.cause = cause
    this.server = server
  }
}

export interface ClientLinkOptions {
  readonly upstreams: Upstreams
  readonly dial: DialSettings
  /** Milliseconds a connection waits for the same client's next message before it is given back. */
  readonly parkMs: number
  /** Asked when an upstream is reached: HELO and TLS may change in the course of a session. */
  readonly visitor: () => Visitor
  /** Its slot is wanted for others, and `quietSince` is long ago: ends the transaction, and the link with it. */
  readonly evict: () => void
}

const LEFT = 'the client left'

export class ClientLink {
  readonly #options: ClientLinkOptions
  #current: Link | undefined
  #parked: NodeJS.Timeout | undefined
  /** While a slot or a greeting is waited for. */
  #waiting: AbortController | undefined
  #left = false
  /** See Holder: undefined while we, or the upstream, are the ones who are waited for. */
  quietSince: number | undefined
  /** See Holder. */
  slow = false

  constructor(options: ClientLinkOptions) {
    this.#options = options
  }

  get current(): Link | undefined {
    return this.#current
  }

  /** Whether the client is gone. */
  get left(): boolean {
    return this.#left
  }

  /** The client's connection, one that another client left, or a new one. @throws NoUpstream, DialFailure */
  async ready(deadline: number, avoid: Server | undefined): Promise<Link> {
    this.#unpark()
    const visitor = this.#options.visitor()
    const current = this.#current
    if (current !== undefined) {
      const usable = current.smtp.settled && current.helo === visitor.helo
      if (usable && current.slot.server !== avoid) {
        current.reused = true
        return current
      }
      this.giveBack()
    }
    const signal = this.#whileWanted()
    const slot = await this.#options.upstreams.slot(this.#holder(visitor.client.source), avoid, signal)
    if (slot.kept === undefined) return this.fresh(slot, deadline)
    const { smtp, helo } = slot.kept
    let { extensions } = slot.kept
    try {
      if (helo !== visitor.helo) {
        extensions = await greetAgain(slot.kept, this.#options.dial, visitor, deadline, signal)
      }
    } catch {
      // It died while it was kept, which says nothing about the server.
      smtp.destroy()
      return this.fresh(slot, deadline)
    }
    return this.#adopt({ smtp, extensions, helo: visitor.helo, slot, clean: true, open: false, reused: true })
  }

  /** Opens a connection in a slot that is ours, and frees the slot where that fails. @throws DialFailure */
  async fresh(slot: Slot, deadline: number): Promise<Link> {
    const { dial: settings, upstreams, visitor } = this.#options
    const { server } = slot
    const started = performance.now()
    try {
      const dialed = await dial(server, settings, visitor(), deadline, this.#whileWanted())
      server.series.connects.ok.value++
      server.series.durations.connect.observe((performance.now() - started) / 1000)
      upstreams.report(server, undefined)
      upstreams.offered(server, dialed.extensions)
      return this.#adopt({ ...dialed, slot, clean: true, open: false, reused: false })
    } catch (error) {
      slot.free()
      if (!this.#left) {
        server.series.connects[connectResult(error)].value++
        if (!this.#isAboutClient(error)) upstreams.report(server, error)
      }
      throw new DialFailure(error, server)
    }
  }

  /** A connection that lay idle may have died of that: a fresh one to the same server takes its slot. */
  replace(link: Link): Slot {
    this.#unpark()
    this.#current = undefined
    link.smtp.destroy('it died while it was idle')
    return link.slot
  }

  /** What was sent is answered by `answered`; counts the reply, and remembers a refusal. @throws UpstreamError */
  async heard(link: Link, command: UpstreamCommand, answered: Promise<Reply>): Promise<Reply> {
    const { durations, replies } = link.slot.server.series
    const started = performance.now()
    const reply = await answered
    durations[command].observe((performance.now() - started) / 1000)
    replies(reply.code).value++
    if (reply.code >= 400) link.clean = false
    return reply
  }

  /** The transaction on it is complete. */
  messageDone(): void {
    if (this.#current !== undefined) this.#current.open = false
    if (this.#left) this.giveBack()
    else this.park()
  }

  /** Keeps it for the same client's next message, for a while. */
  park(): void {
    if (this.#parked !== undefined) {
      this.#parked.refresh()
      return
    }
    this.#parked = setTimeout(() => this.giveBack(), this.#options.parkMs)
    this.#parked.unref()
  }

  /** To the next client where that is allowed, else QUIT. */
  giveBack(): void {
    this.#unpark()
    const link = this.#current
    if (link === undefined) return
    this.#current = undefined
    const { clientIp } = this.#options.dial
    const anonymous = clientIp === 'none' || clientIp === 'received'
    if (anonymous && link.clean && !link.open && link.smtp.settled) {
      link.slot.keep({ smtp: link.smtp, extensions: link.extensions, helo: link.helo })
    } else {
      link.smtp.quit()
      link.slot.free()
    }
  }

  /** Closes it without a QUIT, and without the dot of a message under way. */
  drop(why: string): void {
    this.#unpark()
    const link = this.#current
    this.#current = undefined
    if (link === undefined) return
    link.smtp.destroy(why)
    link.slot.free()
  }

  /** The client is gone: nobody waits for a slot or a greeting for it any longer. What it holds is still to be given back. */
  leave(): void {
    this.#left = true
    // With a reason of our own: the default one is an exception with its stack.
    this.#waiting?.abort(LEFT)
  }

  #holder(source: string): Holder {
    const quietSince = (): number | undefined => this.quietSince
    return {
      source,
      slow: this.slow,
      get quietSince() {
        return quietSince()
      },
      evict: this.#options.evict,
    }
  }

  #whileWanted(): AbortSignal {
    this.#waiting ??= new AbortController()
    if (this.#left) this.#waiting.abort(LEFT)
    return this.#waiting.signal
  }

  #unpark(): void {
    clearTimeout(this.#parked)
    this.#parked = undefined
  }

  /**
   * Whether a server turned away this client and not us: its HELO name, or its address where a PROXY header has told it
   * before the greeting. Else one unwelcome client would take the server from all others.
   */
  #isAboutClient(error: unknown): boolean {
    if (!(error instanceof UpstreamRefusal)) return false
    const { clientIp } = this.#options.dial
    return (
      error.phase === 'ehlo' || (error.phase === 'greeting' && (clientIp === 'proxy-v1' || clientIp === 'proxy-v2'))
    )
  }

  /** @throws UpstreamError where the client left meanwhile, so that nobody else would ever free the slot */
  #adopt(link: Link): Link {
    this.#waiting = undefined
    this.#current = link
    if (this.#left) {
      this.giveBack()
      throw new UpstreamError('lost', LEFT)
    }
    return link
  }
}
