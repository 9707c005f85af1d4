/** `spillway serve`: starts the app and handles signals. */
import { isIPv6 } from 'node:net'
import { hostname } from 'node:os'
import { ListenError, type Running, start } from '../app.ts'
import { hostPortsText } from '../config/address-kinds.ts'
import type { Loaded } from '../config/load.ts'
import type { Settings } from '../config/settings.ts'
import { messageOf } from '../core/errors.ts'
import { createLog } from '../telemetry/log.ts'
import { type FixedSources, reread } from './reread.ts'

/** Two SIGINTs within this time come from one press of Ctrl-C: npm passes on what the program has already received. */
export const SAME_PRESS_MS = 400

/** What the operator could write instead, on a machine without IPv6. */
function withoutIPv6(setting: ListenError['setting'], { listen, adminListen }: Settings): string {
  if (setting === 'SPILLWAY_ADMIN_LISTEN') return `${setting}=127.0.0.1:${adminListen.port}`
  const usable = listen.filter(({ host }) => !isIPv6(host))
  return `${setting}=${hostPortsText(usable.length > 0 ? usable : listen.map(({ port }) => ({ host: '0.0.0.0', port })))}`
}

/** What to do about an address that cannot be listened on; undefined where the system's message says it all. */
function adviceOn({ code, setting, address }: ListenError, settings: Settings): string | undefined {
  switch (code) {
    case 'EADDRINUSE':
      return 'another program listens there already (ss -ltnp shows which); stop it, or choose another port'
    case 'EACCES':
      return 'ports below 1024 need the right to bind them: docs/deploy.md describes the ways, or choose another port'
    case 'EADDRNOTAVAIL':
      if (address !== '::' && address !== '::1')
        return 'this machine has no such address; 0.0.0.0 and [::] stand for all that it has'
      return `IPv6 is switched off on this machine; write ${withoutIPv6(setting, settings)}`
    case 'EAFNOSUPPORT':
      return `this machine has no IPv6; write ${withoutIPv6(setting, settings)}`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the name does not resolve; write an address'
    default:
      return undefined
  }
}

/** Resolves with the exit code when the program should end. @param wasHungUp whether SIGHUP has come since the settings began to be read */
export async function runServer(
  loaded: Loaded,
  sources: FixedSources,
  version: string,
  wasHungUp: () => boolean,
): Promise<number> {
  const { settings, origins, warnings } = loaded
  const log = createLog({ level: settings.logLevel, destination: 1 })
  for (const warning of warnings) log.warn({}, warning)
  let running: Running
  try {
    const listenIsDefault = origins.listen === 'default'
    const again = () => reread(sources)
    running = await start({ settings, warnings, version, log, machine: hostname(), listenIsDefault, reread: again })
  } catch (error) {
    const where = error instanceof ListenError ? { setting: error.setting, advice: adviceOn(error, settings) } : {}
    log.error({ err: messageOf(error), ...where }, 'cannot start')
    log.flush()
    return 1
  }
  return new Promise((resolve) => {
    let stoppingSince: number | undefined
    const end = (signal: NodeJS.Signals): void => {
      if (stoppingSince !== undefined) {
        if (signal === 'SIGINT' && performance.now() - stoppingSince < SAME_PRESS_MS) return
        log.warn({ signal }, 'second signal: ending now')
        void running.abort().finally(() => resolve(1))
        return
      }
      stoppingSince = performance.now()
      log.info({ signal }, 'stopping')
      running.stop().then(
        () => resolve(0),
        (error: unknown) => {
          log.error({ err: String(error) }, 'stopping failed')
          log.flush()
          resolve(1)
        },
      )
    }
    process.on('SIGTERM', end)
    process.on('SIGINT', end)
    const reload = (): void => {
      log.info({}, 'SIGHUP: settings and certificates are read again')
      void running.reload?.('SIGHUP')
    }
    if (wasHungUp()) reload()
    process.on('SIGHUP', reload)
    // main.ts has already replaced their default actions.
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const) {
      process.on(signal, () =>
        log.warn({}, `${signal} does nothing; SIGTERM stops Spillway, and its log needs no signal`),
      )
    }
  })
}
