/**
 * What a parent and its workers say to each other, over the channel that Node opens between them. Messages are cloned as
 * between threads (v8.serialize), so that lists of networks need no text.
 */
import type { Explanation, NotExplained } from '../../admin/explain.ts'
import type { Status } from '../../admin/status.ts'
import type { ListenError } from '../../app.ts'
import type { Latest } from '../../build/bans.ts'
import type { NodesAnswer } from '../../build/explain-nodes.ts'
import type { Reading, ReloadReport } from '../../config/reload.ts'
import type { Ban, BanMistake, BanRequest } from '../../core/bans.ts'
import type { Feedback, FeedbackReport } from '../../core/feedback.ts'
import type { Hearing } from '../../core/kernel.ts'
import type { Orders } from '../../core/orders.ts'
import type { PressureReport } from '../../core/overload.ts'
import type { ListenAddress } from '../../front/gate/listener.ts'
import type { OffenceTold } from '../../state/offence-news.ts'
import type { Tallied } from '../../telemetry/observed/report.ts'
import type { Snapshot } from '../../telemetry/together.ts'

/** The first message to a worker. */
export interface Start {
  readonly kind: 'start'
  /** 1 and up. */
  readonly worker: number
  readonly of: number
  /** Twelve hexadecimal digits that all workers of the node have, and nobody else. */
  readonly crew: string
  /** For the ids of its sessions. */
  readonly number: number
  /** Its share of the settings, with the addresses to listen on. */
  readonly reading: Reading
  readonly listenIsDefault: boolean
  /** File descriptors of sockets to listen on instead. */
  readonly sockets: readonly number[]
  /** The key of TLS session tickets, the same for all workers; undefined: nodes agree on one in Redis. */
  readonly ticketKey: Uint8Array | undefined
  readonly version: string
  readonly machine: string
  readonly orders: Orders
  /** The kernel's table may still be another Spillway's, until `keepTable`. */
  readonly leavesTable: boolean
}

export interface Report {
  readonly status: Status
  readonly sessions: number
  readonly pastDot: number
  readonly metrics?: Snapshot
}

export interface Failure {
  readonly message: string
  /** Where an address cannot be listened on. */
  readonly listening?: Pick<ListenError, 'setting' | 'code' | 'address' | 'port'>
}

/** all: everything that is remembered, pardons too. */
export type BansAsked = ListAsked | { readonly what: 'all' }
/** `of`: which of the operator's lists. */
export type ListAsked = { readonly of: 'bans' | 'allowed' } & (
  | { readonly what: 'latest'; readonly limit: number }
  | { readonly what: 'add'; readonly ban: BanRequest }
  | { readonly what: 'remove'; readonly network: string }
)

export type BansAnswer = Latest | readonly Ban[] | Ban | BanMistake

/** `id` is that of the answer. */
export type ToWorker =
  | Start
  | { readonly kind: 'ask'; readonly id: number; readonly metrics: boolean }
  | { readonly kind: 'reload'; readonly id: number; readonly reading: Reading }
  | { readonly kind: 'reported'; readonly report: PressureReport }
  | { readonly kind: 'obey'; readonly orders: Orders }
  | { readonly kind: 'feedback'; readonly id: number; readonly feedback: Feedback }
  | { readonly kind: 'bans'; readonly id: number; readonly asked: BansAsked }
  | { readonly kind: 'observed'; readonly id: number }
  | { readonly kind: 'explain'; readonly id: number; readonly asked: string }
  /** What an address is to other nodes. */
  | { readonly kind: 'others'; readonly id: number; readonly ip: string }
  /** What other workers have made. */
  | { readonly kind: 'banned'; readonly made: readonly Ban[] }
  | Offended
  | Heard
  | { readonly kind: 'stop'; readonly after: 'signal' | 'handover' }
  /** follow: what follows files by itself reads them now. keepTable: the kernel's table is this node's. */
  | { readonly kind: 'abort' | 'follow' | 'keepTable' }

/** What clients of one worker have heard, for the one that keeps the kernel's table. */
export interface Heard {
  readonly kind: 'heard'
  readonly hearings: readonly Hearing[]
}

/** What a worker tells of offenders in a second, for all workers, in the order in which their parent hears of it. */
export interface Offended {
  readonly kind: 'offended'
  readonly told: readonly OffenceTold[]
}

export type FromWorker =
  | Heard
  | Offended
  | { readonly kind: 'listening'; readonly listening: readonly ListenAddress[] }
  | { readonly kind: 'failed'; readonly failure: Failure }
  /** Without an id it was not asked for. */
  | { readonly kind: 'report'; readonly id?: number; readonly report: Report }
  | { readonly kind: 'reloaded'; readonly id: number; readonly report: ReloadReport }
  | { readonly kind: 'bans'; readonly id: number; readonly answer: BansAnswer }
  | { readonly kind: 'observed'; readonly id: number; readonly tallied: Tallied }
  | { readonly kind: 'explained'; readonly id: number; readonly answer: Explanation | NotExplained }
  | { readonly kind: 'others'; readonly id: number; readonly answer: NodesAnswer }
  /** What this worker has made, for the others. */
  | { readonly kind: 'banned'; readonly made: readonly Ban[] }
  /** Without a report, no message with this queue id went through it. */
  | { readonly kind: 'learnt'; readonly id: number; readonly report: FeedbackReport | undefined }

/** One worker as its parent knows it at the moment. */
export interface WorkerReport {
  /** 1 and up. */
  readonly worker: number
  readonly pid: number | undefined
  /** Whether it serves and answered just now. */
  readonly up: boolean
  readonly restarts: number
  readonly report: Report | undefined
}
