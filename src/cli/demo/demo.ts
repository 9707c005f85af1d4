/**
 * `spillway demo`: the real app with limits in memory, between a mail server, honest senders and a flood that are simulated
 * in this process. It starts them, shows what happens, and takes everything down again.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ListenError, type Running, start } from '../../app.ts'
import { SettingsError } from '../../config/mistakes.ts'
import { messageOf } from '../../core/errors.ts'
import { createLog } from '../../telemetry/log.ts'
import type { OptionsOf } from '../args.ts'
import { Lines } from './dialogue.ts'
import { startNames } from './dns.ts'
import { Meter } from './figures.ts'
import { Flood } from './flood.ts'
import { demoSettings, ignored } from './given.ts'
import { HONEST, HonestSenders } from './honest.ts'
import { type Delivery, startMailServer } from './mail-server.ts'
import { introduction, render, report, type State } from './screen.ts'
import { Terminal } from './terminal.ts'

const MAIL_PORT = 2525
const ADMIN_PORT = 9025
/** Somebody may forget it: the log would fill the disk. */
const LONGEST_S = 3600
const REPORT_EVERY_S = 5
/** Sessions are ended a second after the signal; what takes longer than this will not end. */
const STOP_DEADLINE_MS = 6000
/** npm hands on the Ctrl-C that the terminal has sent to this process already, so one press comes as two signals. */
const SAME_PRESS_MS = 400
const SHOWN_DELIVERIES = 10

/** Nobody simulated calls from the addresses that a user's own programs have. */
const isOwn = ({ client }: Delivery): boolean => client.startsWith('127.0.')

/** @returns the exit code: 0 when it ended as asked, 1 when it could not start or had to be cut short */
export async function runDemo(version: string, options: OptionsOf<'demo'>): Promise<number> {
  const { port = MAIL_PORT, adminPort = ADMIN_PORT, seconds = LONGEST_S } = options
  const unusable = await cannotCallFrom([...HONEST.keys()][0] as string)
  if (unusable !== undefined) {
    console.error(unusable)
    return 1
  }
  const now = (): number => performance.now()
  const directory = mkdtempSync(join(tmpdir(), 'spillway-demo-'))
  const logFile = join(directory, 'spillway.log')
  const log = createLog({ level: 'info', destination: logFile })
  const names = await startNames(HONEST)
  let honest: HonestSenders | undefined
  let own: Delivery | undefined
  const mailServer = await startMailServer({
    log,
    onDelivery: (delivery) => {
      if (isOwn(delivery)) own = delivery
      else honest?.arrived(delivery.content)
    },
  })

  let running: Running
  let meter: Meter
  try {
    const loaded = demoSettings({ mail: port, admin: adminPort, mailServer: mailServer.port, names: names.port })
    for (const warning of loaded.warnings) log.warn({}, warning)
    running = await start({ settings: loaded.settings, version, log, machine: 'demo', tls: undefined })
    meter = new Meter(running, loaded.settings)
  } catch (error) {
    await mailServer.stop()
    await names.stop()
    rmSync(directory, { recursive: true, force: true })
    console.error(whyNot(error, port, adminPort))
    return 1
  }

  const at = running.listening[0] ?? { host: '127.0.0.1', port }
  const lines = new Lines(at)
  const senders = new HonestSenders(lines, now)
  honest = senders
  const flood = new Flood(lines, now)
  const startedAt = now()
  const fixed = {
    version,
    mail: `${at.host}:${at.port}`,
    admin: `${running.admin.host}:${running.admin.port}`,
    logFile,
    ignored: ignored(process.env),
  }
  const state = (): State => ({
    ...fixed,
    uptimeMs: now() - startedAt,
    figures: meter.read(now()),
    honest: senders.mail,
    deliveries: [
      // In a flood it would be off the screen before he has looked up.
      ...(own === undefined ? [] : [{ ...own, name: 'yours' }]),
      ...mailServer.kept
        .slice(-SHOWN_DELIVERIES)
        .reverse()
        .filter((delivery) => delivery !== own),
    ],
  })
  const takeDown = async (): Promise<void> => {
    senders.stop()
    flood.stop()
    lines.close()
    await running.stop()
    await mailServer.stop()
    await names.stop()
  }

  const show = process.stdout.isTTY ? showOnTerminal(state) : showAsLines(state, introduction(fixed))
  senders.start()
  flood.start()
  const end = await ending(seconds, takeDown)
  show.end()
  console.log(report(state(), process.stdout.isTTY ? process.stdout.columns : undefined).join('\n'))
  console.log(end === 0 ? `Ended. The log is in ${logFile}` : `Cut short. The log is in ${logFile}`)
  if (end !== 0) await running.abort()
  return end
}

