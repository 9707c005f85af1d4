/**
 * One client's connection to a mail server, from taking a slot to giving it back. A client has one at a time. The connection is
 * parked for the client's next message while no other client waits for a slot. It goes to another client only if no client
 * address was given over it and no refusal has come on it: Postfix takes XCLIENT once, and counts errors by connection.
 *
 * However a client leaves, its slot is freed here, once: no other code knows that it is taken.
 */
import type { Holder } from '../pool/fairness.ts'
import type { Server } from '../pool/server.ts'
import type { Slot } from '../pool/slot.ts'
import { Turn } from '../pool/turn.ts'
import { dial, greetAgain, isSameWay } from '../smtp/dial.ts'
import type { Reply } from '../smtp/reply.ts'
import { UpstreamError } from '../smtp/upstream-error.ts'
import { Attempt, type Deadlines, type Moved } from './attempt.ts'
import { DialFailure } from './dial-failure.ts'
import { type ClientLinkOptions, dialedOf, isAboutClient, isForAnybody, LEFT, type Link } from './link-parts.ts'
import { type Answered, answered, connected, notConnected, unanswered } from './samples.ts'

export class ClientLink {
  /** The key that shares are counted under. For IPv6 it is the /48, since a client that has one address there may have them all. */
  readonly source: string
  /** The neighbourhood of the client. */
  readonly net: string
  readonly #options: ClientLinkOptions
  #current: Link | undefined
  #parked: NodeJS.Timeout | undefined
  /** Set while the client waits for a slot. */
  #waiting: AbortController | undefined
  /** Set while the client waits for a server that has not taken MAIL yet. */
  #attempt: Attempt | undefined
  /** How long all attempts have taken so far, in milliseconds. */
  attemptsMs = 0
  #gone = false
  #turn: Turn

  constructor(options: ClientLinkOptions) {
    const { family, source, net } = options.client.attributes.client
    this.source = family === 6 ? net : source
    this.net = net
    this.#options = options
    this.#turn = new Turn(options.elapsed())
  }

  get current(): Link | undefined {
    return this.#current
  }

  get gone(): boolean {
    return this.#gone
  }

  get turn(): Turn {
    return this.#turn
  }

