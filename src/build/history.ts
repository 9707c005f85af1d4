/** Builds the history of clients, and the files that keep it, and what is normal, if the settings name one. */
import { randomBytes } from 'node:crypto'
import type { PlainSettings } from '../config/settings.ts'
import type { Remembered } from '../core/client.ts'
import type { Clock } from '../core/clock.ts'
import { CLIENTS, History } from '../state/history.ts'
import { HistoryFile } from '../state/history-file.ts'
import { LatestMail } from '../state/latest-mail.ts'
import type { Past } from '../state/past.ts'
import { MESSAGES, RelayedMessages } from '../state/relayed-messages.ts'
import { WeekFile } from '../state/week-file.ts'
import type { Log } from '../telemetry/log.ts'
import type { Week } from '../telemetry/traffic/week.ts'

export interface HistorySources {
  readonly settings: PlainSettings
  /** What a client's own history makes of it, by the settings in force. */
  readonly standingAlone: (own: Past) => Remembered
  /** HISTORY_TTL as it is set now, in milliseconds. */
  readonly historyTtl: () => number
  /** Among how many workers what a node promises to remember is divided. */
  readonly nodes: number
  /** How many clients a node remembers; by default CLIENTS. */
  readonly room?: number | undefined
  readonly log: Log
  readonly clock: Clock
  /** What is normal in an hour of the week, to be kept as well. */
  readonly week: Week | undefined
}

export interface BuiltHistory {
  readonly history: History
  readonly latest: LatestMail
  readonly relayed: RelayedMessages
  /** Learns what the file holds. Never rejects. */
  read(): Promise<void>
  /** Begins to forget, and to write the file. */
  start(): void
  /** Writes the file. Never rejects. */
  stop(): Promise<void>
}

export function buildHistory(sources: HistorySources): BuiltHistory {
  const { settings, standingAlone, historyTtl, nodes, room = CLIENTS, log, clock, week } = sources
  const { historyFile: path } = settings
  const capacity = Math.ceil(room / nodes)
  const history = new History({ standingAlone, ttlMs: historyTtl, now: clock.now, seed: randomBytes(8), capacity })
  const file = path === undefined ? undefined : new HistoryFile({ path, history, log, now: clock.now })
  const ofWeek = path !== undefined && week ? new WeekFile({ historyPath: path, week, log, now: clock.now }) : undefined
  return {
    history,
    latest: new LatestMail({ now: clock.now, processes: nodes }),
    relayed: new RelayedMessages(Math.ceil(capacity / (CLIENTS / MESSAGES)), clock.now),
    async read() {
      await file?.read()
    },
    start() {
      history.start()
      file?.start()
      ofWeek?.start()
    },
    async stop() {
      history.stop()
      await Promise.all([file?.stop(), ofWeek?.stop()])
    },
  }
}
