/** One worker as its parent sees it: a child process, what it last reported, and answers that are waited for. */
import { type ChildProcess, fork } from 'node:child_process'
import type { Explanation, NotExplained } from '../../admin/explain.ts'
import type { NodesAnswer } from '../../build/explain-nodes.ts'
import type { Reading, ReloadReport } from '../../config/reload.ts'
import type { Ban } from '../../core/bans.ts'
import { within } from '../../core/deadline.ts'
import type { Feedback, FeedbackReport } from '../../core/feedback.ts'
import type { Hearing } from '../../core/kernel.ts'
import type { Orders } from '../../core/orders.ts'
import type { PressureReport } from '../../core/overload.ts'
import type { ListenAddress } from '../../front/gate/listener.ts'
import type { OffenceTold } from '../../state/offence-news.ts'
import type { Tallied } from '../../telemetry/observed/report.ts'
import type { BansAnswer, BansAsked, Failure, FromWorker, Report, Start, ToWorker } from './protocol.ts'

/** A scrape must not wait for a worker that hangs. */
const ASK_MS = 1000
/** Longer than it waits for other nodes. */
const OTHERS_MS = 2000
/** Longer than a worker itself waits for certificates on a slow mount, twice. */
const RELOAD_MS = 130_000
/** One that has said nothing for so many looks is not waited for. One that only waits for its files answers. */
const SILENT_LOOKS = 5
/** One that is to stop before it serves is waited for so long. */
const START_MS = 5000

/** The id of an answer that only shows that the worker is well. */
const ALIVE = 0

/** After standard input, output and error, and the channel. */
const FIRST_FD = 4

const FILE = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)

/** How a worker ended. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A worker that could not start. */
export class StartFailure extends Error {
  readonly failure: Failure

  constructor(failure: Failure) {
    super(failure.message)
    this.failure = failure
  }
}

type Reply = Extract<FromWorker, { id?: number }>
/** A question, which gets its number here. */
type Asked =
  | { kind: 'ask'; metrics: boolean }
  | { kind: 'reload'; reading: Reading }
  | { kind: 'feedback'; feedback: Feedback }
  | { kind: 'bans'; asked: BansAsked }
  | { kind: 'observed' }
  | { kind: 'explain'; asked: string }
  | { kind: 'others'; ip: string }

export class Hand {
  readonly pid: number | undefined
  /** Resolves with its addresses when it serves. Rejects, with StartFailure where it said why. */
  readonly listening: Promise<readonly ListenAddress[]>
  readonly ended: Promise<Ending>
  /** What it told last; with the metrics it told last, which may be older. */
  last: Report | undefined
  /** How often its parent has looked since it told anything. */
  quiet = 0
  /** It has left a question open, and said nothing since. */
  isSilent = false
  serves = false
  hasServed = false
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (reply: Reply | undefined) => void>()
  #nextId = 1

