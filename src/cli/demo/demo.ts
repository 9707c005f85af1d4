/**
 * `spillway demo`: the real app with limits in memory, together with a simulated mail server, honest senders and a
 * flood in the same process. It starts them, shows what happens, and stops everything again.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ListenAddress } from '../../front/gate/listener.ts'
import { createLog } from '../../telemetry/log.ts'
import type { OptionsOf } from '../args.ts'
import { Lines } from './dialogue.ts'
import { Ending } from './ending.ts'
import { Meter } from './figures.ts'
import { Flood } from './flood.ts'
import { HONEST, HonestSenders } from './honest.ts'
import type { Delivery } from './mail-server.ts'
import { type FixedState, fold, report, type ScreenState } from './screen.ts'
import { ignored } from './settings.ts'
import { showAsLines, showOnTerminal } from './shows.ts'
import { cannotCallFrom, type Stage, startStage, whyNot } from './stage.ts'

const MAIL_PORT = 2525
const ADMIN_PORT = 9025
/** A demo that is forgotten must not fill the disk with its log. */
const LONGEST_S = 3600
const SHOWN_DELIVERIES = 10

/** A directory that is removed when the process ends, however it ends (except by SIGKILL). */
function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'spillway-demo-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return directory
}

const complain = (text: string): void => {
  const { isTTY, columns } = process.stderr
  const folded = text.split('\n').flatMap((line) => (isTTY ? fold(line, columns) : [line]))
  console.error(folded.join('\n'))
}

/** @returns the exit code: 0 if it ended as asked, 1 if it could not start or had to be cut short */
export async function runDemo(version: string, options: OptionsOf<'demo'>): Promise<number> {
  const { port = MAIL_PORT, adminPort = ADMIN_PORT, seconds = LONGEST_S } = options
  const ending = new Ending()
  const unusable = await cannotCallFrom([...HONEST.keys()][0] as string)
  if (unusable !== undefined) {
    complain(unusable)
    return 1
  }
  const directory = temporaryDirectory()
  const logFile = options.log ?? join(directory, 'spillway.log')
  const log = createLog({ level: 'info', destination: logFile })
  const deliveries = new Deliveries()
  let stage: Stage
  try {
    stage = await startStage({ version, log, port, adminPort, directory, onDelivery: (each) => deliveries.add(each) })
  } catch (error) {
    complain(whyNot(error, port, adminPort))
    return 1
  }
  const { listening, admin = { host: '127.0.0.1', port: adminPort } } = stage.running
  const [mail = { host: '127.0.0.1', port }] = listening
  const fixed = {
    version,
    mail: `${mail.host}:${mail.port}`,
    admin: `${admin.host}:${admin.port}`,
    logFile,
    logStays: options.log !== undefined,
    ignored: ignored(process.env),
  }
  return play(stage, fixed, deliveries, (takeDown) => ending.over(seconds, takeDown))
}

async function play(
  { running, settings, stop }: Stage,
  fixed: FixedState,
  deliveries: Deliveries,
  untilOver: (takeDown: () => Promise<void>) => Promise<number>,
): Promise<number> {
  const now = (): number => performance.now()
  const meter = new Meter(running, settings)
  const lines = new Lines(running.listening[0] as ListenAddress)
  const senders = new HonestSenders(lines, now)
  deliveries.expectedBy(senders)
  const flood = new Flood(lines, now)
  const startedAt = now()
  const state = (): ScreenState => ({
    ...fixed,
    uptimeMs: now() - startedAt,
    figures: meter.read(now()),
    honest: senders.mail,
    deliveries: deliveries.latest,
  })
  const show = process.stdout.isTTY ? showOnTerminal(state) : showAsLines(state)
  senders.start()
  flood.start()
  const code = await untilOver(async () => {
    senders.stop()
    flood.stop()
    lines.close()
    await stop()
  })
  show.end()
  console.log(report(state(), process.stdout.isTTY ? process.stdout.columns : undefined).join('\n'))
  console.log(`${code === 0 ? 'Ended.' : 'Cut short.'}${fixed.logStays ? ` The log is in ${fixed.logFile}` : ''}`)
  if (code !== 0) await running.abort()
  return code
}

/** What arrived in the mail server: for the senders, which check that their mail arrives, and for the screen. */
class Deliveries {
  readonly #latest: Delivery[] = []
  #own: Delivery | undefined
  #senders: HonestSenders | undefined

  expectedBy(senders: HonestSenders): void {
    this.#senders = senders
  }

  add(delivery: Delivery): void {
    // No simulated sender connects from 127.0.0.0/16; the user's own programs do.
    if (delivery.client.startsWith('127.0.')) {
      this.#own = delivery
      return
    }
    this.#senders?.arrived(delivery.content)
    this.#latest.unshift(delivery)
    this.#latest.length = Math.min(this.#latest.length, SHOWN_DELIVERIES)
  }

  /** The latest first, after the user's own message: in a flood that would be off the screen at once. */
  get latest(): ScreenState['deliveries'] {
    return this.#own === undefined ? [...this.#latest] : [{ ...this.#own, name: 'yours' }, ...this.#latest]
  }
}