  /**
   * The client's own connection, an idle one, or a new one. Until `mailAnswered` the client may leave the server for another.
   * @throws NoUpstream, DialFailure
   */
  async ready(deadlines: Deadlines, avoid: Server | undefined): Promise<Link> {
    this.#unpark()
    const attributes = this.#options.client.attributes
    const current = this.#current
    if (current !== undefined) {
      const usable = current.smtp.settled && current.helo === attributes.helo
      if (usable && current.slot.server !== avoid && !this.#options.upstreams.isOutdated(current)) {
        current.reused = true
        this.#enter('ours')
        this.#watch(current.slot.server, deadlines).leaving(current.smtp)
        return current
      }
      this.giveBack()
    }
    this.#turn = new Turn(this.#options.elapsed())
    return this.take(await this.#slot(avoid), deadlines)
  }

  /** A connection in a slot that is ours: the idle one that came with it, or a new one. @throws DialFailure */
  async take(slot: Slot, deadlines: Deadlines): Promise<Link> {
    if (!slot.idle?.smtp.settled || !isSameWay(slot.idle.settings, this.#options.dial())) {
      slot.idle?.smtp.quit()
      return this.fresh(slot, deadlines)
    }
    const attributes = this.#options.client.attributes
    const { smtp, helo } = slot.idle
    let { extensions } = slot.idle
    const attempt = this.#watch(slot.server, deadlines).leaving(smtp)
    try {
      this.#enter('upstream')
      if (helo !== attributes.helo) {
        extensions = await greetAgain(slot.idle, this.#options.dial(), attributes, deadlines.endAt, attempt.signal)
      }
    } catch {
      smtp.destroy()
      const moved = this.moved()
      // Otherwise the connection died while it was idle, which says nothing about the server.
      if (moved === undefined) return this.fresh(slot, deadlines)
      slot.free()
      throw new DialFailure(moved.why, slot.server, moved.to)
    }
    const dialed = { ...slot.idle, extensions, helo: attributes.helo }
    return this.#adopt({ ...dialed, slot, clean: true, inTransaction: false, reused: true })
  }

  /** Opens a connection in a slot that is ours, and frees the slot if that fails. @throws DialFailure */
  async fresh(slot: Slot, deadlines: Deadlines): Promise<Link> {
    const { upstreams, client, elapsed } = this.#options
    const { server } = slot
    const started = elapsed()
    const attempt = this.#watch(server, deadlines)
    try {
      this.#enter('upstream')
      const dialed = await dial(server, this.#options.dial(), client.attributes, deadlines.endAt, attempt.signal)
      connected(server, this.net, elapsed() - started)
      this.report(server, undefined)
      upstreams.offered(server, dialed.extensions)
      attempt.leaving(dialed.smtp)
      return this.#adopt({ ...dialed, slot, clean: true, inTransaction: false, reused: false })
    } catch (error) {
      const moved = this.moved()
      slot.free()
      if (!this.#gone) {
        notConnected(server, this.net, error)
        if (!this.isRefused(error)) this.report(server, error)
      }
      throw new DialFailure(error, server, moved?.to)
    }
  }

  /** Whether a server refused the client itself. */
  isRefused(error: unknown): boolean {
    return isAboutClient(error, this.#options.dial().clientIp)
  }

  /** What has become of a connection, unless servers are reached in another way by now. */
  report(server: Server, error: unknown): void {
    const { upstreams, dial } = this.#options
    if (upstreams.isCurrent(dial())) upstreams.report(server, error, this.source)
  }

  /** The server has answered MAIL: the client can no longer leave it for another. */
  mailAnswered(): void {
    this.moved()?.to?.free()
  }

  /** Ends the attempt under way. @returns undefined if the client did not leave its server */
  moved(): Moved | undefined {
    const attempt = this.#attempt
    this.#attempt = undefined
    if (attempt === undefined) return undefined
    this.attemptsMs += this.#options.elapsed() - attempt.started
    return attempt.stop()
  }

  /** Destroys a connection that died while it was idle or parked. @returns its slot, for a fresh connection to the same server */
  replace(link: Link): Slot {
    this.#unpark()
    this.#current = undefined
    link.smtp.destroy('it died while it was idle')
    return link.slot
  }

  /**
   * Waits for `coming`, the reply to what was sent. Counts the reply, and remembers a refusal.
   * @param octets size of the message, if it is about one @throws UpstreamError
   */
  async awaitReply(link: Link, command: Answered['command'], coming: Promise<Reply>, octets = 0): Promise<Reply> {
    const { elapsed } = this.#options
    const started = elapsed()
    this.#turn.enter('upstream', started)
    let reply: Reply
    try {
      reply = await coming
    } catch (error) {
      unanswered(link.slot.server, this.net, error)
      throw error
    }
    const now = elapsed()
    this.#turn.enter('ours', now)
    answered(link.slot.server, this.net, { command, reply, ms: now - started, octets })
    if (reply.code >= 400) link.clean = false
    return reply
  }

  /** Notes whose turn it is in the transaction under way. */
  enter(state: 'client' | 'ours' | 'envelope' | 'upstream'): void {
    if (this.#current !== undefined) this.#enter(state)
  }

  /** The transaction is complete. */
  messageDone(): void {
    if (this.#current !== undefined) this.#current.inTransaction = false
    this.park()
  }

  /** Parks the connection for the client's next message, for a while, unless others wait for a slot. */
  park(): void {
    if (this.#current === undefined) return
    this.#turn.reset()
    this.#enter('parked')
    const { upstreams } = this.#options
    if (this.#gone || upstreams.slots.wanted || upstreams.isOutdated(this.#current)) {
      this.giveBack()
      return
    }
    if (this.#parked !== undefined) {
      this.#parked.refresh()
      return
    }
    this.#parked = setTimeout(() => this.giveBack(), this.#options.parkMs)
    this.#parked.unref()
  }

  /** Leaves the connection to the next client if that is allowed; otherwise says QUIT. */
  giveBack(): void {
    this.#unpark()
    const link = this.#current
    if (link === undefined) return
    this.#current = undefined
    if (isForAnybody(link)) link.slot.handOn(dialedOf(link))
    else {
      link.smtp.quit()
      link.slot.free()
    }
  }

  /** Closes the connection without a QUIT, and without the dot of a message under way. */
  drop(why: string): void {
    this.#unpark()
    const link = this.#current
    this.#current = undefined
    if (link === undefined) return
    link.smtp.destroy(why)
    link.slot.free()
  }

  /** The client is gone: we stop waiting for a slot or a greeting for it. What it holds is still to be given back. */
  leave(): void {
    this.#gone = true
    // The reason is our own, because the default one is an exception with its stack.
    this.#waiting?.abort(LEFT)
    this.#attempt?.abort(LEFT)
  }

  async #slot(avoid: Server | undefined): Promise<Slot> {
    // Made only if there is something to wait for.
    const signal = (): AbortSignal => {
      this.#waiting = new AbortController()
      if (this.#gone) this.#waiting.abort(LEFT)
      return this.#waiting.signal
    }
    try {
      return await this.#options.upstreams.slots.take(this.#holder(), avoid, signal)
    } finally {
      this.#waiting = undefined
    }
  }

  #holder(): Holder {
    const { standing, typesSlowly: slow, attributes: of } = this.#options.client
    return {
      ...{ source: this.source, net: this.net, standing, slow, isClear: of.tls === undefined, turn: this.#turn },
      giveWay: () => {
        if (this.#turn.state === 'parked') this.giveBack()
        else this.#options.evict()
      },
    }
  }

  #watch(server: Server, { patienceMs }: Deadlines): Attempt {
    this.mailAnswered()
    const { upstreams, elapsed } = this.#options
    const slotElsewhere = (): Slot | undefined => upstreams.slots.takeBeside(server, this.#holder())
    const attempt = new Attempt(server, { patienceMs, elapsed, slotElsewhere })
    if (this.#gone) attempt.abort(LEFT)
    this.#attempt = attempt
    return attempt
  }

  #enter(state: Turn['state']): void {
    this.#turn.enter(state, this.#options.elapsed())
  }

  #unpark(): void {
    clearTimeout(this.#parked)
    this.#parked = undefined
  }

  /** @throws UpstreamError if the client left meanwhile; the slot is then freed here, because no other code would ever free it */
  #adopt(link: Link): Link {
    this.#current = link
    this.#enter('ours')
    if (this.#gone) {
      this.giveBack()
      throw new UpstreamError('lost', LEFT)
    }
    return link
  }
}
