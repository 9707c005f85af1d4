/** What the demo runs on: DNS, a mail server, and the real app in front of it. */
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { ListenError, type Running, start } from '../../app.ts'
import type { Loaded } from '../../config/load.ts'
import { SettingsError } from '../../config/mistakes.ts'
import { readingOf } from '../../config/reload.ts'
import type { Settings } from '../../config/settings.ts'
import { messageOf } from '../../core/errors.ts'
import type { LevelledLog } from '../../telemetry/log.ts'
import { learn } from '../learn/learn.ts'
import { startNames } from './dns.ts'
import { HONEST } from './honest.ts'
import { type Delivery, startMailServer } from './mail-server.ts'
import { demoSettings } from './settings.ts'

export interface Stage {
  readonly running: Running
  readonly settings: Settings
  stop(): Promise<void>
}

export interface StageOptions {
  readonly version: string
  readonly log: LevelledLog
  readonly port: number
  readonly adminPort: number
  /** A directory for the history of senders. */
  readonly directory: string
  readonly onDelivery: (delivery: Delivery) => void
}

/** Rejects if any part cannot start, after stopping the parts that did. */
export async function startStage({
  version,
  log,
  port,
  adminPort,
  directory,
  onDelivery,
}: StageOptions): Promise<Stage> {
  const started: { stop(): Promise<void> }[] = []
  /** Stops the last first. */
  const stop = async (): Promise<void> => {
    for (const part of started.splice(0).reverse()) await part.stop()
  }
  try {
    const names = await startNames(HONEST)
    started.push(names)
    const mailServer = await startMailServer({ log, onDelivery })
    started.push(mailServer)
    const ports = { mail: port, admin: adminPort, mailServer: mailServer.port, names: names.port }
    const loaded = demoSettings({ ...ports, history: join(directory, 'history') })
    const { settings, warnings } = loaded
    await meet([...HONEST.keys()], loaded, join(directory, 'senders.csv'))
    for (const warning of warnings) log.warn({}, warning)
    const running = await start({ reading: readingOf({ settings, warnings }), version, log, machine: 'demo' })
    started.push(running)
    return { running, settings, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** How many messages of each sender the mail server has accepted before the demo begins. */
const ACCEPTED_BEFORE = 40

/** Teaches Spillway who has sent honest mail, as an operator does from the logs of the mail servers: `spillway learn`. */
async function meet(senders: readonly string[], loaded: Loaded, path: string): Promise<void> {
  const today = new Date().toISOString()
  await writeFile(path, senders.map((ip) => `${ip},${ACCEPTED_BEFORE},0,${today}\n`).join(''))
  const { output, code } = await learn(loaded, path, { json: false })
  if (code !== 0) throw new Error(output.trim())
}

/** @returns why this machine's loopback will not do, or undefined: only Linux provides all of 127.0.0.0/8 by default */
export function cannotCallFrom(ip: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', (error) =>
      resolve(
        `The demo's senders connect from many addresses of 127.0.0.0/8, and this machine does not let them (${error.message}). ` +
          'Linux does; elsewhere run it in a Linux container.',
      ),
    )
    probe.listen(0, ip, () => probe.close(() => resolve(undefined)))
  })
}

/** Why the demo did not start, and what to do about it. */
export function whyNot(error: unknown, port: number, adminPort: number): string {
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
