/** What the demo is played on: DNS, a mail server, and the real app between it and the world. */
import { createServer } from 'node:net'
import { ListenError, type Running, start } from '../../app.ts'
import { SettingsError } from '../../config/mistakes.ts'
import type { Settings } from '../../config/settings.ts'
import { messageOf } from '../../core/errors.ts'
import type { Log } from '../../telemetry/log.ts'
import { startNames } from './dns.ts'
import { demoSettings } from './given.ts'
import { HONEST } from './honest.ts'
import { type Delivery, startMailServer } from './mail-server.ts'

export interface Stage {
  readonly running: Running
  readonly settings: Settings
  stop(): Promise<void>
}

export interface StageOptions {
  readonly version: string
  readonly log: Log
  readonly port: number
  readonly adminPort: number
  readonly onDelivery: (delivery: Delivery) => void
}

/** Rejects where any part of it cannot start, with those that did stopped again. */
export async function startStage({ version, log, port, adminPort, onDelivery }: StageOptions): Promise<Stage> {
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
    const { settings, warnings } = demoSettings(ports)
    for (const warning of warnings) log.warn({}, warning)
    const running = await start({ settings, version, log, machine: 'demo', tls: undefined })
    started.push(running)
    return { running, settings, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** @returns why this machine's loopback is not enough, if it is not: only Linux has all of 127.0.0.0/8 there by itself */
export function cannotCallFrom(ip: string): Promise<string | undefined> {
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

/** Why it did not start, and what to do. */
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