/** Resolves when the demo is over: by a signal, by the clock, or because nobody reads what it prints. */
function ending(seconds: number, takeDown: () => Promise<void>): Promise<number> {
  return new Promise((resolve) => {
    let askedAt: number | undefined
    const end = (): void => {
      const at = performance.now()
      if (askedAt !== undefined) {
        if (at - askedAt > SAME_PRESS_MS) resolve(1)
        return
      }
      askedAt = at
      clearTimeout(timer)
      setTimeout(() => resolve(1), STOP_DEADLINE_MS).unref()
      takeDown().then(
        () => resolve(0),
        () => resolve(1),
      )
    }
    const timer = setTimeout(end, seconds * 1000)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, end)
    process.stdout.on('error', end)
  })
}

interface Show {
  end(): void
}

function showOnTerminal(state: () => State): Show {
  const { stdout, env } = process
  const terminal = new Terminal((text) => void stdout.write(text), !env.NO_COLOR)
  // The last row stays free: a character in its last column would scroll the screen.
  const size = () => ({ columns: stdout.columns || 80, rows: (stdout.rows || 24) - 1 })
  let shown = state()
  const paint = (): void => terminal.paint(render(shown, size()))
  const resized = (): void => {
    terminal.resized()
    paint()
  }
  const timer = setInterval(() => {
    shown = state()
    paint()
  }, 1000)
  paint()
  stdout.on('resize', resized)
  // However the process ends: nobody should be left with a screen without a cursor.
  process.once('exit', () => terminal.leave())
  return {
    end() {
      clearInterval(timer)
      stdout.off('resize', resized)
      terminal.leave()
    },
  }
}

function showAsLines(state: () => State, first: readonly string[]): Show {
  console.log(`${first.join('\n')}\n`)
  let ticks = 0
  const timer = setInterval(() => {
    const latest = state()
    ticks++
    if (ticks % REPORT_EVERY_S === 0) console.log(`${report(latest).join('\n')}\n`)
  }, 1000)
  return { end: () => clearInterval(timer) }
}

/** @returns why this machine's loopback is not enough, if it is not: only Linux has all of 127.0.0.0/8 there by itself */
function cannotCallFrom(ip: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', (error) =>
      resolve(
        `The demo's senders call from many addresses of 127.0.0.0/8, and this machine does not let them (${error.message}). ` +
          'Linux does; elsewhere run it in a Linux container.',
      ),
    )
    probe.listen(0, ip, () => probe.close(() => resolve(undefined)))
  })
}

function whyNot(error: unknown, port: number, adminPort: number): string {
  if (error instanceof SettingsError) return error.message
  const known = error instanceof ListenError && (error.code === 'EADDRINUSE' || error.code === 'EACCES')
  if (!known) return `The demo cannot start: ${messageOf(error)}`
  const [option, taken, use] =
    error.setting === 'SPILLWAY_ADMIN_LISTEN' ? ['--admin-port', adminPort, 'metrics'] : ['--port', port, 'mail']
  const wrong = error.code === 'EACCES' ? 'may not be used by you' : 'is taken by another program'
  const other = taken > 60_000 ? taken - 1000 : taken + 1000
  return (
    `The demo cannot start: port ${taken} of 127.0.0.1, for ${use}, ${wrong}.\n` +
    `Choose another: npm run demo -- ${option} ${other}    (or: spillway demo ${option} ${other})`
  )
}