  /**
   * @param sockets file descriptors that the worker has as well, from number 4 on
   * @param banned called with what it has banned
   * @param heard called with what its clients have heard, if another worker wants to know
   * @param offended called with what it tells of offenders
   */
  constructor(
    start: Omit<Start, 'sockets'>,
    sockets: readonly number[],
    banned: (made: readonly Ban[]) => void = () => undefined,
    heard: (hearings: readonly Hearing[]) => void = () => undefined,
    offended: (told: readonly OffenceTold[]) => void = () => undefined,
  ) {
    const stdio = ['inherit', 'inherit', 'inherit', 'ipc', ...sockets] as const
    this.#child = fork(FILE, { serialization: 'advanced', stdio: [...stdio] })
    this.pid = this.#child.pid
    this.ended = new Promise((resolve) => {
      this.#child.once('exit', (code, signal) => resolve({ code, signal }))
      this.#child.once('error', () => resolve({ code: 1, signal: null }))
    })
    this.listening = new Promise((resolve, reject) => {
      this.#child.on('message', (message: FromWorker) => {
        this.#heard(message)
        if (message.kind === 'banned') banned(message.made)
        if (message.kind === 'heard') heard(message.hearings)
        if (message.kind === 'offended') offended(message.told)
        if (message.kind === 'listening') resolve(message.listening)
        if (message.kind === 'failed') reject(new StartFailure(message.failure))
      })
      void this.ended.then(({ code, signal }) => {
        this.serves = false
        for (const answer of this.#waiting.values()) answer(undefined)
        reject(new Error(`the worker ended before it listened (${signal ?? `exit code ${code}`})`))
      })
    })
    // Whoever waits hears of it; nobody has to.
    this.listening.catch(() => undefined)
    this.#send({ ...start, sockets: sockets.map((_, i) => FIRST_FD + i) })
  }

  /** @returns a fresh report; undefined if it does not answer within a second, or did not answer the last time */
  async ask(metrics: boolean): Promise<Report | undefined> {
    // Questions to one that hangs would only pile up. That it is well again shows by its own reports.
    if (!this.serves || this.isSilent) return undefined
    const reply = await this.#request({ kind: 'ask', metrics }, ASK_MS, 'report')
    if (reply === undefined) this.isSilent = true
    return reply?.report
  }

  /** Resolves with undefined if it does not answer. */
  async reload(reading: Reading): Promise<ReloadReport | undefined> {
    this.quiet = 0
    return (await this.#request({ kind: 'reload', reading }, RELOAD_MS, 'reloaded'))?.report
  }

  /** Somebody says what a message was. Resolves with undefined if it does not answer. */
  feedback(feedback: Feedback): Promise<{ readonly report: FeedbackReport | undefined } | undefined> {
    return this.#request({ kind: 'feedback', feedback }, ASK_MS, 'learnt')
  }

  /** Resolves with undefined if it does not answer. */
  async bans(asked: BansAsked): Promise<BansAnswer | undefined> {
    return (await this.#request({ kind: 'bans', asked }, ASK_MS, 'bans'))?.answer
  }

  /** What its checks in observe mode would have refused. Resolves with undefined if it does not answer. */
  async observed(): Promise<Tallied | undefined> {
    return (await this.#request({ kind: 'observed' }, ASK_MS, 'observed'))?.tallied
  }

  /** Resolves with undefined if it does not answer. */
  async explain(asked: string): Promise<Explanation | NotExplained | undefined> {
    return (await this.#request({ kind: 'explain', asked }, ASK_MS, 'explained'))?.answer
  }

  /** What an address is to other nodes. Resolves with undefined if it does not answer. */
  async others(ip: string): Promise<NodesAnswer | undefined> {
    return (await this.#request({ kind: 'others', ip }, OTHERS_MS, 'others'))?.answer
  }

  /** Other workers have banned somebody, or lifted a ban. */
  banned(made: readonly Ban[]): void {
    this.#send({ kind: 'banned', made })
  }

  /** Some worker, or it itself, tells of offenders. */
  offended(told: readonly OffenceTold[]): void {
    this.#send({ kind: 'offended', told })
  }

  /** It keeps the kernel's table, and clients of other workers have heard that they are refused. */
  heard(hearings: readonly Hearing[]): void {
    this.#send({ kind: 'heard', hearings })
  }

  /** Its parent looks, about once a second. @returns for how many looks it has said nothing */
  look(): number {
    this.quiet++
    if (this.quiet >= SILENT_LOOKS) for (const answer of this.#waiting.values()) answer(undefined)
    else if (this.#waiting.size > 0) this.#send({ kind: 'ask', id: ALIVE, metrics: false })
    return this.quiet
  }

  /** It takes no more clients, and ends when its sessions have. One that is just starting does so first, and is killed if it hangs. */
  stop(after: 'signal' | 'handover'): void {
    this.#send({ kind: 'stop', after })
    const late = setTimeout(() => this.hasServed || this.kill(), START_MS)
    void this.ended.then(() => clearTimeout(late))
  }

  /** Somebody outside says how hard pressed a mail server is. */
  reported(report: PressureReport): void {
    this.#send({ kind: 'reported', report })
  }

  /** What the operator says at run time, as a whole. */
  obey(orders: Orders): void {
    this.#send({ kind: 'obey', orders })
  }

  /** It reads again the files that it follows by itself. */
  follow(): void {
    this.#send({ kind: 'follow' })
  }

  /** The kernel's table is this node's now. */
  keepTable(): void {
    this.#send({ kind: 'keepTable' })
  }

  /** It ends at once, and logs what it cuts off. */
  abort(): void {
    this.#send({ kind: 'abort' })
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #heard(message: FromWorker): void {
    this.quiet = 0
    this.isSilent = false
    if (message.kind === 'listening') {
      this.serves = true
      this.hasServed = true
    }
    if (message.kind === 'report') this.last = { ...this.last, ...message.report }
    if ('id' in message && message.id !== undefined) this.#waiting.get(message.id)?.(message)
  }

  async #request<K extends Reply['kind']>(
    message: Asked,
    ms: number,
    kind: K,
  ): Promise<Extract<Reply, { kind: K }> | undefined> {
    const id = this.#nextId++
    const reply = new Promise<Reply | undefined>((resolve) => this.#waiting.set(id, resolve))
    this.#send({ ...message, id })
    const settled = await within(reply, ms, () => undefined)
    this.#waiting.delete(id)
    return settled?.kind === kind ? (settled as Extract<Reply, { kind: K }>) : undefined
  }

  #send(message: ToWorker): void {
    // That the channel is closed shows by 'exit'.
    if (this.#child.connected) this.#child.send(message, undefined, {}, () => undefined)
  }
}
